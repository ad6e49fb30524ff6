"""task=gradient_check: the analytic gradient against the numerical one, coordinate by coordinate, kinks apart."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tasks.datasets.dataset import Dataset
from tasks.devices import HOST, host, in_precision
from tasks.errors import require, unknown_choice
from tasks.events import Checkpoint, Event, Outcome, Result
from tasks.models.model import ScoreLinear
from tasks.points import UNTRAINED, check_examples, chosen_examples, gradient_at, require_examples
from tasks.problem import Batch, Problem, total
from tasks.score_space.gradient import Differences, has_kink, loss_differences

if TYPE_CHECKING:
    from tasks.trial import Trial

# CS231n's thresholds: above 1e-2 the gradient is probably wrong, above 1e-4 it is doubtful.
WRONG, DOUBTFUL, GOOD = 1e-2, 1e-4, 1e-7

VARIABLES = ("weights", "data")

# Where no step is given: a weight's moves a score by at most this much, so that the differences of a smooth loss are
# right to eight digits whatever the range of the pixels is,
_SCORE_STEP = 1e-4
# and a pixel's is this much of its 255.
_PIXEL_STEP = 1e-2

_WORST = 10


class Compared(NamedTuple):
    """Analytic gradient, slopes to either side and number of kinks within a step, of one shape each."""

    analytic: np.ndarray
    ahead: np.ndarray
    behind: np.ndarray
    kinks: np.ndarray


@dataclass(frozen=True, slots=True, kw_only=True)
class GradientCheck:
    """Check the gradient by ``variable`` in float64, at weights ``scale * N(0, 1)``, with centred differences.

    ``examples`` are how many training examples the loss is a mean over (null: all; few of them have few
    kinks), ``h`` is the step (null: 1e-4 over the largest pixel for a weight, 1e-2 for a pixel). Every
    coordinate is checked. For ``variable=data`` each pixel of each example is a coordinate. The trial fails
    where a coordinate without a kink is off by a relative error above 1e-4.
    Source: the notes, "gradient check"; thresholds: CS231n, "Gradient checks".
    """

    variable: str = "weights"
    examples: int | None = 50
    h: float | None = None
    scale: float = 1e-3

    def __post_init__(self) -> None:
        if self.variable not in VARIABLES:
            raise unknown_choice("task.variable", self.variable, VARIABLES)
        require_examples(self.examples)
        require(self.h is None or self.h > 0, "task.h", "must be > 0, or null", self.h)
        require(self.scale > 0, "task.scale", "must be > 0", self.scale)

    def unused(self, trial: Trial) -> frozenset[str]:
        """Return what only training uses, and the data's order where all examples are taken."""
        del trial
        return UNTRAINED | ({"data_seed"} if self.examples is None else set())

    def _step(self, dataset: Dataset) -> float:
        return _PIXEL_STEP if self.variable == "data" else _SCORE_STEP / max(1.0, float(dataset.train.images.max()))

    def fusion_key(self, trial: Trial) -> tuple[Any, ...]:
        """Return the trial itself: every check runs alone."""
        return (trial,)

    def check(self, trial: Trial, dataset: Dataset) -> None:
        """Refuse more examples than there are."""
        del trial
        check_examples(self.examples, dataset)

    def run(
        self,
        trials: Sequence[Trial],
        dataset: Dataset,
        *,
        threads: int,
        start: Checkpoint | None = None,
        checkpoint_every: int | None = None,
        like: Any = HOST,
    ) -> Iterator[Event]:
        """Compare both gradients and yield the verdict."""
        del start, checkpoint_every  # seconds of work: done again rather than resumed
        for k, trial in enumerate(trials):
            # The gradient under test is of the library and device that compute, the numerical one of the host.
            checked, plain = (
                Problem.of(
                    [dataclasses.replace(trial, task=self)],
                    dataset,
                    like=in_precision(where, "float64"),
                    threads=threads,
                )
                for where in (like, HOST)
            )
            compare = _compare_weights if self.variable == "weights" else _compare_data
            h = self.h or self._step(dataset)
            yield _verdict(k, h, compare(checked, plain, h))


def _compare_weights(checked: Problem, plain: Problem, h: float) -> Compared:
    """Compare the gradients by the weights, ``(C, D)``, of data loss and regularization loss together."""
    trial, model, (weights, batch) = plain.trials[0], plain.model, _where(plain)
    assert isinstance(model, ScoreLinear)
    matrix = plain.matrices(weights[0])[0]

    def differences(features: Any, labels: Any) -> Differences:
        scores = model.scores_of_points(weights, features)[0]
        return loss_differences(trial.loss.losses, scores, features, labels, h=h)

    numerical = total(plain.over_blocks(batch, differences))
    penalty = _regularization_changes(trial, matrix, h)
    return Compared(
        analytic=checked.matrices(host(gradient_at(checked, *_where(checked)))[0])[0],
        ahead=(numerical.ahead / len(batch) + penalty[0]) / h,
        behind=-(numerical.behind / len(batch) + penalty[1]) / h,
        kinks=numerical.kinks + has_kink(penalty, size=1.0),
    )


