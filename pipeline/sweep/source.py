"""What proposes the points of a sweep, and is told how they ended: a grid, or a search."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from pipeline.plan.plan import Point
from pipeline.reports import Searched
from tasks.events import Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """How a point ended: its outcome, its last metrics and its last step."""

    outcome: Outcome
    metrics: Mapping[str, float]
    step: int


class PointSource(Protocol):
    """Proposes the points of a sweep.

    The sweep asks for ``more`` whenever its workers have room, and tells of every end as soon as it is known. Where
    what is proposed depends on that, ``identity`` is what the source is known by when it is resumed, and it may be
    asked to ``recall`` the overrides that it has proposed in an earlier process.
    """

    @property
    def identity(self) -> str:
        """What tells one source from another, beside its first point; nothing where its points do."""

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics that it must be told."""

    @property
    def done(self) -> bool:
        """Whether no more points will come."""

    def more(self, room: int) -> Sequence[Point]:
        """Return the points to compute next, about ``room`` of them at most; none where none can be proposed now."""

    def tell(self, index: int, end: End) -> None:
        """Take in how the point with that index ended."""

    def recall(self, past: Sequence[Sequence[str]]) -> None:
        """Propose these overrides before any others, those that have been proposed already among them."""

    def news(self) -> Searched | None:
        """Return what has been proposed and told since the last time, None where that is nothing but its points."""


class Grid:
    """A source whose points are all known from the start."""

    identity = ""
    metrics: tuple[str, ...] = ()

    def __init__(self, points: Sequence[Point]) -> None:
        self._points = tuple(points)
        self.done = False

    def more(self, room: int) -> Sequence[Point]:
        """Return all points at once, however many have room: the more are known, the better they are laid out."""
        del room
        points, self._points, self.done = self._points, (), True
        return points

    def tell(self, index: int, end: End) -> None:
        """Need no answer."""

    def recall(self, past: Sequence[Sequence[str]]) -> None:
        """Need no past: its points are the same again."""

    def news(self) -> None:
        """Have none."""
