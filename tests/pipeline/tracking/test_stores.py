"""Other stores than one SQLite file of one's own: a server, a server before PostgreSQL, a file shared by two sweeps."""

import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from pipeline.tracking.connection import connect
from pipeline.tracking.reader import open_reader
from tests.pipeline import commands
from tests.pipeline.serving import free_port, tracking_server

SWEEP = ("-m", "engine=inprocess", "dataset=synthetic", "steps=40", "trial.record_every=1", "batch_size=32")

pytestmark = pytest.mark.slow


def wait(condition, log):
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        try:
            return condition()
        except (OSError, subprocess.CalledProcessError):
            time.sleep(0.3)
    return pytest.fail(f"it does not answer: {log.read_text()[-2000:]}")


def start_sweep(folder, uri, *overrides, **environment):
    return commands.Command(["-m", "pipeline", *SWEEP, f"tracking.uri={uri}", *overrides], folder, **environment)


def ended(process):
    out, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    return out


def assert_whole(uri, sweeps, experiment="descent-sweeps", *, figures=("figures",)):
    """Every trial of every sweep has ended, with each point of its curve once and its files."""
    client = connect(uri, create=False)
    found = client.get_experiment_by_name(experiment)
    runs = client.search_runs([found.experiment_id], max_results=1000)
    children = [run for run in runs if "mlflow.parentRunId" in run.data.tags]
    assert len({run.data.tags["mlflow.parentRunId"] for run in children}) == len(sweeps)
    assert sorted(run.info.run_name for run in children) == sorted(name for names in sweeps for name in names)
    for run in runs:
        assert run.info.status == "FINISHED"
    for run in children:
        recorded = open_reader(uri).trial(run.info.run_id)
        assert recorded.curves["train/loss"].steps.tolist() == list(range(1, 41))
        assert recorded.arrays["weights"].ndim == 2
    parents = [run for run in runs if run not in children]
    for parent in parents:
        files = {file.path for file in client.list_artifacts(parent.info.run_id)}
        assert {"results.csv", "results.json", *figures} <= files
        assert "done" in parent.data.tags["mlflow.note.content"]
        assert parent.data.tags["winner.model"].startswith(f"models:/{experiment}-synthetic/")


def test_a_tracking_server_records_the_same(tmp_path, server, experiment):
    url = f"http://127.0.0.1:{server}"
    out = ended(start_sweep(tmp_path, url, "learning_rate=1e-3,1e-2", f"tracking.experiment={experiment}", FIGURES="1"))

    assert f"{url}/#/experiments/" in out
    assert_whole(url, [["gradient lr=0.001", "gradient lr=0.01"]], experiment)
    assert reproduced(tmp_path, url, experiment)


def test_a_tracking_server_before_postgresql_records_the_same(tmp_path):
    psycopg2 = pytest.importorskip("psycopg2", reason="PostgreSQL's driver is not installed (psycopg2-binary)")
    with postgresql(tmp_path) as store, tracking_server(tmp_path, store) as port:
        url = f"http://127.0.0.1:{port}"
        # Unlike SQLite, PostgreSQL refuses a text that is longer than its column.
        ended(start_sweep(tmp_path, url, "learning_rate=1e-3,1e-2", f"sweep.name='{'long ' * 60}'"))

        assert_whole(url, [["gradient lr=0.001", "gradient lr=0.01"]], figures=())
        with closing(psycopg2.connect(store.replace("+psycopg2", ""))) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT count(*), count(DISTINCT (run_uuid, step)) FROM metrics WHERE key = 'train/loss'")
            assert cursor.fetchone() == (80, 80)


def test_two_sweeps_at_once_on_one_file_lose_nothing(tmp_path):
    uri = f"sqlite:///{tmp_path}/mlflow.db"

    both = [start_sweep(tmp_path, uri, f"seed=range({start},{start + 4})", FIGURES="1") for start in (0, 4)]
    for process in both:
        ended(process)

    assert_whole(uri, [[f"gradient seed={seed}" for seed in range(start, start + 4)] for start in (0, 4)])


def reproduced(folder, uri, experiment):
    """Return whether the newest trial of an experiment can be reproduced bit for bit."""
    client = connect(uri, create=False)
    wanted = [client.get_experiment_by_name(experiment).experiment_id]
    newest = client.search_runs(wanted, "tags.outcome = 'complete'")[0]
    done = commands.run(["-m", "pipeline.reproduce", newest.info.run_id, "--tracking-uri", uri], folder)
    return "verdict: bit for bit equal" in done.stdout


