"""Settings are compared by their repeats, and what is said of them is what the repeats show."""

import dataclasses
import math

import numpy as np
import pytest

from pipeline.results.cells import outcomes, setting_table
from pipeline.results.comparisons import against_best, between, compare, conclusion, single_draw
from pipeline.results.criterion import Criterion
from pipeline.results.repeats import Setting, are_repeated, rank, ranked, setting_rows
from pipeline.results.standing import Repeat


def setting(name, values, *, seeds=None, outcomes=None, criterion=None, metric="val/accuracy"):
    criterion = criterion or Criterion(metric=metric, mode="max")
    seeds = range(len(values)) if seeds is None else seeds
    outcomes = outcomes or ["complete"] * len(values)
    repeats = [
        Repeat(
            seeds=(("seed", str(seed)),),
            outcome=outcome,
            metrics={metric: value},
            criterion=criterion,
            index=k,
            trial=f"{name} {seed}",
        )
        for k, (seed, value, outcome) in enumerate(zip(seeds, values, outcomes, strict=True))
    ]
    return Setting(key=name, name=name, repeats=tuple(sorted(repeats, key=rank)))


LESS = Criterion(metric="val/loss", mode="min")


def test_diverged_and_failed_repeats_are_counted_and_not_averaged():
    one = setting("a", [0.5, 0.9, 0.7, math.nan], outcomes=["complete", "diverged", "complete", "failed"])

    assert one.summary("val/accuracy").mean == pytest.approx(0.6)
    assert one.counts() == {"complete": 2, "diverged": 1, "failed": 1}
    assert outcomes(one) == "4, 1 diverged, 1 failed"
    assert one.best.metrics["val/accuracy"] == 0.7
    (row,) = setting_rows([one], [])
    assert (row["repeats"], row["complete"], row["diverged"], row["failed"]) == (4, 2, 1, 1)


def test_a_row_counts_each_outcome_and_holds_all_examples_as_a_text_and_an_unused_value_as_none():
    used = [{"batch_size": None, "learning_rate": 0.5}, {"batch_size": 64}]
    settings = [dataclasses.replace(setting(str(one), [0.5]), used=one) for one in used]

    table = setting_rows(settings, ["batch_size", "learning_rate"])

    assert [(row["batch_size"], row["learning_rate"]) for row in table] == [("all", 0.5), (64, None)]
    assert [row["stopped early"] for row in table] == [0, 0]


def test_a_setting_that_diverges_in_some_repeats_is_not_the_winner():
    lucky = setting("lucky", [0.9, 0.1], outcomes=["complete", "diverged"])
    sound, lost = setting("sound", [0.5, 0.5]), setting("lost", [0.9, 0.9], outcomes=["diverged"] * 2)
    failed = setting("failed", [0.9, 0.9], outcomes=["failed"] * 2)

    assert [one.name for one in ranked([lost, failed, lucky, sound])] == ["sound", "lucky", "failed", "lost"]
    assert lost.best is None


def test_less_is_better_where_the_criterion_says_so():
    one, other = (
        setting(name, [loss, loss + 0.1, loss + 0.05], criterion=LESS, metric="val/loss")
        for name, loss in (("low", 1.0), ("high", 2.0))
    )

    assert [found.name for found in ranked([other, one])] == ["low", "high"]
    assert one.best.metrics["val/loss"] == 1.0
    assert compare(one, other).difference.mean == pytest.approx(1.0)
    assert "low is better than high by 1 (" in compare(one, other).sentence()


def test_settings_that_share_seeds_are_compared_in_pairs():
    noise = np.random.default_rng(0).normal(scale=0.05, size=8)
    best = setting("best", 0.6 + noise, seeds=range(8))
    other = setting("other", 0.58 + noise[2:] + 0.001 * np.cos(range(6)), seeds=range(2, 8))

    found = compare(best, other)

    assert (found.difference.paired, found.difference.count) == (True, 6)
    assert found.sentence().startswith("best is better than other by 2.0")
    assert "points of val/accuracy, 6 pairs by seed, ahead with probability 1.00, p < 0.001" in found.sentence()
    assert found.verdict() == "worse"
    assert compare(other, best).sentence().startswith("other is worse than best by -2.0")
    assert compare(other, best).verdict() == "better"


