"""The code inside a registered model: a classifier of raw images that imports nothing of this project.

MLflow copies this file into the model and executes it there. Beside it are ``layers.json``, which lists the layers, and
``arrays.npz``: their ``weights/NAME``, one row an output and the bias in the last column; the ``mean`` image and the
``scale`` that standardize pixels as in training; and the names of the ``classes``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd  # type: ignore[import-untyped]
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel

AT_ONCE = 64
"""The batch size: the patches of a convolution take much memory an image."""


class ImageClassifier(PythonModel):
    """Classifies raw images ``(N, *image_shape)``, uint8, or features, in float32 as in training."""

    def load_context(self, context: Any) -> None:
        """Read the layers, their weights, the mean and scale of pixels, and the class names."""
        self.layers = json.loads(Path(context.artifacts["layers"]).read_text(encoding="utf-8"))
        with np.load(context.artifacts["arrays"], allow_pickle=False) as arrays:
            names = [layer["weights"] for layer in self.layers if "weights" in layer]
            self.weights = {name: arrays[f"weights/{name}"] for name in names}
            self.mean, self.scale = arrays["mean"], arrays["scale"]
            self.classes = arrays["classes"].tolist()

    def predict(self, context: Any, model_input: np.ndarray, params: Any = None) -> pd.DataFrame:
        """Return for each image the class with the highest score, and the scores by class name.

        A missing or infinite value raises a `ValueError`: of scores that are NaN the first would be the highest.
        """
        del context, params
        known = np.isfinite(model_input.reshape(len(model_input), self.mean.size)).all(axis=1)
        if not known.all():
            raise ValueError(f"features must be finite, got others in the rows {np.flatnonzero(~known)[:10].tolist()}")
        starts = range(0, max(1, len(model_input)), AT_ONCE)
        scores = np.concatenate([self._scores(model_input[start : start + AT_ONCE]) for start in starts])
        named = [dict(zip(self.classes, row, strict=True)) for row in scores.tolist()]
        return pd.DataFrame({"class": [self.classes[k] for k in scores.argmax(axis=1)], "scores": named})

    def _scores(self, images: np.ndarray) -> np.ndarray:
        """Return the scores ``(N, C)``: ``f_L(... f_1((x - mean) * scale))``."""
        values = images.reshape(len(images), self.mean.size).astype(np.float32)
        values = (values - self.mean) * self.scale
        for layer in self.layers:
            weights = (self.weights[layer["weights"]],) if "weights" in layer else ()
            values = LAYERS[layer["layer"]](layer, values, *weights)
        return values


def images(layer: Mapping[str, Any], values: np.ndarray) -> np.ndarray:
    """Return features ``(N, D)`` as images ``(N, C, H, W)``."""
    return values.reshape(len(values), *layer["shape"])


def convolution(layer: Mapping[str, Any], values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the responses ``(N, F, H, W)`` of the filters, with zeros as padding around the image."""
    _, channels, height, width = values.shape
    kernel = layer["filter"][-1]
    edge = (kernel // 2, kernel // 2)
    padded = np.pad(values, ((0, 0), (0, 0), edge, edge))
    seen = np.lib.stride_tricks.sliding_window_view(padded, (kernel, kernel), axis=(2, 3))  # (N, C, H, W, k, k)
    patches = np.moveaxis(seen, 1, 3).reshape(-1, channels * kernel**2)  # (N*H*W, C*k*k)
    answers = affine(layer, patches, weights).reshape(-1, height, width, len(weights))
    return np.moveaxis(answers, 3, 1)


def max_pooling(_: Mapping[str, Any], values: np.ndarray) -> np.ndarray:
    """Return the largest of every 2 x 2 pixels, ``(N, C, H // 2, W // 2)``."""
    count, channels, height, width = values.shape
    whole = values[:, :, : height // 2 * 2, : width // 2 * 2]
    return np.asarray(whole.reshape(count, channels, height // 2, 2, width // 2, 2).max(axis=(3, 5)))


def flattening(_: Mapping[str, Any], values: np.ndarray) -> np.ndarray:
    """Return images ``(N, C, H, W)`` as rows ``(N, C*H*W)``."""
    return values.reshape(len(values), int(np.prod(values.shape[1:])))


def affine(_: Mapping[str, Any], values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return ``W x + b`` of every row ``x``: ``(N, D)`` to ``(N, R)``."""
    return np.asarray(values @ weights[:, :-1].T + weights[:, -1])


def relu(_: Mapping[str, Any], values: np.ndarray) -> np.ndarray:
    """Return ``max(0, x)``."""
    return np.asarray(np.maximum(values, 0))


def tanh(_: Mapping[str, Any], values: np.ndarray) -> np.ndarray:
    """Return ``tanh(x)``."""
    return np.asarray(np.tanh(values))


LAYERS: Mapping[str, Callable[..., np.ndarray]] = {
    layer.__name__: layer for layer in (images, convolution, max_pooling, flattening, affine, relu, tanh)
}

set_model(ImageClassifier())
