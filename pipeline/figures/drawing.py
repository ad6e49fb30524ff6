"""The functions that a recorder draws its figures with; Matplotlib is imported with the first figure."""

from __future__ import annotations

import functools
import importlib
from typing import Any

from pipeline.figures.added import names
from pipeline.record.drawings import Figures, Images

SWEEP_FIGURES = (
    "best_loss.png",
    "best_and_worst.png",
    "accuracy.png",
    "parallel_coordinates.png",
    "curves.png",
    "settings.png",
    "error_bars.png",
    "profiles.png",
    "rungs.png",
)
"""The figures of `pipeline.figures.sweep`, each drawn by a call of its own: in parallel, and failing independently."""


def all_figures() -> Figures:
    """Return what draws the figures of a record: ours, and those that packages add."""
    of_sweeps = [*(("sweep", name) for name in SWEEP_FIGURES), *(("added", name) for name in names("sweep"))]
    return Figures(
        trial=functools.partial(_draw, "trial", "draw"),
        quick=functools.partial(_draw, "trial", "draw_quickly"),
        added=[functools.partial(_draw, "added", "draw_trial", name) for name in names("trial")],
        sweep=[functools.partial(_draw, module, "draw_sweep", name) for module, name in of_sweeps],
        search=functools.partial(_draw, "search", "draw_search"),
    )


def _draw(module: str, function: str, *arguments: Any) -> Images:
    """Call a function of a module of `pipeline.figures`, which is imported now: Matplotlib takes a second."""
    images: Images = getattr(importlib.import_module(f"pipeline.figures.{module}"), function)(*arguments)
    return images
