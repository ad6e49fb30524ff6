"""task=train: a fused group of trials follows its strategy to the end of the budget, measured as it goes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tasks.curves import Curves
from tasks.datasets.dataset import Dataset
from tasks.errors import require
from tasks.events import Checkpoint, Curve, Event, Outcome, Result
from tasks.optimizers import Lbfgs
from tasks.problem import Batch, Problem
from tasks.strategies.gradient_descent import GradientDescent

if TYPE_CHECKING:
    from tasks.trial import Trial

# A stretch of steps between two looks at the clock of events: long enough that looking costs nothing.
_STRETCH = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Train:
    """Train a model by a strategy, and test it once at the end."""

    def unused(self, trial: Trial) -> frozenset[str]:
        """Return what the trial's strategy does not use, and the data's order where every step sees all of it."""
        lbfgs = isinstance(trial.strategy, GradientDescent) and isinstance(trial.optimizer, Lbfgs)
        return (
            trial.strategy.unused()
            | ({"data_seed"} if trial.batch_size is None else set())
            | ({"learning_rate", "schedule"} if lbfgs else set())
        )

    def fusion_key(self, trial: Trial) -> tuple[Any, ...]:
        """Return what decides which examples are seen when, and which arithmetic is done on them."""
        kinds = tuple(type(row).__name__ for row in (trial.strategy, trial.optimizer))
        data = (trial.batch_size, None if trial.batch_size is None else trial.data_seed)
        return (*kinds, trial.model, data, trial.steps, trial.record_every, trial.evaluate_every)

    def check(self, trial: Trial, dataset: Dataset) -> None:
        """Refuse a batch larger than the training set."""
        count = len(dataset.train)
        rule = f"must be at most the {count} training examples of {dataset.name}, or null for all of them"
        require(trial.batch_size is None or trial.batch_size <= count, "batch_size", rule, trial.batch_size)
        if isinstance(trial.strategy, GradientDescent) and isinstance(trial.optimizer, Lbfgs):
            require(
                trial.batch_size in {None, count}, "batch_size", "must be null for optimizer=lbfgs", trial.batch_size
            )

    def run(
        self,
        trials: Sequence[Trial],
        dataset: Dataset,
        *,
        width: int,
        threads: int,
        start: Checkpoint | None = None,
        checkpoint_every: int | None = None,
    ) -> Iterator[Event]:
        """Run the group and yield its curves, checkpoints and results."""
        # Rows of one class must stand next to each other to be computed as one.
        order = sorted(range(len(trials)), key=lambda k: _kinds(trials[k]))
        like = np.empty(0, dtype=np.float32)
        problem = Problem.of([trials[k] for k in order], dataset, like=like, width=width, threads=threads)
        run = _Run(problem, place=np.array(order)) if start is None else _Run.resumed(problem, order, start)
        # A loss that overflows is an outcome, not a warning.
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            yield from run.events(checkpoint_every)


def _kinds(trial: Trial) -> tuple[str, str]:
    return type(trial.loss).__name__, type(trial.regularizer).__name__


class _Run:
    """The trials of a group that are still running: their problem, state and curves, at one step."""

    def __init__(self, problem: Problem, place: np.ndarray) -> None:
        self.problem = problem
        self.place = place  # which trial of the group each running one is
        self.step = 0
        self.state: Mapping[str, Any] = problem.trials[0].strategy.init(problem)
        self.curves = Curves(every=problem.trials[0].record_every)

    @classmethod
    def resumed(cls, problem: Problem, order: Sequence[int], start: Checkpoint) -> _Run:
        """Return the run as it was when the checkpoint was made, without the trials that had ended."""
        run = cls.__new__(cls)
        run.problem = problem.of_trials([list(order).index(k) for k in start.trials])
        run.place, run.step = start.trials, start.step
        run.curves = Curves.resumed(run.problem.trials[0].record_every, start.arrays)
        run.state = {name: array for name, array in start.arrays.items() if name not in run.curves.state()}
        return run

    def events(self, checkpoint_every: int | None) -> Iterator[Event]:
        """Yield the events of the run, from its step to the end of the budget."""
        trial = self.problem.trials[0]
        while self.step < trial.steps and len(self.place):
            ahead = (_STRETCH, trial.evaluate_every, checkpoint_every)
            stop = min(self.step - self.step % every + every for every in ahead if every)
            yield from self._advance(min(stop, trial.steps))
            if checkpoint_every and self.step % checkpoint_every == 0 and self.step < trial.steps and len(self.place):
                arrays = dict(self.state) | self.curves.state()
                yield Checkpoint(step=self.step, trials=self.place, arrays=arrays)

    def _advance(self, stop: int) -> Iterator[Event]:
        """Do the steps up to ``stop``; yield their points, and the results of the trials that ended in them."""
        start, self.step = self.step, stop
        trial = self.problem.trials[0]
        self.state, measured = trial.strategy.advance(self.problem, self.state, start, stop)
        measured = {"loss": measured["data_loss"] + measured["regularization_loss"], **measured}
        measured = {f"train/{name}": values for name, values in measured.items()}
        final = stop == trial.steps
        finite = np.isfinite(measured["train/loss"])  # (S, K)
        alive = np.asarray(finite.all(axis=0))
        steps, means = self.curves.extend(start, measured, final=final)
        for k in range(len(self.place)):
            good = len(steps) if alive[k] else np.searchsorted(steps, start + 1 + int(finite[:, k].argmin()))
            yield from self._points(k, steps[:good], {name: mean[:good, k] for name, mean in means.items()})
        for k in np.flatnonzero(~alive).tolist():
            bad = int(finite[:, k].argmin())
            last = {name: values[bad : bad + 1, k] for name, values in measured.items()}
            yield from self._points(k, np.array([start + 1 + bad]), last)
            yield self._result(k, Outcome.DIVERGED, start + 1 + bad, {})
        if not alive.all():
            self._keep(np.flatnonzero(alive))
        if len(self.place) and (final or stop % trial.evaluate_every == 0):
            yield from self._evaluate(final=final)

    def _points(self, k: int, steps: np.ndarray, metrics: Mapping[str, np.ndarray]) -> Iterator[Curve]:
        if len(steps):
            examples = steps * len(self.problem.minibatches.at(0))
            counts = {"evaluations": steps.astype(np.float64), "examples": examples.astype(np.float64)}
            yield Curve(trial=int(self.place[k]), steps=steps, metrics=dict(metrics) | counts)

    def _evaluate(self, *, final: bool) -> Iterator[Event]:
        """Yield the validation points of all running trials and, at the end, their tests and results."""
        weights, dataset = self.state["weights"], self.problem.dataset
        validation: dict[str, np.ndarray] = {}
        if len(dataset.validation):
            loss, hits = self.problem.losses_and_accuracy(weights, Batch(split=dataset.validation, index=None))
            validation = {"val/loss": loss, "val/accuracy": hits}
            for k, place in enumerate(self.place):
                point = {name: values[k : k + 1] for name, values in validation.items()}
                yield Curve(trial=int(place), steps=np.array([self.step]), metrics=point)
        if final:
            loss, hits = self.problem.losses_and_accuracy(weights, Batch(split=dataset.test, index=None))
            ends = validation | {"test/loss": loss, "test/accuracy": hits}
            for k in range(len(self.place)):
                metrics = {name: float(values[k]) for name, values in ends.items()}
                yield self._result(k, Outcome.COMPLETE, self.step, metrics)

    def _result(self, k: int, outcome: Outcome, step: int, metrics: Mapping[str, float]) -> Result:
        message = f"the loss ceased to be finite at step {step}" if outcome is Outcome.DIVERGED else ""
        return Result(
            trial=int(self.place[k]),
            outcome=outcome,
            step=step,
            metrics=metrics,
            arrays={"weights": np.asarray(self.state["weights"][k])},
            message=message,
        )

    def _keep(self, trials: np.ndarray) -> None:
        """Go on with some of the trials; the others' columns are dropped and none of these loses a bit."""
        self.place = self.place[trials]
        if not len(trials):
            return
        self.problem = self.problem.of_trials(trials.tolist())
        self.state = {name: array[trials] for name, array in self.state.items()}
        self.curves.keep(trials.tolist())
