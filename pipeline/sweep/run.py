"""A lone trial, from its point to its record."""

from __future__ import annotations

from pathlib import Path

from pipeline.config.schema import Config
from pipeline.display.console import make_console
from pipeline.plan.plan import Point
from pipeline.sweep.live import LiveSweep
from pipeline.sweep.planning import show_dry_run
from pipeline.sweep.source import Grid
from tasks.errors import require


def require_alone(config: Config) -> None:
    """Raise a `ConfigError` if a config asks for what a lone trial does not have."""
    alone = "without --multirun or with another hydra/launcher"
    require(not config.sweep.resume, "sweep.resume", f"must be false {alone}", True)
    require(config.sweep.repeats == 1, "sweep.repeats", f"must be 1 {alone}", config.sweep.repeats)


def run_trial(point: Point, folder: Path) -> float | Exception | None:
    """Run a point as a lone trial, recorded without a parent, and return its value; None on a dry run.

    Raises
    ------
    SweepError
        If it cannot be run, or the data, the store or the engine are not available.
    """
    config = point.config
    require_alone(config)
    source = Grid([point])
    if config.sweep.dry_run:
        show_dry_run([point], source, make_console(), lone=True)
        return None
    with LiveSweep(config, overrides=None, folder=folder) as live:
        return live.run(source)[point.index]
