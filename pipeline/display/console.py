"""The console output of a sweep: the plan, its progress, the result table; plain lines without a terminal."""

from __future__ import annotations

import contextlib
import functools
import math
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

from rich.console import Console
from rich.measure import Measurement
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table

from pipeline.config.settings import counted, text_of, used_values
from pipeline.errors import Interrupted
from pipeline.plan.plan import Group, Plan
from pipeline.reports import Retried
from pipeline.results.cells import is_apart, setting_table, value_of
from pipeline.results.comparisons import findings
from pipeline.results.numbers import number
from pipeline.results.repeats import FRONT, on_front_of
from pipeline.results.standing import Standing
from pipeline.results.tally import Tally
from pipeline.stopping.forecast import Forecast
from tasks.events import Outcome

PLAIN_EVERY = 5.0
"""Seconds between two plain lines of progress."""

FIRST_SHARE = 0.01
"""The time left is told once this share of it has been done, or after `RECENT` seconds."""

RECENT = 30.0
"""Seconds whose steps say how long the others take: the slow trials of a sweep are often its last."""

MAX_ROWS = 30
"""The most rows of a table on the console; the record holds all."""

_WIDEST = 10_000  # columns that no table has


class _StoppingConsole(Console):
    """A console that stops the process, as a signal does, where nobody reads its output any more.

    Without a terminal a line of text is whole, however long it is: it may be searched for.
    """

    def print(self, *objects: Any, soft_wrap: bool | None = None, **options: Any) -> None:
        if soft_wrap is None and not self.is_terminal and all(isinstance(one, str) for one in objects):
            soft_wrap = True
        super().print(*objects, soft_wrap=soft_wrap, **options)

    def on_broken_pipe(self) -> None:
        with contextlib.suppress(SystemExit):
            super().on_broken_pipe()  # what is printed from now on is dropped
        raise Interrupted(signal.SIGPIPE)


plain_console = functools.partial(_StoppingConsole, markup=False, highlight=False, emoji=False)
"""Makes a console that shows names as they are: they may read like markup, or like an emoji."""


def make_console() -> Console:
    """Return the console on standard output; without a terminal it is wide enough for the tables."""
    console = plain_console()
    return console if console.is_terminal else plain_console(width=140)


class Display:
    """Shows the progress of a sweep while it runs; a context manager, which restores the terminal.

    ``to_come`` returns how many trials a search will still propose, at most.
    """

    def __init__(self, console: Console, tally: Tally, to_come: Callable[[], int] = lambda: 0) -> None:
        self._console = console
        self._tally, self._to_come = tally, to_come
        self._since = self._printed_at = time.monotonic()
        self._recent: deque[tuple[float, float]] = deque()  # when steps were done, and the cost of all until then
        self._bar: Progress | None = None

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            columns = (BarColumn(bar_width=24), TextColumn("{task.description}", markup=False))
            self._bar = Progress(*columns, console=self._console, transient=True)
            self._bar.add_task(self._line(), total=self._cost_total())
            self._bar.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._bar is not None:
            self._bar.stop()
        self._console.print(self._line(ended=True))

    def update(self) -> None:
        """Show the progress, at most ten times a second on a terminal, else every `PLAIN_EVERY` seconds."""
        now = time.monotonic()
        if self._tally.cost_done > (self._recent[-1][1] if self._recent else 0):
            self._recent.append((now, self._tally.cost_done))
        while len(self._recent) > 2 and now - self._recent[1][0] >= RECENT:
            self._recent.popleft()
        if self._bar is not None and now - self._printed_at >= 0.1:
            done, total = self._tally.cost_done, self._cost_total()
            self._bar.update(self._bar.task_ids[0], completed=done, total=total, description=self._line())
        elif self._bar is None and now - self._printed_at >= PLAIN_EVERY:
            self._console.print(self._line())
        else:
            return
        self._printed_at = now

    def print_line(self, text: str) -> None:
        """Print a line above the progress, unbroken: it may hold a path or a command to be copied."""
        self._console.print(text, soft_wrap=True)

    def _line(self, *, ended: bool = False) -> str:
        """Return the progress; once a sweep has ``ended``, also early, no trial counts as running."""
        tally = self._tally
        running = 0 if ended else tally.running
        parts = [f"{tally.done}/{self._trials_total()} trials", f"{running} running", f"{tally.failed} failed"]
        if tally.paused:
            parts.insert(2, f"{len(tally.paused)} paused")
        if leader := tally.leader():
            parts.append(f"best {leader}")
        left = None if ended else self._seconds_left()
        parts.append(_duration(time.monotonic() - self._since) if left is None else f"{_duration(left)} left")
        return ", ".join(parts)

    def _trials_total(self) -> int:
        return len(self._tally.standings) + self._to_come()

    def _cost_total(self) -> float:
        """Return the cost that is expected in all; a trial to come costs as much as a known one on average."""
        known = self._tally.cost_total
        return known + known * self._to_come() / max(1, len(self._tally.standings))

    def _seconds_left(self) -> float | None:
        """Return the seconds for the steps that are left, at the recent pace: before the first step workers start."""
        tally = self._tally
        if not self._recent or tally.done == self._trials_total():  # a rule may stop more than was expected
            return None
        begin, before = self._recent[0]
        done, left = tally.cost_done - before, self._cost_total() - tally.cost_done
        if done <= 0 or left <= 0:
            return None
        spent = time.monotonic() - begin
        # A group's trials report one after the other: of the first steps of many, those of one may be there.
        return spent * left / done if done >= FIRST_SHARE * left or spent >= RECENT else None


