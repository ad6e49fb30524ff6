"""Params, tags and points on their way into a store, in MLflow's own batches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

from pipeline.record.points import Point

if TYPE_CHECKING:
    from mlflow import MlflowClient  # takes seconds to import

METRICS_A_BATCH = 1000
OTHERS_A_BATCH = 100


@dataclass(slots=True, kw_only=True)
class Batch:
    """What waits to be written to one run."""

    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    points: list[Point] = field(default_factory=list)


def write_by_log_batch(client: MlflowClient, batches: Mapping[str, Batch]) -> None:
    """Write the batches as any store takes them, at most 1000 metrics and 100 params and tags at a time."""
    from mlflow.entities import Metric, Param, RunTag  # noqa: PLC0415  # takes seconds to import

    for run_id, batch in batches.items():
        for points, params, tags in zip_longest(
            _chunks(batch.points, METRICS_A_BATCH),
            _chunks(list(batch.params.items()), OTHERS_A_BATCH),
            _chunks(list(batch.tags.items()), OTHERS_A_BATCH),
            fillvalue=(),
        ):
            client.log_batch(
                run_id,
                metrics=[Metric(*point) for point in points],
                params=[Param(*param) for param in params],
                tags=[RunTag(*tag) for tag in tags],
                synchronous=True,
            )


def _chunks(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    return (items[start : start + size] for start in range(0, len(items), size))
