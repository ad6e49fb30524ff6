"""The tally knows what is swept and how settings are named, and works out neither again for what it knows."""

import dataclasses
import json
import math

import numpy as np
import pytest

from pipeline.record import artifacts
from pipeline.record.trial_run import RunPoints
from pipeline.reports import Failed, Finished, Progressed, Started
from pipeline.results import tally as module
from pipeline.results.criterion import Criterion
from pipeline.results.page import sweep_view
from pipeline.results.summary import params
from pipeline.results.tally import Tally
from tasks.events import Curve, Outcome
from tests.pipeline.record.recording import done


def test_what_is_swept_and_the_names_follow_the_trials_that_are_added(trial):
    trials = [trial(str(rate), learning_rate=float(rate), seed=seed) for rate in (1, 2) for seed in (0, 1)]
    tally = Tally(trials[:3])

    assert tally.swept() == {"learning_rate": [1.0, 2.0], "seed": [0, 1]}
    assert tally.setting_name(trials[0]) == "gradient lr=1"

    more = trial("more", learning_rate=1.0, regularization=0.5)
    tally.add([more])

    assert tally.swept()["regularization"] == [0.0, 0.5]
    assert tally.setting_name(more) == "gradient reg=0.5 lr=1"


def test_trials_that_are_known_are_not_named_again(trial, monkeypatch):
    trials = [trial(str(rate), learning_rate=float(rate), seed=seed) for rate in (1, 2) for seed in (0, 1)]
    tally, named, names = Tally(trials), [], module.setting_names
    monkeypatch.setattr(module, "setting_names", lambda *arguments: named.append(1) or names(*arguments))

    for one in trials:  # as a record does for each that starts
        tally.add([one])
        tally.setting_name(one)
        tally.count(Finished(trial=one, result=done(), layout=None))

    assert named == [1]


@pytest.mark.parametrize("margins", [(1.0, 2.0), (1.0, 1.0000001)])
def test_repeats_that_differ_only_in_a_key_of_the_group_that_they_vary_all_count(trial, margins):
    trials = [trial(loss={"name": "svm", "margin": margin}) for margin in margins]
    tally = Tally(trials, Criterion(over=("loss",)))

    for one, accuracy in zip(trials, (0.5, 0.75), strict=True):
        tally.count(Finished(trial=one, result=done(**{"val/accuracy": accuracy}), layout=None))

    (setting,) = tally.settings()
    summary = setting.summary("val/accuracy")
    assert (summary.count, summary.mean) == (2, 0.625)


def test_a_value_that_is_infinite_is_no_score_for_the_leader_either(trial):
    # given a trial whose own metric is better than any number, and one with a number
    trials = [trial(str(rate), learning_rate=rate) for rate in (1.0, 2.0)]
    tally = Tally(trials, Criterion(metric="log_loss", mode="min"))

    for one, value in zip(trials, (-math.inf, 0.5), strict=True):
        tally.count(Finished(trial=one, result=done(log_loss=value), layout=None))

    assert tally.best is not None
    assert tally.best.trial is trials[1]
    assert [one.name for one in tally.settings()] == [one.trial.name for one in tally.ranking()] == ["2.0", "1.0"]


def test_a_trial_that_has_paused_is_not_running_until_more_is_reported_of_it(trial):
    trials = [trial(seed=seed) for seed in range(3)]
    tally, running = Tally(trials), []

    for one in trials:
        tally.count(Started(trial=one, host="here", step=0))
    tally.pause(trials[:1])
    running.append(tally.running)
    tally.pause(trials[1:2])
    running.append(tally.running)
    tally.count(Started(trial=trials[0], host="here", step=10))
    running.append(tally.running)
    tally.count(Finished(trial=trials[2], result=done(), layout=None))
    running.append(tally.running)

    assert running == [2, 1, 2, 1]


def test_the_table_has_every_metric_of_a_trial(trial):
    planned = trial()
    tally = Tally([planned])

    tally.count(Finished(trial=planned, result=done(**{"mine/score": 0.5, "val/accuracy": 0.25}), layout=None))

    (row,) = tally.table()
    assert (row["mine/score"], row["val/accuracy"]) == (0.5, 0.25)


def test_a_trial_that_fails_by_its_own_verdict_is_counted_as_failed(trial):
    planned = trial()
    tally = Tally([planned])

    tally.count(Finished(trial=planned, result=done(Outcome.FAILED), layout=None))

    assert (tally.done, tally.failed) == (1, 1)


