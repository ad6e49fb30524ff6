"""The figures of a sweep: what its trials, the best first, have to show together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from pipeline.figures.costs import draw_costs
from pipeline.figures.extremes import draw_extremes
from pipeline.figures.heat_maps import draw_heat_maps
from pipeline.figures.parallel_coordinates import draw_parallel_coordinates
from pipeline.record.sweep_run import TrialRecord

__all__ = ["FIGURES", "draw_sweep"]

FIGURES: Mapping[str, Callable[[Sequence[TrialRecord]], bytes]] = {
    "best_loss.png": draw_costs,
    "best_and_worst.png": draw_extremes,
    "accuracy.png": draw_heat_maps,
    "parallel_coordinates.png": draw_parallel_coordinates,
}


def draw_sweep(name: str, trials: Sequence[TrialRecord]) -> Mapping[str, bytes]:
    """Return a figure of a sweep by its file name; nothing where the sweep has trained or swept too little for it."""
    trained = [trial for trial in trials if trial.standing.trial.trial.task.trains and trial.curves]
    image = FIGURES[name](trained) if len(trained) > 1 else b""
    return {name: image} if image else {}
