"""The tags of a run: its circumstances, under MLflow's names where it has one, and its data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pipeline.address import redact
from pipeline.record.artifacts import LONGEST_TAG, shorten
from pipeline.record.entries import Data

_MLFLOW = {"git.commit": "source.git.commit", "git.branch": "source.git.branch", "user": "user"}


def run_tags(provenance: Mapping[str, str], overrides: Sequence[str], data: Data) -> dict[str, str]:
    """Return the tags of a run with this provenance, these command-line overrides and this data."""
    tags = {f"mlflow.{name}": provenance[ours] for ours, name in _MLFLOW.items() if ours in provenance}
    tags |= {"mlflow.source.name": "pipeline", "mlflow.source.type": "LOCAL"}
    tags |= {
        "overrides": redact(" ".join(overrides)),
        "dataset": data.name,
        "dataset.digest": data.digest,
    }
    return {key: shorten(value, LONGEST_TAG) for key, value in (tags | dict(provenance)).items()}
