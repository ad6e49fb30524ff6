"""A sweep on a cluster that nobody has here: what it would take, and what would break first, from measured costs."""

from __future__ import annotations

import dataclasses
import heapq
import json
import math
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from pipeline.engine.worker import BATCH_EVERY, CHECKPOINT_EVERY
from pipeline.plan.plan import WIDEST
from tests.benchmarks.commands import pipeline, timed
from tests.benchmarks.costs import CLASSES, FEATURES, METRICS, SMALL_SWEEP, WORKERS
from tests.benchmarks.row import Reach, Row, Settings

SCENARIOS = ((8, 1_000), (100, 10_000), (1_000, 10_000), (1_000, 100_000), (1_000, 1_000_000))
"""Workers and trials."""

STEPS, RECORD_EVERY, CHECKPOINT_STEPS = 1000, 10, 100
"""The config's defaults."""

IMAGES_BYTES = 60_000 * FEATURES
WEIGHTS_BYTES = 4 * CLASSES * (FEATURES + 1)

BANDWIDTH = 1.25e9
"""Assumed: bytes a second between two nodes, and into the driver (10 Gbit/s)."""

MEMORY = 64e9
"""Assumed: bytes of the machine of the driver."""

WORKERS_A_NODE = 8
"""Assumed: how many workers share one copy of the images."""

SLICES = 8
"""Parts of a group whose messages reach the driver together; finer ones change the result by less than a tenth."""

