"""A search: it proposes points and is told their values; it knows neither Hydra, Ray nor MLflow."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.search.library import load
from pipeline.search.samplers import LEARNS_NOTHING, class_of, make_sampler, rehearse, startup
from pipeline.search.space import SearchSpace, override_text
from pipeline.search.study import Options, StudyError, open_study
from tasks.errors import ConfigError, require

_MIN_COMPLETE = 10
"""The least number of complete trials for importances."""

_CONSTANTS = {"null": None, "true": True, "false": False}

_STRIDE = 7919
"""The step of the seed for each proposal of the past: a large prime, so that it does not reach another likely seed."""

_FIRST = "descent-sweeps.first"
"""The attribute, in a storage, of the first trial of a search: digests of the search's identity and fixed values."""

_SEARCH = "descent-sweeps.search"
"""The attribute, in a storage, of each trial of a search: the number of the search's first trial."""

_RESUME = "sweep.resume="


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """A point that a search proposes: its number in the search, its searched keys, and all its overrides."""

    number: int
    params: Mapping[str, str]
    overrides: tuple[str, ...]


class Search:
    """A search by one of Optuna's samplers.

    Raises
    ------
    SweepError
        If the sampler cannot be made or the study cannot be reached.
    """

    def __init__(self, space: SearchSpace, options: Options) -> None:
        self._space, self._options = space, options
        self.keys = tuple(space.distributions)
        self._trials: list[Any] = []
        self._proposed: list[Mapping[str, str]] = []
        self._past: list[Mapping[str, str]] = []
        self._since = 0  # the number of the first trial of a database that may be this search's
        self._unclaimed: list[Any] = []  # those of its trials that may be proposals of the past
        grid = space.grid() if class_of(options.sampler) == "GridSampler" else {}
        self.points = math.prod(map(len, grid.values())) if grid else None
        self._grid = self._in_order(grid) if grid and options.storage is not None else None
        sampler = make_sampler(options.sampler, grid, seed=options.seed)
        self.sampler = type(sampler).__name__
        self.learns = self.sampler not in LEARNS_NOTHING
        if self.learns:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # they were given when the sampler was made
                rehearse(options.sampler, dict(space.distributions), options.directions)
        self.startup = startup(sampler)
        self._study = open_study(sampler, space, options)
        self._before = len(self._known())
        if options.sampler.get("seed") is None and self._before:
            self._reseed(self._before)
        self._visited = self._visited_before(grid) if self._grid is not None else []
        if self.points is not None:
            self.points -= len(self._visited)

    @property
    def identity(self) -> str:
        """The identity of the search: its space and options, without what all its points share."""
        space = [f"{key}={distribution}" for key, distribution in self._space.distributions.items()]
        options = dataclasses.replace(self._options, extend=None)
        return repr((space, options))

    def recall(self, past: Sequence[Mapping[str, str]]) -> None:
        """Repeat the proposals of an earlier process, given by their params, in order, before any new one.

        The new proposals after them depend on the results that have been told by then.

        Raises
        ------
        StudyError
            If the points proposed so far are others.
        """
        self._past = [*past]
        for number, (before, proposed) in enumerate(zip(self._past, self._proposed, strict=False)):
            _require_same(number, before, proposed)
        taken = {trial.number for trial in self._trials}
        self._unclaimed = [one for one in self._known()[self._since :] if one.number not in taken]
        if past and self._depends_on_study:
            self._reseed(max(len(past), len(self._known())))

    def ask(self) -> Proposal:
        """Return the next point."""
        number = len(self._trials)
        past = self._past[number] if number < len(self._past) else None
        if number == len(self._past) > 0:
            self._fail_lost()
        trial = self._first_before() if number == 0 and self._options.resume else None
        if trial is not None:
            self._since = trial.number
            self._reseed(len(self._known()))
        if past is not None and self._depends_on_study:
            params = self._recalled(past)
            trial = self._kept(params)
            if trial is None:
                self._study.enqueue_trial(params)
        elif trial is None and self._grid is not None:
            self._study.enqueue_trial(next(one for one in self._grid if not self._has_proposed(one)))
        if trial is None:
            trial = self._study.ask(fixed_distributions=dict(self._space.distributions))
            if self._options.storage is not None:
                self._mark(trial)
        self._trials.append(trial)
        if self._options.extend is not None:
            self._options.extend(trial)
            self._require_free(trial.params)
        own = {name: override_text(value) for name, value in trial.params.items()}
        if past is not None:
            _require_same(number, past, own)
        self._proposed.append(own)
        return Proposal(number=number, params=own, overrides=(*_overrides(own), *self._space.fixed))

    def tell(self, number: int, values: Sequence[float]) -> None:
        """Tell the study the values of a complete trial."""
        self._end(number, values=list(values))

    def prune(self, number: int, step: int, value: float | None) -> None:
        """Tell the study that a trial was stopped at a step or, without a value, diverged, which counts as worst."""
        trial, states = self._trials[number], load().trial.TrialState
        if value is not None and not self._known()[trial.number].state.is_finished():
            trial.report(value, step)
        self._end(number, state=states.FAIL if len(self._study.directions) > 1 else states.PRUNED)

    def fail(self, number: int) -> None:
        """Tell the study that a trial has failed, which says nothing about its point."""
        self._end(number, state=load().trial.TrialState.FAIL)

    def withdraw(self) -> None:
        """Fail the open trials of a search that was refused: in a storage nothing else would ever end them.

        A resume does not go on from them. Those of a search that is resumed may be an earlier process's, and stay.
        """
        if self._options.storage is None or self._options.resume:
            return
        known = self._known()
        for number, trial in enumerate(self._trials):
            if not known[trial.number].state.is_finished():
                if number == 0:
                    trial.set_user_attr(_FIRST, ["", ""])
                self.fail(number)

    @property
    def asked(self) -> int:
        """How many points have been proposed."""
        return len(self._trials)

    @property
    def first_alone(self) -> bool:
        """Whether the next point is to be proposed alone: it identifies the record, which holds those after it."""
        return self._options.resume and self._depends_on_study and not self._trials

    @property
    def known(self) -> int:
        """How many proposals of the past have not been repeated yet."""
        return max(0, len(self._past) - len(self._trials))

    def results(self) -> dict[str, Any]:
        """Return the best parameters and value, or the Pareto front, in the format of Hydra's own plug-in."""
        if not self._complete():
            return {"name": "optuna"}
        if len(self._study.directions) > 1:
            front = [{"params": dict(one.params), "values": list(one.values)} for one in self._study.best_trials]
            return {"name": "optuna", "solutions": front}
        best = self._study.best_trial
        return {"name": "optuna", "best_params": dict(best.params), "best_value": best.value}

    def prepare(self) -> None:
        """Import what `importances` needs, if it can estimate any: that takes more than a second."""
        if len(self._study.directions) == 1:
            _ = load().importance.get_param_importances

    def importances(self) -> dict[str, float]:
        """Return each key's share in the variance of the values, the largest first; empty if it cannot be estimated."""
        complete = self._complete()
        if (
            len(self._study.directions) > 1
            or len(complete) < _MIN_COMPLETE
            or len({one.value for one in complete}) == 1
        ):
            return {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it warns if many trials have the best value
            found = load().importance.get_param_importances(self._study)
        return {str(name): float(share) for name, share in found.items()}

    def _end(self, number: int, *, values: list[float] | None = None, state: Any = None) -> None:
        try:
            self._study.tell(self._trials[number], values, state=state, skip_if_finished=True)
        except (RuntimeError, KeyError) as error:
            # At the end of its grid a sampler stops Optuna's own loop, and there is none; or, where it did not propose
            # the last point itself, it misses its mark of it. Either way the study has the values.
            if "`Study.stop`" not in str(error) and "grid_id" not in str(error):
                raise

    def _known(self) -> list[Any]:
        """Return the trials of the study; to copy thousands takes a second, each time."""
        return list(self._study.get_trials(deepcopy=False))

    def _complete(self) -> list[Any]:
        return [trial for trial in self._known() if trial.state.name == "COMPLETE"]

    def _in_order(self, grid: Mapping[str, Sequence[Any]]) -> Iterator[Mapping[str, Any]]:
        """Yield the points of a grid in the order of its seed, whatever the study holds.

        If the study holds trials of another search, or of a killed process, Optuna's sampler proposes some points twice
        and others never.
        """
        study = load().create_study(sampler=make_sampler(self._options.sampler, grid, seed=self._options.seed))
        for _ in range(math.prod(map(len, grid.values()))):
            yield study.ask(fixed_distributions=dict(self._space.distributions)).params

    def _has_proposed(self, params: Mapping[str, Any]) -> bool:
        """Return whether this search, or one before it in the study, has proposed a point of a grid."""
        texts = {name: override_text(value) for name, value in params.items()}
        return params in self._visited or any(texts.items() <= own.items() for own in self._proposed)

    def _visited_before(self, grid: Mapping[str, Sequence[Any]]) -> list[Mapping[str, Any]]:
        """Return the points of a grid whose values earlier searches have left in the study; none if they are all."""
        first = self._first_before() if self._options.resume else None
        known = self._known()[: None if first is None else first.number]
        visited: list[Mapping[str, Any]] = []
        for one in known:
            params = {name: one.params.get(name) for name in grid}
            of_grid = all(params[name] in values for name, values in grid.items())
            if one.state.name in {"COMPLETE", "PRUNED"} and of_grid and params not in visited:
                visited.append(params)
        return visited if len(visited) < (self.points or 0) else []

    def _reseed(self, count: int) -> None:
        """Make the next proposals draw other random numbers than the ``count`` proposals before them.

        A grid has one order, which follows from its seed: with another, points would come twice and others never.
        """
        if self.points is None:
            seed = (self._options.seed + _STRIDE * count) % 2**32
            self._study.sampler = make_sampler(self._options.sampler, {}, seed=seed)

    @property
    def _depends_on_study(self) -> bool:
        """Whether a proposal depends on what the study holds; a study in a storage may hold trials before it."""
        return self.learns or self._options.storage is not None

    def _mark(self, trial: Any) -> None:
        """Note in a storage which search has proposed a trial: the number of its first trial identifies a search."""
        if not self._trials:
            self._since = trial.number
            trial.set_user_attr(_FIRST, self._marks())
            if self._options.sampler.get("seed") is None and trial.number > self._before:
                self._reseed(trial.number)  # another process has begun in the same study at the same moment
        trial.set_user_attr(_SEARCH, self._since)

    def _require_free(self, suggested: Mapping[str, Any]) -> None:
        """Refuse a key that the user's own code suggests although it has a fixed value, which the trial would have."""
        names = {name.lstrip("+") for name in suggested}
        for text in self._space.fixed:
            free = text.partition("=")[0].lstrip("+~") not in names
            require(free, "hydra.sweeper.custom_search_space", "must suggest no key that has a fixed value", text)

    def _fail_lost(self) -> None:
        """Tell the study that the trials which a killed process left running, and this one does not have, have failed.

        Other running trials may be another process's, and so may all trials of a search without a record to resume.
        """
        for one in self._unclaimed:
            if one.user_attrs.get(_SEARCH) == self._since and not one.state.is_finished():
                self._study.tell(one.number, state=load().trial.TrialState.FAIL)

    def _marks(self) -> list[str]:
        """Return digests of the identity of the search, and of the values that all its points share."""
        shared = sorted(text for text in self._space.fixed if not text.startswith(_RESUME))
        return [hashlib.sha256(text.encode()).hexdigest() for text in (self.identity, repr(shared))]

    def _first_before(self) -> Any:
        """Return the trial that this search has proposed first in an earlier process, None if there is none.

        If several processes have run this search, it is that of the last one, or of the last one that had the same
        fixed values, if any had.
        """
        search, shared = self._marks()
        marked = [(one.user_attrs.get(_FIRST, ["", ""]), one) for one in self._known()]
        known = [(marks[1] == shared, one.number, one) for marks, one in marked if marks[0] == search]
        return self._trial_of(max(known)[-1]) if known else None

    def _trial_of(self, known: Any) -> Any:
        """Return the trial to tell values to, of one that the study holds."""
        return load().trial.Trial(self._study, known._trial_id)  # noqa: SLF001  # as Optuna's own dashboards do

    def _kept(self, params: Mapping[str, Any]) -> Any:
        """Return the trial of a recorded proposal in a study's database, None if there is none; each is taken once."""
        for place, known in enumerate(self._unclaimed):
            if dict(known.params) == params:
                return self._trial_of(self._unclaimed.pop(place))
        return None

    def _recalled(self, past: Mapping[str, str]) -> dict[str, Any]:
        """Return the parameters of a recorded proposal."""
        kinds = load().distributions
        found: dict[str, Any] = {}
        for name, distribution in self._space.distributions.items():
            text = past.get(name)
            if isinstance(distribution, kinds.CategoricalDistribution):
                values = [choice for choice in distribution.choices if override_text(choice) == text]
            else:
                kind = int if isinstance(distribution, kinds.IntDistribution) else float
                values = [] if text is None else [kind(text)]
            if not values or not distribution._contains(distribution.to_internal_repr(values[0])):  # noqa: SLF001  # no other way
                raise ConfigError(f"{name} must span what the record holds of this search, {text}, got {distribution}")
            found[name] = values[0]
        shared = {text.partition("=")[0] for text in self._space.fixed}
        # The others are those that the user's own code has suggested.
        return found | {name: _parsed(text) for name, text in past.items() if name not in {*found, *shared}}


def _require_same(number: int, before: Mapping[str, str], now: Mapping[str, str]) -> None:
    if any(before.get(name) != text for name, text in now.items()):
        raise StudyError(
            f"sweep.resume must go on from the proposals in the record, number {number} of which was "
            f"{' '.join(_overrides(before))}, and would be {' '.join(_overrides(now))}"
        )


def _parsed(text: str) -> Any:
    """Return the value of a text of `override_text`."""
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return kind(text)
    return text


def _overrides(params: Mapping[str, str]) -> list[str]:
    return [f"{name}={text}" for name, text in params.items()]
