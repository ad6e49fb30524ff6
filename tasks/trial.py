"""A trial: one point of a sweep, as the rows and numbers that decide its result."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Protocol, runtime_checkable

from tasks.arrays.array import Array
from tasks.arrays.devices import HOST
from tasks.datasets.dataset import Dataset
from tasks.errors import require
from tasks.events import Checkpoint, Event
from tasks.losses import Loss, Svm
from tasks.models import Linear, Model
from tasks.optimizers import Optimizer, Sgd
from tasks.regularizers import L2, Regularizer
from tasks.schedules import Constant, Schedule
from tasks.strategies import GradientDescent, Strategy


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What a trial computes. Everything here, with the dataset, decides its result; nothing else does.

    The loss is the data loss plus ``regularization`` times the penalty. ``learning_rate`` is the factor on a step.
    ``batch_size`` is the number of examples of one evaluation, None for the full training set;
    ``steps`` is the budget: one step is one evaluation of the loss for a search, one of loss and gradient
    for gradient descent. ``seed`` draws initial weights and perturbations; ``data_seed`` draws the order of
    the examples, so trials with one ``data_seed`` see the same minibatches. A descent clips the Euclidean norm of a
    trial's whole gradient to ``clip`` (None: no clipping). A curve gets a point every ``record_every`` steps, the
    validation set is evaluated every ``evaluate_every`` steps.
    """

    task: Task
    model: Model = field(default_factory=Linear)
    loss: Loss = field(default_factory=Svm)
    regularizer: Regularizer = field(default_factory=L2)
    regularization: float = 0.0
    strategy: Strategy = field(default_factory=GradientDescent)
    optimizer: Optimizer = field(default_factory=Sgd)
    schedule: Schedule = field(default_factory=Constant)
    learning_rate: float = 1e-3
    batch_size: int | None = 256
    seed: int = 0
    data_seed: int = 0
    clip: float | None = None
    steps: int = 1000
    record_every: int = 10
    evaluate_every: int = 100

    def __post_init__(self) -> None:
        require(self.learning_rate > 0, "learning_rate", "must be > 0", self.learning_rate)
        require(self.regularization >= 0, "regularization", "must be >= 0", self.regularization)
        require(
            self.batch_size is None or self.batch_size >= 1,
            "batch_size",
            "must be >= 1, or null for the full training set",
            self.batch_size,
        )
        require(self.seed >= 0, "seed", "must be >= 0", self.seed)
        require(self.data_seed >= 0, "data_seed", "must be >= 0", self.data_seed)
        require(self.clip is None or self.clip > 0, "clip", "must be > 0, or null for any gradient", self.clip)
        require(self.steps >= 1, "steps", "must be >= 1", self.steps)
        require(self.record_every >= 1, "trial.record_every", "must be >= 1", self.record_every)
        require(self.evaluate_every >= 1, "trial.evaluate_every", "must be >= 1", self.evaluate_every)


class Task(Protocol):
    """What a trial can be asked to do: a row of `tasks.studies.registry.TASKS`, its fields the task's own parameters.

    ``trains`` says that a trial is a training, which a sweep ranks, draws, registers and may stop early: the task is
    then a `Training`, whose trials may pause and go on.
    ``needs_data`` is false for a task that runs with ``dataset=none``.
    """

    trains: ClassVar[bool]
    needs_data: ClassVar[bool]

    def unused(self, trial: Trial) -> frozenset[str]:
        """Return the fields of ``trial`` that have no influence on its result: its key leaves them out."""

    def fusion_key(self, trial: Trial) -> tuple[Hashable, ...]:
        """Return what trials must have in common to be computed as one fused group; the first one's task runs it."""

    def check(self, trial: Trial, dataset: Dataset) -> None:
        """Raise a `ConfigError` where the trial cannot run on the dataset, before anything starts."""

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
        """Run a fused group and yield its events; every trial ends in exactly one `Result`.

        ``threads`` is how many CPUs the group may use (the bits do not depend on it). ``start`` is a
        checkpoint of this group to go on from, ``checkpoint_every`` the steps between two checkpoints. ``like``
        is an array of the library and device to compute with; the task chooses the precision.
        """


class Training(Task, Protocol):
    """A task that trains: its trials may pause."""

    def run(
        self,
        trials: Sequence[Trial],
        dataset: Dataset,
        *,
        threads: int,
        start: Checkpoint | None = None,
        checkpoint_every: int | None = None,
        until: int | None = None,
        like: Array = HOST,
    ) -> Iterator[Event]:
        """Run a fused group as `Task.run` does; at step ``until`` its trials end in a `Pause`."""


def check(trial: Trial, dataset: Dataset) -> None:
    """Raise a `ConfigError` where a trial cannot run on a data set, before anything starts."""
    require(isinstance(dataset, Dataset), "dataset", "must be loaded as a Dataset (see make_dataset)", type(dataset))
    given, needed = len(dataset.train) > 0, trial.task.needs_data
    require(given or not needed, "dataset", "must be one with examples for this task", dataset.name)
    require(needed or not given, "dataset", "must be none for this task, which has data of its own", dataset.name)
    trial.task.check(trial, dataset)


def uses_model(trial: Trial) -> bool:
    """Return whether a trial's task uses the trial's model: a `Single`, for one, has a model of its own."""
    return "model" not in trial.task.unused(trial)


@runtime_checkable
class DeclaresMetrics(Protocol):
    """The capability of a task that declares its metrics before it runs."""

    def metrics(self, dataset: Dataset) -> frozenset[str]:
        """Return the names of all metrics that a trial may report on the dataset."""


@runtime_checkable
class DeclaresPoints(Protocol):
    """The capability of a training that declares what it measures on its way.

    ``measured_every`` has, for each metric, the key of a trial that says how often.
    """

    measured_every: ClassVar[Mapping[str, str]]
