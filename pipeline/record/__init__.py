"""The record of a sweep: what is written down, and who writes it."""

import os

# MLflow would report what it is used for to its makers; who wants that sets the variable to false.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
# Where tqdm is installed, as Optuna brings it, MLflow would draw a bar for each artifact that it reads.
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
