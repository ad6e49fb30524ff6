"""A task of the user's own: a function that trains one trial, reports on the way, and returns the result.

It knows nothing of the sweep's other trials, nor of where it runs:

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Fit(Single):
        width: int = 32

        def train(self, trial, data, report):
            weights = report.kept.get("weights", np.zeros(self.width))
            for step in range(report.step + 1, trial.steps + 1):
                weights, loss = one_step(weights, data, trial.learning_rate)
                if step % trial.evaluate_every == 0:
                    report(step, {"train/loss": loss}, keep=lambda: {"weights": weights})
            return {"test/loss": test(weights), "weights": weights}
"""

from __future__ import annotations

import abc
import contextlib
import contextvars
import dataclasses
import json
import math
import queue
import threading
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, final

import numpy as np

from tasks.arrays.devices import HOST
from tasks.datasets.dataset import Dataset
from tasks.errors import ConfigError, require_choice
from tasks.events import Checkpoint, Curve, Event, Outcome, Pause, Result

if TYPE_CHECKING:
    from tasks.trial import Trial

Keep = Callable[[], Mapping[str, Any]]
"""Returns the state from which a trial can go on: named arrays, numbers, texts and bytes."""

_THREAD = "trial"
"""The name of the threads in which functions run."""

_BYTES = "bytes/"
"""The prefix of a checkpoint's arrays that hold bytes."""

_REPORTED = "/reported"
"""The name of a checkpoint's array that holds the metrics of its step: a trial may end there."""


class Diverged(Exception):  # noqa: N818  # an outcome, and no error of the program
    """Raised by a training that has diverged: its trial ends with that outcome, and is never the best."""


class Single(abc.ABC):
    """A task that computes one trial at a time: a row is a frozen dataclass whose fields are keys of the config.

    ``uses`` names the fields of a trial that `train` may read: the trial's key holds them and no others.
    ``needs_data`` says whether it needs a data set; without, the config is ``dataset=none``. ``patience`` is how
    many seconds to wait for `train` to stop; its thread is abandoned after that.

    A task may declare its metrics (`tasks.trial.DeclaresMetrics`): a sweep by another is then refused before it starts.
    """

    __slots__ = ()

    trains: ClassVar[bool] = True
    needs_data: ClassVar[bool] = True
    patience: ClassVar[float] = 5.0
    uses: ClassVar[frozenset[str]] = frozenset({"learning_rate", "batch_size", "seed", "steps", "evaluate_every"})

    @abc.abstractmethod
    def train(self, trial: Any, data: Dataset, report: Report) -> Mapping[str, Any] | None:
        """Compute the trial, and return its last metrics (numbers) and what it has learnt (arrays), by name.

        ``trial`` has the fields in ``uses``; the data are NumPy arrays, and `Dataset.features` are a model's inputs.
        A metric may have any name; ``train/``, ``val/`` and ``test/`` group them. Random draws must come from
        ``trial.seed``, so that the same trial has the same bits.
        """

    def check(self, trial: Trial, dataset: Dataset) -> None:  # noqa: B027  # optional: by default nothing is refused
        """Raise a `ConfigError` where the trial cannot run on the data set, before anything starts."""

    @final
    def unused(self, trial: Trial) -> frozenset[str]:
        """Return the fields of a trial that are not in ``uses``."""
        fields = frozenset(field.name for field in dataclasses.fields(trial)) - {"task"}
        for name in self.uses:
            require_choice(f"{type(self).__name__}.uses", name, fields)
        return fields - self.uses

    @final
    def fusion_key(self, trial: Trial) -> tuple[Hashable, ...]:
        """Return what no other trial has: it is never fused."""
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
        until: int | None = None,
        like: Any = HOST,  # noqa: ARG002  # the function moves its data to its device itself
    ) -> Iterator[Event]:
        """Run the trial and yield its events; at ``until`` it pauses."""
        (trial,) = trials
        if start is not None and until is not None and until <= start.step:
            yield Pause(checkpoint=start)
            return
        restored = start if start is not None and start.arrays else None
        thread = _LockstepThread(self.patience)
        report = Report(trial, restored, threads=threads, every=checkpoint_every, until=until, emit=thread.emit)
        data = dataset.on(HOST)
        with thread.running(lambda: self.train(_VisibleTrial(trial, self), data, report)) as events:
            yield from events
        yield from report.end(thread)


