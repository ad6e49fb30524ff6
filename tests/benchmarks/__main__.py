"""``python -m tests.benchmarks``: measure, print the table, and write it as JSON."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console

from tests.benchmarks import machine
from tests.benchmarks.benchmarks import BENCHMARKS
from tests.benchmarks.report import cells, table, write_json
from tests.benchmarks.row import ROUNDS, Row, Settings, Skipped
from tests.benchmarks.searches import SEEDS


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument(
        "--only", metavar="NAME", default="", help=f"those whose name so begins: {', '.join(BENCHMARKS)}"
    )
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the rows there, after every benchmark")
    parser.add_argument(
        "--repeat", metavar="N", type=int, help=f"rounds of everything (default: {ROUNDS}, and {SEEDS} of the search)"
    )
    parser.add_argument("--output", metavar="FOLDER", type=Path, default=Path("outputs/benchmarks"), help="for figures")
    given = parser.parse_args()
    chosen = [name for name in BENCHMARKS if name.startswith(given.only)]
    if not chosen:
        parser.error(f"--only must be the start of one of {', '.join(BENCHMARKS)}, got {given.only!r}")

    console = Console(highlight=False)
    console = console if console.is_terminal else Console(highlight=False, width=180)
    console.print(machine.describe())
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="b.", ignore_cleanup_errors=True) as scratch:
        settings = Settings(repeat=given.repeat, output=given.output, scratch=Path(scratch))
        for name in chosen:
            start, before = time.perf_counter(), machine.load()
            new = measure(name, settings)
            took = f"{time.perf_counter() - start:.0f} s, load {before} before, {machine.load()} after"
            print(f"{name}: {took}", *(" | ".join(cells(row)) for row in new), sep="\n  ", file=sys.stderr, flush=True)
            rows += new
            if given.json:
                write_json(rows, given.json)
    console.print(table(rows))


def measure(name: str, settings: Settings) -> list[Row]:
    """Return the rows of a benchmark; one that cannot be measured here is a row with the reason."""
    rows: list[Row] = []
    try:
        rows.extend(BENCHMARKS[name](settings))
    except Skipped as reason:
        rows.append(Row(name=name, note=f"skipped: {reason}"))
    except RuntimeError as error:
        print(error, file=sys.stderr)
        rows.append(Row(name=name, note=f"failed: {str(error).splitlines()[0]}"))
    return rows


if __name__ == "__main__":
    main()
