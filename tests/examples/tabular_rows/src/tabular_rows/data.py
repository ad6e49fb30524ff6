"""Spirals: floating-point features that a linear model cannot part."""

from dataclasses import dataclass

import numpy as np

from tasks.datasets import Split, make_dataset
from tasks.errors import require


@dataclass(frozen=True, slots=True, kw_only=True)
class Spirals:
    """``arms`` spirals of ``examples`` points in all, with noise."""

    arms: int = 3
    examples: int = 900
    noise: float = 0.1
    seed: int = 0
    validation: int = 150
    scaling: str = "standard"

    def __post_init__(self):
        require(self.arms >= 2, "dataset.arms", "must be >= 2", self.arms)
        require(self.examples > 300, "dataset.examples", "must be > 300", self.examples)

    def load(self, *, progress=None):
        """Draw the points; the last 150 are the test."""
        rng = np.random.default_rng(self.seed)
        labels = rng.integers(self.arms, size=self.examples)
        radius = rng.uniform(0.2, 1, size=self.examples)
        angle = 4 * radius + 2 * np.pi * labels / self.arms + self.noise * rng.standard_normal(self.examples)
        points = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1).astype(np.float32)
        return make_dataset(
            name="spirals",
            train=Split(images=points[:-150], labels=labels[:-150]),
            test=Split(images=points[-150:], labels=labels[-150:]),
            classes=tuple(f"arm {arm}" for arm in range(self.arms)),
            image_shape=(2,),
            validation=self.validation,
            scaling=self.scaling,
        )
