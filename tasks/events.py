"""What a computation reports while it runs: plain frozen records, idempotent by trial and step."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np


class Outcome(enum.Enum):
    """How a trial ended; the value is recorded as the tag ``outcome``, and printed."""

    COMPLETE = "complete"
    DIVERGED = "diverged"
    STOPPED = "stopped early"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """A block of consecutive points of one trial's curves.

    ``trial`` is the position of the trial in its fused group, ``steps`` is int64 ``(P,)`` and each
    metric is float64 ``(P,)``; a NaN means that the metric has no point at that step.
    """

    trial: int
    steps: np.ndarray
    metrics: Mapping[str, np.ndarray]


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """The end of one trial: its outcome, its last metrics and its arrays (``weights`` among them).

    ``step`` is the last step done, for a diverged trial that whose loss, or at the end whose weights, are not finite.
    ``message`` explains the outcome in a sentence; it may be empty.
    """

    trial: int
    outcome: Outcome
    step: int
    metrics: Mapping[str, float]
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """The state from which a fused group goes on as if it had never stopped.

    ``step`` is the number of steps done; ``trials`` ``(K,)`` are the positions in the group of the trials that
    had not ended by then, and ``arrays`` is their state, the trial axis first in each.
    """

    step: int
    trials: np.ndarray
    arrays: Mapping[str, np.ndarray]

    def of_trials(self, kept: Sequence[int]) -> Checkpoint:
        """Return the checkpoint of a new group: the trials ``kept`` of this one, in that order.

        >>> whole = Checkpoint(step=5, trials=np.array([2, 0]), arrays={"weights": np.array([[20.0], [0.0]])})
        >>> whole.of_trials([2]).trials, whole.of_trials([2]).arrays["weights"]
        (array([0]), array([[20.]]))
        """
        rows = [row for row, trial in enumerate(self.trials) if trial in kept]
        return Checkpoint(
            step=self.step,
            trials=np.array([kept.index(self.trials[row]) for row in rows]),
            arrays={name: array[rows] for name, array in self.arrays.items()},
        )

    @classmethod
    def join(cls, parts: Sequence[Checkpoint]) -> Checkpoint:
        """Return the checkpoint of a merged group, part after part: the inverse of `of_trials`.

        The parts are at the same step; their trials can be fused and none has ended. An array that a part lacks is 0
        for its trials: they have another update rule.

        >>> parts = [Checkpoint(step=5, trials=np.array([0]), arrays={"weights": np.array([[w]])}) for w in (1.0, 2.0)]
        >>> Checkpoint.join(parts).trials, Checkpoint.join(parts).arrays["weights"]
        (array([0, 1]), array([[1.],
               [2.]]))
        """
        first, *others = parts
        assert all(part.step == first.step for part in others), "trials that are joined have come to the same step"
        assert all(sorted(part.trials) == list(range(len(part.trials))) for part in parts), "none of them has ended"
        sizes = [0, *(len(part.trials) for part in parts[:-1])]
        like = {name: array for part in parts for name, array in part.arrays.items()}

        def of_part(part: Checkpoint, name: str) -> np.ndarray:
            lacking = (len(part.trials), *like[name].shape[1:])
            return part.arrays[name] if name in part.arrays else np.zeros(lacking, dtype=like[name].dtype)

        return cls(
            step=first.step,
            trials=np.concatenate([part.trials + before for part, before in zip(parts, np.cumsum(sizes), strict=True)]),
            arrays={name: np.concatenate([of_part(part, name) for part in parts]) for name in like},
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """The end of a computation at the step it was to pause at, with the checkpoint to go on from."""

    checkpoint: Checkpoint


Event = Curve | Result | Checkpoint | Pause
