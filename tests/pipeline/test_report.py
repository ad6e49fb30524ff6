"""A report is one page that needs nothing else, of one sweep or of two."""

import base64
import dataclasses
import itertools
import re
import urllib.parse

import pytest

from pipeline.figures.drawings import Figures
from pipeline.record.protocol import Provenance, SweepHeader
from pipeline.report import command as report
from pipeline.report.page import comparison_page, sweep_page
from pipeline.reports import Finished, Progressed, Started
from pipeline.results.criterion import Criterion
from pipeline.results.repeats import Setting, rank, ranked
from pipeline.results.standing import Repeat
from pipeline.tracking.mlflow_recorder import MlflowRecorder
from pipeline.tracking.reader import RecordedSweep, open_reader
from tasks.events import Outcome, Result
from tests.pipeline.record.recording import block, header, parent_of

PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


@pytest.fixture
def record(store_uri, experiment, tiny, trial, layout):
    """Return what records a sweep, of trials by name with their accuracies, and returns its run's id.

    The trials are settings of their own, or ``repeats`` of the one with these values.
    """

    def make(status="FINISHED", version="1.0", *, repeats=None, **accuracies):
        named = enumerate(name.replace("_", " ") for name in accuracies)
        trials = [trial(name, **(repeats or {"learning_rate": k + 1.0}) | {"seed": k}) for k, name in named]
        provenance = {"version.numpy": version, "cpu": "a <CPU>", "command": "python -m pipeline -m seed=1,2"}
        header = SweepHeader(name="seeds & rates", overrides=(), trials=tuple(trials))
        recorder = MlflowRecorder(
            store_uri,
            experiment,
            figures=Figures(trial=lambda *_: {"loss.png": PIXEL}, sweep=[lambda _: {"best_loss.png": PIXEL}]),
        )
        recorder.open(header, tiny, Provenance(tags=provenance))
        for planned, accuracy in zip(trials, accuracies.values(), strict=True):
            recorder.record(Started(trial=planned))
            outcome = Outcome.COMPLETE if accuracy is not None else Outcome.DIVERGED
            metrics = {"val/accuracy": accuracy or 0.99}
            recorder.record(
                Finished(trial=planned, result=Result(trial=0, outcome=outcome, step=1, metrics=metrics), layout=layout)
            )
        recorder.close(status)
        return parent_of(recorder)

    return make


