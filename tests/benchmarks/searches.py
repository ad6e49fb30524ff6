"""The benchmark of a search: the whole command and its best value, against Hydra's own sweeper for Optuna."""

from __future__ import annotations

import os
import statistics
from collections.abc import Iterator

import yaml

from tests.benchmarks.commands import PEERS, make_store, pipeline, timed
from tests.benchmarks.row import Reach, Row, Settings, Skipped, faster

PROPOSALS, STEPS, SEEDS = 64, 500, 5
SPACE = (
    "learning_rate=tag(log,interval(1e-8,1e-5))",
    "regularization=tag(log,interval(1e-4,10.0))",
    "batch_size=64,256",
)
PEER = "OPTUNA_PEER"
"""The variable that names the Python of the peer's environment: its Optuna is another one than ours."""


def tpe(settings: Settings) -> Iterator[Row]:
    """64 TPE proposals of 500 steps on CIFAR-10, from shell to shell, and the best value over five seeds."""
    images, python = settings.cifar10(), os.environ.get(PEER)
    if python is None:
        needed = "hydra-core<1.4 hydra-optuna-sweeper==1.3.0 optuna<3 mlflow"
        raise Skipped(f"{PEER} is not set: the Python of an environment with {needed}")
    taken: dict[str, list[float]] = {"ours": [], "theirs": []}
    best: dict[str, list[float]] = {"ours": [], "theirs": []}
    seeds = settings.rounds(SEEDS)
    # In turns, so that what else the machine does is alike for both.
    for seed in range(seeds):
        common = (*SPACE, f"steps={STEPS}", f"hydra.sweeper.n_trials={PROPOSALS}", f"hydra.sweeper.sampler.seed={seed}")
        commands = {
            "ours": pipeline("-m", "hydra/sweeper=search", "dataset=cifar10", f"dataset.root={images}", *common),
            "theirs": [python, str(PEERS / "optuna_app.py"), "-m", "hydra/sweeper=optuna", f"root={images}", *common],
        }
        for who, command in commands.items():
            folder = settings.folder()
            store = make_store(folder)
            more = [] if who == "ours" else [f"store={store}", "hydra.sweeper.direction=maximize"]
            taken[who].append(timed([*command, *more, "hydra.sweep.dir=out"], folder))
            results = yaml.safe_load((folder / "out/optimization_results.yaml").read_text(encoding="utf-8"))
            best[who].append(float(results["best_value"]))
    ours, theirs = (statistics.median(taken[who]) for who in ("ours", "theirs"))
    yield faster("search/optuna-sweeper", ours, theirs, reach=5, note=f"medians of {seeds} seeds, in turns")
    here, there = (statistics.median(best[who]) for who in ("ours", "theirs"))
    reach = Reach(limit=1, at_least=True)
    note = f"best validation accuracy, medians; ours {_listed(best['ours'])}, theirs {_listed(best['theirs'])}"
    yield Row(name="search/best-value", value=here, against=there, ratio=here / there, reach=reach, note=note)


def _listed(values: list[float]) -> str:
    return " ".join(f"{value:.3f}" for value in values)
