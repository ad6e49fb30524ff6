import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline.cli.app import interruption
from pipeline.config.tables import TABLES
from pipeline.errors import Interrupted
from tasks.errors import ConfigError
from tests.pipeline import commands
from tests.pipeline.session import fresh_session, session
from tests.stores import stored

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}
SMALL = ("dataset=synthetic", "steps=20", "trial.evaluate_every=10", "batch_size=32", "tracking.register_model=false")


def run(folder, *arguments, **environment):
    return commands.run(["-m", "pipeline", *arguments], folder, **environment)


LOSS_NAMES, STRATEGY_NAMES = (", ".join(sorted(TABLES[group])) for group in ("loss", "strategy"))
BAD = {
    ("--config-name", "mine"): "Cannot find primary config 'mine'. Check that it's in your config search path.\n",
    ("learning_rat=1",): "learning_rat is no key of this config, did you mean learning_rate?",
    ("optimizer=lbfgs",): "got 'lbfgs' (did you mean strategy=lbfgs?)",
    ("regularizer=none",): "regularizer must be one of l1, l2, got 'none'\n",
    ("margin=2",): "margin is no key of this config, did you mean loss.margin?",
    ("loss.margn=2",): "loss.margn is no key of this config, did you mean loss.margin?",
    ("dataset.folder=x",): "dataset.folder is no key of this config (see ",
    ("dataset.rot=x",): "dataset.rot is no key of this config, did you mean dataset.root?",
    ("datset.root=x",): "datset.root is no key of this config, did you mean dataset.root or ",
    ("+note=1",): "got 'note'",
    ("loss=sfm",): f"loss must be one of {LOSS_NAMES}, got 'sfm' (did you mean 'svm'?)",
    ("loss={a: 1}",): f"loss must be one of {LOSS_NAMES}",
    ("loss=3", "seed=0"): f"loss must be one of {LOSS_NAMES}, got '3'",
    ("+loss._target_=os.system",): "a key of loss must be one of margin, got '_target_'",
    ("sweep.resume=true",): "sweep.resume must be false without --multirun",
    ("trial.timeout=-1",): "trial.timeout must be > 0, or null, got -1.0",
    ("trial.checkpoint_every=0",): "trial.checkpoint_every must be >= 1, or null, got 0",
    ("learning_rate=-1",): "learning_rate must be > 0, got -1.0",
    ("learning_rate=fast",): "learning_rate must be a number, got 'fast'",
    ("learning_rate=nan",): "learning_rate must be a finite number",
    ("learning_rate=1,2",): "learning_rate=1,2",
    ("learning_rate=${nothing}",): "learning_rate",
    ("learning_rate=???",): "learning_rate",
    ("learning_rate",): "learning_rate cannot be read as KEY=VALUE: ",
    ("-m", "learning_rate=1e-3,", "1e-2"): "learning_rate=1e-3, cannot be read as KEY=VALUE: values are listed without",
    ("-m", "learning_rate=1e-3", "1e-2"): "1e-2 cannot be read as KEY=VALUE: values are listed without",
    ("model=mlp", "model.hidden=[10"): "model.hidden=[10 cannot be read as KEY=VALUE: ",
    ("-m", "clip=choice(null,1)"): ": null must be listed without a function, as in KEY=null,1",
    ("-m", "learning_rate=(1,2)"): "learning_rate=(1,2) cannot be read as KEY=VALUE: ",
    ("batch_size=0",): "batch_size must be >= 1, or null for the full training set, got 0",
    ("trial=3",): "trial must be a group of keys",
    ("dataset=npz",): "dataset.root",
    ("hydra/launcher=none",): "hydra/launcher must be one of basic, ",
    ("hydra.run.dir=/dev/null/x",): "hydra.run.dir must be a folder that can be written, got /dev/null/x: [Errno 20]",
    ("tracking.uri=sqlite:////dev/null/x.db",): "tracking.uri must be a store that can be reached",
    ("loss=softmax", "loss.margin=2"): "loss.margin must be set with loss=svm or loss=squared_hinge only",
    ("loss=softmax", "+loss.margin=2"): "loss=softmax must have no keys of its own, got 'margin'",
    ("hydra.sweep.dri=x",): "hydra.sweep.dri is no key of Hydra's config, did you mean hydra.sweep.dir?",
    ("hydra.job.env_set.X=1",): "+hydra.job.env_set.X=VALUE adds it",
    ("hydra.job.env_set={X: 1}",): "+hydra.job.env_set=VALUE adds them",
    ("-m", "hydra.sweeper.params={seed: '1,2'}"): "+hydra.sweeper.params=VALUE adds them",
    ("dataset=npz", "dataset.root=~/set.npz"): "dataset.root=~/set.npz cannot be read at '~': a value that",
    ("sweep.name=two\nlines",): r"sweep.name=two lines cannot be read at '\n': a value that holds it must be quoted",
    (
        *("--config-name", "config", "hydra.job_logging.root.level=LOUD"),
    ): "Unknown level: 'LOUD' (the overrides were: 'hydra.job_logging.root.level=LOUD')",
    ("dataset=synthetic", "dataset.examples=1e15"): "there is not enough memory: Unable to allocate",
    ("hydra.sweeper.max_batch_size=2",): "hydra.sweeper.max_batch_size is no key of the sweeper that is chosen",
    ("-m", "~hydra.sweeper.params"): "hydra.sweeper.params must be given, got none",
    ("hydra.job.env_copy=[NOWHERE_X]",): "'NOWHERE_X' must be set",
    ("hydra.verbose=5",): "hydra.verbose must be true, false, a logger or a list of loggers, got 5",
    ("-m", "hydra.sweeper=1", "hydra.verbose=true"): "hydra.sweeper must be chosen by hydra/sweeper=CHOICE, got 1",
    ("-m", "hydra.launcher=mine"): "hydra.launcher must be chosen by hydra/launcher=CHOICE, got mine",
    ("-m", "loss=softmax", "seed=1,2", "loss.margin=2"): "loss.margin must be set with loss=svm or loss=squared_hinge",
    ("-m", "seed=1,2", "tracking.uri=sqlite:///${hydra:runtime.output_dir}/z.db"): "tracking.uri must be the same in",
    ("-m", "seed=range(5,5)"): "seed must have at least one value, got seed=range(5,5)",
    ("-m", "experiment=glob(notes/*)"): "experiment=glob(notes/*): glob() matches choices in the group's own folder",
    ("-m", "seed=interval(0,1)"): "seed must be swept over values that can be listed",
    ("-m", "learning_rate=1e-3,-1"): "learning_rate must be > 0, got -1.0",
    ("-m", "seed=0,1", "sweep.repeats=3"): "sweep.repeats must be 1 where seed is swept, got 3",
    ("sweep.repeats=2",): "sweep.repeats must be 1 without --multirun or with another hydra/launcher, got 2",
    ("-m", "learning_rat=1,2"): "learning_rat is no key of this config",
    ("experiment=notes/landscap",): "got 'notes/landscap' (did you mean 'notes/landscape'?)",
    ("-m", "experiment=landscape"): "experiment must be one of networks/convnet, networks/gradient_check, ",
    ("-m", "loss=svm,sfm"): f"loss must be one of {LOSS_NAMES}, got 'sfm'",
    ("-m", "engine=ray,inprocess"): "engine must be the same in all trials of a sweep",
    ("-m", "dataset=digits,synthetic"): "dataset must be the same in all trials of a sweep",
    ("-m", "trial.timeout=5,9"): "trial.timeout must be the same in all trials of a sweep, got 5.0 and 9.0",
    ("-m", "seed=1,2", "hydra.sweep.dir=/dev/null/x"): "hydra.sweep.dir must be a folder that can be written",
}


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    ends, imported = fresh_session(tmp_path_factory.mktemp("bad"), *BAD, ["--help"])
    return dict(zip([*BAD, "help"], ends, strict=True)), imported


