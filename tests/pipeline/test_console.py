import dataclasses
import io
import itertools
from types import SimpleNamespace

import numpy as np
import pytest

from pipeline.display.console import (
    PLAIN_EVERY,
    Display,
    Loading,
    make_console,
    plain_console,
    show_forecast,
    show_table,
)
from pipeline.reports import Failed, Finished, Layout, Progressed, Started
from pipeline.results.criterion import Criterion
from pipeline.results.tally import Tally
from pipeline.stopping.forecast import Forecast
from tasks.events import Curve, Outcome, Result
from tasks.studies.landscape import Landscape
from tasks.studies.train import Train

LAYOUT = Layout(width=8, slot=0, threads=1, host="here", device="cpu", blas="blas")


@pytest.fixture
def trials(trial):
    return [trial(name, steps=100, learning_rate=k + 1.0) for k, name in enumerate(("first", "second", "third [x]"))]


@pytest.fixture
def console():
    return plain_console(file=io.StringIO(), width=120)


def progressed(trial, step, **metrics):
    values = {name.replace("_", "/", 1): np.array([np.nan, value]) for name, value in metrics.items()}
    return Progressed(trial=trial, curve=Curve(trial=0, steps=np.array([step - 1, step]), metrics=values))


def finished(trial, outcome=Outcome.COMPLETE, message="", **metrics):
    values = {name.replace("_", "/", 1): value for name, value in metrics.items()}
    result = Result(trial=0, outcome=outcome, step=100, metrics=values, message=message)
    return Finished(trial=trial, result=result, layout=LAYOUT)


def test_the_tally_counts_and_ranks(trials):
    tally = Tally(trials)
    for report in (
        Started(trial=trials[0]),
        Started(trial=trials[1]),
        progressed(trials[0], 50, train_accuracy=0.9, val_accuracy=0.5),
        finished(trials[1], val_accuracy=0.7),
        Failed(trial=trials[2], error="no", traceback=""),
    ):
        tally.count(report)

    assert (tally.running, tally.done, tally.failed) == (1, 2, 1)
    assert tally.cost_done == 250
    assert tally.best.trial is trials[1]
    assert [standing.trial.name for standing in tally.ranking()] == ["second", "first", "third [x]"]
    assert [row["outcome"] for row in tally.table()] == ["complete", "not finished", "failed"]
    assert tally.table()[1]["train/accuracy"] == 0.9


def test_a_diverged_trial_is_never_the_best_and_keeps_its_value(trials):
    tally = Tally(trials)

    tally.count(progressed(trials[0], 50, val_accuracy=0.99))
    assert tally.best.trial is trials[0]
    tally.count(finished(trials[0], Outcome.DIVERGED, "the loss ceased to be finite"))
    assert tally.best is None
    tally.count(finished(trials[1], val_accuracy=0.1))

    assert tally.ranking()[0].trial is trials[1]
    assert tally.standings[trials[0].key].metrics["val/accuracy"] == 0.99


def test_the_display_speaks_in_plain_lines_without_a_terminal(trials, console):
    tally = Tally(trials)
    with Display(console, tally) as display:
        tally.count(progressed(trials[2], 50, val_accuracy=0.5))
        display.update()
        display.print_line("failed: [bold]")

    assert console.file.getvalue().splitlines() == [
        "failed: [bold]",
        "0/3 trials, 0 running, 0 failed, best 0.5 (third [x]), 0 s",
    ]


