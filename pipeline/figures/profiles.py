"""Performance profiles: how often each way of training reaches an accuracy, over all swept losses or models."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipeline.config.settings import swept_values
from pipeline.figures.settings import SettingRecord, by_setting, caption_of_settings
from pipeline.figures.style import COLOURS, blank, captioned, label, legend, told_apart
from pipeline.figures.trials import factor, with_unit
from pipeline.results.criterion import is_share
from pipeline.results.curves import TrialRecord

PROBLEMS = ("loss", "regularizer", "model")
"""The keys that make different problems: profiles are over the values of the first of them that is swept."""

_LETTERS = 40


def draw_profiles(trials: Sequence[TrialRecord]) -> bytes:
    """Return the share of trials above each accuracy, for the best ways of training that every problem has.

    It is empty if there is only one. A trial that diverged or failed has accuracy 0. Source: run-score distributions
    of Agarwal et al. (2021), Deep reinforcement learning at the edge of the statistical precipice, section 4.2; after
    Dolan and Moré (2002).
    """
    drawn = by_setting(trials)
    metric = drawn[0].setting.criterion.metric
    problem = next((name for name in PROBLEMS if name in swept_values([one.setting.used for one in drawn])), None)
    if problem is None or not is_share(metric):
        return b""
    ways = _ways(drawn, problem)
    if len(ways) < 2:
        return b""
    figure, (axes,) = blank(title=f"Share of runs above an accuracy, over all values of {problem}")
    label(axes, x=with_unit(metric), y="share of runs above it")
    best = sorted(ways.items(), key=lambda way: -float(np.mean(way[1])))[: len(COLOURS)]
    reached = np.concatenate([values for _, values in best])
    low, high = float(reached[reached > 0].min(initial=1.0)), float(reached.max())
    grid = np.linspace(max(0.0, low - 0.1 * (high - low)), high, 400)
    names = told_apart([name for name, _ in best], _LETTERS)
    for name, (_, values), colour in zip(names, best, COLOURS, strict=False):
        above = (values[:, None] > grid).mean(axis=0)
        axes.plot(factor(metric) * grid, above, color=colour, linewidth=2, label=name)
    legend(axes, loc="lower left")
    return captioned(figure, f"{caption_of_settings(drawn)} · diverged and failed runs reach nothing")


def _ways(drawn: Sequence[SettingRecord], problem: str) -> dict[str, np.ndarray]:
    """Return the accuracies of each way of training over all problems; ways that a problem lacks are left out."""
    problems = {str(one.setting.used.get(problem)) for one in drawn}
    found: dict[str, dict[str, list[float]]] = {}
    metric = drawn[0].setting.criterion.metric
    for one in drawn:
        own = str(one.setting.used.get(problem))
        name = " ".join(part for part in one.setting.name.split() if part != own)
        reached = [repeat.metrics.get(metric, 0.0) if repeat.counts else 0.0 for repeat in one.setting.repeats]
        found.setdefault(name, {}).setdefault(own, []).extend(reached)
    whole = {name: by for name, by in found.items() if by.keys() == problems}
    return {name: np.nan_to_num(np.concatenate([np.array(v) for v in by.values()])) for name, by in whole.items()}