def test_a_setting_has_ended_once_a_repeat_that_failed_has_been_run_again(trial):
    repeats = [trial(seed=seed) for seed in (0, 1)]
    tally = Tally(repeats)
    key = tally.setting_of(repeats[0])

    tally.count(Finished(trial=repeats[0], result=done(), layout=None))
    tally.count(Failed(trial=repeats[1], error="no", traceback=""))
    assert not tally.has_ended(key)
    assert (tally.failed, tally.done) == (1, 2)
    tally.count(Finished(trial=repeats[1], result=done(), layout=None))
    assert tally.has_ended(key)


def test_a_trial_that_ended_in_an_earlier_process_may_lead(trial):
    now, before = (trial(str(rate), learning_rate=rate) for rate in (1.0, 2.0))
    tally = Tally([now, before])

    tally.count(Finished(trial=now, result=done(**{"val/accuracy": 0.5}), layout=None))
    assert tally.best is tally.standings[now.key]
    tally.add_ended(before.key, done(**{"val/accuracy": 0.9}))

    assert tally.best is tally.standings[before.key]


def test_the_leader_follows_the_means_of_the_settings(trial):
    one, other = ([trial(f"{rate} {k}", learning_rate=rate, seed=k) for k in range(2)] for rate in (1.0, 2.0))
    tally, leaders = Tally([*one, *other]), []

    for planned, accuracy in ((one[0], 0.9), (other[0], 0.6), (one[1], 0.1), (other[1], 0.8)):
        tally.count(Finished(trial=planned, result=done(**{"val/accuracy": accuracy}), layout=None))
        leaders.append(tally.leader())

    assert leaders == [
        "0.9 (gradient lr=1, 1 repeat)",
        "0.9 (gradient lr=1, 1 repeat)",
        "0.6 (gradient lr=2, 1 repeat)",
        "0.7 (gradient lr=2, 2 repeats)",
    ]


@pytest.mark.parametrize(("loss", "text"), [(0.0000123456, "1.235e-05"), (1e30, "1e+30"), (640.0, "640")])
def test_the_leader_is_told_in_as_many_digits_as_in_the_table(trial, loss, text):
    tally = Tally([one := trial("one")], Criterion(metric="val/loss", mode="min"))

    tally.count(Finished(trial=one, result=done(**{"val/loss": loss}), layout=None))

    assert tally.leader() == f"{text} (one)"


def test_the_first_are_those_of_the_ranking_that_have_begun(trial):
    trials = [trial(str(k), learning_rate=k + 1.0) for k in range(6)]
    tally = Tally(trials)

    for k, accuracy in ((3, 0.1), (0, 0.4), (4, 0.3), (1, 0.2)):
        tally.count(Finished(trial=trials[k], result=done(**{"val/accuracy": accuracy}), layout=None))

    assert [one.trial.name for one in tally.first(9)] == ["0", "4", "1", "3"]
    assert [one.name for one in tally.leading(3)] == ["0", "4", "1"]


def test_a_trial_that_is_stopped_has_done_the_steps_up_to_there_and_one_that_diverged_all(trial):
    stopped, diverged = (trial(str(k), seed=k, steps=100) for k in range(2))
    tally = Tally([stopped, diverged])

    curve = Curve(trial=0, steps=np.array([50]), metrics={"train/loss": np.array([math.nan])})
    tally.count(Progressed(trial=stopped, curve=curve))
    assert (tally.cost_done, tally.standings[stopped.key].metrics) == (50, {})
    tally.count(Finished(trial=stopped, result=done(Outcome.STOPPED, step=60), layout=None))
    tally.count(Finished(trial=diverged, result=done(Outcome.DIVERGED, step=10), layout=None))

    assert (tally.cost_done, tally.cost_total) == (160, 200)
    assert [tally.standings[one.key].step for one in (stopped, diverged)] == [60, 10]


def test_a_step_counts_for_what_it_costs(trial):
    quick, slow = (trial(str(k), seed=k, steps=100) for k in range(2))
    tally = Tally([quick, slow], step_cost=lambda one: 1.0 if one.seed == 0 else 9.0)

    tally.count(Progressed(trial=slow, curve=Curve(trial=0, steps=np.array([50]), metrics={"a": np.ones(1)})))

    assert (tally.cost_done, tally.cost_total) == (450, 1000)


