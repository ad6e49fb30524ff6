"""What a rule asks of its trials is one message before anything starts."""

import dataclasses

import pytest

from pipeline.stopping import STOPPING, Halving, Hyperband, Median
from pipeline.stopping.checks import check
from tasks.datasets import DATASETS
from tasks.errors import ConfigError
from tasks.studies.landscape import Landscape
from tasks.studies.train import Train
from tasks.trial import Trial

DIGITS, UNVALIDATED = (DATASETS["digits"](validation=count).load() for count in (150, 0))
TRIALS = [Trial(task=Train(), learning_rate=rate) for rate in (1e-3, 1e-2)]


@pytest.mark.parametrize("rule", [kind() for kind in STOPPING.values()], ids=list(STOPPING))
def test_the_defaults_of_every_rule_suit_the_default_trial(rule):
    check(rule, TRIALS, metric="val/accuracy", dataset=DIGITS)
    check(rule, TRIALS, metric="train/loss", dataset=UNVALIDATED)


def test_one_rung_is_enough():
    check(Halving(min_steps=900), TRIALS, metric="val/accuracy", dataset=DIGITS)


@pytest.mark.parametrize(
    ("rule", "metric", "message"),
    [
        (Halving(), "val/acuracy", "stopping.metric must be one of .* \\(did you mean 'val/accuracy'"),
        (Halving(), "test/accuracy", "stopping.metric must be one of"),
        (Halving(min_steps=1000), "val/loss", "stopping.min_steps must be below the 1000 steps of a trial, got 1000"),
        (
            Halving(min_steps=200, max_steps=200),
            "val/loss",
            "stopping.min_steps must be below the 200 steps of stopping.max_steps, got 200",
        ),
        (Halving(max_steps=2000), "val/loss", "stopping.max_steps must be at most the 1000 steps of a trial, got 2000"),
        (
            Halving(min_steps=50, reduction_factor=3),
            "val/accuracy",
            r"at which val/accuracy is measured \(trial.evaluate_every=100\), none at \[50, 150, 450\], got 50",
        ),
        (Hyperband(min_steps=15), "train/loss", r"none at \[15, 45, 135, 405\], got 15"),
        (Halving(min_steps=15), "train/loss", r"\(trial.record_every=10\), none at \[15, 45, 135, 405\], got 15"),
        (Hyperband(brackets=4), "val/loss", "stopping.brackets must be at most 3, so that each has a rung .* got 4"),
        # which would take hours to count
        (Hyperband(brackets=10**9), "val/loss", "stopping.brackets must be at most 3, so that each has a rung"),
        (Median(min_steps=1), "val/loss", r"none at \[1, 2, 3, 4, 5\] and 985 more, got 1"),
    ],
)
def test_rungs_that_cannot_be_are_named(rule, metric, message):
    with pytest.raises(ConfigError, match=message):
        check(rule, TRIALS, metric=metric, dataset=DIGITS)


def test_a_metric_of_the_validation_set_needs_one():
    with pytest.raises(ConfigError, match=r"stopping\.metric must be one of train/accuracy"):
        check(Halving(), TRIALS, metric="val/accuracy", dataset=UNVALIDATED)


def test_trials_of_different_steps_are_not_compared_and_tasks_that_do_not_train_neither():
    other = dataclasses.replace(TRIALS[0], steps=500)
    with pytest.raises(ConfigError, match=r"steps must be the same in all trials .* got \[500, 1000\]"):
        check(Halving(), [*TRIALS, other], metric="val/accuracy", dataset=DIGITS)
    one = dataclasses.replace(other, task=Landscape())
    check(Halving(), [*TRIALS, one], metric="val/accuracy", dataset=DIGITS)
    check(Halving(), [one], metric="val/accuracy", dataset=DIGITS)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Masking(Median):
    """It lets pass by a mask."""

    def passing(self, arrived, *, complete):
        return [complete and history[-1] > 0 for history in arrived]


class Beyond(Median):
    """It lets one pass that has not arrived."""

    def passing(self, arrived, *, complete):
        return [len(arrived)]


class Diverged(Median):
    """It lets all pass in the end."""

    def passing(self, arrived, *, complete):
        return list(range(len(arrived))) if complete else []


