"""Landscapes of the tests, and the checkpoints of the training that one may lie around."""

import numpy as np

from tasks.events import Checkpoint, Result
from tasks.fused.problem import Problem
from tasks.losses import LOSSES
from tasks.studies.landscape import Landscape
from tasks.studies.train import Train
from tasks.trial import Trial


def landscape(dataset, *, threads=1, loss="svm", trial=None, **fields):
    values = {"task": Landscape(**fields), "loss": LOSSES[loss]()} | (trial or {})
    trial = Trial(**values)
    *curves, result = trial.task.run([trial], dataset, threads=threads)
    return curves, result


def initial_scale(trial):
    return trial.model.initial_scale(1e-4)


def trained(trial, dataset, every):
    """Yield the checkpoints of a training, and its end as one."""
    problem = Problem.of([trial], dataset, like=np.empty(0, np.float32), threads=1)
    for event in Train().run([trial], dataset, threads=1, checkpoint_every=every):
        if isinstance(event, Checkpoint):
            yield event
        elif isinstance(event, Result):
            weights = np.concatenate([event.arrays[name].ravel() for name in problem.shapes])
            yield Checkpoint(step=event.step, trials=np.array([0]), arrays={"weights": weights[None, :]})
