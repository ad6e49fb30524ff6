"""`python -m pipeline.reproduce RUN_ID`: run a trial or a sweep again from its record, compare, say how equal it is."""

from __future__ import annotations

import argparse
import atexit
import gc
import sys
from collections.abc import Sequence

from pipeline.config.environment import DEFAULT_URI, default_uri
from pipeline.config.tables import faults
from pipeline.display.console import make_console
from pipeline.errors import Interrupted, RecordError
from pipeline.reproduce.comparison import Equality, Verdict, compare, overall, worst
from pipeline.reproduce.rerun import REPRODUCES, rerun
from pipeline.reproduce.verdicts import show_trial, show_trials, summary
from pipeline.signals import StopSignals
from pipeline.tracking.reader import Reader, RecordedRun, RecordedSweep, open_reader
from tasks.errors import SweepError


def main(arguments: Sequence[str] | None = None) -> int:
    """Reproduce a run; return 0 if it is equal, 1 if it differs, 2 if it cannot be run, 128 + N on signal N."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.reproduce", description=__doc__)
    parser.add_argument("run_id", metavar="RUN_ID", help="the run of a trial, or a sweep's parent run, in MLflow")
    parser.add_argument("--tracking-uri", default=default_uri(), metavar="URI", help=DEFAULT_URI)
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        dest="changes",
        metavar="KEY=VALUE",
        help="run with this change (there may be several); its differences are shown and are no failure",
    )
    options = parser.parse_args(arguments)
    atexit.register(gc.freeze)  # as `pipeline.cli.app` does
    for fault in faults():
        print(fault, file=sys.stderr)  # noqa: T201
    try:
        with StopSignals():
            return _reproduce(open_reader(options.tracking_uri), options.run_id, options.changes)
    except (SweepError, OSError, MemoryError) as error:  # the last two of reading the data
        print(f"error: {error}", file=sys.stderr)  # noqa: T201  # this is a command
        return 2
    except Interrupted as stop:
        print(f"stopped: {stop}", file=sys.stderr)  # noqa: T201
        return 128 + stop.number


def _reproduce(reader: Reader, run_id: str, changes: Sequence[str]) -> int:
    """Run what is recorded again, print the verdict, and return the exit code."""
    console = make_console()
    sweep, olds, left_out = _read(reader, run_id)
    news = rerun(reader, olds, sweep, changes, console)
    compared = list(map(compare, olds, news))
    verdict = summary(compared, left_out=left_out, changed=bool(changes))
    _annotate(reader, sweep, compared, verdict)
    if sweep is None:
        show_trial(console, compared[0])
    else:
        show_trials(console, compared, sweep.criterion.metric)
    console.print(f"verdict: {verdict}", soft_wrap=True, markup=False)
    different = worst(one.equality for one in compared) is Equality.DIFFERENT
    return int(different and not changes)


def _read(reader: Reader, run_id: str) -> tuple[RecordedSweep | None, list[RecordedRun], int]:
    """Return the sweep (None for a lone trial), its trials that ended by themselves, and how many did not."""
    if reader.is_trial(run_id):
        return None, [reader.trial(run_id)], 0
    sweep = reader.sweep(run_id)
    runs = [reader.trial(run.run_id) for run in sweep.runs]
    ended = [run for run in runs if run.layout is not None]
    if not ended:
        raise RecordError(f"the sweep must have a trial that ended by itself, got {run_id!r} with none")
    return sweep, ended, len(runs) - len(ended)


def _annotate(reader: Reader, sweep: RecordedSweep | None, compared: Sequence[Verdict], verdict: str) -> None:
    """Write into the new runs which runs they reproduce, and the verdict."""
    place = f"#/experiments/{compared[0].old.experiment_id}/runs"
    for one in compared:
        found = overall([one])
        link = f"Reproduces [{one.old.name}]({place}/{one.old.run_id}): {found}."
        reader.annotate(one.new.run_id, {REPRODUCES: one.old.run_id, "verdict": found}, link)
    if sweep is not None:
        found = overall(compared)
        link = f"Reproduces [{sweep.name}]({place}/{sweep.run_id}): {verdict}."
        reader.annotate(compared[0].new.tags["mlflow.parentRunId"], {"verdict": found}, link)