class _VisibleTrial:
    """A trial as its task sees it: only the fields in ``uses``."""

    def __init__(self, trial: Trial, task: Single) -> None:
        self._trial, self._task = trial, task

    def __getattr__(self, name: str) -> Any:
        if name not in self._task.uses:
            known = ", ".join(sorted(self._task.uses))
            raise AttributeError(
                f"{name} must be in `uses` of {type(self._task).__name__}, which has {known}: what decides a result is "
                "part of a trial's key"
            )
        return getattr(self._trial, name)


class Report:
    """Reports a step and its metrics; the argument of `Single.train`.

    ``step`` is the step that the trial goes on from, 0 at its start, and ``kept`` is the state that was kept there;
    ``threads`` is how many CPUs the function may use. ``keep`` returns the state; it is called for a checkpoint only.
    """

    def __init__(
        self,
        trial: Trial,
        start: Checkpoint | None,
        *,
        threads: int,
        every: int | None,
        until: int | None,
        emit: Callable[[Sequence[Event]], None],
    ) -> None:
        self.threads = threads
        self.step = 0 if start is None else start.step
        self.kept = {} if start is None else _restored(start)
        self._steps, self._every, self._emit = trial.steps, every, emit
        self._until = until if until is not None and until < trial.steps else None
        self._last, self._saved = self.step, self.step
        self._reported: dict[str, float] = {} if start is None else json.loads(str(start.arrays[_REPORTED][0]))

    def __call__(self, step: int, metrics: Mapping[str, float], *, keep: Keep | None = None) -> None:
        """Report what was measured at a step.

        Raises
        ------
        ConfigError
            If the step is no whole number, not after the last one or beyond the budget, or a metric is no number.
        """
        step = _whole(step)
        if not self._last < step <= self._steps:
            rule = f"must be above {self._last}, the last, and at most steps={self._steps}"
            raise ConfigError(f"a step that is reported {rule}, got {step!r}")
        if self._until is not None and step > self._until:
            raise ConfigError(
                f"a trial must report at step {self._until}, where it is compared with others, got {step} after "
                f"{self._last}: report at every multiple of trial.evaluate_every"
            )
        named = _mapping("the metrics that are reported", metrics)
        if keep is not None and not callable(keep):
            raise ConfigError(f"keep must be a function that returns the state, got {keep!r}")
        self._reported = {str(name): _number(name, value) for name, value in named.items()}
        values = {name: np.array([value]) for name, value in self._reported.items()}
        events: list[Event] = [Curve(trial=0, steps=np.array([step]), metrics=values)]
        self._last = step
        if step == self._until:
            events.append(Pause(checkpoint=_checkpoint(step, self._reported, keep)))
        elif keep is not None and self._every and step - self._saved >= self._every and step < self._steps:
            events.append(_checkpoint(step, self._reported, keep))
            self._saved = step
        self._emit(events)
        if step == self._until:
            raise _Stopped

    def end(self, thread: _LockstepThread) -> Iterator[Event]:
        """Yield the result, unless the function was stopped; raise the function's error."""
        if thread.stopped:
            return
        if isinstance(thread.error, Diverged):
            outcome, message = Outcome.DIVERGED, str(thread.error)
            yield Result(trial=0, outcome=outcome, step=self._last, metrics={}, message=message)
            return
        if thread.error is not None:
            raise thread.error
        values = _mapping("what train returns", {} if thread.returned is None else thread.returned)
        arrays = {str(name): _array(name, value) for name, value in values.items() if _is_array(value)}
        metrics = {str(name): _number(name, value) for name, value in values.items() if str(name) not in arrays}
        step = self._last or self._steps
        # The point of the last step is recorded: what ranks here must be what a resume will read.
        points = {name: value for name, value in self._reported.items() if name in metrics and not math.isnan(value)}
        message = "; ".join(
            f"{name} is {value!r}, as it was reported at step {step}, and not {metrics[name]!r}, as it was returned: "
            "what is returned besides needs a name of its own"
            for name, value in points.items()
            if metrics[name] != value
        )
        metrics |= points
        yield Result(trial=0, outcome=Outcome.COMPLETE, step=step, metrics=metrics, arrays=arrays, message=message)


def is_any_running() -> bool:
    """Return whether a function still runs, in a thread that may have been abandoned."""
    return any(thread.name == _THREAD for thread in threading.enumerate())


class _Stopped(BaseException):  # no Exception: only a `finally` of the function should see it
    """Raised in a function's report to end the function."""


