"""The figures of task=train: loss and accuracy over the steps, learned templates, and the gradient by the data."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes

from pipeline.figures.style import BLUE, INK, ORANGE, QUIET, VERMILION, blank, captioned, grid, label, legend
from pipeline.plan import PlannedTrial
from pipeline.recorder.protocol import Series
from pipeline.swept import settings, text_of
from tasks.datasets.dataset import Dataset, Split
from tasks.events import Outcome, Result

_LOG_FROM = 8.0  # a curve that falls by this factor is read better on a logarithmic axis
_MOST_CLASSES, _COLUMNS = 20, 5
_EXAMPLES = 5


def draw_training(
    trial: PlannedTrial, result: Result, series: Mapping[str, Series], dataset: Dataset
) -> dict[str, bytes]:
    """Return the figures of an ended training by file name; those of images only where there are images."""
    figures = {"loss.png": draw_loss(trial, result, series)} if "train/loss" in series else {}
    weights = result.arrays.get("weights")
    if weights is None or not np.isfinite(weights).all() or not is_image(dataset.image_shape):
        return figures
    figures["templates.png"] = draw_templates(trial, weights, dataset)
    return figures | draw_data_gradient(trial, weights, dataset)


def is_image(shape: tuple[int, ...]) -> bool:
    """Return whether examples of this shape can be looked at: gray, or with three channels first."""
    return (len(shape) == 2 or (len(shape) == 3 and shape[0] in {1, 3})) and min(shape[-2:]) > 1


def draw_loss(trial: PlannedTrial, result: Result, series: Mapping[str, Series]) -> bytes:
    """Return loss and accuracy over the steps, of training and validation."""
    end = "" if result.outcome is Outcome.COMPLETE else f" ({result.outcome.value} at step {result.step})"
    figure, (left, right) = blank(panels=2, title=f"{trial.name}{end}")
    label(left, x="step", y="loss")
    lines = [("train/loss", "training", BLUE, "-"), ("val/loss", "validation (data loss)", VERMILION, "-")]
    if trial.trial.regularization:
        lines.insert(1, ("train/data_loss", "training, data loss", BLUE, ":"))
    shown = [_line(left, series, *line) for line in lines]
    values = np.concatenate(shown)
    if values.size and values.min() > 0 and values.max() / values.min() >= _LOG_FROM:
        left.set_yscale("log")
    legend(left)
    label(right, x="step", y="accuracy / %")
    for name, text, colour in (("train/accuracy", "training", BLUE), ("val/accuracy", "validation", VERMILION)):
        _line(right, series, name, text, colour, "-", scale=100.0)
    test = result.metrics.get("test/accuracy")
    if test is not None:
        mark = f"test: {100 * test:.1f} %"
        right.plot(result.step, 100 * test, "D", color=ORANGE, markeredgecolor=INK, markersize=9, label=mark)
    legend(right)
    return captioned(figure, _caption(trial))


def draw_templates(trial: PlannedTrial, weights: np.ndarray, dataset: Dataset) -> bytes:
    """Return the learned template of each class: its row of the weights as an image."""
    count = min(len(dataset.classes), _MOST_CLASSES)
    rows = -(-count // _COLUMNS)
    gray = len(_image(weights[0, :-1], dataset).shape) == 2
    sense = "red pixels raise the class's score, blue ones lower it" if gray else "each spread over the colours"
    figure, axes = grid(rows, _COLUMNS, title=f"What each class looks for: {sense}", height=1.1 + 2.2 * rows)
    flat = [panel for row in axes for panel in row]
    for panel in flat:
        panel.axis("off")
    for k in range(count):
        _show(flat[k], _image(weights[k, :-1], dataset))
        flat[k].set_title(dataset.classes[k], fontsize=13, color=INK)
    return captioned(figure, _caption(trial))


def draw_data_gradient(trial: PlannedTrial, weights: np.ndarray, dataset: Dataset) -> dict[str, bytes]:
    """Return examples that still have a loss, and the change of their pixels that would lower it most."""
    split = dataset.validation if len(dataset.validation) else dataset.test
    gradient, losses, predicted = _data_gradient(trial, weights, split, dataset.mean)
    # One example a class shows more than several of the first.
    chosen = np.flatnonzero(losses > 0)
    _, first = np.unique(split.labels[chosen], return_index=True)
    chosen = chosen[np.sort(first)][:_EXAMPLES]
    if not len(chosen):
        return {}
    title = "What the data gradient points at: the change of pixels that lowers the loss"
    figure, axes = grid(2, _EXAMPLES, title=title, height=5.6)
    for panel in (panel for row in axes for panel in row):
        panel.axis("off")
    for column, n in enumerate(chosen.tolist()):
        above, below = axes[0][column], axes[1][column]
        above.imshow(_image(split.images[n], dataset), cmap="gray", vmin=0, vmax=255)
        right, wrong = dataset.classes[split.labels[n]], dataset.classes[predicted[n]]
        taken = f"taken for {wrong}" if right != wrong else "recognised"
        above.set_title(f"{right}\n{taken}\nloss {losses[n]:.3g}", fontsize=11, color=INK)
        _show(below, _image(-gradient[n], dataset))
        below.set_title("lowers the loss", fontsize=11, color=QUIET)
    return {"data_gradient.png": captioned(figure, _caption(trial))}


def _line(
    axes: Axes, series: Mapping[str, Series], name: str, text: str, colour: str, style: str, *, scale: float = 1.0
) -> np.ndarray:
    """Draw a curve if there is one; return its values that can be drawn."""
    if name not in series:
        return np.empty(0)
    steps, values = series[name].steps, scale * series[name].values
    few = {"marker": "o", "markersize": 5} if len(steps) <= 25 else {}
    axes.plot(steps, values, color=colour, linestyle=style, linewidth=2, label=text, **few)
    return np.asarray(values[np.isfinite(values)])


def _data_gradient(
    trial: PlannedTrial, weights: np.ndarray, split: Split, mean: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the gradient of each example's loss by its pixels ``(N, D)``, its loss, and the class it is taken for."""
    matrix = weights.astype(np.float64)
    scores = matrix[:, :-1] @ (split.images - mean).T + matrix[:, -1:]  # (C, D) @ (D, N), and the bias
    losses, slope = trial.trial.loss.losses_and_gradient(scores, split.labels)
    gradient = trial.trial.model.data_gradient(slope, matrix[:, :-1])
    return np.asarray(gradient), np.asarray(losses), scores.argmax(axis=0)


def _image(pixels: np.ndarray, dataset: Dataset) -> np.ndarray:
    """Return a row of pixels as an image, colours last."""
    image = pixels.reshape(dataset.image_shape)
    if image.ndim == 2:
        return image
    return image[0] if image.shape[0] == 1 else np.moveaxis(image, 0, -1)


def _show(axes: Axes, image: np.ndarray) -> None:
    """Show an image of numbers of any size: a gray one by sign, a coloured one spread from darkest to lightest."""
    largest = float(np.abs(image).max()) or 1.0
    if image.ndim == 2:
        axes.imshow(image, cmap="RdBu_r", vmin=-largest, vmax=largest)
        return
    low, high = float(image.min()), float(image.max())
    axes.imshow((image - low) / ((high - low) or 1.0))


def _caption(trial: PlannedTrial) -> str:
    used = settings(trial.trial)
    kept = {name: value for name, value in used.items() if name not in {"task", "model"}}
    dataset = trial.config["dataset"]["name"]
    return " · ".join([f"dataset={dataset}", *(f"{name}={text_of(name, value)}" for name, value in kept.items())])
