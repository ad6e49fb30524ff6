"""Benchmark of update rules: trials of several optimisers in one group, against a group for each optimiser."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from threadpoolctl import threadpool_limits

from tasks.datasets import Cifar10
from tasks.optimizers import OPTIMIZERS
from tasks.studies.train import Train
from tasks.trial import Trial
from tests.benchmarks.row import Row, Settings, faster
from tests.benchmarks.timing import in_turns, stretches

RATES = np.geomspace(3e-7, 3e-5, 5).tolist()


def optimizers(settings: Settings) -> Iterator[Row]:
    """Linear trials of five optimisers at five learning rates, on minibatches of 256."""
    dataset = Cifar10(root=str(settings.cifar10())).load()
    rules = [kind() for kind in OPTIMIZERS.values() if not kind.plain]
    groups = [
        [Trial(task=Train(), optimizer=rule, learning_rate=rate, steps=10_000) for rate in RATES] for rule in rules
    ]
    with threadpool_limits(1):
        whole = stretches([trial for group in groups for trial in group], dataset)
        parts = [stretches(group, dataset) for group in groups]
        whole()  # probes the BLAS
        works = {"together": whole, "apart": lambda: sum(part() for part in parts)}
        taken = in_turns(works, rounds=2 * settings.rounds())
    note = f"a step of {len(RATES)} trials of each of {len(rules)} optimisers on one core, against a group for each"
    yield faster("optimizers", taken["together"], taken["apart"], reach=1.4, note=note)
