"""The artifacts of a store that is moved or copied with its folder are found, and the next ones are kept, beside it."""

import contextlib
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from pipeline.address import absolute
from pipeline.record.outbox import Change
from pipeline.tracking import relocation
from pipeline.tracking.relocation import PLACE_TAGS, artifact_folder
from pipeline.tracking.sqlite_store import open_store

NAME = "an experiment / 100 %"
FILE = "config/config.yaml"


@pytest.fixture
def project(empty_store, tmp_path):
    """A folder with a store, which holds a run that has an artifact."""
    folder = tmp_path / "old %41 place"
    folder.mkdir()
    shutil.copy(empty_store, folder / "mlflow.db")
    store = opened(folder)
    store.client.set_tag(kept(store), "checkpoints", str(folder / "multirun/1/checkpoints-x"))
    return folder


def opened(folder):
    with contextlib.chdir(folder):
        return open_store(absolute("sqlite:///mlflow.db"), NAME)


def kept(store):
    run_id = store.create_run("a run", dict.fromkeys(PLACE_TAGS, "/elsewhere"), 0)
    assert store.apply({run_id: Change(files={FILE: b"steps: 1"})}) == []
    return run_id


def contents(store):
    """Return what MLflow finds in the artifact of each run, and where the run says that it is."""
    runs = store.client.search_runs([store.experiment_id])
    files = [Path(store.client.download_artifacts(run.info.run_id, FILE)).read_bytes() for run in runs]
    return files, {run.info.artifact_uri.partition("/mlruns")[0] for run in runs}


@pytest.fixture(params=["as it is now", "as it was before"])
def recorded(request, project):
    """The project, its addresses recorded as URIs and as the plain paths that they once were."""
    if request.param == "as it was before":
        plain = shutil.move(project, project.with_name("old place"))
        with closing(sqlite3.connect(plain / "mlflow.db")) as connection, connection:
            for table, column in (("runs", "artifact_uri"), ("experiments", "artifact_location")):
                uri = project.as_uri()
                connection.execute(f"UPDATE {table} SET {column} = replace({column}, ?, ?)", (uri, str(plain)))
            connection.execute("UPDATE tags SET value = replace(value, ?, ?)", (str(project), str(plain)))
        return plain
    return project


def test_a_store_that_is_moved_keeps_its_artifacts_and_gets_the_next_ones(recorded, tmp_path):
    there = shutil.move(recorded, tmp_path / "new %41 place")

    store = opened(there)
    kept(store)

    assert contents(store) == ([b"steps: 1"] * 2, {there.as_uri()})
    assert not recorded.exists()
    tags = [run.data.tags for run in store.client.search_runs([store.experiment_id])]
    assert {tag["checkpoints"] for tag in tags} == {"/elsewhere", str(there / "multirun/1/checkpoints-x")}
    assert {tag["folder"] for tag in tags} == {"/elsewhere"}


def test_an_experiment_that_was_renamed_moves_with_its_store(project, tmp_path):
    store = opened(project)
    store.client.rename_experiment(store.experiment_id, "renamed")
    there = shutil.move(project, tmp_path / "new place")

    with contextlib.chdir(there):
        again = open_store(absolute("sqlite:///mlflow.db"), "renamed")

    assert contents(again) == ([b"steps: 1"], {there.as_uri()})


@pytest.mark.parametrize("scheme", ["s3://bucket", "mlflow-artifacts:"])
def test_artifacts_that_are_kept_elsewhere_stay_there(project, scheme):
    # given an experiment of the user's own making, with a folder of a bucket or a server that is named as ours are
    place = f"{scheme}/mlruns/{artifact_folder(project, NAME).name}"
    with closing(sqlite3.connect(project / "mlflow.db")) as connection, connection:
        connection.execute("UPDATE experiments SET artifact_location = ? WHERE name = ?", (place, NAME))

    store = opened(project)

    assert store.client.get_experiment(store.experiment_id).artifact_location == place


def test_a_copy_has_artifacts_of_its_own(recorded, tmp_path):
    copy = shutil.copytree(recorded, tmp_path / "copy")

    kept(opened(copy))

    assert contents(opened(copy)) == ([b"steps: 1"] * 2, {copy.as_uri()})
    assert len(contents(opened(recorded))[0]) == 1
    assert len(list(artifact_folder(recorded / "mlflow.db", NAME).iterdir())) == 1


def test_a_store_that_is_moved_without_its_artifacts_still_finds_them(project, tmp_path):
    (tmp_path / "backup").mkdir()
    shutil.copy(project / "mlflow.db", tmp_path / "backup")

    assert contents(opened(tmp_path / "backup")) == ([b"steps: 1"], {project.as_uri()})


def test_a_link_to_the_folder_is_no_other_place(project, tmp_path, messages_of):
    (tmp_path / "link").symlink_to(project)

    assert contents(opened(tmp_path / "link")) == ([b"steps: 1"], {project.as_uri()})
    assert messages_of(relocation) == []


def test_it_is_told_once(project, tmp_path, messages_of):
    there = shutil.move(project, tmp_path / "new")

    for _ in range(2):
        opened(there)

    assert messages_of(relocation) == [f"{there}/mlflow.db was moved from {project}, and its artifacts with it"]


def test_a_store_that_is_moved_and_cannot_be_updated_says_where_its_artifacts_are_looked_for(
    project, tmp_path, messages_of, monkeypatch
):
    there, connect = shutil.move(project, tmp_path / "new") / "mlflow.db", sqlite3.connect
    monkeypatch.setattr(relocation.sqlite3, "connect", lambda path: connect(f"{path.as_uri()}?mode=ro", uri=True))

    relocation.relocate(there)

    (told,) = messages_of(relocation)
    assert told.startswith(
        f"{there} was moved from {project}, but is not updated, so its artifacts are looked for where"
    )
