"""What a figure of a package is: a row that draws what trials have come to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """A trial as a figure sees it: its name, its config, how it ended, its last metrics and its curves.

    A curve is its steps and its values. ``arrays`` are what the trial has learnt; those of a sweep's trials are not
    kept, and empty.
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
        """Return a PNG of a trial, or of all trials of a sweep, the best first; nothing where there is none to draw."""
