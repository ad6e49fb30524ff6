"""The figures of task=train: loss and accuracy over the steps, learned templates, and the gradient by the data."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from pipeline.figures.style import (
    BLUE,
    INK,
    ORANGE,
    SIDE_BY_SIDE,
    SKY,
    VERMILION,
    blank,
    captioned,
    label,
    legend,
    sheet,
)
from pipeline.plan import PlannedTrial
from pipeline.recorder.protocol import Series
from pipeline.swept import settings, text_of
from tasks.datasets.dataset import Dataset, Split
from tasks.events import Outcome, Result

_LOG_FROM = 8.0  # a curve that falls by this factor is read better on a logarithmic axis
_FEW_POINTS = 25
_MOST_CLASSES, _COLUMNS = 20, 5


def draw_training(
    trial: PlannedTrial, result: Result, series: Mapping[str, Series], dataset: Dataset
) -> dict[str, bytes]:
    """Return the figures of an ended training by file name; those of images only where there are images."""
    figures = draw_curves(trial, result, series)
    names = trial.trial.model.shapes(dataset.image_shape, len(dataset.classes))
    known = all(name in result.arrays and np.isfinite(result.arrays[name]).all() for name in names)
    if not known or not is_image(dataset.image_shape):
        return figures
    if "weights" in names:
        figures["templates.png"] = draw_templates(trial, result.arrays["weights"], dataset)
    return figures | draw_data_gradient(trial, result.arrays, dataset)


def is_image(shape: tuple[int, ...]) -> bool:
    """Return whether examples of this shape can be looked at: gray, or with three channels first."""
    return (len(shape) == 2 or (len(shape) == 3 and shape[0] in {1, 3})) and min(shape[-2:]) > 1


def draw_curves(trial: PlannedTrial, result: Result, series: Mapping[str, Series]) -> dict[str, bytes]:
    """Return loss and accuracy over the steps, of training and validation, by file name."""
    if "train/loss" not in series:
        return {}
    end = "" if result.outcome is Outcome.COMPLETE else f" ({result.outcome.value} at step {result.step})"
    figure, (left, right) = blank(panels=2, title=f"{trial.name}{end}")
    label(left, x="step", y="loss")
    lines = [("train/loss", "training", BLUE, "-"), ("val/loss", "validation (data loss)", VERMILION, "-")]
    if trial.trial.regularization:
        lines.insert(1, ("train/data_loss", "training, data loss", SKY, "--"))
    values = np.concatenate([_line(left, series, *line) for line in lines])
    if values.size and values.min() > 0 and values.max() / values.min() >= _LOG_FROM:
        left.set_yscale("log")
        left.yaxis.set_minor_formatter(NullFormatter())
    legend(left, loc="upper right")
    label(right, x="step", y="accuracy / %")
    for name, text, colour in (("train/accuracy", "training", BLUE), ("val/accuracy", "validation", VERMILION)):
        _line(right, series, name, text, colour, "-", scale=100.0)
    test = result.metrics.get("test/accuracy")
    if test is not None:
        mark = f"test: {100 * test:.1f} %"
        right.plot(result.step, 100 * test, "D", color=ORANGE, markeredgecolor=INK, markersize=9, label=mark)
    legend(right, loc="lower right")
    return {"loss.png": captioned(figure, _caption(trial), margins=SIDE_BY_SIDE)}


def draw_templates(trial: PlannedTrial, weights: np.ndarray, dataset: Dataset) -> bytes:
    """Return the learned template of each class: its row of the weights as an image."""
    count = min(len(dataset.classes), _MOST_CLASSES)
    rows = -(-count // _COLUMNS)
    sense = "red raises the score, blue lowers it" if _is_gray(dataset) else "each spread over all colours"
    title = f"Learned templates ({sense})"
    figure, axes = sheet(title=title, height=1.1 + 1.95 * rows)
    for k in range(count):
        place = (k % _COLUMNS, -(k // _COLUMNS) * 1.16)
        _show(axes, place, _image(weights[k, :-1], dataset), dataset.classes[k])
    return _pasted(figure, axes, trial, columns=_COLUMNS, bottom=-(rows - 1) * 1.16, top=1.1)


def draw_data_gradient(trial: PlannedTrial, arrays: Mapping[str, np.ndarray], dataset: Dataset) -> dict[str, bytes]:
    """Return examples that still have a loss, and the change of their pixels that would lower it most."""
    split = dataset.validation if len(dataset.validation) else dataset.test
    gradient, losses, predicted = _data_gradient(trial, arrays, split, dataset)
    # One example a class shows more than several of the first.
    chosen = np.flatnonzero(losses > 0)
    _, first = np.unique(split.labels[chosen], return_index=True)
    chosen = chosen[first][:_COLUMNS]
    if not len(chosen):
        return {}
    sense = "red: brighter, blue: darker" if _is_gray(dataset) else "spread over all colours"
    title = f"The change of pixels that lowers each loss ({sense})"
    figure, axes = sheet(title=title, height=5.6)
    brightest = float(split.images.max()) or 1.0
    for column, n in enumerate(chosen.tolist()):
        right, wrong = dataset.classes[split.labels[n]], dataset.classes[predicted[n]]
        taken = f"taken for {wrong}" if right != wrong else "recognised"
        image = _image(split.images[n], dataset) / brightest
        axes.imshow(image, cmap="gray", vmin=0, vmax=1, extent=(column, column + 0.94, 0, 0.94))
        text = f"{right}\n{taken}\nloss {losses[n]:.3g}"
        axes.text(column + 0.47, 0.97, text, ha="center", va="bottom", fontsize=11, color=INK)
        _show(axes, (column, -1.0), _image(-gradient[n], dataset), "")
    return {"data_gradient.png": _pasted(figure, axes, trial, columns=len(chosen), bottom=-1.0, top=1.4)}


def _line(
    axes: Axes, series: Mapping[str, Series], name: str, text: str, colour: str, style: str, *, scale: float = 1.0
) -> np.ndarray:
    """Draw a curve if there is one; return its values that can be drawn."""
    if name not in series:
        return np.empty(0)
    steps, values = series[name].steps, scale * series[name].values
    marker = "o" if len(steps) <= _FEW_POINTS else ""
    axes.plot(steps, values, color=colour, linestyle=style, linewidth=2, marker=marker, markersize=5, label=text)
    return np.asarray(values[np.isfinite(values)])


def _data_gradient(
    trial: PlannedTrial, arrays: Mapping[str, np.ndarray], split: Split, dataset: Dataset
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the gradient of each example's loss by its pixels ``(N, D)``, its loss, and the class it is taken for."""
    model, shape, classes = trial.trial.model, dataset.image_shape, len(dataset.classes)
    features = np.concatenate([split.images - dataset.mean.astype(np.float64), np.ones((len(split), 1))], axis=1)
    point = np.concatenate([arrays[name].ravel() for name in model.shapes(shape, classes)]).astype(np.float64)
    arrangement = model.arrange(1, shape, classes, [len(split)], like=point)
    rows = arrangement.rows(point[None, :])
    scores = arrangement.scores(rows, features)[0]  # (C, N)
    losses, slope = trial.trial.loss.losses_and_gradient(scores, split.labels)
    gradient = arrangement.data_gradient(rows, features, slope[None, ...])[0]
    return np.asarray(gradient), np.asarray(losses), scores.argmax(axis=0)


