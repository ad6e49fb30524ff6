from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest

from pipeline.engine.worker import GroupStarted, compute, other_versions
from tasks.datasets import DATASETS
from tasks.datasets.nothing import Nothing
from tasks.events import Curve, Result
from tasks.single import Single
from tasks.studies.train import Train
from tasks.trial import Trial


@pytest.fixture(scope="module")
def dataset():
    return DATASETS["synthetic"](examples=2000, features=10, validation=100).load()


def test_the_first_event_is_told_at_once_and_the_others_in_batches(dataset):
    # given a group whose first step is all that comes before much else
    trials = [Trial(task=Train(), steps=300, record_every=1, learning_rate=rate) for rate in (1e-6, 1e-5)]
    # when it is computed, a checkpoint to be made after every step
    begun, first, *others = compute(trials, dataset, threads=1, checkpoint_every=1)
    # then the first step is told alone, before the next is done
    assert isinstance(begun, GroupStarted)
    (event,) = first
    assert isinstance(event, Curve)
    assert event.steps.tolist() == [1]
    # and the rest in few messages
    assert len(others) < 30
    assert sum(isinstance(event, Result) for message in others for event in message) == 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Often(Single):
    needs_data: ClassVar[bool] = False

    def train(self, trial, data, report):
        for step in range(1, trial.steps + 1):
            report(step, {"loss": 1 / step} | ({"score": step} if step > trial.steps // 2 else {}))


def test_points_that_a_task_reports_one_by_one_are_told_in_blocks_by_their_metrics():
    _, first, *others = compute([Trial(task=Often(), steps=2000)], Nothing().load(), threads=1)

    blocks = [event for message in (first, *others) for event in message if isinstance(event, Curve)]
    assert len(blocks) < 30
    assert [step for block in blocks for step in block.steps] == list(range(1, 2001))
    assert [value for block in blocks for value in block.metrics["loss"]] == [1 / step for step in range(1, 2001)]
    assert [value for block in blocks for value in block.metrics.get("score", ())] == list(range(1001, 2001))


def test_the_libraries_of_a_worker_that_are_of_other_versions_are_those_that_are_installed():
    assert other_versions({"numpy": np.__version__, "not-installed-anywhere": "1"}) == ()
    assert other_versions({"numpy": "0.1", "not-installed-anywhere": "1"}) == (("numpy", np.__version__),)
