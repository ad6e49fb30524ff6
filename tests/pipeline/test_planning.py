"""What all points of a sweep must have in common, what names it and what identifies it; nothing is computed."""

import io
import math
import re

import pytest
from rich.console import Console

from pipeline.config.schema import parse
from pipeline.plan.plan import Point
from pipeline.plan.repeats import repeated
from pipeline.record.protocol import Resumption
from pipeline.results.criterion import Criterion, guessed
from pipeline.results.tally import Tally
from pipeline.sweep import engines
from pipeline.sweep.planning import make_header, plan_points, show_dry_run, values_of
from pipeline.sweep.resume import sweep_key
from pipeline.sweep.source import Grid
from tasks.datasets import Synthetic
from tasks.errors import ConfigError


@pytest.fixture(scope="module")
def dataset():
    return Synthetic(examples=300, test_examples=20, features=12, classes=3, validation=20).load()


def point(index=0, **values):
    return Point(index=index, overrides=(), config=parse(values))


def test_the_points_of_a_batch_are_compared_with_the_trials_of_the_batches_before(dataset):
    rule = {"stopping": {"name": "asha"}}
    one, other = point(0, **rule, steps=1000), point(1, **rule, steps=500)
    known = plan_points([one], dataset, one.config).trials

    with pytest.raises(ConfigError, match=r"steps must be the same in all trials .* got \[500, 1000\]"):
        plan_points([other], dataset, one.config, known=known)
    assert plan_points([point(1, steps=500)], dataset, parse({}), known=known).trials  # without a rule they may differ


@pytest.mark.parametrize(
    ("values", "others", "message"),
    [
        (
            {"stopping": {"name": "asha"}},
            [{"steps": 500}],
            r"steps must be the same in all trials .* got \[500, 1000\]",
        ),
        ({"sweep": {"repeats": 2}}, [{"seed": 1, "learning_rate": 0.5}], "sweep.repeats must be 1 where seed is swept"),
        ({}, [{"batch_size": 281}], "batch_size must be at most the 280 training examples"),
        ({}, [{"device": "cuda"}], "device must be the same in all trials"),
    ],
)
def test_what_a_search_may_propose_later_is_refused_before_it_is(dataset, values, others, message):
    first = point(**values)
    examples = [point(**{**values, **other}) for other in ({}, *others)]

    with pytest.raises(ConfigError, match=message):
        plan_points([first], dataset, first.config, examples=examples)
    assert plan_points([first], dataset, first.config, examples=[first]).trials


def test_the_first_proposal_of_a_search_is_named_by_what_the_search_varies(dataset):
    one = Point(index=0, overrides=("learning_rate=0.5", "steps=70"), config=parse({"learning_rate": 0.5, "steps": 70}))
    examples = [point(steps=70, learning_rate=rate, batch_size=size) for rate in (0.1, 1) for size in (8, 256)]

    (trial,) = plan_points([one], dataset, one.config, swept=values_of(examples)).trials

    assert trial.name == "gradient lr=0.5 batch=256"


def test_a_rule_keeps_no_end_of_the_sweeps_metric_but_its_best(dataset):
    def planned(sweep, **rule):
        one = point(sweep=sweep, stopping={"name": "halving", **rule})
        return plan_points([one], dataset, one.config)

    with pytest.raises(ConfigError, match=r"stopping\.mode must agree with .* val/accuracy ranks: max, got 'min'"):
        planned({}, mode="min")
    assert planned({"mode": "min"}, mode="min").trials
    assert planned({}, mode="min", metric="val/loss").trials


@pytest.mark.parametrize(
    ("sweep", "rule", "told"),
    [
        ({"metric": "f1"}, {}, ["sweep.metric=f1: the largest is best (sweep.mode=min: the smallest)"]),
        ({"metric": "f1", "mode": "max"}, {"metric": "f1"}, []),
        ({"metric": "val/loss"}, {}, []),
        ({}, {"metric": "bleu"}, ["stopping.metric=bleu: the largest is best (stopping.mode=min: the smallest)"]),
        ({}, {"metric": "bleu", "mode": "max"}, []),
    ],
)
def test_which_end_is_best_is_told_where_neither_the_config_nor_the_name_says_it(sweep, rule, told):
    config = point(sweep=sweep, stopping={"name": "halving", **rule}).config

    assert guessed(config) == told


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"schedule": {"name": "step"}, "steps": 250}, ["step (every=250, decay=0.5) changes nothing in steps=250"]),
        ({"schedule": {"name": "step"}, "steps": 251}, []),
        ({"schedule": {"name": "warm_up"}, "steps": 25}, ["warm_up (over=100) reaches only 0.25 of the learning rate"]),
        ({"schedule": {"name": "warm_up"}, "steps": 100}, []),
        ({"schedule": {"name": "cosine"}, "steps": 2}, []),
        ({"schedule": {"name": "step"}, "steps": 9, "strategy": {"name": "random"}}, []),  # which does not use it
        ({"steps": 9}, []),
    ],
)
def test_a_schedule_that_the_steps_cut_short_is_told_before_anything_starts(values, told):
    console = Console(file=io.StringIO(), width=200)

    show_dry_run([point(**values)], Grid([]), console, lone=True)

    said = [line for line in console.file.getvalue().splitlines() if line.startswith("schedule=")]
    assert [line.startswith(f"schedule={text}") for line, text in zip(said, told, strict=True)] == [True] * len(told)


