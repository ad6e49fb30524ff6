"""The tables of the config groups: the project's own rows, and those of installed packages."""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.config.contract import violation
from pipeline.config.figure import DRAWN, Figure
from pipeline.config.packages import PREFIX, Offer, Package, offers, package
from pipeline.stopping import STOPPING, Rule
from tasks.datasets import DATASETS, Source
from tasks.errors import ConfigError, unknown_choice
from tasks.losses import LOSSES, Loss
from tasks.models import MODELS, Model
from tasks.optimizers import OPTIMIZERS, Optimizer
from tasks.regularizers import REGULARIZERS, Regularizer
from tasks.schedules import SCHEDULES, Schedule
from tasks.strategies import STRATEGIES, Strategy
from tasks.studies.registry import TASKS
from tasks.trial import Task, Training

_NAME = re.compile(r"[a-zA-Z][a-zA-Z0-9_-]*")
"""A valid name of a row: a choice on Hydra's command line."""


@dataclass(frozen=True, slots=True, eq=False)
class Table(Mapping[str, type]):
    """The rows of a group by name: our own first, then those of packages."""

    entry_points: str
    own: Mapping[str, type]
    contract: Any

    def __getitem__(self, name: str) -> type:
        """Return a row; packages are searched only if it is not one of our own."""
        return self.own[name] if name in self.own else _added().rows[self.entry_points, name][0]

    def __iter__(self) -> Iterator[str]:
        yield from self.own
        yield from (name for table, name in _added().rows if table == self.entry_points)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def package(self, name: str) -> Package | None:
        """Return the package of a row, None for our own rows."""
        return None if name in self.own else package(_added().rows[self.entry_points, name][1])


TABLES: Mapping[str, Table] = {
    "task": Table("tasks", TASKS, Task),
    "dataset": Table("datasets", DATASETS, Source),
    "model": Table("models", MODELS, Model),
    "loss": Table("losses", LOSSES, Loss),
    "regularizer": Table("regularizers", REGULARIZERS, Regularizer),
    "strategy": Table("strategies", STRATEGIES, Strategy),
    "optimizer": Table("optimizers", OPTIMIZERS, Optimizer),
    "schedule": Table("schedules", SCHEDULES, Schedule),
    "stopping": Table("stopping", STOPPING, Rule),
}
"""The config groups: each key of a config that holds a row, and the row's table."""

FIGURES = Table("figures", {}, Figure)
"""The figures that packages add; they are not a config group."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Added:
    """The rows of packages with the names of their packages, and the faults of offers that cannot be used."""

    rows: Mapping[tuple[str, str], tuple[type, str]]
    faults: Mapping[Offer, str]


def faults() -> list[str]:
    """Return a line for each offer that cannot be used: the package, the row and the cause."""
    return [f"{offer} is left out: {cause}" for offer, cause in _added().faults.items()]


def wrong_choice(group: str, name: object, choices: Iterable[str]) -> ConfigError:
    """Return the error for a choice that a group does not have: a package's that cannot be used, or an unknown one.

    >>> print(wrong_choice("optimizer", "lbfgs", ["sgd", "adam"]))
    optimizer must be one of adam, sgd, got 'lbfgs' (did you mean strategy=lbfgs?)
    >>> print(wrong_choice("optimizer", "adam", ["sgd"]))
    optimizer=adam must have a file conf/optimizer/adam.yaml, got a row without one
    """
    table = TABLES[group].entry_points if group in TABLES else ""
    for offer, cause in _added().faults.items():
        if (offer.table, offer.name) == (table, name):
            return ConfigError(f"{group}={name} cannot be used: {offer} {cause}")
    if table and name in TABLES[group]:
        return ConfigError(f"{group}={name} must have a file conf/{group}/{name}.yaml, got a row without one")
    elsewhere = [f"{other}={name}" for other, rows in TABLES.items() if name in rows]
    return unknown_choice(group, name, choices, elsewhere=elsewhere[0] if len(elsewhere) == 1 else "")


def added() -> dict[str, dict[str, list[str]]]:
    """Return the names of the rows that each package adds, by config group."""
    groups = {table.entry_points: group for group, table in [*TABLES.items(), ("figure", FIGURES)]}
    found: dict[str, dict[str, list[str]]] = {}
    for (table, name), (_, of) in _added().rows.items():
        found.setdefault(str(package(of)), {}).setdefault(groups[table], []).append(name)
    return found


@functools.cache
def _added() -> _Added:
    tables = {table.entry_points: table for table in [*TABLES.values(), FIGURES]}
    rows: dict[tuple[str, str], tuple[type, str]] = {}
    causes: dict[Offer, str] = {}
    for offer in offers():
        row, cause = _loaded(offer, tables)
        if row is None:
            causes[offer] = cause
        else:
            rows[offer.table, offer.name] = (row, offer.package)
    return _Added(rows=rows, faults=causes)


def _misnamed(offer: Offer, tables: Mapping[str, Table]) -> str:
    rivals = [one for one in offers() if (one.table, one.name) == (offer.table, offer.name) and one is not offer]
    if rivals:
        return f"must have a name of its own, {', '.join(one.package for one in rivals)} has the same"
    if offer.table not in tables:
        known = ", ".join(f"{PREFIX}{table}" for table in tables)
        return f"must be in one of the groups {known}, got {offer.point.group!r}"
    if offer.name in tables[offer.table].own:
        return "must have a name of its own, descent-sweeps has a row of that name"
    return "" if _NAME.fullmatch(offer.name) else f"must have a name of letters, digits and _, got {offer.name!r}"


def _loaded(offer: Offer, tables: Mapping[str, Table]) -> tuple[type | None, str]:
    """Return the row of an offer, or why it cannot be used."""
    if cause := _misnamed(offer, tables):
        return None, cause
    try:
        row = offer.point.load()
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001  # a stranger's module may raise anything, SystemExit too
        return None, f"must be importable, got {type(error).__name__}: {error}"
    if not isinstance(row, type) or not dataclasses.is_dataclass(row):
        return None, f"must be a frozen dataclass, got {row!r}"
    if not row.__dataclass_params__.frozen:  # type: ignore[attr-defined]
        return None, "must be a frozen dataclass, got one that can be changed"
    contract = tables[offer.table].contract
    cause = violation(row, Training if contract is Task and getattr(row, "trains", None) is True else contract)
    if not cause and tables[offer.table] is FIGURES and row.of not in DRAWN:  # type: ignore[attr-defined]
        cause = f"must be of {' or '.join(DRAWN)}, got {row.of!r}"  # type: ignore[attr-defined]
    return (None, cause) if cause else (row, "")