class _LockstepThread:
    """A function in its own thread that runs only while its consumer waits: each report blocks until it may go on."""

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self.returned: Any = None
        self.error: BaseException | None = None
        self.stopped = False
        self._ended = False
        self._emitted: queue.SimpleQueue[Sequence[Event] | None] = queue.SimpleQueue()
        self._go_on: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def emit(self, events: Sequence[Event]) -> None:
        """Hand events over, and wait until more are asked for."""
        if not self._ended:
            self._emitted.put(events)
        if self._ended or not self._go_on.get():
            raise _Stopped

    @contextlib.contextmanager
    def running(self, function: Callable[[], Any]) -> Iterator[Iterator[Event]]:
        """Give the events of the function; the function is stopped when the context ends."""
        # The thread inherits the context: the capture of printed output goes by it.
        context = contextvars.copy_context()
        self._thread = threading.Thread(target=context.run, args=(self._run, function), name=_THREAD, daemon=True)
        try:
            yield self._events()
        finally:
            self._stop()

    def _events(self) -> Iterator[Event]:
        """Yield the function's events until it has ended."""
        assert self._thread is not None, "events are asked for in `running` only"
        self._thread.start()
        while (events := self._emitted.get()) is not None:
            yield from events
            self._go_on.put(True)

    def _stop(self) -> None:
        """Stop the function at its next report."""
        self._ended = True  # a function that catches `_Stopped` gets it again at its next report
        self._go_on.put(False)
        if self._thread is not None and self._thread.ident is not None:
            self._thread.join(self._patience)

    def _run(self, function: Callable[[], Any]) -> None:
        try:
            self.returned = function()
        except _Stopped:
            self.stopped = True
        except BaseException as error:  # noqa: BLE001  # `Report.end` raises it in the consumer's thread
            self.error = error
        self._emitted.put(None)


def _checkpoint(step: int, reported: Mapping[str, float], keep: Keep | None) -> Checkpoint:
    """Return the checkpoint of what a function keeps (None: nothing), as arrays with the trial axis first."""
    arrays: dict[str, np.ndarray] = {}
    for name, value in _mapping("what is kept", {} if keep is None else keep()).items():
        raw = isinstance(value, bytes | bytearray | memoryview)
        # Each is a copy: the function may use its buffers again.
        array = np.frombuffer(bytes(value), dtype=np.uint8) if raw else _array(name, value).copy()
        arrays[f"{_BYTES if raw else ''}{name}"] = array[None]
    if arrays:  # without any, the trial begins again
        arrays[_REPORTED] = np.array([json.dumps(reported)])
    return Checkpoint(step=step, trials=np.array([0]), arrays=arrays)


def _restored(start: Checkpoint) -> dict[str, Any]:
    """Return what was kept, as the function's own: a checkpoint may be read-only, and is needed again after a fault."""
    return {
        name.removeprefix(_BYTES): array[0].tobytes() if name.startswith(_BYTES) else array[0].copy()
        for name, array in start.arrays.items()
        if name != _REPORTED
    }


def _mapping(what: str, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ConfigError(f"{what} must be a mapping from names to values, got {value!r}")
    return value


def _is_array(value: Any) -> bool:
    try:
        return np.ndim(value) > 0
    except (TypeError, ValueError, RuntimeError):  # lists of several lengths, or of what PyTorch does not give away
        return True


def _array(name: object, value: Any) -> np.ndarray:
    """Return a value that is kept or returned as an array of numbers or texts: others would need to be pickled."""
    rule = f"what is kept or returned as {name!r} must be numbers, text or bytes"
    try:
        array = np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ConfigError(f"{rule}, got {type(value).__name__}: {error}") from None
    if array.dtype.kind not in "biufcSU":
        raise ConfigError(f"{rule}, got {value!r}")
    return array


def _whole(step: Any) -> int:
    """Return a step as a number of Python's own: a checkpoint's file holds no other."""
    try:
        whole = int(step)
    except (TypeError, ValueError, OverflowError):
        whole = -1
    if whole != step:
        raise ConfigError(f"a step that is reported must be a whole number, got {step!r}")
    return whole


def _number(name: object, value: Any) -> float:
    try:
        # PyTorch warns of `float` of a tensor that has a gradient, and raises RuntimeError for several numbers.
        return float(value.item() if hasattr(value, "item") else value)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        raise ConfigError(f"metric {name!r} must be a number, got {value!r}") from None
