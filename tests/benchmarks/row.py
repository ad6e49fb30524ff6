"""What a benchmark yields: rows of the table, each a value, what it is measured against, and its reach."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.benchmarks import images


class Skipped(Exception):  # noqa: N818  # it is no error
    """A benchmark, or a peer, that cannot be measured here; the message is the reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """The limit that a row's ratio is to reach, or its value where it has nothing to be measured against."""

    limit: float
    at_least: bool
    of_value: bool = False

    def __str__(self) -> str:
        return f"{'>=' if self.at_least else '<='} {self.limit:g}" + ("" if self.of_value else "x")

    def met(self, number: float) -> bool:
        """Return whether the number reaches the limit."""
        return number >= self.limit if self.at_least else number <= self.limit


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table: ``unit`` is that of ``value`` and ``against``, ``note`` says what stands behind them.

    >>> Row(name="a", unit="s", value=2.0, against=8.0, ratio=4.0, reach=Reach(limit=3, at_least=True)).met
    True
    """

    name: str
    unit: str = ""
    value: float | None = None
    against: float | None = None
    ratio: float | None = None
    reach: Reach | None = None
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the reach is met; None where nothing was measured or nothing is to be reached."""
        number = self.value if self.reach is None or self.reach.of_value else self.ratio
        return None if self.reach is None or number is None else self.reach.met(number)

    def plain(self) -> dict[str, Any]:
        """Return the row as JSON holds it."""
        reach = None if self.reach is None else str(self.reach)
        names = ("name", "value", "against", "ratio")
        return {name: getattr(self, name) for name in names} | {"reach": reach, "met": self.met}


def faster(name: str, seconds: float, peer: float, *, reach: float, note: str = "") -> Row:
    """Return the row of something that is to be ``reach`` times as fast as its peer."""
    limit = Reach(limit=reach, at_least=True)
    return Row(name=name, unit="s", value=seconds, against=peer, ratio=peer / seconds, reach=limit, note=note)


def within(name: str, seconds: float, other: float, *, reach: float, note: str = "") -> Row:
    """Return the row of something that is to take at most ``reach`` times as long as something else."""
    limit = Reach(limit=reach, at_least=False)
    return Row(name=name, unit="s", value=seconds, against=other, ratio=seconds / other, reach=limit, note=note)


ROUNDS = 3
"""How often everything is measured, where a benchmark does not say otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """``repeat`` is how often everything is measured (None: ``ROUNDS`` times, or as often as a benchmark says).

    Figures go to ``output``, commands run in folders of ``scratch``.
    """

    repeat: int | None
    output: Path
    scratch: Path

    def rounds(self, default: int = ROUNDS) -> int:
        """Return how often to measure."""
        return self.repeat or default

    def cifar10(self) -> Path:
        """Return the folder that holds the CIFAR-10 images, or skip the benchmark."""
        root = images.cifar10()
        if root is None:
            raise Skipped(f"the CIFAR-10 images are not beside the checkout ({images.UNPACK.parent.resolve()})")
        return root

    def folder(self) -> Path:
        """Return a new, empty folder for a command to run in. Its path is short: Ray has sockets in it."""
        return Path(tempfile.mkdtemp(prefix="", dir=self.scratch))


Benchmark = Callable[[Settings], Iterator[Row]]
