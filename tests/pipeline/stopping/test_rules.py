"""The rules by hand, and what holds for all of them."""

import itertools
import math
import random

import pytest

from pipeline.stopping import STOPPING, Asha, Halving, Hyperband, Median
from pipeline.stopping.forecast import forecast
from pipeline.stopping.rung_system import RungSystem
from tasks.errors import ConfigError

NAN = math.nan
RULES = {
    name: kind(**{"min_steps": 1} | ({"reduction_factor": 2} if name != "median" else {}))
    for name, kind in STOPPING.items()
    if kind.stops
}


def test_halving_waits_for_all_and_lets_a_third_go_on():
    scores = [[0.1], [0.3], [0.2], [0.4], [NAN], [0.35], [0.0]]
    assert Halving().passing(scores, complete=True) == [3, 5, 1]
    assert Halving().passing(scores, complete=False) == []
    assert Halving().rungs(74, 2000, 0) == (74, 222, 666, 1998)


def test_of_equals_the_first_goes_on_and_nan_never():
    assert Halving().passing([[0.5], [0.5], [0.5]], complete=True) == [0]
    assert Halving().passing([[NAN], [NAN], [NAN]], complete=True) == []


def test_hyperbands_brackets_begin_later():
    assert [Hyperband().rungs(10, 1000, bracket) for bracket in range(3)] == [
        (10, 30, 90, 270, 810),
        (30, 90, 270, 810),
        (90, 270, 810),
    ]
    assert Hyperband(reduction_factor=2).passing([[k] for k in range(6)], complete=True) == [5, 4, 3]
    assert Hyperband().passing([[k] for k in range(6)], complete=True) == [5, 4]


def test_asha_promotes_as_settings_arrive_and_one_of_few():
    rule = Asha(reduction_factor=4)
    assert rule.passing([[0.1], [0.2], [0.3]], complete=False) == []
    assert rule.passing([[0.1], [0.2], [0.3], [0.0]], complete=False) == [2]
    assert rule.passing([[0.1], [0.2], [0.3]], complete=True) == [2]
    assert rule.passing([[NAN]], complete=True) == []


def test_the_median_rule_compares_the_best_with_averages():
    # averages 0.19, 0.3, 0.5: the median is 0.3
    arrived = [[0.1, 0.28], [0.35, 0.25], [0.5, 0.5], [0.1, NAN]]
    assert Median().passing(arrived, complete=True) == [1, 2]
    assert Median().passing(arrived, complete=False) == Median().passing([[NAN]], complete=True) == []
    assert Median(min_steps=100).rungs(100, 400, 0) == (100, 200, 300)


@pytest.mark.parametrize(
    ("kind", "values", "message"),
    [
        (Halving, {"reduction_factor": 1}, "stopping.reduction_factor must be >= 2, got 1"),
        (Asha, {"min_steps": 0}, "stopping.min_steps must be >= 1, or null, got 0"),
        (Hyperband, {"brackets": 0}, "stopping.brackets must be >= 1, got 0"),
        (Median, {"mode": "most"}, "stopping.mode must be max or min, or null, got 'most'"),
    ],
)
def test_numbers_that_break_their_rules_are_refused(kind, values, message):
    with pytest.raises(ConfigError, match=message):
        kind(**values)


def rung_system(rule, settings, *, steps):
    rungs = RungSystem(rule)
    rungs.add(settings, first=1, last=steps)
    return rungs


def climbed(rule, score, *, order, steps=20):
    """Return the decisions, and the step to which each of the settings came, whose trials arrive in this order."""
    rungs = rung_system(rule, {f"s{k}": [f"s{k}"] for k in range(len(order))}, steps=steps)
    reached, decisions = {}, []
    running = [f"s{k}" for k in order]
    while running:
        trial = running.pop(0)
        until = rungs.next_rung(trial)
        reached[trial] = until or steps
        if until is None:
            continue
        value = score(int(trial[1:]), until)
        if math.isnan(value):
            rungs.end(trial)
        else:
            rungs.arrive(trial, [value])
        for decision in rungs.decide(closed=True):
            decisions.append(decision)
            running += decision.passed
    return decisions, reached


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_every_setting_ends_and_one_comes_to_the_end_whoever_comes_first(rule):
    for seed in range(20):
        count = random.Random(seed).randint(1, 40)
        order = random.Random(seed).sample(range(count), count)
        decisions, reached = climbed(rule, lambda k, step: NAN if k % 7 == 3 else k + step % 3, order=order)
        stopped = [setting for decision in decisions for setting in decision.stopped]
        # each has either come to the end or was stopped, once; none is lost on the way
        assert len(stopped) == len(set(stopped))
        ended = [setting for setting, step in reached.items() if step == 20]
        assert sorted([*stopped, *ended]) == sorted(f"s{k}" for k in range(count))
        assert ended
        assert not any(int(setting[1:]) % 7 == 3 for setting in ended)
        # none passes the same rung twice
        passed = [(setting, decision.step) for decision in decisions for setting in decision.passed]
        assert len(passed) == len(set(passed))


