"""The contract of a task, for every task and every model."""

import numpy as np
import pytest

from tasks.errors import ConfigError
from tasks.events import Outcome, Result
from tasks.models import ConvNet
from tasks.studies.registry import TASKS
from tasks.trial import Trial
from tests.tasks.rows_of_models import SMALL_MODELS

NO_NETWORK = {"one_dimensional"}
SMALL = {"landscape": {"resolution": 5}, "gradient_check": {"examples": 10}}


def trial(task, model, **changes):
    settings = {"learning_rate": 1e-3, "batch_size": 32, "steps": 20, "evaluate_every": 10}
    return Trial(task=TASKS[task](**SMALL.get(task, {})), model=SMALL_MODELS[model], **settings | changes)


@pytest.mark.parametrize(
    ("data", "model"),
    [*(("image_dataset", model) for model in SMALL_MODELS), ("tabular_dataset", "linear"), ("tabular_dataset", "mlp")],
)
@pytest.mark.parametrize("task", TASKS)
def test_a_task_runs_a_model_or_refuses_it_before_it_starts(request, data, task, model):
    dataset = request.getfixturevalue(data)
    # given two trials of one group, if they may be one
    trials = [trial(task, model, seed=seed) for seed in range(2)]
    trials = trials[: 3 - len({one.task.fusion_key(one) for one in trials})]
    if task in NO_NETWORK and model != "linear":
        with pytest.raises(ConfigError, match=f"model must be linear for task={task}"):
            trials[0].task.check(trials[0], dataset)
        return
    for one in trials:
        one.task.check(one, dataset)
    events = list(trials[0].task.run(trials, dataset, threads=1))
    # then each ends in one result, with its parameters by their names where it has any
    results = {event.trial: event for event in events if isinstance(event, Result)}
    assert sorted(results) == list(range(len(trials)))
    assert sum(isinstance(event, Result) for event in events) == len(trials)
    for place, result in results.items():
        assert result.outcome is Outcome.COMPLETE, result.message
        assert all(np.isfinite(value) for value in result.metrics.values())
        # and it is the one that the trial has alone
        alone = [e for e in trials[place].task.run([trials[place]], dataset, threads=1) if isinstance(e, Result)]
        assert alone[0].metrics == result.metrics
        assert alone[0].arrays.keys() == result.arrays.keys()
        for name, values in result.arrays.items():
            assert np.issubdtype(values.dtype, np.number), f"{name}: a reproduction compares numbers"
            np.testing.assert_array_equal(values, alone[0].arrays[name])


@pytest.mark.parametrize("task", sorted(TASKS.keys() - NO_NETWORK))
def test_features_that_are_no_images_are_refused_for_a_convnet(small_dataset, task):
    with pytest.raises(ConfigError, match=r"model=convnet must be given images .*, got features of shape 37"):
        TASKS[task]().check(Trial(task=TASKS[task](), model=ConvNet()), small_dataset)


@pytest.mark.parametrize(
    ("task", "fields"),
    [
        ("one_dimensional", {"points": (1.0, 2.0), "weights": (0.0, 0.0), "resolution": 2}),
        ("one_dimensional", {"points": (1.0,) * 10, "weights": (0.0,) * 10, "varied": 9}),
        ("step_size", {"lowest": -300, "highest": 100, "examples": 1, "weights_scale": 0.0}),
        ("finite_difference", {"lowest": -30, "highest": 10, "per_decade": 1, "examples": 1, "weights_scale": 0.0}),
        ("gradient_check", {"examples": 1, "coordinates": 1}),
        ("landscape", {"resolution": 2, "examples": 1, "weights_scale": 0.0}),
    ],
)
def test_a_value_at_the_end_of_what_a_rule_allows_is_taken(task, fields):
    TASKS[task](**fields)


@pytest.mark.parametrize(
    ("task", "extreme"),
    [
        ("gradient_check", {"h": 1e308}),
        ("landscape", {"extent": 1e308}),
        ("one_dimensional", {"extent": 1e308}),
        ("finite_difference", {"weights_scale": 1e200}),
        ("step_size", {"highest": 100}),
    ],
)
def test_numbers_beyond_the_precision_give_a_result_and_no_warning(small_dataset, task, extreme):
    # every warning is an error in these tests
    one = Trial(task=TASKS[task](**SMALL.get(task, {}) | extreme), regularization=0.1)

    *_, result = one.task.run([one], small_dataset, threads=1)

    assert isinstance(result, Result)
