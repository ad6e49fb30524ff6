"""The Hydra sweeper that searches with Optuna's samplers, with the keys and the syntax of Hydra's own plug-in."""

from __future__ import annotations

import math
import pkgutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn
from omegaconf import DictConfig, OmegaConf

from pipeline.address import database, redact
from pipeline.config.schema import Config, parse
from pipeline.hydra.folders import is_true
from pipeline.hydra.grid import GridSpec, resolve
from pipeline.hydra.launcher import claimed_folder, validated
from pipeline.hydra.sweeper import ComposingSweeper, undo_deferral
from pipeline.plan.plan import Point
from pipeline.raised import Raised
from pipeline.search.objectives import ACCURACY, Objectives
from pipeline.search.proposals import Budget, Proposals
from pipeline.search.search import Search
from pipeline.search.space import SearchSpace, space_of
from pipeline.search.study import Options
from pipeline.sweep.engines import group_count
from pipeline.sweep.source import End
from tasks.errors import ConfigError, require
from tasks.events import Outcome


@dataclass(kw_only=True)
class SearchSweeper(ComposingSweeper):
    """Proposes the trials of a sweep, batch after batch, from the results of the ones before.

    The keys are those of Hydra's own sweeper for Optuna, and ``metrics``: the metrics to optimise, if they are several
    or not ``sweep.metric``.
    """

    sampler: Any
    direction: Any
    storage: Any
    study_name: Any
    n_trials: int
    n_jobs: int | None
    max_failure_rate: float
    custom_search_space: str | None
    params: Any
    metrics: Any

    def sweep(self, arguments: list[str]) -> Any:
        """Launch proposals until there are ``n_trials``, and return the results in one list."""
        objectives = Objectives.of(self.config.sweep, self.metrics, self.direction)
        shared = _shared(self.config)
        stopped = shared.stopping.stops and len(objectives.directions) > 1
        require(not stopped, "stopping", "must be none for several hydra.sweeper.metrics", self.config.stopping.name)
        ours = self.ours
        asked = objectives.names(ACCURACY)
        ranked = asked == (self.config.sweep.get("metric") or ACCURACY[0],)
        rule = "must be null for one metric, or for another hydra/launcher: sweep.metric names it, and ranks the trials"
        several = ours is not None and len(asked) > 1
        require(several or ranked, "hydra.sweeper.metrics", rule, ", ".join(objectives.names()))
        budget = Budget(
            n_trials=self.n_trials,
            n_jobs=self.n_jobs,
            max_failure_rate=self.max_failure_rate,
            workers=group_count(shared, lone=False),
        )
        texts = [*GridSpec.of({"params": self.params}).texts(), *map(undo_deferral, arguments)]
        space = space_of(self.parser.parse_overrides(texts))
        try:
            examples = self._examples(space)
            self._require_own_storage(examples)
            search = Search(space, self._options(objectives))
            proposals = Proposals(search, budget, objectives)
            with claimed_folder(self.config, self.composer, ours):
                try:
                    returns = ours.search(proposals, examples) if ours else self._by_batches(proposals, objectives)
                except BaseException:
                    if ours is None or not ours.started:
                        search.withdraw()
                    raise
        except ConfigError as error:  # which may be about an example
            raise ConfigError(space.with_ends(str(error))) from error
        if not is_true(self.config, "dry_run"):
            file = Path(self.config.hydra.sweep.dir) / "optimization_results.yaml"
            OmegaConf.save(OmegaConf.create(search.results()), file)
        if proposals.failing or is_true(self.config, "fail_fast"):
            for result in returns:
                _ = result.return_value  # raises the error of a job that failed
        return [returns]

    def _examples(self, space: SearchSpace) -> list[Point]:
        """Return points at the ends of a space.

        A key that no point has, or a value that breaks its rule, is refused here, before anything is written, and so
        are choices that bring sweeps of their own. With a ``custom_search_space`` no value is checked, since this
        function may add what the points lack.
        """
        jobs = self.composer.compose_all(space.examples(), 0)
        own: Any = OmegaConf.to_container(self.config.hydra.sweeper, resolve=False)
        groups = " and ".join(filter(self.composer.is_group, space.distributions))
        rule = "must have choices without a sweep of their own (hydra.sweeper.params) where they are searched"
        for job in jobs:
            require(job.base.hydra["sweeper"].get("params") == own["params"], groups, rule, " ".join(job.overrides))
        return [] if self.custom_search_space else validated(jobs, alone=self.ours is None)

    def _require_own_storage(self, examples: Sequence[Point]) -> None:
        """Refuse a storage in the store's own database: Optuna and MLflow keep a table of the same name there."""
        storage = _text("storage", self.storage)
        if storage is not None and not self.config.hydra.job.chdir:  # in another folder it may be another file
            own = all(database(storage) != database(point.config.tracking.uri) for point in examples)
            require(own, "hydra.sweeper.storage", "must be another database than tracking.uri", redact(storage))

    def _by_batches(self, proposals: Proposals, objectives: Objectives) -> Sequence[JobReturn]:
        """Launch proposals as any launcher can: the next batch once all of the last one has ended."""
        ended: list[JobReturn] = []
        while batch := proposals.more(proposals.budget.max_open):
            # Without the keys that its choices lack.
            jobs = [self.composer.compose(one.overrides, one.number).overrides for one in batch]
            returns = self.launcher.launch(jobs, initial_job_idx=batch[0].number)
            for proposal, result in zip(batch, returns, strict=True):
                proposals.tell(proposal.number, _end(objectives, result))
            ended += returns
        return ended

    def _options(self, objectives: Objectives) -> Options:
        """Return the options of the search; a dry run leaves its storage alone."""
        own, storage = self.custom_search_space, _text("storage", self.storage)
        return Options(
            sampler=resolve(self.sampler),
            directions=objectives.directions,
            storage=None if is_true(self.config, "dry_run") else storage,
            study_name=_text("study_name", self.study_name),
            extend=_extension(own, self.config) if own else None,
            resume=is_true(self.config, "resume"),
        )


