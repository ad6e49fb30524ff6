"""Comparisons of settings with the best one: better, worse, or not distinguishable with these repeats."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipeline.config.schema import SEEDS
from pipeline.config.settings import counted
from pipeline.results.cells import gap_text, gap_unit
from pipeline.results.numbers import number
from pipeline.results.repeats import Setting, are_repeated
from pipeline.results.standing import Seeds
from pipeline.results.statistics import LEVEL, MOST_REPEATS, MeanDifference, paired, rounding_of, unpaired

_MOST = 50  # a comparison takes milliseconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """A comparison of two settings by the metric that ranks them: how much better the first is.

    A positive ``difference`` is better; it is None if one of the two has fewer than two repeats. ``pairs_by`` is what
    the repeats of a pair have in common.
    """

    best: Setting
    other: Setting
    difference: MeanDifference | None
    pairs_by: str = "seed"

    @property
    def is_distinguishable(self) -> bool:
        """Whether the difference is significant, corrected for having picked the two from many."""
        return self.difference is not None and self.difference.p < 1 - LEVEL

    def sentence(self) -> str:
        """Return the result as a sentence."""
        one, other, found = self.best.name, self.other.name, self.difference
        if found is None:
            few = min((self.best, self.other), key=lambda setting: len(setting.values(setting.criterion.metric)))
            count = counted(len(few.values(few.criterion.metric)), "repeat")
            return f"{one} and {other} cannot be compared: {few.name} has {count}, and two are the least"
        metric = self.best.criterion.metric
        mean, low, high = (gap_text(value, metric, digits=3) for value in (found.mean, found.low, found.high))
        gap = f"{mean} (95 % interval {low} to {high})"
        pairs = f"{found.count} pairs by {self.pairs_by}" if found.paired else f"{found.count} repeats, not in pairs"
        chance = f"ahead with probability {found.improvement:.2f}"
        basis = f"{gap_unit(metric)} of {metric}, {pairs}, {chance}, p {_p(found.p)}"
        if self.is_distinguishable:
            verdict = "better" if found.mean > 0 else "worse"
            return f"{one} is {verdict} than {other} by {gap}{basis}"
        text = f"{one} and {other} are not distinguishable with these repeats"
        return f"{text}: apart by {gap}{basis}{_needed(found)}"

    def verdict(self) -> str:
        """Return the verdict on the second setting, in a word or two."""
        if self.difference is None:
            return "too few repeats"
        if not self.is_distinguishable:
            return "not distinguishable"
        return "worse" if self.difference.mean > 0 else "better"


def compare(best: Setting, other: Setting, *, tests: int = 1, rounding: float = math.inf) -> Comparison:
    """Compare two settings: in pairs if they have two seeds or more in common, else as two samples.

    ``tests`` is the number of differences that this one was picked from; `pipeline.results.statistics.paired` corrects
    for it. ``rounding`` is the variance of rounding of the metric, where more settings than these tell it.
    """
    metric, sign = best.criterion.metric, best.criterion.sign
    ones, others = _by_common_keys(
        {seeds: sign * value for seeds, value in best.values(metric).items()},
        {seeds: sign * value for seeds, value in other.values(metric).items()},
    )
    shared = [seeds for seeds in ones if seeds in others]
    difference = None
    if len(shared) > 1:
        pairs = [ones[seeds] for seeds in shared], [others[seeds] for seeds in shared]
        difference = paired(*pairs, tests=tests, rounding=rounding)
    elif min(len(ones), len(others)) > 1:
        difference = unpaired(list(ones.values()), list(others.values()), tests=tests, rounding=rounding)
    names = {name for seeds in shared for name, _ in seeds}
    by = "seed" if names <= {*SEEDS} else " and ".join(sorted(names))
    return Comparison(best=best, other=other, difference=difference, pairs_by=by)


def _by_common_keys(
    ones: Mapping[Seeds, float], others: Mapping[Seeds, float]
) -> tuple[Mapping[Seeds, float], Mapping[Seeds, float]]:
    """Return the values of two settings by the seeds that both use, where these tell the repeats of each apart.

    One with full batches does not use ``data_seed``.
    """
    used = [{name for seeds in values for name, _ in seeds} for values in (ones, others)]
    common = used[0] & used[1]
    found = [
        {tuple(seed for seed in seeds if seed[0] in common): value for seeds, value in values.items()}
        for values in (ones, others)
    ]
    whole = len(found[0]) == len(ones) and len(found[1]) == len(others)
    return (found[0], found[1]) if whole else (ones, others)


def against_best(settings: Sequence[Setting], *, most: int) -> list[Comparison]:
    """Compare the best setting with the ``most`` next ones; ``settings`` are sorted, the best first.

    A best that has not ended, in a sweep that runs or was killed, is compared with none.
    The best was picked by the same results, so each comparison is one of those between all pairs of settings.
    """
    ended = _compared(settings)
    if ended[:1] != list(settings[:1]):
        return []
    tests = math.comb(len(ended), 2)
    # Of the values of two settings the step of rounding may be too large. Other sweeps may have other steps.
    rounding = rounding_of([value for one in ended for value in one.values(one.criterion.metric).values()])
    return [compare(ended[0], other, tests=tests, rounding=rounding) for other in ended[1 : most + 1]]


def between(ones: Sequence[Setting], others: Sequence[Setting]) -> list[str]:
    """Return the comparison of the best settings of two sweeps, as sentences; each sweep has its best first.

    Each was picked as the best of its sweep, so the comparison is one of those between all settings of the two sweeps.
    One that did not run to its end is not compared, nor are sweeps that are ranked by different metrics. Without
    repeats the values of the two are compared.
    """
    firsts = [settings[0] for settings in (ones, others) if settings[0].best]
    if len(firsts) < 2 or firsts[0].criterion.metric != firsts[1].criterion.metric:
        return []
    best, other = sorted(firsts, key=lambda one: -one.score)
    cut = [f"{one.name} did not run to its end ({one.ending})" for one in firsts if not one.ended]
    if cut:
        return [f"{best.name} and {other.name} are not compared: {' and '.join(cut)}"]
    if not are_repeated([*ones, *others]):
        values = " and ".join(number(one.criterion.sign * one.score) for one in (best, other))
        order = "ahead of" if best.score > other.score else "level with"
        return [f"{best.name} is {order} {other.name}: {best.criterion.metric} {values}"]
    tests = len(ones) * len(others)
    found = compare(best, other, tests=tests)
    corrected = f"p counts the difference as one of {tests}, each best being picked from its own sweep"
    return [found.sentence(), *([corrected] if found.difference else [])]


def findings(settings: Sequence[Setting]) -> list[str]:
    """Return what a sweep shows, as sentences: without repeats, that there are none."""
    of_draws = conclusion(settings) if are_repeated(settings) else [single_draw(settings)]
    return [sentence for sentence in (at_the_end(settings), *of_draws) if sentence]


def conclusion(settings: Sequence[Setting]) -> list[str]:
    """Return what a sweep's repeats show, as sentences: the best against the next, and how many others may be best."""
    ended = _compared(settings)
    found = against_best(settings, most=_MOST)
    if not found:
        return []
    sentences = [found[0].sentence()]
    if len(ended) > 2:
        apart = sum(one.is_distinguishable for one in found)
        others = f"the {len(found)} settings after {ended[0].name}"
        sentences.append(f"of {others}, {apart} can be told apart from it and {len(found) - apart} cannot")
        if any(one.difference for one in found):
            one_of = f"one of {math.comb(len(ended), 2)}"
            sentences.append(f"p counts each difference as {one_of} (Bonferroni over all pairs: the best was picked)")
    return sentences