def test_pairs_are_named_by_the_keys_that_tell_repeats_apart():
    best, other = (setting(name, [0.5 + k, 0.6 + k, 0.8 + k]) for k, name in ((0.1, "best"), (0, "other")))
    ones, others = (
        dataclasses.replace(
            one,
            repeats=tuple(
                dataclasses.replace(repeat, seeds=(("learning_rate", seed), ("loss", seed)))
                for repeat in one.repeats
                for _, seed in repeat.seeds
            ),
        )
        for one in (best, other)
    )

    assert ", 3 pairs by seed, " in compare(best, other).sentence()
    assert ", 3 pairs by learning_rate and loss, " in compare(ones, others).sentence()


def with_data_seeds(one, *numbers):
    """Return a setting whose repeats have these data seeds beside their own seeds."""
    repeats = [
        dataclasses.replace(repeat, seeds=(*repeat.seeds, ("data_seed", str(number))))
        for repeat, number in zip(sorted(one.repeats, key=lambda repeat: repeat.index), numbers, strict=True)
    ]
    return dataclasses.replace(one, repeats=tuple(repeats))


def test_a_setting_that_does_not_use_a_seed_is_paired_by_the_other():
    small = with_data_seeds(setting("minibatch", [0.5, 0.6, 0.7]), 0, 1, 2)
    whole = setting("full batch", [0.4, 0.5, 0.6])

    for found in (compare(small, whole), compare(whole, small)):
        assert (found.difference.paired, found.difference.count) == (True, 3)


def test_seeds_that_do_not_tell_repeats_apart_make_no_pairs():
    small = with_data_seeds(setting("minibatch", [0.5, 0.6, 0.7, 0.8], seeds=[0, 0, 1, 1]), 0, 1, 0, 1)
    whole = setting("full batch", [0.4, 0.5])

    assert not compare(small, whole).difference.paired
    assert not compare(whole, small).difference.paired


def test_settings_without_common_seeds_are_compared_as_samples():
    rng = np.random.default_rng(0)
    best = setting("best", 0.6 + rng.normal(scale=0.05, size=5), seeds=range(5))
    other = setting("other", 0.59 + rng.normal(scale=0.05, size=4), seeds=range(10, 14))

    found = compare(best, other)

    assert not found.difference.paired
    assert found.sentence().startswith("best and other are not distinguishable with these repeats: apart by")
    assert "4 repeats, not in pairs" in found.sentence()
    assert found.verdict() == "not distinguishable"
    assert "repeats of each would tell a difference of this size" in found.sentence()


def test_a_sweep_without_a_score_is_compared_with_no_other():
    sound, lost = [setting("a", [0.5, 0.6])], [setting("b", [0.4], outcomes=["diverged"])]

    assert between(sound, lost) == between(lost, sound) == []
    assert between(sound, sound)[0].startswith("a and a are not distinguishable")


SAMPLES = {"a": [0.90, 0.92, 0.91], "b": [0.50, 0.53, 0.49], "c": [0.40, 0.41, 0.43], "d": [0.3, 0.1, 0.2]}


@pytest.mark.parametrize("shift", [0, 10])
def test_the_best_of_two_sweeps_are_compared_as_one_of_all_their_pairs(shift):
    # given a sweep of one setting and one of three, of the same seeds or of others
    seeds = [shift + k for k in range(3)]
    low, high = [setting("d", SAMPLES["d"])], [setting(name, SAMPLES[name], seeds=seeds) for name in "abc"]

    alone = compare(high[0], low[0]).difference
    for sentence, correction in (between(low, high), between(high, low)):
        assert sentence.startswith("a is better than d by")
        assert sentence.endswith(f"p = {3 * alone.p:.2g}")
        assert correction.startswith("p counts the difference as one of 3, ")


