"""Installed packages that add rows to the tables: what each offers by its entry points, and which code it is."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator
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
    modules = {offer.point.module.partition(".")[0] for offer in offers() if offer.package == name}
    roots = tuple(root for module in sorted(modules) for root in _roots(module))
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


def _roots(module: str) -> Iterator[Path]:
    """Yield the folder of a package, or the file of a module; nothing where it is not there."""
    try:
        spec = find_spec(module)
    except (ImportError, ValueError):
        return
    if spec is None:
        return
    if spec.submodule_search_locations:
        yield from (Path(place) for place in spec.submodule_search_locations)
    elif spec.origin:
        yield Path(spec.origin)
