"""Trials of several update rules are one fused group, and each keeps the bits that it has alone."""

import dataclasses
from collections import Counter
from dataclasses import dataclass

import numpy as np
import pytest

from tasks.events import Checkpoint, Pause, Result
from tasks.losses import Softmax, Svm
from tasks.models import ConvNet, Linear, Mlp
from tasks.optimizers import OPTIMIZERS, Adam, Momentum, Sgd
from tasks.studies.train import Train
from tests.tasks.trainings import assert_same_arrays, assert_same_bits, by_trial, run, trial

MODELS = [Linear(), Mlp(hidden=(5,)), ConvNet(channels=(3,), hidden=())]


def of_all_rules(**changes):
    """Return two trials of every optimiser, those of one optimiser apart from each other."""
    rows = [kind() for kind in OPTIMIZERS.values()]
    settings = [(1e-6, Svm(), 0.0), (1e-5, Softmax(), 0.1)]
    return [
        trial(optimizer=row, learning_rate=rate, loss=loss, regularization=strength, **changes)
        for rate, loss, strength in settings
        for row in rows
    ]


def groups_of(trials):
    """Return the trials in the groups that their task allows, in their order."""
    found = {}
    for one in trials:
        found.setdefault(one.task.fusion_key(one), []).append(one)
    return list(found.values())


@pytest.mark.parametrize("clip", [None, 1.0])
@pytest.mark.parametrize("model", MODELS, ids=lambda model: type(model).__name__)
def test_trials_of_all_rules_are_fused_and_equal_each_alone_bit_for_bit(image_dataset, model, clip):
    groups = groups_of(of_all_rules(model=model, clip=clip, steps=20))

    # plain gradient descent has a faster loop of its own, but where it is clipped, and so have elementwise rules
    loops = [(kind.elementwise, kind.plain) for kind in OPTIMIZERS.values() for _ in range(2)]
    assert sorted(map(len, groups)) == ([len(loops)] if clip else sorted(Counter(loops).values()))
    for group in groups:
        fused = by_trial(*run(group, image_dataset))
        for one, (curves, result) in zip(group, fused, strict=True):
            ((own_curves, own),) = by_trial(*run([one], image_dataset))
            assert (curves, result.metrics) == (own_curves, own.metrics)
            assert result.arrays.keys() == own.arrays.keys() != set()
            for name, array in result.arrays.items():
                np.testing.assert_array_equal(array, own.arrays[name])


def paused(trials, dataset, until):
    """Return the checkpoint of trials that pause at a step."""
    (pause,) = [e for e in Train().run(trials, dataset, threads=1, until=until) if isinstance(e, Pause)]
    return pause.checkpoint


def results_of(trials, dataset, start):
    events = Train().run(trials, dataset, threads=1, start=start)
    return {event.trial: event for event in events if isinstance(event, Result)}


def in_order(checkpoint, count):
    """Return the checkpoint of each trial alone."""
    return [checkpoint.of_trials([k]) for k in range(count)]


@pytest.mark.parametrize("clip", [None, 1.0])
def test_they_part_and_are_merged_with_trials_of_other_rules_and_lose_no_bit(small_dataset, clip):
    # given trials of two rules, each in a group of its own up to a step, and of two others in one
    rules = [OPTIMIZERS[name]() for name in ("momentum", "adam", "rmsprop", "nesterov")]
    trials = [trial(optimizer=row, clip=clip) for row in rules]
    _, whole = run(trials, small_dataset)
    alone = [paused([one], small_dataset, 20) for one in trials[:2]]
    pair = in_order(paused(trials[2:], small_dataset, 20), 2)

    # when all are merged, or go on with one of the others, or alone
    for places in ([0, 1, 2, 3], [3, 0], [1, 3], [2], [3]):
        parts = [[*alone, *pair][place] for place in places]
        results = results_of([trials[place] for place in places], small_dataset, Checkpoint.join(parts))

        # then each ends as if nothing had been
        for number, place in enumerate(places):
            assert results[number].metrics == whole[place].metrics
            assert_same_arrays(results[number], whole[place])


def test_a_group_that_has_parted_keeps_the_states_of_its_own_rules_only(small_dataset):
    trials = [trial(optimizer=row) for row in (Momentum(), Adam())]
    part = paused(trials, small_dataset, 20).of_trials([0])

    (pause,) = [
        e for e in Train().run(trials[:1], small_dataset, threads=1, start=part, until=40) if isinstance(e, Pause)
    ]

    names = {"velocity", "mean", "squares"}
    assert names & part.arrays.keys() == names
    assert names & pause.checkpoint.arrays.keys() == {"velocity"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Precise(Momentum):
    """Its velocity is in double precision."""

    def init(self, weights):
        return {"velocity": np.zeros(weights.shape)}


def test_a_rule_whose_state_is_of_another_type_has_a_group_of_its_own(small_dataset):
    trials = [trial(optimizer=Precise(momentum=number)) for number in (0.9, 0.5)]
    assert len(groups_of([*trials, trial(optimizer=Momentum())])) == 2
    fused = by_trial(*run(trials, small_dataset))
    assert_same_bits(fused, [by_trial(*run([one], small_dataset))[0] for one in trials])


def test_a_clipped_trial_is_not_fused_with_one_that_is_not():
    assert len(groups_of([trial(optimizer=Adam(), clip=clip) for clip in (None, 1.0)])) == 2
    assert len(groups_of([dataclasses.replace(trial(), optimizer=row, clip=1.0) for row in (Sgd(), Adam())])) == 1