def test_the_best_of_two_sweeps_without_repeats_are_told_with_their_values():
    one, other = [setting("a", [0.5]), setting("c", [0.4])], [setting("b", [0.6])]

    assert between(one, other) == between(other, one) == ["b is ahead of a: val/accuracy 0.6 and 0.5"]
    assert between(other, other) == ["b is level with b: val/accuracy 0.6 and 0.6"]

    low, high = ([setting(name, [loss], criterion=LESS, metric="val/loss")] for name, loss in (("a", 1.5), ("b", 2.0)))
    assert between(high, low) == ["a is ahead of b: val/loss 1.5 and 2"]
    assert between(one, low) == []  # another metric ranks it


def test_the_best_is_compared_with_so_many_as_one_of_all_pairs():
    settings = [setting(name, values) for name, values in SAMPLES.items()]

    found = against_best(settings, most=2)

    assert [one.other.name for one in found] == ["b", "c"]
    for one in found:
        assert one.difference.p == pytest.approx(6 * compare(one.best, one.other).difference.p)
    assert len(conclusion(settings[:2])) == 1


def test_two_seeds_in_common_make_pairs():
    assert compare(setting("a", [0.5, 0.6]), setting("b", [0.4, 0.3])).difference.paired
    assert not compare(setting("a", [0.5, 0.6]), setting("b", [0.4, 0.3], seeds=[1, 2])).difference.paired


def test_of_settings_that_are_level_no_difference_is_said_to_need_repeats():
    ones, others, higher = (setting(name, [0.5 + k, 0.75 + k]) for name, k in (("a", 0), ("b", 0), ("c", 0.25)))

    assert compare(ones, others).sentence().endswith(", p = 1")
    assert compare(higher, others).sentence().endswith("repeats of each would tell a difference of this size")


def test_what_cannot_be_compared_says_why():
    found = compare(setting("a", [0.5, 0.6]), setting("b", [0.4]))

    assert found.difference is None
    assert found.sentence() == "a and b cannot be compared: b has 1 repeat, and two are the least"
    assert found.verdict() == "too few repeats"


@pytest.mark.parametrize(("count", "repeats"), [(2, 3), (5, 5), (12, 10)])
def test_among_equals_a_winner_is_rarely_called_better(count, repeats):
    # given settings that are all alike, of which the best is picked
    rng = np.random.default_rng(1)
    wrong = 0
    for _ in range(60):
        values = rng.normal(0.5, 0.1, size=(count, repeats))
        found = against_best(ranked(setting(f"s{k}", one) for k, one in enumerate(values)), most=count)
        wrong += any(one.is_distinguishable for one in found)

    assert wrong <= 6  # 5 % are expected at most; uncorrected it would be 60 % for the twelve


def test_a_conclusion_names_the_first_two_and_how_many_are_left():
    rng = np.random.default_rng(0)
    means = {"a": 0.7, "b": 0.699, "c": 0.3}
    found = ranked(setting(name, mean + rng.normal(scale=0.01, size=10)) for name, mean in means.items())

    first, second, third = conclusion(found)

    assert "and" in first
    assert "not distinguishable with these repeats" in first
    assert second == f"of the 2 settings after {found[0].name}, 1 can be told apart from it and 1 cannot"
    assert third.startswith("p counts each difference as one of 3")


def test_pairs_that_are_all_equally_far_apart_are_told_apart_if_other_settings_show_that_it_is_no_rounding():
    # given accuracies on 287 examples, of which only those of the second setting differ by a single one
    means = {"a": [276] * 3, "b": [270, 271, 271], "c": [262] * 3}
    a, b, c = (setting(name, np.array(rights) / 287) for name, rights in means.items())

    assert [one.verdict() for one in against_best([a, b, c], most=5)] == ["worse", "worse"]
    assert compare(a, c, tests=3).verdict() == "not distinguishable"
    # Another sweep may have another number of examples.
    assert between([a, b], [c])[0].startswith("a and c are not distinguishable")


