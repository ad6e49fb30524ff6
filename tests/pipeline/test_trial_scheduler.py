"""What the trials of a sweep do next, by what is reported of them; nothing is computed."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from pipeline.config.schema import parse
from pipeline.plan.plan import Point, Progress, make_plan
from pipeline.reports import Decided, Failed, Finished, Paused
from pipeline.results.criterion import Criterion
from pipeline.results.curves import Curves, Series
from pipeline.stopping.rung_system import Decision
from pipeline.sweep.trial_scheduler import TrialScheduler
from tasks.datasets import Synthetic
from tasks.errors import ConfigError
from tasks.events import Checkpoint, Curve, Outcome, Result

DATASET = Synthetic(examples=300, test_examples=20, features=12, classes=3, validation=20).load()
SHAPE = 3 * 13


@pytest.fixture
def sweep(layout):
    """Return a maker of a scheduler, and what tells it of its trials, by their number."""

    class Made:
        def __init__(self, count, known=(), *, add=True, **rule):
            values = {"stopping": {"min_steps": 100, "reduction_factor": 2, **rule}, "steps": 400}
            configs = [parse(values | {"learning_rate": k + 1.0}) for k in range(count)]
            points = [Point(index=k, overrides=(), config=config) for k, config in enumerate(configs)]
            self.trials = make_plan(points, DATASET).trials
            self.scheduler = TrialScheduler(configs[0], DATASET, Criterion(), widest=lambda _: 128, folder=Path())
            self.scheduler.replay(known)
            if add:
                self.scheduler.add(self.trials)

        def begin(self):
            for trial in self.trials:
                self.scheduler.schedule(trial)
            return self.next()

        def next(self):
            """Return who is computed next: numbers, from where and to where."""
            return [
                ([t.index for t in group.trials], group.start.checkpoint.step if group.start else 0, group.until)
                for group in self.scheduler.groups(1)
            ]

        def pause(self, step, scores, metric="val/accuracy", at=None, velocity=0):
            """Tell that trials have paused at a step with these scores ``at`` some steps; return who ended by that.

            ``velocity`` is the size of what each goes on with besides its weights.
            """
            steps = np.array(at or [step])
            curves = [
                Curve(trial=k, steps=steps, metrics={metric: np.array(score, ndmin=1), "train/loss": steps / 2})
                for k, score in enumerate(scores.values())
            ]
            places = np.arange(len(scores))
            weights = np.full((len(scores), SHAPE), 1.0)
            numbers = np.fromiter(scores, np.float64)[:, None]
            arrays = {"weights": weights, "velocity": np.repeat(numbers, velocity, axis=1)}
            checkpoint = Checkpoint(step=step, trials=places, arrays=arrays)
            report = Paused(
                trials=tuple(self.trials[k] for k in scores),
                progress=Progress(checkpoint=checkpoint, curves=tuple(curves)),
                layouts=(layout,) * len(scores),
            )
            return [one.trial.index for one in self.scheduler.process(report)]

        def end(self, number, outcome, metrics=None, step=50):
            result = Result(trial=0, outcome=outcome, step=step, metrics=metrics or {})
            assert list(self.scheduler.process(Finished(trial=self.trials[number], result=result, layout=layout))) == []

        def decide(self, *, closed=True):
            """Return the steps that are decided at, and who is stopped."""
            told = list(self.scheduler.decide(closed=closed))
            stopped = [one for one in told if isinstance(one, Finished)]
            assert all(one.result.outcome is Outcome.STOPPED for one in stopped)
            assert all(one.result.arrays["weights"].shape == (3, 13) for one in stopped)
            # the training loss of a point is that of a minibatch, and not the one that a trial ends with
            assert all(len(one.result.metrics) == 1 and "train/loss" not in one.result.metrics for one in stopped)
            decided = [one.decision.step for one in told if isinstance(one, Decided)]
            return decided, [one.trial.index for one in stopped]

    return Made


def test_trials_go_from_rung_to_rung_and_those_of_several_groups_go_on_as_one(sweep):
    made = sweep(4, name="halving")
    assert made.begin() == [([0, 1, 2, 3], 0, 100)]
    made.pause(100, {0: 0.1, 2: 0.9})
    assert made.decide() == ([], [])
    made.pause(100, {1: 0.5, 3: 0.2})
    assert made.decide() == ([100], [0, 3])
    assert made.next() == [([2, 1], 100, 200)]
    made.pause(200, {2: 0.6, 1: 0.7})
    assert made.decide() == ([200], [2])
    assert made.next() == [([1], 200, None)]


def test_what_many_trials_wait_with_is_not_kept_in_memory(sweep):
    made, size = sweep(8, name="halving"), 500_000
    made.begin()
    tracemalloc.start()

    for number in range(8):
        made.pause(100, {number: number / 8}, velocity=size)
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    made.decide()

    assert used < size * 8
    (group,) = made.scheduler.groups(1)
    numbers = [trial.index for trial in group.trials]
    assert len(numbers) == 4
    velocity = group.start.checkpoint.arrays["velocity"]
    np.testing.assert_array_equal(velocity, np.repeat(np.array(numbers, float)[:, None], size, axis=1))


@pytest.mark.parametrize("values", [{"steps": 400}, {"task": {"name": "landscape"}, "stopping": {"name": "halving"}}])
def test_trials_that_no_rule_stops_go_to_their_end(values):
    config = parse(values)
    trials = make_plan([Point(index=0, overrides=(), config=config)], DATASET).trials
    scheduler = TrialScheduler(config, DATASET, Criterion(), widest=lambda _: 128, folder=Path())
    scheduler.add(trials)
    scheduler.schedule(trials[0])

    assert [group.until for group in scheduler.groups(1)] == [None]
    assert scheduler.settled


def test_who_diverges_or_fails_does_not_pass_and_holds_nobody_up(sweep):
    made = sweep(4, name="halving")
    made.begin()
    made.end(0, Outcome.DIVERGED)
    list(made.scheduler.process(Failed(trial=made.trials[1], error="no", traceback="")))
    made.pause(100, {2: 0.1, 3: 0.2})
    assert made.decide() == ([100], [])
    assert made.next() == [([3, 2], 100, 200)]


def test_who_fails_where_none_goes_on_is_compared_when_it_is_run_again(sweep):
    # given the only one that has gone on, which fails, and has no decision that stops it
    made = sweep(2, name="halving")
    made.begin()
    made.pause(100, {0: 0.1, 1: 0.2})
    told = list(made.scheduler.decide(closed=True))
    list(made.scheduler.process(Failed(trial=made.trials[1], error="no", traceback="")))
    told += made.scheduler.decide(closed=True)
    assert made.scheduler.settled

    # when a resume runs it again
    again = sweep(2, known=[one.decision for one in told if isinstance(one, Decided)], name="halving")
    again.begin()
    again.pause(200, {1: 0.3})

    assert again.decide() == ([200], [])
    assert again.next() == [([1], 200, None)]


def test_who_ends_by_itself_before_a_rung_is_compared_by_its_last_metrics(sweep):
    made = sweep(4, name="halving")
    made.begin()
    made.end(0, Outcome.COMPLETE, {"val/accuracy": 0.9})
    made.pause(100, {1: 0.5, 2: 0.4, 3: 0.3})
    assert made.decide() == ([100], [2, 3])
    # it stands at the next rung already
    assert made.next() == [([1], 100, 200)]
    made.pause(200, {1: 0.6})
    assert made.decide() == ([200], [1])
    assert made.next() == []


def test_who_came_further_is_compared_by_what_was_measured_at_the_rung_and_does_not_pass_without(sweep):
    made = sweep(4, name="halving")
    made.begin()
    made.pause(200, {0: [0.9, 0.9]}, at=[50, 200])
    made.pause(200, {1: [0.3, 0.0, 0.8], 2: [0.4, 0.1, 0.0]}, at=[100, 50, 200])
    made.pause(100, {3: 0.2})

    assert made.decide() == ([100], [0, 3])
    assert made.next() == [([2, 1], 200, 200)]


def test_who_did_not_measure_the_metric_does_not_pass(sweep):
    made = sweep(2, name="halving")
    made.begin()
    made.pause(100, {0: 0.9}, metric="val/loss")
    made.pause(100, {1: 0.1})

    assert made.decide() == ([100], [0])


@pytest.mark.parametrize(("metric", "best"), [("val/accuracy", np.inf), ("val/loss", -np.inf)])
@pytest.mark.parametrize("completed", [False, True])
def test_who_measures_an_infinite_best_does_not_pass_as_it_cannot_win(sweep, metric, best, completed):
    made = sweep(3, name="halving", metric=metric)
    made.begin()
    if completed:
        made.end(0, Outcome.COMPLETE, {metric: best})
    else:
        made.pause(100, {0: best}, metric=metric)
    made.pause(100, {1: 0.1, 2: 0.2}, metric=metric)

    assert made.decide() == ([100], [] if completed else [0])
    assert made.next() == [([2, 1] if metric == "val/accuracy" else [1, 2], 100, 200)]


def test_a_metric_that_no_trial_reports_is_an_error_once_none_goes_on(sweep):
    made = sweep(2, name="halving", metric="reward")
    made.begin()
    made.pause(100, {0: 0.9, 1: 0.1}, metric="val/loss")

    told = "at step 100, got 'reward', and the trials report train/loss, val/loss$"
    with pytest.raises(ConfigError, match=f"^stopping.metric must be reported where trials are compared, {told}"):
        made.decide()


def test_trials_that_all_diverge_before_a_rung_have_not_reported_too_little(sweep):
    made = sweep(2, name="halving")
    made.begin()
    for number in range(2):
        made.end(number, Outcome.DIVERGED)

    assert made.decide() == ([100], [])


def test_what_was_decided_before_of_a_trial_that_comes_back_holds(sweep):
    # given an asha that had promoted the first, and knew of the two that had paused
    plain = sweep(4, name="asha")
    settings = [plain.scheduler._rungs._setting_of[trial.key] for trial in plain.trials]
    known = Decision(
        step=100,
        pool=0,
        arrived=3,
        scores=dict(zip(settings[:3], (0.9, 0.8, 0.1), strict=True)),
        passed=(settings[0],),
        stopped=(),
        complete=False,
    )
    made = sweep(4, known=[known], name="asha")
    assert sorted(made.begin()) == [([0], 0, 200), ([1, 2, 3], 0, 100)]
    # when the last arrives before the two are back, the second passes by what is known of it
    made.pause(100, {3: 0.0})
    assert made.decide() == ([100], [3])
    # then it goes on as soon as it is back, and the third is stopped then
    assert made.pause(100, {1: 0.8, 2: 0.1}) == [2]
    assert made.next() == [([1], 100, 200)]


def test_who_comes_back_to_a_rung_after_the_last_was_passed_goes_to_its_end(sweep):
    plain = sweep(1, name="halving")
    (setting,) = plain.scheduler._rungs._members
    passed = {"pool": 0, "arrived": 1, "scores": {setting: 0.5}, "passed": (setting,), "stopped": (), "complete": True}
    made = sweep(1, known=[Decision(step=step, **passed) for step in (100, 200)], name="halving")

    made.pause(200, {0: 0.5})

    assert made.next() == [([0], 200, None)]


def test_decisions_of_a_later_batch_are_replayed_once_its_trials_are_there(sweep):
    # given two batches, one after the other, each with a pool of its own, and a decision on the second
    plain = sweep(4, name="halving")
    settings = [plain.scheduler._rungs._setting_of[trial.key] for trial in plain.trials]
    scores = dict(zip(settings[2:], (0.9, 0.1), strict=True))
    known = Decision(
        step=100, pool=1, arrived=2, scores=scores, passed=settings[2:3], stopped=settings[3:], complete=True
    )
    made = sweep(4, add=False, name="halving")
    made.scheduler.replay([known])
    made.scheduler.add(made.trials[:2])
    made.scheduler.add(made.trials[2:])

    assert [made.scheduler._rungs.is_stopped(trial.key) for trial in made.trials] == [False, False, False, True]
    made.begin()
    made.pause(100, {0: 0.2, 1: 0.3})
    assert made.decide() == ([100], [0])


def test_a_setting_of_a_later_batch_is_named_by_what_differs_from_the_batches_before(sweep):
    made = sweep(3, add=False, name="asha")
    made.scheduler.add(made.trials[:2])
    made.scheduler.add(made.trials[2:])
    made.begin()
    made.pause(100, {0: 0.1, 1: 0.2, 2: 0.3})

    (decided, *_) = [one for one in made.scheduler.decide(closed=True) if isinstance(one, Decided)]

    assert sorted(decided.names.values()) == ["gradient lr=1", "gradient lr=2", "gradient lr=3"]


def test_who_was_stopped_by_a_decision_that_is_lost_holds_nobody_up(sweep):
    made = sweep(4, name="halving")
    for number, score in ((0, 0.1), (1, 0.2)):
        stopped = Result(trial=0, outcome=Outcome.STOPPED, step=100, metrics={"val/accuracy": score})
        made.scheduler.end(made.trials[number], stopped)
    for trial in made.trials[2:]:
        made.scheduler.schedule(trial)
    made.next()

    made.pause(100, {2: 0.3, 3: 0.4})

    assert made.decide() == ([100], [])
    assert made.next() == [([3, 2], 100, 200)]


def test_decisions_that_are_lost_are_made_again_by_what_was_measured_at_each_rung(sweep):
    # given trials of an earlier process: one that went on and became better, one that was stopped, one that diverged
    made = sweep(4, name="halving")
    ends = (
        (Outcome.COMPLETE, {100: 0.58, 200: 0.6, 400: 1.0}),
        (Outcome.STOPPED, {100: 0.2}),
        (Outcome.DIVERGED, {100: 0.6, 200: 0.9}),
    )
    for trial, (outcome, points) in zip(made.trials, ends, strict=False):
        curves, last = Curves(), max(points)
        curves.add("val/accuracy", Series(steps=np.array(list(points)), values=np.array(list(points.values()))))
        result = Result(trial=0, outcome=outcome, step=last, metrics={"val/accuracy": points[last]})
        made.scheduler.end(trial, result, curves)
    made.scheduler.schedule(made.trials[3])

    made.pause(100, {3: 0.55})
    told = list(made.scheduler.decide(closed=True))

    scores = [list(one.decision.scores.values()) for one in told if isinstance(one, Decided)]
    np.testing.assert_equal(scores, [[0.6, 0.58, 0.55, 0.2], [0.6, np.nan]])
    assert [one.trial.index for one in told if isinstance(one, Finished)] == [3]


@pytest.mark.parametrize(
    ("rule", "best"), [({}, 2), ({"metric": "val/loss"}, 0), ({"metric": "val/loss", "mode": "max"}, 2)]
)
def test_another_metric_than_the_sweeps_is_compared_as_its_name_says(sweep, rule, best):
    made = sweep(3, name="halving", reduction_factor=3, **rule)
    made.begin()

    made.pause(100, {0: 0.1, 1: 0.2, 2: 0.3}, metric=rule.get("metric", "val/accuracy"))
    made.decide()

    assert made.next() == [([best], 100, 300)]
