"""The search itself: it proposes points, is told what came of them, and knows neither Hydra, Ray nor MLflow."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.search.library import load
from pipeline.search.samplers import LEARNS_NOTHING, make_sampler, startup
from pipeline.search.space import SearchSpace, text_of
from tasks.errors import ConfigError, SweepError, require

_TELLING = 10
"""Complete trials from which on an importance says something."""

_STRIDE = 7919
"""What a seed grows by a proposal of the past: a prime, so that no seed that a person gives next is met."""


class StudyError(SweepError):
    """The study that a search keeps its trials in cannot be had."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """A point that a search proposes: its number in the search, what it searches by key, and all its overrides."""

    number: int
    params: Mapping[str, str]
    overrides: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How a search goes about: the config of its sampler, and where its study is kept (null: in memory).

    ``extend`` may ask Optuna's trial for more parameters. Without a seed in the config of the sampler it is 0, so
    that the same command proposes the same.
    """

    sampler: Mapping[str, Any]
    directions: tuple[str, ...]
    storage: str | None = None
    study_name: str | None = None
    extend: Callable[[Any], object] | None = None

    @property
    def seed(self) -> int:
        """The seed of the sampler."""
        return int(self.sampler.get("seed") or 0)

    def __post_init__(self) -> None:
        seed = self.sampler.get("seed")
        whole = seed is None or (isinstance(seed, int) and seed >= 0)
        require(whole, "hydra.sweeper.sampler.seed", "must be a whole number of at least 0, or null", seed)


