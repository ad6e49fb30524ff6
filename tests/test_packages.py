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

from tests.pipeline.commands import UNDRAWN

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "tests" / "examples"
README, PAGE = ((ROOT / page).read_text(encoding="utf-8") for page in ("README.md", ".github/YOUR_OWN_MODEL.md"))

pytestmark = pytest.mark.slow

BUILDING = """
import os, sys
from setuptools import build_meta
wheels, *places = sys.argv[1:]
for place in places:
    child = os.fork()
    if not child:
        os.chdir(place)
        build_meta.build_wheel(wheels)
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        sys.exit(f"{place} cannot be built")
"""
"""What pip asks setuptools for, but in a forked process for each source: pip starts three, which import it."""

HERE = {"stopping=halving", "experiment=tabular_rows/spirals", "experiment=sgd_classifier/alpha"}
"""Which of the page's sweeps are computed in their own process, undrawn: figures and workers are those of the first."""


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
        options = ["--quiet", "--no-deps", "--no-build-isolation"]  # what builds is there: nothing is downloaded
        done = subprocess.run(
            [sys.executable, "-m", "pip", "--python", self.python, "install", *options, *what],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr

    def run(self, folder, *arguments, **environment):
        """Run a command to its end, and return its output."""
        done = subprocess.run(
            arguments, cwd=folder, capture_output=True, text=True, check=False, timeout=300, env=VARIABLES | environment
        )
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr


VARIABLES = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


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
    places = [source, *(place for place in sorted((folder / "examples").iterdir()) if place.is_dir())]
    built = subprocess.run(
        [sys.executable, "-Pc", BUILDING, folder / "wheels", *places], capture_output=True, text=True, check=False
    )
    assert built.returncode == 0, built.stderr
    environment = Environment(folder / "environment")
    environment.install(*sorted((folder / "wheels").glob("*.whl")))
    return environment


def table(folder, told):
    """Return the table of the sweep that a command has told of, and its parent run."""
    parent = re.search(r"viewStateShareKey=(\w+)", told)[1]
    (file,) = folder.glob(f"mlruns/**/{parent}/artifacts/results.json")
    table = json.loads(file.read_text())
    return [dict(zip(table["columns"], row, strict=True)) for row in table["data"]], parent


def test_the_default_sweep_of_readme_runs_in_an_empty_environment_on_a_cluster_of_its_own(installed, tmp_path):
    program, arguments = re.search(r"--editable \. && \.venv/bin/(\S+) (.*)", README).groups()

    told = installed.run(tmp_path, installed.folder / "bin" / program, *arguments.split())

    assert "10/10 trials, 0 running, 0 failed" in told
    assert "mlflow ui --backend-store-uri sqlite:///" in told
    assert len(table(tmp_path, told)[0]) == 10


@pytest.mark.skipif(find_spec("torch") is None, reason="PyTorch is not installed")
def test_a_pytorch_loop_is_swept_on_two_workers_killed_and_resumed_to_the_same_end(
    installed, tmp_path, empty_store, cluster
):
    sweep = [
        *(installed.command, "--multirun", "experiment=torch_training/digits", f"cluster.address={cluster}"),
        *("cluster.workers=2", "trial.checkpoint_every=200", "sweep.name=torch"),
    ]
    for folder in (tmp_path / "whole", tmp_path / "killed"):
        folder.mkdir()
        shutil.copy(empty_store, folder)
    whole = installed.run(tmp_path / "whole", *sweep)
    assert "0 running, 0 failed" in whole

    # given a driver that is killed once trials have reported
    with subprocess.Popen(
        sweep, cwd=tmp_path / "killed", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=VARIABLES
    ) as driver:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and not _has_points(tmp_path / "killed"):
            time.sleep(0.1)
        driver.send_signal(signal.SIGKILL)
    told = installed.run(tmp_path / "killed", *sweep, "sweep.resume=true")

    # then it ends as the one that was not
    assert "0 running, 0 failed" in told
    assert _trials(tmp_path / "killed") == _trials(tmp_path / "whole")
    rows, _ = table(tmp_path / "whole", whole)
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
    """Return the points of the trials that have ended, without the sweep's own run."""
    with sqlite3.connect(folder / "mlflow.db") as store:
        return set(
            store.execute(
                "select r.name, m.key, m.step, m.value from metrics m join runs r on r.run_uuid = m.run_uuid"
                " where r.status = 'FINISHED' and r.name != 'torch'"
            )
        )


def test_the_code_that_the_page_shows_is_an_example():
    shown = re.findall(r"```(?:python|toml)\n(.*?)```", PAGE, re.DOTALL)
    kinds = (".py", ".toml", ".in")
    files = [file for place in (EXAMPLES, ROOT / "pipeline/new") for file in place.rglob("*") if file.suffix in kinds]
    written = "\n".join(file.read_text() for file in files).replace("NAME", "my_sweeps")
    assert len(shown) == 3
    assert [code for code in shown if code.rstrip() not in written] == []


@pytest.fixture(scope="module")
def page(installed, tmp_path_factory, empty_store, cluster):
    """Run the page's commands, and return their folder and what each has told."""
    folder = tmp_path_factory.mktemp("page")
    shutil.copy(empty_store, folder)
    commands = [line for block in re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()]
    told = {}
    for command in commands:
        program, *arguments = shlex.split(command.replace("RUN_ID", _best(folder)))
        if program == "pip":
            installed.install(*arguments[1:-1], folder / arguments[-1])
        else:
            here = [] if HERE.isdisjoint(arguments) else ["engine=inprocess"]
            start = [installed.python, "-Pc", UNDRAWN] if here else [installed.folder / "bin" / program]
            told[command] = installed.run(folder, *start, *arguments, *here, RAY_ADDRESS=cluster)
    return folder, told


def _best(folder):
    """Return a run of the best setting of the last sweep; before there is one, nothing."""
    runs = sorted(folder.glob("mlruns/**/arrays.npz"), key=lambda file: file.stat().st_mtime)
    return runs[-1].parents[1].name if runs else ""


def test_every_command_of_the_page_does_what_it_says(page):
    _, told = page
    ends = [
        "is yours",
        "passed",
        "0 failed",
        "12/12 trials, 0 running, 0 failed",
        "12/12 trials, 0 running, 0 failed",
        "12 trials finished already",
        "verdict: bit for bit equal",
        "largest relative error",
        "4/4 trials, 0 running, 0 failed",
        "6/6 trials, 0 running, 0 failed",
    ]
    assert {command: text for (command, text), end in zip(told.items(), ends, strict=True) if end not in text} == {}


def test_rows_of_a_package_are_swept_by_the_fused_core_and_reproduced(page, installed):
    folder, told = page
    swept, checked = (next(told[command] for command in told if name in command) for name in ("/spirals", "=tempered"))

    rows, _ = table(folder, swept)
    assert {row["loss.temperature"] for row in rows} == {0.5, 1.0}
    assert max(row["val/accuracy"] for row in rows) > 0.8  # of three arms
    assert re.search(r": (good|fine)", checked)
    again = installed.run(folder, installed.python, "-m", "pipeline.reproduce", rows[0]["run_id"])
    assert "verdict: bit for bit equal" in again


def test_a_task_of_scikit_learn_is_ranked_by_a_metric_of_its_own(page):
    folder, told = page

    rows, _ = table(folder, next(told[command] for command in told if "/alpha" in command))
    errors = [row["held_out/error"] for row in rows]
    assert len(errors) == 3  # a row a setting, the mean of its seeds
    assert errors == sorted(errors)
    assert all(0 <= error < 0.2 for error in errors)


def test_a_change_of_a_package_from_the_template_is_noticed(page, installed):
    folder, told = page
    first, again = (next(told[command] for command in told if name in command) for name in ("/first", "reproduce"))
    assert "sources.my-sweeps" not in again
    # when the code changes, then a resume says so and computes all
    source = folder / "my_sweeps/src/my_sweeps/task.py"
    source.write_text(source.read_text().replace("momentum: float = 0.9", "momentum: float = 0.8"))
    sweep = ["--multirun", "experiment=my_sweeps/first", "engine=inprocess", "sweep.resume=true"]
    resumed = " ".join(installed.run(folder, installed.python, "-Pc", UNDRAWN, *sweep).split())
    assert "the code of my-sweeps has changed" in resumed
    best = table(folder, first)[0][0]["run_id"]
    again = installed.run(folder, installed.python, "-m", "pipeline.reproduce", best)
    assert "sources.my-sweeps" in again
    assert "verdict: bit for bit equal" in again  # its momentum stands in its record
