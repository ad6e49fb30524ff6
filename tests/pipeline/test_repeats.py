"""Every point is run once a seed, and comes to the mean of its repeats."""

import dataclasses
from types import SimpleNamespace

import pytest

from pipeline.config.schema import parse
from pipeline.config.settings import setting_key, setting_names, setting_values, used_values
from pipeline.plan.plan import Plan, Point
from pipeline.plan.repeats import repeated
from pipeline.sweep.batch import PointBatch
from pipeline.sweep.source import End, Grid
from tasks.errors import ConfigError
from tasks.events import Outcome


def points(*values, repeats=3):
    sweep = {"sweep": {"repeats": repeats}}
    return [
        Point(index=index, overrides=(f"seed={one.get('seed', 0)}", "sweep.repeats=3"), config=parse(one | sweep))
        for index, one in enumerate(values)
    ]


def test_a_point_has_a_repeat_a_seed_each_with_an_index_and_overrides_of_its_own():
    made = repeated(points({"seed": 4, "learning_rate": 0.5}, {"seed": 4}))

    assert [point.config.trial.seed for point in made] == [4, 5, 6, 4, 5, 6]
    assert [point.config.trial.data_seed for point in made] == [0, 1, 2, 0, 1, 2]
    assert [point.index for point in made] == [0, 1, 2, 3, 4, 5]
    assert [point.config.trial.learning_rate for point in made] == [0.5] * 3 + [0.001] * 3
    assert made[2].overrides == ("seed=6", "data_seed=2")


def test_only_the_seeds_that_repeats_vary_grow():
    (point,) = points({})
    config = dataclasses.replace(point.config, sweep=dataclasses.replace(point.config.sweep, over=("seed",)))

    made = repeated([dataclasses.replace(point, config=config)])

    assert [(one.config.trial.seed, one.config.trial.data_seed) for one in made] == [(0, 0), (1, 0), (2, 0)]


def test_one_repeat_changes_nothing():
    one = points({}, {"seed": 1}, repeats=1)

    assert repeated(one) == one


def test_points_that_repeat_each_other_already_are_refused():
    with pytest.raises(ConfigError, match=r"sweep\.repeats must be 1 where seed is swept, got 3"):
        repeated(points({"seed": 0}, {"seed": 1}))


def test_repeats_that_no_memory_holds_are_refused():
    with pytest.raises(ConfigError, match=r"sweep\.repeats must make at most 10000000 trials .*, got 5000001"):
        repeated(points({}, {"learning_rate": 0.5}, repeats=5_000_001))


def test_a_point_comes_to_the_mean_of_its_repeats_or_to_a_failure_among_them():
    batch, error = PointBatch(Grid([]), repeats=2), ValueError("no")
    complete, failed, stopped = Outcome.COMPLETE, Outcome.FAILED, Outcome.STOPPED
    ends = {"3": (stopped, 1.0), "2": (complete, 3.0), "0": (complete, 0.5), "1": (failed, 1.0)}
    repeats = [Point(index=int(key), overrides=(), config=parse({})) for key in ends]

    standings = {
        key: SimpleNamespace(
            trial=SimpleNamespace(index=int(key), key=key), outcome=outcome, value=value, metrics={}, step=1
        )
        for key, (outcome, value) in ends.items()
    }

    batch.assign(repeats, Plan(trials=(), folded={}), standings.values())

    assert batch.ends(standings, error) == {0: error, 1: 2.0}


def test_a_source_is_told_the_mean_of_a_points_repeats_and_their_worst_outcome_once_when_all_have_ended(monkeypatch):
    source, told = Grid([]), []
    monkeypatch.setattr(source, "tell", lambda index, end: told.append((index, end)))
    batch, repeats = PointBatch(source, repeats=2), [Point(index=k, overrides=(), config=parse({})) for k in (4, 5)]
    standings = [
        SimpleNamespace(trial=SimpleNamespace(index=k, key=str(k)), outcome=None, metrics={}, step=0) for k in (4, 5)
    ]
    batch.assign(repeats, Plan(trials=(), folded={}), standings)

    ends = [(Outcome.COMPLETE, {"a": 1.0, "b": 7.0}, 9), (Outcome.STOPPED, {"a": 4.0}, 3)]
    for standing, (outcome, metrics, step) in zip(standings, ends, strict=True):
        assert not told
        standing.outcome, standing.metrics, standing.step = outcome, metrics, step
        batch.end(standing)
    batch.end(standings[0])

    assert told == [(2, End(outcome=Outcome.STOPPED, metrics={"a": 2.5}, step=3))]


def test_as_many_points_are_asked_for_as_have_repeats_for_the_room(monkeypatch):
    source, asked = Grid([]), []
    monkeypatch.setattr(source, "more", lambda room: asked.append(room) or [])
    batch = PointBatch(source, repeats=3)

    assert [batch.more(room) for room in (0, 1, 6, 7)] == [[]] * 4

    assert asked == [0, 1, 2, 3]


def test_what_a_source_will_still_propose_is_counted_in_repeats_until_it_is_done():
    source = Grid(points({}, {"learning_rate": 0.5}))
    batch = PointBatch(source, repeats=3)

    source.total = 10  # as of a search, two of whose proposals are made
    before = batch.to_come
    batch.more(100)
    source.done = False
    assert (before, batch.to_come) == (30, 24)
    source.done = True
    assert batch.to_come == 0


def test_a_setting_is_a_trial_without_the_keys_that_repeats_vary():
    values = {"seed": 1}, {"data_seed": 7}, {"optimizer": {"name": "adam"}}
    one, other, third = (used_values(parse(given).trial) for given in values)
    over = ("seed", "data_seed")

    assert setting_key(one, over) == setting_key(other, over) != setting_key(third, over)
    assert setting_key(one, ["seed"]) != setting_key(other, ["seed"])
    assert setting_values(one, over) == setting_values(other, over) != setting_values(third, over)
    assert setting_values(one, ["loss.margin"]).keys() == one.keys() - {"loss.margin"}
    assert setting_values(one, ["optimizer"]).keys() == setting_values(third, ["optimizer"]).keys()


def test_a_settings_name_holds_no_seed():
    values = [{"seed": seed, "learning_rate": rate} for rate in (0.1, 0.2) for seed in (1, 2)]
    used = [used_values(parse(given).trial) for given in values]

    assert setting_names(used, ["seed"]) == ["gradient lr=0.1"] * 2 + ["gradient lr=0.2"] * 2
    assert setting_names(used[:2], ["seed"]) == ["gradient"] * 2
    # What leads a name may be what repeats vary.
    assert setting_names(used[:1], ["strategy", "seed"]) == ["any strategy"]
    assert setting_names(used[:1], ["task", "seed"]) == ["any task"]