class Loading:
    """Shows the progress of loading data; a context manager, called with the amount done and the total.

    It shows nothing for data that are read without calls, and nothing more once its context has ended, while another
    thread may still be loading.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._printed_at = -math.inf
        self._bar: Progress | None = None
        self._lock = threading.Lock()
        self._ended = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        with self._lock:
            self._ended = True
            if self._bar is not None:
                self._bar.stop()

    def __call__(self, done: int, total: int) -> None:
        """Show that ``done`` of ``total`` (0: unknown) is loaded."""
        with self._lock:
            if not self._ended:
                self._show(done, total)

    def _show(self, done: int, total: int) -> None:
        if self._console.is_terminal:
            if self._bar is None:
                self._bar = Progress(console=self._console, transient=True)
                self._bar.add_task("loading data")
                self._bar.start()
            self._bar.update(self._bar.task_ids[0], completed=done, total=total or None)
        elif time.monotonic() - self._printed_at >= PLAIN_EVERY:
            share = f"{100 * done // total} %" if total else f"{done}"
            self._console.print(f"loading data: {share}")
            self._printed_at = time.monotonic()


def show_table(console: Console, tally: Tally) -> None:
    """Print the result table, the best first, of settings if there are repeats, and the trials' messages.

    Trials of another task, which have values in none of its columns, follow in a list of all their metrics.
    """
    ranking, settings = tally.ranking(), tally.settings()
    measured = {name for standing in ranking for name in standing.metrics}
    names = tally.criterion.columns(standing.metrics for standing in ranking)
    compared = {one.setting for one in ranking if not is_apart(one.metrics, names)}
    others = [one for one in ranking if one.setting not in compared]
    ranking = [one for one in ranking if one.setting in compared]
    repeated, shown = tally.repeated and bool(names), ranking[:MAX_ROWS]
    if repeated:
        _print_fitting(console, *setting_table([one for one in settings if one.key in compared], most=MAX_ROWS))
    elif names or not measured:
        front = on_front_of(settings)
        rows = [[*_ranked(one, names), *([front[one.setting]] if front else []), one.ending] for one in shown]
        _print_fitting(console, ["trial", *names, *([FRONT] if front else []), "outcome"], rows)
    else:
        console.print(_listed(shown))
    if others:
        console.print(_listed(others[:MAX_ROWS]))
    for standing in [*([] if repeated else shown), *others[:MAX_ROWS]]:
        if standing.message and standing.outcome is not Outcome.FAILED:  # failures are printed at the very end
            console.print(f"{standing.trial.name}: {standing.message}")
    if (more := len(compared if repeated else ranking) + len(others[MAX_ROWS:]) - MAX_ROWS) > 0:
        what = counted(more, "more setting") if repeated else f"{more} more"
        console.print(f"and {what} in the record")
    _show_unranked(console, tally, measured)
    for sentence in findings(settings):
        console.print(sentence, soft_wrap=None if repeated else True)


def _show_unranked(console: Console, tally: Tally, measured: set[str]) -> None:
    """Print a notice if no trial has reported the ranking metric, the default one only if trainings have completed.

    The metrics of a search with several rank nothing, and do not need the default one.
    """
    metric, every = tally.criterion.metric, tally.standings.values()
    trained = sum(one.trial.trial.task.trains and one.outcome is Outcome.COMPLETE for one in every)
    if measured and measured.isdisjoint(tally.criterion.metrics) and (not metric.endswith("accuracy") or trained > 1):
        names = ", ".join(sorted(measured)[:MAX_ROWS])
        console.print(
            f"sweep.metric={metric} has a value in no trial's report, so nothing is ranked; there are: {names}"
        )


def _ranked(standing: Standing, names: Sequence[str]) -> list[str]:
    return [standing.trial.name, *(value_of(standing.metrics, name) for name in names)]


def _print_fitting(console: Console, names: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table; if a terminal is too narrow, leave out the last metrics (never the first), and say so."""
    metrics = [place for place, name in enumerate(names) if "/" in name or "%" in name]
    shown, left_out = list(range(len(names))), list[int]()
    while True:
        table = _table(*(names[place] for place in shown))
        for row in rows:
            table.add_row(*(row[place] for place in shown))
        width = Measurement.get(console, console.options.update(width=_WIDEST), table).maximum
        if not console.is_terminal or width <= console.width or len(metrics) < 2:
            break
        left_out.insert(0, metrics.pop())
        shown.remove(left_out[0])
    (console if console.is_terminal else plain_console(file=console.file, width=width)).print(table)
    if left_out:
        told = ", ".join(dict.fromkeys(names[place] for place in left_out))
        console.print(f"left out, for want of room: {told}")


