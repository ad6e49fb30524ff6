"""``python -m tests.benchmarks.costs``: what steps, messages and points cost here, and a small sweep, as JSON."""

from __future__ import annotations

import gc
import json
import resource
import sqlite3
import tempfile
import time
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import ray

from pipeline.config.schema import parse
from pipeline.engine.ledger import Ledger
from pipeline.engine.protocol import run
from pipeline.engine.worker import GroupStarted, compute
from pipeline.figures.drawings import DRAWN_TRIALS
from pipeline.plan.plan import Group, Plan, Point, Segment, fuse, make_plan
from pipeline.record.protocol import Provenance, SweepHeader
from pipeline.reports import Finished, Progressed, Started
from pipeline.results.tally import Tally
from pipeline.sweep.engines import make_engine
from pipeline.tracking.mlflow_recorder import MlflowRecorder
from tasks.cost import DataSize
from tasks.events import Curve, Outcome, Result
from tests.benchmarks.timing import seconds

CLASSES, FEATURES = 10, 3072
WORKERS = 2
METRICS = ("train/loss", "train/data_loss", "train/accuracy", "examples")
NARROW, WIDE, STEPS = 12, 96, 60
SHAPES = {"trials": (20, 1, 10), "points": (20, 1, 1000), "reports": (20, 50, 10)}
"""Trials, reports a trial and steps a report of the three recordings that tell the three costs apart."""

KEPT = (50, 20)
"""Reports a trial and steps a report of the recordings after which the driver's memory is looked at."""

SMALL_SWEEP = {"trials": 64, "steps": 500}
STREAMS, MESSAGES = 1000, 300


def points(count: int, *, steps: int, cluster: bool = False) -> list[Point]:
    """Return the points of a sweep on images of CIFAR-10's size."""
    dataset = {"name": "synthetic", "features": FEATURES, "examples": 5000, "validation": 500, "test_examples": 500}
    config: dict[str, Any] = {"dataset": dataset, "steps": steps, "learning_rate": 1e-7, "batch_size": 256}
    config |= {"cluster": {"workers": WORKERS, "address": "local"}} if cluster else {}
    return [
        Point(index=seed, overrides=(f"seed={seed}",), config=parse(config | {"seed": seed})) for seed in range(count)
    ]


def of_steps(dataset: Any) -> dict[str, float]:
    """Return the CPU seconds of a fused group's step on one thread: a base, and so much for each trial."""
    taken = {}
    for width in (NARROW, WIDE):
        trials = [point.config.trial for point in points(width, steps=STEPS)]
        list(compute(trials[:1], dataset, threads=1))  # probes the BLAS
        clock = time.process_time()
        list(compute(trials, dataset, threads=1))
        taken[width] = (time.process_time() - clock) / STEPS
    each = (taken[WIDE] - taken[NARROW]) / (WIDE - NARROW)
    return {"step_trial": each, "step_base": max(0.0, taken[NARROW] - NARROW * each)}


def of_record(dataset: Any) -> dict[str, float]:
    """Return what a trial, a report and a point cost: the driver's CPU seconds, the writer's, and bytes."""
    driver, writer, size = {}, {}, {}
    recorded(dataset, *SHAPES["trials"])  # the first imports what the others use: half a second, of twenty trials
    for name, shape in SHAPES.items():
        driver[name], writer[name], size[name], _ = recorded(dataset, *shape)
    matrix = np.array([(k, k * r, k * r * p * len(METRICS)) for k, r, p in SHAPES.values()], dtype=float)
    names = ("trial", "report", "point")

    def solved(prefix: str, taken: dict[str, float]) -> dict[str, float]:
        found = np.linalg.solve(matrix, list(taken.values())).clip(min=0).tolist()
        return {f"{prefix}_{name}": cost for name, cost in zip(names, found, strict=True)}

    tracemalloc.start()
    # More than are drawn one by one: of these, as of the trials of any larger sweep, few points are kept.
    few, many = (recorded(dataset, DRAWN_TRIALS + trials, *KEPT)[3] for trials in (2, 42))
    tracemalloc.stop()
    memory = {"memory_trial": max(0.0, many - few) / 40}
    return solved("driver", driver) | solved("writer", writer) | solved("bytes", size) | memory


