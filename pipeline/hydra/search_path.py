"""Adds the ``conf/`` folders of packages that add rows to Hydra's search path."""

from __future__ import annotations

from hydra.core.config_search_path import ConfigSearchPath
from hydra.plugins.search_path_plugin import SearchPathPlugin

from pipeline.config.packages import packages


class PackagesSearchPath(SearchPathPlugin):
    """Adds the folders after our own, so that no package can replace one of our files."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Append each package's folder, under the package's name."""
        for package in packages():
            for folder in package.conf:
                search_path.append(provider=package.name, path=f"file://{folder}")
