"""An address is shown without credentials, and what is not there is found out at once."""

import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import create_engine

from pipeline.address import absolute, database, how_to_look, redact, sqlite_file
from pipeline.errors import RecordError
from pipeline.tracking.connection import connect, probe
from pipeline.tracking.reader import open_reader


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://ann:s3cret@host:5000/x", "http://***@host:5000/x"),
        ("postgresql://ann:p@ss/word@db/mlflow", "postgresql://***@db/mlflow"),
        ("mysql://db/x?password=s3cret&a=1", "mysql://db/x?password=***&a=1"),
        ("tracking.token=abc steps=3", "tracking.token=*** steps=3"),
        ("AWS_SECRET_ACCESS_KEY=abc", "AWS_SECRET_ACCESS_KEY=***"),
        ("learning_rate=1e-3", "learning_rate=1e-3"),
        ("sqlite:////home/ann@work/mlflow.db", "sqlite:////home/ann@work/mlflow.db"),
        ("file:///a@b x=http://ann:s3cret@host", "file:///a@b x=http://***@host"),
        # as Hydra writes them in the overrides of a job, and as they may be typed
        (r"tracking.uri=http\://ann\:s3cret@host", r"tracking.uri=http\://***@host"),
        (r"tracking.uri=sqlite\:////home/ann@work/mlflow.db", r"tracking.uri=sqlite\:////home/ann@work/mlflow.db"),
        (r"mysql\://db/x?password\=s3\ cret&a\=1", r"mysql\://db/x?password=***&a\=1"),
    ],
)
def test_credentials_are_not_shown(text, shown):
    assert redact(text) == shown


def test_a_relative_sqlite_path_is_made_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    assert absolute("sqlite:///mlflow.db") == f"sqlite:///{tmp_path}/mlflow.db"
    assert absolute("http://host:5000") == "http://host:5000"


@pytest.mark.parametrize(
    "name", ["a%20b", "a%2520b", "50%", "a?b", "a#b", "a b", "a+b", "ü", "a@b:c", "a;b&c=d", "Ann's"]
)
def test_the_file_that_is_probed_is_the_one_that_sqlalchemy_opens(name, tmp_path, monkeypatch):
    folder = tmp_path / name
    folder.mkdir()
    monkeypatch.chdir(folder)
    uri = absolute("sqlite:///mlflow.db")

    with create_engine(uri).connect() as connection:
        connection.exec_driver_sql("CREATE TABLE made_by_sqlalchemy (x)")

    assert sqlite_file(uri) == folder / "mlflow.db"
    assert [path.relative_to(tmp_path) for path in tmp_path.rglob("*")] == [Path(name), Path(name, "mlflow.db")]
    assert absolute(uri) == uri
    probe(uri, create=True)


def test_a_way_up_is_gone_up_as_sqlalchemy_does(tmp_path, monkeypatch):
    (tmp_path / "far/away").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "far/away")
    uri = absolute(f"sqlite:///{tmp_path}/link/../mlflow.db")

    create_engine(uri).connect().close()

    assert uri == f"sqlite:///{tmp_path}/mlflow.db"
    assert (tmp_path / "mlflow.db").exists()


def test_a_database_is_the_same_behind_links_and_for_whatever_driver_and_user(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link.db").symlink_to("mlflow.db")

    assert database("sqlite:///link.db") == database(f"sqlite+pysqlite:///{tmp_path}/mlflow.db?timeout=9")
    assert database("postgresql://ann:p@s/s@host/a") == database("postgresql+psycopg2://host/a")
    assert (
        len(set(map(database, ("sqlite:///other.db", "postgresql://host/a", "postgresql://host/b", "http://host/a"))))
        == 4
    )


def test_a_home_folder_and_options_of_the_driver_are_understood(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))

    assert absolute("sqlite:///~/x.db?timeout=60") == f"sqlite:///{tmp_path}/x.db?timeout=60"
    assert sqlite_file("sqlite:///~/x.db?timeout=60") == tmp_path / "x.db"


