"""Packages of one's own as a user has them: built, installed into a fresh environment, and swept there."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "tests" / "examples"

pytestmark = pytest.mark.slow


class Environment:
    """A fresh environment with the project's wheel in it; libraries are those of the environment of the tests."""

    def __init__(self, folder):
        self.folder = folder
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
        (site,) = folder.glob("lib/python*/site-packages")
        libraries = [place for place in sys.path if place.endswith(("site-packages", "dist-packages"))]
        (site / "libraries.pth").write_text("\n".join(libraries))
        self.python, self.command = folder / "bin/python", folder / "bin/descent-sweeps"

    def install(self, *what):
        done = subprocess.run(
            [sys.executable, "-m", "pip", "--python", self.python, "install", "--quiet", "--no-deps", *what],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr

    def run(self, folder, *arguments, code=0):
        """Run a command to its end, and return its output."""
        done = subprocess.run(
            arguments, cwd=folder, capture_output=True, text=True, check=False, timeout=300, env=variables()
        )
        assert done.returncode == code, f"{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr


def variables():
    return {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "RAY_ADDRESS"}}


@pytest.fixture(scope="session")
def installed(tmp_path_factory):
    """The environment: the project and its examples are built from copies, as they would be from what is published."""
    folder = tmp_path_factory.mktemp("packages")
    source = folder / "source"
    for name in ("conf", "pipeline", "tasks", ".github"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, source)
    shutil.copytree(EXAMPLES, folder / "examples", ignore=shutil.ignore_patterns("__pycache__"))
    environment = Environment(folder / "environment")
    environment.install(source, *(place for place in sorted((folder / "examples").iterdir()) if place.is_dir()))
    return environment


def results(folder):
    """Return the table of the last sweep in a folder, and its parent run."""
    tables = sorted(folder.glob("mlruns/**/results.json"), key=lambda file: file.stat().st_mtime)
    table = json.loads(tables[-1].read_text())
    rows = [dict(zip(table["columns"], row, strict=True)) for row in table["data"]]
    return rows, tables[-1].parents[1].name


def test_a_wheel_in_an_empty_environment_runs_the_default_sweep(installed, tmp_path):
    told = installed.run(tmp_path, installed.command, "--multirun", "cluster.address=local")

    assert "10/10 trials, 0 running, 0 failed" in told
    assert len(results(tmp_path)[0]) == 10


def test_rows_of_a_package_are_swept_by_the_fused_core_and_reproduced(installed, tmp_path):
    told = installed.run(
        tmp_path, installed.command, "--multirun", "experiment=tabular_rows/spirals", "engine=inprocess"
    )

    rows, parent = results(tmp_path)
    assert "4/4 trials, 0 running, 0 failed" in told
    assert {row["loss.temperature"] for row in rows} == {0.5, 1.0}
    assert max(row["val/accuracy"] for row in rows) > 0.8  # of three arms
    again = installed.run(tmp_path, installed.python, "-m", "pipeline.reproduce", parent)
    assert "verdict: bit for bit equal" in again
    checked = installed.run(
        tmp_path, installed.command, "task=gradient_check", "dataset=spirals", "loss=tempered", "model=mlp"
    )
    assert "largest relative error" in checked
    assert re.search(r": (good|fine)", checked)


def test_a_task_of_scikit_learn_is_ranked_by_a_metric_of_its_own(installed, tmp_path):
    told = installed.run(
        tmp_path, installed.command, "--multirun", "experiment=sgd_classifier/alpha", "engine=inprocess"
    )

    rows, _ = results(tmp_path)
    assert "6/6 trials, 0 running, 0 failed" in told
    errors = [row["held_out/error"] for row in rows]
    assert len(errors) == 3  # a row a setting, the mean of its seeds
    assert errors == sorted(errors)
    assert all(0 <= error < 0.2 for error in errors)