def rows(page):
    lines = re.findall(r"<tr[^>]*>(.*?)</tr>", page)
    return [[re.sub("<.*?>", "", cell) for cell in re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", line)] for line in lines]


def test_a_report_has_the_table_the_figures_and_the_environment(record, store_uri, tmp_path, capsys):
    run_id = record(worse=0.25, best=0.75, lost=None)
    output = tmp_path / "page.html"

    assert report.main([run_id, "--tracking-uri", store_uri, "--output", str(output)]) == 0

    page = output.read_text()
    assert capsys.readouterr().out == f"{output}\n"
    assert "<title>seeds &amp; rates</title>" in page
    assert rows(page)[:4] == [
        ["trial", "val/accuracy", "outcome"],
        ["best", "0.75", "complete"],
        ["worse", "0.25", "complete"],
        ["lost", "0.99", "diverged"],
    ]
    images = re.findall(r'src="data:image/png;base64,([^"]+)"', page)
    assert [base64.b64decode(image) for image in images] == [PIXEL, PIXEL]
    assert ["version.numpy", "1.0"] in rows(page)
    assert ["cpu", "a &lt;CPU&gt;"] in rows(page)
    assert "The best trial: best" in page


def test_a_page_asks_for_nothing(record, store_uri, tmp_path):
    output = tmp_path / "page.html"
    report.main([record(one=0.5), "--tracking-uri", store_uri, "--output", str(output)])

    page = output.read_text()

    assert not re.search(r"<(script|link|iframe|object)", page)
    sources = re.findall(r"(?:src|href|url)\s*[=(]\s*[\"']?([^\"')> ]+)", page)
    assert {urllib.parse.urlsplit(source).scheme for source in sources} == {"data"}


def test_a_comparison_does_not_replace_the_page_of_one_sweep(record, store_uri, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    one, other = record(same=0.5), record(same=0.75)

    for arguments in ([one], [one, "--compare", other]):
        assert report.main([*arguments, "--tracking-uri", store_uri]) == 0

    assert {path.name for path in tmp_path.glob("*.html")} == {f"report-{one}.html", f"report-{one}-{other}.html"}


def test_two_sweeps_stand_beside_each_other(record, store_uri, tmp_path):
    one, other = record(same=0.5, only_here=0.25), record(version="2.0", same=0.75, only_there=0.125)
    output = tmp_path / "page.html"

    assert report.main([one, "--compare", other, "--tracking-uri", store_uri, "--output", str(output)]) == 0

    table = rows(output.read_text())
    assert ["same", "0.5", "", "0.75", "", "+25.00 points", "no"] in table
    assert ["only here", "0.25", "", "", "", "", ""] in table
    assert ["only there", "", "", "0.125", "", "", ""] in table
    assert ["version.numpy", "1.0", "2.0"] in table
    assert not any(row[:1] == ["cpu"] for row in table)


def test_repeats_are_rows_by_setting_and_compared_in_sentences(record, store_uri, tmp_path):
    names = [f"repeat_{k}" for k in range(6)]
    slow = {name: 0.5 + 0.01 * k for k, name in enumerate(names)}
    quick = {name: 0.7 + 0.011 * k for k, name in enumerate(names)}
    one, other = record(repeats={"learning_rate": 1.0}, **slow), record(repeats={"learning_rate": 1.0}, **quick)
    output = tmp_path / "page.html"

    assert report.main([one, "--tracking-uri", store_uri, "--output", str(output)]) == 0
    table = rows(output.read_text())
    assert table[0] == ["setting", "repeats", "against the best", "val/accuracy", "95 % interval"]
    assert table[1][:4] == ["gradient", "6", "", "0.525 ± 0.019"]
    assert "repeat 5, is at least as good as the mean of its setting" in output.read_text()

    assert report.main([one, "--compare", other, "--tracking-uri", store_uri, "--output", str(output)]) == 0
    page = output.read_text()
    assert "B: gradient is better than A: gradient by 20.25 (95 % interval" in page
    assert "6 pairs by seed, ahead with probability 1.00, p &lt; 0.001" in page
    (both,) = (row for row in rows(page) if row[0] == "gradient")
    assert (both[3], *both[5:7]) == ("0.728 ± 0.021", "+20.25 points", "20.12 to 20.38")


def swept(*names, repeats=1, metric="val/accuracy", mode="max", objectives=()):
    """Return a recorded sweep with the repeats of settings with these names."""
    criterion = Criterion(metric=metric, mode=mode, objectives=objectives)
    runs = tuple(
        Repeat(
            seeds=(("seed", str(seed)),),
            outcome="complete",
            metrics={metric: 0.5 + seed / 10, **{name: float(index) for _, name in objectives if name != metric}},
            criterion=criterion,
            index=index,
            trial=name if repeats == 1 else f"{name} seed={seed}",
            key=f"{name} {seed}",
            run_id=f"{name} {seed}",
        )
        for index, (name, seed) in enumerate(itertools.product(names, range(repeats)))
    )
    return RecordedSweep(
        run_id="run",
        name="a sweep",
        status="FINISHED",
        tags={},
        criterion=criterion,
        runs=runs,
        settings=tuple(settings(runs)),
        figures={},
        drawn={},
    )


def settings(runs):
    """Return the settings of runs, whose ids are the names of their settings and their seeds."""
    groups = {}
    for run in runs:
        groups.setdefault(run.run_id.rpartition(" ")[0], []).append(run)
    return ranked(
        Setting(key=name, name=name, repeats=tuple(sorted(repeats, key=rank))) for name, repeats in groups.items()
    )


@pytest.mark.parametrize("repeats", [1, 2])
def test_of_more_rows_than_a_table_shows_none_is_there_without_its_other_half(monkeypatch, repeats):
    # given two sweeps over the same values, with more trials and settings than tables have rows
    monkeypatch.setattr("pipeline.report.page._MOST_ROWS", 3)
    names = [f"lr={k}" for k in range(5)]

    both = comparison_page(*[swept(*names, repeats=repeats)] * 2)

    table = [row for row in rows(both) if "lr=" in row[0]]
    assert len(table) == (3 if repeats == 1 else 6)
    assert all(row[1] and row[3] for row in table)
    assert re.findall(r"and (\d+) more", both) == (["2"] if repeats == 1 else ["2", "7"])
    assert "and 2 more" in sweep_page(swept(*names, repeats=repeats))


def test_the_name_of_a_column_may_break_and_a_number_may_not():
    page = sweep_page(swept("one", "other", metric="check/worst_error"))

    assert "<th class=number>check/<wbr>worst_<wbr>error</th>" in page
    assert re.search(r"td\.number \{[^}]*nowrap", page)
    assert not re.search(r"th\.number \{[^}]*nowrap", page)


def test_trials_of_another_task_have_a_table_of_their_own():
    both = swept("train", "check")
    runs = both.runs[0], dataclasses.replace(both.runs[1], metrics={"check/worst": 1e-7})

    page = sweep_page(dataclasses.replace(both, runs=runs))

    assert rows(page)[:4] == [
        ["trial", "val/accuracy", "outcome"],
        ["train", "0.5", "complete"],
        ["trial", "check/worst", "outcome"],
        ["check", "1e-07", "complete"],
    ]


def test_trials_whose_rounded_names_are_the_same_are_all_compared():
    both = comparison_page(swept("lr=0.123457", "lr=0.123457"), swept("lr=0.123457", "lr=0.123457", "lr=1"))

    table = rows(both.partition("<h2>Trials</h2>")[2])
    assert [row[3] for row in table if row[0] == "lr=0.123457"] == ["0.5", "0.5"]
    assert ["lr=1", "", "", "0.5", "", "", ""] in table


def test_of_trials_whose_names_are_the_same_each_stands_beside_itself():
    # given two trials of one name, in the other sweep in the other order, with one that the first sweep lacks
    def of_keys(*keys):
        sweep = swept(*["lr=0.123457"] * len(keys))
        return dataclasses.replace(
            sweep, runs=tuple(dataclasses.replace(run, key=key) for run, key in zip(sweep.runs, keys, strict=True))
        )

    both = comparison_page(of_keys("only a", "one", "other"), of_keys("other", "one", "only b"))

    table = rows(both.partition("<h2>Trials</h2>")[2])
    assert [row[-1] for row in table if row[0] == "lr=0.123457"] == ["no", "yes", "yes"]


def test_the_same_trial_is_one_row_under_whatever_name_each_sweep_gave_it():
    # given two sweeps of which one varied the batch size, too
    one, other = swept("lr=1 batch=64", "lr=1 batch=256"), swept("lr=1", "lr=2")
    default = dataclasses.replace(other.runs[0], key=one.runs[1].key)
    other = dataclasses.replace(other, runs=(default, other.runs[1]))

    page = comparison_page(one, other)

    assert ["lr=1 batch=256", "0.5", "", "0.5", "", "+0.00 points", "yes"] in rows(page)
    assert ["lr=1 batch=64", "0.5", "", "", "", "", ""] in rows(page)
    assert ["lr=2", "", "", "0.5", "", "", ""] in rows(page)
    assert "<p>A: lr=1 batch=64 is level with B: lr=1: val/accuracy 0.5 and 0.5</p><p>one seed each is one draw" in page


@pytest.mark.parametrize(("repeats", "told"), [(2, True), (1, False)])
def test_the_best_repeat_is_better_than_the_mean_where_there_are_others(repeats, told):
    # given a loss, of which the best repeat is below the mean, and a setting whose other repeat has diverged
    sweep = swept("a", "b", repeats=2, metric="val/loss", mode="min")
    if repeats == 1:
        lost = [dataclasses.replace(run, outcome="diverged") if run.run_id[-1] == "1" else run for run in sweep.runs]
        sweep = dataclasses.replace(sweep, settings=tuple(settings(lost)))

    assert ("is at least as good as the mean of its setting" in sweep_page(sweep)) == told


def test_one_seed_each_is_said_to_be_one_draw(record, store_uri, tmp_path):
    output = tmp_path / "page.html"
    report.main([record(one=0.5, other=0.6), "--tracking-uri", store_uri, "--output", str(output)])

    assert "one seed each is one draw" in output.read_text()


def test_a_sweep_that_was_stopped_can_be_reported(record, store_uri, tmp_path):
    output = tmp_path / "page.html"

    assert report.main([record("KILLED", one=0.5), "--tracking-uri", store_uri, "--output", str(output)]) == 0

    assert "killed, 1 trial (1 complete)" in output.read_text()


def test_trials_of_a_task_that_nothing_ranks_are_told_by_their_own_metrics_and_none_is_the_best():
    sweep = swept("weights", "data", "odd")  # the last one has no figure
    message = "good: largest relative error 1e-09 of 30"
    measured = {"metrics": {"gradient_check/error": 1e-9}, "message": message}
    runs = tuple(dataclasses.replace(run, **measured) for run in sweep.runs)

    sweep = dataclasses.replace(sweep, runs=runs, settings=tuple(settings(runs)))
    sweep = dataclasses.replace(sweep, drawn={run.run_id: {"check.png": PIXEL} for run in runs} | {"odd 0": {}})

    page, both = sweep_page(sweep), comparison_page(sweep, sweep)

    assert rows(page)[:2] == [
        ["trial", "gradient_check/error", "outcome"],
        ["weights", "1e-09", f"complete: {message}"],
    ]
    assert re.findall(r"<h2>Trial: (\w+)</h2>", page) == ["weights", "data"]
    assert page.count("<figure>") == 2
    assert "class=first" not in page
    assert f"<td class=long>complete: {message}</td>" in page
    assert rows(both)[:2] == [
        ["trial", "A gradient_check/error", "B gradient_check/error", "B - A", "same trial"],
        ["weights", "1e-09", "1e-09", "+0", "yes"],
    ]


@pytest.mark.parametrize("repeats", [1, 2])
def test_of_several_objectives_the_page_shows_each_and_what_is_on_the_pareto_front(repeats):
    objectives = ("maximize", "val/accuracy"), ("minimize", "examples")

    header, *table = rows(sweep_page(swept("a", "b", repeats=repeats, objectives=objectives)))

    assert "examples" in header
    assert [row[header.index("Pareto front")] for row in table[:2]] == ["yes", "no"]


@pytest.mark.parametrize("repeats", [1, 2])
def test_a_report_says_which_trials_were_stopped_early_and_of_how_many_the_winner_is_the_best(repeats):
    sweep = swept("a", "b", "c", repeats=repeats)
    runs = tuple(
        dataclasses.replace(run, outcome="stopped early", stopped_at=20.0) if run.trial[0] == "b" else run
        for run in sweep.runs
    )

    page = sweep_page(dataclasses.replace(sweep, runs=runs, settings=tuple(settings(runs))))

    assert "the winner is one of the 2 that went on from the last rung, of 3; stopped early were 1 at step 20" in page
    assert "stopped early at step 20" in [row[-1] for row in rows(page) if row[0].startswith("b")]


@pytest.mark.parametrize(("heading", "last"), [("<h2>Settings</h2>", ["", ""]), ("<h2>Trials</h2>", ["yes"])])
@pytest.mark.parametrize(
    ("ended", "told"),
    [
        ({"outcome": "stopped early", "stopped_at": 20.0}, "stopped early at step 20"),
        ({"outcome": "killed"}, "killed"),
        ({"outcome": "finished"}, ""),  # older records do not say complete
    ],
)
def test_what_did_not_run_to_its_end_in_both_sweeps_is_shown_and_not_compared(heading, last, ended, told):
    # given two sweeps of the same trials, of which the first one cut some short, and one that it alone has
    whole, cut = swept("a", "b", "c", repeats=2), swept("a", "b", "c", "d", repeats=2)
    runs = tuple(dataclasses.replace(run, **ended) if run.trial[0] in "bd" else run for run in cut.runs)
    cut = dataclasses.replace(cut, runs=runs, settings=tuple(settings(runs)))

    for label, pair in (("A", (cut, whole)), ("B", (whole, cut))):
        section = comparison_page(*pair).partition(heading)[2].partition("<h2>")[0]
        table = {row[0].partition(" ")[0]: row for row in rows(section)}
        mark = f"{label}: {told}" if told else ""
        assert table["a"][5].startswith("+0")
        assert (table["b"][1], table["b"][3]) == (table["a"][1], table["a"][3])
        assert table["b"][5:] == ([mark, *last] if told else table["a"][5:])
        assert table["d"][5] == mark
        assert not told or f"<td>{mark}</td>" in section  # is no number, so that it may wrap


def test_a_best_setting_that_did_not_run_to_its_end_is_not_compared_with_that_of_the_other_sweep():
    whole = swept("a", "b", repeats=2)
    runs = tuple(dataclasses.replace(run, outcome="stopped early", stopped_at=20.0) for run in whole.runs)
    cut = dataclasses.replace(whole, runs=runs, settings=tuple(settings(runs)))

    page = comparison_page(whole, cut)

    assert "A: a and B: a are not compared: B: a did not run to its end (stopped early at step 20)" in page
    assert "p counts" not in page


def test_a_long_name_has_the_room_that_it_takes_and_no_more():
    assert "class=long" not in sweep_page(swept("a" * 40))


def test_no_p_is_explained_where_there_is_none():
    assert "p counts" not in comparison_page(swept("a", repeats=2), swept("b"))
    assert "p counts" in comparison_page(swept("a", repeats=2), swept("b", repeats=2))
    one, other = swept("a", repeats=2), swept("a", "b", repeats=2)
    assert "p in the table" not in comparison_page(one, other)
    told = "p in the table is multiplied by 2, the number of settings that are compared in it (Bonferroni)"
    assert told in comparison_page(other, other)


def test_the_best_trial_is_the_first_row_also_of_a_sweep_that_was_killed_while_it_ran(
    store_uri, experiment, tiny, trial, layout
):
    # given a trial that was ahead when it was killed, and one that measures nothing that ranks
    ended, ahead, silent = (trial(name, learning_rate=rate) for name, rate in (("a", 1.0), ("b", 2.0), ("c", 3.0)))
    recorder = MlflowRecorder(store_uri, experiment)
    recorder.open(header(ended, ahead, silent), tiny, Provenance())
    for planned, metrics in ((ended, {"val/accuracy": 0.5}), (silent, {"train/loss": 1.0})):
        result = Result(trial=0, outcome=Outcome.COMPLETE, step=1, metrics=metrics)
        recorder.record(Finished(trial=planned, result=result, layout=layout))
    recorder.record(Progressed(trial=ahead, curve=block(0, 1, **{"val/accuracy": lambda _: [0.75]})))
    recorder.close("KILLED")

    sweep = open_reader(store_uri).sweep(parent_of(recorder))

    assert [run.trial for run in sweep.runs] == [one.name for one in sweep.settings] == ["b", "a", "c"]
    assert sweep.best == sweep.runs[0]


def test_what_is_no_sweep_is_refused(record, store_uri, tmp_path, capsys):
    assert report.main(["nothing", "--tracking-uri", store_uri]) == 2
    assert "error: the run must be one of" in capsys.readouterr().err

    missing = str(tmp_path / "no folder" / "page.html")
    assert report.main([record(one=0.5), "--tracking-uri", store_uri, "--output", missing]) == 2
    assert "error: --output must be a file that can be written" in capsys.readouterr().err
