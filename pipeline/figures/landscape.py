"""The figure of task=landscape: the loss as a curve along a ray, or as a heat map with contours over a plane."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.colors import LogNorm, Normalize
from matplotlib.ticker import MaxNLocator

from pipeline.figures.style import BLUE, GREEN, INK, VERMILION, blank, captioned, colour_bar, label, legend, loss_name
from pipeline.figures.trials import caption_of_trial
from pipeline.plan.plan import PlannedTrial
from tasks.events import Result
from tasks.studies.landscape import Landscape

# Blue is low and red is high, as in the notes, in ColorBrewer's scale for colour-blind readers.
_COLOUR_MAP = "RdYlBu_r"
_CONTOURS = 18
_TICKS = 6  # of the lower axis of a map: numbers such as -0.75 touch if there are more

# A landscape with a path is drawn on a logarithmic scale if its highest loss is this many times its lowest.
_STEEP = 10


def draw_landscape(trial: PlannedTrial, result: Result) -> bytes:
    """Return the landscape as PNG."""
    task = trial.trial.task
    assert isinstance(task, Landscape)
    count = {None: "all training examples", 1: "one example"}.get(task.examples, f"{task.examples} examples")
    title = (
        f"The {loss_name(trial)} loss around {task.around} weights of model={trial.config['model']['name']}, {count}"
    )
    return (_curve if task.dimensions == 1 else _map)(trial, result, title)


def _curve(trial: PlannedTrial, result: Result, title: str) -> bytes:
    a, data_loss, penalty = (result.arrays[name] for name in ("a", "data_loss", "regularization_loss"))
    loss = data_loss + penalty
    figure, (axes,) = blank(title=title)
    label(axes, x=_axis("a, the steps along V₁ from the weights W", result, 1), y="loss at W + a V₁")
    if trial.trial.regularization:
        axes.plot(a, loss, color=VERMILION, linewidth=4.5, label="data loss + regularization loss")
        axes.plot(a, data_loss, color=BLUE, linewidth=2.2, label="data loss")
        axes.plot(a, penalty, color=INK, linewidth=1.4, linestyle="--", label="regularization loss")
    else:
        axes.plot(a, data_loss, color=BLUE, linewidth=2.2, label="data loss (no regularization)")
    lowest = int(np.argmin(np.ma.masked_invalid(loss)))
    if "path" in result.arrays:
        path = result.arrays["path"][:, 0]
        axes.plot(path, np.interp(path, a, loss), ".", color=GREEN, markersize=8, label=_of_path(result))
    axes.plot(0, np.interp(0, a, loss), "o", color=INK, markersize=7, label="W")
    axes.plot(a[lowest], loss[lowest], "v", color=INK, markersize=8, label=f"lowest: {loss[lowest]:.4g}")
    axes.set_xlim(a[0], a[-1])
    legend(axes)
    return captioned(figure, caption_of_trial(trial))


def _map(trial: PlannedTrial, result: Result, title: str) -> bytes:
    a, b = result.arrays["a"], result.arrays["b"]
    loss = np.ma.masked_invalid(result.arrays["data_loss"] + result.arrays["regularization_loss"])  # (B, A)
    figure, (axes,) = blank(title=title)
    # Upright names of one line would run over the title.
    label(axes, x=_axis("a, the steps along V₁", result, 1), y=_axis("b, the steps along V₂", result, 2, "\n"))
    axes.grid(visible=False)
    levels, norm = _levels(loss, steep="path" in result.arrays)
    heat = axes.pcolormesh(a, b, loss, cmap=_COLOUR_MAP, norm=norm, shading="nearest", rasterized=True)
    if loss.max() > loss.min():
        axes.contour(a, b, loss, levels=levels, colors=INK, linewidths=0.7, alpha=0.75)
    included = "\n(regularization included)" if trial.trial.regularization else ""
    colour_bar(figure, heat, axes, f"loss at W + a V₁ + b V₂{included}")
    row, column = np.unravel_index(int(np.argmin(loss)), loss.shape)
    if "path" in result.arrays:
        path = result.arrays["path"]
        axes.plot(*path.T, ".-", color="white", markersize=17, linewidth=4)  # all of it below the points
        axes.plot(*path.T, ".-", color=INK, markersize=9, label=_of_path(result))
    white: dict[str, Any] = {"color": "white", "markeredgecolor": INK, "linestyle": "none"}
    axes.plot(0, 0, "o", markersize=8, label="W", **white)
    lowest = f"lowest: {loss[row, column]:.4g}"
    axes.plot(a[column], b[row], "v", markersize=9, label=lowest, clip_on=False, **white)
    axes.set_xlim(a[0], a[-1])
    axes.set_ylim(b[0], b[-1])
    axes.set_aspect("equal")
    axes.xaxis.set_major_locator(MaxNLocator(_TICKS))
    legend(axes, loc="upper right")
    return captioned(figure, caption_of_trial(trial))


def _levels(loss: np.ndarray, *, steep: bool) -> tuple[np.ndarray, Normalize]:
    """Return the contour levels and the colour scale; ``steep`` allows a logarithmic one, which shows the low end."""
    lowest, highest = float(loss.min()), float(loss.max())
    if steep and 0 < lowest < highest / _STEEP:
        return np.geomspace(lowest, highest, _CONTOURS + 2)[1:-1], LogNorm(lowest, highest)
    return np.asarray(MaxNLocator(_CONTOURS).tick_values(lowest, highest)), Normalize(lowest, highest)


def _axis(text: str, result: Result, number: int, between: str = " ") -> str:
    """Return an axis's label; for a path with the direction's share of its variance."""
    share = result.metrics.get(f"landscape/path_variance_{number}")
    return text if share is None else f"{text}{between}({100 * share:.1f} % of the path's variance)"


def _of_path(result: Result) -> str:
    return f"path of training, {result.arrays['path_steps'][-1]} steps"