def _image(pixels: np.ndarray, dataset: Dataset) -> np.ndarray:
    """Return a row of pixels as an image, colours last."""
    image = pixels.reshape(dataset.image_shape)
    if image.ndim == 2:
        return image
    return image[0] if image.shape[0] == 1 else np.moveaxis(image, 0, -1)


def _is_gray(dataset: Dataset) -> bool:
    return len(dataset.image_shape) == 2 or dataset.image_shape[0] == 1


def _show(axes: Axes, place: tuple[float, float], image: np.ndarray, title: str) -> None:
    """Show an image of numbers of any size: a gray one by sign, a coloured one spread from darkest to lightest."""
    x, y = place
    extent = (x, x + 0.94, y, y + 0.94)
    if image.ndim == 2:
        largest = float(np.abs(image).max()) or 1.0
        axes.imshow(image, cmap="RdBu_r", vmin=-largest, vmax=largest, extent=extent)
    else:
        low, high = float(image.min()), float(image.max())
        axes.imshow((image - low) / ((high - low) or 1.0), extent=extent)
    axes.text(x + 0.47, y + 0.96, title, ha="center", va="bottom", fontsize=13, color=INK)


def _pasted(figure: Figure, axes: Axes, trial: PlannedTrial, *, columns: int, bottom: float, top: float) -> bytes:
    axes.set_xlim(-0.02, columns)
    axes.set_ylim(bottom - 0.02, top)
    return captioned(figure, _caption(trial), margins={"left": 0.01, "right": 0.99, "bottom": 0.02, "top": 0.92})


def _caption(trial: PlannedTrial) -> str:
    used = settings(trial.trial)
    kept = {name: value for name, value in used.items() if name not in {"task", "model"}}
    dataset = trial.config["dataset"]["name"]
    return " · ".join([f"dataset={dataset}", *(f"{name}={text_of(name, value)}" for name, value in kept.items())])
