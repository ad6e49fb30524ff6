"""What the tasks have in common that look at the loss of one trial: each is computed alone, and is never resumed."""

from __future__ import annotations

import abc
from collections.abc import Hashable, Iterator, Sequence
from typing import TYPE_CHECKING, ClassVar, final

import numpy as np

from tasks.arrays.array import Array
from tasks.arrays.devices import HOST
from tasks.datasets.dataset import Dataset
from tasks.errors import require
from tasks.events import Checkpoint, Event

if TYPE_CHECKING:
    from tasks.trial import Trial

TRAINING_FIELDS = frozenset(
    {
        "strategy",
        "optimizer",
        "schedule",
        "clip",
        "learning_rate",
        "batch_size",
        "steps",
        "record_every",
        "evaluate_every",
    }
)
"""The fields of a trial that only a training uses."""


class Study(abc.ABC):
    """A task that looks at a trial's loss, the mean over ``examples`` training examples (None: all).

    It takes seconds, so it makes no checkpoints and is repeated rather than resumed.
    """

    __slots__ = ()

    trains: ClassVar[bool] = False
    needs_data: ClassVar[bool] = True

    examples: int | None

    def unused(self, trial: Trial) -> frozenset[str]:
        """Return the fields of training, and ``data_seed`` where all examples are used."""
        del trial
        return TRAINING_FIELDS | {"data_seed"} if self.examples is None else TRAINING_FIELDS

    def check(self, trial: Trial, dataset: Dataset) -> None:
        """Refuse more examples than there are, and images that the model cannot take."""
        available = len(dataset.train)
        rule = f"must be at most the {available} training examples of {dataset.name}, or null for all of them"
        require(self.examples is None or self.examples <= available, "task.examples", rule, self.examples)
        trial.model.check(dataset.image_shape)

    @final
    def fusion_key(self, trial: Trial) -> tuple[Hashable, ...]:
        """Return what no other trial has: it is never fused, the points of the study are its trial axis."""
        del trial
        return (object(),)

    @final
    def run(
        self,
        trials: Sequence[Trial],
        dataset: Dataset,
        *,
        threads: int,
        start: Checkpoint | None = None,
        checkpoint_every: int | None = None,
        like: Array = HOST,
    ) -> Iterator[Event]:
        """Yield the events of the one trial."""
        del start, checkpoint_every
        (trial,) = trials
        # A loss that overflows is a value of the study, infinite or NaN, and not a warning.
        with np.errstate(over="ignore", invalid="ignore"):
            yield from self.study(trial, dataset, threads=threads, like=like)

    @abc.abstractmethod
    def study(self, trial: Trial, dataset: Dataset, *, threads: int, like: Array) -> Iterator[Event]:
        """Yield what there is to see: curves, and one result."""


def require_examples(count: int | None) -> None:
    """Raise a `ConfigError` for a number of examples below 1."""
    require(count is None or count >= 1, "task.examples", "must be >= 1, or null for the full training set", count)


def require_scale(parameter: str, scale: float | None, *, zero: bool = False) -> None:
    """Raise a `ConfigError` for a scale below 0, or for 0 unless ``zero`` allows it."""
    rule = f"must be {'>=' if zero else '>'} 0, or null for scores of about 1"
    require(scale is None or scale > 0 or (zero and scale == 0), parameter, rule, scale)
