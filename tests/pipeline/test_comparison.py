"""A verdict says how equal two records are, where they are farthest apart, and what changed."""

import numpy as np
import pytest

from pipeline.reports import Layout
from pipeline.reproduce.comparison import TOLERANCE, Equality, compare
from pipeline.results.curves import Series
from pipeline.tracking.reader import RecordedRun

NAN, INF = float("nan"), float("inf")


def series(values, steps=None):
    return Series(steps=np.arange(len(values)) if steps is None else np.array(steps), values=np.array(values, float))


def record(*, loss=(4.0, 2.0, 1.0), steps=None, weights=(0.5, -1.0), dtype=np.float32, tags=None, **values):
    fields = {
        "run_id": "f00",
        "name": "a run",
        "experiment": "e",
        "experiment_id": "1",
        "status": "FINISHED",
        "config": {"learning_rate": 0.1, "loss": {"name": "svm"}},
        "overrides": (),
        "curves": {"train/loss": series(loss, steps)},
        "arrays": {"weights": np.array(weights, dtype=dtype)},
        "layout": Layout(width=8, slot=0, threads=1, host="here", device="cpu", blas="openblas"),
        "tags": {"git.commit": "abc", "dataset.digest": "d1"} | (tags or {}),
    }
    return RecordedRun(**fields | values)


def test_a_record_is_bit_for_bit_equal_to_itself():
    verdict = compare(record(), record())

    assert verdict.equality is Equality.BITWISE
    assert (verdict.largest, verdict.changes) == (None, {})
    assert [(d.name, d.count) for d in verdict.differences] == [("train/loss", 3), ("weights", 2)]


@pytest.mark.parametrize(
    ("factor", "equality"),
    [
        (1 + TOLERANCE / 2, Equality.TOLERANCE),
        (1 - TOLERANCE / 2, Equality.TOLERANCE),
        (1 + TOLERANCE * 2, Equality.DIFFERENT),
        (-1, Equality.DIFFERENT),
    ],
)
def test_a_point_is_judged_relative_to_its_own_size(factor, equality):
    verdict = compare(record(loss=(1e6, 1e-6)), record(loss=(1e6, 1e-6 * factor)))

    assert verdict.equality is equality
    assert verdict.largest.name == "train/loss"
    assert verdict.largest.where.startswith("step 1: 1e-06 and ")
    assert verdict.largest.largest == pytest.approx(abs(1 - factor) / max(1, abs(factor)), rel=1e-4)


@pytest.mark.parametrize(("off", "equality"), [(5e-6, Equality.TOLERANCE), (5e-5, Equality.DIFFERENT)])
def test_an_array_is_judged_relative_to_its_largest_value(off, equality):
    verdict = compare(record(weights=(0.0, -1.0), dtype=np.float64), record(weights=(off, -1.0), dtype=np.float64))

    assert verdict.equality is equality
    assert verdict.largest.where == f"at (0,): 0 and {off:.9g}"


@pytest.mark.parametrize("value", [NAN, INF, -INF, 0.0])
def test_values_without_a_relative_difference_are_equal_to_themselves(value):
    assert compare(record(loss=(1, value)), record(loss=(1, value))).equality is Equality.BITWISE
    # and beside a point that is close
    near = compare(record(loss=(1, value)), record(loss=(1 + TOLERANCE / 2, value)))
    assert (near.equality, near.largest.where[:8]) == (Equality.TOLERANCE, "step 0: ")


@pytest.mark.parametrize(("then", "now"), [(NAN, 1.0), (1.0, NAN), (INF, -INF), (INF, 1.0), (0.0, 1e-30)])
def test_values_that_cannot_be_close_are_different(then, now):
    verdict = compare(record(loss=(1, then)), record(loss=(1, now)))

    assert verdict.equality is Equality.DIFFERENT
    assert verdict.largest.where.startswith("step 1: ")


def test_a_zero_of_the_other_sign_is_equal_but_not_bit_for_bit():
    assert compare(record(loss=(0.0, 1)), record(loss=(-0.0, 1))).equality is Equality.TOLERANCE


