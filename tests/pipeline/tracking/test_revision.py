"""A database with tables of another version of MLflow is left as it is, and said to be one."""

import shutil
import sqlite3
from contextlib import closing

import optuna
import pytest
from alembic.util.exc import CommandError

from pipeline.errors import RecordError
from pipeline.tracking.connection import answering, connect, probe, revisions
from pipeline.tracking.sqlite_store import open_store

OLDER = "3da73c924c2f"


@pytest.fixture(scope="module")
def used(empty_store, tmp_path_factory):
    """A store that holds a run, to be copied."""
    file = shutil.copy(empty_store, tmp_path_factory.mktemp("used") / "mlflow.db")
    open_store(f"sqlite:///{file}", "experiment").create_run("a run", {}, 0)
    return file


def of_revision(store, folder, revision):
    """A copy of a store that says it has the tables of a revision, and lacks one."""
    file = shutil.copy(store, folder / "mlflow.db")
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", (revision,))
        connection.execute("DROP TABLE jobs")
    return file


def test_the_last_revision_is_mlflows():
    from mlflow.store.db.utils import _get_latest_schema_revision

    known, head = revisions()

    assert head == _get_latest_schema_revision()
    assert OLDER in known


@pytest.mark.parametrize("create", [True, False])
@pytest.mark.parametrize(
    ("revision", "how"), [(OLDER, "mlflow db upgrade sqlite:///"), ("0123456789ab", "a newer MLflow")]
)
def test_tables_of_another_version_are_refused_and_not_changed(create, revision, how, used, tmp_path):
    file = of_revision(used, tmp_path, revision)
    before = file.read_bytes()

    with pytest.raises(RecordError, match=rf"tracking\.uri must be .*{how}"):
        connect(f"sqlite:///{file}", create=create)

    assert file.read_bytes() == before


def test_a_store_that_holds_nothing_may_be_finished(empty_store, tmp_path):
    probe(f"sqlite:///{of_revision(empty_store, tmp_path, OLDER)}", create=True)


@pytest.mark.parametrize("create", [True, False])
def test_a_database_of_another_program_whose_tables_have_revisions_is_said_to_be_one(create, tmp_path):
    file = tmp_path / "optuna.db"
    optuna.create_study(storage=f"sqlite:///{file}")

    with pytest.raises(RecordError, match=r"tracking\.uri must be .* another program made it"):
        probe(f"sqlite:///{file}", create=create)


def test_tables_that_another_program_makes_meanwhile_are_an_error_and_no_traceback():
    why = "Online migration expected to match one row"
    with pytest.raises(RecordError, match=why), answering("sqlite:///mlflow.db"):
        raise CommandError(why)
