"""A small convolutional network: blocks of convolution, relu and max pooling, then fully connected layers."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from array_api_compat import is_numpy_array

from tasks.arrays.array import Array
from tasks.arrays.products import layout_of
from tasks.errors import ConfigError, require
from tasks.models.initial import check_initial, spread_but_bias
from tasks.models.layers import (
    Affine,
    Convolution,
    Flattening,
    Layer,
    MaxPooling,
    Patches,
    Relu,
    SharedConvolution,
    Unflattening,
)
from tasks.models.model import Arrangement
from tasks.models.network import Network, connected_shapes
from tasks.models.one_by_one import OneByOne

# The numbers of a block's patches: with half or twice as many, a step on CIFAR-10 takes longer.
_CACHED_NUMBERS = 3 * 2**19


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvNet:
    """A block for each of ``channels`` (convolution with a ``kernel``, relu, 2 x 2 max pooling), then ``hidden``.

    Relu comes after max pooling: both orders give the same numbers, since relu is monotonic, and this one computes a
    quarter of the relus. ``initial`` is as in `Mlp`. Source: CS231n, "Convolutional Neural Networks".
    """

    channels: tuple[int, ...] = (32, 64, 128)
    kernel: int = 3
    hidden: tuple[int, ...] = ()
    initial: str = "he"

    def __post_init__(self) -> None:
        require(self.channels, "model.channels", "must name the channels of at least one block", list(self.channels))
        require(
            all(count >= 1 for count in self.channels), "model.channels", "must be numbers >= 1", list(self.channels)
        )
        require(self.kernel >= 1 and self.kernel % 2, "model.kernel", "must be an odd number >= 1", self.kernel)
        require(all(width >= 1 for width in self.hidden), "model.hidden", "must be widths >= 1", list(self.hidden))
        check_initial(self.initial)

    def check(self, image_shape: tuple[int, ...]) -> None:
        """Raise a `ConfigError` where the features are no images, or the images are too small for the poolings."""
        shape = "x".join(map(str, image_shape))
        if len(image_shape) not in {2, 3}:
            raise ConfigError(f"model=convnet must be given images (H x W or C x H x W), got features of shape {shape}")
        least = 2 ** len(self.channels)
        if min(image_shape[-2:]) < least:
            raise ConfigError(
                f"model.channels must name at most as many blocks as an image can be halved, got {list(self.channels)}:"
                f" {len(self.channels)} blocks need images of at least {least}x{least} pixels, these are {shape}"
            )

    def shapes(self, image_shape: tuple[int, ...], classes: int) -> Mapping[str, tuple[int, int]]:
        """Return the shapes ``convolution1 (F_1, C*k*k + 1)``, ..., ``hidden1 (H_1, F*h*w + 1)``, ..., ``scores``."""
        depths = [block[0] for block in self._blocks(image_shape)]
        shapes = {
            f"convolution{number}": (after, before * self.kernel**2 + 1)
            for number, (before, after) in enumerate(itertools.pairwise(depths), start=1)
        }
        return shapes | connected_shapes(math.prod(self._blocks(image_shape)[-1]), self.hidden, classes)

    def spreads(self, image_shape: tuple[int, ...], classes: int) -> Mapping[str, np.ndarray]:
        """Return the standard deviation of the first draw of every matrix's columns, ``(1, D)``, 0 for the bias."""
        # A pixel is in k*k patches of its layer, so that it has as many outputs for each filter.
        patches = {f"convolution{number}": self.kernel**2 for number in range(1, len(self.channels) + 1)}
        return {
            name: spread_but_bias(self.initial, fan_in=columns - 1, fan_out=units * patches.get(name, 1))
            for name, (units, columns) in self.shapes(image_shape, classes).items()
        }

    def initial_scale(self, usual: float) -> float:
        """Return 1: the draw already has a spread fit for training."""
        del usual
        return 1.0

    def arrange(
        self, trials: int, image_shape: tuple[int, ...], classes: int, examples: Iterable[int], *, like: Array
    ) -> Arrangement:
        """Return the layers of fused trials: all share the patches of the images, each has products of its own."""
        del examples
        shapes = tuple(self.shapes(image_shape, classes).values())
        shared = (Unflattening(shape=self._blocks(image_shape)[0]), Patches(kernel=self.kernel))
        own: list[Layer] = [SharedConvolution(filters=self.channels[0]), MaxPooling(), Relu()]
        for filters in self.channels[1:]:
            own += [Convolution(filters=filters, kernel=self.kernel), MaxPooling(), Relu()]
        own.append(Flattening())
        for units in self.hidden:
            own += [Affine(units=units), Relu()]
        own.append(Affine(units=classes))
        if not is_numpy_array(like):
            layouts = tuple(layout_of(trials, units, None) for units, _ in shapes)
            return Network(layers=(*shared, *own), shapes=shapes, layouts=layouts)
        layouts = tuple(layout_of(1, units, None) for units, _ in shapes)
        return OneByOne(
            trials=trials,
            shared=Network(layers=shared, shapes=(), layouts=()),
            own=Network(layers=tuple(own), shapes=shapes, layouts=layouts),
        )

    def block(self, image_shape: tuple[int, ...], classes: int) -> int:
        """Return the largest power of 2 of examples whose patches in every layer stay in cache."""
        del classes
        blocks = self._blocks(image_shape)[:-1]
        largest = max((depth * self.kernel**2 + 1) * height * width for depth, height, width in blocks)
        return 1 << max(0, (_CACHED_NUMBERS // largest).bit_length() - 1)

    def stored_activations(self, image_shape: tuple[int, ...], classes: int) -> int:
        """Return how many numbers a step keeps of an example: pooled pixels with their positions, and four a unit."""
        blocks = itertools.pairwise(self._blocks(image_shape))
        kept = sum(filters * height * width // 2 for (_, height, width), (filters, *_) in blocks)
        return kept + 4 * (sum(self.hidden) + classes)

    def transient_activations(self, image_shape: tuple[int, ...], classes: int) -> int:  # noqa: ARG002
        """Return the numbers of the images' patches, and of the largest block's patches, maps and gradients."""
        blocks = [
            (channels * self.kernel**2, filters, height * width)
            for (channels, height, width), (filters, *_) in itertools.pairwise(self._blocks(image_shape))
        ]
        patch, _, pixels = blocks[0]
        return (patch + 1) * pixels + max(2 * (patch + filters) * pixels for patch, filters, pixels in blocks)

    def multiplications(self, image_shape: tuple[int, ...], classes: int) -> int:
        """Return how many multiplications one example's scores take: of a convolution, one a weight and pixel."""
        pixels = {
            f"convolution{number}": height * width
            for number, (_, height, width) in enumerate(self._blocks(image_shape)[:-1], start=1)
        }
        return sum(
            units * columns * pixels.get(name, 1)
            for name, (units, columns) in self.shapes(image_shape, classes).items()
        )

    def layers(self, image_shape: tuple[int, ...]) -> Sequence[Mapping[str, Any]]:
        """Return the layers by name; see `Layered`."""
        images, *_ = blocks = self._blocks(image_shape)
        layers: list[Mapping[str, Any]] = [{"layer": "images", "shape": list(images)}]
        for number, (depth, *_) in enumerate(blocks[:-1], start=1):
            shape = [depth, self.kernel, self.kernel]
            layers.append({"layer": "convolution", "weights": f"convolution{number}", "filter": shape})
            layers += [{"layer": "max_pooling"}, {"layer": "relu"}]
        layers.append({"layer": "flattening"})
        for number in range(1, len(self.hidden) + 1):
            layers += [{"layer": "affine", "weights": f"hidden{number}"}, {"layer": "relu"}]
        return [*layers, {"layer": "affine", "weights": "scores"}]

    def _blocks(self, image_shape: tuple[int, ...]) -> list[tuple[int, int, int]]:
        """Return the shape ``(C, H, W)`` of each block's input, and of the last block's output."""
        self.check(image_shape)
        height, width = image_shape[-2:]
        depths = [image_shape[0] if len(image_shape) == 3 else 1, *self.channels]
        return [(depth, height >> halved, width >> halved) for halved, depth in enumerate(depths)]