def single_draw(settings: Sequence[Setting]) -> str:
    """Return the caution for a sweep without repeats; settings that were stopped early lost by one draw, too."""
    count = sum(setting.score > -math.inf for setting in settings)
    caution = "one seed each is one draw: another seed may name another winner (sweep.repeats=5 says how sure it is)"
    return caution if count > 1 else ""


def at_the_end(settings: Sequence[Setting]) -> str:
    """Return how many settings the winner was picked from, if some were stopped at rungs, else an empty text."""
    rungs = Counter(setting.stopped_at for setting in settings if setting.stopped_at < math.inf)
    if not rungs:
        return ""
    stopped = ", ".join(f"{count} at step {number(step, 6)}" for step, count in sorted(rungs.items()))
    few = sum(setting.score > -math.inf and setting.stopped_at == math.inf for setting in settings)
    metric = settings[0].criterion.metric
    if few:
        who = f"one of the {few} that" if few > 1 else "the one that"
        told = f"the winner is {who} went on from the last rung, of {len(settings)}"
    elif any(setting.score > -math.inf for setting in settings):
        told = f"the winner was stopped early: none that went on from the last rung has a value of {metric}"
    else:
        told = f"there is no winner: none of {len(settings)} has a value of {metric}"
    return f"{told}; stopped early were {stopped}"


def _compared(settings: Sequence[Setting]) -> list[Setting]:
    """Return the settings that ran to their end: of a sweep that runs, or was killed, others have earlier values."""
    return [setting for setting in settings if setting.score > -math.inf and setting.ended]


def _needed(found: MeanDifference) -> str:
    if not found.mean:
        return ""
    if math.isinf(found.repeats):
        return f"; more than {MOST_REPEATS:,} repeats would be needed for a difference of this size"
    return f"; about {math.ceil(found.repeats)} repeats of each would tell a difference of this size"


def _p(value: float) -> str:
    return f"= {value:.2g}" if value >= 0.001 else "< 0.001"