@pytest.mark.skipif(find_spec("torch") is None, reason="PyTorch is not installed")
def test_a_pytorch_loop_is_swept_on_two_workers_killed_and_resumed_to_the_same_end(installed, tmp_path):
    sweep = [
        *(installed.command, "--multirun", "experiment=torch_training/digits", "cluster.address=local"),
        *("cluster.workers=2", "trial.checkpoint_every=200", "sweep.name=torch"),
    ]
    (tmp_path / "whole").mkdir()
    (tmp_path / "killed").mkdir()
    told = installed.run(tmp_path / "whole", *sweep)
    assert "0 running, 0 failed" in told

    # given a driver that is killed once trials have reported
    with subprocess.Popen(
        sweep, cwd=tmp_path / "killed", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=variables()
    ) as driver:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and not _has_points(tmp_path / "killed"):
            time.sleep(0.1)
        driver.send_signal(signal.SIGKILL)
    told = installed.run(tmp_path / "killed", *sweep, "sweep.resume=true")

    # then it ends as the one that was not
    assert "0 running, 0 failed" in told
    assert _trials(tmp_path / "killed") == _trials(tmp_path / "whole")
    rows, _ = results(tmp_path / "whole")
    best = rows[0]["run_id"]
    again = installed.run(tmp_path / "whole", installed.python, "-m", "pipeline.reproduce", best)
    assert "verdict: bit for bit equal" in again
    (printed,) = (tmp_path / "whole").glob(f"mlruns/**/{best}/artifacts/output.txt")
    assert printed.read_text().startswith("step 100: loss ")


def _has_points(folder):
    try:
        with sqlite3.connect(f"file:{folder / 'mlflow.db'}?mode=ro", uri=True) as store:
            return store.execute("select count(*) from metrics").fetchone()[0] > 5
    except sqlite3.Error:
        return False


def _trials(folder):
    """Return the points of the trials that have ended, without what the clock decides and the sweep's own run."""
    with sqlite3.connect(folder / "mlflow.db") as store:
        return set(
            store.execute(
                "select r.name, m.key, m.step, m.value from metrics m join runs r on r.run_uuid = m.run_uuid"
                " where r.status = 'FINISHED' and r.name != 'torch' and m.key not like 'wall_clock%'"
            )
        )


def test_a_package_from_the_template_is_swept_and_its_change_is_noticed(installed, tmp_path):
    # given the package that is written, installed as its author works on it
    installed.run(tmp_path, installed.python, "-m", "pipeline.new", "own_sweeps")
    installed.install("--editable", tmp_path / "own_sweeps")
    installed.run(tmp_path / "own_sweeps", installed.python, "-m", "pytest", "-q", "tests")
    sweep = [installed.command, "--multirun", "experiment=own_sweeps/first", "engine=inprocess", "sweep.name=mine"]
    told = installed.run(tmp_path, *sweep)
    assert "12/12 trials, 0 running, 0 failed" in told
    rows, _ = results(tmp_path)

    # when nothing has changed, a resume computes nothing; when the code has, it says so and computes all
    assert "12 trials are finished already" in installed.run(tmp_path, *sweep, "sweep.resume=true")
    again = installed.run(tmp_path, installed.python, "-m", "pipeline.reproduce", rows[0]["run_id"])
    assert "sources.own-sweeps" not in again
    source = tmp_path / "own_sweeps/src/own_sweeps/task.py"
    source.write_text(source.read_text().replace("momentum: float = 0.9", "momentum: float = 0.8"))
    told = " ".join(installed.run(tmp_path, *sweep, "sweep.resume=true").split())
    assert "the code of own-sweeps was another" in told
    again = installed.run(tmp_path, installed.python, "-m", "pipeline.reproduce", rows[0]["run_id"])
    assert "sources.own-sweeps" in again
    assert "verdict: bit for bit equal" in again  # its momentum stands in its record


PAGE = (ROOT / ".github/YOUR_OWN_MODEL.md").read_text(encoding="utf-8")


def test_the_code_that_the_page_shows_is_an_example():
    shown = re.findall(r"```(?:python|toml)\n(.*?)```", PAGE, re.DOTALL)
    kinds = (".py", ".toml", ".in")
    files = [file for place in (EXAMPLES, ROOT / "pipeline/new") for file in place.rglob("*") if file.suffix in kinds]
    written = "\n".join(file.read_text() for file in files).replace("NAME", "my_sweeps")
    assert len(shown) == 3
    assert [code for code in shown if code.rstrip() not in written] == []


def test_every_command_of_the_page_runs(installed, tmp_path):
    commands = [line for block in re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()]
    assert len(commands) == 11
    for command in commands:
        program, *arguments = shlex.split(command.replace("RUN_ID", _best(tmp_path)))
        if program == "pip":
            installed.install(*arguments[1:-1], tmp_path / arguments[-1])
            continue
        told = installed.run(tmp_path, installed.folder / "bin" / program, *arguments)
        assert "0 failed" in told or "passed" in told or "verdict: bit for bit equal" in told or "is yours" in told, (
            told
        )


def _best(folder):
    """Return a run of the best setting of the last sweep; before there is one, nothing."""
    runs = sorted(folder.glob("mlruns/**/arrays.npz"), key=lambda file: file.stat().st_mtime)
    return runs[-1].parents[1].name if runs else ""
