"""The gradient by the data: examples with a loss, and the change of their pixels that lowers it most."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from pipeline.figures.pictures import is_gray, pasted, picture, show_photograph, show_signed, write_above
from pipeline.figures.style import sheet
from pipeline.figures.trials import caption_of_trial
from pipeline.plan.plan import PlannedTrial
from tasks.arrays.devices import HOST, in_precision
from tasks.datasets.dataset import Dataset, Split
from tasks.fused.problem import Problem
from tasks.trial import Trial

_COLUMNS = 5


class Shown(NamedTuple):
    """Examples at ``places`` of a split: their losses, predicted classes, and the gradient by them ``(N, D)``."""

    places: np.ndarray
    losses: np.ndarray
    predicted: np.ndarray
    gradient: np.ndarray


def draw_data_gradient(trial: PlannedTrial, arrays: Mapping[str, np.ndarray], dataset: Dataset) -> dict[str, bytes]:
    """Return the figure by its name; nothing if no example has a loss."""
    split = dataset.validation if len(dataset.validation) else dataset.test
    shown = data_gradient(trial.trial, arrays, split, dataset)
    if not len(shown.places):
        return {}
    shape, columns = dataset.image_shape, len(shown.places)
    sense = "red: brighter, blue: darker" if is_gray(shape) else "spread over all colours"
    pixels = "pixels" if dataset.scale is None else "scaled pixels"
    figure, axes = sheet(title=f"The change of {pixels} that lowers each loss ({sense})", height=5.6)
    darkest = min(0.0, float(split.images.min()))
    brightest = max(0.0, float(split.images.max()))
    brightest += float(brightest == darkest)
    for column, n in enumerate(shown.places.tolist()):
        right, wrong = dataset.classes[split.labels[n]], dataset.classes[shown.predicted[column]]
        taken = f"taken for {wrong}" if right != wrong else "recognised"
        photograph = picture(split.images[n], shape)
        show_photograph(axes, (column, 0), photograph, darkest=darkest, brightest=brightest)
        flat = "" if shown.gradient[column].any() else ", gradient 0"  # of a network whose units are all dead
        write_above(axes, (column, 0), f"{right}\n{taken}\nloss {shown.losses[column]:.3g}{flat}", letters=11)
        show_signed(axes, (column, -1.0), picture(-shown.gradient[column], shape))
    return {"data_gradient.png": pasted(figure, axes, caption_of_trial(trial), columns=columns, bottom=-1.0, top=1.4)}


def data_gradient(trial: Trial, arrays: Mapping[str, np.ndarray], split: Split, dataset: Dataset) -> Shown:
    """Return the first example of each class that has a loss, at most five, and the gradient by the model's inputs.

    These are the scaled pixels, if pixels are scaled: by raw pixels, those with a small deviation would dominate.
    """
    problem = Problem.of([trial], dataset, like=in_precision(HOST, "float64"), threads=1)
    point = np.concatenate([arrays[name].ravel() for name in problem.shapes])[None, :].astype(np.float64)
    # Arranged for no number of examples, and by `scores_and_vjp`: the bits of a fused group would take a BLAS probe.
    arrangement = problem.model.arrange(1, dataset.image_shape, len(dataset.classes), (), like=point)
    rows = arrangement.rows(point)

    def losses_and_scores(features: Any, labels: Any) -> tuple[np.ndarray, np.ndarray]:
        scores, _ = arrangement.scores_and_vjp(rows, features)
        return problem.objective.losses_of_scores(scores, labels)[0], scores[0].argmax(axis=0)

    blocks = problem.over_blocks(problem.batch(split), losses_and_scores)
    losses, predicted = (np.concatenate(parts) for parts in zip(*blocks, strict=True))
    # One example of each class shows more than several of the first class.
    lossy = np.flatnonzero(losses > 0)
    _, first = np.unique(split.labels[lossy], return_index=True)
    places = lossy[first][:_COLUMNS]
    features, labels = problem.features(split.images[places]), split.labels[places]
    scores, _ = arrangement.scores_and_vjp(rows, features)
    _, slope = trial.loss.losses_and_gradient(scores, labels)
    gradient = np.asarray(arrangement.data_gradient(rows, features, slope)[0])
    return Shown(places, losses[places], predicted[places], gradient)
