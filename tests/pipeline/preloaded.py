"""What the process that commands are forked from does once for all of them."""

import gc
import tempfile
import warnings
from pathlib import Path

from pipeline.config.identity import code_version
from pipeline.record.store import connect

code_version()  # parses a hundred files

with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
    # SQLAlchemy warns of what MLflow does while its models are imported.
    warnings.filterwarnings("ignore", "The ``noload`` loader strategy", DeprecationWarning)
    file = Path(folder, "mlflow.db")
    connect(f"sqlite:///{file}", create=True)
    EMPTY_STORE = file.read_bytes()
    """An SQLite store without experiments: MLflow takes a second to create one."""

gc.freeze()  # a command need not look for garbage in what all have in common