def test_bad_input_is_one_message_that_names_the_parameter(answers):
    def is_told(arguments, code, err):
        one = len(err.splitlines()) == 1 and "Traceback" not in err
        return code == 2 and err.startswith("error: ") and BAD[arguments] in err and one

    ends = {arguments: answers[0][arguments][:2] for arguments in BAD}
    assert {arguments: end for arguments, end in ends.items() if not is_told(arguments, *end)} == {}


def test_help_and_errors_answer_without_the_heavy_libraries(answers):
    assert "learning_rate: " in answers[0]["help"][2]
    assert f"strategy     {STRATEGY_NAMES}" in answers[0]["help"][2]
    assert "cluster      existing, local" in answers[0]["help"][2]
    assert "notes/lbfgs, notes/learning_rate" in " ".join(answers[0]["help"][2].split())
    assert answers[1] == []


def test_full_errors_on_request(tmp_path):
    end = run(tmp_path, "learning_rate=-1", HYDRA_FULL_ERROR="1")

    assert end.returncode == 1
    assert "Traceback" in end.stderr
    assert "tasks.errors.ConfigError: learning_rate must be > 0, got -1.0" in end.stderr


def test_a_batch_larger_than_the_data_is_refused_before_anything_starts(tmp_path):
    end = run(tmp_path, "--multirun", "dataset=synthetic", "batch_size=64,5000")

    assert end.returncode == 2
    assert end.stderr.startswith("error: batch_size must be at most the ")
    assert end.stderr.rstrip().endswith("got 5000")


