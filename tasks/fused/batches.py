"""The examples of an evaluation, read in blocks, and the order of a training's minibatches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from array_api_compat import array_namespace, is_numpy_array

from tasks.arrays.array import Array
from tasks.arrays.devices import device_put, pieces
from tasks.arrays.random_streams import stream
from tasks.arrays.replay import entry
from tasks.datasets.dataset import Split


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """The examples of one evaluation: those of a split at ``index`` ``(B,)``, None for all, read in blocks.

    Examples are cast to floating point a block at a time: memory does not grow with N, a block and its scores stay
    in the host's cache, and several threads share the blocks.
    """

    split: Split
    index: Any

    def __len__(self) -> int:
        return len(self.split) if self.index is None else int(self.index.shape[0])

    def blocks(self, size: int) -> list[Split]:
        """Return the examples in blocks of at most ``size``; the blocks of a whole split are views."""
        return [self._block(part) for part in pieces(len(self), size)]

    def _block(self, part: slice) -> Split:
        images, labels = self.split.images, self.split.labels
        if self.index is None:
            return Split(images=images[part, ...], labels=labels[part])
        xp, index = array_namespace(images), self.index[part]
        return Split(images=xp.take(images, index, axis=0), labels=xp.take(labels, index, axis=0))


class Minibatches:
    """The order of the examples: a new permutation an epoch, cut into batches; an incomplete last batch is dropped."""

    def __init__(self, split: Split, size: int | None, data_seed: int) -> None:
        self._split = split
        self._size = None if size == len(split) else size
        self._data_seed = data_seed
        self._epoch: tuple[int, Array] | None = None

    @property
    def batch_size(self) -> int:
        """The number of examples in every batch."""
        return len(self._split) if self._size is None else self._size

    def at(self, number: int) -> Batch:
        """Return batch ``number`` (from 0) of the stream; the full training set without a batch size."""
        if self._size is None:
            return Batch(split=self._split, index=None)
        epoch, place = divmod(number, len(self._split) // self._size)
        if self._epoch is None or self._epoch[0] != epoch:
            order = stream(self._data_seed, "data order", epoch).permutation(len(self._split))
            self._epoch = (epoch, device_put(order, self._split.labels))  # one blocking copy to a device an epoch
        return Batch(split=self._split, index=self._epoch[1][place * self._size : (place + 1) * self._size])

    def over(self, numbers: range) -> Callable[[int | Array], Batch]:
        """Return the function from a place among consecutive ``numbers`` to the batch; see `entry`.

        A device has the examples of all these batches, which a step finds without the host.
        """
        if is_numpy_array(self._split.labels):
            return lambda place: self.at(numbers[place])
        if self._size is None:
            return lambda _: self.at(0)
        indices = [self.at(number).index for number in numbers]
        index = array_namespace(*indices).stack(indices)  # (S, B)
        return lambda place: Batch(split=self._split, index=entry(index, place))
