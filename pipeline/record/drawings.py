"""The figures of a record on their way: asked for, drawn by whoever draws, and kept with their runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, wait
from typing import Any, Protocol

from pipeline.plan.plan import PlannedTrial

FIGURES = "figures"

Drawn = Mapping[str, bytes]
"""Figures by file name."""


class Drawers(Protocol):
    """Who draws."""

    def start(self) -> None:
        """Get ready to draw, ahead of the first figure; a second time changes nothing."""

    def submit(self, draw: Callable[..., Drawn], *arguments: Any) -> Future[Drawn]:
        """Begin to draw ``draw(*arguments)``."""

    def close(self) -> None:
        """End; nothing is asked for any more."""


class InThisThread:
    """Draws when it is asked to."""

    def start(self) -> None:
        """Nothing is to be started."""

    def submit(self, draw: Callable[..., Drawn], *arguments: Any) -> Future[Drawn]:
        """Draw ``draw(*arguments)``."""
        drawn: Future[Drawn] = Future()
        try:
            drawn.set_result(draw(*arguments))
        except Exception as error:  # noqa: BLE001  # it is raised where the figures are asked for
            drawn.set_exception(error)
        return drawn

    def close(self) -> None:
        """Nothing was started."""


class Drawings:
    """The figures that are being drawn, and the trials that they belong to; all methods belong to one thread.

    ``errors`` say why some could not be.
    """

    def __init__(self, drawers: Drawers) -> None:
        self.errors: list[Exception] = []
        self._drawers = drawers
        self._awaited: list[tuple[PlannedTrial | None, Future[Drawn]]] = []

    def draw(self, trial: PlannedTrial | None, draw: Callable[..., Drawn], *arguments: Any) -> None:
        """Have the figures ``draw(*arguments)`` drawn of a trial, or of its sweep."""
        self._awaited.append((trial, self._drawers.submit(draw, *arguments)))

    def take(self) -> Iterator[tuple[PlannedTrial | None, Drawn]]:
        """Yield what has been drawn since."""
        awaited, self._awaited = self._awaited, []
        for trial, drawn in awaited:
            if not drawn.done():
                self._awaited.append((trial, drawn))
                continue
            try:
                yield trial, drawn.result()
            except Exception as error:  # noqa: BLE001  # whatever it is, it costs no other figure
                self.errors.append(error)

    def close(self) -> None:
        """Wait for what is being drawn, to be taken."""
        wait([drawn for _, drawn in self._awaited])
        self._drawers.close()
