"""The Hydra launcher: it composes all jobs, and runs them as one sweep."""

from __future__ import annotations

import contextlib
import functools
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.utils import JobReturn, configure_log, env_override, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationResolutionError

from pipeline.address import redact
from pipeline.config.schema import Config
from pipeline.config.tables import TABLES
from pipeline.display.console import make_console
from pipeline.hydra.composer import Composer, Job
from pipeline.hydra.folders import MULTIRUN, claim_folder, hide_credentials, is_true, write_folders
from pipeline.hydra.job_context import StartedJob, as_hydra_job, end_job, start_job
from pipeline.hydra.search_source import SearchSource
from pipeline.plan.plan import Point
from pipeline.search.proposals import Proposals
from pipeline.search.search import Proposal
from pipeline.sweep.live import LiveSweep
from pipeline.sweep.planning import show_dry_run
from pipeline.sweep.run import require_alone
from pipeline.sweep.source import Grid, PointSource
from tasks.errors import ConfigError, require
from tasks.rows import row_name

if TYPE_CHECKING:
    from hydra._internal.callbacks import Callbacks  # no more than its type is private

SWEEPS = contextlib.ExitStack()
"""The live sweep of this process: sweepers do not say which batch is their last, so the command ends it."""


class SweepLauncher(Launcher):
    """Runs the jobs of all batches as one sweep, which lives until the ``last`` of them, or until the command ends.

    Hydra's own launcher starts and ends one job after another; here all jobs start, run as one sweep, and end. The
    sweep has the environment that its jobs share, and their log in its own folder, which is also the working folder if
    ``hydra.job.chdir``. A job's return value is the metric that ranks (`pipeline.results.criterion.Criterion`), of its
    trial or as the mean of its repeats, for sweepers that optimise; a folded duplicate has its original's value.
    """

    # Hydra calls `setup`, which sets these, before anything else.
    config: DictConfig
    task_function: TaskFunction
    composer: Composer
    _callbacks: Callbacks | None
    _home: Path

    def __init__(self) -> None:
        super().__init__()
        self.last = False
        self._live: LiveSweep | None = None
        self._environment: Mapping[str, str] | None = None
        self._context: DictConfig | None = None  # what Hydra gives to the sweep that runs

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keep Hydra's arguments."""
        self.config, self.task_function = config, task_function
        self._callbacks = hydra_context.callbacks if config.hydra.callbacks else None
        self.composer = Composer(hydra_context.config_loader, config)
        self._home = Path.cwd()

    @property
    def started(self) -> bool:
        """Whether a sweep has started: it was not refused."""
        return self._live is not None and self._live.started

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Compose and validate every job, run the sweep, and return one result a job."""
        setup_globals()
        configure_log(self.config.hydra.hydra_logging, self.config.hydra.verbose)
        hide_credentials(Path(self.config.hydra.sweep.dir), [MULTIRUN])
        jobs = self.composer.compose_all(job_overrides, initial_job_idx)
        if not jobs:
            return []
        _print_left_out(jobs)
        begun = list(map(self._begin, jobs))
        self._check_environments(begun)
        with self._as_one_job(begun) as folder:
            ends = self.run(begun, folder)
        return self._ended(begun, ends)

    def search(self, proposals: Proposals, examples: Sequence[Point]) -> Sequence[JobReturn]:
        """Run the proposals of a search, and return one result a job; ``examples`` are points that it may propose."""
        setup_globals()
        configure_log(self.config.hydra.hydra_logging, self.config.hydra.verbose)
        source = SearchSource(proposals, self._proposed, examples)
        config = source.first.config
        self.last = True
        try:
            with self._as_one_job(source.jobs) as folder:
                ends = self._drive(source, config, folder, room=proposals.before_learning, meanwhile=source.close)
            return self._ended(source.jobs, ends)
        finally:
            source.close()

    def _begin(self, job: Job) -> StartedJob:
        return start_job(job, self._callbacks, self.task_function)

    def _proposed(self, proposal: Proposal) -> StartedJob:
        """Start a proposal as a job; the log of a sweep that runs stays its own."""
        with contextlib.chdir(self._home) if self.config.hydra.job.chdir else contextlib.nullcontext():
            begun = self._begin(self.composer.compose(proposal.overrides, proposal.number))
        if self._context is not None and self._callbacks is not None:
            configure_log(self._context.hydra.job_logging, self._context.hydra.verbose)
        self._check_environments([begun])
        return begun

    def _check_environments(self, jobs: Sequence[StartedJob]) -> None:
        """Refuse a job with another environment than the first job of the sweep."""
        if self._environment is None:
            self._environment = jobs[0].environment
        first = self._environment
        for one in jobs:
            for name in {*first, *one.environment}:
                if first.get(name) != (other := one.environment.get(name)):
                    rule = f"must be the same in all trials of a sweep, got {first.get(name)!r} and {other!r}"
                    each = "hydra/launcher=basic runs one trial after another, each in its own environment"
                    raise ConfigError(f"hydra.job.env_set.{name} {rule} ({each})")

    @contextlib.contextmanager
    def _as_one_job(self, jobs: Sequence[StartedJob]) -> Iterator[Path]:
        """Provide the context of Hydra in which jobs, and those that start meanwhile, run as a sweep in this folder.

        An error ends them all.
        """
        folder, log = Path(self.config.hydra.sweep.dir).absolute(), not is_true(self.config, "dry_run")
        try:
            with as_hydra_job(jobs[0].job.config(), str(folder), log=log) as self._context:
                yield folder
        except Exception as error:
            if self._callbacks is not None:
                for one in jobs:
                    end_job(one, error, self._callbacks)
            raise

    def _ended(self, jobs: Sequence[StartedJob], ends: Mapping[int, Any]) -> Sequence[JobReturn]:
        """End jobs, of which ``ends`` holds the scores, and return their results."""
        returns = [end_job(one, ends.get(one.job.number), self._callbacks) for one in jobs]
        configure_log(self.config.hydra.hydra_logging, self.config.hydra.verbose)
        return returns

    def run(self, jobs: Sequence[StartedJob], folder: Path) -> Mapping[int, Any]:
        """Run the jobs in the sweep, and return each one's score, or its failure, by its number."""
        points = [one.job.point(one.values) for one in jobs]
        folders, config = {one.folder: one.job for one in jobs}, points[0].config
        write = functools.partial(write_folders, folders, together=len(folders) > config.sweep.job_folders)
        return self._drive(Grid(points), config, folder, room=len(points), meanwhile=write)

    def _drive(
        self, source: PointSource, config: Config, folder: Path, *, room: int, meanwhile: Callable[[], object]
    ) -> Mapping[int, Any]:
        """Run the points of a source in the sweep, which ends with an error or with the ``last`` source.

        A dry run shows the plan of ``room`` points.
        """
        environment = dict(self._environment or {})
        if config.sweep.dry_run:
            points = source.more(room)
            with env_override(environment):
                show_dry_run(points, source, make_console(), lone=False)
            return {}
        with contextlib.ExitStack() as stack:
            stack.push(SWEEPS.__exit__)
            if self._live is None:
                SWEEPS.enter_context(env_override(environment))
                self._live = SWEEPS.enter_context(LiveSweep(config, overrides=_stated(self.config), folder=folder))
            ends = self._live.run(source, last=self.last, meanwhile=meanwhile)
            if not self.last:
                stack.pop_all()
        return ends


