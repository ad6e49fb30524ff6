"""Which figures a sweep's recorder has drawn, when, and of what."""

import dataclasses
from concurrent.futures import Future
from functools import partial
from pathlib import Path

import pytest

from pipeline.errors import RecordError
from pipeline.figures.drawings import CURVE_POINTS, DRAWN_TRIALS, Drawings, Figures
from pipeline.record.protocol import Data, Opened, Provenance
from pipeline.record.runs import Runs
from pipeline.reports import Finished, Planned, Progressed, Started
from pipeline.tracking.mlflow_recorder import MlflowRecorder
from pipeline.tracking.unfinished import find_past
from tests.pipeline.record.recording import block, done, header, parent_of


@pytest.mark.parametrize("known", ["at first", "in batches", "as a number"])
@pytest.mark.parametrize(("count", "quick"), [(DRAWN_TRIALS, ["quick"]), (DRAWN_TRIALS + 1, [])])
def test_a_sweep_draws_its_winner_and_of_the_others_what_is_quick(
    store_uri, experiment, client, tiny, trial, layout, count, quick, known
):
    trials = [trial("bad"), trial("good")]
    waiting = [trial(f"waiting {k}") for k in range(count - 2)]
    first = header(*trials, *waiting) if known == "at first" else header(*trials)
    recorder = MlflowRecorder(
        store_uri,
        experiment,
        figures=Figures(
            trial=lambda *_: {"whole": b""},
            quick=lambda *_: {"quick": b""},
            sweep=[lambda records: {"+".join(record.standing.trial.name for record in records[:2]): b""}],
        ),
    )
    recorder.open(dataclasses.replace(first, total=count if known == "as a number" else 0), tiny, Provenance())
    if known == "in batches":
        recorder.record(Planned(trials=tuple(waiting)))
    for planned, accuracy in zip(trials, (0.25, 0.75), strict=True):
        recorder.record(Started(trial=planned))
        recorder.record(Finished(trial=planned, result=done(**{"val/accuracy": accuracy}), layout=layout))
    recorder.close("FINISHED")

    ids = [*map(recorder.run_id, trials), parent_of(recorder)]
    drawn = [[Path(file.path).name for file in client.list_artifacts(run_id, "figures")] for run_id in ids]
    assert drawn == [quick, [*quick, "whole"], ["good+bad"]]


@pytest.mark.parametrize("known", ["at first", "in batches"])
@pytest.mark.parametrize("logged", [True, False])
@pytest.mark.parametrize("lacked", [["quick"], ["added"], ["quick", "added"]])
def test_a_sweep_that_is_resumed_draws_what_is_not_drawn_also_of_trials_that_only_its_store_has(
    store_uri, experiment, client, tiny, trial, layout, tmp_path, known, logged, lacked
):
    # given a sweep that was stopped before one of its figures was drawn, and whose log may be lost
    one, other = trial("one"), trial("other")
    drawn = []

    def recorder(*failing):
        def draw(name, planned, *_):
            assert planned.name != "other" or name not in failing
            drawn.append(planned.name)
            return {f"{name}.png": b""}

        figures = Figures(quick=partial(draw, "quick"), added=[partial(draw, "added")])
        return MlflowRecorder(store_uri, experiment, folder=tmp_path, figures=figures)

    first = recorder(*lacked)
    first.open(header(one, other), tiny, Provenance())
    for planned in (one, other):
        first.record(Finished(trial=planned, result=done(), layout=layout))
    with pytest.raises(RecordError):
        first.close("KILLED")
    if not logged:
        next(tmp_path.glob("record-*.log")).unlink()

    # when it goes on with all of its trials, or with a first one to which the others are added
    drawn.clear()
    again, past = recorder(), find_past(store_uri, experiment, "a sweep")
    trials = (one, other) if known == "at first" else (one,)
    again.open(header(*trials), tiny, Provenance(), past)
    again.record(Planned(trials=(one, other)))
    again.close("FINISHED")

    assert sorted(drawn) == (["other", "other"] if logged else ["one", "one", "other", "other"])
    for planned in (one, other):
        found = [file.path for file in client.list_artifacts(again.run_id(planned), "figures")]
        assert found == ["figures/added.png", "figures/quick.png"]


