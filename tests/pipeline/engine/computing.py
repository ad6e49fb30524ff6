"""Tasks that fail in ways no real task should, and what a sweep of them is made of."""

import json
import os
import signal
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from pipeline.config.schema import parse
from pipeline.engine import worker
from pipeline.engine.protocol import run
from pipeline.plan.plan import Group, Point, Progress, Segment, fuse, make_plan
from pipeline.reports import Failed, Finished, Paused, Progressed
from tasks.cost import DataSize
from tasks.datasets import Synthetic
from tasks.events import Curve
from tasks.studies.train import Train

DATASET = Synthetic(examples=300, test_examples=20, features=12, classes=3, validation=20).load()


def planned(count=3, **values):
    return [
        Point(index=seed, overrides=(f"seed={seed}",), config=parse({"seed": seed, "steps": 50, **values}))
        for seed in range(count)
    ]


def groups_of(points, task=None, workers=2):
    segments = [Segment(trial=trial) for trial in make_plan(points, DATASET).trials]
    groups = fuse(segments, DataSize.of(DATASET), workers=workers)
    if task is None:
        return groups
    return tuple(
        replace(group, trials=tuple(replace(t, trial=replace(t.trial, task=task)) for t in group.trials))
        for group in groups
    )


def outcomes(engine, groups, watch=lambda report: None):
    """Run the groups and return the curves, results and failures by the trials' indices."""
    with engine:
        return collected(run(engine, groups, DATASET), watch)


def collected(reports, watch=lambda report: None):
    """Return the curves, results and failures that reports tell of, by the trials' indices."""
    curves, results, failures = {}, {}, {}
    for report in reports:
        watch(report)
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


def assert_paused_trials_go_on(engine, task=None):
    """Assert that trials of two groups that pause twice, and are fused anew in between, lose no bit and no point."""
    points = planned(6)
    curves, results, paused = {}, {}, []
    with engine:
        engine.load(DATASET)
        engine.submit([replace(group, until=20) for group in groups_of(points, task=task, workers=2)], last=False)
        for report in engine.reports():
            match report:
                case Progressed(trial=trial, curve=curve):
                    curves.setdefault(trial.index, []).append(curve)
                case Finished(trial=trial, result=result):
                    results[trial.index] = result
                case Paused():
                    assert report.progress.checkpoint.step == (20 if len(paused) < 2 else 30)
                    paused.append(report)
                    if len(paused) == 2:
                        engine.submit([joined(paused, until=30)], last=False)
                    elif len(paused) == 3:
                        engine.submit([joined([paused[-1]], until=None)], last=True)
    assert [len(report.trials) for report in paused] == [3, 3, 6]
    assert set(results) == set(range(6))
    assert_same_bits(curves, results, undisturbed(points))
    for blocks in curves.values():
        steps = np.concatenate([block.steps for block in blocks if "train/loss" in block.metrics])
        assert len(steps) == len(set(steps.tolist()))


def joined(reports, until):
    """Return the group in which all trials that have paused go on."""
    start = replace(Progress.join([report.progress for report in reports]), reported=True)
    return Group(trials=tuple(trial for report in reports for trial in report.trials), start=start, until=until)


def merged(curves):
    """Return every metric of every trial as (steps, values), whatever blocks they came in."""
    found = {}
    for index, blocks in curves.items():
        for name in sorted({name for block in blocks for name in block.metrics}):
            have = [block for block in blocks if name in block.metrics]
            steps = np.concatenate([block.steps for block in have])
            found[index, name] = (steps, np.concatenate([block.metrics[name] for block in have]))
    return found


def undisturbed(points):
    """Return the curves and results of an undisturbed sweep of the points, in this process."""
    from pipeline.engine.inprocess import InProcess

    curves, results, failures = outcomes(InProcess(threads=1, device="cpu"), groups_of(points, workers=1))
    assert failures == {}
    return curves, results


def assert_same_bits(curves, results, expected):
    """Compare what a disturbed sweep told of its trials with an undisturbed one, and that it told it once."""
    expected_curves, expected_results = expected
    known = merged(expected_curves)
    for (index, name), (steps, values) in merged(curves).items():
        if index in results:
            np.testing.assert_array_equal(steps, known[index, name][0], err_msg=f"{index} {name}")
            np.testing.assert_array_equal(values, known[index, name][1], err_msg=f"{index} {name}")
    for index, result in results.items():
        assert {name for k, name in merged(curves) if k == index} == {name for k, name in known if k == index}
        assert result.metrics == expected_results[index].metrics
        np.testing.assert_array_equal(result.arrays["weights"], expected_results[index].arrays["weights"])


class Trains:
    """What the engine asks of a task beside its events."""

    trains = True

    def unused(self, trial):
        return Train().unused(trial)