def test_a_metric_that_no_trial_reports_is_refused_before_anything_is_recorded(tmp_path):
    end = run(tmp_path, "-m", *SMALL, "engine=inprocess", "seed=1,2", "sweep.metric=val/los")

    assert end.returncode == 2
    assert "error: sweep.metric must be one of" in end.stderr
    assert "got 'val/los' (did you mean 'val/loss'?)" in end.stderr
    assert not (tmp_path / "mlruns").exists()


@pytest.mark.slow
def test_repeats_end_with_a_table_of_settings_and_what_they_say(tmp_path):
    end = run(tmp_path, "-m", *SMALL, "engine=inprocess", "learning_rate=1e-4,1e-2", "sweep.repeats=3")

    assert end.returncode == 0, end.stderr
    lines = end.stdout.splitlines()
    (start,) = (k for k, line in enumerate(lines) if line.startswith("setting"))
    assert sorted(line.split()[:3] for line in lines[start + 1 : start + 3]) == [
        ["gradient", "lr=0.0001", "3"],
        ["gradient", "lr=0.01", "3"],
    ]
    assert "3 pairs by seed" in end.stdout
    names = stored(tmp_path, "SELECT name FROM runs ORDER BY name")
    assert ("gradient lr=0.01 seed=2 data_seed=2",) in names
    assert len(names) == 7


def test_a_dry_run_prints_the_plan_and_starts_nothing(tmp_path):
    ends, imported = fresh_session(
        tmp_path,
        ["-m", "sweep.dry_run=true", "dataset=synthetic"],
        ["-m", "sweep.dry_run=true", "dataset=synthetic", "strategy=local", "learning_rate=0.5"],
    )

    assert [code for code, _, _ in ends] == [0, 0]
    assert "2 of 12 points repeat another (all parameters that they use are equal)" in ends[0][2]
    assert "10 trials, 2 folded" in ends[0][2]
    # Fixed values leave the rest of the default grid to be swept.
    assert "2 trials, 0 folded" in ends[1][2]
    assert imported == []
    assert not (tmp_path / "mlflow.db").exists()


