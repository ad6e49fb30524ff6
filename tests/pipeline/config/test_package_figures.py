"""Figures that installed packages add."""

import numpy as np
import pytest

from pipeline.config.tables import added, faults
from pipeline.results.curves import Series
from tasks.errors import SweepError
from tasks.events import Outcome, Result
from tests.pipeline.session import session

FIGURES = """
from dataclasses import dataclass
from typing import ClassVar

@dataclass(frozen=True)
class Line:
    of: ClassVar[str] = "trial"

    def draw(self, trials):
        (one,) = trials
        known = one.name, one.config["learning_rate"], one.curves["loss"][1].tolist(), dict(one.metrics)
        return b"\\x89PNG" + repr(known).encode()

@dataclass(frozen=True)
class Crowd:
    of: ClassVar[str] = "sweep"

    def draw(self, trials):
        return b"" if len(trials) < 2 else b"\\x89PNG" + repr([one.outcome for one in trials]).encode()
"""


def test_figures_of_a_package_are_drawn_of_trials_and_sweeps(site, trial):
    from pipeline.figures.drawings import all_figures
    from pipeline.results.curves import TrialRecord
    from pipeline.results.standing import Standing

    rows = "[descent_sweeps.figures]\nline = warm_losses:Line\ncrowd = warm_losses:Crowd\n"
    site(code=FIGURES, rows=rows)
    planned = trial("mine", learning_rate=0.5)
    series = {"loss": Series(steps=np.array([1, 2]), values=np.array([3.0, 4.0]))}
    result = Result(trial=0, outcome=Outcome.COMPLETE, step=2, metrics={"loss": 4.0})

    (draw_line,) = all_figures().added
    assert draw_line(planned, result, series) == {"line.png": b"\x89PNG('mine', 0.5, [3.0, 4.0], {'loss': 4.0})"}
    records = [
        TrialRecord(standing=Standing(trial=planned, outcome=o), curves=series) for o in (Outcome.COMPLETE, None)
    ]
    assert all_figures().sweep[-1](records) == {"crowd.png": b"\x89PNG['complete', 'not finished']"}
    assert all_figures().sweep[-1](records[:1]) == {}
    assert added() == {"warm-losses 0.1": {"figure": ["crowd", "line"]}}


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("raise OSError('no font')", r"^crowd of warm-losses 0\.1: OSError: no font"),
        ("raise SystemExit(3)", r"^crowd of warm-losses 0\.1: SystemExit: 3"),
        ("return b'a picture'", r"^crowd of warm-losses 0\.1 must return the bytes of a PNG, got b'a pi'"),
        ("return 'crowd.png'", r"^crowd of warm-losses 0\.1 must return the bytes of a PNG, got 'crowd.png'"),
    ],
)
def test_a_figure_that_cannot_be_drawn_is_named(site, code, message):
    from pipeline.figures.drawings import all_figures

    drawn = FIGURES.partition('return b"" if')[0] + code
    site(code=drawn, rows="[descent_sweeps.figures]\ncrowd = warm_losses:Crowd\n")

    with pytest.raises(SweepError, match=message):
        all_figures().sweep[-1]([])


def test_a_figure_is_of_a_trial_or_of_a_sweep(site):
    site(code=FIGURES.replace('"sweep"', '"run"'), rows="[descent_sweeps.figures]\ncrowd = warm_losses:Crowd\n")

    assert [fault.partition(": ")[2] for fault in faults()] == ["must be of trial or sweep, got 'run'"]


def test_a_sweep_whose_figure_cannot_be_drawn_says_where_and_how_to_look_at_the_rest(site, tmp_path):
    drawn = FIGURES.partition('return b"" if')[0] + "return trials[0].metrics['nothing']"
    site(code=drawn, rows="[descent_sweeps.figures]\ncrowd = warm_losses:Crowd\n")

    ((code, err, out),) = session(tmp_path, ["-m", "seed=1,2", "engine=inprocess", "steps=5"], FIGURES="1")

    assert code == 2
    assert "mlflow ui --backend-store-uri" in out
    first, *frames = err[err.index("error: 1 figure could not be drawn") :].splitlines()
    assert first.endswith("crowd of warm-losses 0.1: KeyError: 'nothing'")
    assert "return trials[0].metrics['nothing']" in "\n".join(frames)
