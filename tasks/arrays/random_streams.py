"""Named random streams of a seed: a draw is addressed by its purpose and step, not by the order of the calls."""

from __future__ import annotations

import numpy as np

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

    Streams with different names or indices are independent (NumPy's `SeedSequence`). Because a draw is
    addressed by its step, a resumed or regrouped trial draws the same numbers with no state to carry.

    >>> bool(stream(0, "perturbations", 7).random() == stream(0, "perturbations", 7).random())
    True
    """
    sequence = np.random.SeedSequence(seed, spawn_key=(_STREAMS[name], *index))
    return np.random.Generator(np.random.PCG64(sequence))


def normal(
    seed: int, name: str, *index: int, shape: tuple[int, ...] | None = None, out: np.ndarray | None = None
) -> np.ndarray:
    """Return standard normal draws, float32 of the given shape (or in ``out``), of the stream at ``index``.

    They are drawn in float32 whatever precision uses them, so that every precision and device gets the same numbers.
    """
    return stream(seed, name, *index).standard_normal(shape, dtype=np.float32, out=out)
