import csv
import re
import shutil
import time

import optuna
import pytest
import yaml

from tests.pipeline import commands
from tests.pipeline.disturbed import Sweep
from tests.pipeline.record.recording import logged
from tests.pipeline.session import fresh_session, session
from tests.stores import stored

SEARCH = (
    *("-m", "hydra/sweeper=search", "dataset=synthetic", "engine=inprocess", "tracking.register_model=false"),
    "steps=20",
)
RATE = "learning_rate=tag(log,interval(1e-6,1e-1))"
STORED = ("hydra.sweeper.storage=sqlite:///study.db", "hydra.sweeper.study_name=one")
BAD = {
    ("learning_rate=0.1",): "hydra/sweeper=search must have a key to search over",
    (RATE, "hydra.sweeper.n_trials=0"): "hydra.sweeper.n_trials must be a whole number of at least 1, got 0",
    (RATE, "hydra.sweeper.direction=minimize"): "hydra.sweeper.direction must agree with sweep.mode",
    (RATE, "hydra.sweeper.direction=up"): "hydra.sweeper.direction must be one of maximize, minimize, got 'up'",
    (RATE, "hydra/sweeper/sampler=tpy"): "hydra/sweeper/sampler must be one of cmaes, gp, grid",
    (RATE, "hydra.sweeper.sampler.sed=1"): "hydra.sweeper.sampler.sed is no key of the sweeper that is chosen",
    ("seed=glob(*)",): "seed must span what Optuna can search: ",
    (RATE, "hydra/sweeper/sampler=grid"): "learning_rate must have values that can be listed",
    (RATE, "hydra.sweeper.metrics=[val/loss,examples]", "stopping=asha"): "stopping must be none for several",
    (RATE, "hydra.sweeper.metrics=[val/loss,examples]", "hydra/launcher=basic"): "or for another hydra/launcher",
    (
        RATE,
        "hydra.sweeper.metrics=val/loss",
    ): "must be null for one metric, or for another hydra/launcher: sweep.metric",
    (RATE, "sweep.metric=[val/loss,examples]"): "sweep.metric must be a string (hydra.sweeper.metrics takes a list)",
    (RATE, "sweep.metric=3"): "sweep.metric must be a string (hydra.sweeper.metrics takes a list), got 3",
    (RATE, "hydra.sweeper.metrics=1"): "hydra.sweeper.metrics must be a text or a list of texts, got 1",
    ("loss=softmax", "loss.margin=interval(0.5,2)"): "loss.margin must be set with loss=",
    ("optimizer=sgd,adam", "optimizer.momentum=interval(0.1,0.9)"): "optimizer.momentum must be set with",
    ("optimizer=sgd,adm", RATE): "optimizer must be one of",
    ("batch_size=int(interval(0,9))", "learning_rate=interval(0,1)"): "batch_size must be >= 1, or null for the full",
    ("seed=range(3,-4,-1)", "hydra/launcher=basic"): "seed must be >= 0, got -3",
    ("loss=softmax,svm", "loss.margin=interval(-1,2)", *STORED): "loss.margin must be >= 0, got -1.0",
    (RATE, "hydra.sweeper.params=3"): "hydra.sweeper.params must hold values by key, got 3",
    ("hydra.sweeper.params={seed: '1,2'}",): "hydra.sweeper.params has no such keys in Hydra's config yet: +hydra",
    ("+hydra.sweeper.params={seed: range(3)}",): ": a mapping must hold sweeps as texts in quotes, as in {KEY: 'int",
    (
        RATE,
        *STORED,
        "tracking.uri=sqlite:///./study.db",
    ): "hydra.sweeper.storage must be another database than tracking.",
    (RATE, "hydra.sweeper.storage=3"): "must be a database that Optuna can use, got 3: Could not parse",
    (RATE, "hydra.sweeper.custom_search_space=no.such"): "hydra.sweeper.custom_search_space must name a function",
    (RATE, "hydra.sweeper.custom_search_space=math.pi"): "as MODULE.FUNCTION, got 'math.pi': 3.14",
    (RATE, "hydra.sweeper.custom_search_space=math.hypot"): "math.hypot(config, trial) raised TypeError: must be real",
    (RATE, "hydra.sweeper.storage={url: 'sqlite://'}"): "hydra.sweeper.storage must be a text, or null, got {'url': ",
    (RATE, "hydra.sweeper.sampler=null"): "hydra.sweeper.sampler must be chosen by hydra/sweeper/sampler=CHOICE, got",
    (RATE, "hydra.sweeper.sampler=3"): "hydra.sweeper.sampler must be chosen by hydra/sweeper/sampler=CHOICE, got 3",
    ("experiment=notes/minibatch,notes/lbfgs",): "experiment must have choices without a sweep of their own",
    (RATE, "hydra/launcher=basic", "sweep.repeats=2"): "sweep.repeats must be 1 without --multirun or with another",
    ("learning_rte=interval(1,2)",): "learning_rte is no key of this config, did you mean learning_rate?",
}
ASKED = ("hydra.sweeper.storage=sqlite:///asked.db", "hydra.sweeper.study_name=one")
UNKNOWN = (RATE, "hydra.sweeper.metrics=[val/los,examples]", "hydra.sweep.dir=asked", *ASKED)
PLANNED = (*UNKNOWN, "sweep.dry_run=true")
TOO_LARGE = (RATE, "batch_size=int(interval(1,901))", "hydra.sweep.dir=large")
UNEQUAL = ("cluster.cpus_per_worker=interval(0.5,1)", "hydra.sweeper.n_trials=1", "hydra.sweep.dir=unequal")
"""They are refused once the data are there."""
PRESET = """# @package _global_
defaults:
  - override /optimizer: momentum
  - override /hydra/sweeper: search
  - override /hydra/sweeper/sampler: tpe
hydra:
  sweeper:
    sampler: {seed: 123, n_startup_trials: 4}
    direction: maximize
    study_name: example
    storage: null
    n_trials: 6
    n_jobs: 2
    max_failure_rate: 0.0
    params:
      learning_rate: tag(log, interval(1e-4, 1e-1))
      batch_size: choice(16, 32)
      optimizer.momentum: range(0.5, 1, step=0.1)
"""


