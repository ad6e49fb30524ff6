"""`python -m pipeline.backfill LOG`: what a store lacks of a sweep is written to it, from the sweep's log."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from pipeline.backfill.backfill import backfill
from tasks.errors import SweepError


def main(arguments: Sequence[str] | None = None) -> int:
    """Write to a store what a log holds; return 0, 1 where something is lost, or 2 where it cannot be written now."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.backfill", description=__doc__)
    parser.add_argument("log", type=Path, metavar="LOG", help="record-*.log, in the folder of the sweep")
    parser.add_argument("--tracking-uri", metavar="URI", help="default: that of the sweep, if it held no password")
    options = parser.parse_args(arguments)
    try:
        done = backfill(options.log, options.tracking_uri)
    except SweepError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201  # this is a command
        return 2
    for lost in done.lost:
        print(f"error: {lost}", file=sys.stderr)  # noqa: T201
    print(f"{done.entries} missing reports were written to the record\n{done.look}")  # noqa: T201
    return 1 if done.lost else 0
