"""Groups that memory does not suffice for are halved, and lose neither a bit nor a point."""

import dataclasses
import itertools
from typing import ClassVar

import numpy as np
import pytest

from tasks.arrays.devices import device_put, take_rows
from tasks.events import Checkpoint, Result
from tasks.losses import Svm
from tasks.studies.train import Train
from tests.tasks.trainings import assert_same_arrays, run, trial


def cramped(*, most, after=0):
    """Return an SVM loss for whose gradient only ``most`` trials fit in memory, once it was taken ``after`` times.

    ``refused`` of it are the numbers of trials that did not fit.
    """
    taken = itertools.count()

    @dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
    class Cramped(Svm):
        refused: ClassVar[list[int]] = []

        def losses_and_gradient(self, scores, labels):
            if next(taken) >= after and scores.shape[0] > most:
                self.refused.append(scores.shape[0])
                raise MemoryError(f"{scores.shape[0]} trials")
            return Svm.losses_and_gradient(self, scores, labels)

    return Cramped


@pytest.mark.parametrize("after", [0, 30, 55])
@pytest.mark.parametrize("most", [1, 3])
def test_a_group_too_large_for_memory_is_halved_until_it_fits(small_dataset, most, after):
    # given five trials, one of which diverges, and a memory that holds fewer, from the start or from a later step
    kind = cramped(most=most, after=after)
    rates = [1e-6, 2e-6, 1e36, 1e-5, 2e-5]
    trials = [trial(learning_rate=rate) for rate in rates]
    small = [trial(learning_rate=rate, loss=kind()) for rate in rates]
    # when they are trained, then every point is told once and every bit is that of the whole group
    curves, results = run(small, small_dataset)
    assert min(kind.refused) > most
    whole_curves, whole = run(trials, small_dataset)
    np.testing.assert_equal(curves, whole_curves)
    for k in range(len(trials)):
        assert results[k].outcome is whole[k].outcome
        assert_same_arrays(results[k], whole[k])


def test_memory_that_ends_where_a_group_parts_with_a_diverged_trial_mixes_up_no_others(small_dataset, monkeypatch):
    # given a memory that does not hold the others once more beside all, the first time
    trials = [trial(learning_rate=rate) for rate in (1e-6, 1e36, 1e-5, 2e-5)]
    whole_curves, whole = run(trials, small_dataset)
    taken = itertools.count()

    def take(array, index):
        if next(taken) == 0:
            raise MemoryError(f"{len(index)} trials")
        return take_rows(array, index)

    monkeypatch.setattr("tasks.studies.train.take_rows", take)
    # when they are trained, then every bit is that of the whole group
    curves, results = run(trials, small_dataset)
    assert next(taken) > 1
    np.testing.assert_equal(curves, whole_curves)
    for k in range(len(trials)):
        assert results[k].outcome is whole[k].outcome
        assert_same_arrays(results[k], whole[k])


def test_a_group_that_memory_ends_for_as_it_is_resumed_has_no_half_of_ended_trials(small_dataset, monkeypatch):
    # given a checkpoint of four trials, of which the first two have diverged
    trials = [trial(learning_rate=rate) for rate in (1e36, 1e35, 1e-6, 1e-5)]
    events = list(Train().run(trials, small_dataset, threads=1, checkpoint_every=20))
    start, *others = [event for event in events if isinstance(event, Checkpoint)]
    assert [other.step for other in others] == [40], "none at the end"
    assert start.trials.tolist() == [2, 3]
    taken = itertools.count()

    def put(array, like, **options):
        if next(taken) == 0:
            raise MemoryError("all of them")
        return device_put(array, like, **options)

    monkeypatch.setattr("tasks.studies.train.device_put", put)
    # when it is gone on from, by a memory that does not hold both trials the first time
    resumed = [e for e in Train().run(trials, small_dataset, threads=1, start=start) if isinstance(e, Result)]
    # then the two that have not ended have the results that they had
    assert next(taken) > 1
    whole = {event.trial: event for event in events if isinstance(event, Result)}
    assert [result.trial for result in resumed] == [2, 3]
    for result in resumed:
        assert_same_arrays(result, whole[result.trial])


def test_halves_make_no_checkpoints_and_go_on_from_the_one_before(small_dataset):
    kind = cramped(most=1, after=30)
    trials = [trial(learning_rate=rate, loss=kind()) for rate in (1e-6, 2e-6)]
    events = list(Train().run(trials, small_dataset, threads=1, checkpoint_every=20))
    assert [event.step for event in events if isinstance(event, Checkpoint)] == [20]


def test_a_trial_that_does_not_fit_alone_fails(small_dataset):
    with pytest.raises(MemoryError, match="1 trials"):
        run([trial(loss=cramped(most=0)())], small_dataset)


def test_an_error_that_is_none_of_memory_halves_no_group(small_dataset):
    class Broken(Svm):
        def losses_and_gradient(self, scores, labels):
            raise ValueError(f"{scores.shape[0]} trials")

    with pytest.raises(ValueError, match="2 trials"):
        run([trial(loss=Broken(), learning_rate=rate) for rate in (1e-6, 2e-6)], small_dataset)
