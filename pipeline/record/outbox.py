"""What waits to be handed on: the writes to runs, whose params, tags and points are gathered in between."""

from __future__ import annotations

from collections.abc import Mapping

from pipeline.record.batches import Batch
from pipeline.record.model import Classifier
from pipeline.record.writes import AddDataset, Attach, CreateRun, EndRun, Log, Register, Write, new_run


class Outbox:
    """Collects writes, so that what is gathered of all runs goes in one transaction."""

    def __init__(self) -> None:
        self._first: list[Write] = []
        self._batches: dict[str, Batch] = {}
        self._last: list[Write] = []

    def create_run(self, name: str, tags: Mapping[str, str], start: int) -> str:
        """Create a run that started at ``start`` (milliseconds since the epoch) and return the recorder's name of it.

        Wherever that stands in a tag or a file, the store is given its own name of the run.
        """
        run = new_run()
        self._first.append(CreateRun(run=run, name=name, tags=dict(tags), start=start))
        return run

    def add_dataset(self, run: str, name: str, digest: str) -> None:
        """Say what data a run was given."""
        self._first.append(AddDataset(run=run, name=name, digest=digest))

    def attach(self, run: str, files: Mapping[str, bytes]) -> None:
        """Keep files, by path, as artifacts of a run."""
        if files:
            self._first.append(Attach(run=run, files=dict(files)))

    def batch(self, run: str) -> Batch:
        """Return what waits for a run, to be added to."""
        return self._batches.setdefault(run, Batch())

    def end(self, run: str, status: str, now: int) -> None:
        """End a run as FINISHED, FAILED or KILLED, after its last points are written."""
        self._last.append(EndRun(run=run, status=status, end=now))

    def register(self, run: str, parent: str, name: str, classifier: Classifier, about: str = "") -> None:
        """Make the classifier of a run a version of the registered model ``name``, and tell the run ``parent``."""
        self._first.append(
            Register(
                run=run,
                parent=parent,
                name=name,
                step=classifier.step,
                image_shape=classifier.image_shape,
                layers=classifier.layers,
                arrays=classifier.arrays,
                about=about,
            )
        )

    def take(self) -> list[Write]:
        """Return what waits, in the order in which it is to be written, and wait for more."""
        logs = [
            Log(run=run, params=batch.params, tags=batch.tags, points=batch.points)
            for run, batch in self._batches.items()
        ]
        writes = [*self._first, *logs, *self._last]
        self._first, self._batches, self._last = [], {}, []
        return writes
