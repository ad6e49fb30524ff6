"""The Hydra plug-ins: a launcher, two sweepers, and the cached composition of configs."""

from __future__ import annotations

import importlib
import sys
import types

from hydra.core.plugins import Plugins
from hydra.core.utils import setup_globals

from pipeline.hydra import groups
from pipeline.hydra.launcher import SweepLauncher
from pipeline.hydra.search_path import ConfSearchPath
from pipeline.hydra.search_sweeper import SearchSweeper
from pipeline.hydra.sweeper import GridSweeper

ROOT = "hydra_plugins"
NAMESPACE = f"{ROOT}.descent_sweeps"


def register() -> None:
    """Register with Hydra the schema, and the classes that ``conf/hydra/launcher`` and ``conf/hydra/sweeper`` name."""
    setup_globals()  # Hydra's own resolvers: it does not for --experimental-rerun
    groups.register()
    plugins = Plugins.instance()
    _stand_in_namespace()
    for plugin in (SweepLauncher, GridSweeper, SearchSweeper):
        plugin.__module__ = NAMESPACE
        plugins.register(plugin)
    plugins.register(ConfSearchPath)
    groups.register_samplers()


def _stand_in_namespace() -> None:
    # Hydra runs only plug-ins in its namespace. This module is put there by name, which needs no folder of that name,
    # and works from a checkout and from an installed package.
    try:
        root = importlib.import_module(ROOT)
    except ModuleNotFoundError:
        root = sys.modules[ROOT] = types.ModuleType(ROOT)
        root.__path__ = []
    sys.modules[NAMESPACE] = sys.modules[__name__]
    root.descent_sweeps = sys.modules[__name__]  # type: ignore[attr-defined]
