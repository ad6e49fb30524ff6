"""Prints the verdict on reproduced records: of one trial curve by curve, of a sweep trial by trial."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipeline.config.settings import counted
from pipeline.reproduce.comparison import Difference, Equality, Verdict, overall
from pipeline.results.numbers import number
from pipeline.tracking.reader import RecordedRun

_MOST, _LONGEST = 3, 24
"""The most values of a sweep's trials in one cell, and the most characters of each."""


def show_trial(console: Console, one: Verdict) -> None:
    """Print every curve and array of a trial, with the last values of the curves then and now, and what changed."""
    title = f"{one.old.run_id} and {one.new.run_id}"
    table = _table(title, "curve or array", "values", "then", "now", "verdict", "largest", "where")
    for d in one.differences:
        ends = (_end(run, d.name) for run in (one.old, one.new))
        _add(table, d.name, str(d.count), *ends, d.equality.value, f"{d.largest:.2g}", d.where)
    console.print(table)
    _show_changes(console, [one])


def show_trials(console: Console, compared: Sequence[Verdict], metric: str = "val/accuracy") -> None:
    """Print every trial of a sweep with its ``metric`` then and now, its verdict and the curve that differs most.

    If no trial has the metric, the accuracy is printed instead.
    """
    measured = {name for one in compared for run in (one.old, one.new) for name in run.curves}
    shown = [name for name in (metric, "val/accuracy", "train/accuracy") if name in measured][:1]
    table = _table("", "trial", *(text for name in shown for text in (name, "now")), "verdict", "largest", "in")
    for one in compared:
        far = one.largest
        ends = (_end(run, name) for name in shown for run in (one.old, one.new))
        most = (f"{far.largest:.2g}", far.name) if far else ("0", "")
        _add(table, one.old.name, *ends, overall([one]), *most)
    console.print(table)
    _show_changes(console, compared)


def summary(compared: Sequence[Verdict], *, left_out: int, changed: bool) -> str:
    """Return the verdict on all trials in one line; ``left_out`` is how many had not ended in the old record."""
    parts = [overall(compared)]
    if changed and parts[0] == Equality.DIFFERENT.value:
        parts[0] += " (expected: --set changed the config)"
    far = max((d for one in compared if (d := one.largest)), key=lambda d: d.largest, default=None)
    if far:
        parts.append(_place(far))
    if len(compared) > 1 or left_out:
        counts = {each: sum(one.equality is each for one in compared) for each in Equality}
        equalities = ", ".join(f"{count} {each.value}" for each, count in counts.items() if count)
        parts.append(f"of {len(compared)} trials {equalities}")
    if lacking := sum(one.lacks_arrays for one in compared):
        of = f" of {counted(lacking, 'trial')}" if len(compared) > 1 else ""
        parts.append(f"the arrays{of} are not in the old record")
    if left_out:
        parts.append(f"{left_out} had not ended by themselves and were left out")
    return "; ".join(parts)


def _show_changes(console: Console, compared: Sequence[Verdict]) -> None:
    names = sorted({name for one in compared for name in one.changes})
    if not names:
        return
    several = ["trials"] if len(compared) > 1 else []
    table = _table("what changed", "", "then", "now", *several)
    for name in names:
        pairs = [one.changes[name] for one in compared if name in one.changes]
        then, now = (_values_text(pair[side] for pair in pairs) for side in (0, 1))
        _add(table, name, then, now, *(str(len(pairs)) for _ in several))
    console.print(table)


def _place(far: Difference) -> str:
    if math.isinf(far.largest):
        return f"{far.name}: {far.where}"
    return f"largest difference {far.largest:.2g} in {far.name}, {far.where}"


def _end(run: RecordedRun, name: str) -> str:
    """Return the last value of a curve, an empty text if there is none."""
    return number(run.curves[name].values[-1]) if name in run.curves else ""


def _values_text(texts: Iterable[str]) -> str:
    distinct = list(dict.fromkeys(texts))
    if len(distinct) == 1:
        return distinct[0]
    shown = [text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..." for text in distinct[:_MOST]]
    return ", ".join(shown) + (f", ... ({len(distinct)} values)" if len(distinct) > _MOST else "")


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title or None, title_justify="left")
    for column in columns:
        table.add_column(Text(column), overflow="fold")
    return table


def _add(table: Table, *cells: str) -> None:
    table.add_row(*map(Text, cells))  # a name may read like markup