def proposed(folder):
    """Return the overrides of the proposals in the log of a sweep, in order."""
    told = {one["number"]: one["params"] for news in logged(folder, "Searched") for one in news["proposals"]}
    return [[f"{name}={text}" for name, text in told[number].items()] for number in sorted(told)]


@pytest.mark.slow
def test_a_config_of_hydras_plug_in_searches_with_one_name_changed(tmp_path):
    (tmp_path / "mine/experiment").mkdir(parents=True)
    (tmp_path / "mine/experiment/mine.yaml").write_text(PRESET)

    ((code, err, out),) = session(
        tmp_path,
        ["-m", "--config-dir", "mine", "experiment=mine", "hydra.sweep.dir=out", *SEARCH[2:]],
    )

    assert code == 0, err
    results = yaml.safe_load((tmp_path / "out/optimization_results.yaml").read_text())
    assert results["name"] == "optuna"
    assert list(results["best_params"]) == ["learning_rate", "batch_size", "optimizer.momentum"]
    assert results["best_value"] == best_accuracy(tmp_path)
    assert sorted(path.name for path in (tmp_path / "out").iterdir() if path.name.isdecimal()) == list("012345")
    overrides = yaml.safe_load((tmp_path / "out/3/.hydra/overrides.yaml").read_text())
    assert {text.partition("=")[0] for text in overrides} >= set(results["best_params"])
    assert f"{results['best_value']:.4g}" in out


@pytest.fixture(scope="module")
def refused(tmp_path_factory):
    """Give bad input to one process; return its folder, the end of each command, and what it has imported."""
    folder = tmp_path_factory.mktemp("refused")
    every = (*BAD, UNKNOWN, PLANNED, TOO_LARGE, UNEQUAL)
    return folder, *fresh_session(folder, *([*SEARCH, *overrides] for overrides in every))


def test_bad_input_is_told_before_anything_starts(refused):
    folder, (*ends, _, _, _, _), imported = refused

    assert [code for code, _, _ in ends] == [2] * len(BAD)
    assert {
        overrides: message
        for (overrides, message), (_, err, _) in zip(BAD.items(), ends, strict=True)
        if message not in err or err.count("\n") != 1
    } == {}
    assert "ray" not in imported
    assert not (folder / "multirun").exists()
    assert not (folder / "study.db").exists()


def test_a_metric_that_is_not_measured_is_told_before_anything_is_computed(refused):
    folder, (*_, (code, err, out), (planned, told, _), _, _), imported = refused

    assert code == planned == 2
    assert told == err  # by a dry run, too
    assert not (folder / "asked").exists()
    assert "hydra.sweeper.metrics must be one of" in err
    assert "(did you mean 'val/loss'?)" in err
    assert "running" not in out
    assert "ray" not in imported


def test_a_search_that_is_refused_leaves_no_open_trial_in_its_storage(refused):
    study = optuna.load_study(study_name="one", storage=f"sqlite:///{refused[0]}/asked.db")

    assert {trial.state.name for trial in study.trials} == {"FAIL"}


