"""A model described layer by layer in plain values: to draw its filters, or to run it without this project."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

from tasks.models.model import Model

LAYERS = ("affine", "convolution", "max_pooling", "relu", "tanh", "images", "flattening")
"""The known layers."""


@runtime_checkable
class Layered(Protocol):
    """The capability of a model that is a chain of known layers: the winner of a sweep is registered, filters drawn."""

    def layers(self, image_shape: tuple[int, ...]) -> Sequence[Mapping[str, Any]]:
        """Return the layers in order, each as values that JSON can hold.

        ``layer`` is ``affine``, ``convolution`` (zero padding that keeps the size; a filter has the shape ``filter``),
        ``max_pooling`` (of 2 x 2), ``relu``, ``tanh``, ``images`` (of the ``shape`` ``(C, H, W)``) or ``flattening``;
        ``weights`` is the name of its matrix, if it has one.
        """


class Filters(NamedTuple):
    """The filters of a layer: their matrix's name, a filter's shape without the bias, whether each is a class."""

    matrix: str
    shape: tuple[int, ...]
    of_classes: bool


def first_filters(model: Model, image_shape: tuple[int, ...]) -> Filters | None:
    """Return the filters of the first layer with weights, None for a model that is not `Layered`.

    >>> from tasks.models.mlp import Mlp
    >>> first_filters(Mlp(), (8, 8))
    Filters(matrix='hidden1', shape=(8, 8), of_classes=False)
    """
    if not isinstance(model, Layered):
        return None
    first, *others = [layer for layer in model.layers(image_shape) if "weights" in layer]
    return Filters(first["weights"], tuple(first.get("filter", image_shape)), of_classes=not others)
