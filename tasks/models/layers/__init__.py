"""Layers: functions of activations, with their vector-Jacobian products."""

from tasks.models.layers.affine import Affine
from tasks.models.layers.convolution import Convolution
from tasks.models.layers.flattening import Flattening
from tasks.models.layers.layer import Forward, Layer
from tasks.models.layers.max_pooling import MaxPooling
from tasks.models.layers.patches import Patches
from tasks.models.layers.relu import Relu
from tasks.models.layers.shared_affine import SharedAffine
from tasks.models.layers.shared_convolution import SharedConvolution
from tasks.models.layers.tanh import Tanh
from tasks.models.layers.unflattening import Unflattening

__all__ = [
    "Affine",
    "Convolution",
    "Flattening",
    "Forward",
    "Layer",
    "MaxPooling",
    "Patches",
    "Relu",
    "SharedAffine",
    "SharedConvolution",
    "Tanh",
    "Unflattening",
]