def _listed(ranking: Sequence[Standing]) -> Table:
    """Return a table with a row for each metric, for tasks whose metrics are too many for columns."""
    table = _table("trial", "metric", "value", "outcome")
    for standing in ranking:
        name, outcome = standing.trial.name, standing.ending
        for metric, value in sorted(standing.metrics.items()) or [("", math.nan)]:
            table.add_row(name, metric, number(value, 6) if metric else "", outcome)
            name = outcome = ""
    return table


def _table(*names: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in names:
        table.add_column(name, overflow="fold", no_wrap="/" in name or "%" in name)
    return table


def show_folded(console: Console, plan: Plan) -> None:
    """Print which points of the grid are duplicates."""
    if not plan.folded:
        return
    pairs = ", ".join(f"#{index} = #{first}" for index, first in list(plan.folded.items())[:MAX_ROWS])
    more = ", ..." if len(plan.folded) > MAX_ROWS else ""
    count = len(plan.folded) + len(plan.trials)
    console.print(
        f"{len(plan.folded)} of {count} points repeat another (all parameters that they use are equal) "
        f"and are not run twice: {pairs}{more}",
    )


def show_past(console: Console, counts: tuple[int, int, int], damaged: Sequence[Path]) -> None:
    """Print how many trials of a resumed sweep have ended, go on from a checkpoint, and start."""
    ended, further, fresh = counts
    already = f"{counted(ended, 'trial')} finished already"
    console.print(f"resumed: {already}, {further} to go on from a checkpoint, {fresh} to start")
    for path in damaged:
        console.print(f"damaged, so the checkpoint before it counts: {path}", soft_wrap=True)


def retry_message(report: Retried) -> str:
    """Return the message of a retry."""
    names = ", ".join(trial.name for trial in report.trials[:3]) + (", ..." if len(report.trials) > 3 else "")
    count = len(report.trials)
    who = f"{count} trials ({names}) are" if count > 1 else f"{names} is"
    halved = " in halves, to find which of them cause it" if report.parts > 1 else ""
    alone = f", {report.alone[0]} of {report.alone[1]} alone" if report.alone else ""
    return f"{report.error}: {who} computed again{halved}, attempt {report.attempt}{alone}, from step {report.step}"


def show_plan(
    console: Console,
    plan: Plan,
    groups: Sequence[Group],
    *,
    workers: int,
    memory: int,
    seconds: float | None,
    total: int,
) -> None:
    """Print the plan of a dry run: its groups, the memory of a worker in bytes (0: unknown), the estimated time.

    The time is that of all ``total`` trials, of which the plan may have the first only; None if it is unknown.
    """
    shared = f"{counted(len(groups), 'group')} on {counted(workers, 'worker')}"
    said = [f"{counted(len(plan.trials), 'trial')}, {len(plan.folded)} folded, in {shared}"]
    if memory:
        said.append(f"about {memory / 1e6:.0f} MB a worker beside the shared data")
    if seconds is not None:
        said.append(f"about {_duration(seconds)}" + (f" for all {total} trials" if total > len(plan.trials) else ""))
    console.print("; ".join(said))
    table = _table("group", "trials", "strategy", "batch_size", "steps", "first trial")
    for place, group in enumerate(groups[:MAX_ROWS]):
        first = group.trials[0]
        used = used_values(first.trial)  # a task may use neither a strategy nor a batch size, nor steps
        size = text_of("batch_size", used["batch_size"]) if "batch_size" in used else ""
        strategy, steps = (str(used.get(key, "")) for key in ("strategy", "steps"))
        table.add_row(str(place), str(len(group.trials)), strategy, size, steps, first.name)
    console.print(table)
    if len(groups) > MAX_ROWS:
        console.print(f"and {counted(len(groups) - MAX_ROWS, 'more group')}")


def show_forecast(console: Console, forecast: Forecast, *, seconds: float | None) -> None:
    """Print the forecast of a stopping rule, for a plan that takes ``seconds`` without one (None: unknown)."""
    reached = ", ".join(f"{count} to step {step}" for step, count in forecast.reached.items())
    share = f"{100 * forecast.share:.0f} % of the steps"
    if seconds is not None and (less := _duration(forecast.share * seconds)) != (all_steps := _duration(seconds)):
        share += f", about {less} instead of {all_steps}"
    console.print(f"stopping: {reached}, if their ranking stays as at the first rung; {share}", soft_wrap=True)


def _duration(seconds: float) -> str:
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    return f"{whole // 60} min {whole % 60} s" if whole < 3600 else f"{whole // 3600} h {whole % 3600 // 60} min"
