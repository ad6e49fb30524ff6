import numpy as np
import pytest

from tasks.errors import ConfigError
from tasks.schedules import SCHEDULES, Constant, Cosine, Exponential, StepDecay, WarmUp

BY_HAND = {
    "constant": (Constant(), [1, 1, 1]),
    "step": (StepDecay(every=50, decay=0.1), [1, 0.1, 0.1]),
    "exponential": (Exponential(decay=0.25), [1, 0.5, 0.25 ** (99 / 100)]),
    "cosine": (Cosine(floor=0.2), [1, 0.6, 0.2 + 0.8 * (1 + np.cos(np.pi * 0.99)) / 2]),
    "warm_up": (WarmUp(over=100), [0.01, 0.51, 1]),
}
"""A schedule of every row, and its factors at steps 1, 51 and 100 of 100."""


@pytest.mark.parametrize("name", SCHEDULES)
def test_factors_by_hand(name):
    assert name in BY_HAND, f"the factors of schedule={name} by hand are missing here"
    schedule, expected = BY_HAND[name]
    np.testing.assert_allclose([schedule.factor(step, 100) for step in (1, 51, 100)], expected, rtol=1e-12)


@pytest.mark.parametrize("kind", SCHEDULES.values(), ids=list(SCHEDULES))
def test_factors_stay_between_0_and_1(kind):
    factors = [kind().factor(step, 1000) for step in range(1, 1001)]
    assert 0 <= min(factors) <= max(factors) <= 1


@pytest.mark.parametrize(
    ("kind", "key", "value", "rule"),
    [
        (StepDecay, "every", 0, "must be >= 1, got 0"),
        (StepDecay, "decay", 2.0, "must be above 0 and at most 1, got 2.0"),
        (Exponential, "decay", 0.0, "must be above 0 and at most 1, got 0.0"),
        (Cosine, "floor", 1.5, "must be between 0 and 1, got 1.5"),
        (WarmUp, "over", 0, "must be >= 1, got 0"),
    ],
)
def test_a_bad_parameter_is_refused_by_name_rule_and_value(kind, key, value, rule):
    with pytest.raises(ConfigError, match=f"^schedule.{key} {rule}$"):
        kind(**{key: value})
