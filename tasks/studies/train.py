"""task=train: a fused group of trials follows its strategy to the end of the budget, measured as it goes."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from tasks.arrays.array import Array
from tasks.arrays.devices import HOST, as_numpy, host, in_precision, is_out_of_memory, placed, rows
from tasks.datasets.dataset import Dataset
from tasks.errors import require
from tasks.events import Checkpoint, Curve, Event, Outcome, Pause, Result
from tasks.fused.problem import Problem
from tasks.studies.curves import Curves

if TYPE_CHECKING:
    from tasks.trial import Trial


@dataclass(frozen=True, slots=True, kw_only=True)
class Train:
    """Train a model by a strategy, and test it once at the end."""

    trains: ClassVar[bool] = True
    needs_data: ClassVar[bool] = True

    def unused(self, trial: Trial) -> frozenset[str]:
        """Return what the trial's strategy does not use, and the data's order where every step sees all of it."""
        return trial.strategy.unused() | ({"data_seed"} if trial.batch_size is None else set())

    def fusion_key(self, trial: Trial) -> tuple[Hashable, ...]:
        """Return what decides which examples are seen when, and which arithmetic is done on them."""
        strategy = (type(trial.strategy).__name__, *trial.strategy.fusion_key(trial))
        data = (trial.batch_size, None if trial.batch_size is None else trial.data_seed)
        return (*strategy, trial.model, data, trial.steps, trial.record_every, trial.evaluate_every)

    def check(self, trial: Trial, dataset: Dataset) -> None:
        """Refuse a batch larger than the training set, and what model and strategy refuse."""
        count = len(dataset.train)
        rule = f"must be at most the {count} training examples of {dataset.name}, or null for all of them"
        require(trial.batch_size is None or trial.batch_size <= count, "batch_size", rule, trial.batch_size)
        trial.model.check(dataset.image_shape)
        trial.strategy.check(trial, dataset)

    def metrics(self, dataset: Dataset) -> frozenset[str]:
        """Return what a strategy measures as it trains, and what is measured on each split that has examples."""
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
        """Run the group and yield its curves, checkpoints and results; trials that come to ``until`` pause there."""
        # Rows of one class must stand next to each other to be computed as one.
        order = sorted(range(len(trials)), key=lambda k: _kinds(trials[k]))
        like = in_precision(like, "float32")
        problem = Problem.of([trials[k] for k in order], dataset, like=like, threads=threads)
        # A loss that overflows is an outcome, not a warning.
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            yield from _events(problem, np.array(order), start, checkpoint_every, until)


def _kinds(trial: Trial) -> tuple[str, str]:
    return type(trial.loss).__name__, type(trial.regularizer).__name__


def _events(
    problem: Problem, place: np.ndarray, start: Checkpoint | None, checkpoint_every: int | None, until: int | None
) -> Iterator[Event]:
    """Yield the events of trials at these places of their group; where memory does not suffice, half by half.

    Halves run one after the other, so that no checkpoint holds them both: they make none.
    """
    run: _Run | None = None
    try:
        run = _Run(problem, place=place) if start is None else _Run.resumed(problem, place, start)
        yield from run.events(checkpoint_every, until)
    except Exception as error:
        running = place if run is None else run.place
        if not is_out_of_memory(error) or len(running) == 1:
            raise
        start = start if run is None else run.checkpoint()
    else:
        return
    # What the group held goes before its halves begin: its state is in the checkpoint, on the host.
    del run
    for half in np.array_split(running, 2):
        members = [place.tolist().index(k) for k in half]
        begin = None if start is None else _of_places(start, half)
        yield from _events(problem.of_trials(members), half, begin, None, until)


def _of_places(start: Checkpoint, places: np.ndarray) -> Checkpoint:
    """Return the part of a checkpoint that holds the trials at these places of the group."""
    chosen = np.flatnonzero(np.isin(start.trials, places))
    arrays = {name: array[chosen] for name, array in start.arrays.items()}
    return Checkpoint(step=start.step, trials=start.trials[chosen], arrays=arrays)


class _Run:
    """The trials of a group that are still running: their problem, state and curves, at one step.

    A stretch of steps is computed before any of it is told or kept, so that one that fails can be tried again.
    """

    def __init__(self, problem: Problem, place: np.ndarray) -> None:
        self.problem = problem
        self.place = place  # which trial of the group each running one is
        self.step = 0
        self.state: Mapping[str, Any] = problem.trials[0].strategy.init(problem)
        self.curves = Curves(every=problem.trials[0].record_every)

    @classmethod
    def resumed(cls, problem: Problem, place: np.ndarray, start: Checkpoint) -> _Run:
        """Return the run as it was when the checkpoint was made, without the trials that had ended."""
        run = cls.__new__(cls)
        # In the order of the problem's trials: that of the checkpoint's is another where it was joined from parts.
        running = [k for k in place.tolist() if k in start.trials]
        order = [start.trials.tolist().index(k) for k in running]
        arrays = start.arrays
        if order != list(range(len(order))):
            arrays = {name: array[order] for name, array in arrays.items()}
        run.problem = problem.of_trials([place.tolist().index(k) for k in running])
        run.place, run.step = np.array(running), start.step
        run.curves = Curves.resumed(run.problem.trials[0].record_every, arrays)
        state = {name: array for name, array in arrays.items() if name not in run.curves.state()}
        run.state = {name: placed(array, problem.like) for name, array in state.items()}
        return run

    def checkpoint(self) -> Checkpoint:
        """Return the state of the run, in the memory of the host."""
        state = {name: as_numpy(array) for name, array in self.state.items()}
        return Checkpoint(step=self.step, trials=self.place, arrays=state | self.curves.state())

    def events(self, checkpoint_every: int | None, until: int | None) -> Iterator[Event]:
        """Yield the events of the run, from its step to the end of the budget or, before that, to ``until``."""
        trial = self.problem.trials[0]
        last = trial.steps if until is None else min(until, trial.steps)
        while self.step < last and len(self.place):
            due = [self.step - self.step % every + every for every in (trial.evaluate_every, checkpoint_every) if every]
            yield from self._advance(min(self.step + trial.strategy.stretch(self.problem), last, *due))
            if checkpoint_every and self.step % checkpoint_every == 0 and self.step < last and len(self.place):
                yield self.checkpoint()
        if last < trial.steps and len(self.place):
            yield Pause(checkpoint=self.checkpoint())

    def _advance(self, stop: int) -> Iterator[Event]:
        """Do the steps up to ``stop``; yield their points, and the results of the trials that ended in them."""
        start, trial = self.step, self.problem.trials[0]
        state, measured = trial.strategy.advance(self.problem, self.state, start, stop)
        final = stop == trial.steps
        evaluated = self._evaluated(state["weights"], final=final) if final or stop % trial.evaluate_every == 0 else {}
        self.step, self.state = stop, state
        measured = {"loss": measured["data_loss"] + measured["regularization_loss"], **measured}
        measured = {f"train/{name}": values for name, values in measured.items()}
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
        for k in np.flatnonzero(alive).tolist():
            yield from self._ends(k, {name: values[k : k + 1] for name, values in evaluated.items()}, final=final)
        if not alive.all():
            self._keep(np.flatnonzero(alive))

    def _points(self, k: int, steps: np.ndarray, metrics: Mapping[str, np.ndarray]) -> Iterator[Curve]:
        if len(steps):
            examples = steps * self.problem.minibatches.batch_size
            counts = {"evaluations": steps.astype(np.float64), "examples": examples.astype(np.float64)}
            yield Curve(trial=int(self.place[k]), steps=steps, metrics=dict(metrics) | counts)

    def _evaluated(self, weights: Array, *, final: bool) -> dict[str, np.ndarray]:
        """Return what the validation set, and at the end the test set, say of the weights, float64 ``(K,)`` each."""
        dataset = self.problem.dataset
        answers: dict[str, np.ndarray] = {}
        for name, split, due in (("val", dataset.validation, len(dataset.validation)), ("test", dataset.test, final)):
            if due:
                loss, hits = self.problem.losses_and_accuracy(weights, self.problem.batch(split))
                answers |= {f"{name}/loss": host(loss), f"{name}/accuracy": host(hits)}
        return answers

    def _ends(self, k: int, evaluated: Mapping[str, np.ndarray], *, final: bool) -> Iterator[Event]:
        """Yield a trial's validation point, and its result where it has come to its end."""
        point = {name: values for name, values in evaluated.items() if name.startswith("val/")}
        if point:
            yield Curve(trial=int(self.place[k]), steps=np.array([self.step]), metrics=point)
        if final:
            metrics = {name: float(values[0]) for name, values in evaluated.items()}
            yield self._result(k, Outcome.COMPLETE, self.step, metrics)

    def _result(self, k: int, outcome: Outcome, step: int, metrics: Mapping[str, float]) -> Result:
        message = f"the loss ceased to be finite at step {step}" if outcome is Outcome.DIVERGED else ""
        return Result(
            trial=int(self.place[k]),
            outcome=outcome,
            step=step,
            metrics=metrics,
            arrays=self.problem.named(as_numpy(self.state["weights"][k, ...])),
            message=message,
        )

    def _keep(self, trials: np.ndarray) -> None:
        """Go on with some of the trials; the others' columns are dropped and none of these loses a bit."""
        self.place = self.place[trials]
        if not len(trials):
            return
        self.problem = self.problem.of_trials(trials.tolist())
        self.state = {name: rows(array, trials) for name, array in self.state.items()}
        self.curves.keep(trials.tolist())
