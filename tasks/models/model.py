"""The interface of a model: the shapes of its parameters, their initial draw, and their arrangement in memory."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from array_api_compat import array_namespace

from tasks.arrays.array import Array
from tasks.arrays.products import RowLayout


class GradientPart(NamedTuple):
    """A part of a gradient: the number of the matrix, the slice of its rows, and the gradient by those rows."""

    matrix: int
    place: slice
    gradient: Array


# Both map dL/dscores (K, C, N) to the gradient by every matrix, in the layout of the rows.
Vjp = Callable[[Array], list[Array]]
VjpInParts = Callable[[Array], Iterator[GradientPart]]


class Model(Protocol):
    """A model: a row of `MODELS`.

    A trial's parameters are a few named matrices ``(R, D)``: each row is an output unit (a class, a hidden unit, a
    filter), the last column is the bias. All of them, flattened and concatenated in order, are a *point*, ``(P,)``.
    Features ``(N, D)`` are centred pixels, channels first, and a final 1; ``image_shape`` is the shape of the pixels.
    """

    def check(self, image_shape: tuple[int, ...]) -> None:
        """Raise a `ConfigError` where the model cannot take images of that shape."""

    def shapes(self, image_shape: tuple[int, ...], classes: int) -> Mapping[str, tuple[int, int]]:
        """Return the shape ``(R, D)`` of every matrix by its name, in the order in which they are multiplied."""

    def spreads(self, image_shape: tuple[int, ...], classes: int) -> Mapping[str, np.ndarray]:
        """Return the standard deviation of the initial draw of each matrix's columns, ``(1, D)``.

        Every draw has mean 0, and a network's biases begin at 0: a gain that begins at 1 is 1 plus a parameter.
        """

    def initial_scale(self, usual: float) -> float:
        """Return the default factor on the initial draw, where ``usual`` is the strategy's own default.

        It is 1 for a model whose draw already has a spread fit for training.
        """

    def arrange(
        self, trials: int, image_shape: tuple[int, ...], classes: int, examples: Iterable[int], *, like: Array
    ) -> Arrangement:
        """Return the arrangement of fused trials' points in memory.

        ``examples`` are the sizes of the blocks of examples to come, ``like`` is an array of the library and precision.
        """

    def block(self, image_shape: tuple[int, ...], classes: int) -> int | None:
        """Return the block size on the host, in examples; None where any size suits.

        It decides bits (sums of blocks are rounded), so it depends on shapes alone and never on the trials.
        """

    def stored_activations(self, image_shape: tuple[int, ...], classes: int) -> int:
        """Return how many numbers a step keeps of an example and a trial, apart from the scores and their gradients."""

    def transient_activations(self, image_shape: tuple[int, ...], classes: int) -> int:
        """Return how many numbers of an example live only within a layer; on the host, for one trial at a time."""

    def multiplications(self, image_shape: tuple[int, ...], classes: int) -> int:
        """Return how many multiplications one example's scores take."""


def as_matrices(points: Array, shapes: Sequence[tuple[int, int]]) -> list[Array]:
    """Return the matrices ``(*K, R_i, D_i)`` of points ``(*K, P)``, as views where possible."""
    xp, ends = array_namespace(points), list(itertools.accumulate(rows * columns for rows, columns in shapes))
    parts = [points[..., start:end] for start, end in itertools.pairwise([0, *ends])]
    return [xp.reshape(part, (*part.shape[:-1], *shape)) for part, shape in zip(parts, shapes, strict=True)]


class Arrangement(Protocol):
    """How the points of ``K`` fused trials lie in memory: matrices of rows, each row owned by a trial or padding.

    A trial's numbers are the same bit for bit alone and in any group. Padding rows are zero, and stay zero under every
    update rule that leaves a zero weight with gradient 0 unchanged.
    """

    @property
    def layouts(self) -> Sequence[RowLayout]:
        """The layout of every trial's rows in each matrix."""

    def rows(self, points: Array) -> list[Array]:
        """Return points ``(K, P)`` as matrices ``(H_i, D_i)``: copies, which may be updated in place."""

    def points(self, rows: Sequence[Array]) -> Array:
        """Return the points ``(K, P)`` of matrices: the inverse of `rows`."""

    def scores(self, rows: Sequence[Array], features: Array) -> Array:
        """Return the scores of features ``(N, D)``, ``(K, C, N)``."""

    def scores_and_vjp(self, rows: Sequence[Array], features: Array) -> tuple[Array, Vjp]:
        """Return the scores ``(K, C, N)``, and the function from dL/dscores to the gradient by every matrix."""

    def scores_and_parts(self, rows: Sequence[Array], features: Array) -> tuple[Array, VjpInParts]:
        """Return the scores ``(K, C, N)``, and the function that yields the gradients of `scores_and_vjp` in parts.

        The rows of a part may be updated as soon as it is yielded, while it is in a processor's cache. Parts go from
        the last matrix to the first, and have the bits of the whole gradient.
        """

    def data_gradient(self, rows: Sequence[Array], features: Array, slope: Array) -> Array:
        """Return dL/dfeatures without the bias's 1, ``(K, N, D - 1)``, from ``slope``, dL/dscores ``(K, C, N)``."""

    def last_layer_inputs(self, rows: Sequence[Array], features: Array) -> Array:
        """Return the inputs of the last layer with the bias's 1 appended, ``(K, N, H + 1)``."""


@runtime_checkable
class ScoreLinear(Protocol):
    """The capability of a model whose scores are linear in its parameters; `tasks.score_space` is built on it.

    The scores at ``W + a V`` are the scores at ``W`` plus ``a`` times the scores at ``V``.
    """

    def scores_of_points(self, points: Array, features: Array) -> Array:
        """Return the scores ``(K, C, N)`` of points ``(K, P)`` on features ``(N, D)``."""

    def scores_of_blocks(self, blocks: Array, features: Array) -> Array:
        """Return the scores ``(J, M, C, N)`` of ``J`` blocks of ``M`` points ``(J, M, P)``, without padding.

        A point's bits depend on its place in its block, modulo `alignment`.
        """

    def alignment(self, image_shape: tuple[int, ...], classes: int, examples: int, *, dtype: str) -> int:
        """Return how many points fill whole panels of a product with so many examples."""
