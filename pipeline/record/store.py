"""An open MLflow store: it is reached once, and holds the runs of one experiment."""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.address import is_http, sqlite_file, unreachable
from pipeline.record.batches import Batch, write_by_log_batch
from pipeline.record.probing import PROBE_SECONDS, deleted, probe
from pipeline.record.relocation import artifact_folder, relocate
from pipeline.record.revision import check_revision

if TYPE_CHECKING:
    from mlflow import MlflowClient  # takes seconds to import

_RUN = "recorder.run"
_SERVED = re.compile(r"(?:postgresql|mysql|mssql)(?:\+\w+)?://")
"""What the address of a database behind a server begins with."""

# MLflow's own defaults let a dead server stall whoever waits for it for minutes. What is tried again is tried by the
# delivery: MLflow would create a run anew whose creation has only lost its answer.
REACHING = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", "MLFLOW_HTTP_REQUEST_TIMEOUT": str(int(PROBE_SECONDS))}
WRITING = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # two lines a trial, across the display
}


class Store:
    """Opens the experiment in the store at ``uri``, reached by ``client``; it is made where there is none.

    Raises
    ------
    RecordError
        If the experiment has been deleted.
    """

    def __init__(self, uri: str, experiment: str, client: MlflowClient) -> None:
        self.uri = uri
        self.client = client
        with _alone(uri), settings(REACHING if is_http(uri) else {}):
            self.experiment_id = _experiment(self.client, uri, experiment)

    def create_run(self, name: str, tags: Mapping[str, str], start: int, *, run: str = "") -> str:
        """Create a run that started at ``start`` (milliseconds since the epoch) and return its id.

        It can be found again by ``run``, the recorder's own name for it.
        """
        texts = self.tags_of(tags, run)
        created = self.client.create_run(self.experiment_id, start_time=start, tags=texts, run_name=name)
        return str(created.info.run_id)

    @staticmethod
    def tags_of(tags: Mapping[str, str], run: str) -> dict[str, str]:
        """Return the tags of a run and the one by which it can be found again."""
        return dict(tags) | ({_RUN: run} if run else {})

    def find_runs(self, run: str) -> list[str]:
        """Return the ids of the runs that were created as ``run``: one, or by a lost answer more, or none."""
        return [
            found.info.run_id for found in self.client.search_runs([self.experiment_id], f"tags.`{_RUN}` = '{run}'")
        ]

    def running(self, parent: str) -> list[str]:
        """Return the ids of the runs of a sweep's trials that have not ended."""
        wanted = f"tags.`mlflow.parentRunId` = '{parent}' AND attributes.status = 'RUNNING'"
        return [found.info.run_id for found in self.client.search_runs([self.experiment_id], wanted)]

    def end_run(self, run_id: str, status: str, end: int) -> None:
        """End a run as FINISHED, FAILED or KILLED."""
        self.client.set_terminated(run_id, status, end_time=end)

    def tag(self, run_id: str, tags: Mapping[str, str]) -> None:
        """Add tags to a run."""
        for key, value in tags.items():
            self.client.set_tag(run_id, key, value)

    def attach(self, run_id: str, files: Mapping[str, bytes]) -> None:
        """Keep files, by path, as artifacts of a run."""
        if not files:
            return
        with tempfile.TemporaryDirectory() as folder:
            for name, content in files.items():
                path = Path(folder, name)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
            self.client.log_artifacts(run_id, folder)

    def write(self, batches: Mapping[str, Batch]) -> None:
        """Write the batches of several runs, by run id; doing it twice has no further effect."""
        write_by_log_batch(self.client, batches)

    def add_dataset(self, run_id: str, name: str, digest: str) -> None:
        """Say what data a run was given. MLflow's own helper would copy and hash the images once more."""
        from mlflow.entities import Dataset as Entity  # noqa: PLC0415  # takes seconds to import
        from mlflow.entities import DatasetInput, InputTag  # noqa: PLC0415  # takes seconds to import
        from mlflow.exceptions import MlflowException  # noqa: PLC0415  # takes seconds to import
        from sqlalchemy.exc import SQLAlchemyError  # noqa: PLC0415  # takes seconds to import

        # 36 characters are all that MLflow takes of a digest; the whole is a tag of the run.
        entity = Entity(name, digest[:36], source_type="local", source=name)
        inputs = [DatasetInput(entity, [InputTag("mlflow.data.context", "training")])]
        try:
            self.client.log_inputs(run_id, inputs)
        except (MlflowException, SQLAlchemyError):
            # MLflow looks the data up and then inserts them: of two sweeps that do so at once the second fails,
            # and finds them when it looks again.
            self.client.log_inputs(run_id, inputs)


def connect(uri: str, *, create: bool) -> MlflowClient:
    """Return a client of the store at ``uri``, which answers; ``create`` makes an SQLite store that is not there."""
    probe(uri, create=create)
    import sqlalchemy  # noqa: PLC0415  # takes seconds to import
    from mlflow import MlflowClient  # noqa: PLC0415  # takes seconds to import
    from mlflow.exceptions import MlflowException  # noqa: PLC0415  # takes seconds to import

    try:
        if _SERVED.match(uri):
            # MLflow would retry a wrong password or a missing driver for a minute and a half.
            with sqlalchemy.create_engine(uri).connect() as connection:
                if sqlalchemy.inspect(connection).has_table("alembic_version"):
                    check_revision(uri, lambda statement: connection.execute(sqlalchemy.text(statement)).fetchone())
        with _alone(uri), settings(REACHING if is_http(uri) else {}):
            client = MlflowClient(tracking_uri=uri)
            client.search_experiments(max_results=1)
            if file := sqlite_file(uri):
                relocate(file)
    except (MlflowException, sqlalchemy.exc.SQLAlchemyError, ImportError, OSError) as error:
        raise unreachable(uri, error) from error
    return client


@contextlib.contextmanager
def settings(values: Mapping[str, str]) -> Iterator[None]:
    """Set MLflow's environment variables and put them back; those that the user has set are left alone."""
    new = {name: value for name, value in values.items() if name not in os.environ}
    os.environ.update(new)
    try:
        yield
    finally:
        for name in new:
            os.environ.pop(name, None)


def _experiment(client: MlflowClient, uri: str, name: str) -> str:
    found = client.get_experiment_by_name(name)
    if found is None:
        file = sqlite_file(uri)
        # It is a URI: MLflow would take a path for one, and a % in it for the start of another character.
        place = artifact_folder(file, name).as_uri() if file else None
        kind = {"mlflow.experimentKind": "custom_model_development"}
        return str(client.create_experiment(name, artifact_location=place, tags=kind))
    if found.lifecycle_stage != "active":
        raise deleted(name)
    return str(found.experiment_id)


@contextlib.contextmanager
def _alone(uri: str) -> Iterator[None]:
    """Keep other processes out while an SQLite store is made: MLflow does not lock it against itself."""
    file = sqlite_file(uri)
    if file is None or os.name != "posix":
        yield
        return
    import fcntl  # noqa: PLC0415  # POSIX only

    # The folder is locked and not a file, so nothing is left behind.
    folder = os.open(file.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)