def _regularization_changes(trial: Trial, weights: np.ndarray, h: float) -> np.ndarray:
    """Return the changes of the regularization loss by ``+h, -h, +h/2, -h/2`` in every weight, ``(4, C, D)``."""

    def of_each(values: np.ndarray) -> np.ndarray:
        penalty = trial.regularizer.penalty(values[..., None])  # each weight as a row of its own
        return trial.regularization * np.asarray(penalty)

    return np.stack([of_each(weights + step) - of_each(weights) for step in (h, -h, h / 2, -h / 2)])


def _where(problem: Problem) -> tuple[Any, Batch]:
    """Return the weights ``(1, P)`` and the examples at which the gradients are compared."""
    check = problem.trials[0].task
    assert isinstance(check, GradientCheck)
    return problem.initial_weights([check.scale]), chosen_examples(problem, check.examples)


def _compare_data(checked: Problem, plain: Problem, h: float) -> Compared:
    """Compare the gradients of each example's loss by its own features, ``(N, D)`` without the bias."""
    loss, model, (weights, batch) = plain.trials[0].loss, plain.model, _where(plain)
    assert isinstance(model, ScoreLinear)
    matrix = plain.matrices(weights[0])[0][:, :-1]

    def numerical(features: Any, labels: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        scores = model.scores_of_points(weights, features)[0]  # (C, N)
        changes = np.stack([_pixel_changes(loss, scores[:, n], labels[n], h * matrix) for n in range(len(labels))])
        changes = np.moveaxis(changes, 1, 0)  # (4, N, D)
        kinks = has_kink(changes, size=1 + float(np.abs(scores).max())).astype(np.int64)
        return changes[0] / h, -changes[1] / h, kinks

    parts = plain.over_blocks(batch, numerical)
    ahead, behind, kinks = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Compared(_data_gradient(checked), ahead, behind, kinks)


def _data_gradient(problem: Problem) -> np.ndarray:
    """Return the analytic gradient of each example's loss by its features, ``(N, D)`` without the bias."""
    weights, batch = _where(problem)
    arrangement, loss = problem.arrange(batch), problem.trials[0].loss
    rows = arrangement.rows(weights)

    def gradient(features: Any, labels: Any) -> np.ndarray:
        _, slope = loss.losses_and_gradient(arrangement.scores(rows, features), labels)
        return np.asarray(host(arrangement.data_gradient(rows, features, slope))[0])

    return np.concatenate(problem.over_blocks(batch, gradient))


def _pixel_changes(loss: Any, scores: np.ndarray, label: int, steps: np.ndarray) -> np.ndarray:
    """Return one example's change of loss by ``+h, -h, +h/2, -h/2`` in every pixel, ``(4, D)``."""
    moved = scores[:, None] + np.concatenate([steps, -steps, steps / 2, -steps / 2], axis=1)  # (C, 4 * D)
    here = loss.losses(scores[:, None], np.array([label]))
    return np.asarray(loss.losses(moved, np.full(moved.shape[1], label)) - here).reshape(4, -1)


def relative_error(analytic: np.ndarray, numerical: np.ndarray) -> np.ndarray:
    """Return ``|a - n| / max(|a|, |n|)``, 0 where both are 0.

    A gradient below 1e-6 of the largest is taken as that: smaller ones are lost in the rounding of the losses.

    >>> relative_error(np.array([1.0, 0.0]), np.array([1.5, 0.0])).round(3)
    array([0.333, 0.   ])
    """
    size = np.maximum(np.abs(analytic), np.abs(numerical))
    floor = 1e-6 * size.max(initial=0.0)
    return np.asarray(np.abs(analytic - numerical) / np.maximum(np.maximum(size, floor), np.finfo(np.float64).tiny))


def _verdict(k: int, h: float, compared: Compared) -> Result:
    numerical = (compared.ahead + compared.behind) / 2
    errors = relative_error(compared.analytic, numerical)
    smooth = compared.kinks == 0
    largest = float(errors[smooth].max(initial=0.0))
    order = np.argsort(np.where(smooth, errors, -1.0), axis=None)[::-1][:_WORST]
    failed = not np.isfinite(errors).all() or largest > DOUBTFUL
    shares = f"{int(smooth.sum())} coordinates without a kink, {int((~smooth).sum())} with"
    return Result(
        trial=k,
        outcome=Outcome.FAILED if failed else Outcome.COMPLETE,
        step=1,
        metrics={
            "gradient_check/largest_relative_error": largest,
            "gradient_check/median_relative_error": float(np.median(errors[smooth])) if smooth.any() else 0.0,
            "gradient_check/largest_relative_error_at_kinks": float(errors[~smooth].max(initial=0.0)),
            "gradient_check/coordinates": float(errors.size),
            "gradient_check/coordinates_with_kinks": float((~smooth).sum()),
        },
        arrays={
            "analytic": compared.analytic,
            "numerical": numerical,
            "slope_ahead": compared.ahead,
            "slope_behind": compared.behind,
            "relative_error": errors,
            "kinks": compared.kinks,
            "worst": np.stack(np.unravel_index(order, errors.shape), axis=1),
        },
        message=f"{_grade(largest)}: largest relative error {largest:.2g} over {shares} (h = {h:g})",
    )


def _grade(largest: float) -> str:
    if largest > WRONG:
        return "wrong"
    if largest > DOUBTFUL:
        return "doubtful"
    return "good" if largest <= GOOD else "fine where the loss has kinks, large for a smooth one"
