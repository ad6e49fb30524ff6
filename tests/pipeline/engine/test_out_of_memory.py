"""Trials that take more memory than there is, each time: they fail alone, whoever says no to them."""

import os
import resource
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import pytest

from pipeline.config.schema import Cluster
from tasks.events import Curve
from tasks.studies.train import Train
from tests.clusters import start_cluster

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::DeprecationWarning")]

ROOM = 3_000_000_000
"""Bytes that the machine's processes may take beyond what they take when the cluster starts."""


@dataclass(frozen=True, kw_only=True)
class Hungry(Train):
    """Trains; the trial with the seed ``culprit`` takes memory, up to ``most`` bytes, from its 20th step on.

    With ``limited`` its process may have only little more than it has. Every attempt leaves a file in
    ``folder``: its process, the steps it began and ended with, and its seeds.
    """

    folder: str
    culprit: int
    most: int
    limited: bool

    def run(self, trials, dataset, **options):
        note = Path(self.folder) / f"{os.getpid()}-{time.time_ns()}"
        first = options["start"].step if options["start"] else 0
        seeds = " ".join(str(trial.seed) for trial in trials)
        for event in Train().run(trials, dataset, **options):
            yield event
            step = int(event.steps[-1]) if isinstance(event, Curve) else event.step
            note.with_suffix(".part").write_text(f"{os.getpid()} {first} {step} {seeds}")
            note.with_suffix(".part").replace(note)
            if step >= 20 and any(trial.seed == self.culprit for trial in trials):
                self._eat()

    def _eat(self):
        before = resource.getrlimit(resource.RLIMIT_AS)
        if self.limited:
            size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (size + 100_000_000, before[1]))
        try:
            # Ones, since a page that is only asked for takes no memory.
            blocks = [np.ones(50_000_000, dtype=np.uint8) for _ in range(self.most // 50_000_000)]
            time.sleep(5)  # the memory monitor looks four times a second
            raise AssertionError(f"nobody has said no to {len(blocks)} blocks")
        finally:
            resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.fixture(scope="module")
def computing(computing):
    """The engines' tasks; a worker, which has not this module either, gets its own by value too."""
    import ray

    here = sys.modules[__name__]
    ray.cloudpickle.register_pickle_by_value(here)
    yield computing
    ray.cloudpickle.unregister_pickle_by_value(here)


@pytest.fixture(scope="module")
def cluster():
    """A cluster whose memory monitor ends workers when the machine's processes have taken ROOM more."""
    memory = psutil.virtual_memory()
    if memory.available < 2 * ROOM:
        pytest.skip(f"the machine has {memory.available / 1e9:.0f} GB to spare, and {2 * ROOM / 1e9:.0f} are needed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_memory_usage_threshold", f"{(memory.total - memory.available + ROOM) / memory.total:.4f}")
        running = start_cluster(num_cpus=1)
        yield running.address
        running.shutdown()


@pytest.mark.parametrize(
    ("limited", "error"),
    [
        (False, "lost with its worker (out of memory: Ray's memory monitor ended it, with "),
        (True, "MemoryError: Unable to allocate"),
    ],
    ids=["ended by the memory monitor", "refused by the system"],
)
def test_a_trial_that_runs_out_of_memory_fails_alone(computing, cluster, tmp_path, limited, error):
    from pipeline.engine.ray_engine import RayEngine

    # given one of three fused trials that takes all memory, each time
    points = computing.planned(3)
    task = Hungry(folder=str(tmp_path), culprit=0, most=2 * ROOM, limited=limited)
    engine = RayEngine(Cluster(address=cluster), workers=1, device="cpu", attempts=1)

    # when the sweep is run
    curves, results, failures = computing.outcomes(engine, computing.groups_of(points, task=task, workers=1))

    # then it fails alone, and its neighbours end as if it had not been there
    assert set(failures) == {0}
    assert failures[0].error.startswith(error)
    assert "memory" in failures[0].traceback.lower()
    assert set(results) == {1, 2}
    computing.assert_same_bits(curves, results, computing.undisturbed(points))
    # and it was found in parts
    found = [len(seeds) for *_, seeds in computing.attempts(tmp_path) if 0 in seeds]
    assert found == [3, 1]
