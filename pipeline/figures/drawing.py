"""The functions that a recorder draws its figures with; Matplotlib is imported with the first figure."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence

from pipeline.plan.plan import PlannedTrial
from pipeline.record.drawings import DrawSweep, Figures, TrialRecord
from pipeline.record.protocol import Series
from pipeline.reports import Searched
from tasks.datasets.dataset import Dataset
from tasks.events import Result


def draw(trial: PlannedTrial, result: Result, series: Mapping[str, Series], dataset: Dataset) -> Mapping[str, bytes]:
    """Return the figures of an ended trial by file name, as `pipeline.figures.draw` does."""
    from pipeline import figures  # noqa: PLC0415  # Matplotlib takes a second to import

    return figures.draw(trial, result, series, dataset)


def draw_quickly(trial: PlannedTrial, result: Result, series: Mapping[str, Series]) -> Mapping[str, bytes]:
    """Return the cheap figures of an ended trial by file name, as `pipeline.figures.draw_quickly` does."""
    from pipeline import figures  # noqa: PLC0415  # Matplotlib takes a second to import

    return figures.draw_quickly(trial, result, series)


def draw_sweep(name: str, trials: Sequence[TrialRecord]) -> Mapping[str, bytes]:
    """Return a figure of a sweep, as `pipeline.figures.sweep.draw_sweep` does."""
    from pipeline.figures import sweep  # noqa: PLC0415  # Matplotlib takes a second to import

    return sweep.draw_sweep(name, trials)


def all_figures() -> Figures:
    """Return what draws the figures of a record: ours, and those that packages add."""
    return Figures(trial=draw, quick=draw_quickly, sweep=sweep_figures(), search=draw_search)


def sweep_figures() -> list[DrawSweep]:
    """Return the functions that draw the figures of a sweep: ours, and those of packages."""
    from pipeline.figures.added import names  # noqa: PLC0415  # packages are searched only when needed

    return [*SWEEP_FIGURES, *(functools.partial(_draw_added, name) for name in names("sweep"))]


def _draw_added(name: str, trials: Sequence[TrialRecord]) -> Mapping[str, bytes]:
    from pipeline.figures import added  # noqa: PLC0415  # Matplotlib may take a second to import

    return added.draw_sweep(name, trials)


def draw_search(searched: Searched) -> Mapping[str, bytes]:
    """Return the figures of a search, as `pipeline.figures.search.draw_search` does."""
    from pipeline.figures import search  # noqa: PLC0415  # Matplotlib takes a second to import

    return search.draw_search(searched)


SWEEP_FIGURES: Sequence[DrawSweep] = tuple(
    functools.partial(draw_sweep, name)
    for name in (
        "best_loss.png",
        "best_and_worst.png",
        "accuracy.png",
        "parallel_coordinates.png",
        "curves.png",
        "settings.png",
        "error_bars.png",
        "profiles.png",
        "rungs.png",
    )
)
"""The functions that draw the figures of a sweep, one each: they run in parallel, and fail independently."""
