"""What a sweep's own run says of it, by its tally alone."""

import csv
import io
import json
import math
import re

import pytest
from rich.console import Console

from pipeline.display.console import show_table
from pipeline.reports import Finished
from pipeline.results.criterion import Criterion
from pipeline.results.page import table_files
from pipeline.results.summary import metrics, params, standing_for, swept_tag, tables, tags, values_of
from pipeline.results.tally import Tally
from tasks.events import Outcome
from tests.pipeline.record.recording import done


def test_outcomes_and_repeats_are_counted_and_one_value_has_no_interval(trial):
    trials = [trial(f"{rate} {k}", learning_rate=rate, seed=k) for rate in (1.0, 2.0) for k in range(2)]
    tally = Tally(trials)
    ends = [
        done(**{"val/accuracy": 0.9}),
        *(done(outcome) for outcome in (Outcome.FAILED, Outcome.DIVERGED, Outcome.STOPPED)),
    ]
    for one, end in zip(trials, ends, strict=True):
        tally.count(Finished(trial=one, result=end, layout=None))

    outcomes = {"trials/done": 4, "trials/failed": 1, "trials/diverged": 1, "trials/stopped": 1}
    assert metrics(tally) == outcomes | {"best/repeats": 1, "best/val/accuracy": 0.9}
    assert tags(tally)["best.setting"] == "gradient lr=1"
    assert standing_for(tally) == "1.0 0: the only repeat of gradient lr=1 with a value of val/accuracy"
    assert swept_tag(tally) == {"swept": "learning_rate, seed"}
    tally.standings[trials[0].key].run_id = "a run"
    found = tables(tally)
    assert [(row["setting"], row["repeats"], row["run_id"]) for row in found["results"]] == [
        ("gradient lr=1", 2, "a run"),
        ("gradient lr=2", 2, ""),
    ]
    assert (found["trials"][0]["trial"], found["trials"][0]["run_id"]) == ("1.0 0", "a run")


def test_a_sweep_without_an_answer_has_no_best(trial):
    tally = Tally([trial("alone")])

    assert metrics(tally) == dict.fromkeys(["trials/done", "trials/failed", "trials/diverged", "trials/stopped"], 0)
    assert (tags(tally), standing_for(tally), swept_tag(tally)) == ({}, "", {"swept": "nothing"})
    assert params(Tally([])) == {}
    assert list(tables(tally)) == ["results"]


def test_the_trial_of_a_setting_is_the_best_of_its_repeats_or_its_only_one(trial):
    for repeats in (1, 2):
        trials = [trial(f"t{seed}", seed=seed) for seed in range(repeats)]
        tally = Tally(trials)
        for one, accuracy in zip(trials, (0.5, 0.75), strict=False):
            tally.count(Finished(trial=one, result=done(**{"val/accuracy": accuracy}), layout=None))

        assert standing_for(tally).partition(" repeats")[0] == ("t0" if repeats == 1 else "t1: the best of 2")


def test_a_key_is_recorded_with_all_that_it_was_swept_over_or_with_the_one_value_that_all_trials_have(trial):
    momentum = {"optimizer": {"name": "momentum"}}
    trials = [trial("a", learning_rate=0.5, **momentum), trial("b", learning_rate=0.25)]

    found = params(Tally(trials))

    assert (found["swept.learning_rate"], found["steps"]) == ("0.25, 0.5", "1000")
    assert (found["sweep.metric"], found["sweep.mode"]) == ("val/accuracy", "max")
    # neither what they do not share, nor what only one of them has
    assert not found.keys() & {"learning_rate", "optimizer", "optimizer.name", "optimizer.momentum"}


def test_of_several_objectives_each_is_shown_and_which_settings_are_on_the_pareto_front(trial):
    objectives = ("maximize", "val/accuracy"), ("minimize", "examples")
    ends = {0.9: 12_800.0, 0.8: 50.0, 0.7: 50.0, 0.6: math.nan, 0.5: 1.0}
    for repeats in (1, 2):
        trials = [trial(f"{one} {seed}", learning_rate=one, seed=seed) for one in ends for seed in range(repeats)]
        tally = Tally(trials, Criterion(objectives=objectives))
        for one in trials:
            found = {"val/accuracy": one.trial.learning_rate, "examples": ends[one.trial.learning_rate]}
            outcome = Outcome.STOPPED if found["examples"] == 1 else Outcome.COMPLETE
            tally.count(Finished(trial=one, result=done(outcome, **found), layout=None))
        console = Console(file=io.StringIO(), width=200)

        show_table(console, tally)

        front = [row["Pareto front"] for row in tables(tally)["results"]]
        assert front == ["yes", "yes", "no", "no", "no"]
        header, *lines = console.file.getvalue().splitlines()
        assert "12800" in lines[0]
        assert re.search(r"val/accuracy .*examples .*Pareto front", header)
        assert ["yes" in line.split() for line in lines[:5]] == [one == "yes" for one in front]


@pytest.mark.parametrize("last", ["m", 13])
def test_of_many_values_that_are_no_numbers_the_first_are_listed(last):
    assert values_of("loss", [*"abcdefghijkl", last]) == "a, b, c, d, e, f, g, h, i, j, k, l, ... (13 values)"


def test_long_texts_leave_room_for_the_rest_of_the_page_that_lists_them():
    told = values_of("task.prompt", ["one\nline", "long " * 2000])

    assert told.startswith(r"one\nline, long long ")
    assert len(told) < 120


def test_rows_with_different_columns_make_one_table():
    files = table_files("results", [{"a": 1}, {"a": 2, "b": "x"}])

    rows = list(csv.DictReader(io.StringIO(files["results.csv"].decode())))
    assert rows == [{"a": "1", "b": ""}, {"a": "2", "b": "x"}]
    assert json.loads(files["results.json"]) == {"columns": ["a", "b"], "data": [[1, None], [2, "x"]]}
