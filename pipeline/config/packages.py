"""Installed packages that add rows to the tables: what each offers by its entry points, and which code it is."""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from pipeline.config.syntax import digest_of_sources

PREFIX = "descent_sweeps."
"""What the names of the entry-point groups begin with; the name of a table follows."""

CONF = "conf"
"""The folder of a package that joins the search path of the configs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """An installed distribution, and the top-level packages and modules of it that its rows are in.

    ``sources`` is the digest of what they say to Python: of an editable one, the version says nothing.
    """

    name: str
    version: str
    roots: tuple[Path, ...]
    sources: str

    def __str__(self) -> str:
        return f"{self.name} {self.version}"

    @property
    def conf(self) -> tuple[Path, ...]:
        """The folders of configs that the package has."""
        return tuple(root / CONF for root in self.roots if (root / CONF).is_dir())

    def tags(self) -> dict[str, str]:
        """Return what a record says of the package: its version, and the digest of its sources."""
        return {f"version.{self.name}": self.version, f"{SOURCES}{self.name}": self.sources}


SOURCES = "sources."
"""What the tags begin with that say which sources a package has."""


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
    """Return all that installed packages offer, in the order of their names."""
    found = {
        Offer(table=point.group.removeprefix(PREFIX), name=point.name, package=_name(distribution), point=point)
        for distribution in metadata.distributions()
        for point in distribution.entry_points
        if point.group.startswith(PREFIX)
    }
    return tuple(sorted(found, key=lambda offer: (offer.package, offer.table, offer.name, offer.point.value)))


@functools.cache
def packages() -> tuple[Package, ...]:
    """Return the packages that offer a row, in the order of their names."""
    return tuple(package(name) for name in sorted({offer.package for offer in offers()}))


@functools.cache
def package(name: str) -> Package:
    """Return the package that offers a row."""
    modules = {offer.point.module for offer in offers() if offer.package == name}
    roots = tuple(sorted({root for module in modules if (root := _root(module)) is not None}))
    digest = hashlib.sha256()
    for root in roots:
        digest.update(f"{root.name}\0{digest_of_sources(root)}".encode())
    return Package(name=name, version=metadata.version(name), roots=roots, sources=digest.hexdigest())


def forget() -> None:
    """Look for packages anew: one was installed, or changed."""
    for cached in (offers, packages, package):
        cached.cache_clear()


def _name(distribution: metadata.Distribution) -> str:
    return str(distribution.metadata["Name"])


def _root(module: str) -> Path | None:
    """Return the folder of the top-level package that a module is in, its own file if it is in none, None if nowhere.

    The module itself is looked for: in a working folder with a folder of the package's name, that is what Python
    finds by the package's name alone where an editable one is found by an import hook.
    """
    try:
        spec = find_spec(module)
    except Exception:  # noqa: BLE001  # to find a module, Python runs the packages above it
        return None
    if spec is None or spec.origin is None:
        return None
    file, depth = Path(spec.origin), module.count(".") + (spec.submodule_search_locations is not None)
    return file.parents[depth - 1] if depth else file
