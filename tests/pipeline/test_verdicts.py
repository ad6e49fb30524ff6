"""A person is told in one line how equal records are, and in tables where and why."""

import dataclasses
import io

import numpy as np
from rich.console import Console

from pipeline.reproduce.comparison import compare
from pipeline.reproduce.verdicts import show_trial, show_trials, summary
from tests.pipeline.test_comparison import record, series


def printed(show, what):
    console = Console(file=io.StringIO(), width=160)
    show(console, what)
    return console.file.getvalue()


SAME = compare(record(), record())
NEAR = compare(record(), record(loss=(4.0, 2.0, 1.000001)))
FAR = compare(record(), record(loss=(4.0, 2.0, 1.5)))
MISSING = compare(record(), record(curves={}))


def test_a_lone_trial_is_summed_up_by_its_verdict_and_its_largest_difference():
    assert summary([SAME], left_out=0, changed=False) == "bit for bit equal"
    told = "largest difference 1e-06 in train/loss, step 2: 1 and 1.000001"
    assert summary([NEAR], left_out=0, changed=False) == f"equal within 1e-05 relative; {told}"
    assert summary([MISSING], left_out=0, changed=False) == "different; train/loss: only in the old record"


def test_a_sweep_is_summed_up_by_its_worst_trial_and_how_many_there_are_of_each():
    assert summary([SAME, FAR, SAME, NEAR], left_out=2, changed=False) == (
        "different; largest difference 0.33 in train/loss, step 2: 1 and 1.5; of 4 trials 2 bit for bit equal, "
        "1 equal within 1e-05 relative, 1 different; 2 had not ended by themselves and were left out"
    )


def test_a_difference_that_was_asked_for_is_told_as_one():
    assert summary([FAR], left_out=0, changed=True).startswith("different (expected: --set changed the config); ")
    assert summary([SAME], left_out=0, changed=True) == "bit for bit equal"


def test_arrays_that_the_old_record_lacks_are_told_to_be_uncompare():
    # given a record whose file of arrays was removed, and its reproduction, which has them
    one = compare(record(arrays={}), record(arrays={"weights": np.ones(2)}))

    equal, told = "bit for bit equal in curves and outcome", "are not in the old record"
    assert summary([one], left_out=0, changed=False) == f"{equal}; the arrays {told}"
    assert summary([one, SAME], left_out=0, changed=False).startswith(f"{equal}; of 2 trials ")
    assert summary([one, SAME, one], left_out=0, changed=False).endswith(f"; the arrays of 2 trials {told}")
    assert summary([FAR, one], left_out=0, changed=False).startswith("different; ")
    # and they are no change that may explain a difference
    assert "new record" not in printed(show_trial, one)
    assert equal in printed(show_trials, [one])


def test_names_that_read_like_markup_are_shown():
    # given a curve and an array whose names Rich would take for the end of a style, and for a style
    def named(value):
        curves, arrays = {"loss[/x]": series([1.0, value])}, {"weights[red]": np.array([value])}
        return record(curves=curves, arrays=arrays, name="[/a]")

    one = compare(named(2.0), named(3.0))

    assert all(name in printed(show_trial, one) for name in ("loss[/x]", "weights[red]"))
    told = printed(lambda console, what: show_trials(console, what, "loss[/x]"), [one, one])
    assert all(name in told for name in ("loss[/x]", "[/a]"))


def test_a_trial_is_told_curve_by_curve_with_the_ends_then_and_now():
    rows = [line.split("│") for line in printed(show_trial, FAR).splitlines() if "train/loss" in line]

    assert "what changed" not in printed(show_trial, FAR)
    assert [cell.strip() for cell in rows[0][1:-1]] == [
        "train/loss",
        "3",
        "1",
        "1.5",
        "different",
        "0.33",
        "step 2: 1 and 1.5",
    ]


def test_a_sweep_is_told_trial_by_trial_and_its_changes_once():
    curves = {"val/accuracy": series([0.5])}
    trials = [
        compare(
            record(name=f"[trial] {k}", curves=curves, tags={"git.commit": "old", "key": f"k{k}"}),
            record(curves={"val/accuracy": series([0.5 + k / 4])}, tags={"git.commit": "new", "key": f"l{k}"}),
        )
        for k in range(5)
    ]

    lines = [[cell.strip() for cell in line.split("│")[1:-1]] for line in printed(show_trials, trials).splitlines()]

    assert ["[trial] 0", "0.5", "0.5", "bit for bit equal", "0", ""] in lines
    assert ["[trial] 1", "0.5", "0.75", "different", "0.33", "val/accuracy"] in lines
    assert ["git.commit", "old", "new", "5"] in lines
    assert ["key", "k0, k1, k2, ... (5 values)", "l0, l1, l2, ... (5 values)", "5"] in lines


def test_what_is_told_of_the_new_record_alone():
    old = record()
    more = dataclasses.replace(record(), curves={**record().curves, "train/speed": series([1.0])})

    assert "only in the new record" in printed(show_trial, compare(old, more))