class Search:
    """A search by one of Optuna's samplers.

    ``past`` are the overrides that an earlier process was given, in their order: they are proposed first, again, and
    what is new after them depends on what is told of them before it is asked for.

    Raises
    ------
    SweepError
        If the sampler cannot be made, the study not be reached, or the past is none of this space.
    """

    def __init__(self, space: SearchSpace, options: Options, *, past: Sequence[Sequence[str]] = ()) -> None:
        self._space, self._options = space, options
        self._trials: list[Any] = []
        self._told: list[Mapping[str, str]] = []
        self._past: list[Mapping[str, str]] = []
        self._open: set[int] = set()
        grid = space.grid() if options.sampler.get("_target_") == "optuna.samplers.GridSampler" else {}
        self.points = math.prod(map(len, grid.values())) if grid else None
        sampler = make_sampler(options.sampler, grid, seed=options.seed)
        self.sampler = type(sampler).__name__
        self.learns = self.sampler not in LEARNS_NOTHING
        self.startup = startup(sampler)
        self._study = _study(sampler, options)
        self.recall(past)

    @property
    def identity(self) -> str:
        """What tells this search from others, beside what its points have in common."""
        space = [f"{key}={distribution}" for key, distribution in self._space.distributions.items()]
        options = dataclasses.replace(self._options, extend=None)
        return repr((space, options))

    def example(self) -> list[str]:
        """Return the overrides of a point of the space, proposed or not."""
        kinds = load().distributions
        params = {
            name: text_of(one.choices[0] if isinstance(one, kinds.CategoricalDistribution) else one.low)
            for name, one in self._space.distributions.items()
        }
        return [*_overrides(params), *self._space.fixed]

    def recall(self, past: Sequence[Sequence[str]]) -> None:
        """Propose what an earlier process has proposed, before anything new.

        Raises
        ------
        StudyError
            If other points have been proposed already.
        """
        self._past = [dict(text.partition("=")[::2] for text in overrides) for overrides in past]
        for number, (before, told) in enumerate(zip(self._past, self._told, strict=False)):
            _compare(number, before, told)
        if past and self.learns:
            # It goes on with other draws than those that it has begun with.
            seed = (self._options.seed + _STRIDE * len(past)) % 2**32
            self._study.sampler = make_sampler(self._options.sampler, {}, seed=seed)

    def ask(self) -> Proposal:
        """Return the next point."""
        number = len(self._trials)
        past = self._past[number] if number < len(self._past) else None
        trial = None
        if past is not None and self.learns:
            params = self._recalled(past)
            trial = self._kept(params)
            if trial is None:
                self._study.enqueue_trial(params)
        if trial is None:
            trial = self._study.ask(fixed_distributions=dict(self._space.distributions))
        if self._options.extend is not None:
            self._options.extend(trial)
        own = {name: text_of(value) for name, value in trial.params.items()}
        if past is not None:
            _compare(number, past, own)
        self._trials.append(trial)
        self._told.append(own)
        self._open.add(number)
        return Proposal(number=number, params=own, overrides=(*_overrides(own), *self._space.fixed))

    def tell(self, number: int, values: Sequence[float]) -> None:
        """Take in the values of a trial that is complete."""
        with _grid_may_be_done():
            self._study.tell(self._ended(number), list(values), skip_if_finished=True)

    def prune(self, number: int, step: int, value: float | None) -> None:
        """Take in that a trial was stopped at a step, or diverged: then it has no value, and counts as the worst."""
        trial, state = self._ended(number), load().trial.TrialState
        several = len(self._study.directions) > 1
        if value is not None and not several and not self._is_finished(trial):
            trial.report(value, step)
        with _grid_may_be_done():
            self._study.tell(trial, state=state.FAIL if several else state.PRUNED, skip_if_finished=True)

    def fail(self, number: int) -> None:
        """Take in that a trial has failed, which says nothing of its point."""
        with _grid_may_be_done():
            self._study.tell(self._ended(number), state=load().trial.TrialState.FAIL, skip_if_finished=True)

    @property
    def open(self) -> int:
        """How many points have been proposed of which nothing is known yet."""
        return len(self._open)

    @property
    def asked(self) -> int:
        """How many points have been proposed."""
        return len(self._trials)

    @property
    def known(self) -> int:
        """How many points of the past have not been proposed again yet."""
        return max(0, len(self._past) - len(self._trials))

    def results(self) -> dict[str, Any]:
        """Return the best parameters and value, or the Pareto front of several, as Hydra's own plug-in writes them."""
        done = [trial for trial in self._study.trials if trial.state.name == "COMPLETE"]
        if not done:
            return {"name": "optuna"}
        if len(self._study.directions) > 1:
            front = [{"params": dict(one.params), "values": list(one.values)} for one in self._study.best_trials]
            return {"name": "optuna", "solutions": front}
        best = self._study.best_trial
        return {"name": "optuna", "best_params": dict(best.params), "best_value": best.value}

    def importances(self) -> dict[str, float]:
        """Return each key's share in the variance of the values, the largest first; nothing where it is unknown."""
        complete = [trial for trial in self._study.trials if trial.state.name == "COMPLETE"]
        if len(self._study.directions) > 1 or len(complete) < _TELLING or len({one.value for one in complete}) == 1:
            return {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it warns where many have the best value
            found = load().importance.get_param_importances(self._study)
        return {str(name): float(share) for name, share in found.items()}

    def _ended(self, number: int) -> Any:
        self._open.remove(number)
        return self._trials[number]

    def _is_finished(self, trial: Any) -> bool:
        return bool(self._study.trials[trial.number].state.is_finished())

    def _kept(self, params: Mapping[str, Any]) -> Any:
        """Return the trial that a study in a database has of a recorded proposal, None where it has none."""
        taken = {trial.number for trial in self._trials}
        for known in self._study.trials:
            if known.number not in taken and dict(known.params) == params:
                return load().trial.Trial(self._study, known._trial_id)  # noqa: SLF001  # as Optuna's own dashboards do
        return None

    def _recalled(self, past: Mapping[str, str]) -> dict[str, Any]:
        """Return the parameters that overrides of the record are the text of."""
        kinds = load().distributions
        found: dict[str, Any] = {}
        for name, distribution in self._space.distributions.items():
            text = past.get(name)
            if isinstance(distribution, kinds.CategoricalDistribution):
                values = [choice for choice in distribution.choices if text_of(choice) == text]
            else:
                kind = int if isinstance(distribution, kinds.IntDistribution) else float
                values = [] if text is None else [kind(text)]
            if not values or not distribution._contains(distribution.to_internal_repr(values[0])):  # noqa: SLF001  # no other way
                raise ConfigError(f"{name} must span what the record holds of this search, {text}, got {distribution}")
            found[name] = values[0]
        return found


def _compare(number: int, before: Mapping[str, str], now: Mapping[str, str]) -> None:
    if any(before.get(name) != text for name, text in now.items()):
        raise StudyError(
            f"sweep.resume must go on from the proposals in the record, number {number} of which was "
            f"{' '.join(_overrides(before))}, and would be {' '.join(_overrides(now))}"
        )


def _overrides(params: Mapping[str, str]) -> list[str]:
    return [f"{name}={text}" for name, text in params.items()]


def _study(sampler: Any, options: Options) -> Any:
    optuna = load()
    try:
        return optuna.create_study(
            study_name=options.study_name,
            storage=options.storage,
            sampler=sampler,
            directions=list(options.directions),
            load_if_exists=True,
        )
    except Exception as error:
        if options.storage is None:
            raise
        where = "hydra.sweeper.storage must be a database that Optuna can use"
        raise StudyError(f"{where}, got {options.storage}: {str(error).splitlines()[0]}") from error


@contextlib.contextmanager
def _grid_may_be_done() -> Iterator[None]:
    """Bear that a sampler of a grid stops the loop of Optuna's own when all is done: there is none here."""
    try:
        yield
    except RuntimeError as error:
        if "`Study.stop`" not in str(error):
            raise