def test_the_end_of_a_range_that_the_data_do_not_allow_is_told_before_anything_is_computed(refused):
    _, (*_, (code, err, out), (_, unequal, _)), _ = refused

    assert code == 2
    assert "running" not in out
    assert unequal.startswith("error: cluster.cpus_per_worker must be the same in all trials of a sweep, got ")
    assert unequal.endswith(" and 0.5\n")  # and not of what is next to it
    assert "batch_size must be at most the 900 training examples of synthetic, or null for all of them, got 901" in err


def parents(folder):
    """Return the parent runs of a folder's store, each with its status, tags and the tags of its children."""
    tags, children = {}, {}
    for run, name, value in stored(folder, "SELECT run_uuid, key, value FROM tags"):
        tags.setdefault(run, {})[name] = value
    runs = stored(folder, "SELECT run_uuid, status FROM runs")
    for run, status in runs:
        if "mlflow.parentRunId" in tags[run]:
            children.setdefault(tags[run]["mlflow.parentRunId"], []).append((status, tags[run]))
    return [(run, status, tags[run], children.get(run, [])) for run, status in runs if run not in of_parents(tags)]


def of_parents(tags):
    return {run for run, own in tags.items() if "mlflow.parentRunId" in own}


def best_accuracy(folder):
    """Return the best accuracy that a trial of a folder's store has ended with."""
    ((best,),) = stored(folder, "SELECT max(value) FROM latest_metrics WHERE key = 'val/accuracy'")
    return best


def table(folder, run, name="proposals"):
    (file,) = folder.glob(f"mlruns/*/{run}/artifacts/{name}.csv")
    return list(csv.DictReader(file.read_text().splitlines()))


def store(folder, empty_store):
    folder.mkdir(exist_ok=True)
    shutil.copy(empty_store, folder / "mlflow.db")


@pytest.mark.slow
def test_a_search_is_one_sweep_whose_proposals_are_in_its_record(tmp_path, empty_store):
    store(tmp_path, empty_store)

    command = [*SEARCH, RATE, "batch_size=16,32", "hydra.sweeper.n_trials=24", "hydra.sweep.dir=out"]
    ends = session(tmp_path, command, FIGURES="1")

    assert [end[0] for end in ends] == [0], ends[0][1]
    ((run, status, tags, children),) = parents(tmp_path)
    assert status == "FINISHED"
    assert tags["search.sampler"] == "TPESampler"
    assert tags["search.objectives"] == "maximize val/accuracy"
    assert tags["overrides"].startswith("hydra/sweeper=search hydra.sweeper.n_trials=24 ")
    assert tags["search.importances"].partition(" ")[0] in {"learning_rate", "batch_size"}
    assert sorted(int(own["search.proposal"]) for _, own in children) == list(range(24))
    rows = table(tmp_path, run)
    assert [row["proposal"] for row in rows] == [str(number) for number in range(24)]
    assert {row["outcome"] for row in rows} == {"complete"}
    assert rows[0]["known"] == "0"
    assert int(rows[-1]["known"]) > 0
    assert list(tmp_path.glob(f"mlruns/*/{run}/artifacts/figures/search.png"))
    drawn = {figure.parts[-4] for figure in tmp_path.glob("mlruns/*/*/artifacts/figures/*.png")}
    assert len(drawn - {run}) == 1  # the winner: of so many trials the others have none
    best = yaml.safe_load((tmp_path / "out/optimization_results.yaml").read_text())["best_value"]
    assert best == max(float(row["val/accuracy"]) for row in rows)


@pytest.mark.slow
def test_a_search_of_a_grid_of_repeats_and_of_two_objectives_are_told_what_they_asked_for(tmp_path, empty_store):
    grid, repeats, front = (tmp_path / name for name in ("grid", "repeats", "front"))
    for folder in (grid, repeats, front):
        store(folder, empty_store)
    values = ["learning_rate=1e-3,1e-2", "batch_size=16,32"]

    session(grid, [*SEARCH, *values, "hydra/sweeper/sampler=grid", "hydra.sweep.dir=out"])
    session(repeats, [*SEARCH, RATE, "hydra.sweeper.n_trials=4", "sweep.repeats=13", "hydra.sweep.dir=out"])
    objectives = "hydra.sweeper.metrics=[val/accuracy,examples]"
    session(front, [*SEARCH[:-1], RATE, "steps=int(interval(5,40))", objectives, "hydra.sweep.dir=out"], FIGURES="1")

    assert len(parents(grid)[0][3]) == 4
    run, _, _, children = parents(repeats)[0]
    assert sorted(own["search.proposal"] for _, own in children) == [number for number in "0123" for _ in range(13)]
    assert [row["known"] for row in table(repeats, run)] == ["0"] * 4, "startup trials are proposed at once"
    run, _, tags, _ = parents(front)[0]
    assert tags["search.objectives"] == "maximize val/accuracy, minimize examples"
    assert list(front.glob(f"mlruns/*/{run}/artifacts/figures/pareto.png"))
    on = {row["Pareto front"]: float(row["examples"]) for row in reversed(table(front, run, "results"))}
    assert on["yes"] < on["no"]
    solutions = yaml.safe_load((front / "out/optimization_results.yaml").read_text())["solutions"]
    assert {len(solution["values"]) for solution in solutions} == {2}