def test_an_explicit_sweep_or_a_preset_replaces_the_default_grid(tmp_path):
    ends = session(
        tmp_path,
        ["-m", "sweep.dry_run=true", "dataset=synthetic", "seed=1,2,3"],
        ["-m", "sweep.dry_run=true", "dataset=synthetic", "experiment=notes/strategies"],
        ["-m", "sweep.dry_run=true", "dataset=synthetic", "experiment=notes/lbfgs"],
    )

    assert "3 trials, 0 folded" in ends[0][2]
    assert "3 trials, 0 folded" in ends[1][2]
    # A preset that sweeps nothing is one trial, of its own strategy.
    assert "1 trial, 0 folded" in ends[2][2]
    assert "lbfgs" in ends[2][2]


@pytest.mark.slow
def test_one_trial_in_this_process(tmp_path):
    end = run(tmp_path, *SMALL, "learning_rate=0.5")

    assert end.returncode == 0, end.stderr
    assert "gradient lr=0.5 batch=32 steps=20 evaluate_every=10 synthetic" in end.stdout
    assert "complete" in end.stdout
    assert "mlflow ui --backend-store-uri sqlite:" in end.stdout
    assert list(tmp_path.glob("outputs/*/*/.hydra/config.yaml"))
    assert "--multirun" not in end.stdout


def test_a_preset_that_is_run_as_one_trial_says_what_it_would_sweep(tmp_path):
    end = run(tmp_path, "experiment=notes/landscape", "sweep.dry_run=true")

    assert end.returncode == 0, end.stderr
    assert "this is one trial of the preset: with --multirun it sweeps task.dimensions, task.examples" in end.stdout


def test_a_preset_sweeps_no_key_that_is_given(tmp_path):
    preset = ["experiment=notes/landscape", "sweep.dry_run=true", "task.examples=1"]

    (_, _, one), (_, _, both) = session(tmp_path, preset, [*preset, "task.dimensions=2"])

    assert "this is one trial of the preset: with --multirun it sweeps task.dimensions\n" in one
    assert "this is one trial of the preset" not in both


@pytest.mark.slow
def test_a_sweep_ends_with_its_table_its_folders_and_its_record(tmp_path):
    end = run(tmp_path, "-m", *SMALL, "engine=inprocess", "strategy=random,gradient", "learning_rate=1e-3,1e-2")

    assert end.returncode == 0, end.stderr
    assert "1 of 4 points repeat another" in end.stdout
    lines = end.stdout.splitlines()
    table = lines[next(k for k, line in enumerate(lines) if line.startswith("trial")) :]
    accuracies = [float(line.split()[-6]) for line in table[1:4]]
    assert accuracies == sorted(accuracies, reverse=True)
    for number in range(4):
        (folder,) = tmp_path.glob(f"multirun/*/*/{number}/.hydra")
        assert sorted(file.name for file in folder.iterdir()) == ["config.yaml", "hydra.yaml", "overrides.yaml"]
    statuses = stored(tmp_path, "SELECT name, status FROM runs ORDER BY name")
    assert len(statuses) == 4
    assert {status for _, status in statuses} == {"FINISHED"}


@pytest.mark.slow
def test_the_figures_of_a_sweep_are_drawn_by_processes_that_have_ended_with_it(tmp_path):
    command = [sys.executable, "-m", "pipeline", "-m", *SMALL, "engine=inprocess", "learning_rate=1e-3,1e-2"]
    # Not through pipes, which would be waited for until all that hold them have ended.
    with (tmp_path / "output.txt").open("w") as file:
        end = subprocess.run(command, cwd=tmp_path, env=ENVIRONMENT, stdout=file, stderr=file, check=False, timeout=180)

    assert end.returncode == 0, (tmp_path / "output.txt").read_text()
    drawn = sorted(path.name for path in tmp_path.glob("mlruns/*/*/artifacts/figures/*.png"))
    assert drawn.count("loss.png") == 2
    assert {"best_loss.png", "best_and_worst.png"} <= set(drawn)
    # The process that they are forked from hears of the end as all else does: a moment later.
    deadline = time.monotonic() + 10
    while at_work := [path for path in Path("/proc").glob("[0-9]*/cwd") if goes_to(path, tmp_path)]:
        assert time.monotonic() < deadline, at_work
        time.sleep(0.05)