class First(Median):
    """It takes for granted that some have arrived."""

    def passing(self, arrived, *, complete):
        return [arrived.index(max(arrived))]


class Descending(Median):
    """Its rungs descend."""

    def rungs(self, first, steps, bracket):
        return (2 * first, first)


class Nowhere(Median):
    """It has no rungs."""

    def rungs(self, first, steps, bracket):
        return None


class Unknown(Median):
    """It cannot say its rungs."""

    def rungs(self, first, steps, bracket):
        raise KeyError(first)


class Exits(Median):
    """It asks the process to exit."""

    def rungs(self, first, steps, bracket):
        raise SystemExit(3)


class Quits(Median):
    """It asks the process to exit later."""

    def passing(self, arrived, *, complete):
        raise SystemExit(3)


class Early(Median):
    """Its first rung is before the first that may be."""

    def rungs(self, first, steps, bracket):
        return (0, first)


class Late(Median):
    """Its last rung is the end."""

    def rungs(self, first, steps, bracket):
        return (first, steps)


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (Masking(), r"Masking.passing must return indices of histories .*, \[0, 1\] of 3, got \[False, False, False\]"),
        (Beyond(), r"Beyond.passing must return indices of histories that do not end in NaN, \[\] of 0, got \[0\]"),
        (Diverged(), r"Diverged.passing must .* NaN, \[0, 1\] of 3, got \[0, 1, 2\]"),
        (First(), r"First.passing must decide whatever has arrived, got ValueError: .* for \[\]"),
        (Descending(), r"Descending.rungs must ascend from 100 and stay below 1000, got \(200, 100\)"),
        (Nowhere(), r"Nowhere.rungs must return a sequence of whole numbers, got None"),
        (Unknown(), r"Unknown.rungs must return the rungs of each bracket, got KeyError: 100 for 100, 1000, 0"),
        (Exits(), r"Exits.rungs must return the rungs of each bracket, got SystemExit: 3 for 100, 1000, 0"),
        (Quits(), r"Quits.passing must decide whatever has arrived, got SystemExit: 3 for"),
        (Early(), r"Early.rungs must ascend from 100 and stay below 1000, got \(0, 100\)"),
        (Late(), r"Late.rungs must ascend from 100 and stay below 1000, got \(100, 1000\)"),
    ],
)
def test_a_rule_that_breaks_its_protocol_is_named_before_anything_starts(rule, message):
    with pytest.raises(ConfigError, match=message):
        check(rule, TRIALS, metric="val/accuracy", dataset=DIGITS)


@dataclasses.dataclass(frozen=True)
class Own:
    """A task that does not say what it measures."""

    trains = True


def test_of_a_task_that_does_not_know_its_metrics_any_metric_is_believed():
    own = dataclasses.replace(TRIALS[0], task=Own())

    check(Halving(), [own], metric="mine", dataset=DIGITS)
    with pytest.raises(ConfigError, match=r"stopping.metric must be one of"):  # by which the others cannot be compared
        check(Halving(), [own, *TRIALS], metric="mine", dataset=DIGITS)
    with pytest.raises(ConfigError, match=r"\(trial.evaluate_every=100\), none at \[10, 30, 90, 270, 810\]"):
        check(Halving(min_steps=10), [own], metric="train/loss", dataset=DIGITS)


@dataclasses.dataclass(frozen=True)
class Declares(Own):
    """A task that says what it measures."""

    def metrics(self, dataset):
        return {"mine", f"{dataset.name}/best"}


def test_of_a_task_that_says_what_it_measures_another_metric_is_refused():
    own = dataclasses.replace(TRIALS[0], task=Declares())

    check(Halving(), [own], metric="mine", dataset=DIGITS)
    with pytest.raises(ConfigError, match=r"stopping\.metric must be one of digits/best, mine, got 'mime'"):
        check(Halving(), [own], metric="mime", dataset=DIGITS)
    with pytest.raises(ConfigError, match=r"\(trial.evaluate_every=100\), none at \[10, 30, 90, 270, 810\]"):
        check(Halving(min_steps=10), [own], metric="mine", dataset=DIGITS)