@pytest.mark.slow
@pytest.mark.parametrize("study", [(), STORED], ids=["in memory", "in a database"])
def test_a_search_that_is_killed_goes_on_from_its_proposals_and_contradicts_none(tmp_path, empty_store, study):
    store(tmp_path, empty_store)
    more = [*study, RATE, "hydra.sweeper.n_trials=24", "hydra.sweeper.n_jobs=4", "steps=1500", "hydra.sweep.dir=out"]
    command = ["-m", "pipeline", *SEARCH[:-1], *more]

    with commands.Command(command, tmp_path) as driver:
        while len(proposed(tmp_path)) < 15:
            assert driver.poll() is None
            time.sleep(0.02)
        driver.kill()
        driver.wait()
    before = proposed(tmp_path)
    again = commands.run([*command, "sweep.resume=true"], tmp_path)

    assert again.returncode == 0, again.stderr
    assert "24 proposals to maximize val/accuracy" in again.stdout
    assert f"repeated from the earlier process: {len(before)} proposals" in again.stdout
    ((run, status, tags, children),) = parents(tmp_path)
    assert status == "FINISHED"
    assert tags["mlflow.note.content"].startswith("**learning_rate on synthetic**")
    finished = [own["search.proposal"] for status, own in children if status == "FINISHED"]
    assert sorted(map(int, finished)) == list(range(24))
    rows = table(tmp_path, run)
    assert [[f"learning_rate={row['learning_rate']}"] for row in rows[: len(before)]] == before


@pytest.mark.slow
@pytest.mark.parametrize(("rule", "pool"), [("asha", 0), ("halving", 1)])
def test_a_search_is_told_of_what_is_stopped_and_one_that_is_killed_decides_no_other_way(
    tmp_path, empty_store, rule, pool
):
    store(tmp_path, empty_store)
    rungs = [f"stopping={rule}", "stopping.min_steps=300", "trial.evaluate_every=300", "batch_size=8", "steps=2700"]
    more = [RATE, *rungs, "hydra.sweeper.n_trials=24", "hydra.sweeper.n_jobs=8", "hydra.sweep.dir=out"]
    command = ["-m", "pipeline", *SEARCH[:-1], *more]

    with commands.Command(command, tmp_path) as driver:
        while sum(one["decision"]["pool"] == pool for one in logged(tmp_path, "Decided")) < 2:
            assert driver.poll() is None
            time.sleep(0.02)
        driver.kill()
        driver.wait()
    before = proposed(tmp_path)
    again = commands.run([*command, "sweep.resume=true"], tmp_path)

    assert again.returncode == 0, again.stderr
    ((run, status, _, _),) = parents(tmp_path)
    assert status == "FINISHED"
    rows = table(tmp_path, run)
    assert [[f"learning_rate={row['learning_rate']}"] for row in rows[: len(before)]] == before
    outcomes = [row["outcome"] for row in rows]
    assert outcomes.count("stopped early") + outcomes.count("complete") == 24
    assert outcomes.count("stopped early") >= 12
    assert all(row["val/accuracy"] for row in rows)


@pytest.mark.slow
def test_a_search_that_is_resumed_with_more_trials_goes_on(tmp_path, empty_store):
    store(tmp_path, empty_store)
    command = [*SEARCH, RATE, "hydra.sweep.dir=out"]

    ends = session(tmp_path, [*command, "hydra.sweeper.n_trials=6"])
    more = session(tmp_path, [*command, "hydra.sweeper.n_trials=9", "sweep.resume=true"])

    assert [ends[0][0], more[0][0]] == [0, 0], more
    rows = [line for line in more[0][2].splitlines() if line.startswith("gradient lr=")]
    assert rows
    assert not [row for row in rows if "steps=20" in row]  # as the name of a lone trial says
    ((_, status, _, children),) = parents(tmp_path)
    assert status == "FINISHED"
    assert sorted(int(own["search.proposal"]) for _, own in children) == list(range(9))


