"""task=train: a fused group of trials is trained to the end of its budget; its curves are reported on the way."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from array_api_compat import array_namespace

from tasks.arrays.array import Array
from tasks.arrays.devices import HOST, as_numpy, device_put, host, in_precision, is_out_of_memory, take_rows
from tasks.arrays.replay import free_graphs
from tasks.arrays.stacking import form
from tasks.datasets.dataset import Dataset
from tasks.errors import require
from tasks.events import Checkpoint, Curve, Event, Outcome, Pause, Result
from tasks.fused.problem import Problem
from tasks.rows import identity
from tasks.studies.curves import Curves

if TYPE_CHECKING:
    from tasks.trial import Trial


@dataclass(frozen=True, slots=True, kw_only=True)
class Train:
    """Train a model by a strategy, and test it once at the end."""

    trains: ClassVar[bool] = True
    needs_data: ClassVar[bool] = True
    measured_every: ClassVar[Mapping[str, str]] = {
        **dict.fromkeys(("val/accuracy", "val/loss"), "trial.evaluate_every"),
        **dict.fromkeys(("train/accuracy", "train/loss"), "trial.record_every"),
        **dict.fromkeys(("train/data_loss", "train/regularization_loss"), "trial.record_every"),
    }

    def unused(self, trial: Trial) -> frozenset[str]:
        """Return the fields that the strategy does not use, and ``data_seed`` for full batches."""
        return trial.strategy.unused() | ({"data_seed"} if trial.batch_size is None else set())

    def fusion_key(self, trial: Trial) -> tuple[Hashable, ...]:
        """Return what decides which examples each step sees, and which arithmetic is done on them.

        The task of a group's first trial runs all, so that those of a group are equal, whatever fields a task adds.
        """
        strategy = (type(trial.strategy), *trial.strategy.fusion_key(trial))
        data = (trial.batch_size, None if trial.batch_size is None else trial.data_seed)
        rows = (identity(trial.task), identity(trial.model))
        return (*strategy, *rows, data, trial.steps, trial.record_every, trial.evaluate_every)

    def check(self, trial: Trial, dataset: Dataset) -> None:
        """Refuse a batch larger than the training set, and what model and strategy refuse."""
        count = len(dataset.train)
        rule = f"must be at most the {count} training examples of {dataset.name}, or null for all of them"
        require(trial.batch_size is None or trial.batch_size <= count, "batch_size", rule, trial.batch_size)
        trial.model.check(dataset.image_shape)
        trial.strategy.check(trial, dataset)

    def metrics(self, dataset: Dataset) -> frozenset[str]:
        """Return the measures of a strategy, and the metrics of each split that has examples."""
        measured = ("loss", "data_loss", "regularization_loss", "accuracy", "gradient_norm", "update_ratio")
        names = {"evaluations", "examples", *(f"train/{name}" for name in measured)}
        for split, examples in (("val", dataset.validation), ("test", dataset.test)):
            names |= {f"{split}/loss", f"{split}/accuracy"} if len(examples) else set()
        return frozenset(names)

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
        """Run the group and yield its curves, checkpoints and results; at step ``until`` its trials pause."""
        running = range(len(trials)) if start is None else start.trials.tolist()
        # Trials with losses or update rules of one form, or equal regularizers, are computed as one if consecutive.
        order = sorted(running, key=lambda k: _kinds(trials[k]))
        like = in_precision(like, "float32")
        problem = Problem.of([trials[k] for k in order], dataset, like=like, threads=threads)
        # A loss that overflows is an outcome (diverged), not a warning.
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            yield from _events(problem, np.array(order), start, checkpoint_every, until)


def _kinds(trial: Trial) -> tuple[str, str, str]:
    return repr(form(trial.loss)), repr(form(trial.optimizer)), repr(trial.regularizer)


def _events(
    problem: Problem, positions: np.ndarray, start: Checkpoint | None, checkpoint_every: int | None, until: int | None
) -> Iterator[Event]:
    """Yield the events of the trials at these positions of their group; out of memory, run it in halves.

    The halves run one after the other. They make no checkpoints, since none could hold both.
    """
    free_graphs()
    group: _RunningGroup | None = None
    try:
        group = _RunningGroup(problem, positions, start)
        yield from group.events(checkpoint_every, until)
    except Exception as error:
        running = positions if group is None else group.positions
        if not is_out_of_memory(error) or len(running) == 1:
            raise
        start = start if group is None else group.checkpoint()
    else:
        return
    # Free the memory of the group before its halves begin: its state is in the checkpoint, on the host.
    del group
    for half in np.array_split(running, 2):
        members = [positions.tolist().index(k) for k in half]
        yield from _events(problem.of_trials(members), half, start, None, until)


class _RunningGroup:
    """The trials of a group that are still running: their problem, state and curves, at one step.

    A stretch of steps is computed completely before it changes the state or yields an event, so that it can be retried.
    """

    def __init__(self, problem: Problem, positions: np.ndarray, start: Checkpoint | None) -> None:
        trial = problem.trials[0]
        self.problem = problem
        self.positions = positions  # of the running trials, in the group
        self.step = 0 if start is None else start.step
        if start is None:
            self.state: Mapping[str, Any] = trial.strategy.init(problem)
            self.curves = Curves(every=trial.record_every)
            return
        # A checkpoint that was joined from parts has another order, and that of a group more trials than its half.
        order = [start.trials.tolist().index(k) for k in positions.tolist()]
        arrays = start.arrays
        if order != list(range(len(start.trials))):
            arrays = {name: array[order] for name, array in arrays.items()}
        self.curves = Curves.resumed(trial.record_every, arrays)
        state = {name: array for name, array in arrays.items() if name not in self.curves.state()}
        self.state = {name: device_put(array, problem.like) for name, array in state.items()}

    def checkpoint(self) -> Checkpoint:
        """Return the state of the group, on the host."""
        state = {name: as_numpy(array) for name, array in self.state.items()}
        return Checkpoint(step=self.step, trials=self.positions, arrays=state | self.curves.state())

    def events(self, checkpoint_every: int | None, until: int | None) -> Iterator[Event]:
        """Yield the events of the group from its step on, to ``until`` or the end of the budget."""
        trial = self.problem.trials[0]
        last = trial.steps if until is None else min(until, trial.steps)
        while self.step < last and len(self.positions):
            # The next stretch ends at the next evaluation or checkpoint at the latest.
            due = [self.step - self.step % every + every for every in (trial.evaluate_every, checkpoint_every) if every]
            yield from self._advance(min(self.step + trial.strategy.stretch(self.problem), last, *due))
            if checkpoint_every and self.step % checkpoint_every == 0 and self.step < last and len(self.positions):
                yield self.checkpoint()
        if last < trial.steps and len(self.positions):
            yield Pause(checkpoint=self.checkpoint())

    def _advance(self, stop: int) -> Iterator[Event]:
        """Do the steps up to ``stop``; yield their points, and the results of the trials that ended."""
        start, trial = self.step, self.problem.trials[0]
        state, measured = trial.strategy.advance(self.problem, self.state, start, stop)
        final = stop == trial.steps
        evaluated = self._evaluated(state["weights"], final=final) if final or stop % trial.evaluate_every == 0 else {}
        measured = {"loss": measured["data_loss"] + measured["regularization_loss"], **measured}
        measured = {f"train/{name}": values for name, values in measured.items()}
        finite = np.isfinite(measured["train/loss"])  # (S, K)
        if final:  # no step follows that would measure the last weights
            xp = array_namespace(state["weights"])
            finite[-1] &= as_numpy(xp.all(xp.isfinite(state["weights"]), axis=-1))
        alive = np.asarray(finite.all(axis=0))
        survivors = None if alive.all() else self._survivors(state, np.flatnonzero(alive))
        self.step, self.state = stop, state
        steps, means = self.curves.extend(start, measured, final=final)
        for k in range(len(self.positions)):
            good = len(steps) if alive[k] else np.searchsorted(steps, start + 1 + int(finite[:, k].argmin()))
            yield from self._points(k, steps[:good], {name: mean[:good, k] for name, mean in means.items()})
        for k in np.flatnonzero(~alive).tolist():
            bad = int(finite[:, k].argmin())
            last = {name: values[bad : bad + 1, k] for name, values in measured.items()}
            yield from self._points(k, np.array([start + 1 + bad]), last)
            yield self._result(k, Outcome.DIVERGED, start + 1 + bad, {})
        for k in np.flatnonzero(alive).tolist():
            yield from self._ends(k, {name: values[k : k + 1] for name, values in evaluated.items()}, final=final)
        if survivors is not None:
            self.problem, self.state = survivors
            self.positions = self.positions[alive]
            self.curves.keep(np.flatnonzero(alive).tolist())

    def _points(self, k: int, steps: np.ndarray, metrics: Mapping[str, np.ndarray]) -> Iterator[Curve]:
        if len(steps):
            examples = steps * self.problem.minibatches.batch_size
            counts = {"evaluations": steps.astype(np.float64), "examples": examples.astype(np.float64)}
            yield Curve(trial=int(self.positions[k]), steps=steps, metrics=dict(metrics) | counts)

    def _evaluated(self, weights: Array, *, final: bool) -> dict[str, np.ndarray]:
        """Return loss and accuracy on the validation set, at the end also on the test set, float64 ``(K,)`` each."""
        dataset = self.problem.dataset
        answers: dict[str, np.ndarray] = {}
        for name, split, due in (("val", dataset.validation, len(dataset.validation)), ("test", dataset.test, final)):
            if due:
                loss, accuracy = self.problem.losses_and_accuracy(weights, self.problem.batch(split))
                answers |= {f"{name}/loss": host(loss), f"{name}/accuracy": host(accuracy)}
        return answers

    def _ends(self, k: int, evaluated: Mapping[str, np.ndarray], *, final: bool) -> Iterator[Event]:
        """Yield a trial's validation point, and at the end of the budget its result."""
        point = {name: values for name, values in evaluated.items() if name.startswith("val/")}
        if point:
            yield Curve(trial=int(self.positions[k]), steps=np.array([self.step]), metrics=point)
        if final:
            metrics = {name: float(values[0]) for name, values in evaluated.items()}
            yield self._result(k, Outcome.COMPLETE, self.step, metrics)

    def _result(self, k: int, outcome: Outcome, step: int, metrics: Mapping[str, float]) -> Result:
        diverged = outcome is Outcome.DIVERGED
        # The group went on to the end of a stretch, so the weights are not those of the step at which it diverged.
        arrays = {} if diverged else self.problem.named(as_numpy(self.state["weights"][k, ...]))
        return Result(
            trial=int(self.positions[k]),
            outcome=outcome,
            step=step,
            metrics=metrics,
            arrays=arrays,
            message=f"loss or weights ceased to be finite at step {step}" if diverged else "",
        )

    def _survivors(self, state: Mapping[str, Any], trials: np.ndarray) -> tuple[Problem, Mapping[str, Any]]:
        """Return the problem and the state of the trials that go on, with the same bits; those of all if none does."""
        if not len(trials):
            return self.problem, state
        rows = {name: take_rows(array, trials) for name, array in state.items()}
        return self.problem.of_trials(trials.tolist()), rows
