"""What a model is: the shapes of its parameters, their first draw, and its arrangement in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np

from tasks.arrays.array import Array
from tasks.arrays.products import Layout


class Part(NamedTuple):
    """A part of a gradient: the number of the matrix, the place among its rows, and the gradient of those rows."""

    matrix: int
    place: slice
    gradient: Array


# Both take dL/dscores (K, C, N) and give the gradient of every matrix, laid out like rows.
ToRows = Callable[[Array], list[Array]]
ToParts = Callable[[Array], Iterator[Part]]


class Model(Protocol):
    """A model: a row of `MODELS`.

    A trial's parameters are a few named matrices ``(R, D)``: a row an output unit (a class, a hidden unit, a filter),
    the bias its last column. All of them, flattened and concatenated in order, are a *point*, ``(P,)``.
    Features ``(N, D)`` are centred pixels, channels first, that end in a 1; ``image_shape`` is that of the pixels.
    """

    def check(self, image_shape: tuple[int, ...]) -> None:
        """Raise a `ConfigError` where images of that shape are none for this model."""

    def shapes(self, image_shape: tuple[int, ...], classes: int) -> Mapping[str, tuple[int, int]]:
        """Return the shape ``(R, D)`` of every matrix by its name, in the order in which they are multiplied."""

    def spreads(self, image_shape: tuple[int, ...], classes: int) -> Mapping[str, np.ndarray]:
        """Return the standard deviation of the first draw of every matrix's entries, ``(1, D)``, 0 for the bias."""

    def initial_scale(self, usual: float) -> float:
        """Return what a strategy multiplies the first draw by where nothing is said, and ``usual`` is its own choice.

        A model whose draw has a spread of its own, fit to train from, says 1.
        """

    def arrange(
        self, trials: int, image_shape: tuple[int, ...], classes: int, examples: Iterable[int], *, like: Array
    ) -> Arrangement:
        """Return how the points of fused trials lie in memory.

        ``examples`` are the sizes of the blocks that it is used on, ``like`` an array of the library and precision.
        """

    def block(self, image_shape: tuple[int, ...], classes: int) -> int | None:
        """Return how many examples to work on at once on the host, None where the model does not care.

        It decides bits (sums of blocks are rounded), so it depends on shapes alone and never on the trials.
        """

    def numbers(self, image_shape: tuple[int, ...], classes: int) -> int:
        """Return how many numbers a step keeps of an example for a trial, beside scores and what the loss makes."""

    def passing_numbers(self, image_shape: tuple[int, ...], classes: int) -> int:
        """Return how many numbers of an example come and go with each layer: of one trial at a time on the host."""

    def multiplications(self, image_shape: tuple[int, ...], classes: int) -> int:
        """Return how many multiplications one example's scores take."""


class Arrangement(Protocol):
    """How the points of ``K`` fused trials lie in memory: a few matrices of rows, each row owned by a trial.

    A trial's numbers are the same bit for bit alone and in any group. Rows that nobody has are zero, and stay zero
    under every update rule that leaves a zero of gradient 0 where it is.
    """

    @property
    def layouts(self) -> Sequence[Layout]:
        """Of each matrix, where the rows of every trial stand in it."""

    def rows(self, points: Array) -> list[Array]:
        """Return points ``(K, P)`` as matrices ``(H_i, D_i)``, arrays of their own that may be updated in place."""

    def points(self, rows: Sequence[Array]) -> Array:
        """Return the points ``(K, P)`` of matrices: the inverse of `rows`."""

    def scores(self, rows: Sequence[Array], features: Array) -> Array:
        """Return the scores of features ``(N, D)``, ``(K, C, N)``."""

    def scores_and_vjp(self, rows: Sequence[Array], features: Array) -> tuple[Array, ToRows]:
        """Return the scores ``(K, C, N)``, and what makes of dL/dscores the gradient of every matrix."""

    def scores_and_parts(self, rows: Sequence[Array], features: Array) -> tuple[Array, ToParts]:
        """Return the scores ``(K, C, N)``, and what yields the gradients of `scores_and_vjp` in parts.

        The rows of a part may be updated as soon as it is there: while it is in a processor's cache. Parts come from
        the last matrix to the first, and have the bits of the whole.
        """

    def data_gradient(self, rows: Sequence[Array], features: Array, slope: Array) -> Array:
        """Return dL/dfeatures but for the bias's 1, ``(K, N, D - 1)``, from ``slope``, dL/dscores ``(K, C, N)``."""

    def last_layer_inputs(self, rows: Sequence[Array], features: Array) -> Array:
        """Return what the last matrix multiplies, its 1 appended: ``(K, N, H + 1)``."""


@runtime_checkable
class ScoreLinear(Protocol):
    """The capability of a model whose scores are linear in its parameters: what `tasks.score_space` is built on.

    Scores at ``W + a V`` are then those at ``W`` plus ``a`` times those at ``V``.
    """

    def scores_of_points(self, points: Array, features: Array) -> Array:
        """Return the scores ``(K, C, N)`` of points ``(K, P)`` on features ``(N, D)``."""

    def scores_of_blocks(self, blocks: Array, features: Array) -> Array:
        """Return the scores ``(J, M, C, N)`` of ``J`` blocks of ``M`` points ``(J, M, P)``, laid out densely.

        A point's bits depend on its place in its block, modulo `alignment`.
        """

    def alignment(self, image_shape: tuple[int, ...], classes: int, examples: int, *, dtype: str) -> int:
        """Return how many points fill whole panels of a product with so many examples."""
