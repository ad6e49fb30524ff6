"""The page of a sweep in MLflow: its description in Markdown."""

import re

import pytest

from pipeline.address import redact
from pipeline.record.protocol import Data
from pipeline.reports import Finished
from pipeline.results.criterion import Criterion
from pipeline.results.page import BEST, Subject, describe
from pipeline.results.tally import Tally
from tasks.events import Outcome
from tests.pipeline.record.recording import PROVENANCE, done, header


def subject(data, uri="sqlite:///m.db", size=0):
    sweep, links = header(), {"run_id": "1", "uri": uri, "experiment": "7"}
    command = PROVENANCE.tags["command"]
    return Subject(name=sweep.name, size=size, data=str(Data.of(data)), command=command, resumable=True, **links)


def test_a_description_holds_no_password(trial, tiny):
    tally = Tally((trial(),))

    text = describe(subject(tiny, uri=redact("postgresql://ann:s3cret@host/db")), "FAILED", tally)

    assert "s3cret" not in text
    assert "failed, 0 of 1 trials done" in text
    assert "Resume:" in text
    assert "Open:\n\n```\nmlflow ui " in text


def test_a_running_search_counts_the_trials_that_it_will_propose_and_an_ended_one_those_it_has(trial, tiny):
    tally = Tally((trial(),))

    running, ended = (describe(subject(tiny, size=64), status, tally) for status in ("RUNNING", "FINISHED"))

    assert ["Resume:" in text for text in (running, ended)] == [False, False]
    assert "running, 0 of 64 trials done" in running
    assert "finished, 0 of 1 trials done" in ended


@pytest.mark.parametrize("repeats", [1, 2])
def test_the_page_of_a_search_with_several_objectives_says_what_is_on_the_pareto_front(trial, tiny, repeats):
    trials = [trial(f"{one} {seed}", learning_rate=one, seed=seed) for one in (0.9, 0.8) for seed in range(repeats)]
    tally = Tally(trials, Criterion(objectives=(("maximize", "val/accuracy"), ("minimize", "examples"))))
    for one in trials:
        found = {"val/accuracy": one.trial.learning_rate, "examples": 107264.0}
        tally.count(Finished(trial=one, result=done(**found), layout=None))

    running, ended = (describe(subject(tiny), status, tally) for status in ("RUNNING", "FINISHED"))

    lines = [re.split(r" *\| *", line) for line in ended.splitlines() if re.match(r"\| *\d? *\|", line)]
    column = lines[0].index("Pareto front")
    assert [line[column] for line in lines[1:]] == ["yes", "no"]
    assert "107264" in ended
    assert "Pareto front" not in running


def test_a_running_sweep_is_described_by_means_and_an_ended_one_by_their_intervals_too(trial, tiny):
    # given more settings than are told, of which only the last has not begun
    trials = [
        trial(f"{rate} {seed}", learning_rate=float(rate), seed=seed) for rate in range(1, 9) for seed in range(3)
    ]
    tally = Tally(trials)
    for number, one in enumerate(trials[:-3]):
        tally.count(Finished(trial=one, result=done(**{"val/accuracy": number / 32}), layout=None))
        tally.standings[one.key].run_id = f"run of {one.name}"

    running, ended = (describe(subject(tiny), status, tally) for status in ("RUNNING", "KILLED"))

    assert "| | setting | repeats | val/accuracy |\n" in running.replace("|  |", "| |")
    assert "| 1 | [gradient lr=7](#/experiments/7/runs/run of 7 2) | 3 | 0.594 ± 0.031 |\n" in running
    assert running.count("(#/experiments/7/runs/") == BEST
    assert "95 % interval" not in running
    assert "| 3 | 0.594 ± 0.031 | 0.5625 to 0.625 |\n" in ended
    assert [one.key for one in tally.leading(BEST)] == [one.key for one in tally.settings()[:BEST]]


def test_trials_of_a_task_that_nothing_ranks_are_told_by_their_own_metrics(trial, tiny):
    one = trial("weights")
    tally = Tally((one,))
    tally.count(Finished(trial=one, result=done(**{"gradient_check/error": 1e-9}), layout=None))

    text = describe(subject(tiny), "FINISHED", tally)

    assert "|  | trial | gradient_check/error | outcome |" in text
    assert "| 1 | weights | 1e-09 | complete |" in text


def test_of_repeats_without_a_value_no_best_trial_is_told(trial, tiny):
    # given repeats that have diverged
    trials = [trial(f"seed {seed}", seed=seed) for seed in range(2)]
    tally = Tally(trials)
    tally.count(Finished(trial=trials[0], result=done(Outcome.DIVERGED, **{"val/accuracy": 0.5}), layout=None))

    text = describe(subject(tiny), "FINISHED", tally)

    assert "diverged" in text
    assert "best trial" not in text