@pytest.mark.parametrize("name", [name for name, rule in RULES.items() if rule.synchronous])
def test_rules_that_wait_decide_alike_whoever_comes_first(name):
    ways = [climbed(RULES[name], lambda k, _: -abs(k - 4), order=order) for order in itertools.permutations(range(6))]
    whole = [
        {(d.step, d.pool, tuple(d.scores.items()), d.passed, d.stopped) for d in decisions} for decisions, _ in ways
    ]
    assert all(decisions == whole[0] for decisions in whole)
    assert all(reached == ways[0][1] for _, reached in ways)


def test_an_asha_setting_that_was_paused_is_promoted_once_enough_have_arrived():
    rungs = rung_system(Asha(reduction_factor=2), {name: [name] for name in "abcd"}, steps=4)
    rungs.arrive("a", [0.9])
    assert list(rungs.decide(closed=True)) == []
    rungs.arrive("b", [0.8])
    (first,) = rungs.decide(closed=True)
    assert (first.passed, first.stopped, first.complete) == (("a",), (), False)
    assert (rungs.next_rung("a"), rungs.next_rung("b")) == (2, 1)
    rungs.arrive("c", [0.1])
    assert list(rungs.decide(closed=True)) == []
    rungs.arrive("d", [0.2])
    (second,) = rungs.decide(closed=True)
    assert (second.passed, second.stopped, second.complete) == (("b",), ("c", "d"), True)
    assert dict(second.scores) == {"a": 0.9, "b": 0.8, "d": 0.2, "c": 0.1}


def test_a_forecast_of_asha_has_one_setting_that_comes_to_the_end_although_too_few_arrive():
    settings = {"a": ["a0", "a1"], "b": ["b0", "b1"]}

    assert forecast(Asha(), settings, first=10, last=20, steps=100).reached == {10: 4, 100: 2}


def test_a_forecast_of_hyperband_counts_the_brackets_that_begin_to_compare_later_at_the_rungs_before():
    settings = {str(k): [str(k)] for k in range(30)}

    reached = forecast(Hyperband(), settings, first=10, last=100, steps=270).reached

    assert reached[10] == 30
    assert list(reached.values()) == sorted(reached.values(), reverse=True)


def test_of_a_rule_that_looks_at_whole_curves_there_is_no_forecast():
    settings = {str(k): [str(k)] for k in range(9)}

    assert forecast(Median(), settings, first=10, last=100, steps=100) is None
    for rule in (Halving(), Hyperband(brackets=2), Asha()):
        assert forecast(rule, settings, first=10, last=100, steps=100) is not None


