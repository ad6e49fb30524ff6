import dataclasses

import numpy as np
import pytest

from tasks.arrays.stacking import per_trial, stack
from tasks.errors import ConfigError
from tasks.optimizers import OPTIMIZERS, Adagrad, Adam, Momentum, Nesterov, Rmsprop, Sgd


def two_updates(optimizer, first=1.0, second=2.0, rate=0.1):
    state = optimizer.init(np.zeros(()))
    one, state = optimizer.update(np.float64(first), state, learning_rate=rate, step=1)
    two, _ = optimizer.update(np.float64(second), state, learning_rate=rate, step=2)
    return float(one), float(two)


@pytest.mark.parametrize(
    ("optimizer", "expected"),
    [
        (Sgd(), (-0.1, -0.2)),
        (Momentum(momentum=0.5), (-0.1, -0.05 - 0.2)),
        # v1 = -0.1, update 0.5 v1 - 0.1; v2 = 0.5 v1 - 0.2 = -0.25, update 0.5 v2 - 0.2
        (Nesterov(momentum=0.5), (-0.15, -0.325)),
        (Adagrad(epsilon=0.5), (-0.1 / 1.5, -0.2 / (np.sqrt(5) + 0.5))),
        (Rmsprop(decay=0.5, epsilon=0.5), (-0.1 / (np.sqrt(0.5) + 0.5), -0.2 / (1.5 + 0.5))),
        # corrected moments: m' = 1, v' = 1; then m' = 0.75 (0.25 + 1) / 0.75, v' = (0.25 + 2) / 0.75
        (Adam(beta1=0.5, beta2=0.5, epsilon=0.5), (-0.1 / 1.5, -0.1 * (1.25 / 0.75) / (np.sqrt(2.25 / 0.75) + 0.5))),
    ],
    ids=lambda value: type(value).__name__,
)
def test_updates_by_hand(optimizer, expected):
    np.testing.assert_allclose(two_updates(optimizer), expected, rtol=1e-9)


@pytest.mark.parametrize("optimizer", [kind() for kind in OPTIMIZERS.values()], ids=list(OPTIMIZERS))
def test_every_optimizer_reaches_the_minimum_of_a_bowl(optimizer):
    weights = np.array([[1.0, -0.5]])
    state = optimizer.init(weights)
    for step in range(1, 2001):
        update, state = optimizer.update(weights, state, learning_rate=0.05, step=step)
        weights = weights + update
    assert np.abs(weights).max() < 0.06


@pytest.mark.parametrize("kind", list(OPTIMIZERS.values()), ids=list(OPTIMIZERS))
def test_stacked_hyperparameters_are_those_of_each_trial_alone(kind):
    # given two trials with different learning rates and, where there are any, hyperparameters
    names = [field.name for field in dataclasses.fields(kind)]
    rows = [kind(), kind(**dict.fromkeys(names, 0.5))]
    rng, rates = np.random.default_rng(0), [0.1, 0.01]
    gradients = rng.normal(size=(4, 2, 15))
    # when they are fused, and alone
    fused, together = stack(rows, like=gradients, trailing=1), np.zeros((2, 15))
    state = fused.init(together)
    alone, states = [np.zeros(15)] * 2, [row.init(np.zeros(15)) for row in rows]
    for step, gradient in enumerate(gradients, start=1):
        rate = per_trial(rates, like=gradients, trailing=1)
        update, state = fused.update(gradient, state, learning_rate=rate, step=step)
        together = together + update
        for k, row in enumerate(rows):
            update, states[k] = row.update(gradient[k], states[k], learning_rate=rates[k], step=step)
            alone[k] = alone[k] + update
    # then they are the same
    np.testing.assert_allclose(together, alone, rtol=1e-14)


@pytest.mark.parametrize(
    ("kind", "key"),
    [
        (Momentum, "momentum"),
        (Nesterov, "momentum"),
        (Adagrad, "epsilon"),
        (Rmsprop, "decay"),
        (Rmsprop, "epsilon"),
        (Adam, "beta1"),
        (Adam, "beta2"),
        (Adam, "epsilon"),
    ],
)
def test_a_bad_hyperparameter_is_refused_by_name_rule_and_value(kind, key):
    value, rule = (0.0, "> 0, got 0.0") if key == "epsilon" else (1.0, "at least 0 and below 1, got 1.0")
    with pytest.raises(ConfigError, match=f"^optimizer.{key} must be {rule}$"):
        kind(**{key: value})