def goes_to(link, folder):
    """Return whether a process that may just have ended is at work in a folder."""
    try:
        return link.readlink() == folder
    except OSError:
        return False


@pytest.mark.slow
def test_sweeps_that_are_sent_to_one_folder_at_once_overwrite_nothing(tmp_path):
    place = tmp_path / "it's one folder"
    command = ["-m", "pipeline", "-m", *SMALL, "engine=inprocess", f"hydra.sweep.dir={quoted(place)}"]
    processes = [commands.Command([*command, f"seed={seed},3"], tmp_path) for seed in (1, 2)]
    outs = [process.communicate(timeout=180)[0] for process in processes]

    assert [process.returncode for process in processes] == [0, 0]
    assert sum("holds a sweep already" in out for out in outs) == 1
    folders = [place, place.with_name(place.name + "-2")]
    seeds = {tuple((folder / job / ".hydra/overrides.yaml").read_text() for job in "01") for folder in folders}
    assert {tuple(text.splitlines()[-1] for text in texts) for texts in seeds} == {
        ("- seed=1", "- seed=3"),
        ("- seed=2", "- seed=3"),
    }
    assert len(stored(tmp_path, "SELECT name FROM runs WHERE status = 'FINISHED'")) == 6


def quoted(path):
    return "'" + str(path).replace("'", "\\'") + "'"


@pytest.mark.slow
def test_hydras_own_plugins_still_work(tmp_path):
    end = run(tmp_path, "-m", *SMALL, "hydra/launcher=basic", "hydra/sweeper=basic", "seed=1,2")

    assert end.returncode == 0, end.stderr
    assert len(stored(tmp_path, "SELECT name FROM runs")) == 2
    assert list(tmp_path.glob("multirun/*/*/1/.hydra/config.yaml"))


@pytest.mark.slow
def test_hydra_runs_a_job_of_a_multirun_again_from_its_pickle(tmp_path):
    pickles = "+hydra.callbacks.pickles._target_=hydra.experimental.callbacks.PickleJobInfoCallback"
    many = run(tmp_path, "-m", *SMALL, "engine=inprocess", "seed=1,2", pickles)
    assert many.returncode == 0, many.stderr
    (pickled,) = tmp_path.glob("multirun/*/*/1/.hydra/config.pickle")

    end = run(tmp_path, "--experimental-rerun", str(pickled))

    assert end.returncode == 0, end.stderr
    losses = stored(tmp_path, "SELECT value FROM latest_metrics WHERE key = 'val/loss'")
    assert (len(losses), len(set(losses))) == (3, 2)  # of two jobs, and of one of them again


@pytest.mark.slow
def test_a_failed_trial_is_named_and_the_exit_code_says_so(tmp_path):
    end = run(tmp_path, *SMALL, "steps=100000", "trial.timeout=0.01")

    assert end.returncode == 1
    assert "error: " in end.stderr
    assert "trial.timeout: took longer than 0.01 s" in end.stderr
    assert stored(tmp_path, "SELECT status FROM runs") == [("FAILED",)]


@pytest.mark.slow
def test_an_accelerator_that_no_node_has_is_refused_before_anything_is_recorded(tmp_path, cluster):
    end = run(tmp_path, "-m", *SMALL, "seed=1,2", f"cluster.address={cluster}", "cluster.gpus_per_worker=1")
    assert end.returncode == 2
    assert "cluster.gpus_per_worker must be at most what a node of the cluster has, got 1" in end.stderr
    assert "0 GPUs" in end.stderr
    assert "Traceback" not in end.stderr
    assert stored(tmp_path, "SELECT name FROM sqlite_master") == []