def _stated(config: DictConfig) -> tuple[str, ...]:
    """Return the overrides of a sweep as they were typed: those of its sweeper, and those of its trials."""
    stated: Any = OmegaConf.to_container(config.hydra.overrides, resolve=False)
    sweeper = [text for text in stated["hydra"] if text.startswith(("hydra/sweeper", "hydra.sweeper."))]
    return tuple(map(redact, [*sweeper, *stated["task"]]))


@contextlib.contextmanager
def claimed_folder(config: DictConfig, composer: Composer, ours: SweepLauncher | None) -> Iterator[None]:
    """Claim the folder of a sweep; give it back to the next sweep if this project's launcher refuses this one."""
    claim = claim_folder(config)
    if claim is not None and claim.moved:
        composer.clear()
    try:
        yield
    except BaseException:
        if claim is not None and ours is not None and not ours.started:
            claim.give_back()
        raise


def validated(jobs: Sequence[Job], *, alone: bool) -> list[Point]:
    """Return the points of jobs before they start, but of those whose values may depend on where the jobs run.

    Raises
    ------
    ConfigError
        If a value breaks its rule, or asks for what other launchers do not do, as each runs its jobs ``alone``.
    """
    points = []
    for job in jobs:
        with contextlib.suppress(InterpolationResolutionError):  # such as a variable of the machine of another launcher
            if not job.uses_job_context():
                points.append(job.point(job.resolved()))
    if alone:
        for config in (point.config for point in points):
            require_alone(config)
            rule = "must be none with another hydra/launcher, whose trials nothing compares"
            require(not config.stopping.stops, "stopping", rule, row_name(TABLES["stopping"], config.stopping))
    return points


def _print_left_out(jobs: Sequence[Job]) -> None:
    without = Counter(override.key_or_group for job in jobs for override in job.left_out)
    for key, count in without.items():
        group = key.partition(".")[0]
        print(f"{key} is left out of {count} of {len(jobs)} points, whose {group} has no such key")  # noqa: T201
