"""Benchmarks of networks: steps of fused trials on one core, against its peak, and against PyTorch one at a time."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from tasks.datasets import Cifar10
from tasks.losses import Softmax
from tasks.models import ConvNet, Mlp, Model
from tasks.studies.train import Train
from tasks.trial import Trial
from tests.benchmarks.arithmetic import peak, take
from tests.benchmarks.commands import require_peer
from tests.benchmarks.row import Reach, Row, Settings, faster
from tests.benchmarks.timing import in_turns, seconds, stretches

# Hidden units, and what is to be reached of PyTorch's speed.
WIDTHS = {32: 2.4, 100: 1.8, 256: 1.2}
NETS, CONVNETS = 48, 12
CHANNELS = (32, 64, 128)
BATCH = 256
REGULARIZATION = 1e-3

ALONE = 4
"""Steps of PyTorch in a round; fused trials take a stretch, as when they are trained."""


def two_layer(settings: Settings) -> Iterator[Row]:
    """48 two-layer nets on minibatches of 256: at the speed of the core, and against PyTorch."""
    for hidden, reach in WIDTHS.items():
        taken = measured(settings, Mlp(hidden=(hidden,)), NETS, BATCH)
        if hidden == 100:
            # Of an example: the first layer and its gradient, the second layer and both of its gradients.
            products = 2 * (3073 * hidden) + 3 * (hidden + 1) * 10
            speed = 2 * products * BATCH * NETS / taken["ours"] / 1e9
            yield Row(
                name="two-layer-speed",
                unit="GFLOP/s",
                value=speed,
                against=taken["peak"],
                ratio=speed / taken["peak"],
                reach=Reach(limit=0.8, at_least=True),
                note=f"{NETS} nets, {hidden} hidden, minibatch {BATCH}, one core; the peak is of products of 2048^3",
            )
        yield faster(
            f"two-layer-{hidden}", taken["ours"], NETS * taken["pytorch"], reach=reach, note=note("nets", NETS)
        )


def convnet(settings: Settings) -> Iterator[Row]:
    """12 convolutional networks against PyTorch."""
    for batch in (64, BATCH):
        taken = measured(settings, ConvNet(channels=CHANNELS), CONVNETS, batch)
        pytorch = CONVNETS * taken["pytorch"]
        yield faster(f"convnet-{batch}", taken["ours"], pytorch, reach=0.8, note=note("convnets", CONVNETS))


def note(what: str, trials: int) -> str:
    """Return what a row compares."""
    import torch

    return f"a step of {trials} fused {what} on one core, against PyTorch {torch.__version__} one at a time, scaled"


def measured(settings: Settings, model: Model, trials: int, batch: int) -> dict[str, float]:
    """Return the seconds of a step of all trials fused, and of one in PyTorch, both on one core, and its peak."""
    require_peer("torch")
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            dataset = images(settings)
            ours, theirs = stretches(group(model, trials, batch), dataset), alone(model, dataset, batch)
            ours()  # probes the BLAS
            take(theirs, 1)
            works = {
                "peak": peak,
                "ours": ours,
                "pytorch": lambda: seconds(lambda: take(theirs, ALONE)) / ALONE,
            }
            return in_turns(works, rounds=2 * settings.rounds())
    finally:
        torch.set_num_threads(threads)


@functools.cache
def _load(root: str) -> Any:
    return Cifar10(root=root, scaling="standard").load()


def images(settings: Settings) -> Any:
    """Return CIFAR-10, scaled as networks want it."""
    return _load(str(settings.cifar10()))


def group(model: Model, count: int, batch: int) -> list[Trial]:
    """Return trials of different learning rates."""
    settings = {"loss": Softmax(), "regularization": REGULARIZATION, "batch_size": batch, "steps": 10_000}
    rates = np.geomspace(1e-4, 1e-2, count).tolist()
    return [Trial(task=Train(), model=model, learning_rate=rate, **settings) for rate in rates]


def alone(model: Model, dataset: Any, batch: int) -> Iterator[float]:
    """Return PyTorch's steps of the same network."""
    import torch

    from tests.benchmarks.peers import networks

    shape, classes = dataset.image_shape, len(dataset.classes)
    features = (dataset.train.images[:10_000] - dataset.mean) * dataset.scale
    labels = torch.from_numpy(dataset.train.labels[:10_000].astype(np.int64))
    if isinstance(model, ConvNet):
        network, pixels = networks.convnet(shape, CHANNELS, classes), torch.from_numpy(features).reshape(-1, *shape)
    else:
        assert isinstance(model, Mlp)
        network, pixels = networks.two_layer(features.shape[1], *model.hidden, classes), torch.from_numpy(features)
    pixels = pixels.to(torch.float32)
    options = {"learning_rate": 1e-3, "regularization": REGULARIZATION, "batch_size": batch}
    return networks.steps(network, pixels, labels, **options)
