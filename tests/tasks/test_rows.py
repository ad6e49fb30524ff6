import dataclasses
import itertools
import math
import os
import re
from dataclasses import dataclass

import pytest

from tasks.datasets import DATASETS
from tasks.errors import ConfigError
from tasks.losses import LOSSES, Svm
from tasks.models import MODELS
from tasks.optimizers import OPTIMIZERS, Adam
from tasks.rows import convert, describe_row, field_names, hints_of, parse_row
from tasks.schedules import SCHEDULES
from tasks.strategies import STRATEGIES
from tasks.studies.registry import TASKS
from tasks.studies.train import Train
from tasks.trial import Trial

TABLES = (DATASETS, LOSSES, MODELS, OPTIMIZERS, SCHEDULES, STRATEGIES, TASKS)
ROWS = [*(kind() for table in TABLES for kind in table.values()), Trial(task=Train())]
LEAST = (">=", ">", "at least", "above", "between")
ENDS = re.compile(rf"({'|'.join(LEAST)}|<=|at most|below|and)(?: \S+ \(| )(-?\d+)")


def test_a_row_and_its_config_are_inverse():
    row = parse_row(OPTIMIZERS, "optimizer", {"name": "adam", "beta1": 0.5})
    assert row == Adam(beta1=0.5)
    assert parse_row(OPTIMIZERS, "optimizer", describe_row(OPTIMIZERS, row)) == row


@pytest.mark.parametrize("text", ["1e-3", "0.001", 1e-3])
def test_yaml_reads_1e_3_as_text_and_it_is_a_number_all_the_same(text):
    assert convert(text, float, "learning_rate") == 1e-3


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"name": "sfm"}, f"loss must be one of {', '.join(sorted(LOSSES))}, got 'sfm' (did you mean 'svm'?)"),
        ({"name": None}, f"loss must be one of {', '.join(sorted(LOSSES))}, got None"),
        ({"name": "svm", "margn": 1}, "a key of loss must be one of margin, got 'margn' (did you mean 'margin'?)"),
        ({"name": "svm", "margin": "wide"}, "loss.margin must be a number, got 'wide'"),
        ({"name": "svm", "margin": True}, "loss.margin must be a number, got True"),
        ({"name": "svm", "margin": "nan"}, "loss.margin must be a finite number, got 'nan'"),
        ({"name": "svm", "margin": None}, "loss.margin must be a number, got None"),
        ({"name": "svm", "margin": [1]}, "loss.margin must be a number, got [1]"),
    ],
)
def test_bad_values_name_parameter_rule_and_value(config, message):
    with pytest.raises(ConfigError) as caught:
        parse_row(LOSSES, "loss", config)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [
        (64.0, int, 64),
        (None, int | None, None),
        ("64", str, "64"),
        (7, str, "7"),
        ("20", int, 20),
        ("True", bool, True),
        ([1, 2], tuple[float, ...], (1.0, 2.0)),
    ],
)
def test_values_become_what_their_field_is(value, kind, expected):
    converted = convert(value, kind, "x")
    assert converted == expected
    assert type(converted) is type(expected)


@pytest.mark.parametrize(
    ("value", "kind"),
    [(1.5, int), (True, int), (1, bool), ("1", bool), ("a", int), ("1.5", int), ({}, str), (3, tuple[int, ...])],
)
def test_what_cannot_be_converted_is_refused(value, kind):
    with pytest.raises(ConfigError, match=r"x must be .*, got "):
        convert(value, kind, "x")


def test_only_rows_of_the_table_can_be_built():
    with pytest.raises(ConfigError):
        parse_row(LOSSES, "loss", {"name": "svm", "_target_": "os.system"})
    assert parse_row(LOSSES, "loss", {"name": "svm"}) == Svm()


@dataclass(frozen=True)
class Checked:
    """A row that checks its values in a way of its own."""

    beta: float = 0.9

    def __post_init__(self):
        if self.beta < 0:
            raise SystemExit("beta is positive")
        assert self.beta < 1, "beta is a fraction"


@pytest.mark.parametrize(
    ("beta", "message"),
    [(2, "beta=2.0: AssertionError: beta is a fraction"), (-1, "beta=-1.0: SystemExit: beta is positive")],
)
def test_a_row_that_refuses_a_value_in_its_own_way_is_refused_as_any_other(beta, message):
    with pytest.raises(ConfigError, match=f"^optimizer must have values that Checked accepts, got {message}"):
        parse_row({"checked": Checked}, "optimizer", {"name": "checked", "beta": beta})


def rule_against(row, field, value):
    """Return what the field of a row must be, by the error that refuses this value; nothing where none is of it."""
    try:
        dataclasses.replace(row, **{field: value})
    except ConfigError as error:
        parameter, rule = re.split(" must be |, |: ", str(error))[:2]
        return rule if parameter.endswith(field) else ""
    return ""


def next_to(number, *, above):
    """Return the next number of this type."""
    if isinstance(number, int):
        return number + (1 if above else -1)
    return math.nextafter(number, math.inf if above else -math.inf)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: type(row).__name__)
def test_the_numbers_that_a_field_takes_end_where_its_rule_says(row):
    hints = hints_of(type(row))
    for name, kind in itertools.product(field_names(type(row)), (int, float)):
        if hints[name] not in {kind, kind | None}:
            continue
        # given what is said of numbers far outside
        rules = f"{rule_against(row, name, kind(-1e9))} {rule_against(row, name, kind(1e9))}"
        for words, number in ENDS.findall(rules):
            # then the end that it names is taken or not, as it says, and the number next to it is the other way round
            end, is_least, is_taken = kind(number), words in LEAST, words not in {">", "above", "below"}
            beside = next_to(end, above=is_least is not is_taken)
            assert bool(rule_against(row, name, end)) is not is_taken, (name, end)
            assert bool(rule_against(row, name, beside)) is is_taken, (name, beside)


def test_a_text_with_bytes_that_are_not_utf_8_is_refused():
    with pytest.raises(ConfigError, match=r"dataset\.root must be text in UTF-8, got 'caf\\udce9'"):
        convert(os.fsdecode(b"caf\xe9"), str | None, "dataset.root")
    assert convert("café", str, "dataset.root") == "café"
