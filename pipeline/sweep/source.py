"""What proposes the points of a sweep, and is told how they ended: a grid, or a search."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from pipeline.plan.plan import Point
from tasks.events import Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """How a point ended: its outcome, its last metrics and its last step."""

    outcome: Outcome
    metrics: Mapping[str, float]
    step: int


class Source(Protocol):
    """Proposes the points of a sweep.

    The sweep asks for ``more`` whenever its workers have room, and tells of every end as soon as it is known.
    """

    @property
    def done(self) -> bool:
        """Whether no more points will come."""

    def more(self, room: int) -> Sequence[Point]:
        """Return the points to compute next, about ``room`` of them at most; none where none can be proposed now."""

    def told(self, index: int, end: End) -> None:
        """Take in how the point with that index ended."""


class Grid:
    """A source whose points are all known from the start."""

    def __init__(self, points: Sequence[Point]) -> None:
        self._points = tuple(points)
        self.done = False

    def more(self, room: int) -> Sequence[Point]:
        """Return all points at once, however many have room: the more are known, the better they are laid out."""
        del room
        points, self._points, self.done = self._points, (), True
        return points

    def told(self, index: int, end: End) -> None:
        """Need no answer."""