@pytest.mark.parametrize("dtype", ["U5", "S5"])
def test_texts_are_equal_or_different(dtype):
    # given what a task of one's own may return beside numbers
    texts = record(weights=("cat", "dog"), dtype=dtype)
    assert compare(texts, record(weights=("cat", "dog"), dtype=dtype)).equality is Equality.BITWISE
    verdict = compare(texts, record(weights=("cat", "hen"), dtype=dtype))
    assert verdict.equality is Equality.DIFFERENT
    assert verdict.largest.where in {"at (1,): dog and hen", "at (1,): b'dog' and b'hen'"}


def test_both_parts_of_a_complex_number_count():
    numbers = record(weights=(1 + 1j, 2), dtype=np.complex128)
    assert compare(numbers, record(weights=(1 + 1j, 2), dtype=np.complex128)).equality is Equality.BITWISE
    assert compare(numbers, record(weights=(1 + 2j, 2), dtype=np.complex128)).equality is Equality.DIFFERENT
    assert compare(numbers, record(weights=(1 + 1.000001j, 2), dtype=np.complex128)).equality is Equality.TOLERANCE


def test_arrays_of_zeros_can_be_compared():
    assert compare(record(weights=(0, 0)), record(weights=(0, 0))).equality is Equality.BITWISE
    assert compare(record(weights=(0, 0)), record(weights=(0, 1e-9))).equality is Equality.DIFFERENT


@pytest.mark.parametrize(
    ("new", "where"),
    [
        ({"loss": (4.0, 2.0)}, "3 points and 2, step 2 only in one"),
        ({"steps": (0, 1, 5)}, "3 points and 3, step 2 only in one"),
        ({"curves": {}}, "only in the old record"),
        ({"weights": (0.5, -1.0, 0.0)}, "float32 (2,) and float32 (3,)"),
        ({"dtype": np.float64}, "float32 (2,) and float64 (2,)"),
        ({"arrays": {}}, "only in the old record"),
    ],
)
def test_what_cannot_be_compared_is_different_and_says_why(new, where):
    verdict = compare(record(), record(**new))

    assert verdict.equality is Equality.DIFFERENT
    assert (verdict.largest.where, verdict.largest.largest) == (where, INF)


@pytest.mark.parametrize(
    "new",
    [
        {"curves": {"train/loss": series((4.0, 2.0, 1.0)), "more": series([1.0])}},
        {"arrays": {"weights": np.array([0.5, -1.0], np.float32), "more": np.zeros(2)}},
    ],
)
def test_what_only_the_new_record_has_is_a_change_and_no_difference(new):
    verdict = compare(record(), record(**new))

    assert verdict.equality is Equality.BITWISE
    assert verdict.changes == {"more": ("none", "only in the new record")}


@pytest.mark.parametrize("tag", ["outcome", "outcome.step"])
def test_another_outcome_is_a_difference(tag):
    verdict = compare(record(tags={tag: "10"}), record(tags={tag: "20"}))

    assert verdict.equality is Equality.DIFFERENT
    assert (verdict.largest.name, verdict.largest.where) == (tag, "10 and 20")


def test_the_verdict_is_the_worst_of_all():
    verdict = compare(record(), record(loss=(4.0, 2.0, 1.0 + 1e-7), weights=(0.5, -2.0)))

    assert [d.equality for d in verdict.differences] == [Equality.TOLERANCE, Equality.DIFFERENT]
    assert verdict.equality is Equality.DIFFERENT
    assert verdict.largest.name == "weights"


def test_changes_are_what_may_explain_a_difference_and_nothing_else():
    old = {"version.numpy": "2.3", "outcome": "complete", "mlflow.runName": "a", "layout.host": "here"}
    old = record(tags=old | {"version.gone": "1"})
    tags = {"version.numpy": "2.4", "outcome": "complete", "mlflow.runName": "b", "git.commit": "def"}
    tags |= {"version.torch": "2.9"}  # an older record does not say whether it was there
    new = record(
        tags=tags | {"dataset.digest": "d2"},
        config={"learning_rate": 0.2, "loss": {"name": "svm", "margin": 1.0}},
        layout=Layout(width=16, slot=3, threads=1, host="there", device="cpu", blas="openblas"),
    )

    assert compare(old, new).changes == {
        "version.gone": ("1", "none"),
        "version.numpy": ("2.3", "2.4"),
        "git.commit": ("abc", "def"),
        "dataset digest": ("d1", "d2"),
        "config.learning_rate": ("0.1", "0.2"),
        "config.loss.margin": ("none", "1.0"),
        "layout.width": ("8", "16"),
    }