def test_a_search_is_named_by_its_keys_where_the_repeats_of_one_point_differ_in_their_seeds_only(dataset):
    one = point(sweep={"repeats": 2})
    plan = plan_points(repeated([one]), dataset, one.config)
    tally = Tally(plan.trials, Criterion.of(one.config.sweep, dataset))

    def name(keys):
        source = Grid([])
        source.keys = keys
        return make_header((), one.config, tally, dataset, source).name

    assert name(("learning_rate",)) == "learning_rate on synthetic (2 repeats)"
    assert name(()) == "seed, data_seed on synthetic (2 repeats)"


@pytest.mark.parametrize(
    ("values", "lone", "planned"),
    [
        ({}, False, "6 trials, 0 folded, in 3 groups on 3 workers"),
        ({"engine": "inprocess"}, False, "6 trials, 0 folded, in 1 group on 1 worker"),
        ({}, True, "1 trial, 0 folded, in 1 group on 1 worker"),
        ({"engine": "ray"}, True, "1 trial, 0 folded, in 1 group on 3 workers"),
    ],
)
def test_a_dry_run_plans_for_the_engine_that_would_compute(values, lone, planned):
    console = Console(file=io.StringIO(), width=140)
    data = {"name": "synthetic", "examples": 600}
    points = [
        point(seed, seed=seed, dataset=data, cluster={"workers": 3}, **values) for seed in range(1 if lone else 6)
    ]

    show_dry_run(points, Grid([]), console, lone=lone)

    assert f"{planned};" in console.file.getvalue()


def test_a_dry_run_says_the_time_and_the_steps_of_what_trains_only():
    def said(task):
        console = Console(file=io.StringIO(), width=140)
        show_dry_run([point(0, task={"name": task}, dataset={"name": "digits"})], Grid([]), console, lone=False)
        first, _, group = console.file.getvalue().splitlines()
        return first, group.split()

    (trained, group), (drawn, other) = said("train"), said("landscape")
    assert re.search(r"; about \d+ s$", trained)  # how long depends on how busy the machine is
    assert re.fullmatch(r"1 trial, 0 folded, in 1 group on \d+ workers?", drawn)
    assert group[:5] == ["0", "1", "gradient", "256", "1000"]
    assert other[:3] == ["0", "1", "landscape"], "it has no steps"


@pytest.mark.parametrize(
    ("address", "on_a_machine"), [("local", 64), (None, 64), ("auto", 4), ("ray://10.0.0.1:10001", 4)]
)
def test_a_group_has_the_memory_of_a_worker_where_the_workers_are(dataset, monkeypatch, address, on_a_machine):
    # given 64 workers, here or on a cluster whose nodes are taken to be this machine of four CPUs
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(engines, "cpu_count", lambda: 4)
    monkeypatch.setattr(engines, "memory", lambda: 64_000)
    monkeypatch.setattr(engines, "WIDEST", math.inf)
    monkeypatch.setattr(engines, "widest_group", lambda trials, *, available, **_: available)
    config = parse({"cluster": {"workers": 64, "address": address}})

    share = engines.widest(config, dataset, lone=False)([])

    assert share == 64_000 // on_a_machine


@pytest.mark.parametrize(
    ("rule", "sweep", "same"),
    [
        ({"name": "asha"}, {"metric": "val/loss"}, False),
        ({"name": "asha"}, {"mode": "min"}, False),
        ({"name": "asha"}, {"over": ["seed"]}, False),
        ({"name": "asha", "metric": "val/loss"}, {"metric": "train/loss"}, True),
        ({"name": "asha", "metric": "val/loss", "mode": "min"}, {"metric": "val/loss", "mode": "max"}, True),
        ({"name": "none"}, {"metric": "val/loss", "mode": "max", "over": ["seed"]}, True),
    ],
)
def test_a_sweep_whose_rule_compares_by_something_else_is_another_sweep(dataset, rule, sweep, same):
    one, other = parse({"stopping": rule}), parse({"stopping": rule, "sweep": sweep})
    trials = plan_points([point()], dataset, one).trials

    assert (sweep_key(trials, one) == sweep_key(trials, other)) is same


def test_a_search_with_another_number_of_repeats_is_another_search(dataset):
    one, other = parse({}), parse({"sweep": {"repeats": 3}})
    trials = plan_points([point()], dataset, one).trials

    assert sweep_key(trials, one, "a search") != sweep_key(trials, other, "a search")
    assert sweep_key(trials, one) == sweep_key(trials, other)  # a grid's repeats are trials of its own


def test_a_sweep_is_its_trials_in_any_order_and_its_name(dataset):
    config, named = parse({}), parse({"sweep": {"name": "mine"}})
    one, other = plan_points([point(0, seed=0), point(1, seed=1)], dataset, config).trials

    assert sweep_key([one, other], config) == sweep_key([other, one], config) != sweep_key([one], config)
    assert sweep_key([one, other], named) != sweep_key([one, other], config)


def test_the_trials_of_a_search_are_gone_on_with_in_the_batches_in_which_they_were_proposed(dataset):
    # given two points that were proposed together, then one, each with two repeats
    trials = plan_points([point(seed, seed=seed) for seed in range(8)], dataset, parse({})).trials
    past = Resumption(proposals=([{"x": "1"}, {"x": "2"}], [{"x": "3"}]))

    batches = past.in_batches([trials[6], *trials[:6]], repeats=2)

    assert [[trial.index for trial in batch] for batch in batches] == [[0, 1, 2, 3], [4, 5], [6]]
