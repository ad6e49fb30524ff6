"""What is told of decisions at rungs, and who wins where trials were stopped."""

import math

import numpy as np
import pytest

from pipeline.reports import Decided, Finished, Progressed
from pipeline.results.comparisons import at_the_end
from pipeline.results.decisions import rows, sentence, tags
from pipeline.results.tally import Tally
from pipeline.stopping.rung_system import Decision
from tasks.events import Curve, Outcome, Result


def decided(step, scores, passed, stopped=(), *, complete=True, pool=0, arrived=None):
    known = {"scores": scores, "arrived": arrived or len(scores), "complete": complete}
    decision = Decision(step=step, pool=pool, passed=passed, stopped=stopped, **known)
    names = {setting: setting.upper() for setting in scores}
    return Decided(decision=decision, names=names, metric="val/loss", sign=-1)


def test_a_decision_is_told_with_its_cut_in_the_metrics_own_sign():
    first = decided(100, {"a": -1.0, "b": -2.0, "c": -3.0}, ("a", "b"), ("c",))
    second = decided(300, {"b": -0.5, "a": -0.7}, ("b",), complete=False)

    assert sentence(first) == "rung at step 100: 2 of 3 go on, the worst with val/loss 2"
    assert tags([first, second]) == {"rungs": "100: 2 of 3, 300: 1 of 2", "rungs.metric": "val/loss"}
    assert [(row["decision"], row["setting"], row["val/loss"], row["becomes"]) for row in rows([first, second])] == [
        (0, "A", 1.0, "goes on"),
        (0, "B", 2.0, "goes on"),
        (0, "C", 3.0, "stopped"),
        (1, "B", 0.5, "goes on"),
        (1, "A", 0.7, "as before"),
    ]
    assert [(row["step"], row["cut"], row["complete"], row["key"]) for row in rows([first, second])[2:4]] == [
        (100, 2.0, True, "c"),
        (300, 0.5, False, "b"),
    ]


def test_a_cut_at_zero_has_no_sign():
    one = decided(100, {"a": 0.0, "b": -2.0}, ("a",), ("b",))

    assert sentence(one) == "rung at step 100: 1 of 2 goes on, with val/loss 0"
    assert [f"{row['val/loss']} {row['cut']}" for row in rows([one])] == ["0.0 0.0", "2.0 0.0"]


def test_the_pools_of_settings_that_are_not_compared_with_each_other_are_told_apart():
    first = decided(100, {"a": -1.0, "b": -2.0}, ("a",), complete=False)
    other = decided(100, {"c": -0.5, "d": -4.0}, (), ("c", "d"), pool=1)
    more = decided(100, {"a": -1.0, "b": -2.0, "e": -3.0}, ("b",), ("e",))

    assert sentence(other) == "rung at step 100 of pool 1: 0 of 2 go on"
    assert tags([other, first, more])["rungs"] == "100: 2 of 3, 100: 0 of 2"
    assert tags([other]) == {"rungs": "100: 0 of 2", "rungs.metric": "val/loss"}
    assert [(row["pool"], row["cut"]) for row in rows([other])] == [(1, None)] * 2
    assert tags([]) == {}


def test_who_arrived_before_an_earlier_decision_is_counted_though_the_last_does_not_repeat_it():
    first = decided(100, {"a": -1.0, "b": -2.0}, ("a",), complete=False)
    second = decided(100, {"b": -2.0, "c": -3.0}, ("b",), complete=False, arrived=3)

    assert sentence(second) == "rung at step 100: 1 more of 3 goes on, with val/loss 2"
    assert tags([first, second])["rungs"] == "100: 2 of 3"


def test_a_decision_after_others_does_not_say_that_all_that_went_on_before_did_not():
    # given the last decision of asha at a rung: the best of three has been promoted already, and one has diverged
    last = decided(100, {"a": -1.0, "b": -2.0, "c": math.nan}, (), ("b", "c"))
    single = decided(100, {"a": -1.0, "b": -2.0}, (), ("b",))
    further = decided(100, {"a": -1.0, "d": -1.5, "b": -2.0, "c": -3.0}, ("d",), ())

    assert sentence(last) == "rung at step 100: 0 more of 3 go on, 2 do not"
    assert sentence(single) == "rung at step 100: 0 more of 2 go on, 1 does not"
    assert [row["becomes"] for row in rows([last])] == ["as before", "stopped", "no score"]
    assert sentence(further) == "rung at step 100: 1 more of 4 goes on, with val/loss 1.5"


@pytest.mark.parametrize(
    ("early", "last", "told"),
    [
        ("val/accuracy", "loss", "the winner was stopped early: none that went on from the last rung has a value of "),
        ("loss", "loss", "there is no winner: none of 2 has a value of "),
    ],
)
def test_where_nothing_that_went_on_is_ranked_it_is_said_what_the_winner_is(trial, layout, early, last, told):
    one, other = trial("early"), trial("last", learning_rate=0.5)
    tally = Tally([one, other])
    for planned, outcome, step, metric in ((one, Outcome.STOPPED, 100, early), (other, Outcome.COMPLETE, 1000, last)):
        result = Result(trial=0, outcome=outcome, step=step, metrics={metric: 0.5})
        tally.count(Finished(trial=planned, result=result, layout=layout))

    assert at_the_end(tally.settings()) == f"{told}val/accuracy; stopped early were 1 at step 100"
    assert (tally.best is None) == (early == "loss")


def test_the_winner_is_taken_among_those_that_went_on_from_the_last_rung(trial, layout):
    early, last, worse = trial("early"), trial("last", learning_rate=0.5), trial("worse", learning_rate=0.25)
    tally = Tally([early, last, worse])
    for one, outcome, step, accuracy in (
        (early, Outcome.STOPPED, 100, 0.9),
        (last, Outcome.COMPLETE, 1000, 0.7),
        (worse, Outcome.STOPPED, 300, 0.6),
    ):
        values = {"val/accuracy": np.array([accuracy])}
        tally.count(Progressed(trial=one, curve=Curve(trial=0, steps=np.array([step]), metrics=values)))
        result = Result(trial=0, outcome=outcome, step=step, metrics={"val/accuracy": accuracy})
        tally.count(Finished(trial=one, result=result, layout=layout))

    assert [standing.trial.name for standing in tally.ranking()] == ["last", "worse", "early"]
    assert tally.best.trial is last
    assert tally.standings[early.key].ending == "stopped early at step 100"
    told = "the winner is the one that went on from the last rung, of 3; stopped early were "
    assert at_the_end(tally.settings()) == f"{told}1 at step 100, 1 at step 300"
