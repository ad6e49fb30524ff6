"""The style of all figures: size, fonts, colours, axes, legends and captions."""

from __future__ import annotations

import functools
import io
import itertools
import math
import re
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import Formatter, FuncFormatter, ScalarFormatter

from pipeline.plan.plan import PlannedTrial

# Okabe and Ito's palette, told apart with any colour vision. Source: jfly.uni-koeln.de/color
BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9"
COLOURS = (BLUE, VERMILION, GREEN, ORANGE, PURPLE, SKY)
INK, QUIET = "#222222", "#777777"

LEGEND_ROW = 0.055
"""The height of a row of a legend, as a share of its panel."""

LINES = tuple(itertools.product(("-", "--", ":"), COLOURS))
"""Styles and colours of lines: as many can be told apart in one panel."""

# 900 x 600 pixels, the largest size that MLflow's UI shows without shrinking.
_DPI, _WIDTH, _HEIGHT = 100, 9.0, 6.0
_CAPTION_HEIGHT, _CAPTION_COLUMNS, _CAPTION_LINES = 0.035, 116, 8
_LEGEND_COLUMNS, _HANDLE = 90, 6  # the letters below a figure, and the width of a line before a name in letters
_TITLE_COLUMNS, _LONGEST_TITLE = 75, 160  # a title longer than the first has smaller letters

_LOG_FROM = 8.0  # values that span this factor are read better on a logarithmic axis
_FEW_POINTS = 25
# The first digits of the numbers between powers of ten, for an axis of fewer decades: at least two, and not too many.
_DIGITS = ((0.3, "123456789"), (0.7, "23468"), (math.inf, "25"))
_DIGIT_WIDTH, _BETWEEN = 0.64, 0.5  # of a number on an axis, and the least room between two, in font sizes

_COUNTS = ("step", "trials", "proposal")
"""The labels of axes whose numbers are whole: one point would stand between fractions."""

_TITLE, _LABEL, _TICK, _CAPTION = 15, 13, 12, 10

SIDE_BY_SIDE = {"left": 0.125, "right": 0.975, "bottom": 0.11, "top": 0.92, "wspace": 0.38}
"""The margins of two panels, for figures that a sweep has many of: wide enough for numbers of six digits."""

_LOSS_NAMES = {"svm": "SVM"}  # other losses have their rows' names


