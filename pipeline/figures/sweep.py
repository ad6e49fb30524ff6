"""The figures of a sweep, from the records of its trials, the best first."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from pipeline.figures.bands import draw_bands
from pipeline.figures.costs import draw_costs
from pipeline.figures.extremes import draw_extremes
from pipeline.figures.heat_maps import draw_heat_maps
from pipeline.figures.intervals import draw_intervals
from pipeline.figures.parallel_coordinates import draw_parallel_coordinates
from pipeline.figures.profiles import draw_profiles
from pipeline.figures.rungs import draw_rungs
from pipeline.figures.settings import are_repeated, as_means
from pipeline.figures.slices import draw_slices
from pipeline.figures.trials import are_means
from pipeline.results.curves import TrialRecord


def _draw_accuracy(trials: Sequence[TrialRecord]) -> bytes:
    """Return heat maps, else slices, else a line a setting; of means heat maps only: `REPEATED` has the others."""
    return draw_heat_maps(trials) or (b"" if are_means(trials) else draw_slices(trials) or draw_intervals(trials))


FIGURES: Mapping[str, Callable[[Sequence[TrialRecord]], bytes]] = {
    "best_loss.png": draw_costs,
    "best_and_worst.png": draw_extremes,
    "accuracy.png": _draw_accuracy,
    "parallel_coordinates.png": draw_parallel_coordinates,
}
"""The figures of every sweep; if trials are repeated, of the mean of each setting."""

REPEATED: Mapping[str, Callable[[Sequence[TrialRecord]], bytes]] = {
    "curves.png": draw_bands,
    "settings.png": draw_intervals,
    "error_bars.png": draw_slices,
    "profiles.png": draw_profiles,
}
"""The figures of all trials that are drawn if they are repeated."""

_STOPPED: Mapping[str, Callable[[Sequence[TrialRecord]], bytes]] = {"rungs.png": draw_rungs}
"""The figure of all trials that is drawn if any was stopped."""


def draw_sweep(name: str, trials: Sequence[TrialRecord]) -> Mapping[str, bytes]:
    """Return a figure of a sweep by its file name; nothing if the sweep has too few trainings or swept keys for it."""
    trained = [trial for trial in trials if trial.standing.trial.trial.task.trains and trial.curves]
    repeated = are_repeated(trained)
    every = as_means(trained) if repeated and name in FIGURES else trained
    if len(every) < 2 or (name in REPEATED and not repeated):
        return {}
    image = {**FIGURES, **REPEATED, **_STOPPED}[name](every)
    return {name: image} if image else {}