def test_the_scores_in_all_decisions_grow_with_the_settings_and_a_resume_learns_all_from_them():
    settings = {f"s{k}": [f"s{k}"] for k in range(1000)}
    decisions, _ = climbed(Asha(), lambda k, step: (k * 617) % 1000 + step / 100, order=range(1000))
    assert len(decisions) > 300
    assert sum(len(decision.scores) for decision in decisions) < 5 * len(settings)
    assert all(decision.scores.keys() >= {*decision.passed, *decision.stopped} for decision in decisions)

    # given a process that goes on from half of them
    resumed = rung_system(Asha(), settings, steps=20)
    half = decisions[: len(decisions) // 2]
    for decision in half:
        assert resumed.knows(decision)
        resumed.replay(decision)

    # then it knows of all that had arrived, and who had gone on
    (pool,) = resumed._pools
    for rung in pool.rungs:
        of_rung = [decision for decision in half if decision.step == rung.step]
        assert rung.passed == {setting for decision in of_rung for setting in decision.passed}
        assert rung.arrived.keys() == {setting for decision in of_rung for setting in decision.scores}
    assert len(pool.rungs[0].arrived) > 400


def test_a_decision_after_a_resume_holds_the_scores_that_it_would_have_held():
    def arrive(rungs, **scores):
        for setting, score in scores.items():
            rungs.arrive(setting, [score])
        return next(rungs.decide(closed=True))

    whole, resumed = (rung_system(Asha(reduction_factor=2), {name: [name] for name in "abcde"}, steps=2) for _ in "ab")
    resumed.replay(arrive(whole, a=0.9, b=0.8))

    later = arrive(whole, c=0.95, d=0.1)

    assert set(later.scores) == {"c", "d"}
    assert arrive(resumed, c=0.95, d=0.1) == later


def test_the_end_of_a_trial_that_was_stopped_changes_no_score():
    rungs = rung_system(Asha(reduction_factor=2), {"a": ["a"], "b": ["b"]}, steps=2)
    for trial, score in {"a": 0.9, "b": 0.8}.items():
        rungs.arrive(trial, [score])
    (first,) = rungs.decide(closed=True)
    for trial in rungs.trials(first.stopped):
        rungs.end(trial)
    rungs.add({"c": ["c"], "d": ["d"]}, first=1, last=2)
    for trial in "cd":
        rungs.arrive(trial, [0.5])

    (second,) = rungs.decide(closed=True)

    assert second.scores == {"a": 0.9, "b": 0.8, "c": 0.5, "d": 0.5}


def test_settings_are_compared_by_the_mean_of_their_repeats_once_all_have_arrived():
    settings = {"lucky": ["l0", "l1"], "steady": ["s0", "s1"], "ill": ["i0", "i1"]}
    rungs = rung_system(Halving(reduction_factor=2), settings, steps=2)
    for trial, score in {"l0": 1.0, "l1": 0.0, "s0": 0.6, "s1": 0.7, "i0": 0.9}.items():
        rungs.arrive(trial, [score])
        assert list(rungs.decide(closed=True)) == []
    rungs.end("i1")
    (decision,) = rungs.decide(closed=True)
    assert decision.passed == ("steady", "lucky")
    assert decision.stopped == ("ill",)
    assert decision.scores["steady"] == pytest.approx(0.65)
    assert list(decision.scores) == ["steady", "lucky", "ill"]  # the best first


def test_who_comes_later_is_compared_with_its_like():
    # halving: with those that were proposed together; asha: with all, of whom one that was stopped stays so
    for rule, passed in ((Halving(reduction_factor=2), ("c",)), (Asha(reduction_factor=2), ())):
        rungs = rung_system(rule, {"a": ["a"], "b": ["b"]}, steps=2)
        rungs.arrive("a", [0.9])
        rungs.arrive("b", [0.8])
        assert [decision.passed for decision in rungs.decide(closed=True)] == [("a",)]
        rungs.add({"c": ["c"], "d": ["d"]}, first=1, last=2)
        rungs.arrive("c", [0.2])
        rungs.arrive("d", [0.1])
        last = list(rungs.decide(closed=True))[-1]
        assert last.passed == passed
        assert set(last.stopped) == {"c", "d"} - set(passed)


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_what_was_decided_before_is_not_decided_otherwise(rule):
    def score(k, step):
        return float(k * 7 % 11 + step)

    decisions, _ = climbed(rule, score, order=range(11))
    # given a rungs that knows the first of them
    for known in range(len(decisions)):
        rungs = rung_system(rule, {f"s{k}": [f"s{k}"] for k in range(11)}, steps=20)
        end, out = {}, set()
        for decision in decisions[:known]:
            rungs.replay(decision)
            out |= set(decision.stopped)
        running = [f"s{k}" for k in range(11) if f"s{k}" not in out]
        later = []
        while running:
            trial = running.pop(0)
            end[trial] = rungs.next_rung(trial) or 20
            if end[trial] == 20:
                continue
            rungs.arrive(trial, [score(int(trial[1:]), end[trial])])
            for decision in rungs.decide(closed=True):
                later.append(decision)
                running += decision.passed
        passed = [(s, d.step) for d in [*decisions[:known], *later] for s in d.passed]
        assert len(passed) == len(set(passed))
        if rule.synchronous:
            assert {s for d in later for s in d.stopped} | out == {s for d in decisions for s in d.stopped}


def test_a_setting_that_was_stopped_never_passes_and_holds_no_rung_open():
    rungs = rung_system(Asha(reduction_factor=2), {name: [name] for name in "abcd"}, steps=4)

    def arrive(**scores):
        for setting, score in scores.items():
            rungs.arrive(setting, [score])
        return [decision.passed for decision in rungs.decide(closed=True)]

    assert arrive(a=0.9, b=0.8, c=0.7, d=0.6) == [("a", "b")]
    assert arrive(a=0.9, b=0.8) == [("a",)]
    rungs.add({name: [name] for name in "efgh"}, first=1, last=4)
    assert arrive(e=0.95, f=0.1, g=0.1, h=0.1) == [("e",)]
    arrive(e=0.5)

    assert [name for name in "abcdefgh" if not rungs.is_stopped(name) and rungs.next_rung(name)] == []


def test_what_never_changes_is_no_worse_than_the_median_whatever_the_rounding():
    assert Median().passing([[0.1, 0.1, 0.1]], complete=True) == [0]


def test_repeats_are_compared_at_the_same_steps_although_one_has_ended_before():
    rungs = rung_system(Halving(reduction_factor=2), {"a": ["a0", "a1"]}, steps=2)

    rungs.arrive("a0", [0.9])
    rungs.arrive("a1", [0.1, 0.5, 0.8])

    (decision,) = rungs.decide(closed=True)
    assert decision.scores == {"a": pytest.approx(0.85)}


def test_a_rung_at_which_nobody_arrives_is_not_decided():
    rungs = rung_system(Halving(reduction_factor=2), {"a": ["a"], "b": ["b"]}, steps=4)
    for trial in "ab":
        rungs.end(trial)

    assert [decision.step for decision in rungs.decide(closed=True)] == [1]


def test_repeats_that_went_on_together_are_waited_for_again_at_the_next_rung():
    rungs = rung_system(Halving(reduction_factor=2), {"a": ["a0", "a1"], "b": ["b0", "b1"]}, steps=4)
    for trial, score in {"a0": 0.9, "a1": 0.8, "b0": 0.1, "b1": 0.2}.items():
        rungs.arrive(trial, [score])
    assert [decision.passed for decision in rungs.decide(closed=True)] == [("a",)]

    rungs.arrive("a0", [0.9])
    assert list(rungs.decide(closed=True)) == []
    rungs.arrive("a1", [0.5])
    (decision,) = rungs.decide(closed=True)
    assert (decision.step, decision.scores) == (2, {"a": pytest.approx(0.7)})


def test_settings_are_dealt_to_the_brackets_in_turn_and_compared_with_those_of_their_batch_and_bracket():
    rungs = RungSystem(Hyperband(reduction_factor=2, brackets=2))
    for batch in ("abcd", "efgh"):
        rungs.add({name: [name] for name in batch}, first=1, last=4)

    assert [rungs.next_rung(name) for name in "abcdefgh"] == [1, 2] * 4
    for name in "abcdefgh":
        rungs.arrive(name, [ord(name)])
    # they wait for no later batch
    assert [set(decision.scores) for decision in rungs.decide(closed=False)] == [{*"ac"}, {*"bd"}, {*"eg"}, {*"fh"}]


def test_more_repeats_of_a_setting_in_a_later_batch_are_compared_by_themselves():
    rungs = rung_system(Asha(reduction_factor=2), {"a": ["a0"]}, steps=2)
    rungs.add({"a": ["a1"]}, first=1, last=2)

    rungs.arrive("a0", [0.1])
    rungs.arrive("a1", [0.2])

    (decision,) = rungs.decide(closed=True)
    assert (rungs.trials(decision.passed), rungs.trials(decision.stopped)) == (["a1"], ["a0"])


def test_a_decision_of_an_earlier_process_waits_until_all_its_settings_are_there():
    settings = {name: [name] for name in "abcd"}
    before = rung_system(Asha(reduction_factor=2), settings, steps=2)
    for name in settings:
        before.arrive(name, [0.5])
    (decision,) = before.decide(closed=True)

    rungs = rung_system(Asha(reduction_factor=2), {name: [name] for name in "ab"}, steps=2)

    assert not rungs.knows(decision)
    rungs.add({name: [name] for name in "cd"}, first=1, last=2)
    assert rungs.knows(decision)
