"""The scribe: it does writes on a store, and finds out by what name the store knows a run."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence

from pipeline.record.batches import Batch
from pipeline.record.model import Classifier, register
from pipeline.record.store import Store
from pipeline.record.writes import RUN, AddDataset, Attach, CreateRun, EndRun, Log, Register, Write

_BYTES_RUN = re.compile(RUN.pattern.encode())

# What a store answers that will not take a write however often it is asked. It is not told by the HTTP status: a
# proxy before a server that starts says 404 too, and a password may be put right.
_REFUSALS = {
    "BAD_REQUEST",
    "INVALID_PARAMETER_VALUE",
    "INVALID_STATE",
    "RESOURCE_ALREADY_EXISTS",
    "RESOURCE_DOES_NOT_EXIST",
}

# But for one: a proxy that takes so much and no more is not put right by waiting, and what follows is smaller.
_STATUS_TOO_LARGE = 413
_TOO_LARGE = f"failed with error code {_STATUS_TOO_LARGE}"

# A database tells a table or a column that it lacks by the kind of error that also tells that it cannot be reached.
_LACKING = re.compile(r"OperationalError\) \(?(?:no such (?:table|column)|table \S+ has no column|1054\b)")


class Scribe:
    """Does writes on a store, each as if it were done once however often it is tried."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._ids: dict[str, str] = {}
        self._tried: set[str] = set()
        self._doubtful: set[str] = set()

    def id_of(self, run: str) -> str | None:
        """Return the store's name for a run, None where it is not known to have been created."""
        return self._ids.get(run) if RUN.fullmatch(run) else run

    def seek(self, run: str) -> str | None:
        """Return the store's name for a run that another process, or a lost answer, may have created."""
        found = self._store.find_runs(run)
        kept = self._ids.get(run) or next(iter(found), None)
        for other in found:
            if other != kept:
                self._store.client.delete_run(other)
        if kept is not None:
            self._ids[run] = kept
        return kept

    def doubt(self, run: str) -> None:
        """Take it that another process may have created a run."""
        self._tried.add(run)

    def do(self, writes: Sequence[Write]) -> int:
        """Do the first of ``writes``, with those that can go with it, and return how many that were."""
        first = writes[0]
        match first:
            case CreateRun():
                self._create(first)
            case Log():
                logs = list(itertools.takewhile(lambda write: isinstance(write, Log), writes))
                self._log(logs)  # type: ignore[arg-type]
                return len(logs)
            case Attach():
                self._store.attach(self._id(first.run), {name: self._file(file) for name, file in first.files.items()})
            case AddDataset():
                self._store.add_dataset(self._id(first.run), first.name, first.digest)
            case EndRun():
                self._store.end_run(self._id(first.run), first.status, first.end)
            case Register():
                self._register(first)
        return 1

    def settle(self) -> None:
        """Remove what a creation has left behind whose answer was lost and that came to pass later."""
        for run in self._doubtful:
            self.seek(run)

    def _create(self, write: CreateRun) -> None:
        if write.run in self._ids:
            return
        if write.run in self._tried:
            self._doubtful.add(write.run)
            if self.seek(write.run) is not None:
                return
        self._tried.add(write.run)
        tags = {name: self._text(value) for name, value in write.tags.items()}
        self._ids[write.run] = self._store.create_run(write.name, tags, write.start, run=write.run)

    def _log(self, logs: Sequence[Log]) -> None:
        batches: dict[str, Batch] = {}
        for log in logs:
            batch = batches.setdefault(self._id(log.run), Batch())
            batch.params |= log.params
            batch.tags |= {name: self._text(value) for name, value in log.tags.items()}
            batch.points += log.points
        self._store.write(batches)

    def _register(self, write: Register) -> None:
        run_id = self._id(write.run)
        classifier = Classifier(
            layers=write.layers, arrays=write.arrays, image_shape=write.image_shape, step=write.step
        )
        version = register(self._store, run_id, write.name, classifier, write.about)
        self._store.tag(
            self._id(write.parent), {"winner.run_id": run_id, "winner.model": f"models:/{write.name}/{version}"}
        )

    def _id(self, run: str) -> str:
        found = self.id_of(run) or self.seek(run)
        if found is None:
            raise LookupError(f"the store must hold the run {run}, which was created before; it does not")
        return found

    def _text(self, text: str) -> str:
        """Return a text with the store's names of the runs in it."""
        return RUN.sub(lambda match: self.id_of(match[0]) or self.seek(match[0]) or match[0], text)

    def _file(self, content: bytes) -> bytes:
        return _BYTES_RUN.sub(lambda match: self._text(match[0].decode()).encode(), content)


def is_refusal(error: Exception) -> bool:
    """Return whether a write will fail however often it is tried, as against a store that does not answer."""
    code = getattr(error, "error_code", None)
    if _TOO_LARGE in str(error) or getattr(getattr(error, "response", None), "status_code", None) == _STATUS_TOO_LARGE:
        return True
    if code is not None:
        return code in _REFUSALS
    # SQLAlchemy's errors are a database's; those of the network and of files are an OSError.
    return not isinstance(error, OSError) and not type(error).__module__.startswith("sqlalchemy.")


def lacks_tables(error: Exception) -> bool:
    """Return whether a store lacks a table or a column of MLflow: it takes nothing, however long one waits."""
    return _LACKING.search(str(error)) is not None
