"""Installed packages that add rows to the tables: their entry points, and the digest of their code."""

from __future__ import annotations

import functools
import hashlib
import re
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from pipeline.config.syntax import digest_of_sources

PREFIX = "descent_sweeps."
"""The prefix of the names of the entry-point groups; the name of a table follows."""

CONF_FOLDER = "conf"
"""The folder of a package that is added to Hydra's search path."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """An installed distribution, and its top-level packages and modules (``roots``) that hold rows.

    ``sources`` is the digest of their syntax, since the version of an editable install does not identify its code.
    """

    name: str
    version: str
    roots: tuple[Path, ...]
    sources: str

    def __str__(self) -> str:
        return f"{self.name} {self.version}"

    @property
    def requirements(self) -> tuple[str, ...]:
        """The names of the distributions that it asks for, its extras apart."""
        asked = [text for text in metadata.requires(self.name) or () if "extra ==" not in text]
        return tuple(found[0] for text in asked if (found := re.match(r"[\w.-]+", text)))

    @property
    def conf(self) -> tuple[Path, ...]:
        """The package's folders of configs."""
        return tuple(root / CONF_FOLDER for root in self.roots if (root / CONF_FOLDER).is_dir())

    def tags(self) -> dict[str, str]:
        """Return the tags of the package in a record: its version, and the digest of its sources."""
        return {f"version.{self.name}": self.version, f"{SOURCES}{self.name}": self.sources}


SOURCES = "sources."
"""The prefix of the tags that hold the digest of a package's sources."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """An entry point of a package: a row of the table ``table`` by the name ``name``."""

    table: str
    name: str
    package: str
    point: metadata.EntryPoint

    def __str__(self) -> str:
        return f"{self.table} {self.name!r} of {self.package} ({self.point.value})"


@functools.cache
def offers() -> tuple[Offer, ...]:
    """Return the offers of all installed packages, sorted by name."""
    found = {
        Offer(table=point.group.removeprefix(PREFIX), name=point.name, package=distribution.name, point=point)
        for distribution in metadata.distributions()
        for point in distribution.entry_points
        if point.group.startswith(PREFIX)
    }
    return tuple(sorted(found, key=lambda offer: (offer.package, offer.table, offer.name, offer.point.value)))


@functools.cache
def packages() -> tuple[Package, ...]:
    """Return the packages that offer a row, sorted by name."""
    return tuple(package(name) for name in sorted({offer.package for offer in offers()}))


@functools.cache
def package(name: str) -> Package:
    """Return the package of this name."""
    modules = {offer.point.module for offer in offers() if offer.package == name}
    roots = tuple(sorted({root for module in modules if (root := _root(module)) is not None}))
    digest = hashlib.sha256()
    for root in roots:
        digest.update(f"{root.name}\0{digest_of_sources(root)}".encode())
    return Package(name=name, version=metadata.version(name), roots=roots, sources=digest.hexdigest())


def _root(module: str) -> Path | None:
    """Return the folder of a module's top-level package, its own file if it has none, None if it cannot be found.

    The module itself is looked up, not its package: for an editable package, which is found by an import hook, Python
    would find a folder of the package's name in the working folder instead.
    """
    try:
        spec = find_spec(module)
    except Exception:  # noqa: BLE001  # to find a module, Python runs the packages above it
        return None
    if spec is None or spec.origin is None:
        return None
    file, depth = Path(spec.origin), module.count(".") + (spec.submodule_search_locations is not None)
    return file.parents[depth - 1] if depth else file