@contextmanager
def postgresql(folder):
    """Run a PostgreSQL server of the test's own on loopback and yield the URI of an empty database."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin")) if Path("/usr/lib/postgresql").is_dir() else []
    if not found:
        pytest.skip("PostgreSQL is not installed (Debian: apt-get install postgresql)")
    data, port = folder / "postgresql", free_port()
    data.mkdir()
    # PostgreSQL refuses to run as root.
    user = {"user": "postgres"} if os.getuid() == 0 else {}
    if user:
        for place in (data, *folder.parents[:3], folder):
            place.chmod(place.stat().st_mode | 0o011)
        shutil.chown(data, "postgres")
    command = [found[-1] / "initdb", "-D", data, "-U", "postgres", "--auth=trust", "--no-sync"]
    subprocess.run(command, check=True, capture_output=True, cwd="/", **user)
    log = folder / "postgresql.log"
    serve = [found[-1] / "postgres", "-D", data, "-h", "127.0.0.1", "-p", str(port), "-k", ""]
    with (
        log.open("w") as output,
        subprocess.Popen(serve, cwd="/", stdout=output, stderr=output, start_new_session=True, **user) as process,
    ):
        try:
            create = [found[-1] / "createdb", "-h", "127.0.0.1", "-p", str(port), "-U", "postgres", "mlflow"]
            wait(lambda: subprocess.run(create, check=True, capture_output=True, cwd="/"), log)
            yield f"postgresql+psycopg2://postgres@127.0.0.1:{port}/mlflow"
        finally:
            os.killpg(process.pid, 2)  # a fast shutdown


@pytest.mark.parametrize("name", ["a%20b", "what?%41 ü #;@&'"])
def test_a_folder_of_any_name_keeps_its_record_to_itself(name, tmp_path):
    folder = tmp_path / name
    folder.mkdir()
    neighbours = [tmp_path / "a b", tmp_path / "what", tmp_path / "elsewhere"]
    for neighbour in neighbours:
        neighbour.mkdir()

    out = ended(start_sweep(folder, "sqlite:///mlflow.db", "learning_rate=0.01,0.1"))

    (line,) = [line for line in out.splitlines() if line.startswith("mlflow ui")]
    uri = shlex.split(line)[-1]
    assert_whole(uri, [["gradient lr=0.01", "gradient lr=0.1"]], figures=())
    assert {path.name for path in folder.iterdir()} == {"mlflow.db", "mlruns", "multirun"}
    parent = re.search("viewStateShareKey=(\\w+)", out)[1]
    again = commands.run(["-m", "pipeline.reproduce", parent, "--tracking-uri", uri], neighbours[-1])
    assert again.returncode == 0, again.stderr
    assert sorted(tmp_path.iterdir()) == sorted([folder, *neighbours])
    assert [path for neighbour in neighbours for path in neighbour.iterdir()] == []


def test_a_store_that_cannot_be_created_leaves_no_part_of_it(tmp_path):
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    code = f"from pipeline.tracking.connection import connect; connect({uri!r}, create=True)"
    limited = ["bash", "-c", 'ulimit -f 100; exec "$@"', "", sys.executable, "-c", code]  # of about a million bytes

    environment = {**os.environ, "PYTHONPATH": str(commands.ROOT)}
    ended = subprocess.run(limited, check=False, env=environment, capture_output=True, text=True)

    assert "must be a store that can be reached" in ended.stderr
    assert list(tmp_path.iterdir()) == []
    assert [one.name for one in connect(uri, create=True).search_experiments()] == ["Default"]


def test_a_link_to_where_a_store_shall_be_stays_a_link(tmp_path):
    (tmp_path / "disk").mkdir()
    link = tmp_path / "mlflow.db"
    link.symlink_to("disk/runs.db")

    connect(f"sqlite:///{link}", create=True)

    assert link.is_symlink()
    assert connect(f"sqlite:///{tmp_path}/disk/runs.db", create=False).search_experiments()[0].name == "Default"
    assert [file.name for file in (tmp_path / "disk").iterdir()] == ["runs.db"]


def test_a_process_that_is_killed_while_it_creates_a_store_leaves_one_that_can_be_used(tmp_path):
    uri, files = f"sqlite:///{tmp_path}/mlflow.db", [tmp_path / "mlflow.db", tmp_path / "mlflow.db.part"]
    code = f"from pipeline.tracking.connection import connect; connect({uri!r}, create=True)"
    environment = {**os.environ, "PYTHONPATH": str(commands.ROOT)}

    with subprocess.Popen([sys.executable, "-c", code], env=environment) as creator:
        while sum(file.stat().st_size for file in files if file.exists()) < 100_000:  # of about a million
            assert creator.poll() is None
            time.sleep(0.005)
        creator.kill()

    assert [one.name for one in connect(uri, create=True).search_experiments()] == ["Default"]
    assert [file.name for file in tmp_path.iterdir()] == ["mlflow.db"]