REMEDIES = {
    "arithmetic": "more workers",
    "planning": "several sweeps side by side",
    "broadcast": "a path that every node sees",
    "network": "fewer checkpoints: a larger trial.checkpoint_every, or null",
    "driver": "fewer points: a larger trial.record_every",
    "memory": "several sweeps one after another; a larger trial.record_every",
    "store": "the workers do not wait for it; a larger trial.record_every, or several sweeps: each has a writer",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """What was measured, in seconds (of CPU time but for messages and planning) or bytes, a trial, a point, and so on.

    ``step`` is of a group, ``report`` is a trial's part of a message; ``driver`` is the thread that hears the
    workers, ``writer`` what fills the store beside it, ``real_sweep`` the seconds of the sweep that is simulated too,
    and ``contention`` how many times longer than on an idle machine everything took then.
    """

    step_base: float
    step_trial: float
    message: float
    wait: float
    put_byte: float
    driver_trial: float
    driver_report: float
    driver_point: float
    writer_trial: float
    writer_report: float
    writer_point: float
    plan_trial: float
    bytes_trial: float
    bytes_report: float
    bytes_point: float
    memory_trial: float
    real_sweep: float
    contention: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulated:
    """What a sweep would take: seconds until its record and its last worker end, seconds of each part, and bytes."""

    makespan: float
    trained: float
    work: dict[str, float]
    memory: float
    disk: float

    @property
    def first(self) -> str:
        """What limits the sweep: memory that is not there, else the part with the most work, which the others await."""
        if self.memory > MEMORY:
            return "memory"
        return max(self.work, key=self.work.__getitem__)


def simulate(
    costs: Costs,
    workers: int,
    trials: int,
    *,
    steps: int = STEPS,
    record_every: int = RECORD_EVERY,
    checkpoint_every: float = CHECKPOINT_EVERY,
    nodes: int | None = None,
) -> Simulated:
    """Follow every group from worker to driver to store, each of which does one thing after another.

    Groups are as wide as the plan makes them, equal, and as many as keep all workers busy. A worker gets its next
    group once the driver has heard the last of the one before. ``checkpoint_every`` are the seconds between two
    checkpoints of a worker; one node (``nodes=1``) sends nothing over a network.
    """
    nodes = nodes or math.ceil(workers / WORKERS_A_NODE)
    rounds = math.ceil(trials / (WIDEST * workers))
    groups = min(trials, rounds * workers)
    width = trials / groups
    compute = steps * (costs.step_base + costs.step_trial * width)
    points = width * steps / record_every * len(METRICS)
    messages = 2 + min(compute / BATCH_EVERY, steps / record_every)
    reports = width * (messages - 1)
    kept = min(compute / checkpoint_every, steps / CHECKPOINT_STEPS)
    network = 0.0 if nodes == 1 else width * WEIGHTS_BYTES * (1 + kept) / BANDWIDTH
    heard = messages * (costs.message + costs.wait)
    heard += width * costs.driver_trial + reports * costs.driver_report + points * costs.driver_point
    written = width * costs.writer_trial + reports * costs.writer_report + points * costs.writer_point

    planning = trials * costs.plan_trial
    broadcast = IMAGES_BYTES * (costs.put_byte + math.ceil(math.log2(nodes)) / BANDWIDTH)
    driver = store = begin = planning + broadcast
    events = [(begin + compute / SLICES, worker, 1) for worker in range(min(workers, groups))]
    left = groups - len(events)
    while events:
        now, worker, part = heapq.heappop(events)
        driver = max(driver, now) + max(heard, network) / SLICES
        store = max(store, driver) + written / SLICES
        if part < SLICES:
            heapq.heappush(events, (now + compute / SLICES, worker, part + 1))
        elif left:
            left -= 1
            heapq.heappush(events, (driver + compute / SLICES, worker, 1))
    work = {"arithmetic": compute * groups / workers, "planning": planning, "broadcast": broadcast}
    work |= {"network": network * groups, "driver": heard * groups, "store": written * groups}
    return Simulated(
        makespan=max(driver, store),
        trained=driver,
        work=work,
        memory=trials * costs.memory_trial,
        disk=groups * (width * costs.bytes_trial + reports * costs.bytes_report + points * costs.bytes_point),
    )


def scale(settings: Settings) -> Iterator[Row]:
    """Simulated sweeps up to 1000 workers and 1,000,000 trials of 1000 steps, and a real one beside the model."""
    costs = measured(settings)
    small = simulate(costs, WORKERS, SMALL_SWEEP["trials"], steps=SMALL_SWEEP["steps"], nodes=1)
    expected = small.makespan - small.work["planning"] - small.work["broadcast"]
    # Here the workers, the driver and the writer share the CPUs of one machine.
    shared = WORKERS * small.work["arithmetic"] + small.work["driver"] + small.work["store"]
    expected = max(expected, shared / (os.cpu_count() or 1))
    real = costs.real_sweep / costs.contention
    yield Row(
        name="simulation/real",
        unit="s",
        value=real,
        against=expected,
        ratio=real / expected,
        reach=Reach(limit=2, at_least=False),
        note=f"a real sweep of {SMALL_SWEEP['trials']} trials on {WORKERS} workers, against its simulation; "
        f"{costs.real_sweep:.3g} s by the clock, other work made all {costs.contention:.2g} times slower",
    )
    found = {scenario: simulate(costs, *scenario) for scenario in SCENARIOS}
    for (workers, trials), end in found.items():
        ideal = end.work["arithmetic"]
        shares = ", ".join(f"{name} {hours(seconds)}" for name, seconds in end.work.items())
        yield Row(
            name=f"simulation/{workers}x{trials}",
            unit="s",
            value=end.makespan,
            against=ideal,
            ratio=end.makespan / ideal,
            note=f"first: {end.first} ({REMEDIES[end.first]}); {shares}; workers done after "
            f"{hours(end.trained)}; driver memory {end.memory / 1e9:.3g} GB, "
            f"store {end.disk / 1e9:.3g} GB",
        )
    settings.output.mkdir(parents=True, exist_ok=True)
    told = {f"{workers}x{trials}": dataclasses.asdict(end) for (workers, trials), end in found.items()}
    text = json.dumps({"costs": dataclasses.asdict(costs), "simulated": told}, indent=1)
    (settings.output / "simulation.json").write_text(text + "\n", encoding="utf-8")
    draw(costs, settings)


def measured(settings: Settings) -> Costs:
    """Measure the costs: planning by whole commands, all others in a process of their own."""
    folder = settings.folder()
    timed([sys.executable, "-m", "tests.benchmarks.costs"], folder)
    told = json.loads((folder / "output.txt").read_text(encoding="utf-8").splitlines()[-1])
    few, many = (
        timed(pipeline("-m", "sweep.dry_run=true", f"seed=range({count})"), settings.folder()) for count in (100, 5100)
    )
    return Costs(plan_trial=max(0.0, many - few) / 5000, **told)


def draw(costs: Costs, settings: Settings) -> None:
    """Draw the makespan over the workers, beside that of the arithmetic alone."""
    from matplotlib.figure import Figure  # a second that the other benchmarks need not wait

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    for trials in (1_000, 10_000, 100_000, 1_000_000):
        workers = [n for n in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000) if n <= trials]
        ends = [simulate(costs, n, trials) for n in workers]
        (line,) = axes.plot(workers, [end.makespan for end in ends], marker="o", label=f"{trials:,} trials")
        axes.plot(workers, [end.work["arithmetic"] for end in ends], linestyle=":", color=line.get_color())
    axes.set(xlabel="workers", ylabel="seconds (dotted: arithmetic alone)", xscale="log", yscale="log")
    axes.grid(visible=True, which="major", alpha=0.3)
    axes.legend()
    figure.savefig(settings.output / "simulation.png", dpi=120)


def hours(seconds: float) -> str:
    """Return seconds as a person says them.

    >>> hours(0.25), hours(90), hours(7200)
    ('0.25 s', '90 s', '2 h')
    """
    return f"{seconds / 3600:.3g} h" if seconds >= 3600 else f"{seconds:.3g} s"