@pytest.mark.parametrize(
    ("uri", "why"),
    [
        ("sqlite://", "in memory"),
        ("sqlite:///", "in memory"),
        ("sqlite:///:memory:", "in memory"),
        # MLflow would make its default store.
        ("", "an address is needed"),
        (" ", "an address is needed"),
    ],
)
def test_a_store_that_would_be_none_or_end_with_the_command_is_refused(uri, why, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    with pytest.raises(RecordError, match=why):
        open_reader(uri)

    assert list(tmp_path.iterdir()) == []


def test_a_dead_port_is_refused_at_once_without_its_password():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    start = time.monotonic()

    with pytest.raises(RecordError, match=r"tracking\.uri must be a store that can be reached, got 'http://\*\*\*@"):
        probe(f"http://ann:s3cret@127.0.0.1:{port}", create=True)

    assert time.monotonic() - start < 6


@pytest.mark.parametrize("scheme", ["http", "postgresql+psycopg2"])
def test_an_impossible_port_is_refused(scheme):
    with pytest.raises(RecordError, match=r"tracking\.uri must be a store"):
        probe(f"{scheme}://127.0.0.1:99999", create=True)


def test_a_missing_file_is_refused_for_reading_and_not_made(tmp_path):
    with pytest.raises(RecordError, match="there is no such file"):
        probe(f"sqlite:///{tmp_path}/none.db", create=False)

    assert list(tmp_path.iterdir()) == []


def test_a_database_without_tables_of_mlflow_is_refused_for_reading_and_gets_none(tmp_path):
    with closing(sqlite3.connect(tmp_path / "other.db")) as connection, connection:
        connection.execute("CREATE TABLE theirs (x)")
    before = (tmp_path / "other.db").read_bytes()

    with pytest.raises(RecordError, match="it holds no tables of MLflow"):
        connect(f"sqlite:///{tmp_path}/other.db", create=False)

    assert (tmp_path / "other.db").read_bytes() == before


def test_probing_makes_no_file_and_leaves_one_that_is_there(tmp_path):
    there = tmp_path / "there.db"
    there.touch()

    probe(f"sqlite:///{tmp_path}/new.db", create=True)
    probe(f"sqlite:///{there}", create=True)

    assert list(tmp_path.iterdir()) == [there]


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").write_text("")

    with pytest.raises(RecordError, match=r"tracking\.uri"):
        probe(f"sqlite:///{tmp_path}/file/mlflow.db", create=True)


def test_a_file_that_is_no_database_is_refused_and_left_as_it_is(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("not a database, but long enough to have a header of its own" * 20)

    with pytest.raises(RecordError, match="not a database"):
        probe(f"sqlite:///{path}", create=True)

    assert path.exists()


def test_a_store_that_may_only_be_read_is_refused_for_writing(empty_store):
    nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", sys.executable, "-c"]
    if os.getuid() != 0 or subprocess.run([*nobody, "import pipeline"], capture_output=True, check=False).returncode:
        pytest.skip("needs root and an environment that others may use: files that root owns are somebody else's then")
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:  # pytest's own is closed to others
        Path(folder).chmod(0o755)
        file = shutil.copy(empty_store, folder)
        Path(file).chmod(0o644)
        probing = f"from pipeline.tracking.connection import probe; probe('sqlite:///{file}', create="

        read, written = (
            subprocess.run([*nobody, f"{probing}{create})"], capture_output=True, text=True, check=False, cwd="/")
            for create in (False, True)
        )

    assert read.returncode == 0, read.stderr
    assert "RecordError: tracking.uri must be a store that can be reached" in written.stderr
    assert "readonly" in written.stderr


def test_how_to_look_names_the_command_and_the_link_to_the_sweep():
    command, link = how_to_look("sqlite:////a b/mlflow.db", "3", sweep="f00", run=None).splitlines()

    assert command == "mlflow ui --backend-store-uri 'sqlite:////a b/mlflow.db'"
    page, _, query = link.partition("?")
    assert page == "http://127.0.0.1:5000/#/experiments/3/runs"
    assert query == "workflowType=machine_learning&compareRunsMode=CHART&viewStateShareKey=f00"


def test_how_to_look_at_a_server_is_its_link():
    link = how_to_look("https://ann:s3cret@host/", "3", sweep=None, run="f00")

    assert link == "https://***@host/#/experiments/3/runs/f00?workflowType=machine_learning"
