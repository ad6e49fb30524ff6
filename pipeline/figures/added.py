"""The figures of packages: each is drawn by its row, from plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from pipeline.config.figure import Drawn
from pipeline.config.tables import FIGURES
from pipeline.plan.plan import PlannedTrial
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
    one = Drawn(
        name=trial.name,
        config=trial.config,
        outcome=result.outcome.value,
        metrics=result.metrics,
        curves=_curves(series),
        arrays=result.arrays,
    )
    return _draw(name, [one])


def draw_sweep(name: str, trials: Sequence[TrialRecord]) -> dict[str, bytes]:
    """Return a figure of a sweep by its file name."""
    standings = [trial.standing for trial in trials]
    every = [
        Drawn(
            name=standing.trial.name,
            config=standing.trial.config,
            outcome=standing.outcome_text,
            metrics=standing.metrics,
            curves=_curves(trial.curves),
            arrays={},
        )
        for standing, trial in zip(standings, trials, strict=True)
    ]
    return _draw(name, every)


def _curves(series: Mapping[str, Series]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    return {name: (one.steps, one.values) for name, one in series.items()}


def _draw(name: str, trials: Sequence[Drawn]) -> dict[str, bytes]:
    try:
        image: bytes = FIGURES[name]().draw(trials)
    except Exception as error:
        raise DrawingError(f"{name} of {FIGURES.package(name)}: {type(error).__name__}: {error}") from error
    if not isinstance(image, bytes):
        raise DrawingError(f"{name} of {FIGURES.package(name)} must return the bytes of a PNG, got {image!r}")
    return {f"{name}.png": image} if image else {}
