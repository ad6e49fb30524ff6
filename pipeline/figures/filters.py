"""The weights of a model's first layer as pictures: the template of each class, or a network's filters."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from pipeline.figures.pictures import is_gray, pasted, picture, show_signed
from pipeline.figures.style import sheet
from pipeline.figures.trials import caption_of_trial
from pipeline.plan.plan import PlannedTrial
from tasks.datasets.dataset import Dataset
from tasks.models.layered import Filters, first_filters

_MOST_CLASSES, _COLUMNS = 20, 5
_MOST_FILTERS, _FILTER_COLUMNS = 50, 10


def draw_filters(trial: PlannedTrial, arrays: Mapping[str, np.ndarray], dataset: Dataset) -> dict[str, bytes]:
    """Return the figure by file name; nothing for a model that does not describe its layers."""
    filters = first_filters(trial.trial.model, dataset.image_shape)
    if filters is None:
        return {}
    rows = arrays[filters.matrix][:, :-1]
    if filters.of_classes:
        return {"templates.png": _templates(trial, rows, filters, dataset.classes)}
    return {"filters.png": _largest(trial, rows, filters)}


def _templates(trial: PlannedTrial, rows: np.ndarray, filters: Filters, classes: tuple[str, ...]) -> bytes:
    """Return the learned template of each class: its row of the weights as an image."""
    shape, shown = filters.shape, classes[:_MOST_CLASSES]
    lines = -(-len(shown) // _COLUMNS)
    sense = "red raises the score, blue lowers it" if is_gray(shape) else "each spread over all colours"
    figure, axes = sheet(title=f"Learned templates ({sense})", height=1.1 + 1.95 * lines)
    for k, name in enumerate(shown):
        place = (k % _COLUMNS, -(k // _COLUMNS) * 1.16)
        show_signed(axes, place, picture(rows[k], shape), name)
    bottom = -(lines - 1) * 1.16
    return pasted(figure, axes, caption_of_trial(trial), columns=_COLUMNS, bottom=bottom, top=1.1)


def _largest(trial: PlannedTrial, rows: np.ndarray, filters: Filters) -> bytes:
    """Return the filters of a network's first layer that have the largest norms, the largest first."""
    shape, norms = filters.shape, np.linalg.norm(rows, axis=1)
    shown = np.argsort(-norms, kind="stable")[:_MOST_FILTERS].tolist()
    columns = min(_FILTER_COLUMNS, len(shown))
    lines = -(-len(shown) // columns)
    sense = "red: brighter, blue: darker" if is_gray(shape) else "each spread over all colours"
    which = f"the {len(shown)} largest of {len(rows)}" if len(shown) < len(rows) else f"all {len(rows)}, largest first"
    figure, axes = sheet(title=f"Filters of {filters.matrix}: {which} ({sense})", height=1.5 + 0.9 * lines)
    for place, unit in enumerate(shown):
        show_signed(axes, (place % columns, -(place // columns)), picture(rows[unit], shape))
    return pasted(figure, axes, caption_of_trial(trial), columns=columns, bottom=-(lines - 1), top=1.2)