def _text(key: str, value: Any) -> str | None:
    """Return a text that the command line may have read as a number: ``hydra.sweeper.study_name=2``."""
    usable = isinstance(value, str | int | float)
    require(value is None or usable, f"hydra.sweeper.{key}", "must be a text, or null", resolve(value))
    return None if value is None else str(value)


def _extension(name: str, config: DictConfig) -> Callable[[Any], None]:
    """Return what calls the user's own function of that name with a config and a trial."""
    function = _function(name)

    def extend(trial: Any) -> None:
        try:
            function(config, trial)
        except Exception as error:
            rule = f"must be a function that adds keys to a trial, but {name}(config, trial) raised"
            raise ConfigError(f"hydra.sweeper.custom_search_space {rule} {Raised.of(error).error}") from error

    return extend


def _function(name: str) -> Callable[..., object]:
    """Return the user's own function of that name."""
    found: object
    try:
        found = pkgutil.resolve_name(str(name))
    except (ValueError, ImportError, AttributeError) as error:
        found = error
    if not callable(found):
        rule = "must name a function that can be imported, as MODULE.FUNCTION"
        raise ConfigError(f"hydra.sweeper.custom_search_space {rule}, got {name!r}: {found}")
    return found


def _shared(config: DictConfig) -> Config:
    """Return what all trials have in common of a sweep's config, which may lack values of its jobs."""
    return parse({name: resolve(config[name]) for name in ("cluster", "engine", "device", "stopping")})


def _end(objectives: Objectives, result: JobReturn) -> End:
    """Return the end of a job of any launcher, from its return value or its error."""
    try:
        value = result.return_value
    except Exception:  # noqa: BLE001  # it is raised again at the end of the search
        return End(outcome=Outcome.FAILED, metrics={}, step=0)
    (metric,) = objectives.names(ACCURACY)
    return End(outcome=Outcome.COMPLETE, metrics={metric: math.nan if value is None else float(value)}, step=0)
