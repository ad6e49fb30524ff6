"""The outbox: changes of runs that are not in the store yet, collected so that one transaction writes them all."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from pipeline.record.artifacts import ARRAYS, LONGEST_TAG, arrays_file, shorten, storable
from pipeline.record.protocol import Trained

PACK_ABOVE = 100
"""The trials of a sweep above which small files are packed: a short text becomes a tag named after its file, and the
arrays of the trials that ended between two transactions become one file of the sweep's run."""

PACK_TAG = "arrays"
"""The tag of a run that names the file of its sweep's run that holds its arrays, and the folder of such files."""

Block = tuple[str, np.ndarray, np.ndarray, np.ndarray]
"""Consecutive points of a metric: its name, their values, timestamps in milliseconds and steps."""


def point(metric: str, value: float, now: int, step: int) -> Block:
    """Return one point of a metric, at ``now`` (milliseconds since the epoch) and ``step``."""
    return metric, np.array([value]), np.array([now]), np.array([step])


@dataclass(slots=True, kw_only=True)
class Change:
    """What is to be written to one run; writing it is idempotent.

    A run with a ``start`` (milliseconds since the epoch) is to be created as ``name``; ``data`` is the name and digest
    of its data set, ``end`` its last status and when it ended, ``key`` that of its trial. ``entries`` is how many of
    the log the store holds once this is written.
    """

    key: str = ""
    name: str = ""
    start: int | None = None
    data: tuple[str, str] | None = None
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    points: list[Block] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)
    arrays: Mapping[str, np.ndarray] | None = None
    model: Trained | None = None
    end: tuple[str, int] | None = None
    entries: int | None = None


class Outbox:
    """Collects changes by run. ``parent`` is the sweep's run, for a lone trial it is empty."""

    def __init__(self, parent: str, *, packed: bool) -> None:
        self._parent, self._packed = parent, packed
        self._changes: dict[str, Change] = {}

    def change(self, run: str) -> Change:
        """Return the pending change of a run, for the caller to add to."""
        return self._changes.setdefault(run, Change())

    def add_texts(self, run: str, files: Mapping[str, str]) -> None:
        """Add texts as files of a run, or of a trial's run as its tags if the sweep is packed."""
        change = self.change(run)
        for name, text in files.items():
            if self._packed and run != self._parent and len(text) <= LONGEST_TAG:
                change.tags[name] = text
            else:
                change.files[name] = text.encode(errors="replace")

    def discard(self) -> None:
        """Forget the pending changes: the store has them."""
        self._changes = {}

    def drain(self, entries: int) -> dict[str, Change]:
        """Return the pending changes, with which the store holds so many entries of the log, and forget them.

        Those of the sweep's run come last, and say so. The name of the file of arrays is not used again.
        """
        pack, packed = f"{PACK_TAG}/{time.time_ns()}.npz", dict[str, np.ndarray]()
        for change in self._changes.values():
            change.name = storable(change.name)
            change.params = {key: storable(value) for key, value in change.params.items()}
            change.tags = {key: shorten(storable(value), LONGEST_TAG) for key, value in change.tags.items()}
            if change.arrays and self._packed:
                packed |= {f"{change.key}/{name}": array for name, array in change.arrays.items()}
                change.tags[PACK_TAG] = pack
            elif change.arrays is not None and not self._packed:
                change.files[ARRAYS] = arrays_file(change.arrays)
        if packed:
            self.change(self._parent).files[pack] = arrays_file(packed)
        changes, self._changes = self._changes, {}
        if changes and self._parent:
            changes[self._parent] = changes.pop(self._parent, Change())
            changes[self._parent].entries = entries
        return changes
