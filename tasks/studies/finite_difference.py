"""task=finite_difference: the error of forward and centred differences against h, in float32 and float64."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from array_api_compat import array_namespace

from tasks.arrays.array import Array
from tasks.arrays.devices import host, in_precision, pieces
from tasks.datasets.dataset import Dataset
from tasks.errors import require
from tasks.events import Curve, Event, Outcome, Result
from tasks.fused.batches import Batch
from tasks.fused.problem import Problem
from tasks.losses import LOSSES
from tasks.models import MODELS
from tasks.models.layered import Layered
from tasks.models.model import ScoreLinear
from tasks.regularizers import REGULARIZERS
from tasks.rows import row_name
from tasks.studies.error_curves import best_h, truncation_slope
from tasks.studies.step_size import powers_of_ten
from tasks.studies.study import Study, require_examples, require_scale
from tasks.weight_space.points import chosen_examples, gaussian, gradient_at, objective_values, points_at_once

if TYPE_CHECKING:
    from tasks.trial import Trial

PRECISIONS = ("float32", "float64")
SCHEMES = ("forward", "centred")

# The largest h at which the first term of the Taylor series dominates, in units in which h moves the scores of a
# linear model by about h.
_TAYLOR = 0.3

_LAYERS_WITH_KINKS = {"relu", "max_pooling"}

# Points evaluated at once: their weights and scores stay small compared with the images.
_AT_ONCE = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class FiniteDifference(Study):
    """Compare the directional derivative ``<gradient, V>`` with its forward and centred differences over many ``h``.

    ``h`` takes the powers of ten from ``10^lowest`` to ``10^highest``, ``per_decade`` of them a decade. The point is
    ``weights_scale`` times the model's draw, the direction ``direction_scale`` times it, both exact in float32; None
    is the scale at which a training image's scores are about 1 (`natural_scale`). The loss is the mean
    over ``examples`` training examples drawn by ``data_seed``, None for all.

    Each loss is a plain evaluation of the objective at ``W + h V``, and every operation is in the stated precision.
    (Addition in score space would avoid the rounding of ``W + h V`` and of the product, which is part of what is
    measured.) The reference is the analytic gradient in float64. Use ``loss=softmax``: the SVM loss has kinks, and
    its second and third derivatives are 0 elsewhere. Source: the notes, appendix.

    A slope is that of a line through log error against log ``h`` where truncation rules: above the best ``h``, from
    where the error is four times the largest rounding error. For scores that are linear in the weights the line ends
    at an ``h`` that moves them by 0.3; how far it goes for a network, whose layers multiply, only its errors say: as
    far as no error is more than 26 % off the line, and not at all if that is less than a decade.
    """

    lowest: int = -15
    highest: int = 0
    per_decade: int = 5
    examples: int | None = 100
    weights_scale: float | None = None
    direction_scale: float | None = None

    def __post_init__(self) -> None:
        require(self.lowest < self.highest, "task.lowest", f"must be below task.highest ({self.highest})", self.lowest)
        require(self.lowest >= -30, "task.lowest", "must be >= -30 (a smaller h changes no weight)", self.lowest)
        require(self.highest <= 10, "task.highest", "must be <= 10", self.highest)
        require(self.per_decade >= 1, "task.per_decade", "must be >= 1", self.per_decade)
        require_examples(self.examples)
        require_scale("task.weights_scale", self.weights_scale, zero=True)
        require_scale("task.direction_scale", self.direction_scale)

    def study(self, trial: Trial, dataset: Dataset, *, threads: int, like: Array) -> Iterator[Event]:
        """Yield the errors, as a curve with one point an ``h`` and as the arrays of the result.

        The arrays are ``h`` ``(H,)``; ``quotients`` and relative ``errors`` (absolute where the derivative is 0),
        ``(2, 2, H)`` in the order of `PRECISIONS` and `SCHEMES`; ``best_h`` and ``slopes`` ``(2, 2)`` and the
        ``fitted`` first and last ``h`` of each slope ``(2, 2, 2)``, NaN where there is no truncation range; the exact
        ``derivative`` ``()``; and the ``weights``.
        """
        h = powers_of_ten(self.lowest, self.highest, self.per_decade)
        resident = dataset.on(like)
        problems = [
            Problem.of([trial], resident, like=in_precision(like, precision), threads=threads)
            for precision in PRECISIONS
        ]
        batch = chosen_examples(problems[0], self.examples)
        exact = problems[1]
        weights = gaussian(exact, "initial weights", scale=self.weights_scale)
        direction = gaussian(exact, "directions", 0, scale=self.direction_scale)
        quotients = np.stack([difference_quotients(p, weights, direction, h, batch) for p in problems])
        derivative = directional_derivative(exact, weights, direction, batch)
        limit = None
        if isinstance(trial.model, ScoreLinear):
            limit = _TAYLOR * (exact.natural_scale / (self.direction_scale or exact.natural_scale))
        yield from _events(h, quotients, derivative, exact.named(weights), limit, _kinks(trial, dataset.image_shape))


def directional_derivative(problem: Problem, weights: np.ndarray, direction: np.ndarray, batch: Batch) -> float:
    """Return ``<gradient(W), V>`` by the analytic gradient."""
    gradient = gradient_at(problem, problem.array(weights)[None, ...], batch)[0, ...]
    return float(array_namespace(gradient).sum(gradient * problem.array(direction)))


def difference_quotients(
    problem: Problem, weights: np.ndarray, direction: np.ndarray, h: np.ndarray, batch: Batch
) -> np.ndarray:
    """Return the forward and centred difference quotients ``(2, H)``, computed in the problem's precision, float64."""
    xp = array_namespace(problem.like)
    here, along, steps = (problem.array(values) for values in (weights, direction, h))
    signed = problem.array(np.concatenate([h, -h, np.zeros(1)]))
    losses = xp.concat(
        [
            sum(objective_values(problem, here + signed[part, None] * along, batch))
            for part in pieces(signed.shape[0], min(_AT_ONCE, points_at_once(problem, batch)))
        ]
    )
    ahead, behind, middle = losses[: len(h)], losses[len(h) : -1], losses[-1]
    return host(xp.stack([(ahead - middle) / steps, (ahead - behind) / (2 * steps)]))


