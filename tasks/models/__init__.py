"""Models: score functions, one a module."""

from collections.abc import Mapping

from tasks.models.linear import Linear

MODELS: Mapping[str, type[Linear]] = {"linear": Linear}

__all__ = ["MODELS", "Linear"]
