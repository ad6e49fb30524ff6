"""Models: score functions, linear and networks."""

from collections.abc import Mapping

from tasks.models.convnet import ConvNet
from tasks.models.linear import Linear
from tasks.models.mlp import Mlp
from tasks.models.model import Model

MODELS: Mapping[str, type[Model]] = {"linear": Linear, "mlp": Mlp, "convnet": ConvNet}

__all__ = ["MODELS", "ConvNet", "Linear", "Mlp", "Model"]
