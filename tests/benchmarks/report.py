"""The table of the rows, for a person and as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from rich.markup import escape
from rich.table import Table

from tests.benchmarks.row import Row

COLUMNS = ("benchmark", "value", "against", "ratio", "reach", "met", "note")


def table(rows: Sequence[Row]) -> Table:
    """Return the rows as a table."""
    drawn = Table(title="Benchmarks")
    for column in COLUMNS:
        number = column in {"value", "against", "ratio"}
        drawn.add_column(column, justify="right" if number else "left", no_wrap=column != "note", overflow="fold")
    for row in rows:
        drawn.add_row(*map(escape, cells(row)))
    return drawn


def cells(row: Row) -> tuple[str, ...]:
    """Return a row as texts.

    >>> cells(Row(name="a", unit="s", value=2.0, note="alone"))
    ('a', '2 s', '', '', '', '', 'alone')
    """
    met = {True: "yes", False: "no", None: ""}[row.met]
    ratio = "" if row.ratio is None else f"{row.ratio:.3g}x"
    reach = "" if row.reach is None else str(row.reach)
    return row.name, _quantity(row.value, row.unit), _quantity(row.against, row.unit), ratio, reach, met, row.note


def write_json(rows: Sequence[Row], file: Path) -> None:
    """Write the rows as a list of objects."""
    file.write_text(json.dumps([row.plain() for row in rows], indent=1) + "\n", encoding="utf-8")


def _quantity(value: float | None, unit: str) -> str:
    return "" if value is None else f"{value:.4g} {unit}".rstrip()
