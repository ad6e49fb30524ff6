"""The folder that a command is run in may hold anything: files of our packages' names, and of Python's own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.sweep.resume import resume_command

SCRIPT = (str(Path(sys.executable).with_name("descent-sweeps")),)
MODULE = (sys.executable, "-m", "pipeline")
IN_THE_WAY = "raise RuntimeError('this file is the user\\'s')\n"


def run(folder, *command):
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=240)


@pytest.fixture
def folder(tmp_path):
    """A folder in Hydra's most usual layout: a config group of the user's own, and modules beside it."""
    (tmp_path / "conf/experiment").mkdir(parents=True)
    (tmp_path / "conf/__init__.py").write_text(IN_THE_WAY)
    (tmp_path / "conf/config.yaml").write_text("mine: true\n")
    (tmp_path / "conf/experiment/mine.yaml").write_text("# @package _global_\nsteps: 17\n")
    (tmp_path / "tasks.py").write_text(IN_THE_WAY)
    return tmp_path


@pytest.mark.parametrize("program", [SCRIPT, MODULE], ids=["script", "module"])
def test_files_of_our_names_do_not_stand_in_the_way(program, folder):
    done = run(folder, *program, "--cfg", "job")

    assert done.returncode == 0, done.stderr
    assert "steps: 1000" in done.stdout
    assert "mine" not in done.stdout


def test_a_folder_of_presets_is_added_by_its_option(folder):
    done = run(folder, *SCRIPT, "--config-dir", "conf", "experiment=mine", "--cfg", "job")

    assert done.returncode == 0, done.stderr
    assert "steps: 17" in done.stdout


def test_a_folder_of_configs_takes_the_place_of_our_config_alone(folder):
    (folder / "conf/own.yaml").write_text("defaults: [config, experiment/mine, _self_]\nseed: 5\n")
    (folder / "conf/config.yaml").unlink()

    done = run(folder, *SCRIPT, "--config-path", str(folder / "conf"), "--config-name", "own", "--cfg", "job")

    assert done.returncode == 0, done.stderr
    assert "steps: 17" in done.stdout
    assert "seed: 5" in done.stdout


@pytest.mark.parametrize("module", ["reproduce", "report"])
def test_the_other_commands_import_our_own(module, folder):
    done = run(folder, sys.executable, "-m", f"pipeline.{module}", "--help")

    assert done.returncode == 0, done.stderr


def test_a_manifest_is_composed_from_our_own_configs(folder):
    done = run(folder, sys.executable, "-m", "pipeline.deploy", "kuberay", "cluster.workers=2")

    assert done.returncode == 0, done.stderr
    assert "RayJob" in done.stdout


@pytest.mark.slow
def test_workers_import_our_own_whatever_lies_in_the_folder(folder):
    for name in ("pipeline", "random", "numpy"):
        (folder / f"{name}.py").write_text(IN_THE_WAY)

    short = ("dataset=synthetic", "steps=5", "tracking.register_model=false")
    done = run(folder, *SCRIPT, "--multirun", "seed=0,1", *short, "cluster.workers=1")

    assert done.returncode == 0, done.stderr
    assert "2/2 trials, 0 running, 0 failed" in done.stdout


@pytest.mark.parametrize("program", [SCRIPT, MODULE], ids=["script", "module"])
def test_a_folder_that_is_no_more_is_told_of(program, tmp_path):
    done = run(tmp_path, "sh", "-c", 'mkdir gone && cd gone && rmdir ../gone && exec "$@"', "sh", *program)

    assert done.returncode == 2
    assert "cannot use the working folder: No such file or directory" in done.stderr


def test_a_foreign_package_of_our_name_that_has_been_imported_is_named(folder):
    (folder / "tasks.py").write_text("")

    done = run(folder, sys.executable, "-c", "import tasks, pipeline")

    assert f"got {folder}/tasks.py" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("typed", "printed"), [("/venv/bin/descent-sweeps", "/venv/bin/descent-sweeps"), ("pipeline", "python -m pipeline")]
)
def test_a_sweep_is_resumed_by_the_command_that_started_it(typed, printed, monkeypatch):
    monkeypatch.setattr(sys, "argv", [typed, "-m", "seed=0,1"])

    assert resume_command() == f"{printed} -m seed=0,1 sweep.resume=true"


def test_a_folder_whose_name_is_not_utf_8_is_refused_before_anything_starts(tmp_path):
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    folder.mkdir()

    done = run(folder, *SCRIPT, "steps=1")

    assert done.returncode == 2
    assert "error: the working folder and the arguments must be text in UTF-8, got " in done.stderr
    assert r"caf\udce9" in done.stderr
    assert not [*folder.iterdir()]
