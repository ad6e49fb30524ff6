"""The interface of a source of points, which proposes them and is told how they ended: a grid or a search."""

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

    The sweep asks for ``more`` whenever its workers have room, and tells every end as soon as it is known. If the
    proposals depend on the ends, a resume finds the source by its ``identity``, and asks it to ``recall`` the
    params that it proposed in an earlier process.
    """

    @property
    def identity(self) -> str:
        """What distinguishes sources with the same first point; empty where all points are known from the start."""

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys that it varies, where one point does not show them."""

    @property
    def examples(self) -> Sequence[Point]:
        """Points at the ends of what it may propose later, which can be refused before anything starts."""

    @property
    def objectives(self) -> tuple[tuple[str, str], ...]:
        """The direction (maximize or minimize) and the name of each metric that it needs to be told."""

    @property
    def total(self) -> int:
        """How many points it proposes in all, at most; 0 where all points are known from the start."""

    @property
    def done(self) -> bool:
        """Whether no more points will come."""

    def describe(self, ranked: str) -> str:
        """Return what it will propose, in a line, empty for a grid; ``ranked`` is the metric that ranks the sweep."""

    def scale_to(self, workers: int) -> None:
        """Propose for so many workers from now on, if they are more than it knew of."""

    def more(self, room: int) -> Sequence[Point]:
        """Return the points to compute next, about ``room`` at most, for 0 the first; none if there are none now."""

    def tell(self, index: int, end: End) -> None:
        """Receive the end of the point with that index."""

    def recall(self, past: Sequence[Mapping[str, str]]) -> None:
        """Propose these params before any others; those proposed already are the first of them."""

    def news(self) -> Searched | None:
        """Return the proposals and ends since the last call, None if there are none or no search."""


class Grid:
    """A source whose points are all known from the start."""

    identity = ""
    keys: tuple[str, ...] = ()
    total = 0
    examples: Sequence[Point] = ()
    objectives: tuple[tuple[str, str], ...] = ()

    def __init__(self, points: Sequence[Point]) -> None:
        self._points = tuple(points)
        self.done = False

    def describe(self, ranked: str) -> str:
        """Return nothing: its plan is that of its trials."""
        del ranked
        return ""

    def scale_to(self, workers: int) -> None:
        """Do nothing: all points are proposed at once."""

    def more(self, room: int) -> Sequence[Point]:
        """Return all points at once, whatever ``room`` is: the more are known, the better they are balanced."""
        del room
        points, self._points, self.done = self._points, (), True
        return points

    def tell(self, index: int, end: End) -> None:
        """Ignore the end."""

    def recall(self, past: Sequence[Mapping[str, str]]) -> None:
        """Do nothing: the points of a grid are always the same."""

    def news(self) -> None:
        """Return None."""