def test_names_are_shown_as_they_are_whatever_they_hold(trial, console, capsys):
    # given a user's own task, whose metrics may have any name, and a value that reads like markup
    planned = trial("words=[/x]", steps=100)
    tally, listed = (Tally([planned], Criterion(metric=metric)) for metric in ("latency[ms]", "time[s]"))
    tally.count(finished(planned, **{"latency[ms]": 2.0}))
    listed.count(finished(planned, **{"loss[/s]": 1.0}))

    show_table(console, tally)
    show_table(console, listed)
    terminal = plain_console(file=io.StringIO(), force_terminal=True, width=120)
    with Display(terminal, tally):
        pass
    make_console().print("ratio:100:1", markup=False)

    said = console.file.getvalue()
    assert said.splitlines()[0].split() == ["trial", "latency[ms]", "outcome"]
    assert said.splitlines()[1].split() == ["words=[/x]", "2", "complete"]
    assert "sweep.metric=time[s] has a value in no trial's report, so nothing is ranked; there are: loss[/s]" in said
    assert "best 2 (words=[/x])" in terminal.file.getvalue()
    assert capsys.readouterr().out == "ratio:100:1\n"


def test_the_bar_is_of_all_steps_also_of_those_that_a_search_adds(trials, monkeypatch):
    monkeypatch.setattr("pipeline.display.console.time", SimpleNamespace(monotonic=itertools.count().__next__))
    tally = Tally(trials[:1])
    with Display(plain_console(file=io.StringIO(), force_terminal=True, width=120), tally) as display:
        tally.count(finished(trials[0]))
        tally.add(trials[1:])
        display.update()
        (bar,) = display._bar.tasks

    assert (bar.completed, bar.total) == (100, 300)


@pytest.fixture
def lines_of(console, monkeypatch):
    """Return what counts trials' steps, shows each at its times of the clock, and returns the lines."""

    def show(trials, steps, times, *, every=PLAIN_EVERY, **options):
        monkeypatch.setattr("pipeline.display.console.time", SimpleNamespace(monotonic=iter(times).__next__))
        monkeypatch.setattr("pipeline.display.console.PLAIN_EVERY", every)
        tally = Tally(trials)
        display = Display(console, tally, **options)
        for trial, step in steps:
            tally.count(progressed(trials[trial], step))
            display.update()
        return console.file.getvalue().splitlines()

    return show


def test_what_a_search_will_propose_counts_as_trials_and_as_time_that_is_left(trials, lines_of):
    lines = lines_of(trials, [(0, 10), (0, 85)], [0, 60, 60, 75, 75], to_come=lambda: 6)

    # 815 steps of nine trials are left, of which 75 took 15 seconds
    assert lines[-1] == "0/9 trials, 1 running, 0 failed, 2 min 43 s left"


def test_the_time_that_is_left_is_that_of_steps_and_not_of_the_start(trials, lines_of):
    # given a minute before the first steps are done
    assert lines_of(trials, [(0, 10), (0, 85)], [0, 60, 60, 75, 75]) == [
        "0/3 trials, 1 running, 0 failed, 1 min 0 s",
        "0/3 trials, 1 running, 0 failed, 43 s left",
    ]


def test_no_time_is_told_from_the_first_few_of_many_steps_but_for_slow_ones(trials, lines_of):
    # given 290 steps that are left, of which two are done in two seconds, and no other for half a minute
    lines = lines_of(trials, [(0, 10), (0, 12), (0, 12)], [0, 5, 5, 7, 7, 7, 37, 37], every=0)

    assert [line.rsplit(", ")[-1] for line in lines] == ["5 s", "7 s", "1 h 16 min left"]


def test_the_time_that_is_left_is_that_of_the_steps_of_late(trials, lines_of):
    # given two trials that take two seconds together, and one that takes a second a step
    steps, times = [(0, 100), (1, 100), (2, 18), (2, 38), (2, 58)], [0, 1, 1, 2, 2, 20, 20, 40, 40, 60, 60]

    assert lines_of(trials, steps, times, every=0)[-1] == "0/3 trials, 3 running, 0 failed, 42 s left"


def test_the_time_that_is_left_is_told_also_while_a_step_takes_long(trials, lines_of):
    # given steps of a minute each, and other reports meanwhile
    lines = lines_of(trials[:1], [(0, 98), (0, 99), (0, 99)], [0, 60, 60, 120, 120, 170, 170])

    assert [line.rsplit(", ")[-1] for line in lines] == ["1 min 0 s", "1 min 0 s left", "1 min 50 s left"]


