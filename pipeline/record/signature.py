"""What a trained trial takes and gives: raw images or features in, class names and scores out, in MLflow's own form."""

from __future__ import annotations

import json
from collections.abc import Iterable

SIGNATURE = "signature.json"


def signature(kind: str, image_shape: Iterable[int], classes: Iterable[str]) -> dict[str, str]:
    """Return the signature of a classifier, as ``ModelSignature.to_dict`` of MLflow writes it.

    The input are raw images or features ``(N, *image_shape)`` of the type ``kind``; the outputs are ``class``, the name
    of the class with the highest score, and ``scores``, all scores by class name.
    """
    images = {"type": "tensor", "tensor-spec": {"dtype": kind, "shape": [-1, *image_shape]}}
    scores = {name: {"type": "double", "required": True} for name in sorted(classes)}
    outputs = [
        {"type": "string", "name": "class", "required": True},
        {"type": "object", "properties": scores, "name": "scores", "required": True},
    ]
    return {"inputs": json.dumps([images]), "outputs": json.dumps(outputs)}


def signature_file(kind: str, image_shape: Iterable[int], classes: Iterable[str]) -> dict[str, str]:
    """Return the signature as a text, by file name."""
    return {SIGNATURE: json.dumps(signature(kind, image_shape, classes), indent=2)}