def test_a_larger_sweep_keeps_few_points_of_all_but_its_winner_for_its_figures(
    store_uri, experiment, client, tiny, trial, layout
):
    trials, seen, points = [trial("good"), trial("bad")], {}, 5 * CURVE_POINTS
    waiting = [trial(f"waiting {k}") for k in range(DRAWN_TRIALS)]

    def figures(records):
        seen.update({record.standing.trial.name: len(record.curves["train/loss"].steps) for record in records[:2]})
        return {}

    recorder = MlflowRecorder(store_uri, experiment, figures=Figures(sweep=[figures]))
    recorder.open(header(*trials, *waiting), tiny, Provenance())
    for planned, accuracy in zip(trials, (0.75, 0.25), strict=True):
        recorder.record(Started(trial=planned))
        recorder.record(Progressed(trial=planned, curve=block(0, points, **{"train/loss": lambda s: s})))
        recorder.record(Finished(trial=planned, result=done(**{"val/accuracy": accuracy}), layout=layout))
    recorder.close("FINISHED")

    assert seen == {"good": points, "bad": CURVE_POINTS}
    assert len(client.get_metric_history(recorder.run_id(trials[1]), "train/loss")) == points


def test_the_curves_of_a_larger_sweep_are_whole_where_a_resume_compares_its_trials(
    store_uri, experiment, tiny, trial, layout, tmp_path
):
    trials, points = [trial(str(k)) for k in range(DRAWN_TRIALS + 1)], 2 * CURVE_POINTS
    recorder = MlflowRecorder(store_uri, experiment, folder=tmp_path)
    recorder.open(header(*trials), tiny, Provenance())
    recorder.record(Progressed(trial=trials[0], curve=block(0, points, **{"train/loss": lambda s: s})))
    recorder.record(Finished(trial=trials[0], result=done(), layout=layout))
    recorder.close("KILLED")

    again = MlflowRecorder(store_uri, experiment, folder=tmp_path)
    past = find_past(store_uri, experiment, "a sweep")
    known = again.open(header(*trials), tiny, Provenance(), past)
    again.sync()  # by now its figures would be drawn

    assert len(known.curves[trials[0].key].series()["train/loss"].steps) == points
    again.close("KILLED")


class Slow:
    """Has drawn when it is asked a second time whether it has."""

    def __init__(self):
        self.asked = 0

    def submit(self, draw, *arguments):
        drawn = Future()
        drawn.set_result(draw(*arguments))
        drawn.done = self._done
        return drawn

    def close(self):
        pass

    def _done(self):
        self.asked += 1
        return self.asked > 1


def test_a_figure_that_is_done_while_the_record_looks_is_kept(tiny):
    data, provenance = Data.of(tiny), Provenance()
    opened = Opened(log="1", uri="", experiment="", parent="", sweep=None, data=data, provenance=provenance)
    drawings = Drawings(Runs(opened, "1"), tiny, Figures(), Slow())

    drawings.draw(None, lambda: {"loss.png": b"png"})
    assert list(drawings.drain()) == []

    assert list(drawings.drain()) == [(None, {"loss.png": b"png"})]


def test_figures_that_cannot_be_drawn_are_counted_and_cost_nothing_else(
    store_uri, experiment, client, tiny, trial, layout
):
    def broken(*_):
        raise ValueError("no such colour")

    planned = trial()
    figures = Figures(trial=broken, quick=lambda *_: {"quick.png": b"png"}, added=[broken], sweep=[broken])
    recorder = MlflowRecorder(store_uri, experiment, figures=figures)
    recorder.open(header(planned), tiny, Provenance())
    recorder.record(Started(trial=planned))
    recorder.record(Finished(trial=planned, result=done(**{"val/accuracy": 0.5}), layout=layout))

    with pytest.raises(RecordError, match=r"^3 figures could not be drawn, .* the first: no such colour"):
        recorder.close("FINISHED")

    assert client.get_run(parent_of(recorder)).info.status == "FINISHED"
    assert "results.csv" in {file.path for file in client.list_artifacts(parent_of(recorder))}
    assert [file.path for file in client.list_artifacts(recorder.run_id(planned), "figures")] == ["figures/quick.png"]
