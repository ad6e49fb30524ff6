"""The linear score function with the bias trick: ``f(x; W) = W x``, x ending in 1."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from array_api_compat import array_namespace

from tasks.products import Layout, layout_of, panel_of_descent, product, scores_of_blocks, scores_of_units


@dataclass(frozen=True, slots=True, kw_only=True)
class Linear:
    """Class scores that are linear in the weights ``(*trials, C, D)``.

    Trials that see the same examples are one product, ``(K*C, D) @ (D, N)``.
    """

    def shape(self, features: int, classes: int) -> tuple[int, int]:
        """Return the shape of one trial's weights, ``(C, D)``."""
        return (classes, features)

    def scores(self, weights: Any, features: Any) -> Any:
        """Return the scores of features ``(N, D)`` as ``(*trials, C, N)``."""
        xp = array_namespace(weights)
        *trials, classes, dimensions = weights.shape
        units = xp.reshape(weights, (-1, classes, dimensions))
        scores = scores_of_units(units, features)  # (K*C, D) @ (D, N)
        return xp.reshape(scores, (*trials, classes, features.shape[0]))

    def scores_of_blocks(self, blocks: Any, features: Any) -> Any:
        """Return the scores ``(J, M, C, N)`` of ``J`` blocks of ``M`` weights, ``(J, M, C, D)``, laid out densely.

        Its members' bits depend on their place in a block, modulo `alignment`.
        """
        xp = array_namespace(blocks)
        outer, members, classes, dimensions = blocks.shape
        units = xp.reshape(blocks, (outer, members * classes, dimensions))
        return xp.reshape(scores_of_blocks(units, features), (outer, members, classes, features.shape[0]))

    def layout(self, trials: int, shape: tuple[int, int], examples: Iterable[int], *, like: Any) -> Layout:
        """Return where the rows of weights ``(K, C, D)`` stand in a descent on blocks of so many ``examples``.

        They stay there from step to step; ``shape`` is ``(C, D)``, ``like`` an array of the library and precision.
        """
        classes, features = shape
        return layout_of(trials, classes, panel_of_descent(like, examples, features))

    def scores_of_rows(self, rows: Any, features: Any, layout: Layout) -> Any:
        """Return the scores ``(K, C, N)`` of weights that are laid out as rows ``(H, D)``."""
        return layout.units(product(rows, features.T))  # (H, D) @ (D, N)

    def weights_gradient(self, scores_gradient: Any, features: Any, layout: Layout) -> Any:
        """Return ``sum_n dL/ds_n x_n^T``, laid out: ``(K, C, N)`` and ``(N, D)`` give ``(H, D)``."""
        return product(layout.rows(scores_gradient), features)  # (H, N) @ (N, D)

    def data_gradient(self, scores_gradient: Any, weights: Any) -> Any:
        """Return ``W^T dL/ds_n`` for every example: ``(*trials, N, D)``."""
        xp = array_namespace(weights)
        return xp.matmul(xp.matrix_transpose(scores_gradient), weights)  # (N, C) @ (C, D)