def blank(*, panels: int = 1, title: str, height: float = _HEIGHT) -> tuple[Figure, list[Axes]]:
    """Return a figure ``height`` hundred pixels high with panels side by side, and the panels."""
    figure = Figure(figsize=(_WIDTH, height), dpi=_DPI, facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    shown = shortened(title, _LONGEST_TITLE)
    figure.suptitle(shown, fontsize=_TITLE * min(1.0, _TITLE_COLUMNS / max(1, len(shown))), color=INK)
    every = list(figure.subplots(1, panels, squeeze=False)[0])
    for axes in every:
        axes.ticklabel_format(useOffset=False)  # an offset stands far from the numbers that it is added to
    return figure, every


def sheet(*, title: str, height: float) -> tuple[Figure, Axes]:
    """Return a figure with one panel to place images on, and the panel."""
    figure, (axes,) = blank(title=title, height=height)
    axes.axis("off")
    return figure, axes


def label(axes: Axes, *, x: str, y: str, title: str = "") -> None:
    """Set the labels of the axes and their style."""
    axes.set_xlabel(x, fontsize=_LABEL, color=INK)
    if x in _COUNTS:
        axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)  # type: ignore[call-arg]
    axes.set_ylabel(y, fontsize=_LABEL, color=INK)
    axes.set_title(title, fontsize=_LABEL, color=INK)
    axes.tick_params(labelsize=_TICK, colors=INK)
    axes.grid(visible=True, color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def legend(axes: Axes, **place: Any) -> None:
    """Show the legend, if anything is named in it."""
    if axes.get_legend_handles_labels()[0]:  # else Matplotlib would warn
        axes.legend(fontsize=_TICK - 1, frameon=True, framealpha=0.9, edgecolor="none", **place)


def legend_below(figure: Figure) -> None:
    """Show one legend of all panels, if anything is named, between them and the caption, where `captioned` puts it.

    A name that several lines have is there once, with the last of them, or with error bars if there are any.
    """
    named = {text: one for axes in figure.axes for one, text in zip(*axes.get_legend_handles_labels(), strict=True)}
    if named:
        columns = max(1, min(len(named), _LEGEND_COLUMNS // (_HANDLE + max(map(len, named)))))
        figure.legend(named.values(), named, loc="lower center", ncols=columns, fontsize=_TICK - 1, frameon=False)


def colour_bar(figure: Figure, colours: Any, axes: Axes | list[Axes], text: str) -> None:
    """Show what colours mean, beside the panel or the panels that have them."""
    bar = figure.colorbar(colours, ax=axes, pad=0.02)
    bar.set_label(text, fontsize=_LABEL)
    if isinstance(bar.formatter, ScalarFormatter):
        bar.formatter.set_useOffset(False)  # it would run into the title
    bar.ax.tick_params(labelsize=_TICK)


def dots(steps: np.ndarray) -> str:
    """Return the marker of a curve: a dot at each point, if they are few."""
    return "o" if len(steps) <= _FEW_POINTS else ""


def is_wide(values: np.ndarray) -> bool:
    """Return whether values are positive, and span so much that a logarithmic axis shows them better."""
    return bool(values.size) and bool(values.min() > 0 and values.max() / values.min() >= _LOG_FROM)


def logarithmic(axes: Axes, names: str) -> None:
    """Make the axes of these names, ``x`` or ``y``, logarithmic.

    One with fewer than two powers of ten has numbers between them, but no more than there is room for.
    """
    for name in names:
        axes.set(**{f"{name}scale": "log"})
        axis = {"x": axes.xaxis, "y": axes.yaxis}[name]
        axis.set_tick_params(which="minor", labelsize=_TICK - 1, labelcolor=INK)
        axis.set_minor_formatter(_BetweenPowers())
        axis.set_major_formatter(FuncFormatter(functools.partial(_at_power, axis, axis.get_major_formatter())))


class _BetweenPowers(Formatter):
    """Writes numbers between powers of ten, as many as there is room for, on an axis with fewer than two of these."""

    axis: Axis

    def format_ticks(self, values: Sequence[float]) -> list[str]:
        low, high = np.log10(sorted(self.axis.get_view_interval()))
        if _has_powers(low, high):
            return [""] * len(values)
        inside = [value for value in values if low <= np.log10(value) <= high]
        by_digit = (digits for decades, digits in _DIGITS if high - low < decades)
        choices = [[value for value in inside if f"{value:e}"[0] in digits] for digits in by_digit]
        choices += [inside[::every] for every in (2, 3, 4)]  # of a narrow axis all may begin with the same digit
        power = [10.0 ** math.floor(high)] if math.floor(high) >= low else []
        shown = next((one for one in choices if self._fit([*power, *one], high - low)), choices[0])
        return [f"{value:g}" if value in shown else "" for value in values]

    def _fit(self, values: Sequence[float], decades: float) -> bool:
        """Return whether these are two numbers or more, of which none touch."""
        box, letters = self.axis.axes.bbox, max(len(f"{value:g}") for value in [0.0, *values])
        length, size = (box.width, _DIGIT_WIDTH * letters) if self.axis is self.axis.axes.xaxis else (box.height, 1.0)
        room = np.diff(np.log10(sorted(values))) * length / decades / (_TICK * _DPI / 72)
        return len(values) > 1 and bool((room >= size + _BETWEEN).all())


def _at_power(axis: Axis, usual: Formatter, value: float, place: int | None) -> str:
    """Return a power of ten as Matplotlib writes it, beside numbers between powers as these are written."""
    return usual(value, place) if _has_powers(*np.log10(sorted(axis.get_view_interval()))) else f"{value:g}"


def _has_powers(low: float, high: float) -> bool:
    return math.floor(high) - math.ceil(low) >= 1


def shortened(text: str, most: int) -> str:
    """Return a text of at most so many characters, without its middle if it has more.

    >>> shortened("gradient lr=0.001", 14)
    'gradie...0.001'
    """
    tail = (most - 3) // 2
    return text if len(text) <= most else f"{text[: most - 3 - tail]}...{text[len(text) - tail :]}"


def told_apart(names: Sequence[str], most: int) -> list[str]:
    """Return each name in at most so many characters, and no two alike.

    If one is too long, all leave out the same keys, first those with the fewest values, as long as that makes no two
    alike. Those that are alike once they are cut have their number.

    >>> told_apart(["local scale=1 lr=0.1", "adam scale=2 lr=0.2", "adam scale=2 lr=0.3"], 15)
    ['local lr=0.1', 'adam lr=0.2', 'adam lr=0.3']
    >>> told_apart(["photos/left/train", "photos/right/train"], 12)
    ['pho...in #1', 'pho...in #2']
    """
    texts, words = list(names), [_by_key(name) for name in names]
    every = {key: {one.get(key, "") for one in words} for one in words for key in one}
    for left_out in sorted(every, key=lambda key: (len(every[key]), -max(map(len, every[key])))):
        if max(map(len, texts)) <= most:
            break
        fewer = [{key: word for key, word in one.items() if key != left_out} for one in words]
        kept = [" ".join(one.values()) for one in fewer]
        if all(kept) and len(set(kept)) == len(set(names)):
            texts, words = kept, fewer
    short = [shortened(text, most) for text in texts]
    marks = [f" #{place}" if short.count(text) > 1 else "" for place, text in enumerate(short, 1)]
    return [shortened(text, most - len(mark)) + mark for text, mark in zip(texts, marks, strict=True)]


def _by_key(name: str) -> dict[str, str]:
    """Return the parts of a name by their keys; those of the rows' names before them by their places."""
    first, *others = re.split(" (?=[^ =]+=)", name)
    parts = [*(first.split(" ") if others else [first]), *others]
    return {part.partition("=")[0] if "=" in part else str(place): part for place, part in enumerate(parts)}


def captioned(figure: Figure, text: str, *, margins: Mapping[str, float] | None = None) -> bytes:
    """Return the figure as PNG, with a caption below, which is shortened to a few lines.

    ``margins`` are the edges of the panels, as fractions of the figure; the lower one counts from the caption. Without
    ``margins`` a layout engine finds the edges, which takes twice as long.
    """
    lines = textwrap.wrap(text, _CAPTION_COLUMNS, max_lines=_CAPTION_LINES, placeholder=" ...")
    foot = _CAPTION_HEIGHT * len(lines) * _HEIGHT / figure.get_figheight()
    for below in figure.legends:
        below.set_bbox_to_anchor((0.5, foot), figure.transFigure)
        foot += below.get_window_extent().height / figure.bbox.height
    if margins is None:
        fixed = any(axes.get_aspect() != "auto" for axes in figure.axes)  # else what is left blank is on one side
        figure.set_layout_engine(ConstrainedLayoutEngine(rect=(0, foot + 0.01, 1, 0.99 - foot), compress=fixed))
    else:
        figure.set_layout_engine(None)
        figure.subplots_adjust(**{**margins, "bottom": foot + margins["bottom"]})
    figure.text(0.012, 0.012, "\n".join(lines), fontsize=_CAPTION, color=QUIET, va="bottom")
    _show_dollars(figure)
    buffer = io.BytesIO()
    # Without metadata: the same trial gives the same bytes.
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def _show_dollars(figure: Figure) -> None:
    """Show every ``$`` of names and values as it is: Matplotlib would take what is between two of them for a formula.

    Ticks are left out, since those of a logarithmic axis are formulas.
    """
    texts = list(figure.texts)
    for axes in figure.axes:
        texts += [axes.title, axes.xaxis.label, axes.yaxis.label, *axes.texts]
    for shown in (*figure.legends, *(axes.get_legend() for axes in figure.axes)):
        texts += shown.get_texts() if shown else []
    for text in texts:
        text.set_parse_math(False)


def loss_name(trial: PlannedTrial) -> str:
    """Return the name of the trial's loss in titles."""
    name = str(trial.config["loss"]["name"])
    return _LOSS_NAMES.get(name, name.replace("_", " "))
