"""Benchmarks of whole commands: the sweep of 48 trials against its peers, and what of it is waiting."""

from __future__ import annotations

import functools
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from tests.benchmarks.commands import PEERS, STORE, make_store, pipeline, require_peer, running_cluster, timed
from tests.benchmarks.machine import has_avx512
from tests.benchmarks.row import Reach, Row, Settings, Skipped, faster, within
from tests.benchmarks.runs import difference, first_point, last_losses
from tests.benchmarks.timing import in_turns

GRID = {
    "learning_rate": "1e-8,2e-8,5e-8,1e-7,2e-7,3e-7,4e-7,5e-7,7e-7,1e-6,2e-6,3e-6",
    "regularization": "1e-3,1e1",
    "batch_size": "64,256",
}
NETWORK_GRID = {
    "learning_rate": "1e-4,2e-4,5e-4,1e-3,2e-3,3e-3,5e-3,7e-3,1e-2,2e-2,3e-2,5e-2",
    "regularization": "1e-4,1e-3",
    "batch_size": "64,256",
}
STEPS = 1000
CPUS = 2

# The hydra-ray-launcher's own default sizes a cluster, which one that is running refuses.
ON_A_CLUSTER = "+hydra.launcher.ray.init.object_store_memory=null"

Peer = Callable[[Path, Path, Path | None], float]
"""Runs a peer on the images of a folder, in a folder, on the cluster of a third, and returns the seconds."""


Command = Callable[[Path], list[str]]
"""This project's command on the images of a folder."""


def grid(values: Mapping[str, str] = GRID) -> list[str]:
    """Return the swept values as overrides."""
    return [f"{name}={swept}" for name, swept in values.items()]


def ours(images: Path, *more: str, steps: int = STEPS) -> list[str]:
    """Return this project's command for the 48 trials."""
    fixed = ("loss=svm", "dataset=cifar10", f"dataset.root={images}", f"steps={steps}")
    return pipeline("-m", *fixed, *grid(), *more)


def networks(images: Path) -> list[str]:
    """Return this project's command for the 48 two-layer networks."""
    fixed = ("model=mlp", "loss=softmax", "dataset=cifar10", "dataset.scaling=standard", f"dataset.root={images}")
    return pipeline("-m", *fixed, f"steps={STEPS}", *grid(NETWORK_GRID))


def hydra_app(
    launcher: str, images: Path, folder: Path, rays: Path | None, *, app: str = "hydra_app.py", swept: list[str]
) -> float:
    """Run a Hydra app with a launcher."""
    if launcher == "ray":
        require_peer("hydra_plugins.hydra_ray_launcher")
    fixed = (f"hydra/launcher={launcher}", f"root={images}", f"store={make_store(folder)}", f"steps={STEPS}")
    more = (ON_A_CLUSTER,) if rays else ()
    return timed([sys.executable, str(PEERS / app), "-m", *fixed, *swept, *more], folder, rays=rays)


def ray_tune(images: Path, folder: Path, rays: Path | None) -> float:
    """Run Ray Tune."""
    require_peer("pyarrow")
    require_peer("tensorboardX")
    arguments = [str(images), make_store(folder), str(STEPS), *grid()]
    return timed([sys.executable, str(PEERS / "ray_tune.py"), *arguments], folder, rays=rays)


def cold(settings: Settings) -> Iterator[Row]:
    """The whole command for 48 trials, from shell to shell, nothing running before, against three peers."""
    peers: dict[str, tuple[Peer, float]] = {
        "ray-launcher": (functools.partial(hydra_app, "ray", swept=grid()), 4),
        "stock-hydra": (functools.partial(hydra_app, "basic", swept=grid()), 4),
        "ray-tune": (ray_tune, 20),
    }
    yield from against_peers(settings, "sweep-cold", peers, None)


def running(settings: Settings) -> Iterator[Row]:
    """The same on a Ray cluster that is already running."""
    reach = 5 if has_avx512() else 4
    with running_cluster(CPUS) as rays:
        peer = functools.partial(hydra_app, "ray", swept=grid())
        peers: dict[str, tuple[Peer, float]] = {"ray-launcher": (peer, reach)}
        yield from against_peers(settings, "sweep-running-cluster", peers, rays)


def running_networks(settings: Settings) -> Iterator[Row]:
    """48 two-layer networks on a running cluster against hydra-ray-launcher with PyTorch."""
    with running_cluster(CPUS) as rays:
        require_peer("torch")
        peer = functools.partial(hydra_app, "ray", app="two_layer_app.py", swept=grid(NETWORK_GRID))
        peers: dict[str, tuple[Peer, float]] = {"ray-launcher": (peer, 2.5)}
        yield from against_peers(settings, "network-sweep", peers, rays, command=networks)


def against_peers(
    settings: Settings,
    name: str,
    peers: dict[str, tuple[Peer, float]],
    rays: Path | None,
    *,
    command: Command = ours,
) -> Iterator[Row]:
    """Measure this project's command before each round of a peer; the median of all is held against each peer's."""
    images = settings.cifar10()
    taken: list[float] = []
    found: dict[str, tuple[float, Path] | str] = {}
    for peer, (run, _) in peers.items():
        theirs: list[float] = []
        try:
            for _ in range(settings.rounds()):
                folder, other = settings.folder(), settings.folder()
                make_store(folder)  # as the peers have one
                taken.append(timed(command(images), folder, rays=rays))
                theirs.append(run(images, other, rays))
            found[peer] = (statistics.median(theirs), other)
        except Skipped as reason:
            found[peer] = f"skipped: {reason}"
    seconds = statistics.median(taken)
    losses = last_losses(folder / STORE, list(GRID))
    for peer, (_, reach) in peers.items():
        result = found[peer]
        if isinstance(result, str):
            yield Row(name=f"{name}/{peer}", unit="s", value=seconds, note=result)
            continue
        note = difference(losses, last_losses(result[1] / STORE, list(GRID)))
        yield faster(f"{name}/{peer}", seconds, result[0], reach=reach, note=f"{note}; ours a median of {len(taken)}")