def test_settings_that_were_stopped_early_are_not_compared():
    early = setting("early", [0.75, 0.76, 0.77], outcomes=["stopped early"] * 3)
    early = dataclasses.replace(
        early, repeats=tuple(dataclasses.replace(repeat, stopped_at=50) for repeat in early.repeats)
    )
    found = ranked([early, setting("a", [0.7, 0.71, 0.72]), setting("b", [0.5, 0.51, 0.49])])

    assert [one.name for one in found] == ["a", "b", "early"]
    assert [one.other.name for one in against_best(found, most=5)] == ["b"]
    assert conclusion(found)[0].startswith("a is better than b by 21.00 (95 % interval")


@pytest.mark.parametrize("outcome", ["not finished", "killed"])
def test_settings_that_have_not_ended_are_not_compared(outcome):
    best, other = setting("best", [0.95, 0.96, 0.97]), setting("other", [0.55, 0.56, 0.58])
    running = setting("running", [0.75, 0.76, 0.77], outcomes=["complete", "complete", outcome])

    assert [found.other.name for found in against_best([best, running, other], most=9)] == ["other"]
    assert conclusion([best, running, other]) == conclusion([best, other])
    assert conclusion([running, best, other]) == []


def test_a_setting_whose_repeats_were_stopped_or_failed_was_stopped_and_is_behind_those_that_were_not():
    half = setting("half", [0.9, 0.8], outcomes=["stopped early", "failed"])
    stopped = [
        dataclasses.replace(one, stopped_at=50.0) if one.outcome == "stopped early" else one for one in half.repeats
    ]
    half = dataclasses.replace(half, repeats=tuple(sorted(stopped, key=rank)))

    assert [one.ending for one in half.repeats] == ["stopped early at step 50", "failed"]
    assert half.stopped_at == 50
    assert [one.name for one in ranked([half, setting("whole", [0.5, 0.4])])] == ["whole", "half"]


def test_of_equals_the_first_in_the_sweep_is_the_better():
    trials = [dataclasses.replace(setting("a", [0.5]).repeats[0], index=index) for index in range(4)]
    ones, others = (
        Setting(key=name, name=name, repeats=(trials[first], trials[last]))
        for name, first, last in (("ones", 0, 3), ("others", 1, 2))
    )

    assert [one.name for one in ranked([others, ones])] == ["ones", "others"]
    assert [one.index for one in sorted([trials[k] for k in (2, 3, 0, 1)], key=rank)] == [0, 1, 2, 3]


def test_a_single_repeat_among_others_has_no_deviation_and_no_interval_in_its_row():
    one, other = setting("a", [0.5, 0.7]), setting("b", [0.4])

    rows = setting_rows([one, other], [])

    assert are_repeated([one, other])
    assert [row["key"] for row in rows] == ["a", "b"]
    ends = [f"val/accuracy {end}" for end in ("std", "low", "high")]
    assert [rows[0][end] for end in ends] == pytest.approx([0.02**0.5, 0.5, 0.7])
    assert [rows[1][end] for end in ends] == [None] * 3


def test_one_seed_each_is_said_to_be_one_draw():
    assert single_draw([setting("a", [0.5]), setting("b", [0.4])]).startswith("one seed each is one draw")
    early = setting("b", [0.4])
    early = dataclasses.replace(early, repeats=(dataclasses.replace(early.repeats[0], stopped_at=50),))
    assert single_draw([setting("a", [0.5]), early]).startswith("one seed each is one draw")
    assert single_draw([setting("a", [0.5]), setting("b", [0.4], outcomes=["diverged"])]) == ""
    assert single_draw([setting("a", [0.5])]) == ""
    assert conclusion([setting("a", [0.5])]) == []


def test_a_row_of_the_table_has_mean_deviation_and_interval():
    one = setting("a", [0.5, 0.6, 0.7])

    heads, rows = setting_table([one, setting("b", [0.5]), setting("c", [0.4])], most=2)

    assert heads == ["setting", "repeats", "val/accuracy", "95 % interval"]
    assert rows[0][:3] == ["a", "3", "0.60 ± 0.10"]
    assert rows[1:] == [["b", "1", "0.5", ""]]
