import numpy as np
import pytest

from tasks.errors import ConfigError
from tasks.schedules import SCHEDULES, Constant, Cosine, Exponential, StepDecay, WarmUp


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (Constant(), [1, 1, 1]),
        (StepDecay(every=50, decay=0.1), [1, 0.1, 0.1]),
        (Exponential(decay=0.25), [1, 0.5, 0.25 ** (99 / 100)]),
        (Cosine(floor=0.2), [1, 0.6, 0.2 + 0.8 * (1 + np.cos(np.pi * 0.99)) / 2]),
        (WarmUp(over=100), [0.01, 0.51, 1]),
    ],
    ids=list(SCHEDULES),
)
def test_factors_by_hand(schedule, expected):
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
