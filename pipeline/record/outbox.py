"""What waits to be written to the store, gathered by run, so that what waits of all runs goes in one transaction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from pipeline.record.artifacts import ARRAYS, LONGEST_TAG, arrays_file
from pipeline.record.entries import Trained
from pipeline.record.points import Block

PACK_ABOVE = 100
"""Trials of a sweep from which on they have no files of their own, if they can do without: a small text is a tag named
after its file, and what was trained since the last time is one file of the sweep."""

PACK_TAG = "arrays"
"""The tag of a run that says which file of its sweep holds its arrays, and the folder of such files."""


@dataclass(slots=True, kw_only=True)
class Change:
    """What is to be written to one run; it may be written twice, and is there once.

    ``start`` is when a run began that is to be created as ``name``, in milliseconds since the epoch, ``data`` the name
    and digest of its data set, ``end`` its last status and when it ended. ``key`` is its trial's.
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


class Outbox:
    """Collects changes by run; those of the sweep's run ``parent`` come last, and are empty for a lone trial."""

    def __init__(self, parent: str, *, packed: bool) -> None:
        self._parent, self._packed = parent, packed
        self._changes: dict[str, Change] = {}

    def change(self, run: str) -> Change:
        """Return what waits for a run, to be added to."""
        return self._changes.setdefault(run, Change())

    def add_texts(self, run: str, files: Mapping[str, str]) -> None:
        """Keep texts as files of a trial's run, or as its tags."""
        change = self.change(run)
        for name, text in files.items():
            if self._packed and len(text) <= LONGEST_TAG:
                change.tags[name] = text
            else:
                change.files[name] = text.encode(errors="replace")

    def drain(self, number: int) -> dict[str, Change]:
        """Return what waits, and wait for more; ``number`` is one that no other call has had."""
        pack, packed = f"{PACK_TAG}/{number:09d}.npz", dict[str, np.ndarray]()
        for change in self._changes.values():
            if change.arrays is not None and self._packed:
                packed |= {f"{change.key}/{name}": array for name, array in change.arrays.items()}
                change.tags[PACK_TAG] = pack
            elif change.arrays is not None:
                change.files[ARRAYS] = arrays_file(change.arrays)
        if packed:
            self.change(self._parent).files[pack] = arrays_file(packed)
        changes, self._changes = self._changes, {}
        if self._parent in changes:
            changes[self._parent] = changes.pop(self._parent)
        return changes
