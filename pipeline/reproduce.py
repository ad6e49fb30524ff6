"""`python -m pipeline.reproduce RUN_ID`: run a trial again from its record, compare, and say how equal it is."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import yaml
from rich.console import Console
from rich.table import Table

from pipeline import provenance
from pipeline.comparison import Equality, Verdict, compare
from pipeline.engine.inprocess import InProcess
from pipeline.engine.protocol import Failed, Finished, Progressed, Started
from pipeline.identity import key
from pipeline.plan import Group, PlannedTrial
from pipeline.recorder.mlflow_recorder import MlflowRecorder
from pipeline.recorder.protocol import Layout, Recorder, RecordError
from pipeline.recorder.reading import RecordedRun, read_run, set_tags
from pipeline.schema import describe, parse
from tasks.datasets.dataset import Dataset
from tasks.errors import ConfigError, SweepError


def main(arguments: Sequence[str] | None = None) -> int:
    """Reproduce a run; return 0 where it is equal, 1 where it is different, 2 where it cannot be run."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.reproduce", description=__doc__)
    parser.add_argument("run_id", metavar="RUN_ID", help="the trial's run, as MLflow names it")
    parser.add_argument("--tracking-uri", default="sqlite:///mlflow.db", metavar="URI", help="default: %(default)s")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        dest="changes",
        metavar="KEY=VALUE",
        help="run with this change; what it makes different is shown, and is no failure",
    )
    options = parser.parse_args(arguments)
    try:
        old = read_run(options.tracking_uri, options.run_id)
        new = reproduce(options.tracking_uri, old, options.changes)
        verdict = compare(old, new)
        set_tags(options.tracking_uri, new.run_id, {"verdict": verdict.equality.value})
    except SweepError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201  # this is a command
        return 2
    show(Console(), old, new, verdict, changed=bool(options.changes))
    return int(verdict.equality is Equality.DIFFERENT and not options.changes)


def reproduce(uri: str, old: RecordedRun, changes: Sequence[str]) -> RecordedRun:
    """Run the trial of a record again, with ``changes`` to its config, and return the new run's record.

    Only rows of the project's tables are built from the recorded config: nothing in it is imported or run.

    Raises
    ------
    ConfigError
        If a change names no key, or the config breaks a rule.
    RecordError
        If the run never got as far as to be laid out, or the new one fails.
    """
    if old.layout is None:
        raise RecordError(f"the run must have ended by itself to be compared, got {old.run_id!r}, {old.status}")
    config = parse(changed(old.config, changes))
    dataset = config.dataset.load()
    config.trial.task.check(config.trial, dataset)
    trial = PlannedTrial(
        index=0,
        key=key(config, dataset.digest),
        name=f"{old.name} again",
        overrides=(*old.overrides, *changes),
        config=describe(config),
        trial=config.trial,
    )
    recorder = MlflowRecorder(uri, old.experiment)
    recorder.open(None, dataset)
    _run(recorder, trial, dataset, old.layout, _link(old))
    run_id = recorder.run_id(trial)
    assert run_id is not None, "a recorder that closes without an error has created the run"
    return read_run(uri, run_id)


def changed(config: Mapping[str, Any], changes: Sequence[str]) -> dict[str, Any]:
    """Return ``config`` with changes of the form ``key=value``, values read as YAML.

    A group's name alone chooses another of its rows, whose parameters then take their defaults.

    >>> changed({"steps": 10, "loss": {"name": "svm", "margin": 1.0}}, ["steps=20", "loss=softmax"])
    {'steps': 20, 'loss': {'name': 'softmax'}}
    """
    new = {name: dict(value) if isinstance(value, Mapping) else value for name, value in config.items()}
    for change in changes:
        name, equals, text = change.partition("=")
        section, _, inner = name.rpartition(".")
        holder = new.get(section) if section else new
        row = isinstance(holder, dict) and isinstance(holder.get(inner), dict)
        if not equals or not isinstance(holder, dict) or inner not in holder or (row and "name" not in holder[inner]):
            raise ConfigError(f"--set must be KEY=VALUE with a key of the recorded config, got {change!r}")
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError:
            raise ConfigError(f"--set {name} must have a value that YAML can read, got {text!r}") from None
        holder[inner] = {"name": value} if row else value
    return new


def show(console: Console, old: RecordedRun, new: RecordedRun, verdict: Verdict, *, changed: bool) -> None:
    """Print the verdict: every curve and array, then what changed, then the one line to remember."""
    table = Table(title=f"{old.run_id} and {new.run_id}", title_justify="left")
    for column in ("curve or array", "values", "verdict", "largest", "where"):
        table.add_column(column, overflow="fold")
    for d in verdict.differences:
        table.add_row(d.name, str(d.count), d.equality.value, f"{d.largest:.2g}", d.where)
    console.print(table)
    if verdict.changes:
        table = Table(title="what changed", title_justify="left")
        for column in ("", "then", "now"):
            table.add_column(column, overflow="fold")
        for name, (then, now) in verdict.changes.items():
            table.add_row(name, then, now)
        console.print(table)
    largest = verdict.largest
    detail = f"; largest difference {largest.largest:.2g} in {largest.name}, {largest.where}" if largest else ""
    asked = " (as was asked for by --set)" if changed and verdict.equality is Equality.DIFFERENT else ""
    console.print(f"verdict: {verdict.equality.value}{asked}{detail}", soft_wrap=True, highlight=False, markup=False)


def _run(recorder: Recorder, trial: PlannedTrial, dataset: Dataset, layout: Layout, link: Mapping[str, str]) -> None:
    tags, attachments = provenance.collect()
    status, failure = "KILLED", "it ended without a result"
    try:
        engine = InProcess(threads=layout.threads, device=layout.device, timeout=None)
        with engine:
            # The same width is the same arithmetic; the place in the group has no influence on the bits.
            for report in engine.run([Group(trials=(trial,), width=layout.width)], dataset):
                match report:
                    case Started():
                        recorder.start(trial, tags | dict(link), attachments)
                    case Progressed(curve=curve):
                        recorder.points(trial, curve)
                    case Finished(result=result, layout=new):
                        recorder.finish(trial, result, new)
                        status = "FINISHED"
                    case Failed(error=failure, traceback=traceback):
                        recorder.fail(trial, failure, traceback)
                        status = "FAILED"
    finally:
        recorder.close(status)
    if status != "FINISHED":
        raise RecordError(f"the run must end by itself to be compared, got: {failure}")


def _link(old: RecordedRun) -> dict[str, str]:
    link = f"#/experiments/{old.experiment_id}/runs/{old.run_id}"
    return {"reproduces": old.run_id, "mlflow.note.content": f"Reproduces [{old.name}]({link})."}


if __name__ == "__main__":
    sys.exit(main())
