"""An SQLite store without experiments, to be copied: MLflow takes a second to create one."""

import functools
import tempfile
import warnings
from pathlib import Path


@functools.cache
def empty_store():
    """Return the bytes of such a store."""
    from pipeline.tracking.connection import connect

    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        # SQLAlchemy warns of what MLflow does while its models are imported.
        warnings.filterwarnings("ignore", "The ``noload`` loader strategy", DeprecationWarning)
        file = Path(folder, "mlflow.db")
        connect(f"sqlite:///{file}", create=True)
        return file.read_bytes()
