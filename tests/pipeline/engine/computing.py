"""Tasks that fail in ways no real task should, and what a sweep of them is made of."""

import os
import signal
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from pipeline.engine.protocol import Failed, Finished, Progressed
from pipeline.plan import Point, make_plan
from pipeline.schema import parse
from tasks.datasets import Synthetic
from tasks.events import Curve, Outcome, Result

DATASET = Synthetic(examples=300, test_examples=20, features=12, classes=3, validation=20).load()


def planned(count=3, **values):
    return [
        Point(index=seed, overrides=(f"seed={seed}",), config=parse({"seed": seed, "steps": 50, **values}))
        for seed in range(count)
    ]


def groups_of(points, task=None, workers=2):
    plan = make_plan(points, DATASET, workers=workers)
    if task is None:
        return plan.groups
    return tuple(
        replace(group, trials=tuple(replace(t, trial=replace(t.trial, task=task)) for t in group.trials))
        for group in plan.groups
    )


def outcomes(engine, groups):
    """Run the groups and return the curves, results and failures by the trials' indices."""
    curves, results, failures = {}, {}, {}
    with engine:
        for report in engine.run(groups, DATASET):
            match report:
                case Progressed(trial=trial, curve=curve):
                    curves.setdefault(trial.index, []).append(curve)
                case Finished(trial=trial, result=result):
                    assert trial.index not in results
                    results[trial.index] = result
                case Failed(trial=trial):
                    assert trial.index not in failures
                    failures[trial.index] = report
    assert not set(results) & set(failures)
    return curves, results, failures


def merged(curves):
    """Return every metric of every trial as (steps, values), whatever blocks they came in."""
    found = {}
    for index, blocks in curves.items():
        for name in sorted({name for block in blocks for name in block.metrics}):
            have = [block for block in blocks if name in block.metrics]
            steps = np.concatenate([block.steps for block in have])
            found[index, name] = (steps, np.concatenate([block.metrics[name] for block in have]))
    return found


@dataclass(frozen=True, kw_only=True)
class Raising:
    """Raises after a point."""

    def run(self, trials, dataset, *, width, threads, start):
        yield Curve(trial=0, steps=np.array([1]), metrics={"train/loss": np.array([1.0])})
        raise ValueError("the loss is on strike")


@dataclass(frozen=True, kw_only=True)
class Dying:
    """Kills its process in the first ``times`` attempts, after half of its points."""

    folder: str
    times: int

    def run(self, trials, dataset, *, width, threads, start):
        for step in range(1, 11):
            for k in range(len(trials)):
                yield Curve(trial=k, steps=np.array([step]), metrics={"train/loss": np.array([1.0 / step])})
            time.sleep(0.05)
            attempts = len(list(Path(self.folder).iterdir()))
            if step == 8 and attempts < self.times:
                (Path(self.folder) / str(attempts)).touch()
                os.kill(os.getpid(), signal.SIGKILL)
        for k in range(len(trials)):
            yield Result(trial=k, outcome=Outcome.COMPLETE, step=10, metrics={})


@dataclass(frozen=True, kw_only=True)
class Hanging:
    """Yields points for ever."""

    def run(self, trials, dataset, *, width, threads, start):
        for step in range(1, 10_000):
            time.sleep(0.05)
            yield Curve(trial=0, steps=np.array([step]), metrics={"train/loss": np.array([1.0])})
