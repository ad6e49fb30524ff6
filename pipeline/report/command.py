"""`python -m pipeline.report SWEEP_RUN_ID`: one HTML page of a sweep, or of two beside each other, for a mail."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from pipeline.config.environment import DEFAULT_URI, default_uri
from pipeline.report.page import comparison_page, sweep_page
from pipeline.tracking.reader import open_reader
from tasks.errors import SweepError


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the page; return 0, or 2 where it cannot be written."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.report", description=__doc__)
    parser.add_argument("run_id", metavar="SWEEP_RUN_ID", help="the sweep's parent run, as MLflow names it")
    parser.add_argument("--tracking-uri", default=default_uri(), metavar="URI", help=DEFAULT_URI)
    parser.add_argument("--output", type=Path, metavar="FILE", help="default: report-SWEEP_RUN_ID[-OTHER].html")
    parser.add_argument("--compare", metavar="OTHER", help="the parent run of another sweep, to set beside this one")
    options = parser.parse_args(arguments)
    other = f"-{options.compare}" if options.compare else ""
    output = options.output or Path(f"report-{options.run_id}{other}.html")
    try:
        reader = open_reader(options.tracking_uri)
        sweep = reader.sweep(options.run_id)
        page = comparison_page(sweep, reader.sweep(options.compare)) if options.compare else sweep_page(sweep)
        output.write_text(page, encoding="utf-8")
    except SweepError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201  # this is a command
        return 2
    except OSError as error:
        print(f"error: --output must be a file that can be written, got {output}: {error}", file=sys.stderr)  # noqa: T201
        return 2
    print(output.resolve())  # noqa: T201
    return 0
