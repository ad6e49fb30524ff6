import pytest

from pipeline.config.schema import parse
from pipeline.config.settings import setting_names, swept_values, trial_names, used_values


def trials(*values):
    return [parse(one).trial for one in values]


def names(*values):
    return trial_names(trials(*values), [()] * len(values))


def test_a_name_begins_with_the_strategy_and_says_what_differs_and_is_used():
    random, local, gradient = ({"strategy": {"name": name}} for name in ("random", "local", "gradient"))

    assert names(random, local | {"learning_rate": 0.1}, gradient | {"learning_rate": 0.01}) == [
        "random",
        "local lr=0.1",
        "gradient lr=0.01",
    ]


def test_rows_say_by_themselves_what_they_are():
    adam = {"optimizer": {"name": "adam"}, "loss": {"name": "svm", "margin": 2.0}, "batch_size": None}

    assert names(adam, {"batch_size": 64}) == ["gradient margin=2 adam batch=all", "gradient margin=1 sgd batch=64"]


def test_a_task_other_than_training_leads_its_names():
    check = {"task": {"name": "gradient_check"}}

    assert names(check | {"seed": 1}, check | {"seed": 2}) == ["gradient_check seed=1", "gradient_check seed=2"]


def test_a_lone_trial_is_named_by_its_overrides():
    overrides = ("steps=10", "~loss", "dataset=cifar10", "tracking.uri=x", "experiment=notes/strategies")

    assert trial_names(trials({"steps": 10}), [overrides]) == ["gradient steps=10 notes/strategies cifar10"]


def test_a_text_is_one_line_of_a_name_and_a_long_one_is_cut_and_told_from_others_that_are_cut_alike():
    texts = ["two\nlines", "ü " + "long " * 99 + "a" + " end" * 9, "ü " + "long " * 99 + "b" + " end" * 9]

    short, one, other = setting_names([{"task": "ask", "task.prompt": text} for text in texts], [])

    assert short == r"ask prompt=two\nlines"
    assert one.startswith("ask prompt=ü long long ")
    assert one.rpartition(" (")[0] == other.rpartition(" (")[0]
    assert one != other
    assert max(map(len, (one, other))) < 100


def test_a_key_of_the_group_trial_is_swept_and_named_by_its_key():
    used = [used_values(one) for one in trials({"trial": {"evaluate_every": 5}}, {"trial": {"evaluate_every": 6}})]

    assert swept_values(used) == {"trial.evaluate_every": [5, 6]}
    lone = trials({"trial": {"evaluate_every": 5}})
    assert trial_names(lone, [("trial.evaluate_every=5",)]) == ["gradient evaluate_every=5"]


def test_a_rows_default_is_not_swept_because_another_row_has_another():
    names = ["gradient_check", "finite_difference"]
    used = [used_values(one) for one in trials(*({"task": {"name": name}} for name in names))]

    assert used[0]["task.examples"] != used[1]["task.examples"]
    assert swept_values(used) == {"task": names}


@pytest.mark.parametrize(
    ("key", "values", "listed"),
    [
        ("learning_rate", [0.2, 0.1, 0.2], [0.1, 0.2]),
        ("batch_size", [64, None, 16], [16, 64, None]),
        ("strategy", [{"name": "random"}, {"name": "gradient"}], ["random", "gradient"]),
    ],
)
def test_swept_numbers_stand_in_order_and_choices_as_they_come(key, values, listed):
    used = [used_values(one) for one in trials(*({key: value} for value in values))]

    assert swept_values(used)[key] == listed
