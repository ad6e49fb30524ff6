"""MLflow: the stores of records, and what reads and writes them. No other room imports `mlflow`."""

import os

# MLflow sends usage statistics to its developers by default; set the variable to false to allow that.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
# Where tqdm is installed (Optuna depends on it), MLflow draws a progress bar for each artifact that it reads.
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
