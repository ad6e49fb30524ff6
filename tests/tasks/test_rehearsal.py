"""What a row from outside does otherwise than its protocol says is told before anything starts."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest

from tasks.coordinates import Differences
from tasks.datasets import DATASETS
from tasks.errors import ConfigError
from tasks.losses import LOSSES, Softmax, Svm
from tasks.models import MODELS, Mlp
from tasks.optimizers import OPTIMIZERS, Momentum, Sgd
from tasks.regularizers import L2, REGULARIZERS
from tasks.rehearsal import REHEARSALS
from tasks.schedules import SCHEDULES, Constant
from tasks.strategies import STRATEGIES, RandomSearch
from tasks.strategies.strategy import Work
from tasks.studies.train import Train
from tasks.trial import Trial

OWN = {
    "model": MODELS,
    "loss": LOSSES,
    "regularizer": REGULARIZERS,
    "optimizer": OPTIMIZERS,
    "schedule": SCHEDULES,
    "strategy": STRATEGIES,
}
row = dataclass(frozen=True, slots=True, kw_only=True)


@pytest.fixture(scope="module")
def digits():
    return DATASETS["digits"]().load()


@pytest.mark.parametrize(("group", "name"), [(group, name) for group, table in OWN.items() for name in table])
def test_every_row_of_our_own_passes(digits, group, name):
    for batch_size in (64, None) if group == "strategy" else (64,):
        REHEARSALS[group](Trial(task=Train(), batch_size=batch_size, **{group: OWN[group][name]()}), digits)


def test_a_row_of_every_table_of_a_formula_is_rehearsed():
    assert REHEARSALS.keys() == OWN.keys()
    assert REHEARSALS.keys() <= {field.name for field in dataclasses.fields(Trial)}


@row
class Weighted(Softmax):
    """A field is an array ``(*trials, 1, 1)``, the losses are ``(*trials, N)``."""

    weight: float = 0.5

    def losses(self, scores, labels):
        return self.weight * Softmax.losses(self, scores, labels)


@row
class Alone(Softmax):
    """No gradient."""

    def losses_and_gradient(self, scores, labels):
        return Softmax.losses(self, scores, labels)


@row
class Shifts(Softmax):
    """It changes the scores."""

    def losses(self, scores, labels):
        scores -= scores.max(axis=-2, keepdims=True)
        return Softmax.losses(self, scores, labels)


@row
class Smoothed(Softmax):
    """It adds up coordinates, one of which may be ``-inf``."""

    def losses(self, scores, labels):
        return Softmax.losses(self, scores, labels) - 0.1 * self.coordinates.changes(scores, labels).sum(axis=-2)

    def losses_and_gradient(self, scores, labels):
        return self.losses(scores, labels), Softmax.losses_and_gradient(self, scores, labels)[1]

    def sums(self, coordinates):
        return Softmax.sums(self, coordinates) - 0.1 * coordinates.sum(axis=(-2, -1))


@row
class Doubled(Svm):
    """Its sums are those of half the losses."""

    def losses(self, scores, labels):
        return 2 * Svm.losses(self, scores, labels)

    def losses_and_gradient(self, scores, labels):
        losses, gradient = Svm.losses_and_gradient(self, scores, labels)
        return 2 * losses, 2 * gradient


@row
class Whole(L2):
    """One number for all rows."""

    def penalty(self, weights):
        return (weights**2).sum()


@row
class Half(L2):
    """It has another gradient than its decay says."""

    def gradient(self, weights, strength):
        return strength * weights


@row
class Normed(Momentum):
    """Elementwise, it says, but it takes the norm."""

    def update(self, gradient, state, *, learning_rate, step):
        del step
        return -learning_rate * gradient / np.linalg.norm(gradient, axis=-1, keepdims=True), state


@row
class Curved(Momentum):
    """It takes the norm of what a gradient differs by from the one before."""

    elementwise: ClassVar[bool] = False

    def init(self, weights):
        return {"gradient": np.zeros_like(weights), "update": np.zeros_like(weights)}

    def update(self, gradient, state, *, learning_rate, step):
        turn, factor = gradient - state["gradient"], learning_rate
        if step > 1:  # Barzilai and Borwein 1988
            factor = np.abs(np.vecdot(state["update"], turn) / np.vecdot(turn, turn))[:, None]
        return -factor * gradient, {"gradient": gradient, "update": -factor * gradient}


@row
class Flat(Curved):
    """Elementwise, it says, but it takes that norm."""

    elementwise: ClassVar[bool] = True


def test_a_rule_of_the_change_of_the_gradient_passes(digits):
    REHEARSALS["optimizer"](Trial(task=Train(), optimizer=Curved()), digits)


class Listed(Differences):
    """Coordinates that cannot be hashed."""

    __hash__ = None


@row
class Unhashed(Softmax):
    """Its coordinates cannot be hashed."""

    coordinates: ClassVar[Differences] = Listed()


@row
class Counting(Momentum):
    """A number of each trial is its state."""

    def init(self, weights):
        return {"count": np.zeros((weights.shape[0], 1))}


@row
class InPlace(Momentum):
    """It changes its state."""

    def update(self, gradient, state, *, learning_rate, step):
        state["velocity"][...] = Momentum.update(self, gradient, state, learning_rate=learning_rate, step=step)[0]
        return state["velocity"], state


@row
class Taken(Momentum):
    """The name of its state is taken."""

    def init(self, weights):
        return {"weights": weights}


@row
class Faster(Sgd):
    """It is not plain."""

    def update(self, gradient, state, *, learning_rate, step):
        del step
        return -2 * learning_rate * gradient, state


@row
class Raises(Sgd):
    """It raises."""

    def update(self, gradient, state, *, learning_rate, step):
        raise ZeroDivisionError("of nothing")


@row
class Clipped(Sgd):
    """It asks whether its limit is one number, which it is not in a group."""

    limit: float = 1.0

    def update(self, gradient, state, *, learning_rate, step):
        return -learning_rate * (gradient if self.limit else gradient.clip(-self.limit, self.limit)), state


@row
class First(Momentum):
    """It takes the number of the first trial for all."""

    def update(self, gradient, state, *, learning_rate, step):
        first = Momentum(momentum=float(self.momentum.flat[0]))
        return first.update(gradient, state, learning_rate=learning_rate, step=step)


@row
class Widest(Svm):
    """It takes the largest margin for all."""

    def losses(self, scores, labels):
        return Svm(margin=self.margin.max()).losses(scores, labels)

    def losses_and_gradient(self, scores, labels):
        return Svm(margin=self.margin.max()).losses_and_gradient(scores, labels)


@row
class Exits(Softmax):
    """It asks the process to exit."""

    def losses(self, scores, labels):
        raise SystemExit(3)


@row
class Forgets(Constant):
    """It returns nothing."""

    def factor(self, step, steps):
        del step, steps


@row
class Unnamed(Mlp):
    """It lacks a spread."""

    def spreads(self, image_shape, classes):
        return {"hidden1": Mlp.spreads(self, image_shape, classes)["hidden1"]}


class Crossed:
    """An arrangement whose scores depend on the other trials."""

    def __init__(self, inner):
        self._inner = inner

    def __getattr__(self, name):
        return getattr(self._inner, name)

    def scores(self, rows, features):
        scores = self._inner.scores(rows, features)
        return scores - scores.mean(axis=0, keepdims=True)

    def scores_and_vjp(self, rows, features):
        return self.scores(rows, features), self._inner.scores_and_vjp(rows, features)[1]

    def scores_and_parts(self, rows, features):
        return self.scores(rows, features), self._inner.scores_and_parts(rows, features)[1]


@row
class Mixing(Mlp):
    """A trial has other bits alone."""

    def arrange(self, *given, like):
        return Crossed(Mlp.arrange(self, *given, like=like))


@row
class Renamed(Mlp):
    """It describes a layer that nothing else knows."""

    def layers(self, image_shape):
        return [{"layer": "normalization"}, *Mlp.layers(self, image_shape)]


@row
class Counts(RandomSearch):
    """Its steps depend on how they are split."""

    def advance(self, problem, state, start, stop):
        after, measured = RandomSearch.advance(self, problem, state, start, stop)
        return {**after, "weights": after["weights"] + (stop - start)}, measured


@row
class Shrinks(RandomSearch):
    """It takes the number of the first trial for all."""

    factor: float = 0.5

    def advance(self, problem, state, start, stop):
        after, measured = RandomSearch.advance(self, problem, state, start, stop)
        return {**after, "weights": self.factor * after["weights"]}, measured


@row
class Bounded(Shrinks):
    """It shares its numbers in no group, and has ends of its own."""

    most: int = 3

    def __post_init__(self):
        assert self.most <= 3

    def fusion_key(self, trial):
        return (trial.strategy.factor,)

    def advance(self, problem, state, start, stop):
        return RandomSearch.advance(self, problem, state, start, stop)


def test_a_strategy_that_fuses_trials_of_equal_numbers_passes(digits):
    REHEARSALS["strategy"](Trial(task=Train(), strategy=Bounded()), digits)


@row
class Unmeasured(RandomSearch):
    """It measures no accuracy."""

    def advance(self, problem, state, start, stop):
        after, measured = RandomSearch.advance(self, problem, state, start, stop)
        return after, {name: values for name, values in measured.items() if name != "accuracy"}


@row
class Meets(Softmax):
    """Its gradient depends on the other trials."""

    def losses_and_gradient(self, scores, labels):
        losses, gradient = Softmax.losses_and_gradient(self, scores, labels)
        return losses, gradient - gradient.mean(axis=0, keepdims=True)


@row
class Shared(Sgd):
    """The axis of its norm is forgotten."""

    elementwise: ClassVar[bool] = False
    plain: ClassVar[bool] = False

    def update(self, gradient, state, *, learning_rate, step):
        return -learning_rate * gradient / np.linalg.norm(gradient), state


@row
class Counted(RandomSearch):
    """It measures how many trials there are."""

    def advance(self, problem, state, start, stop):
        after, measured = RandomSearch.advance(self, problem, state, start, stop)
        return after, {**measured, "accuracy": np.full_like(measured["accuracy"], len(problem.trials))}


def planned(method, answer):
    """Return a strategy with a method that returns something else."""
    return type("Other", (RandomSearch,), {"__slots__": (), method: lambda *_, **__: answer})


@pytest.mark.parametrize(
    ("method", "answer", "message"),
    [
        ("work", (1, 2), "Other.work must return a Work of numbers of at least 0, got (1, 2)"),
        ("work", Work(1, float("nan")), "Other.work must return a Work of numbers of at least 0, got Work"),
        ("bytes_per_trial", 0, "Other.bytes_per_trial must return a number above 0, got 0"),
        ("fixed_bytes", None, "Other.fixed_bytes must return a number of at least 0, got None"),
        ("fusion_key", ([],), "Other.fusion_key must return a tuple of what can be hashed, got ([],)"),
        ("stretch", 0, "Other.stretch must return a whole number of at least 1, got 0"),
        ("init", None, "Other.init must return a state with the weights, got None"),
        ("advance", None, "Other.advance must return the state and the measures, got None"),
    ],
)
def test_what_a_strategy_says_before_it_computes_is_rehearsed_too(digits, method, answer, message):
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}"):
        REHEARSALS["strategy"](Trial(task=Train(), strategy=planned(method, answer)()), digits)


@pytest.mark.parametrize(
    ("group", "wrong", "message"),
    [
        (
            "loss",
            Weighted,
            "Weighted.losses must return a loss of every example, for scores (2, 10, 4) (its own",
        ),
        ("loss", Alone, "Alone.losses_and_gradient must return a pair, got <class 'numpy.ndarray'>"),
        ("loss", Shifts, "Shifts.losses must leave the arrays it is given, got changed ones"),
        ("loss", Smoothed, "Smoothed.sums must return the sum of losses, from coordinates with -inf for one that is"),
        (
            "loss",
            Meets,
            "Meets.losses_and_gradient must return for a trial in a group what it does for the trial alone",
        ),
        ("optimizer", Shared, "Shared.update must return for a trial in a group what it does for the trial alone, got"),
        ("strategy", Counted, "Counted.advance must return for a trial in a group what it does for the trial alone ("),
        (
            "strategy",
            Shrinks,
            "Shrinks.advance must return for a trial in a group what it does for the trial alone (th",
        ),
        ("loss", Doubled, "Doubled.sums must return the sum of losses, from coordinates without those"),
        (
            "regularizer",
            Whole,
            "Whole.penalty must return a penalty of every row, for weights (2, 3, 5): (2, 3), got",
        ),
        ("regularizer", Half, "Half.gradient must return strength * 2.0 * W, as decay says, got "),
        (
            "optimizer",
            Normed,
            "Normed.update must return the same for some of the weights, as elementwise says",
        ),
        ("optimizer", Flat, "Flat.update must return the same for some of the weights, as elementwise says"),
        ("loss", Unhashed, "Unhashed.coordinates must be what can be hashed, got "),
        ("optimizer", Counting, "Counting.init must return the state 'count' in the shape of the weights (its own num"),
        ("optimizer", InPlace, "InPlace.update must leave the arrays it is given, got changed ones"),
        ("optimizer", Taken, "Taken.init must name its state otherwise than the weights, got weights"),
        ("optimizer", Faster, "Faster.update must return -learning_rate * g, as plain says, got "),
        ("optimizer", Raises, "Raises.update must compute, given (2, 6), dict, got ZeroDivisionError: of nothing"),
        (
            "optimizer",
            Clipped,
            "Clipped.update must compute, given (2, 6), dict and its own limit as arrays over the trials, got ValueErr",
        ),
        ("optimizer", First, "First.update must return for a trial in a group what it does for the trial alone, got"),
        ("loss", Widest, "Widest.losses_and_gradient must return for a trial in a group what it does for the trial al"),
        ("loss", Exits, "Exits.losses must compute, given (2, 10, 4), (4,), got SystemExit: 3"),
        ("schedule", Forgets, "Forgets.factor must return a finite number at step 1, got None"),
        ("model", Unnamed, "Unnamed.spreads must return one of each of ['hidden1', 'scores'], got ['hidden1']"),
        ("model", Mixing, "Crossed.scores must return the same bits for a trial alone and in a group, got others"),
        (
            "model",
            Renamed,
            "Renamed.layers must return layers of affine, convolution, max_pooling, relu, tanh, images,",
        ),
        ("strategy", Counts, "Counts.advance must return the same bits however the steps are split, got other weights"),
        (
            "strategy",
            Unmeasured,
            "Unmeasured.advance must return the measure 'accuracy' of each step and trial",
        ),
    ],
)
def test_what_breaks_a_protocol_is_named_with_its_rule_and_the_value(digits, group, wrong, message):
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}"):
        REHEARSALS[group](Trial(task=Train(), **{group: wrong()}), digits)