def test_no_time_is_left_once_a_rule_has_stopped_more_than_was_expected(trials, console, monkeypatch):
    monkeypatch.setattr("pipeline.display.console.time", SimpleNamespace(monotonic=iter([0, 60, 75, 75]).__next__))
    tally = Tally(trials)
    with Display(console, tally) as display:
        tally.count(progressed(trials[0], 10))
        display.update()
        stopped = Result(trial=0, outcome=Outcome.STOPPED, step=20, metrics={})
        for planned in trials:
            tally.count(Finished(trial=planned, result=stopped, layout=LAYOUT))

    assert console.file.getvalue().splitlines()[-1] == "3/3 trials, 0 running, 0 failed, 1 min 15 s"


def test_of_a_sweep_that_ended_early_no_trial_runs_and_no_time_is_left(trials, console, monkeypatch):
    monkeypatch.setattr("pipeline.display.console.time", SimpleNamespace(monotonic=iter([0, 60, 60, 75, 75]).__next__))
    tally = Tally(trials)
    with Display(console, tally) as display:
        tally.count(progressed(trials[0], 10))
        display.update()
        tally.count(progressed(trials[1], 20))
        tally.count(Failed(trial=trials[0], error="broke", traceback=""))

    assert console.file.getvalue().splitlines()[-1] == "1/3 trials, 0 running, 1 failed, 1 min 15 s"


def test_the_table_shows_names_numbers_and_messages(trials, console):
    tally = Tally(trials)
    tally.count(finished(trials[2], val_accuracy=0.25, train_loss=1.5))
    tally.count(finished(trials[0], Outcome.DIVERGED, "too fast"))

    show_table(console, tally)

    lines = [line.split() for line in console.file.getvalue().splitlines()]
    assert lines[0] == ["trial", "val/accuracy", "train/loss", "outcome"]
    assert lines[1] == ["third", "[x]", "0.25", "1.5", "complete"]
    assert lines[2] == ["first", "diverged"]
    assert lines[4] == ["first:", "too", "fast"]


@pytest.mark.parametrize("terminal", [False, True])
def test_a_message_is_one_line_without_a_terminal_and_wrapped_by_words_on_one(trials, terminal):
    console = plain_console(file=io.StringIO(), width=40, force_terminal=terminal, color_system=None)
    message = "good: largest relative error 3.9e-08 over 650 coordinates (h = 6.25e-06)"
    tally = Tally(trials[:1])
    tally.count(finished(trials[0], message=message, check_worst=1e-7))

    show_table(console, tally)

    lines = console.file.getvalue().splitlines()
    assert (f"first: {message}" in lines) is not terminal
    assert max(map(len, lines)) <= 40 or not terminal


def test_other_measures_are_listed_one_a_line(trials, console):
    tally = Tally(trials[:1])
    tally.count(finished(trials[0], check_median=2e-9, check_largest=1e-7))

    show_table(console, tally)

    lines = [line.split() for line in console.file.getvalue().splitlines()]
    assert lines[1:] == [["first", "check/largest", "1e-07", "complete"], ["check/median", "2e-09"]]


@pytest.mark.parametrize("repeats", [1, 2])
def test_trials_of_another_task_are_listed_with_their_own_measures(trial, console, repeats):
    # given a training and a gradient check
    one, other = (
        [trial(f"{name} {seed}", loss={"name": name}, seed=seed) for seed in range(repeats)]
        for name in ("svm", "softmax")
    )
    tally = Tally([*one, *other])
    for trained, checked in zip(one, other, strict=True):
        tally.count(finished(trained, val_accuracy=0.75))
        tally.count(finished(checked, message="good", check_worst=1e-7))

    show_table(console, tally)

    lines = [" ".join(line.split()) for line in console.file.getvalue().splitlines()]
    assert lines[:2] == (
        ["trial val/accuracy outcome", "svm 0 0.75 complete"]
        if repeats == 1
        else ["setting repeats val/accuracy 95 % interval", "gradient svm 2 0.75 ± 0 0.75 to 0.75"]
    )
    assert lines[2:4] == ["trial metric value outcome", "softmax 0 check/worst 1e-07 complete"]
    assert lines[3 + repeats] == "softmax 0: good"


