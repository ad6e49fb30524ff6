"""README is true: its commands are run, its files exist."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.pipeline import commands
from tests.pipeline.session import session

ROOT = Path(__file__).parents[1]
README, CLUSTERS, FAULTS = (
    (ROOT / page).read_text(encoding="utf-8") for page in ("README.md", ".github/CLUSTERS.md", ".github/FAULTS.md")
)
PRESETS = sorted(f"{path.parent.name}/{path.stem}" for path in (ROOT / "conf/experiment").glob("*/*.yaml"))
# Parts of notes/strategies.
NO_ROW = {"notes/gradient_descent", "notes/local_search", "notes/random_search"}
RUN = {
    "": "",
    "experiment=notes/step_size": "",
    "experiment=notes/finite_difference": "",
    "--multirun experiment=notes/gradient_check": "",
    "--multirun experiment=notes/landscape": "engine=inprocess",  # that of networks is computed by workers
    "--multirun experiment=networks/landscape": "",
}
"""Commands that take seconds, and what they are run with beside."""


def written():
    """Return the arguments of every `descent-sweeps ...` in README and on the page of clusters, in order."""
    found = re.findall(r"(?m)(?:^ *|[`/])descent-sweeps(?![-.\w])((?:[^`\n#&]|\n(?=task))*)", README + CLUSTERS)
    return list(dict.fromkeys(" ".join(text.split()) for text in found))


def run(arguments, folder, **environment):
    folder.mkdir()
    return commands.run(["-m", "pipeline", *shlex.split(arguments)], folder, timeout=300, **environment)


def test_every_preset_has_its_command_in_readme():
    assert [name for name in PRESETS if f"experiment={name}" not in README and name not in NO_ROW] == []


def test_a_learning_rate_that_a_preset_needs_on_cifar10_is_in_readme():
    needed = {}
    for name in PRESETS:
        text = (ROOT / f"conf/experiment/{name}.yaml").read_text(encoding="utf-8")
        if found := re.search(r"dataset=cifar10.*\b(learning_rate=[-\w,]+)", text):
            needed[name] = found.group(1)
    assert set(needed) >= {"notes/learning_rate", "notes/minibatch", "notes/optimizers"}
    assert [one for one in needed.items() if "`{1}` to `{0}`".format(*one) not in README] == []


def test_the_address_of_postgresql_names_the_driver_that_the_page_installs():
    # Without a driver in the address it is another one from SQLAlchemy 2.1 on.
    installed = re.findall(r"pip install (\w+)-binary", CLUSTERS)
    assert installed == re.findall(r"postgresql(?:\+(\w+))?://", CLUSTERS)


@pytest.mark.parametrize("page", [ROOT / "README.md", *(ROOT / ".github").glob("*.md")], ids=lambda page: page.stem)
def test_every_picture_and_page_that_a_page_shows_is_there(page):
    shown = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8"))
    assert [path for path in shown if not (page.parent / path).is_file()] == []


def test_every_link_between_the_pages_leads_somewhere():
    def anchors(page):
        titles = re.findall(r"(?m)^#+ (.+)$", page.read_text(encoding="utf-8"))
        return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}

    lost, links = [], 0
    for page in (ROOT / "README.md", *(ROOT / ".github").glob("*.md")):
        for target in re.findall(r"(?<!!)\[[^\]]+\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
            place, _, anchor = target.partition("#")
            if "://" in target:
                continue
            links += 1
            file = page.parent / place if place else page
            if not file.exists() or (anchor and anchor not in anchors(file)):
                lost.append((page.name, target))
    assert links > 5
    assert lost == []


def test_every_room_is_on_the_page_of_the_architecture():
    page = (ROOT / ".github/ARCHITECTURE.md").read_text(encoding="utf-8")
    rooms = [path.parent.relative_to(ROOT).as_posix() for path in ROOT.glob("[pt]*/*/__init__.py")]
    rooms = [room for room in rooms if not room.startswith("tests")]
    assert len(rooms) > 10
    assert [room for room in rooms if f"`{room}`" not in page] == []


def test_every_test_that_the_page_of_faults_names_is_there():
    tests = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    named = re.findall(r"`(test_\w+)`", FAULTS)
    assert len(named) > 5
    assert [name for name in named if f"def {name}(" not in tests] == []


@pytest.mark.slow
def test_every_command_of_readme_that_is_not_run_is_planned(tmp_path, cifar10_root):
    todo = [command.replace("DIR", str(cifar10_root)) for command in written() if command not in RUN]
    assert len(todo) > 10

    ends = session(tmp_path, *([*shlex.split(command), "sweep.dry_run=true"] for command in todo))

    assert {command: err for command, (code, err, _) in zip(todo, ends, strict=True) if code != 0} == {}


@pytest.mark.slow
@pytest.mark.parametrize("arguments", RUN)
def test_commands_of_readme_run(arguments, tmp_path, cluster):
    assert arguments in written()
    done = run(f"{arguments} {RUN[arguments]}", tmp_path / "here", RAY_ADDRESS=cluster)
    assert done.returncode == 0, done.stderr
    assert "mlflow ui --backend-store-uri sqlite:///" in done.stdout


@pytest.mark.slow
def test_the_line_that_loads_the_winner_loads_it(tmp_path):
    line = re.search(r"(?m)^mlflow\.pyfunc\.load_model.*$", README).group()
    done = run("--multirun learning_rate=1e-3,1e-2 steps=50 engine=inprocess", tmp_path / "here")
    assert done.returncode == 0, done.stderr

    asked = f"import mlflow, numpy; images = numpy.zeros((3, 8, 8), numpy.uint8); print([*{line.partition('  #')[0]}])"
    told = subprocess.run(
        [sys.executable, "-c", asked], cwd=tmp_path / "here", capture_output=True, text=True, check=False
    )

    assert "['class', 'scores']" in told.stdout, told.stderr
