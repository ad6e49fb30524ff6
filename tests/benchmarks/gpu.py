"""Benchmarks of a GPU: against its own peaks, against one trial at a time, and against the CPUs beside it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from array_api_compat import array_namespace, is_numpy_array

from tasks.arrays.devices import DEVICE_BLOCKS, array_for, device_put, host, library_for
from tasks.datasets import Cifar10
from tasks.datasets.dataset import Dataset
from tasks.errors import ConfigError
from tasks.events import Event
from tasks.fused.problem import Problem
from tasks.losses import Softmax
from tasks.models import ConvNet, Mlp, Model
from tasks.strategies import RandomSearch
from tasks.studies.landscape import Landscape
from tasks.studies.train import Train
from tasks.trial import Trial
from tests.benchmarks.arithmetic import FULL, STEPS, images
from tests.benchmarks.commands import require_peer
from tests.benchmarks.row import Reach, Row, Settings, Skipped, faster
from tests.benchmarks.timing import in_turns, seconds

FUSED, BATCH, FUSED_STEPS = 512, 256, 500
ALONE = 8
"""Trials that are done one at a time; the others are scaled."""

NETWORK_STEPS = 300
ALONE_NETWORKS = 4
"""Networks that are trained one at a time; the others are scaled."""

GRID = 1000
COPIED = 2**28
"""Numbers of the array whose copy measures the bandwidth: 1 GiB."""


def random_search(settings: Settings) -> Iterator[Row]:
    """1000 candidates on 50,000 images, against products of the shapes that it makes."""
    like, dataset = resident(settings)
    trial = Trial(task=Train(), strategy=RandomSearch(), record_every=STEPS, **FULL)
    taken = in_turns(
        {"peak": lambda: product_peak(like, dataset), "ours": lambda: seconds(lambda: run([trial], dataset, like))},
        rounds=settings.rounds() + 1,  # the first of each compiles and allocates
    )
    operations = 2 * STEPS * len(dataset.train) * 10 * (dataset.mean.shape[0] + 1)
    speed = operations / taken["ours"] / 1e12
    yield Row(
        name="gpu-random-search",
        unit="TFLOP/s",
        value=speed,
        against=taken["peak"],
        ratio=speed / taken["peak"],
        reach=Reach(limit=0.7, at_least=True),
        note=f"1000 candidates x 50,000 images, float32 without TF32; {name(like)}",
    )


def fused(settings: Settings) -> Iterator[Row]:
    """512 trials on minibatches of 256, against the same one at a time, and against the CPUs, fused as well."""
    like, dataset = resident(settings)
    on_cpu = images(settings)
    trials = [
        Trial(task=Train(), learning_rate=rate, batch_size=BATCH, steps=FUSED_STEPS, evaluate_every=FUSED_STEPS)
        for rate in np.geomspace(1e-9, 1e-6, FUSED).tolist()
    ]
    chosen = trials[:: FUSED // ALONE]
    run(trials[:2], dataset, like)  # compiles
    taken = in_turns(
        {
            "fused": lambda: seconds(lambda: run(trials, dataset, like)),
            "alone": lambda: sum(seconds(lambda t=t: run([t], dataset, like)) for t in chosen) * FUSED / len(chosen),
            "cpu": lambda: seconds(lambda: run(trials, on_cpu, array_for("cpu"))),
        },
        rounds=settings.rounds(),
    )
    note = f"512 trials, {FUSED_STEPS} steps of 256, CIFAR-10; {name(like)}"
    yield faster("gpu-fused", taken["fused"], taken["alone"], reach=20, note=f"{note}; against {ALONE} alone, scaled")
    cpus = f"against the {os.cpu_count()} CPUs beside it, fused, BLAS on all of them"
    yield faster("gpu-against-cpu", taken["fused"], taken["cpu"], reach=10, note=f"{note}; {cpus}")


def landscape(settings: Settings) -> Iterator[Row]:
    """A plane of 1000 x 1000 points on 50,000 images, against writing and reading every point's scores once."""
    like, dataset = resident(settings)
    trial = Trial(task=Landscape(resolution=GRID))
    run([Trial(task=Landscape(resolution=3))], dataset, like)  # compiles
    taken = in_turns(
        {"copy": lambda: copy_seconds(like), "ours": lambda: seconds(lambda: run([trial], dataset, like))},
        rounds=settings.rounds(),
    )
    bound = taken["copy"] * GRID**2 * len(dataset.train) * 10 / COPIED
    yield Row(
        name="gpu-landscape",
        unit="s",
        value=taken["ours"],
        against=bound,
        ratio=taken["ours"] / bound,
        reach=Reach(limit=3, at_least=False),
        note=f"1000 x 1000 points x 50,000 images; {8e-9 * COPIED / taken['copy']:.0f} GB/s copied; {name(like)}",
    )


def networks(settings: Settings) -> Iterator[Row]:
    """64 two-layer nets and 16 convnets, against PyTorch one at a time, eager and as CUDA graphs, and under vmap."""
    like, _ = resident(settings)
    require_peer("torch")
    dataset = Cifar10(root=str(settings.cifar10()), scaling="standard").load().on(like)
    for title, model, trials, batch in (("two-layer", Mlp(), 64, 256), ("convnet", ConvNet(), 16, 64)):
        yield from _networks(f"gpu-{title}", model, dataset, like, trials, batch)


