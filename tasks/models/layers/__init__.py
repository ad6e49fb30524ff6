"""Layers: functions of activations and their vector-Jacobian products, one a module."""

from tasks.models.layers.affine import Affine
from tasks.models.layers.convolution import Convolution
from tasks.models.layers.flattening import Flattening
from tasks.models.layers.images import Images
from tasks.models.layers.layer import Forward, Layer
from tasks.models.layers.max_pooling import MaxPooling
from tasks.models.layers.patches import Patches
from tasks.models.layers.relu import Relu
from tasks.models.layers.shared_affine import SharedAffine
from tasks.models.layers.shared_convolution import SharedConvolution
from tasks.models.layers.tanh import Tanh

__all__ = [
    "Affine",
    "Convolution",
    "Flattening",
    "Forward",
    "Images",
    "Layer",
    "MaxPooling",
    "Patches",
    "Relu",
    "SharedAffine",
    "SharedConvolution",
    "Tanh",
]
