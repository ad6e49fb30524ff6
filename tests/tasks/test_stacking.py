"""Trials whose rows differ in a number are computed as one, and in anything else apart: every bit is as alone."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np
import pytest

from tasks.coordinates import Differences, Signed
from tasks.losses import Logistic, SquaredHinge, Svm
from tasks.models import Linear, Mlp
from tasks.optimizers import Momentum
from tasks.regularizers import L1, L2
from tasks.single import Single
from tasks.strategies import STRATEGIES
from tasks.studies.gradient_check import GradientCheck
from tasks.studies.train import Train
from tests.tasks.trainings import by_trial, run, trial


def assert_fused_as_alone(trials, dataset):
    """Train trials in the groups that they may be fused in, compare each with itself alone, and return the groups."""
    groups = {}
    for one in trials:
        groups.setdefault(one.task.fusion_key(one), []).append(one)
    for group in groups.values():
        for one, (curves, result) in zip(group, by_trial(*run(group, dataset)), strict=True):
            ((alone_curves, alone),) = by_trial(*run([one], dataset))
            np.testing.assert_equal(curves, alone_curves)
            assert result.outcome is alone.outcome
            assert result.metrics == alone.metrics
            for name, array in alone.arrays.items():
                np.testing.assert_array_equal(result.arrays[name], array)
    return list(groups.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class ElasticNet:
    """Between L2 (``ratio`` 0) and L1 (``ratio`` 1)."""

    decay: ClassVar[float] = 0.0
    ratio: float = 0.5

    def penalty(self, weights):
        return self.ratio * L1().penalty(weights) + (1 - self.ratio) * L2().penalty(weights)

    def gradient(self, weights, strength):
        return L1().gradient(weights, self.ratio * strength) + L2().gradient(weights, (1 - self.ratio) * strength)


@pytest.mark.parametrize("model", [trial().model, Mlp(hidden=(7,))])
@pytest.mark.parametrize(
    ("strategy", "changes"),
    [
        ("gradient", {}),
        ("gradient", {"optimizer": Momentum()}),
        ("gradient", {"clip": 1e3}),
        ("local", {"batch_size": None}),
        ("random", {"batch_size": None}),
        ("random", {}),
    ],
)
def test_trials_of_one_regularizer_have_its_numbers_each(small_dataset, strategy, changes, model):
    # given trials whose regularizers have fields, and others between them
    rows = [ElasticNet(ratio=ratio) for ratio in (0.0, 1.0, 0.5, 1.0)] + [L1(), L2()]
    trials = [trial(strategy, regularizer=row, regularization=1e2, model=model, **changes) for row in rows]
    # when they are fused, then each is what it is alone
    (group,) = assert_fused_as_alone(trials, small_dataset)
    # and the extremes are what they interpolate
    results = by_trial(*run(group, small_dataset))
    assert results[1][0]["train/regularization_loss"] == results[4][0]["train/regularization_loss"]
    assert results[0][0]["train/regularization_loss"] != results[1][0]["train/regularization_loss"]
    for name, array in results[1][1].arrays.items():
        np.testing.assert_array_equal(array, results[3][1].arrays[name])


@dataclass(frozen=True, slots=True, kw_only=True)
class Choosy(Svm):
    """An SVM loss with fields that are no numbers: which hinge, and the ``sharpness`` of scores, if any."""

    hinge: str = "plain"
    sharpened: bool = False
    sharpness: float | None = None

    def _scores(self, scores):
        scores = 2 * scores if self.sharpened else scores
        return scores if self.sharpness is None else self.sharpness * scores

    def losses(self, scores, labels):
        return self.losses_and_gradient(scores, labels)[0]

    def losses_and_gradient(self, scores, labels):
        kind = {"plain": Svm, "squared": SquaredHinge}[self.hinge]
        losses, slope = kind.losses_and_gradient(self, self._scores(scores), labels)
        return losses, self._scores(slope)


@pytest.mark.parametrize("strategy", ["gradient", "random"])
def test_losses_have_fields_of_any_plain_type(small_dataset, strategy):
    rows = [
        Choosy(margin=margin, **fields)
        for fields in ({}, {"hinge": "squared"}, {"sharpened": True}, {"sharpness": 0.5}, {"sharpness": 3.0})
        for margin in (1.0, 2.0)
    ]
    (group,) = assert_fused_as_alone([trial(strategy, loss=row) for row in rows], small_dataset)
    curves = [tuple(curves["train/loss"].values()) for curves, _ in by_trial(*run(group, small_dataset))]
    assert len(set(curves)) == len(rows)


def test_losses_of_one_form_are_computed_as_one_whatever_the_order_of_the_trials(small_dataset, monkeypatch):
    # given trials whose losses are of two forms, in turn
    rows = [Choosy(margin=margin, hinge=hinge) for margin in (1.0, 2.0, 3.0) for hinge in ("plain", "squared")]
    calls, computed = [], Choosy.losses_and_gradient
    monkeypatch.setattr(Choosy, "losses_and_gradient", lambda *given: calls.append(given) or computed(*given))
    # when they make a step, then each call is for all of a form
    run([trial(loss=row, steps=1, batch_size=None) for row in rows], small_dataset)
    assert {loss.margin.shape[0] for loss, *_ in calls} == {3}


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """Momentum, looking ahead or not, its updates bounded by ``most`` or not."""

    elementwise: ClassVar[bool] = True
    plain: ClassVar[bool] = False
    momentum: float = 0.9
    ahead: bool = False
    most: float | None = None

    def init(self, weights):
        return {"velocity": np.zeros_like(weights)}

    def update(self, gradient, state, *, learning_rate, step):
        velocity = self.momentum * state["velocity"] - learning_rate * gradient
        update = self.momentum * velocity - learning_rate * gradient if self.ahead else velocity
        return update if self.most is None else np.clip(update, -self.most, self.most), {"velocity": velocity}


@pytest.mark.parametrize("clip", [None, 10.0])
def test_optimizers_have_fields_of_any_plain_type(small_dataset, clip, monkeypatch):
    # given rows of four kinds, each with other numbers
    choices = [(ahead, most) for ahead in (False, True) for most in (None, 1e-6, 1e-5)]
    rows = [Chosen(momentum=momentum, ahead=ahead, most=most) for momentum in (0.5, 0.9) for ahead, most in choices]
    (group,) = assert_fused_as_alone([trial(optimizer=row, clip=clip) for row in rows], small_dataset)
    # then those that differ in numbers alone are updated as one, in as few calls as the layout of their rows allows
    calls, computed = [], Chosen.update
    monkeypatch.setattr(Chosen, "update", lambda *given, **more: calls.append(given) or computed(*given, **more))
    run([replace(one, steps=1) for one in group], small_dataset)
    counts = sorted(rule.momentum.shape[0] for rule, *_ in calls)
    assert counts == [2, 2, 4, 4] if clip else sum(counts) >= 5 * len(group)  # the rows may be padded


@dataclass(frozen=True, slots=True, kw_only=True)
class Filled:
    """Adagrad whose sum of squares begins with a number of its own."""

    elementwise: ClassVar[bool] = True
    plain: ClassVar[bool] = False
    initial: float = 0.1

    def init(self, weights):
        return {"squares": np.zeros_like(weights) + self.initial}

    def update(self, gradient, state, *, learning_rate, step):
        squares = state["squares"] + gradient * gradient
        return -learning_rate * gradient / (np.sqrt(squares) + 1e-8), {"squares": squares}


@pytest.mark.parametrize("clip", [None, 10.0])
def test_an_optimizer_begins_with_each_trials_own_numbers(small_dataset, clip):
    trials = [trial(optimizer=Filled(initial=initial), clip=clip) for initial in (0.1, 1e6)]
    (group,) = assert_fused_as_alone(trials, small_dataset)
    few, many = by_trial(*run(group, small_dataset))
    assert few[0]["train/update_ratio"] != many[0]["train/update_ratio"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Relabelled(Train):
    """A training on labels that are moved by a number of classes."""

    by: int = 0

    def run(self, trials, dataset, **options):
        labels = (dataset.train.labels + self.by) % len(dataset.classes)
        return Train.run(self, trials, replace(dataset, train=replace(dataset.train, labels=labels)), **options)


def test_trials_of_a_task_that_adds_a_field_are_fused_by_its_value(small_dataset):
    trials = [replace(trial(seed=seed), task=Relabelled(by=by)) for by in (0, 1) for seed in (0, 1)]
    assert [len(group) for group in assert_fused_as_alone(trials, small_dataset)] == [2, 2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Noted(Linear):
    """A linear model with a mapping, which cannot be hashed."""

    notes: Mapping[str, int] = field(default_factory=dict)


@pytest.mark.parametrize("task", [Train(), GradientCheck(examples=10)])
def test_a_model_with_a_mapping_is_computed_as_any_other(small_dataset, task):
    rows = [Linear(), Noted(notes={"a": 1}), Noted(notes={"a": 1}), Noted(notes={"a": 2})]
    trials = [replace(trial(), task=task, model=row, seed=seed) for seed, row in enumerate(rows)]
    groups = assert_fused_as_alone(trials, small_dataset)
    assert [len(group) for group in groups] == ([1, 2, 1] if task.trains else [1, 1, 1, 1])


@dataclass(frozen=True, slots=True, kw_only=True)
class Quiet(Single):
    """A task that does not show its one field."""

    number: int = field(default=0, repr=False)

    def train(self, trial, data, report):
        return {"number": self.number}


@dataclass(frozen=True, slots=True, kw_only=True)
class QuietModel(Linear):
    """A model that does not show its one field."""

    number: int = field(default=0, repr=False)


def test_trials_that_show_no_difference_are_not_fused(small_dataset):
    tasks = [replace(trial(), task=Quiet(number=number)) for number in (0, 1)]
    models = [
        replace(trial(), task=task, model=QuietModel(number=n)) for task in (Train(), GradientCheck()) for n in (0, 1)
    ]
    assert [len(group) for group in assert_fused_as_alone([*tasks, *models], small_dataset)] == [1] * 6


class Scaled(Signed):
    """Coordinates of a number of their own."""

    def __init__(self, factor):
        self._factor = factor

    def changes(self, scores, labels):
        return self._factor * Signed.changes(self, scores, labels)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sharp(Logistic):
    """The logistic loss of twice the scores."""

    coordinates: ClassVar[Scaled] = Scaled(2.0)

    def losses_and_gradient(self, scores, labels):
        losses, slope = Logistic().losses_and_gradient(2 * scores, labels)
        return losses, 2 * slope


@dataclass(frozen=True, slots=True, kw_only=True)
class Sharper(Sharp):
    """The logistic loss of five times the scores."""

    coordinates: ClassVar[Scaled] = Scaled(5.0)


def test_losses_of_other_coordinates_of_one_class_are_each_its_own(small_dataset):
    trials = [trial("local", loss=loss, batch_size=None) for loss in (Sharp(), Sharper())]
    assert [len(group) for group in assert_fused_as_alone(trials, small_dataset)] == [1, 1]


def namesake(kind):
    """Return another class with the name of a row's class, as an installed package may have."""
    return type(kind.__name__, (kind,), {})


def test_rows_of_other_classes_with_one_name_are_not_fused():
    class OtherSvm(Svm):
        coordinates: ClassVar[Differences] = namesake(Differences)()

    pairs = [
        [replace(trial(name), strategy=kind()) for kind in (STRATEGIES[name], namesake(STRATEGIES[name]))]
        for name in STRATEGIES
    ]
    pairs += [[trial("local", loss=kind()) for kind in (Svm, OtherSvm)]]
    for pair in pairs:
        assert len({one.task.fusion_key(one) for one in pair}) == 2, pair


def test_optimizers_of_other_classes_with_one_name_are_each_its_own(small_dataset):
    other = dataclass(frozen=True, slots=True, kw_only=True)(namesake(Momentum))
    other.update = lambda self, gradient, state, *, learning_rate, step: (-learning_rate * gradient, state)
    rows = [Momentum(), other(), Momentum(momentum=0.5), other()]
    (group,) = assert_fused_as_alone([trial(optimizer=row) for row in rows], small_dataset)
    losses = [curves["train/loss"] for curves, _ in by_trial(*run(group, small_dataset))]
    assert losses[0] != losses[1] == losses[3] != losses[2] != losses[0]