def recorded(dataset: Any, trials: int, reports: int, steps: int) -> tuple[float, float, float, float]:
    """Record made-up curves; return the driver's and the writer's CPU seconds, bytes on disk and bytes kept."""
    before = tracemalloc.get_traced_memory()[0]
    plan = make_plan(points(trials, steps=reports * steps), dataset)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        recorder = MlflowRecorder(f"sqlite:///{folder}/mlflow.db", "costs")
        recorder.open(
            SweepHeader(name="c", overrides=(), trials=plan.trials),
            dataset,
            Provenance(),
        )
        empty = size_of(folder)
        ledger = Ledger.of(Group(trials=plan.trials))
        tally, clock, whole = Tally(plan.trials), time.thread_time(), cpu_seconds()
        for message in made_up(trials, reports, steps):
            for report in ledger.reports_of(message):
                recorder.record(report)
                tally.count(report)
        spent = time.thread_time() - clock
        recorder.close("FINISHED")
        whole = cpu_seconds() - whole
        files = size_of(folder) - empty
        with sqlite3.connect(f"{folder}/mlflow.db") as connection:
            (rows,) = connection.execute("SELECT COUNT(*) FROM metrics").fetchone()
        assert rows >= trials * reports * steps * len(METRICS), "every point is written"
        del ledger, message, report  # a group's is gone when it has ended, the plan and the recorder stay
        gc.collect()
        kept = tracemalloc.get_traced_memory()[0] - before
    return spent, whole - spent, files, kept


def cpu_seconds() -> float:
    """Return the CPU seconds of this process, of all its threads, and of its children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def size_of(folder: str) -> int:
    """Return the bytes of the files in a folder."""
    return sum(file.stat().st_size for file in Path(folder).rglob("*") if file.is_file())


def made_up(trials: int, reports: int, steps: int) -> Any:
    """Yield the messages of a group."""
    yield GroupStarted(host="here", device="cpu", threads=1, blas="none")
    rng = np.random.default_rng(0)
    for report in range(reports):
        numbers = report * steps + np.arange(steps)
        yield tuple(
            Curve(trial=k, steps=numbers, metrics={name: rng.random(steps) for name in METRICS}) for k in range(trials)
        )
    weights = {"weights": np.zeros((CLASSES, FEATURES + 1), np.float32)}
    for k in range(trials):
        yield (Result(trial=k, outcome=Outcome.COMPLETE, step=reports * steps, metrics={}, arrays=weights),)


def of_ray() -> dict[str, float]:
    """Return the driver's seconds a message, and a stream that it waits for, on the cluster that it has joined."""

    @ray.remote(num_returns="streaming", num_cpus=0)  # the engine's workers may hold all CPUs
    def small(count: int) -> Any:
        yield from (number for number in range(count))  # Ray wants a generator that can be sent to

    @ray.remote(num_returns="streaming", resources={"nowhere": 1})
    def never() -> Any:
        yield None

    stream = small.remote(MESSAGES)
    first = next(stream)
    time.sleep(3)  # all of them are there
    message = seconds(lambda: [ray.get(ref) for ref in (first, *stream)]) / MESSAGES
    waiting = [never.remote() for _ in range(STREAMS)]
    looks = [
        seconds(lambda: ray.wait(waiting, num_returns=len(waiting), timeout=0, fetch_local=False)) for _ in range(5)
    ]
    block = np.zeros(2**27, np.uint8)
    put = seconds(lambda: ray.put(block)) / block.nbytes
    return {"message": message, "wait": min(looks) / STREAMS, "put_byte": put}


def contention() -> float:
    """Return how many times its CPU time a computation takes: 1 on a machine that does nothing else."""
    clock, start = time.thread_time(), time.perf_counter()
    while time.perf_counter() - start < 2:
        sum(range(100_000))
    return (time.perf_counter() - start) / (time.thread_time() - clock)


def small_sweep(engine: Any, plan: Plan, dataset: Any) -> float:
    """Return the seconds of a real sweep from its first group to the end of its record."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        recorder = MlflowRecorder(f"sqlite:///{folder}/mlflow.db", "costs")
        recorder.open(
            SweepHeader(name="c", overrides=(), trials=plan.trials),
            dataset,
            Provenance(),
        )
        segments = [Segment(trial=trial) for trial in plan.trials]
        groups = fuse(segments, DataSize.of(dataset), workers=WORKERS)
        tally, start = Tally(plan.trials), time.perf_counter()
        for report in run(engine, groups, dataset):
            if isinstance(report, Started | Progressed | Finished):
                recorder.record(report)
                tally.count(report)
        recorder.close("FINISHED")
        return time.perf_counter() - start


def main() -> None:
    """Print the costs."""
    swept = points(SMALL_SWEEP["trials"], steps=SMALL_SWEEP["steps"], cluster=True)
    dataset = swept[0].config.dataset.load()
    costs = of_steps(dataset) | of_record(dataset)
    plan = make_plan(swept, dataset)
    with make_engine(swept[0].config, lone=False) as engine:
        small_sweep(engine, make_plan(swept[:WORKERS], dataset), dataset)  # the workers import
        before = contention()
        costs["real_sweep"] = small_sweep(engine, plan, dataset)
        costs |= {"contention": (before + contention()) / 2} | of_ray()
    print(json.dumps(costs))


if __name__ == "__main__":
    main()