@pytest.mark.parametrize(("seconds", "end"), [(1.2, "60 % of the steps"), (10, "about 6 s instead of 10 s")])
def test_a_forecast_tells_the_time_where_it_saves_any(console, seconds, end):
    show_forecast(console, Forecast(reached={100: 4, 300: 2}, share=0.6), seconds=seconds)

    assert console.file.getvalue().endswith(f"{end}\n")


def test_less_of_a_loss_is_better_and_its_column_is_the_first(trials, console):
    tally = Tally(trials, Criterion(metric="val/loss", mode="min"))
    for planned, loss, accuracy in zip(trials, (0.5, 0.25, 2.0), (0.9, 0.8, 0.7), strict=True):
        tally.count(finished(planned, val_loss=loss, val_accuracy=accuracy))

    show_table(console, tally)

    assert (tally.best.value, tally.best.score) == (0.25, -0.25)
    lines = [line.split() for line in console.file.getvalue().splitlines()]
    assert lines[0] == ["trial", "val/loss", "val/accuracy", "outcome"]
    assert [line[0] for line in lines[1:4]] == ["second", "first", "third"]


@pytest.mark.parametrize("metric", ["check/median", "val/accuracy"])
def test_a_metric_that_nobody_reported_is_told_at_the_end(trials, console, metric):
    tally = Tally(trials, Criterion(metric=metric))
    for planned in trials[:2]:
        tally.count(finished(planned, check_largest=1e-7))

    show_table(console, tally)

    told = f"sweep.metric={metric} has a value in no trial's report, so nothing is ranked; there are: check/largest"
    assert console.file.getvalue().splitlines()[-1] == told


def test_the_metrics_of_a_search_need_no_default_one(trials, console):
    tally = Tally(trials, Criterion(objectives=(("maximize", "f1"), ("minimize", "latency"))))
    for planned in trials[:2]:
        tally.count(finished(planned, f1=0.5, latency=2.0))

    show_table(console, tally)

    assert "nothing is ranked" not in console.file.getvalue()


@pytest.mark.parametrize("task", [Train(), Landscape()])
def test_a_metric_that_trainings_have_not_come_to_and_other_tasks_lack_is_not_missed(trial, console, task):
    every = [trial(name, learning_rate=k + 1.0) for k, name in enumerate(("one", "other"))]
    tally = Tally([dataclasses.replace(one, trial=dataclasses.replace(one.trial, task=task)) for one in every])
    for planned in every:
        tally.count(progressed(planned, 10, train_loss=0.5) if task.trains else finished(planned, landscape_min=0.5))

    show_table(console, tally)

    assert "sweep.metric" not in console.file.getvalue()


def test_repeats_are_shown_by_setting_with_what_they_say(trial, console):
    repeats = [trial(f"{rate} {seed}", learning_rate=rate, seed=seed) for rate in (1.0, 2.0) for seed in range(3)]
    tally = Tally(repeats)
    for planned, accuracy in zip(repeats, (0.5, 0.52, 0.54, 0.8, 0.81, 0.82), strict=True):
        tally.count(finished(planned, val_accuracy=accuracy))

    show_table(console, tally)

    assert tally.leader() == "0.81 (gradient lr=2, 3 repeats)"
    lines = console.file.getvalue().splitlines()
    assert lines[1].startswith("gradient lr=2  3        0.810 ± 0.010")
    assert lines[2].startswith("gradient lr=1  3        0.520 ± 0.020")
    assert lines[3].startswith("gradient lr=2 is better than gradient lr=1 by 29.00 (95 % interval")


