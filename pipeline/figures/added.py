"""The figures of packages: each is drawn by its row, from plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from pipeline.config.figure import Drawn
from pipeline.config.tables import FIGURES
from pipeline.plan.plan import PlannedTrial
from pipeline.raised import Raised
from pipeline.results.curves import Series, TrialRecord
from tasks.errors import SweepError
from tasks.events import Result


class DrawingError(SweepError):
    """A package's figure cannot be drawn."""


def names(of: str) -> list[str]:
    """Return the names of the figures ``of`` a trial, or of a sweep."""
    return [name for name, row in FIGURES.items() if row.of == of]  # type: ignore[attr-defined]


def draw_trial(name: str, trial: PlannedTrial, result: Result, series: Mapping[str, Series]) -> dict[str, bytes]:
    """Return a figure of an ended trial by its file name."""
    return _draw(name, [_drawn(trial, result.outcome.value, result.metrics, series, result.arrays)])


def draw_sweep(name: str, trials: Sequence[TrialRecord]) -> dict[str, bytes]:
    """Return a figure of a sweep by its file name."""
    every = [(trial.standing, trial.curves) for trial in trials]
    return _draw(name, [_drawn(one.trial, one.outcome_text, one.metrics, curves, {}) for one, curves in every])


def _drawn(
    trial: PlannedTrial,
    outcome: str,
    metrics: Mapping[str, float],
    series: Mapping[str, Series],
    arrays: Mapping[str, np.ndarray],
) -> Drawn:
    curves = {name: (one.steps, one.values) for name, one in series.items()}
    return Drawn(name=trial.name, config=trial.config, outcome=outcome, metrics=metrics, curves=curves, arrays=arrays)


def _draw(name: str, trials: Sequence[Drawn]) -> dict[str, bytes]:
    try:
        image: bytes = FIGURES[name]().draw(trials)
    except (Exception, SystemExit) as error:
        told = Raised.of(error)
        raise DrawingError(f"{name} of {FIGURES.package(name)}: {told.error}\n{told.frames.rstrip()}") from error
    begins = image[:4] if isinstance(image, bytes) else image
    if begins not in (b"", b"\x89PNG"):
        raise DrawingError(f"{name} of {FIGURES.package(name)} must return the bytes of a PNG, got {begins!r}")
    return {f"{name}.png": image} if image else {}
