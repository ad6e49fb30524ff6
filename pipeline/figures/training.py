"""The figures of task=train: loss and accuracy over the steps, the first filters, and the gradient by the data."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes

from pipeline.figures.data_gradient import draw_data_gradient
from pipeline.figures.filters import draw_filters
from pipeline.figures.pictures import is_image
from pipeline.figures.style import (
    BLUE,
    INK,
    ORANGE,
    SIDE_BY_SIDE,
    SKY,
    VERMILION,
    blank,
    captioned,
    dots,
    is_wide,
    label,
    legend_below,
    logarithmic,
)
from pipeline.figures.trials import caption_of_trial, title_of_trial
from pipeline.plan.plan import PlannedTrial
from pipeline.results.curves import Series
from tasks.datasets.dataset import Dataset
from tasks.events import Result


def draw_training(
    trial: PlannedTrial, result: Result, series: Mapping[str, Series], dataset: Dataset
) -> dict[str, bytes]:
    """Return the figures of an ended training by file name; those of images only for data sets of images."""
    figures = draw_curves(trial, result, series)
    names = trial.trial.model.shapes(dataset.image_shape, len(dataset.classes))
    known = all(name in result.arrays and np.isfinite(result.arrays[name]).all() for name in names)
    if not known or not is_image(dataset.image_shape):
        return figures
    return figures | draw_filters(trial, result.arrays, dataset) | draw_data_gradient(trial, result.arrays, dataset)


def draw_curves(trial: PlannedTrial, result: Result, series: Mapping[str, Series]) -> dict[str, bytes]:
    """Return loss and accuracy over the steps, of training and validation, by file name."""
    if "train/loss" not in series or not np.isfinite(series["train/loss"].values).any():
        return {}
    figure, (left, right) = blank(panels=2, title=title_of_trial(trial, result))
    label(left, x="step", y="loss (validation: data loss)" if trial.trial.regularization else "loss")
    lines = [("train/loss", "training", BLUE, "-"), ("val/loss", "validation", VERMILION, "-")]
    if trial.trial.regularization:
        lines.insert(1, ("train/data_loss", "training, data loss", SKY, "--"))
    if is_wide(np.concatenate([_line(left, series, *line) for line in lines])):
        logarithmic(left, "y")
    label(right, x="step", y="accuracy / %")
    for name, text, colour in (("train/accuracy", "training", BLUE), ("val/accuracy", "validation", VERMILION)):
        _line(right, series, name, text, colour, "-", scale=100.0)
    test = result.metrics.get("test/accuracy")
    if test is not None:
        mark = f"test: {100 * test:.1f} %"
        right.plot(result.step, 100 * test, "D", color=ORANGE, markeredgecolor=INK, markersize=9, label=mark)
    legend_below(figure)
    return {"loss.png": captioned(figure, caption_of_trial(trial), margins=SIDE_BY_SIDE)}


def _line(
    axes: Axes, series: Mapping[str, Series], name: str, text: str, colour: str, style: str, *, scale: float = 1.0
) -> np.ndarray:
    """Draw a curve if there is one; return its finite values."""
    if name not in series:
        return np.empty(0)
    steps, values = series[name].steps, scale * series[name].values
    axes.plot(steps, values, color=colour, linestyle=style, linewidth=2, marker=dots(steps), markersize=5, label=text)
    return np.asarray(values[np.isfinite(values)])
