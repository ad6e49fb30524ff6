"""Seeded artificial images of any number, size and number of classes, for tests and benchmarks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tasks.datasets.dataset import Dataset, Split, check_scaling, make_dataset
from tasks.datasets.source import ProgressCallback
from tasks.errors import require

GREY = 128.0
LARGEST = 1e6
"""The largest spread or noise in grey levels: with either, nearly every pixel is 0 or 255 already."""

BLOCK = 1 << 22  # pixels drawn at once: 16 MiB of float32 however many examples there are


@dataclass(frozen=True, slots=True, kw_only=True)
class Synthetic:
    """Gaussian clouds of pixels, one a class, rounded and clipped to 0..255.

    A class's centre is drawn about mid-grey with standard deviation ``spread``, an example about its
    class's centre with standard deviation ``noise``, both in grey levels; ``seed`` draws all of them. Every class has
    the same number of ``examples`` (those of validation among them) and of ``test_examples``, or one less.

    >>> Synthetic(examples=100, features=12, classes=3, validation=10).load().train.images.shape
    (90, 12)
    """

    examples: int = 1000
    test_examples: int = 200
    features: int = 64
    classes: int = 10
    spread: float = 16.0
    noise: float = 48.0
    seed: int = 0
    validation: int = 100
    scaling: str = "none"

    def __post_init__(self) -> None:
        check_scaling(self.scaling)
        for parameter in ("examples", "test_examples", "features"):
            value = getattr(self, parameter)
            require(value >= 1, f"dataset.{parameter}", "must be >= 1", value)
        require(self.classes >= 2, "dataset.classes", "must be >= 2", self.classes)
        for parameter in ("spread", "noise"):
            value = getattr(self, parameter)
            require(0 <= value <= LARGEST, f"dataset.{parameter}", f"must be from 0 to {LARGEST:g}", value)
        require(self.seed >= 0, "dataset.seed", "must be >= 0", self.seed)
        require(
            0 <= self.validation < self.examples,
            "dataset.validation",
            f"must be >= 0 and below dataset.examples ({self.examples})",
            self.validation,
        )

    def load(self, *, progress: ProgressCallback | None = None, block: int = BLOCK) -> Dataset:
        """Draw the images, ``block`` pixels at once; the progress counts examples."""
        centres_seed, train_seed, test_seed = np.random.SeedSequence(self.seed).spawn(3)
        rng = np.random.default_rng(centres_seed)
        centres = rng.standard_normal((self.classes, self.features), dtype=np.float32) * self.spread + GREY  # (C, D)
        return make_dataset(
            name="synthetic",
            train=self._draw(centres, self.examples, np.random.default_rng(train_seed), block, progress),
            test=self._draw(centres, self.test_examples, np.random.default_rng(test_seed), block, None),
            classes=tuple(f"class {number}" for number in range(self.classes)),
            image_shape=(self.features,),
            validation=self.validation,
            scaling=self.scaling,
        )

    def _draw(
        self, centres: np.ndarray, count: int, rng: np.random.Generator, at_once: int, progress: ProgressCallback | None
    ) -> Split:
        labels = rng.permutation(np.arange(count) % self.classes)
        images = np.empty((count, self.features), dtype=np.uint8)
        rows = max(1, at_once // self.features)
        for start in range(0, count, rows):
            block = images[start : start + rows]
            pixels = rng.standard_normal(block.shape, dtype=np.float32)
            pixels *= self.noise
            pixels += centres[labels[start : start + rows]]
            block[:] = np.clip(np.rint(pixels, out=pixels), 0, 255, out=pixels)
            if progress:
                progress(start + len(block), count)
        return Split(images=images, labels=labels.astype(np.int64, copy=False))
