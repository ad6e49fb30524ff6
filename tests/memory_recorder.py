"""A recorder that keeps the record in memory: for tests, and to measure what recording costs."""

from __future__ import annotations

import dataclasses

from pipeline.record.protocol import Past, Provenance, SweepHeader
from pipeline.reports import Failed, Finished, Layout, Progressed, RecordedReport, Retried, Started
from tasks.datasets.dataset import Dataset
from tasks.events import Curve, Result


class MemoryRecorder:
    """Keeps what is reported, a point that comes twice once."""

    def __init__(self) -> None:
        self.curves: dict[str, list[Curve]] = {}
        self.results: dict[str, Result] = {}
        self.layouts: dict[str, Layout] = {}
        self.failures: dict[str, str] = {}
        self.attempts: dict[str, int] = {}
        self.status: str | None = None
        self._last: dict[tuple[str, frozenset[str]], int] = {}

    def open(
        self, sweep: SweepHeader | None, dataset: Dataset, provenance: Provenance, past: Past | None = None
    ) -> Past | None:
        """Start with an empty record."""

    def record(self, report: RecordedReport) -> None:
        """Keep what is new in a report."""
        match report:
            case Started(trial=trial):
                self.curves.setdefault(trial.key, [])
            case Progressed(trial=trial, curve=curve):
                self._keep(trial.key, curve)
            case Finished(trial=trial, result=result, layout=layout):
                self.results[trial.key], self.layouts[trial.key] = result, layout
            case Failed(trial=trial, error=error, traceback=traceback):
                self.failures[trial.key] = f"{error}\n{traceback}"
            case Retried(trials=trials, attempt=attempt):
                self.attempts |= {trial.key: attempt for trial in trials}

    def sync(self) -> None:
        """Do nothing: no other process will read it."""

    def close(self, status: str) -> None:
        """Keep the status."""
        self.status = status

    def hurry(self) -> None:
        """Wait for nothing anyway."""

    def how_to_look(self) -> str:
        """Return nothing: this record cannot be opened."""
        return ""

    def _keep(self, key: str, curve: Curve) -> None:
        kind = key, frozenset(curve.metrics)
        new = curve.steps > self._last.get(kind, -1)
        if new.any():
            self._last[kind] = int(curve.steps[-1])
            metrics = {name: values[new] for name, values in curve.metrics.items()}
            self.curves[key].append(dataclasses.replace(curve, steps=curve.steps[new], metrics=metrics))
