"""Paused trials of several groups, joined and fused anew: bit for bit what they are undisturbed."""

import pytest

from tasks.events import Checkpoint, Pause
from tasks.models import MODELS
from tasks.optimizers import OPTIMIZERS
from tasks.strategies import STRATEGIES
from tasks.studies.train import Train
from tests.tasks.groups import groups
from tests.tasks.models.test_training import ROWS, assert_same_bits, followed, images, mixed, trial

__all__ = ["images"]


def paused(trials, dataset, *, until, start=None):
    """Return the checkpoint that a group hands over at a step, which is the last that it tells."""
    *_, last = Train().run(trials, dataset, threads=1, until=until, start=start)
    assert isinstance(last, Pause)
    assert last.checkpoint.step == until
    return last.checkpoint


def assert_survivors_go_on(trials, dataset, until):
    """Assert that some trials of two groups, joined at a step, end as those of one group that nothing disturbs."""
    whole = followed(trials, dataset)
    half = len(trials) // 2
    groups = [list(range(half)), list(range(half, len(trials)))]
    kept = [groups[1][::2], groups[0][1::2]]  # the second group's come first
    parts = [
        paused([trials[k] for k in group], dataset, until=until).of_trials([group.index(k) for k in survivors])
        for group, survivors in zip(reversed(groups), kept, strict=True)
    ]
    members = [k for survivors in kept for k in survivors]
    joined = Checkpoint.join(parts)
    # when they go on together, and pause once more on the way
    again = paused([trials[k] for k in members], dataset, until=until + 3, start=joined)
    for start in (joined, again):
        rest = followed([trials[k] for k in members], dataset, start=start)
        for k, one in zip(members, rest, strict=True):
            assert_same_bits(one, (whole[k][0], whole[k][1]), since=start.step)


@pytest.mark.parametrize(
    ("strategy", "batch_size"),
    [(name, size) for name in STRATEGIES for size in (32, None) if (name, size) != ("lbfgs", 32)],
)
@pytest.mark.parametrize("model", ROWS)
def test_joined_survivors_of_every_model_and_strategy_lose_no_bit(images, model, strategy, batch_size):
    # given a pause between two points of the curves, whose means then reach over it
    for trials in groups(mixed(model, strategy, batch_size=batch_size)):
        assert_survivors_go_on(trials, images, until=5)


@pytest.mark.parametrize("clip", [None, 0.5])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_joined_survivors_of_every_optimizer_lose_no_bit(images, optimizer, clip):
    for model in MODELS:
        trials = [trial(model, optimizer=OPTIMIZERS[optimizer](), seed=seed, clip=clip) for seed in range(4)]
        assert_survivors_go_on(trials, images, until=6)


def test_a_pause_beyond_the_budget_is_none(images):
    trials = [trial("linear")]
    assert [type(event) for event in Train().run(trials, images, threads=1, until=12)] == [
        type(event) for event in Train().run(trials, images, threads=1)
    ]


def test_parts_at_different_steps_are_not_joined(images):
    with pytest.raises(AssertionError, match="same step"):
        Checkpoint.join([paused([trial("linear")], images, until=step) for step in (5, 6)])
