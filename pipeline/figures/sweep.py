"""The figures of a sweep: what its trials, the best first, have to show together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pipeline.figures.costs import draw_costs
from pipeline.figures.extremes import draw_extremes
from pipeline.figures.heat_maps import draw_heat_maps
from pipeline.figures.parallel_coordinates import draw_parallel_coordinates
from pipeline.recorder.sweep_run import TrialRecord
from pipeline.swept import settings, swept
from tasks.train import Train

__all__ = ["draw_sweep"]


def draw_sweep(trials: Sequence[TrialRecord]) -> Mapping[str, bytes]:
    """Return the figures of a sweep by file name: those for which it has trained and swept enough."""
    trained = [trial for trial in trials if isinstance(trial.standing.trial.trial.task, Train) and trial.curves]
    if len(trained) < 2:
        return {}
    varied = swept([settings(trial.standing.trial.trial) for trial in trained])
    figures = {"best_loss.png": draw_costs(trained), "best_and_worst.png": draw_extremes(trained)}
    if {"learning_rate", "batch_size"} & varied.keys():
        figures["accuracy.png"] = draw_heat_maps(trained)
    if len(varied) > 1:
        figures["parallel_coordinates.png"] = draw_parallel_coordinates(trained, varied)
    return {name: image for name, image in figures.items() if image}
