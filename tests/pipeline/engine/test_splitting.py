import pytest

from pipeline.engine import splitting
from pipeline.engine.splitting import group_to_split, saved_by_split


def saved(half, began, kept, done, seconds=40.0, silent=0.0):
    return saved_by_split(half=half, began=began, kept=kept, done=done, seconds=seconds, silent=silent)


def test_a_half_is_faster_but_goes_on_from_the_checkpoint():
    # given trials that took 40 s for half of their steps, of which the last checkpoint has 2/5
    # then the rest takes 40 s, and 80 s * 3/5 * 0.625 = 30 s in halves
    assert saved(half=0.625, began=0.0, kept=0.4, done=0.5) == pytest.approx(10.0)
    # and of an attempt that began at 1/4: the last quarter takes 20 s, and 80 s * 3/10 * 0.625 = 15 s in halves
    assert saved(half=0.625, began=0.25, kept=0.7, done=0.75) == pytest.approx(5.0)
    # 80 s * 1/2 * 0.8 = 32 s instead of 40 s; one trial has no halves
    assert saved(half=0.8, began=0.0, kept=0.5, done=0.5) == pytest.approx(8.0)
    assert saved(half=1.0, began=0.0, kept=0.5, done=0.5) == 0.0


def test_the_group_that_saves_the_most_is_split(monkeypatch):
    slow, fast = (saved(half=0.6, began=0.0, kept=kept, done=kept, seconds=60.0) for kept in (0.1, 0.9))

    assert group_to_split([fast, slow]) == 1
    assert group_to_split([slow, fast]) == 0
    monkeypatch.setattr(splitting, "MIN_SAVED_SECONDS", 1e6)
    assert group_to_split([fast, slow]) is None


@pytest.mark.parametrize(
    "shares",
    [
        {"half": 1.0, "began": 0.0, "kept": 0.1, "done": 0.1},  # alone
        {"half": 0.6, "began": 0.0, "kept": 0.0, "done": 0.9},  # most would be computed again
        {"half": 0.6, "began": 0.0, "kept": 0.99, "done": 0.99},  # nearly done
        {"half": 0.6, "began": 0.3, "kept": 0.3, "done": 0.3},  # nothing known of its pace
    ],
    ids=str,
)
def test_what_saves_too_little_is_left_alone(shares):
    assert group_to_split([saved(**shares, seconds=100.0)]) is None


def test_a_group_that_is_nearly_done_since_its_last_message_is_left_alone():
    half = {"half": 0.6, "began": 0.0, "kept": 0.5, "done": 0.5, "seconds": 100.0}

    assert group_to_split([saved(**half, silent=1.0)]) == 0
    assert group_to_split([saved(**half, silent=95.0)]) is None


def test_without_groups_none_is_split():
    assert group_to_split([]) is None