@dataclass(frozen=True, kw_only=True)
class Disturbed(Trains):
    """Trains, with a pause at every event; the trial with the seed ``culprit`` does what ``how`` says at ``step``.

    So do those with one of several seeds, or all (None).

    Every attempt leaves a file in ``folder``: its process, the steps it began and ended with, and its seeds.
    On Ray ``between`` are the least seconds between two checkpoints.
    """

    folder: str
    pause: float = 0.0
    culprit: int | tuple[int, ...] | None = -1
    how: str = "kill"
    step: int = 20
    between: float | None = None

    def run(self, trials, dataset, **options):
        if self.between is not None:
            worker.CHECKPOINT_EVERY = self.between
        file = Path(self.folder) / f"{os.getpid()}-{time.time_ns()}"
        first = options["start"].step if options["start"] else 0
        culprits = self.culprit if isinstance(self.culprit, tuple) else (self.culprit,)
        poisoned = self.culprit is None or any(trial.seed in culprits for trial in trials)
        seeds = " ".join(str(trial.seed) for trial in trials)
        for event in Train().run(trials, dataset, **options):
            yield event
            step = int(event.steps[-1]) if isinstance(event, Curve) else event.step
            # Whole or not at all: the process may be killed in between.
            file.with_suffix(".part").write_text(f"{os.getpid()} {first} {step} {seeds}")
            file.with_suffix(".part").replace(file)
            if poisoned and step >= self.step:
                getattr(self, self.how)()
            time.sleep(self.pause)

    def kill(self):
        os.kill(os.getpid(), signal.SIGKILL)

    def crash(self):
        os.kill(os.getpid(), signal.SIGSEGV)
        time.sleep(10)

    def terminate(self):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(10)

    def leave(self):
        os._exit(0)

    def exit(self):
        sys.exit(3)

    def interrupt(self):
        raise KeyboardInterrupt

    def stop(self):
        next(iter(()))

    def throw(self):
        raise ValueError("poison")

    def hang(self):
        time.sleep(1000)

    def wait(self):
        deadline = time.monotonic() + 120
        while not Path(self.folder, "go.part").exists():
            if time.monotonic() > deadline:
                raise TimeoutError("nobody said go")
            time.sleep(0.05)


def attempts(folder):
    """Return what the attempts of a `Disturbed` left: (process, first step, last step, seeds)."""
    files = [file for file in Path(folder).iterdir() if file.suffix != ".part"]
    lines = [file.read_text().split() for file in sorted(files, key=lambda file: file.name.partition("-")[2])]
    return [(int(line[0]), int(line[1]), int(line[2]), tuple(map(int, line[3:]))) for line in lines]


@dataclass(frozen=True, kw_only=True)
class Raising(Trains):
    """Raises after a point."""

    def run(self, trials, dataset, **options):
        yield Curve(trial=0, steps=np.array([1]), metrics={"train/loss": np.array([1.0])})
        raise ValueError("the loss is on strike")


class Elsewhere(Trains):
    """Needs a module that no other process has."""

    def __reduce__(self):
        return __import__, ("that_is_not_there",)


class HangsOnImport(Trains):
    """Hangs wherever it is read, as a package that waits for something when it is imported."""

    def __reduce__(self):
        return time.sleep, (1000,)


@dataclass(frozen=True, kw_only=True)
class LostOnce(Trains):
    """Trains; the first attempt that goes on from a pause kills its process, at its first event."""

    folder: str

    def run(self, trials, dataset, **options):
        note = Path(self.folder) / "lost"
        for event in Train().run(trials, dataset, **options):
            if options["start"] is not None and not note.exists():
                note.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            yield event


@dataclass(frozen=True, kw_only=True)
class Hanging(Trains):
    """Yields points for ever."""

    def run(self, trials, dataset, **options):
        for step in range(1, 10_000):
            time.sleep(0.05)
            yield Curve(trial=0, steps=np.array([step]), metrics={"train/loss": np.array([1.0])})


@dataclass(frozen=True, kw_only=True)
class Telling(Trains):
    """Trains, and leaves a file in ``folder`` that says where: its process, its code and the labels of its node.

    It goes on when so many groups are there ``together``.
    """

    folder: str
    together: int = 1

    def run(self, trials, dataset, **options):
        import ray

        import pipeline

        labels = ray.get_runtime_context().get_node_labels()
        told = {"process": os.getpid(), "code": pipeline.__file__, "labels": labels}
        (Path(self.folder) / f"{os.getpid()}-{time.time_ns()}").write_text(json.dumps(told))
        deadline = time.monotonic() + 120
        while len(list(Path(self.folder).iterdir())) < self.together:
            if time.monotonic() > deadline:
                raise TimeoutError("the other groups have not come")
            time.sleep(0.05)
        yield from Train().run(trials, dataset, **options)


def told(folder):
    """Return what the groups of a `Telling` left."""
    return [json.loads(file.read_text()) for file in Path(folder).iterdir()]