@pytest.mark.parametrize("repeats", [1, 3])
@pytest.mark.parametrize("width", [80, 60])
def test_a_narrow_terminal_has_whole_names_and_numbers_and_fewer_of_them(trial, repeats, width):
    # given names of 35 letters, and metrics for twice the width of the terminal
    names = [f"gradient softmax momentum lr={rate:g}" for rate in (0.001, 0.002)]
    trials = [trial(name, learning_rate=float(name[-5:]), seed=seed) for name in names for seed in range(repeats)]
    tally, console = (
        Tally(trials),
        plain_console(file=io.StringIO(), width=width, force_terminal=True, color_system=None),
    )
    for place, planned in enumerate(trials):
        value = 0.5 + place / 100
        metrics = {"train_accuracy": value, "test_accuracy": value, "train_loss": value, "val_loss": value}
        tally.count(finished(planned, val_accuracy=value, **metrics))

    show_table(console, tally)

    shown = tally.settings()[0].name if repeats > 1 else names[1]
    lines = console.file.getvalue().splitlines()
    assert max(map(len, lines[:4])) <= width
    assert lines[1].startswith(f"{shown}  ")
    assert lines[1].split()[len(shown.split()) :][0] == ("3" if repeats > 1 else "0.51")
    assert "left out, for want of room: " in lines[3]
    assert "train/loss" in " ".join(lines[3:5])


def test_a_wide_table_is_whole_without_a_terminal(trial):
    trials = [trial(f"{'x' * 150} {rate}", learning_rate=rate) for rate in (1.0, 2.0)]
    tally, console = Tally(trials), plain_console(file=io.StringIO(), width=140)
    for planned in trials:
        tally.count(finished(planned, val_accuracy=0.5))

    show_table(console, tally)

    assert console.file.getvalue().splitlines()[1].split() == ["x" * 150, "1.0", "0.5", "complete"]


@pytest.mark.parametrize("metric", ["val/loss", "train/accuracy"])
def test_repeats_that_nothing_ranks_are_shown_by_a_measure_that_they_have(trial, console, metric):
    repeats = [trial(f"seed {seed}", seed=seed) for seed in range(2)]
    tally = Tally(repeats)
    for planned in repeats:
        tally.count(finished(planned, **{metric.replace("/", "_"): 0.5}))

    show_table(console, tally)

    heads, row, *_ = console.file.getvalue().splitlines()
    assert heads.split() == ["setting", "repeats", metric, "95", "%", "interval"]
    assert row.split() == ["gradient", "2", "0.5", "±", "0", "0.5", "to", "0.5"]


def test_repeats_of_other_measures_are_listed_as_trials_are(trial, console):
    repeats = [trial(f"seed {seed}", seed=seed) for seed in range(2)]
    tally = Tally(repeats)
    for planned in repeats:
        tally.count(finished(planned, check_largest=1e-7))

    show_table(console, tally)

    lines = [line.split() for line in console.file.getvalue().splitlines()]
    assert lines[1:3] == [["seed", str(k), "check/largest", "1e-07", "complete"] for k in range(2)]


def test_data_on_their_way_are_told_of_in_plain_lines_without_a_terminal(console):
    with Loading(console) as loading:
        for done in range(0, 101, 25):
            loading(done, 100)
    assert console.file.getvalue() == "loading data: 0 %\n"  # the next line is due seconds later


def test_data_on_their_way_have_a_bar_in_a_terminal():
    console = plain_console(file=io.StringIO(), width=120, force_terminal=True)
    with Loading(console) as loading:
        loading(40, 100)
    assert "40%" in console.file.getvalue()


def test_data_at_hand_are_read_without_a_word(console):
    with Loading(console):
        pass
    assert console.file.getvalue() == ""
