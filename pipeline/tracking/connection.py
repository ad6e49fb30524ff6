"""Connects to an MLflow store: within seconds, and with one process at a time creating it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from pipeline.address import is_http, sqlite_file, unreachable
from pipeline.tracking.probing import PROBE_SECONDS, check_revision, deleted, probe
from pipeline.tracking.relocation import artifact_folder, relocate

if TYPE_CHECKING:
    from mlflow import MlflowClient  # takes seconds to import

_PAGE_SIZE = 1000

_DATABASE_SERVER = re.compile(r"(?:postgresql|mysql|mssql)(?:\+\w+)?://")
"""The scheme of the address of a database server."""

# With MLflow's defaults a dead server blocks its client for minutes. MLflow's own retries are off, and the exporter
# retries: MLflow would create a run twice if only the answer of the first request was lost.
CONNECT_VARIABLES = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", "MLFLOW_HTTP_REQUEST_TIMEOUT": str(int(PROBE_SECONDS))}
WRITE_VARIABLES = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # two lines a trial would disturb the display
}


def connect(uri: str, *, create: bool) -> MlflowClient:
    """Return a client of the store at ``uri`` after it has answered; ``create`` allows to create an SQLite store."""
    probe(uri, create=create)
    import sqlalchemy  # noqa: PLC0415  # takes seconds to import
    from mlflow import MlflowClient  # noqa: PLC0415  # takes seconds to import
    from mlflow.exceptions import MlflowException  # noqa: PLC0415  # takes seconds to import

    try:
        if _DATABASE_SERVER.match(uri):
            # MLflow would retry for 90 seconds even with a wrong password or a missing driver.
            with sqlalchemy.create_engine(uri).connect() as connection:
                if sqlalchemy.inspect(connection).has_table("alembic_version"):
                    check_revision(uri, lambda statement: connection.execute(sqlalchemy.text(statement)).fetchone())
        with _locked(uri), http_variables(uri, CONNECT_VARIABLES):
            client = MlflowClient(tracking_uri=uri)
            client.search_experiments(max_results=1)
            if file := sqlite_file(uri):
                relocate(file)
    except (MlflowException, sqlalchemy.exc.SQLAlchemyError, ImportError, OSError) as error:
        raise unreachable(uri, error) from error
    return client


def open_experiment(client: MlflowClient, uri: str, name: str) -> str:
    """Return the id of an experiment, which is created if it is not there; a deleted one raises a `RecordError`."""
    with _locked(uri), http_variables(uri, CONNECT_VARIABLES):
        found = client.get_experiment_by_name(name)
        if found is None:
            file = sqlite_file(uri)
            # A URI and not a path: MLflow would decode a % in a path.
            place = artifact_folder(file, name).as_uri() if file else None
            kind = {"mlflow.experimentKind": "custom_model_development"}
            return str(client.create_experiment(name, artifact_location=place, tags=kind))
    if found.lifecycle_stage != "active":
        raise deleted(name)
    return str(found.experiment_id)


def children(client: MlflowClient, experiment_id: str, parent: str) -> Iterator[Any]:
    """Yield the runs of a sweep's trials."""
    wanted, page = f"tags.`mlflow.parentRunId` = '{parent}'", None
    while page != "":
        runs = client.search_runs([experiment_id], wanted, max_results=_PAGE_SIZE, page_token=page)
        yield from runs
        page = runs.token or ""


@contextlib.contextmanager
def http_variables(uri: str, values: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables of MLflow for a while if ``uri`` is a server's, except those that the user has set."""
    new = {name: value for name, value in values.items() if name not in os.environ} if is_http(uri) else {}
    os.environ.update(new)
    try:
        yield
    finally:
        for name in new:
            os.environ.pop(name, None)


@contextlib.contextmanager
def _locked(uri: str) -> Iterator[None]:
    """Lock out other processes while an SQLite store is created: MLflow itself does not."""
    file = sqlite_file(uri)
    if file is None:
        yield
        return
    # The folder is locked, and not a file, so that no lock file remains.
    folder = os.open(file.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)