def _events(
    h: np.ndarray,
    quotients: np.ndarray,
    derivative: float,
    parameters: Mapping[str, np.ndarray],
    limit: float | None,
    kinks: Sequence[str],
) -> Iterator[Event]:
    """Yield the curve and the result; ``limit`` is that of `truncation_slope`."""
    errors = np.abs(quotients - derivative) / (abs(derivative) or 1.0)
    best, slopes, fitted = np.empty((2, 2)), np.empty((2, 2)), np.empty((2, 2, 2))
    curve, metrics = {"finite_difference/h": h}, {"finite_difference/derivative": derivative}
    for p, precision in enumerate(PRECISIONS):
        for d, scheme in enumerate(SCHEMES):
            best[p, d] = best_h(h, errors[p, d])
            slopes[p, d], fitted[p, d] = truncation_slope(h, errors[p, d], limit=limit)
            name = f"finite_difference/{precision}_{scheme}"
            curve[f"{name}_error"] = errors[p, d]
            metrics |= {f"{name}_best_h": float(best[p, d]), f"{name}_slope": float(slopes[p, d])}
    yield Curve(trial=0, steps=np.arange(len(h)), metrics=curve)
    yield Result(
        trial=0,
        outcome=Outcome.COMPLETE,
        step=len(h) - 1,
        metrics={name: value for name, value in metrics.items() if np.isfinite(value)},
        arrays={
            "h": h,
            "quotients": quotients,
            "errors": errors,
            "best_h": best,
            "slopes": slopes,
            "fitted": fitted,
            "derivative": np.asarray(derivative),
            **parameters,
        },
        message="; ".join([*_in_words(slopes, best), *kinks]),
    )


def _in_words(slopes: np.ndarray, best: np.ndarray) -> list[str]:
    def of_scheme(p: int, d: int, scheme: str) -> str:
        slope = f"slope {slopes[p, d]:.2f}" if np.isfinite(slopes[p, d]) else "no truncation range"
        return f"{scheme} {slope}, best h {best[p, d]:.0e}"

    return [
        f"{precision}: " + ", ".join(of_scheme(p, d, scheme) for d, scheme in enumerate(SCHEMES))
        for p, precision in enumerate(PRECISIONS)
    ]


def _kinks(trial: Trial, image_shape: tuple[int, ...]) -> list[str]:
    """Return why the slopes need not be 1 and 2."""
    parts = []
    if not trial.loss.smooth:
        name = row_name(LOSSES, trial.loss)
        parts.append(f"loss={name} has kinks, so its slopes need not be 1 and 2: loss=softmax is smooth")
    if trial.regularization and not trial.regularizer.decay:  # one with a decay is a sum of squares
        name = row_name(REGULARIZERS, trial.regularizer)
        parts.append(f"regularizer={name} may have kinks, and its slopes need not be 1 and 2 there")
    known = trial.model.layers(image_shape) if isinstance(trial.model, Layered) else None
    if known is None or _LAYERS_WITH_KINKS & {layer["layer"] for layer in known}:
        name = row_name(MODELS, trial.model)
        parts.append(
            f"model={name} has kinks where it has relu or max pooling, and its slopes need not be 1 and 2 there"
        )
    return parts
