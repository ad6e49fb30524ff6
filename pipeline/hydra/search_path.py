"""Adds our ``conf/`` folder, and those of packages that add rows, to Hydra's search path."""

from __future__ import annotations

from hydra.core.config_search_path import ConfigSearchPath
from hydra.plugins.search_path_plugin import SearchPathPlugin

from pipeline import HOME
from pipeline.config.packages import CONF_FOLDER, packages

CONF = str(HOME / CONF_FOLDER)
"""The folder of the config groups, by its path: ``pkg://conf`` could be a folder of the user's."""


class ConfSearchPath(SearchPathPlugin):
    """Adds our own folder, where ``--config-path`` names another, and then the packages'.

    So no package can replace one of our files.
    """

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Append the folders, each under its package's name."""
        if all(one.path != CONF for one in search_path.get_path()):
            search_path.append(provider="descent-sweeps", path=CONF)
        for package in packages():
            for folder in package.conf:
                search_path.append(provider=package.name, path=f"file://{folder}")
