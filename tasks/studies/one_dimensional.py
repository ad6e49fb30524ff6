"""task=one_dimensional: the SVM loss of a few one-dimensional points, term by term, against one weight."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tasks.arrays.array import Array
from tasks.datasets.dataset import Dataset
from tasks.errors import ConfigError, require
from tasks.events import Event, Outcome, Result
from tasks.losses import LOSSES, PiecewiseLinear
from tasks.models import MODELS
from tasks.models.model import ScoreLinear
from tasks.rows import row_name
from tasks.studies.study import TRAINING_FIELDS, Study

if TYPE_CHECKING:
    from tasks.trial import Trial


MAX_POINTS = 10
"""The most points whose terms a figure can still tell apart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OneDimensional(Study):
    """Split the SVM loss of one-dimensional points into its terms, as functions of one weight.

    Point ``i`` of ``points`` is the example of class ``i``, class ``j`` has the one weight ``weights[j]``, and
    its score is ``weights[j] * points[i]``, without a bias; the examples of the data set take no part. The weight of
    class ``varied`` takes ``resolution`` values from ``-extent`` to ``extent``, the others stay.
    Source: the notes, "Visualizing the Loss Function", the figure of one-dimensional data.
    """

    points: tuple[float, ...] = (1.0, -0.8, 1.5)
    weights: tuple[float, ...] = (0.3, 0.7, -0.4)
    varied: int = 0
    extent: float = 4.0
    resolution: int = 801

    def __post_init__(self) -> None:
        rule = f"must be 2 to {MAX_POINTS} numbers: each pair is a line of the figure"
        require(2 <= len(self.points) <= MAX_POINTS, "task.points", rule, list(self.points))
        rule = f"must be {len(self.points)} numbers, one for each of task.points"
        require(len(self.weights) == len(self.points), "task.weights", rule, list(self.weights))
        rule = f"must be a class, 0 to {len(self.points) - 1}"
        require(0 <= self.varied < len(self.points), "task.varied", rule, self.varied)
        require(self.extent > 0, "task.extent", "must be > 0", self.extent)
        require(self.resolution >= 2, "task.resolution", "must be >= 2", self.resolution)

    def unused(self, trial: Trial) -> frozenset[str]:  # noqa: ARG002  # whatever the trial
        """Return every field but the loss: the task has points of its own."""
        return TRAINING_FIELDS | {"model", "regularizer", "regularization", "seed", "data_seed"}

    def check(self, trial: Trial, dataset: Dataset) -> None:  # noqa: ARG002  # the points are the task's own
        """Refuse other losses and models than the notes': a term is linear in the one weight."""
        if not isinstance(trial.loss, PiecewiseLinear):
            name = row_name(LOSSES, trial.loss)
            raise ConfigError(f"loss must be svm, or another with such terms, for task=one_dimensional, got {name!r}")
        if not isinstance(trial.model, ScoreLinear):
            name = row_name(MODELS, trial.model)
            raise ConfigError(f"model must be linear for task=one_dimensional, whose scores are its own, got {name!r}")

    def study(self, trial: Trial, dataset: Dataset, *, threads: int, like: Array) -> Iterator[Event]:
        """Yield a result with the values ``w`` ``(R,)``, the ``terms`` and their mean over points, ``loss``.

        ``terms`` is ``(I, J, R)``: point ``i``'s term of class ``j``, 0 where ``j`` is its own class.
        """
        del dataset, threads, like  # a few numbers of its own
        assert isinstance(trial.loss, PiecewiseLinear)
        w, terms = self.terms(trial.loss)
        loss = terms.sum(axis=(0, 1)) / len(self.points)
        extremes = {"landscape/lowest_loss": float(loss.min()), "landscape/highest_loss": float(loss.max())}
        arrays = {"w": w, "terms": terms, "loss": loss}
        yield Result(trial=0, outcome=Outcome.COMPLETE, step=0, metrics=extremes, arrays=arrays)

    def terms(self, loss: PiecewiseLinear) -> tuple[np.ndarray, np.ndarray]:
        """Return the values of the varied weight ``(R,)`` and ``max(0, w_j x_i - w_i x_i + offset)``, ``(I, J, R)``."""
        w = np.linspace(-self.extent, self.extent, self.resolution)
        weights = np.repeat(np.array(self.weights)[:, None], len(w), axis=1)  # (J, R)
        weights[self.varied] = w
        points = np.array(self.points)
        scores = weights.T[:, :, None] * points  # (R, J, 1) * (I,) -> (R, J, I)
        return w, loss.terms(scores, np.arange(len(points))).transpose(2, 1, 0)
