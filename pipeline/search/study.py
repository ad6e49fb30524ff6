"""The study that a search keeps its trials in: opened, or refused where it is another search's."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pipeline.search.library import load
from pipeline.search.space import SearchSpace
from tasks.errors import SweepError, require

ATTEMPTS, RETRY_AFTER = 4, 0.5
"""How often a database is tried, and the seconds between: while another process creates its tables, Optuna fails."""


class StudyError(SweepError):
    """The study of a search cannot be used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The options of a search: the config of its sampler, and the storage of its study (null: in memory).

    ``extend`` may add parameters to Optuna's trial. ``resume`` says that an earlier process's search, whose study is in
    the storage, starts again from its first proposal. The default seed is 0, so that the same command makes the same
    proposals; in a study that already holds trials it is another, so that these are not proposed again.
    """

    sampler: Mapping[str, Any]
    directions: tuple[str, ...]
    storage: str | None = None
    study_name: str | None = None
    extend: Callable[[Any], object] | None = None
    resume: bool = field(default=False, repr=False)  # it is no part of what the search is

    @property
    def seed(self) -> int:
        """The seed of the sampler."""
        return int(self.sampler.get("seed") or 0)

    def __post_init__(self) -> None:
        chosen = isinstance(self.sampler, Mapping)
        require(chosen, "hydra.sweeper.sampler", "must be chosen by hydra/sweeper/sampler=CHOICE", self.sampler)
        seed = self.sampler.get("seed")
        whole = seed is None or (isinstance(seed, int) and seed >= 0)
        require(whole, "hydra.sweeper.sampler.seed", "must be a whole number of at least 0, or null", seed)


def open_study(sampler: Any, space: SearchSpace, options: Options) -> Any:
    """Return the study of a search, which may be one of an earlier search of the same kind.

    Raises
    ------
    StudyError
        If the storage cannot be used, or the study is of another kind.
    """
    try:
        study = _create(sampler, options, ATTEMPTS)
    except Exception as error:
        if options.storage is None:
            raise
        where = "hydra.sweeper.storage must be a database that Optuna can use"
        raise StudyError(f"{where}, got {options.storage}: {str(error).splitlines()[0]}") from error
    _check(study, space, options)
    return study


def _create(sampler: Any, options: Options, attempts: int) -> Any:
    try:
        return load().create_study(
            study_name=options.study_name,
            storage=options.storage,
            sampler=sampler,
            directions=list(options.directions),
            load_if_exists=True,
        )
    except Exception as error:
        if attempts == 1 or not type(error).__module__.startswith("sqlalchemy."):
            raise
        time.sleep(RETRY_AFTER)
        return _create(sampler, options, attempts - 1)


def _check(study: Any, space: SearchSpace, options: Options) -> None:
    """Refuse a study of an earlier search that has other directions, or whose keys have other kinds of values."""
    name = f"hydra.sweeper.study_name must be a study of the same kind, {options.study_name} in {options.storage}"
    directions = tuple(one.name.lower() for one in study.directions)
    if directions != options.directions:
        raise StudyError(f"{name} is to {', '.join(directions)}, this search to {', '.join(options.directions)}")
    for trial in study.get_trials(deepcopy=False):
        for key in space.distributions.keys() & trial.distributions.keys():
            known, own = trial.distributions[key], space.distributions[key]
            try:
                load().distributions.check_distribution_compatibility(known, own)
            except ValueError as error:
                raise StudyError(f"{name} has {key} in {known}, this search in {own}") from error