def steps_alone(settings: Settings) -> Iterator[Row]:
    """The same 48 trials, time inside steps alone, on two one-thread workers, against one trial at a time."""
    folder = settings.folder()
    command = [sys.executable, "-m", "tests.benchmarks.steps", str(settings.cifar10()), str(settings.rounds())]
    timed(command, folder)
    told = json.loads((folder / "output.txt").read_text(encoding="utf-8").splitlines()[-1])
    yield faster("sweep-steps", told["fused"], told["alone"], reach=4 if has_avx512() else 3, note=told["note"])


def first_step(settings: Settings) -> Iterator[Row]:
    """From the shell to the first training step of a multirun, against ``ray.init`` alone."""
    images = settings.cifar10()

    def ray_init(*options: str) -> float:
        folder = settings.folder()
        code = f"import ray, time; t = time.perf_counter(); ray.init({', '.join(options)}); t = time.perf_counter() - t"
        timed([sys.executable, "-c", f"{code}; print(); print(t)"], folder)
        return float((folder / "output.txt").read_text(encoding="utf-8").splitlines()[-1])

    def shell_to_step() -> float:
        folder, start = settings.folder(), time.time()
        # Where a checkpoint may be made after each step, the first is told before the next is done or anything tested.
        timed(ours(images, "trial.record_every=1", "trial.checkpoint_every=1", steps=2), folder)
        return first_point(folder / STORE) - start

    taken = in_turns(
        {
            "stock": ray_init,
            "ours": shell_to_step,
            "bare": lambda: ray_init("include_dashboard=False"),
        },
        rounds=settings.rounds(),
    )
    yield within(
        "first-step",
        taken["ours"],
        taken["stock"],
        reach=1.35,
        note=f"48 trials on CIFAR-10; first step done and known to the driver; ray.init without a dashboard "
        f"{taken['bare']:.1f} s, that is {taken['ours'] / taken['bare']:.2f}x",
    )


def default_sweep(settings: Settings) -> Iterator[Row]:
    """From the shell to the end of the default sweep: a cluster running, and nothing running, against empty Python."""
    with running_cluster(CPUS) as rays:
        taken = in_turns(
            {"ours": lambda: timed(pipeline("--multirun"), settings.folder(), rays=rays)}, rounds=settings.rounds()
        )
    reach = Reach(limit=15, at_least=False, of_value=True)
    yield Row(name="default-sweep", unit="s", value=taken["ours"], reach=reach, note="a new MLflow store each time")
    empty = [sys.executable, "-c", "import ray, mlflow; ray.init()"]
    cold = in_turns(
        {
            "ours": lambda: timed(pipeline("--multirun"), settings.folder()),
            "empty": lambda: timed(empty, settings.folder()),
        },
        rounds=settings.rounds(),
    )
    note = "nothing running; against: python -c 'import ray, mlflow; ray.init()'"
    yield within("default-sweep-cold", cold["ours"], cold["empty"], reach=2, note=note)


def planning(settings: Settings) -> Iterator[Row]:
    """Planning a grid of 1000 trials (dry run) against stock Hydra composing the same configs."""
    thousand = ("seed=range(10)", "learning_rate=range(1,11)", "regularization=range(10)")

    def stock(seeds: int) -> float:
        overrides = ("hydra/launcher=basic", "hydra/sweeper=basic", f"seed=range({seeds})", "learning_rate=1,2,3,4,5")
        return timed([sys.executable, "-m", "tests.benchmarks.peers.composing", "-m", *overrides], settings.folder())

    taken = in_turns(
        {
            "ours": lambda: timed(pipeline("-m", "sweep.dry_run=true", *thousand), settings.folder()),
            "few": lambda: stock(1),
            "more": lambda: stock(9),
        },
        rounds=settings.rounds(),
    )
    each = (taken["more"] - taken["few"]) / 40
    peer = taken["few"] + 995 * each
    yield Row(
        name="planning",
        unit="s",
        value=taken["ours"],
        against=peer,
        ratio=peer / taken["ours"],
        reach=Reach(limit=10, at_least=False, of_value=True),
        note=f"stock Hydra: {1000 * each:.0f} ms a job, of 5 and 45 jobs of the same config, scaled",
    )


def recording(settings: Settings) -> Iterator[Row]:
    """48 trials x 1000 points recorded by MLflow against the same sweep in memory: of every tenth step, and of each."""
    yield recorded(settings, "recording", every=10, reach=1.05)
    yield recorded(settings, "recording-every-step", every=1, reach=1.35)


def recorded(settings: Settings, name: str, *, every: int, reach: float) -> Row:
    """Return the row of 1000 points a trial, one every so many steps."""
    folder = settings.folder()
    arguments = [str(settings.cifar10()), str(settings.rounds()), str(every)]
    timed([sys.executable, "-m", "tests.benchmarks.recorders", *arguments], folder)
    told = json.loads((folder / "output.txt").read_text(encoding="utf-8").splitlines()[-1])
    return within(name, told["mlflow"], told["memory"], reach=reach, note=told["note"])
