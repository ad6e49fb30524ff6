"""A maker of the trials whose figures are drawn, and the figures."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from pipeline.results.curves import Series, TrialRecord
from pipeline.results.standing import Standing
from tasks.events import Outcome


@pytest.fixture
def figures(monkeypatch):
    """Return the figures that are drawn from now on, laid out as they are when they are saved."""
    saved = []

    def save(figure, file, **_):
        figure.canvas.draw()
        saved.append(figure)
        file.write(b"png")

    monkeypatch.setattr(Figure, "savefig", save)
    return saved


@pytest.fixture
def record(trial):
    """Return a maker of ended trials with a loss that falls to 1 - accuracy, and an accuracy that rises to it."""

    def make(accuracy, outcome=Outcome.COMPLETE, **values):
        steps = np.arange(10, 110, 10)
        loss = 1 - accuracy + np.exp(-steps / 20.0)
        if outcome is Outcome.DIVERGED:
            loss[-1] = np.inf
        planned = trial(f"{values}", **values)
        curves = {
            "train/loss": Series(steps=steps, values=loss),
            "val/loss": Series(steps=steps[-1:], values=loss[-1:]),
            "val/accuracy": Series(steps=steps[4:], values=accuracy * steps[4:] / 100),
            "evaluations": Series(steps=steps, values=steps.astype(float)),
            "examples": Series(steps=steps, values=64.0 * steps),
        }
        metrics = {"val/accuracy": accuracy}
        standing = Standing(trial=planned, metrics=metrics, started=True, outcome=outcome, step=100)
        return TrialRecord(standing=standing, curves=curves)

    return make
