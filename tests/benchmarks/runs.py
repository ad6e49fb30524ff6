"""What an MLflow store says of its runs, read from the SQLite file itself: importing MLflow takes seconds."""

from __future__ import annotations

import sqlite3
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

Key = tuple[float, ...]


def last_losses(store: Path, names: Sequence[str]) -> Mapping[Key, float]:
    """Return the last training loss of every run that has one, by its values of the params ``names``."""
    with sqlite3.connect(store) as connection:
        rows = connection.execute(
            "SELECT p.run_uuid, p.key, p.value, m.value FROM params p JOIN latest_metrics m USING (run_uuid) "
            "WHERE m.key = 'train/loss' AND m.is_nan = 0"
        ).fetchall()
    params: dict[str, dict[str, float]] = {}
    losses: dict[str, float] = {}
    for run, name, value, loss in rows:
        losses[run] = loss
        if name in names:
            params.setdefault(run, {})[name] = float(value)
    return {tuple(params[run][name] for name in names): loss for run, loss in losses.items()}


def first_point(store: Path) -> float:
    """Return when the first training loss was known, in seconds since the epoch."""
    with sqlite3.connect(store) as connection:
        (first,) = connection.execute("SELECT MIN(timestamp) FROM metrics WHERE key = 'train/loss'").fetchone()
    return float(first) / 1000


def difference(ours: Mapping[Key, float], theirs: Mapping[Key, float]) -> str:
    """Return in words how far the final losses of two stores are apart."""
    if ours.keys() != theirs.keys():
        return f"NOT the same trials: {len(ours)} and {len(theirs)}"
    apart = sorted(abs(ours[key] - theirs[key]) / abs(theirs[key]) for key in ours)
    # Where rounding decides on which side of the hinge an example falls, a trial goes its own way from there.
    return f"final losses differ by {statistics.median(apart):.0e} (median), {apart[-1]:.0e} (largest)"
