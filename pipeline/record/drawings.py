"""The figures of a record: which trials have some, who draws them, and which have been drawn since."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from pipeline.plan.plan import PlannedTrial
from pipeline.record.protocol import Series
from pipeline.record.sweep_run import TrialRecord
from pipeline.reports import Searched
from tasks.datasets.dataset import Dataset
from tasks.events import Result

if TYPE_CHECKING:
    from pipeline.record.runs import Runs  # a process that draws does without

DRAWN_TRIALS = 20
"""Trainings of a larger sweep get no figures, but for the winner: drawing them all would slow the sweep down."""

SHOWN_EXAMPLES = 500
"""Examples of a split that the figures of a trial may choose from."""

CURVE_POINTS = 200
"""Points of a curve that are kept in memory for the figures of a larger sweep: one for every two pixels of a panel."""

Drawn = Mapping[str, bytes]
"""Figures by file name."""

Figure = Callable[[Sequence[TrialRecord]], Drawn]
"""Draws a figure of a sweep, from its trials, the best first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What draws an ended trial from its result, its curves and some of the data, or quickly and without data.

    ``sweep`` draws a sweep, ``search`` what one has searched.
    """

    trial: Callable[[PlannedTrial, Result, Mapping[str, Series], Dataset], Drawn] | None = None
    quick: Callable[[PlannedTrial, Result, Mapping[str, Series]], Drawn] | None = None
    sweep: Sequence[Figure] = ()
    search: Callable[[Searched], Drawn] | None = None


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
    """The figures of the ``runs`` of a record; all methods belong to one thread.

    A lone trial and the winner of a sweep have all, the other trials of a sweep what is quick, and in a large sweep
    not even that. ``errors`` say why some could not be drawn.
    """

    def __init__(self, runs: Runs, dataset: Dataset, figures: Figures, drawers: Drawers) -> None:
        self.errors: list[Exception] = []
        self._runs, self._dataset, self._figures, self._drawers = runs, dataset, figures, drawers
        self._large = runs.parent is not None and len(runs.parent.sweep.trials) > DRAWN_TRIALS
        self._pending: list[tuple[PlannedTrial | None, Future[Drawn]]] = []

    def draws(self, trial: PlannedTrial) -> bool:
        """Return whether a trial of a sweep has figures: what a task other than training has to show is its figure."""
        return not self._large or not trial.trial.task.trains

    def end(self, trial: PlannedTrial, result: Result, *, drawn: bool = False) -> None:
        """Draw a trial that has ended, unless it is ``drawn`` already; of a large sweep's forget most of the curves."""
        parent, points = self._runs.parent, self._runs.runs[trial.key].points
        if parent is None:
            self._draw_trial(trial, result)
        elif self._figures.quick is not None and self.draws(trial) and not drawn:
            self.draw(trial, self._figures.quick, trial, result, points.series())
        if self._large and parent is not None and not parent.may_win(trial):
            points.thin(CURVE_POINTS)

    def end_sweep(self) -> None:
        """Draw the winner of a sweep, and the sweep."""
        parent = self._runs.parent
        if parent is None:
            return
        if parent.winner is not None:
            self._draw_trial(parent.winner.trial, parent.winner.result)  # the longest comes first
        records = parent.records(self._runs.runs)
        for draw in self._figures.sweep:
            self.draw(None, draw, records)
        if parent.searched is not None and self._figures.search is not None:
            self.draw(None, self._figures.search, parent.searched)

    def draw(self, trial: PlannedTrial | None, draw: Callable[..., Drawn], *arguments: Any) -> None:
        """Have the figures ``draw(*arguments)`` drawn of a trial, or of its sweep."""
        self._pending.append((trial, self._drawers.submit(draw, *arguments)))

    def drain(self) -> Iterator[tuple[PlannedTrial | None, Drawn]]:
        """Yield what has been drawn since, of a trial or of the sweep."""
        pending, self._pending = self._pending, []
        for trial, drawn in pending:
            if not drawn.done():
                self._pending.append((trial, drawn))
                continue
            try:
                yield trial, drawn.result()
            except Exception as error:  # noqa: BLE001  # whatever it is, it costs no other figure
                self.errors.append(error)

    def close(self) -> None:
        """Wait for what is being drawn, to be taken."""
        wait([drawn for _, drawn in self._pending])
        self._drawers.close()

    def _draw_trial(self, trial: PlannedTrial, result: Result) -> None:
        if self._figures.trial is not None:
            curves, sample = self._runs.runs[trial.key].points.series(), self._dataset.sample(SHOWN_EXAMPLES)
            self.draw(trial, self._figures.trial, trial, result, curves, sample)
