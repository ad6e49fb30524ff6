"""Named random streams of a seed: a draw is addressed by its purpose and step, not by the order of the calls."""

from __future__ import annotations

import hashlib

import numpy as np

# The numbers of our own streams; of another name it is a digest.
_STREAMS = {
    "initial weights": 0,
    "data order": 1,
    "perturbations": 2,
    "directions": 3,
    "coordinates": 4,
    "examples": 5,
}


def stream(seed: int, name: str, *index: int) -> np.random.Generator:
    """Return the generator of the stream ``name`` of ``seed``, at ``index`` (a step, an epoch).

    A row of a package may name a stream of its own: any name is one.
    Streams with different names or indices are independent (NumPy's `SeedSequence`). Because a draw is
    addressed by its step, a resumed or regrouped trial draws the same numbers with no state to carry.

    >>> bool(stream(0, "perturbations", 7).random() == stream(0, "perturbations", 7).random())
    True
    >>> stream(0, "acceptance of a candidate", 7).random() in {stream(0, name, 7).random() for name in _STREAMS}
    False
    """
    number = _STREAMS[name] if name in _STREAMS else int.from_bytes(hashlib.sha256(name.encode()).digest()[:8])
    sequence = np.random.SeedSequence(seed, spawn_key=(number, *index))
    return np.random.Generator(np.random.PCG64(sequence))


def normal(
    seed: int, name: str, *index: int, shape: tuple[int, ...] | None = None, out: np.ndarray | None = None
) -> np.ndarray:
    """Return standard normal draws, float32 of the given shape (or in ``out``), of the stream at ``index``.

    They are drawn in float32 whatever precision uses them, so that every precision and device gets the same numbers.
    """
    return stream(seed, name, *index).standard_normal(shape, dtype=np.float32, out=out)