def test_of_several_points_at_once_the_last_that_is_a_number_counts(trial):
    one = trial(steps=100)
    tally = Tally([one])
    metrics = {"a": np.array([1.0, 2.0, 3.0]), "b": np.array([1.0, 2.0, math.nan])}

    standing = tally.count(Progressed(trial=one, curve=Curve(trial=0, steps=np.array([10, 20, 30]), metrics=metrics)))

    assert (standing.step, standing.metrics) == (30, {"a": 3.0, "b": 2.0})


def test_where_a_trial_diverged_its_metrics_are_those_of_the_record_that_a_resume_reads(trial):
    planned, points = trial(steps=100), RunPoints(0)
    live, resumed = Tally([planned]), Tally([planned])
    measured = {"train/loss": np.array([2e25, math.nan]), "val/loss": np.array([3.0, math.nan])}
    result = done(Outcome.DIVERGED, step=14)

    for steps, names in (([10, 14], ["train/loss"]), ([5, 10], ["val/loss"])):
        curve = Curve(trial=0, steps=np.array(steps), metrics={name: measured[name] for name in names})
        live.count(Progressed(trial=planned, curve=curve))
        points.add(curve, 0)
    live.count(Finished(trial=planned, result=result, layout=None))
    points.end(result, 0)
    resumed.add_ended(planned.key, dataclasses.replace(result, metrics=points.curves.last()))

    assert str(live.standings[planned.key].metrics) == str({**result.metrics, "train/loss": math.nan, "val/loss": 3.0})
    assert str(live.table()) == str(resumed.table())


def test_a_setting_of_which_a_repeat_diverged_does_not_lead_and_a_repeat_knows_its_run(trial):
    lucky, sound = ([trial(f"{rate} {k}", learning_rate=rate, seed=k) for k in range(2)] for rate in (1.0, 2.0))
    tally = Tally([*lucky, *sound])

    tally.count(Finished(trial=lucky[1], result=done(Outcome.DIVERGED), layout=None))
    for one, accuracy in ((lucky[0], 0.9), (sound[0], 0.5), (sound[1], 0.4)):
        tally.count(Finished(trial=one, result=done(**{"val/accuracy": accuracy}), layout=None))

    assert tally.best is not None
    assert tally.best.trial is sound[0]
    tally.standings[sound[0].key].run_id = "a run"
    best, _ = tally.settings()
    assert [(repeat.trial, repeat.run_id) for repeat in best.repeats] == [("2.0 0", "a run"), ("2.0 1", "")]


def test_settings_of_the_same_values_in_another_order_are_equals_whoever_ranks_them(trial):
    # given three numbers whose sum depends on the order: the second setting's, as it arrives, is the larger one
    arrived = {1.0: (0.3, 0.2, 0.1), 2.0: (0.1, 0.2, 0.3)}
    trials = {rate: [trial(str(rate), learning_rate=rate, seed=seed) for seed in range(3)] for rate in arrived}
    tally = Tally([one for repeats in trials.values() for one in repeats])

    for rate, values in arrived.items():
        for one, value in zip(trials[rate], values, strict=True):
            tally.count(Finished(trial=one, result=done(**{"val/accuracy": value}), layout=None))

    assert tally.best is not None
    assert tally.setting_of(tally.best.trial) == tally.settings()[0].key


def test_the_many_numbers_of_a_search_are_told_by_their_range(trial):
    tally = Tally([trial(learning_rate=rate / 8) for rate in (9, *range(13, 0, -1))])

    assert params(tally)["swept.learning_rate"] == "0.125 to 1.625 (13 values)"


def test_the_params_of_a_sweep_have_the_names_and_texts_of_those_of_its_trials(trial):
    sweep = {"regularization": 0.1234567891, "batch_size": None, "model": {"name": "mlp", "hidden": [3]}}
    trials = [trial(**sweep, trial={"evaluate_every": steps}) for steps in (5, 10)]

    tally = Tally(trials)
    found, of_trial = params(tally), artifacts.params(trials[0].config)

    ours = {"swept.trial.evaluate_every", "sweep.metric", "sweep.mode"}
    assert {name: of_trial.get(name) for name in found.keys() - ours} == {
        name: found[name] for name in found.keys() - ours
    }
    assert found["swept.trial.evaluate_every"] == "5, 10"
    assert found["trial.record_every"] == "10"
    state = json.loads(sweep_view(tally, "run")[1])
    assert "params.`trial.evaluate_every`" in state["selectedColumns"]
