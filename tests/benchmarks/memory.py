"""Benchmarks of memory: what two workers need on CIFAR-10, and what their peers do."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from tests.benchmarks.commands import PEERS, make_store, require_peer, timed
from tests.benchmarks.processes import Peaks, watched
from tests.benchmarks.row import Reach, Row, Settings, Skipped
from tests.benchmarks.sweeps import CPUS, grid, ours

STEPS = 200

DATASET = 60_000 * 3072 / 1e6
"""Megabytes of CIFAR-10's images, training and test."""


def two_workers(settings: Settings) -> Iterator[Row]:
    """Peak PSS of two workers on CIFAR-10: what the node shares, and what the larger of them has for itself."""
    images = settings.cifar10()
    with watched() as here:
        timed(ours(images, steps=STEPS), settings.folder())
    try:
        there: Peaks | None = peer(images, settings)
        note = f"against: hydra-ray-launcher; everything: {here.total:.0f} MB, theirs {there.total:.0f} MB"
    except Skipped as reason:
        there, note = None, f"peer skipped: {reason}"
    for name, value, against, limit in (
        ("memory-shared", here.shared, None, 1.05 * DATASET),
        ("memory-worker", largest(here), there and largest(there), 250),
    ):
        yield Row(
            name=name,
            unit="MB",
            value=value,
            against=against,
            ratio=against / value if against else None,
            reach=Reach(limit=limit, at_least=False, of_value=True),
            note=note,
        )


def largest(peaks: Peaks) -> float:
    """Return the peak of the larger of the two workers that computed."""
    return sorted(peaks.workers.values())[-CPUS:][-1]


def peer(images: Path, settings: Settings) -> Peaks:
    """Watch hydra-ray-launcher compute four trials."""
    require_peer("hydra_plugins.hydra_ray_launcher")
    folder = settings.folder()
    fixed = ("hydra/launcher=ray", f"root={images}", f"store={make_store(folder)}", f"steps={STEPS}")
    few = [text for text in grid() if not text.startswith("learning_rate")]
    with watched() as peaks:
        timed([sys.executable, str(PEERS / "hydra_app.py"), "-m", *fixed, *few], folder)
    return peaks
