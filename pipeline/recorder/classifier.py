"""The code inside a registered model: a linear classifier of raw images that needs nothing of this project.

MLflow copies this file into the model and executes it there.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd  # type: ignore[import-untyped]
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel


class LinearClassifier(PythonModel):
    """Scores raw uint8 images ``(N, *image_shape)``: ``(x - mean) W^T + b``, in float32 as in training."""

    def load_context(self, context: Any) -> None:
        """Read the weights, the mean training image and the class names."""
        with np.load(context.artifacts["arrays"], allow_pickle=False) as arrays:
            self.weights, self.mean = arrays["weights"], arrays["mean"]
            self.classes = arrays["classes"].tolist()

    def predict(self, context: Any, model_input: np.ndarray, params: Any = None) -> pd.DataFrame:
        """Return the class with the highest score, and the scores by the names of their classes."""
        del context, params
        features = model_input.reshape(len(model_input), -1).astype(np.float32) - self.mean
        scores = features @ self.weights[:, :-1].T + self.weights[:, -1]  # (N, D) @ (D, C), and the bias
        named = [dict(zip(self.classes, row, strict=True)) for row in scores.tolist()]
        return pd.DataFrame({"class": [self.classes[k] for k in scores.argmax(axis=1)], "scores": named})


set_model(LinearClassifier())
