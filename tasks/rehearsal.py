"""A rehearsal of rows from outside: what their methods return for a few numbers, before anything starts.

A row that returns another shape than its protocol says may fail late, or compute something else without a word.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tasks.arrays.devices import HOST, HOST_BLOCKS
from tasks.arrays.stacking import stack
from tasks.errors import ConfigError, SweepError
from tasks.fused.problem import Problem
from tasks.fused.state import MEASURES
from tasks.memory import Sizes
from tasks.models.layered import LAYERS, Layered
from tasks.models.model import Arrangement
from tasks.rows import field_values
from tasks.strategies.strategy import Work

if TYPE_CHECKING:
    from tasks.datasets.dataset import Dataset
    from tasks.trial import Trial

_TRIALS, _EXAMPLES = 2, 4

_ALONE = "must return for a trial in a group what it does for the trial alone"


def _loss(trial: Trial, dataset: Dataset) -> None:
    """Rehearse a loss: shapes, and the same losses from scores and from coordinates."""
    rows, classes = [trial.loss, _with_other_numbers(trial.loss)], len(dataset.classes)
    stacked = stack(rows, like=HOST, trailing=2)
    loss = _Rehearsed(stacked)
    scores, labels = _drawn(_TRIALS, classes, _EXAMPLES), np.arange(_EXAMPLES, dtype=np.int64) % classes
    numbers = f"its own numbers are arrays {(_TRIALS, 1, 1)}"
    losses = loss.call("losses", scores, labels)
    loss.has("losses", losses, (_TRIALS, _EXAMPLES), f"a loss of every example, for scores {scores.shape} ({numbers})")
    both = loss.call("losses_and_gradient", scores, labels)
    loss.holds(isinstance(both, tuple) and len(both) == 2, "losses_and_gradient must return a pair", type(both))
    loss.has("losses_and_gradient", both[0], losses.shape, "first the losses")
    loss.has("losses_and_gradient", both[1], scores.shape, "second the gradient of each loss by its scores")
    loss.agree("losses_and_gradient must return the losses of losses", both[0], losses)
    one = _Rehearsed(stack(rows[1:], like=HOST, trailing=2)).call("losses_and_gradient", scores[1:], labels)
    for alone, part in zip(one, both, strict=True):
        loss.agree(f"losses_and_gradient {_ALONE}", part[1:], alone)
    kind, offset = trial.loss.coordinates, stacked.offset
    loss.holds(isinstance(kind, Hashable), "coordinates must be what can be hashed", kind)
    for layout, coordinates in (
        ("without those that are ignored", kind.counted(scores, labels, offset)),
        ("with -inf for one that is ignored", kind.of(scores, labels) + np.asarray(offset, dtype=np.float32)),
    ):
        sums = loss.call("sums", coordinates)
        loss.has("sums", sums, (_TRIALS,), f"a number of each trial, for coordinates {coordinates.shape}")
        loss.agree(f"sums must return the sum of losses, from coordinates {layout}", sums, losses.sum(axis=-1))


def _regularizer(trial: Trial, _: Dataset) -> None:
    """Rehearse a regularizer: shapes, and that ``decay`` is true."""
    row = _Rehearsed(trial.regularizer)
    weights, strength = _drawn(_TRIALS, 3, 5), np.full((_TRIALS, 1, 1), 0.5, dtype=np.float32)
    penalty = row.call("penalty", weights)
    row.has("penalty", penalty, weights.shape[:-1], f"a penalty of every row, for weights {weights.shape}")
    gradient = row.call("gradient", weights, strength)
    row.has("gradient", gradient, weights.shape, f"the gradient by every weight, for weights {weights.shape}")
    if decay := trial.regularizer.decay:
        row.agree(f"gradient must return strength * {decay} * W, as decay says", gradient, strength * decay * weights)
        row.agree(
            f"penalty must return {decay / 2} * sum W^2, as decay says", penalty, decay / 2 * (weights**2).sum(-1)
        )


def _optimizer(trial: Trial, _: Dataset) -> None:
    """Rehearse two steps of an update rule: shapes, and that ``elementwise`` and ``plain`` are true."""
    rows = [trial.optimizer, _with_other_numbers(trial.optimizer)]
    row, one = (_Rehearsed(stack(some, like=HOST, trailing=1)) for some in (rows, rows[1:]))
    weights, parts = _drawn(_TRIALS, 6), slice(0, 2)
    rate, gradients = np.full((_TRIALS, 1), 0.5, dtype=np.float32), _drawn(2, *weights.shape)
    state, part = row.call("init", weights), row.call("init", weights[:, parts])
    row.holds(isinstance(state, Mapping), "init must return a state, arrays by name", state)
    alone = one.call("init", weights[1:])
    row.holds("weights" not in state, "init must name its state otherwise than the weights", "weights")
    for step, gradient in enumerate(gradients, start=1):
        for name, array in state.items():
            what = f"the state {name!r} in the shape of the weights (its own numbers are arrays {(_TRIALS, 1)})"
            row.has("init" if step == 1 else "update", array, weights.shape, what)
        options = {"learning_rate": rate, "step": step}
        both = row.call("update", gradient, state, **options)
        row.holds(isinstance(both, tuple) and len(both) == 2, "update must return the update and the state", type(both))
        update, after = both
        row.has("update", update, weights.shape, "what to add to every weight")
        row.holds({*after} == {*state}, f"update must return the state {sorted(state)}", sorted(after))
        state = after
        of_one, alone = one.call("update", gradient[1:], alone, learning_rate=rate[1:], step=step)
        row.agree(f"update {_ALONE}", update[1:], of_one)
        if trial.optimizer.plain:
            row.agree("update must return -learning_rate * g, as plain says", update, -rate * gradient)
        if trial.optimizer.elementwise:
            of_part, part = row.call("update", gradient[:, parts], part, **options)
            rule = "update must return the same for some of the weights, as elementwise says (else it is False)"
            row.agree(rule, of_part, update[:, parts])


def _schedule(trial: Trial, _: Dataset) -> None:
    """Rehearse the first and the last factor of a schedule."""
    row = _Rehearsed(trial.schedule)
    for step in (1, trial.steps):
        factor = row.call("factor", step, trial.steps)
        number = isinstance(factor, int | float | np.number) and np.isfinite(factor)
        row.holds(number, f"factor must return a finite number at step {step}", factor)


def _model(trial: Trial, dataset: Dataset) -> None:
    """Rehearse a model: what it says of its matrices and layers, and then its passes."""
    model, given = _Rehearsed(trial.model), (dataset.image_shape, len(dataset.classes))
    shapes = model.call("shapes", *given)
    matrices = all(len(shape) == 2 for shape in shapes.values())
    model.holds(matrices, "shapes must return (rows, columns) of each matrix", shapes)
    spreads = model.call("spreads", *given)
    model.holds({*shapes} == {*spreads}, f"spreads must return one of each of {[*shapes]}", [*spreads])
    for name, shape in shapes.items():
        fits = np.broadcast_shapes(np.shape(spreads[name]), shape) == shape
        model.holds(fits, f"spreads must return a row for {name!r}, {(1, shape[1])}", np.shape(spreads[name]))
    if isinstance(trial.model, Layered):
        for layer in model.call("layers", dataset.image_shape):
            model.holds(layer["layer"] in LAYERS, f"layers must return layers of {', '.join(LAYERS)}", layer["layer"])
            model.holds(layer.get("weights") in {None, *shapes}, f"layers must name weights of {[*shapes]}", layer)
    draws = [_drawn(_TRIALS, *shape) * np.asarray(spreads[name]) for name, shape in shapes.items()]
    points = np.concatenate([draw.reshape(_TRIALS, -1) for draw in draws], axis=1).astype(np.float32)
    _passes(model, dataset, points, [*shapes.values()][-1][1])


def _passes(model: _Rehearsed, dataset: Dataset, points: np.ndarray, last: int) -> None:
    """Rehearse the passes of a model at points ``(K, P)``: shapes, and the same bits alone and in a group.

    ``last`` is the number of columns of the last matrix.
    """
    given, train = (dataset.image_shape, len(dataset.classes)), dataset.sample(_EXAMPLES).train
    features = np.pad(dataset.features(train), ((0, 0), (0, 1)), constant_values=1)
    count, width = features.shape

    def arranged(points: np.ndarray) -> tuple[_Rehearsed, list[np.ndarray]]:
        made: Arrangement = model.call("arrange", len(points), *given, [count], like=HOST)
        arrangement = _Rehearsed(made)
        return arrangement, arrangement.call("rows", points)

    arrangement, rows = arranged(points)
    arrangement.agree("points must return the points that rows was given", arrangement.call("points", rows), points)
    scores = arrangement.call("scores", rows, features)
    arrangement.has("scores", scores, (_TRIALS, given[1], count), f"(trials, classes, examples), for {count} examples")
    same, vjp = arrangement.call("scores_and_vjp", rows, features)
    arrangement.agree("scores_and_vjp must return the scores of scores", same, scores)
    slope = _drawn(*scores.shape)
    gradient = vjp(slope)
    shape_of = [matrix.shape for matrix in rows]
    found = [matrix.shape for matrix in gradient]
    arrangement.holds(found == shape_of, f"scores_and_vjp must give gradients of the shapes {shape_of}", found)
    same, in_parts = arrangement.call("scores_and_parts", rows, features)
    arrangement.agree("scores_and_parts must return the scores of scores", same, scores)
    joined = [np.zeros_like(matrix) for matrix in rows]
    for number, place, of_part in in_parts(slope):
        joined[number][place] = of_part
    for one, other in zip(joined, gradient, strict=True):
        arrangement.agree("scores_and_parts must yield the gradient of scores_and_vjp", one, other)
    by_data = arrangement.call("data_gradient", rows, features, slope)
    arrangement.has("data_gradient", by_data, (_TRIALS, count, width - 1), "(trials, examples, features)")
    inputs = arrangement.call("last_layer_inputs", rows, features)
    arrangement.has("last_layer_inputs", inputs, (_TRIALS, count, last), "(trials, examples, columns of the last)")
    alone, own = arranged(points[1:])
    equal = np.array_equal(alone.call("scores", own, features)[0], scores[1])
    alone.holds(equal, "scores must return the same bits for a trial alone and in a group", "others")


def _strategy(trial: Trial, dataset: Dataset) -> None:
    """Rehearse two steps of a strategy on a few examples: shapes, and the same bits in one call and in two.

    The second trial has other numbers in its strategy's fields, if both may be fused.
    """
    size = None if trial.batch_size is None else min(trial.batch_size, _EXAMPLES)
    first, second = (
        dataclasses.replace(trial, batch_size=size, steps=max(trial.steps, 2), seed=seed) for seed in (0, 1)
    )
    other = dataclasses.replace(second, strategy=_with_other_numbers(trial.strategy))
    fused = trial.strategy.fusion_key(first) == other.strategy.fusion_key(other)
    trials = [first, other if fused else second]
    problem = Problem.of(trials, dataset.sample(2 * _EXAMPLES), like=HOST, threads=1)
    row = _Rehearsed(trial.strategy)
    _plan(row, trial, trials, dataset)
    steps = row.call("stretch", problem)
    row.holds(isinstance(steps, int) and steps >= 1, "stretch must return a whole number of at least 1", steps)
    state = row.call("init", problem)
    row.holds(isinstance(state, Mapping) and "weights" in state, "init must return a state with the weights", state)
    row.has("init", state["weights"], (_TRIALS, problem.size), "weights of all trials")
    for name, array in state.items():
        row.holds(np.shape(array)[:1] == (_TRIALS,), f"init must return {name!r} with the trial axis first", array)
    both = row.call("advance", problem, state, 0, 2)
    pair = isinstance(both, tuple) and [isinstance(one, Mapping) for one in both] == [True, True]
    row.holds(pair, "advance must return the state and the measures", both)
    after, measured = both
    row.holds({*after} == {*state}, f"advance must return the state {sorted(state)}", sorted(after))
    for name in {**dict.fromkeys(MEASURES), **measured}:
        row.has("advance", measured.get(name), (2, _TRIALS), f"the measure {name!r} of each step and trial")
    one, row_of_one = problem.of_trials([1]), _Rehearsed(trials[1].strategy)
    alone, of_one = row_of_one.call("advance", one, row_of_one.call("init", one), 0, 2)
    same = f"advance {_ALONE} (the first one's strategy computes all: problem.trials has the numbers of each)"
    row.agree(same, after["weights"][1:], alone["weights"])
    for name in MEASURES:
        row.agree(same, measured[name][:, 1:], of_one[name])
    between, _ = row.call("advance", problem, state, 0, 1)
    twice, _ = row.call("advance", problem, between, 1, 2)
    for name in state:
        equal = np.array_equal(after[name], twice[name], equal_nan=True)
        row.holds(equal, "advance must return the same bits however the steps are split", f"other {name}")


def _with_other_numbers(row: Any) -> Any:
    """Return a row with another number in each field of one, where the row takes it."""
    for name, number in field_values(row).items():
        if isinstance(number, int | float) and not isinstance(number, bool):
            for other in (number / 2,) if isinstance(number, float) else (number + 1, number - 1):
                with contextlib.suppress(Exception, SystemExit):
                    row = dataclasses.replace(row, **{name: other})
                    break
    return row


def _plan(row: _Rehearsed, trial: Trial, trials: Sequence[Trial], dataset: Dataset) -> None:
    """Rehearse what a strategy says of its trials before they are computed: the work, the memory, which are fused."""
    work = row.call("work", trials, len(dataset.train))
    numbers = isinstance(work, Work) and all(_is_amount(number) for number in work)
    row.holds(numbers, "work must return a Work of numbers of at least 0", work)
    sizes = Sizes.of([trial], dataset, blocks=HOST_BLOCKS)
    for method, rule in (("bytes_per_trial", "above 0"), ("fixed_bytes", "of at least 0")):
        size = row.call(method, trial, sizes)
        row.holds(_is_amount(size) and (size or method == "fixed_bytes"), f"{method} must return a number {rule}", size)
    fusion_key = row.call("fusion_key", trial)
    hashed = isinstance(fusion_key, tuple) and all(isinstance(one, Hashable) for one in fusion_key)
    row.holds(hashed, "fusion_key must return a tuple of what can be hashed", fusion_key)


def _is_amount(value: Any) -> bool:
    return isinstance(value, int | float | np.number) and bool(0 <= value < np.inf)


REHEARSALS: Mapping[str, Callable[[Trial, Dataset], None]] = {
    "model": _model,
    "loss": _loss,
    "regularizer": _regularizer,
    "optimizer": _optimizer,
    "schedule": _schedule,
    "strategy": _strategy,
}
"""The rehearsal of a row by the field of a trial that holds it; each raises a `ConfigError`."""


class _Rehearsed:
    """A row that is rehearsed: its methods are called, and what breaks a rule is told by their name."""

    def __init__(self, row: Any) -> None:
        self._row = row
        fields = field_values(row) if dataclasses.is_dataclass(row) else {}
        self._arrays = [name for name, value in fields.items() if isinstance(value, np.ndarray)]

    def call(self, method: str, *arguments: Any, **options: Any) -> Any:
        """Return what a method returns; it must raise nothing, and change none of the arrays that it is given."""
        arrays = list(_arrays(arguments))
        before = [np.array(one) for one in arrays]
        try:
            answer = getattr(self._row, method)(*arguments, **options)
        except SweepError:
            raise
        except (Exception, SystemExit) as error:
            shapes = ", ".join(str(getattr(one, "shape", type(one).__name__)) for one in arguments)
            own = f" and its own {', '.join(self._arrays)} as arrays over the trials" if self._arrays else ""
            rule = f"{method} must compute, given {shapes}{own}"
            raise self._broken(rule, f"{type(error).__name__}: {error}") from error
        same = all(np.array_equal(old, new, equal_nan=True) for old, new in zip(before, arrays, strict=True))
        self.holds(same, f"{method} must leave the arrays it is given", "changed ones")
        return answer

    def has(self, method: str, value: Any, shape: tuple[int, ...], what: str) -> None:
        """Refuse a value of another shape."""
        found = getattr(value, "shape", None)
        self.holds(found == shape, f"{method} must return {what}: {shape}", value if found is None else found)

    def agree(self, rule: str, value: Any, wanted: Any) -> None:
        """Refuse numbers that are not equal but for rounding."""
        largest = np.max(np.abs(wanted), initial=0, where=np.isfinite(wanted))  # weights may be of 1e-4
        near = {"rtol": 1e-3, "atol": 1e-4 * min(1, largest)}
        equal = np.shape(value) == np.shape(wanted) and np.allclose(value, wanted, **near)
        self.holds(equal, rule, f"{np.ravel(value)[:3]} for {np.ravel(wanted)[:3]}")

    def holds(self, condition: object, rule: str, value: object) -> None:
        """Refuse a row for which a condition does not hold."""
        if not condition:
            raise self._broken(rule, value)

    def _broken(self, rule: str, value: object) -> ConfigError:
        return ConfigError(f"{type(self._row).__name__}.{rule}, got {value}")


def _arrays(value: Any) -> Iterator[np.ndarray]:
    """Yield the arrays that a value is, or holds in mappings and sequences."""
    if isinstance(value, np.ndarray):
        yield value
    elif isinstance(value, Mapping | list | tuple):
        for inner in value.values() if isinstance(value, Mapping) else value:
            yield from _arrays(inner)


def _drawn(*shape: int) -> np.ndarray:
    return np.random.default_rng(len(shape)).standard_normal(shape).astype(np.float32)
