"""The figures of a search: the history of its values, the importance of its keys, and the Pareto front."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.transforms import Bbox

from pipeline.figures.style import BLUE, ORANGE, QUIET, VERMILION, blank, captioned, label, legend_below, logarithmic
from pipeline.figures.trials import EARLY, factor, is_logarithmic, with_unit
from pipeline.reports import Searched, Told
from pipeline.results.criterion import on_front
from pipeline.results.standing import COMPLETE, STOPPED

_LONGEST = 12
"""The most keys whose importance is shown, the most important ones."""

_MOST_NUMBERS, _APART = 3, 1  # the numbers that are written at one place, and the pixels around them

_LOOKS = {COMPLETE: (BLUE, "o"), STOPPED: (ORANGE, EARLY)}


def draw_search(searched: Searched) -> Mapping[str, bytes]:
    """Return the figures of a search by file name; nothing with fewer than two values."""
    known = [_in_units(proposal, searched.metrics) for proposal in searched.proposals if _is_known(proposal)]
    if len(known) < 2:
        return {}
    if len(searched.metrics) > 1:
        done = [proposal for proposal in known if proposal.outcome == COMPLETE]
        return {"pareto.png": _draw_front(searched, done)} if done else {}
    return {"search.png": _draw_history(searched, known)}


def _draw_history(searched: Searched, known: Sequence[Told]) -> bytes:
    (metric,), (direction,) = searched.metrics, searched.directions
    shares = list(searched.importances.items())[:_LONGEST]
    figure, panels = blank(panels=2 if shares else 1, title=f"The search for the best {metric}")
    axes = panels[0]
    label(axes, x="proposal", y=with_unit(metric), title="history")
    for outcome, (colour, mark) in _LOOKS.items():
        points = [(proposal.number, proposal.values[0]) for proposal in known if proposal.outcome == outcome]
        if points:
            x, y = zip(*points, strict=True)
            axes.scatter(x, y, color=colour, marker=mark, s=22, label=outcome, zorder=3)
    done = sorted((proposal.number, proposal.values[0]) for proposal in known if proposal.outcome == COMPLETE)
    if done:
        numbers, values = map(np.array, zip(*done, strict=True))
        best = (np.maximum if direction == "maximize" else np.minimum).accumulate(values)
        numbers, best = np.append(numbers, known[-1].number), np.append(best, best[-1])  # of all that came after, too
        axes.step(numbers, best, where="post", color=VERMILION, linewidth=2, label="best so far", zorder=2)
    if is_logarithmic(metric, [proposal.values[0] for proposal in known]):
        logarithmic(axes, "y")
    lost = [proposal.number for proposal in searched.proposals if proposal.outcome and not _is_known(proposal)]
    if lost:
        low, _ = axes.get_ylim()
        axes.scatter(lost, [low] * len(lost), color=QUIET, marker="x", s=28, label="no value", zorder=3)
    legend_below(figure)
    if shares:
        _draw_shares(panels[1], shares)
    why = "" if shares else " · the importance of keys takes ten complete proposals with different values"
    return captioned(figure, _caption(searched) + why)


def _draw_shares(axes: Axes, shares: Sequence[tuple[str, float]]) -> None:
    names, values = zip(*reversed(shares), strict=True)
    label(axes, x="share of the variance of the values", y="", title="importance")
    axes.barh(names, values, height=0.5, color=BLUE)
    for place, value in enumerate(values):
        axes.text(value, place, f" {value:.2f}", va="center", color=QUIET)
    axes.set_xlim(0, 1.15 * max(values))
    axes.set_ylim(min(len(names) - 6, 0) - 0.5, len(names) - 0.5)
    axes.grid(visible=False, axis="y")


def _draw_front(searched: Searched, done: Sequence[Told]) -> bytes:
    """Draw the first metric against each of the others, a panel each, with the front of all of them together."""
    best = on_front([one.values for one in done], searched.directions)
    front, others = ([one for one, on in zip(done, best, strict=True) if on is wanted] for wanted in (True, False))
    *before, last = searched.metrics
    figure, panels = blank(panels=len(before), title=f"What {', '.join(before)} and {last} cost each other")
    names = [f"{with_unit(one)} ({way})" for one, way in zip(searched.metrics, searched.directions, strict=True)]
    for second, axes in enumerate(panels, 1):
        label(axes, x=names[0], y=names[second])
        if others:
            across, up = _between(others, second)
            axes.scatter(across, up, color=QUIET, s=22, label="others")
        # With more than two objectives the front is not a line.
        line = "-" if len(names) == 2 else ""
        points = _between(front, second)
        axes.plot(*points, marker="o", linestyle=line, linewidth=1.2, color=BLUE, label="Pareto front")
        axes.margins(0.08)
        for axis, place in (("x", 0), ("y", second)):
            if is_logarithmic(searched.metrics[place], [one.values[place] for one in done]):
                logarithmic(axes, axis)
    figure.draw_without_rendering()  # only then are the places of texts known
    for second, axes in enumerate(panels, 1):
        _name(axes, front, second, searched.directions)
    legend_below(figure)
    together = "" if len(names) == 2 else " · the front is that of all metrics together"
    return captioned(figure, f"{_caption(searched)} · #: the proposal in proposals.csv{together}")


def _between(proposals: Sequence[Told], second: int) -> list[tuple[float, ...]]:
    """Return the first values of proposals and those of another metric, in the order of the first."""
    return list(zip(*sorted((one.values[0], one.values[second]) for one in proposals), strict=True))


def _name(axes: Axes, front: Sequence[Told], second: int, directions: Sequence[str]) -> None:
    """Write the numbers of the proposals of a front, on the side of what is better, where there are no other points.

    Those of one place are written together, and none over those of another place.
    """
    x, y = (1 if directions[place] == "maximize" else -1 for place in (0, second))
    across, along = "left" if x > 0 else "right", "bottom" if y > 0 else "top"
    numbers: dict[tuple[float, float], list[str]] = {}
    for one in front:
        numbers.setdefault((one.values[0], one.values[second]), []).append(f"#{one.number}")
    written: list[Bbox] = []
    for place, those in sorted(numbers.items()):
        text = ", ".join([*those[:_MOST_NUMBERS], *["..."][: len(those) > _MOST_NUMBERS]])
        offset = (4 * x, 4 * y)
        note = axes.annotate(text, place, offset, textcoords="offset points", color=QUIET, ha=across, va=along)
        box = note.get_window_extent().padded(_APART)
        if any(map(box.overlaps, written)):
            note.remove()
        else:
            written.append(box)


def _in_units(proposal: Told, metrics: Sequence[str]) -> Told:
    """Return a proposal whose values are in the units of the axes."""
    pairs = zip(metrics, proposal.values, strict=True)
    return dataclasses.replace(proposal, values=tuple(factor(metric) * value for metric, value in pairs))


def _is_known(proposal: Told) -> bool:
    return proposal.outcome in _LOOKS and bool(proposal.values) and all(map(math.isfinite, proposal.values))


def _caption(searched: Searched) -> str:
    count = sum(1 for proposal in searched.proposals if proposal.outcome)
    keys = ", ".join(dict.fromkeys(key for proposal in searched.proposals for key in proposal.params))
    return f"{searched.sampler} · {count} proposals over {keys}"
