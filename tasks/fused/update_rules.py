"""The update rules of a fused group: consecutive trials whose rules are of one form are updated as one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from array_api_compat import array_namespace

from tasks.arrays.array import Array
from tasks.arrays.stacking import by_form, concatenated, stack
from tasks.optimizers import Optimizer, State

if TYPE_CHECKING:
    from tasks.trial import Trial


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateRules:
    """The optimisers of ``K`` trials at once, each run of consecutive trials with the names of its state.

    The state of the group has the arrays of all of them: of a trial whose rule has no such array it is 0.
    """

    runs: tuple[tuple[slice, Optimizer, tuple[str, ...]], ...]

    @classmethod
    def of(cls, trials: Sequence[Trial], *, like: Array) -> UpdateRules:
        """Return the update rules of trials, in the precision and on the device of ``like``."""
        runs = by_form([trial.optimizer for trial in trials])
        stacked = ((run, stack(rows, like=like, trailing=1), tuple(empty_state(rows[0]))) for run, rows in runs)
        return cls(runs=tuple(stacked))

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the state of all trials."""
        return tuple(dict.fromkeys(name for *_, names in self.runs for name in names))

    def changes(self, owners: np.ndarray) -> list[int]:
        """Return the rows, of trials ``owners`` ``(H,)``, whose rule has another form than that of the row before."""
        runs = np.concatenate([np.full(run.stop - run.start, number) for number, (run, *_) in enumerate(self.runs)])
        places: list[int] = (np.flatnonzero(np.diff(runs[owners])) + 1).tolist()
        return places

    def init(self, weights: Array) -> State:
        """Return the state before the first step, from weights ``(K, P)``."""
        xp, states = array_namespace(weights), [rule.init(weights[run, ...]) for run, rule, _ in self.runs]

        def of_all(name: str) -> Array:
            pairs = zip(self.runs, states, strict=True)
            return concatenated([s[name] if name in s else xp.zeros_like(weights[run, ...]) for (run, *_), s in pairs])

        return {name: of_all(name) for name in self.names}

    def update(self, gradient: Array, state: State, *, learning_rate: Array, step: Array) -> tuple[Array, State]:
        """Return what to add to the weights, and the next state; see `Optimizer`."""
        updates, states = [], []
        for run, rule, names in self.runs:
            before: Mapping[str, Array] = {name: array[run, ...] for name, array in state.items()}
            own, rates = {name: before[name] for name in names}, learning_rate[run, ...]
            update, after = rule.update(gradient[run, ...], own, learning_rate=rates, step=step)
            updates.append(update)
            states.append({**before, **after})
        return concatenated(updates), {name: concatenated([after[name] for after in states]) for name in state}


def empty_state(optimizer: Optimizer) -> State:
    """Return an optimiser's state of no weights: its names and types."""
    return optimizer.init(np.empty(0, dtype=np.float32))