def _networks(title: str, model: Model, dataset: Dataset, like: Any, trials: int, batch: int) -> Iterator[Row]:
    from tests.benchmarks.peers.networks_on_gpu import Steps

    rates = np.geomspace(1e-3, 3e-2, trials).tolist()
    shared = {"model": model, "loss": Softmax(), "batch_size": batch, "steps": NETWORK_STEPS}
    group = [Trial(task=Train(), learning_rate=rate, **shared) for rate in rates]
    problem = Problem.of(group, dataset, like=like, threads=os.cpu_count() or 1)
    matrices = problem.matrices(problem.initial_weights([1.0] * trials))
    order = array_namespace(like).stack([problem.minibatches.at(step).index for step in range(NETWORK_STEPS)])
    peer, strategy = Steps(dataset, matrices, rates, order), group[0].strategy

    def ours() -> tuple[float, np.ndarray]:
        state, done, losses = strategy.init(problem), 0, []

        def advance() -> None:
            nonlocal state, done
            while done < NETWORK_STEPS:
                stop = min(done + strategy.stretch(problem), NETWORK_STEPS)
                state, measured = strategy.advance(problem, state, done, stop)
                losses.append(measured["data_loss"])
                done = stop

        return seconds(advance), np.concatenate(losses)

    few = range(0, trials, trials // ALONE_NETWORKS)
    ours(), peer.vmap()  # compile and allocate
    taken, curves = ours()
    graphs = [peer.graph(k) for k in few]
    apart = max(float(np.abs(curves[:, k] - losses).max()) for k, (_, losses) in zip(few, graphs, strict=True))
    note = f"{trials} nets, {NETWORK_STEPS} steps of {batch}, CIFAR-10; losses at most {apart:.0e} apart; {name(like)}"
    scale = trials / len(few)
    yield faster(f"{title}/cuda-graphs", taken, scale * sum(time for time, _ in graphs), reach=11.5, note=note)
    yield faster(f"{title}/eager", taken, scale * sum(peer.eager(k)[0] for k in few), reach=11.5, note=note)
    yield faster(f"{title}/vmap", taken, peer.vmap()[0], reach=1, note=note)


def resident(settings: Settings) -> tuple[Any, Dataset]:
    """Return where the GPU computes and CIFAR-10 there, or skip the benchmark."""
    try:
        like = array_for("cuda")
    except ConfigError as error:
        raise Skipped(str(error)) from error
    return like, images(settings).on(like)


def name(like: Any) -> str:
    """Return the name of the GPU, and the library that computes on it."""
    xp = library_for("cuda")
    properties = None if xp.__name__ == "torch" else xp.cuda.runtime.getDeviceProperties(like.device.id)
    gpu = xp.cuda.get_device_name() if properties is None else properties["name"].decode()
    return f"{gpu}, {xp.__name__} {xp.__version__}"


def run(trials: Sequence[Trial], dataset: Dataset, like: Any) -> list[Event]:
    """Compute a group and return its events; its results are on the host, so that nothing is still going on.

    Beside a GPU the host only draws, on as many threads as there are cores: with one a hyperthread it takes longer.
    """
    cpus = os.cpu_count() or 1
    threads = cpus if is_numpy_array(like) else max(1, cpus // 2)
    return list(trials[0].task.run(trials, dataset, threads=threads, like=like))


def product_peak(like: Any, dataset: Dataset) -> float:
    """Return the speed in TFLOP/s of the product that a block of candidates is."""
    features = dataset.mean.shape[0] + 1
    # Random numbers: products of ones take less power, and so less time.
    rng = np.random.default_rng(0)
    shapes = ((10 * DEVICE_BLOCKS.candidates, features), (DEVICE_BLOCKS.examples, features))
    candidates, examples = (device_put(rng.standard_normal(shape, dtype=np.float32), like) for shape in shapes)
    taken = repeated(lambda: candidates @ examples.T)
    return 2 * candidates.shape[0] * features * examples.shape[0] / taken / 1e12


def copy_seconds(like: Any) -> float:
    """Return how long it takes to read an array of 1 GiB and write it elsewhere."""
    xp = array_namespace(like)
    numbers = xp.ones((COPIED,), dtype=like.dtype, device=like.device)
    if library_for("cuda").__name__ == "torch":
        return repeated(numbers.clone)
    copy = xp.empty_like(numbers)  # CuPy's own copies are kernels that take longer than the driver's
    return repeated(lambda: copy.data.copy_from_device_async(numbers.data, numbers.nbytes) or copy)


def repeated(work: Callable[[], Any], count: int = 20) -> float:
    """Return the seconds that a computation on the device takes, of many that are asked for at once."""
    host(work()[..., :1])  # waits

    def all_of_them() -> None:
        for _ in range(count):
            last = work()
        host(last[..., :1])

    return seconds(all_of_them) / count
