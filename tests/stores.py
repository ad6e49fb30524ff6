"""SQLite stores: one without experiments, to be copied, and what those of tests hold."""

import contextlib
import functools
import sqlite3
import tempfile
import warnings
from pathlib import Path


@functools.cache
def empty_store():
    """Return the bytes of a store without experiments: MLflow takes a second to create one."""
    from pipeline.tracking.connection import connect

    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        # SQLAlchemy warns of what MLflow does while its models are imported.
        warnings.filterwarnings("ignore", "The ``noload`` loader strategy", DeprecationWarning)
        file = Path(folder, "mlflow.db")
        connect(f"sqlite:///{file}", create=True)
        return file.read_bytes()


def stored(folder, query, *values):
    """Return the rows of a query in the store of a folder, also while a sweep writes to it."""
    with contextlib.closing(sqlite3.connect(folder / "mlflow.db", timeout=30)) as connection:
        return connection.execute(query, values).fetchall()
