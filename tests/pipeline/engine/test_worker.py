import pytest

from pipeline.engine.worker import GroupStarted, compute
from tasks.datasets import DATASETS
from tasks.events import Curve, Result
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
