"""The drawings of a record: decides which trials have figures, submits them to be drawn, and collects the results.

Matplotlib is imported with the first figure.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline.figures.added import names
from pipeline.figures.drawers import Drawers, Images
from pipeline.plan.plan import PlannedTrial
from pipeline.record.protocol import Drew, Recalled
from pipeline.reports import Finished, Searched
from pipeline.results.curves import Series, TrialRecord
from tasks.datasets.dataset import Dataset
from tasks.events import Result

if TYPE_CHECKING:
    from pipeline.record.runs import Runs  # a process that draws does without

DRAWN_TRIALS = 20
"""In a sweep of more trials only the winner of the trainings has figures: drawing all would slow the sweep down."""

SHOWN_EXAMPLES = 500
"""The examples of a split that are given to the figures of a trial."""

CURVE_POINTS = 200
"""The points of a curve that are kept for the figures of a large sweep: one for every two pixels of a panel."""

SWEEP_FIGURES = (
    "best_loss.png",
    "best_and_worst.png",
    "accuracy.png",
    "parallel_coordinates.png",
    "curves.png",
    "settings.png",
    "error_bars.png",
    "profiles.png",
    "rungs.png",
)
"""The figures of `pipeline.figures.sweep`, each drawn by a call of its own: in parallel, and failing independently."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """The functions that draw: ``trial`` and, faster and without data, ``quick`` draw a trial that has ended.

    ``added`` draw it too: each is called by itself, so that one that fails costs no other. ``sweep`` draw a sweep from
    its trials, the best first, ``search`` draws its search.
    """

    trial: Callable[[PlannedTrial, Result, Mapping[str, Series], Dataset], Images] | None = None
    quick: Callable[[PlannedTrial, Result, Mapping[str, Series]], Images] | None = None
    added: Sequence[Callable[[PlannedTrial, Result, Mapping[str, Series]], Images]] = ()
    sweep: Sequence[Callable[[Sequence[TrialRecord]], Images]] = ()
    search: Callable[[Searched], Images] | None = None


def all_figures() -> Figures:
    """Return what draws the figures of a record: ours, and those that packages add."""
    of_sweeps = [*(("sweep", name) for name in SWEEP_FIGURES), *(("added", name) for name in names("sweep"))]
    return Figures(
        trial=functools.partial(_draw, "trial", "draw"),
        quick=functools.partial(_draw, "trial", "draw_quickly"),
        added=[functools.partial(_draw, "added", "draw_trial", name) for name in names("trial")],
        sweep=[functools.partial(_draw, module, "draw_sweep", name) for module, name in of_sweeps],
        search=functools.partial(_draw, "search", "draw_search"),
    )


def _draw(module: str, function: str, *arguments: Any) -> Images:
    """Call a function of a module of `pipeline.figures`, which is imported now: Matplotlib takes a second."""
    images: Images = getattr(importlib.import_module(f"pipeline.figures.{module}"), function)(*arguments)
    return images


class Drawings:
    """The figures of the ``runs`` of a record; one thread calls all methods.

    A lone trial and the winner of a sweep have all figures, the other trials of a sweep the quick ones, in a large
    sweep only those of tasks other than training. ``errors`` are those of figures that could not be drawn.
    """

    def __init__(self, runs: Runs, dataset: Dataset, figures: Figures, drawers: Drawers) -> None:
        self.errors: list[Exception] = []
        self._runs, self._dataset, self._figures, self._drawers = runs, dataset, figures, drawers
        self._pending: list[tuple[PlannedTrial | None, Future[Images]]] = []
        self._quick = [draw for draw in (figures.quick, *figures.added) if draw is not None]
        self._undrawn: dict[str, tuple[PlannedTrial, Result]] = {}  # of an earlier process, by key
        self._missing: Counter[str] = Counter()  # how many figures each of them lacks

    def replay(self, entry: object) -> None:
        """Remember the trials that an earlier process, which logged this entry, has ended and not drawn."""
        if isinstance(entry, Finished | Recalled):
            drawn = entry.result if self._draws(entry.trial) else dataclasses.replace(entry.result, arrays={})
            self._undrawn[entry.trial.key] = entry.trial, drawn
            self._missing[entry.trial.key] = len(self._quick)
        elif isinstance(entry, Drew) and entry.trial is not None:
            self._missing[entry.trial.key] -= 1
            if self._missing[entry.trial.key] <= 0:
                self._undrawn.pop(entry.trial.key, None)

    def draw_missing(self) -> None:
        """Draw the figures that an earlier process did not draw before it was killed, of trials that it ended."""
        for key in self._undrawn.keys() & self._runs.results():
            self.end(*self._undrawn[key])
        self._undrawn = {}

    def end(self, trial: PlannedTrial, result: Result) -> None:
        """Draw a trial that has ended; in a large sweep downsample its curves."""
        parent, curves = self._runs.parent, self._runs.runs[trial.key].points.curves
        if parent is None:
            self._draw_trial(trial, result)
            return
        if self._draws(trial):
            for draw in self._quick:
                self.draw(trial, draw, trial, result, curves.series())
        if self._is_large and not parent.best.may_win(trial):
            curves.thin(CURVE_POINTS)

    def end_sweep(self) -> None:
        """Draw the winner of a sweep, and the sweep."""
        parent = self._runs.parent
        if parent is None:
            return
        if parent.best.winner is not None:
            self._draw_trial(parent.best.winner.trial, parent.best.winner.result)  # it takes longest, so it comes first
        runs = self._runs.runs
        records = [
            TrialRecord(standing=one, curves=runs[one.trial.key].points.curves.series())
            for one in parent.tally.ranking()
            if one.trial.key in runs
        ]
        for draw in self._figures.sweep:
            self.draw(None, draw, records)
        if parent.searched is not None and self._figures.search is not None:
            self.draw(None, self._figures.search, parent.searched)

    def draw(self, trial: PlannedTrial | None, draw: Callable[..., Images], *arguments: Any) -> None:
        """Submit the figures ``draw(*arguments)`` of a trial, or of the sweep if that is None."""
        self._pending.append((trial, self._drawers.submit(draw, *arguments)))

    def drain(self) -> Iterator[tuple[PlannedTrial | None, Images]]:
        """Yield the figures that were drawn since the last call, with their trial, or None for the sweep."""
        pending, self._pending = self._pending, []
        for trial, drawn in pending:
            if not drawn.done():
                self._pending.append((trial, drawn))
                continue
            try:
                yield trial, drawn.result()
            except Exception as error:  # noqa: BLE001  # an error of one figure must not cost the others
                self.errors.append(error)

    def close(self) -> None:
        """Wait until all figures are drawn; `drain` yields them."""
        wait([drawn for _, drawn in self._pending])
        self._drawers.close()

    @property
    def _is_large(self) -> bool:
        """Whether a sweep is large: another's sweeper may launch it in batches, of which more become known."""
        parent = self._runs.parent
        return parent is not None and max(parent.sweep.size, len(parent.tally.standings)) > DRAWN_TRIALS

    def _draws(self, trial: PlannedTrial) -> bool:
        return not self._is_large or not trial.trial.task.trains

    def _draw_trial(self, trial: PlannedTrial, result: Result) -> None:
        curves = self._runs.runs[trial.key].points.curves.series()
        if self._figures.trial is not None:
            self.draw(trial, self._figures.trial, trial, result, curves, self._dataset.sample(SHOWN_EXAMPLES))
        if self._runs.parent is None or not self._draws(trial):
            for draw in self._figures.added:
                self.draw(trial, draw, trial, result, curves)
