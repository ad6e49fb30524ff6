"""What ranks trials is said by the config, and refused where it cannot be measured."""

import math
from dataclasses import dataclass

import pytest

from pipeline.config.schema import Sweep, parse
from pipeline.results.criterion import OBJECTIVES, Criterion, check_metric
from pipeline.stopping import Halving
from pipeline.stopping.checks import check
from tasks.datasets.dataset import make_dataset
from tasks.datasets.nothing import Nothing
from tasks.errors import ConfigError
from tasks.single import Single
from tasks.strategies import STRATEGIES
from tasks.studies.registry import TASKS
from tasks.trial import DeclaresMetrics, Trial


@pytest.fixture
def unvalidated(tiny):
    return make_dataset(
        name="tiny", train=tiny.train, test=tiny.test, classes=("a", "b"), image_shape=(2, 2), validation=0
    )


def test_accuracy_ranks_where_nothing_is_said(tiny, unvalidated):
    assert Criterion.of(Sweep(), tiny) == Criterion(metric="val/accuracy", mode="max")
    assert Criterion.of(Sweep(), unvalidated).metric == "train/accuracy"
    assert Criterion.of(Sweep(), Nothing().load()).metric == "val/accuracy"  # of the data that a task brings


def test_what_repeats_vary_and_what_is_searched_for_is_as_the_sweep_says(tiny):
    objectives = (("minimize", "examples"),)

    found = Criterion.of(Sweep(over=("data_seed",)), tiny, objectives)

    assert (found.over, found.objectives) == (("data_seed",), objectives)


@pytest.mark.parametrize(
    ("metric", "mode", "resolved"),
    [
        ("val/loss", None, "min"),
        ("gradient_check/largest_relative_error", None, "min"),
        ("examples", None, "min"),
        ("evaluations", None, "min"),
        ("val/loss", "max", "max"),
        ("test/accuracy", None, "max"),
        ("test/accuracy", "min", "min"),
    ],
)
def test_less_is_better_of_a_loss_and_of_a_cost_unless_it_is_said_otherwise(tiny, metric, mode, resolved):
    assert Criterion.of(Sweep(metric=metric, mode=mode), tiny).mode == resolved


def test_a_score_is_more_where_a_trial_is_better():
    less = Criterion(metric="val/loss", mode="min")

    assert less.score({"val/loss": 1.0}) > less.score({"val/loss": 2.0})
    assert less.sign * less.score({"val/loss": 2.0}) == 2.0
    assert less.score({}) == less.score({"val/loss": math.nan}) == -math.inf


def test_the_tags_of_a_record_say_it_and_older_records_are_ranked_by_accuracy():
    objectives = ("maximize", "val/accuracy"), ("minimize", "examples")
    one = Criterion(metric="val/loss", mode="min", over=("data_seed",), objectives=objectives)

    assert Criterion.from_tags(one.tags(), set()) == one
    assert OBJECTIVES not in Criterion().tags()
    assert Criterion.from_tags({}, {"train/accuracy"}).metric == "train/accuracy"
    assert Criterion.from_tags({}, {"train/accuracy", "val/accuracy"}) == Criterion()


def test_a_metric_that_no_trial_reports_is_refused(tiny, unvalidated):
    trials = [parse({}).trial]

    check_metric(Sweep(metric="val/loss"), trials, tiny)
    with pytest.raises(ConfigError, match=r"sweep.metric must be one of .*got 'val/acuracy' .did you mean 'val/accur"):
        check_metric(Sweep(metric="val/acuracy"), trials, tiny)
    with pytest.raises(ConfigError, match="got 'val/loss' without a validation set"):
        check_metric(Sweep(metric="val/loss"), trials, unvalidated)


def test_a_task_that_does_not_know_its_metrics_is_believed(tiny):
    check_metric(Sweep(metric="mine/score"), [parse({"task": {"name": "step_size"}}).trial, parse({}).trial], tiny)


@pytest.mark.parametrize("name", [name for name, task in TASKS.items() if isinstance(task(), DeclaresMetrics)])
@pytest.mark.parametrize(
    "values",
    [{}, {"clip": 1.0, "optimizer": {"name": "adam"}}]
    + [{"strategy": {"name": name}, "batch_size": None} for name in STRATEGIES],
    ids=str,
)
def test_a_task_reports_what_it_announces_and_no_more(name, values, tiny):
    trial = parse({"batch_size": 2, "steps": 4, "task": {"name": name}} | values).trial

    events = list(trial.task.run([trial], tiny, threads=1))
    reported = {metric for event in events for metric in getattr(event, "metrics", {})}

    assert reported <= trial.task.metrics(tiny)
    assert {"val/accuracy", "test/loss", "train/loss"} <= reported


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged(Single):
    """A task whose fields say what it measures."""

    by: str

    def metrics(self, dataset):
        return frozenset({self.by})

    def train(self, trial, data, report):
        return {self.by: 1.0}


def test_the_metrics_of_a_task_are_those_of_all_values_of_its_fields(tiny):
    trials = [Trial(task=Judged(by=name)) for name in ("score", "gain")]

    for metric in ("score", "gain"):
        check_metric(Sweep(metric=metric), trials, tiny)
        with pytest.raises(ConfigError, match=r"stopping\.metric must be one of"):  # each of the trials must have it
            check(Halving(), trials, metric=metric, dataset=tiny)
    with pytest.raises(ConfigError, match=r"sweep\.metric must be one of gain, score, got 'gian'"):
        check_metric(Sweep(metric="gian"), trials, tiny)
