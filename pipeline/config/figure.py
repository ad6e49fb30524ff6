"""The interface of a package's figure: a row that draws the results of trials."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np

DRAWN = ("trial", "sweep")
"""What a figure may be ``of``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """A trial for a figure: its name, its config, its outcome, its last metrics and its curves.

    A curve is its steps and its values. ``arrays`` are what the trial has learnt; they are empty in the figures of a
    sweep, and of a trial that diverged.
    """

    name: str
    config: Mapping[str, Any]
    outcome: str
    metrics: Mapping[str, float]
    curves: Mapping[str, tuple[np.ndarray, np.ndarray]]
    arrays: Mapping[str, np.ndarray]


class Figure(Protocol):
    """A figure ``of`` a ``trial``, or of a ``sweep``."""

    of: ClassVar[str]

    def draw(self, trials: Sequence[Drawn]) -> bytes:
        """Return a PNG of a trial, or of all trials of a sweep, the best first; empty if there is nothing to draw."""