@pytest.mark.slow
@pytest.mark.parametrize(("engine", "number"), [("inprocess", signal.SIGTERM), ("ray", signal.SIGINT)])
def test_a_signal_stops_the_sweep_and_the_record_says_killed(tmp_path, cluster, empty_store, engine, number):
    shutil.copy(empty_store, tmp_path)
    where = [f"cluster.address={cluster}", "cluster.workers=1"] if engine == "ray" else []
    arguments = ["-m", *SMALL, "steps=10000000", f"engine={engine}", "seed=1,2", *where]
    with commands.Command(["-m", "pipeline", *arguments], tmp_path) as process:
        # The sweep and a trial have begun; the first line that says so comes after five seconds.
        while len(stored(tmp_path, "SELECT name FROM runs")) < 2:
            assert process.poll() is None, process.communicate()
            time.sleep(0.05)
        process.send_signal(number)
        out, err = process.communicate(timeout=60)

    assert process.returncode == 128 + number, err
    assert f"to finish this sweep: python -m pipeline {' '.join(arguments)} sweep.resume=true" in out
    assert f"stopped: {number.name}" in err
    assert "Traceback" not in err
    statuses = stored(tmp_path, "SELECT status FROM runs")
    assert {status for (status,) in statuses} == {"KILLED"}
    assert len(statuses) >= 2  # the sweep and the trials that had begun


def test_help_that_nobody_reads_to_its_end_says_nothing_more(tmp_path):
    with unread([], ["--help"], tmp_path) as process:
        assert (process.wait(60), process.stderr.read()) == (128 + signal.SIGPIPE, "")


@pytest.mark.slow
def test_a_sweep_whose_output_nobody_reads_stops_as_by_a_signal(tmp_path, empty_store):
    shutil.copy(empty_store, tmp_path)
    arguments = ["-m", *SMALL, "steps=10000000", "engine=inprocess", "seed=1,2"]
    with unread(["loading data: 100 %\n"], arguments, tmp_path) as process:
        assert process.wait(60) == 128 + signal.SIGPIPE
        told = process.stderr.read()

    assert f"to finish this sweep: python -m pipeline {' '.join(arguments)} sweep.resume=true" in told
    assert "Traceback" not in told
    assert {status for (status,) in stored(tmp_path, "SELECT status FROM runs")} == {"KILLED"}


def unread(lines, arguments, folder):
    """Return a command whose output is read as far as these lines, and then closed."""
    command = [sys.executable, "-m", "pipeline", *arguments]
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, cwd=folder, env=ENVIRONMENT, stdout=pipe, stderr=pipe, text=True)
    assert [process.stdout.readline() for _ in lines] == lines
    process.stdout.close()
    return process


WITHOUT_PARSER = """
import sys
import hydra.main, hydra._internal.utils
del hydra._internal.utils.get_args_parser  # what hydra.main has of it stays: it is Hydra's own
from pipeline.cli.app import main
main()
"""


def test_a_hydra_that_keeps_its_options_to_itself_takes_the_command_as_it_is(tmp_path):
    command = [sys.executable, "-c", WITHOUT_PARSER, "--cfg", "job", "seed=7"]
    end = subprocess.run(
        command, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, check=False, timeout=120
    )

    assert end.returncode == 0, end.stderr
    assert "\nseed: 7\n" in f"\n{end.stdout}"
    assert end.stderr == "this version of Hydra has no argument parser to use here: give the overrides last\n"


def test_an_error_that_a_library_makes_of_a_signal_is_a_signal():
    for first, expected in ((Interrupted(15), 15), (OSError("no disk"), None)):
        error = ConfigError("the file cannot be read")
        error.__cause__ = first

        assert getattr(interruption(error), "number", None) == expected