@pytest.mark.slow
def test_a_search_ends_well_if_no_more_of_its_trials_fail_than_may(tmp_path, empty_store):
    sweep = Sweep(tmp_path / "sweep", empty_store, pause=0, RAISES="2")  # of the seeds 1 and 2
    grid = ["hydra/sweeper=search", "hydra/sweeper/sampler=grid", "engine=inprocess", "trial.attempts=1"]

    code, _, err = sweep.run(*grid, "hydra.sweeper.max_failure_rate=0.5")
    few, _, refused = sweep.run(*grid, "hydra.sweeper.max_failure_rate=0.4")
    fast, _, _ = sweep.run(*grid, "hydra.sweeper.max_failure_rate=0.5", "sweep.fail_fast=true")

    assert (code, err) == (0, "")
    assert (few, fast) == (1, 1)
    assert "2 of 4 trials failed" in refused


@pytest.mark.slow
def test_a_search_on_ray_starts_once_and_is_refilled_as_groups_end(tmp_path, empty_store):
    store(tmp_path, empty_store)
    more = ["cluster.address=local", "cluster.workers=2", "hydra.sweeper.n_trials=24", "hydra.sweeper.n_jobs=4"]
    command = [text for text in SEARCH if text != "engine=inprocess"]

    end = commands.run(["-m", "pipeline", *command, RATE, *more], tmp_path)

    assert end.returncode == 0, end.stderr
    ((run, status, _, children),) = parents(tmp_path)
    assert (status, len(children)) == ("FINISHED", 24)
    # A batch was proposed while another was out: what was known then is no multiple of what was out.
    known = [int(row["known"]) for row in table(tmp_path, run)]
    assert known == sorted(known)
    assert any(number - row < 4 for number, row in enumerate(known) if number >= 10)


def test_the_choices_of_a_group_that_a_pattern_matches_are_searched(tmp_path):
    pattern = ["schedule=glob(c*)", "hydra/sweeper/sampler=grid", "sweep.dry_run=true"]
    workers = ["engine=ray", "cluster.workers=2"]  # a group for each trial, by which the plan names it
    ((code, err, out),) = session(tmp_path, [*SEARCH, *pattern, *workers])

    assert (code, err) == (0, "")
    assert "2 trials, 0 folded" in out
    planned = [line.split()[-2:] for line in out.splitlines() if "gradient" in line]
    assert sorted(planned) == [["gradient", "constant"], ["gradient", "cosine"]]


def test_a_dry_run_shows_what_a_search_will_do(tmp_path):
    ends, imported = fresh_session(
        tmp_path, [*SEARCH, *STORED, RATE, "hydra.sweeper.n_trials=40", "sweep.dry_run=true"]
    )

    assert ends[0][0] == 0, ends[0][1]
    assert "TPESampler, 40 proposals to maximize val/accuracy: 10 at first, then others as trials end" in ends[0][2]
    assert "10 trials, 0 folded" in ends[0][2]
    assert re.search(r"; about \d+ s for all 40 trials\n", ends[0][2])
    assert "mlflow" not in imported
    assert not list(tmp_path.rglob("optimization_results.yaml"))
    assert not list(tmp_path.rglob(".hydra"))
    assert not (tmp_path / "study.db").exists()


@pytest.mark.slow
def test_a_search_proposes_for_the_engine_that_computes(tmp_path):
    common = [*SEARCH, RATE, "hydra.sweeper.n_trials=100", "cluster.workers=3", "sweep.dry_run=true"]

    ends = session(tmp_path, common, [*common, "engine=ray"])

    assert [code for code, _, _ in ends] == [0, 0]
    # eight for each worker, of which this process is one
    assert [f"{count} open at most" in out for (_, _, out), count in zip(ends, (8, 24), strict=True)] == [True, True]


def test_a_search_runs_its_batches_with_any_launcher(tmp_path, empty_store):
    store(tmp_path, empty_store)

    more = ["hydra/launcher=basic", "hydra.sweeper.n_trials=4", "hydra.sweeper.n_jobs=2", "hydra.sweep.dir=out"]
    ends = session(tmp_path, [*SEARCH, RATE, *more])

    assert ends[0][0] == 0, ends[0][1]
    results = yaml.safe_load((tmp_path / "out/optimization_results.yaml").read_text())
    assert results["best_value"] == best_accuracy(tmp_path)
