"""A small model of every row of MODELS, for contracts that hold for all of them."""

import dataclasses

from tasks.models import MODELS

_SMALL = {"hidden": (5,), "channels": (3, 4)}
"""Values of keys that make a model small, whichever row has them."""


def _small(row):
    return row(**{field.name: _SMALL[field.name] for field in dataclasses.fields(row) if field.name in _SMALL})


SMALL_MODELS = {name: _small(row) for name, row in MODELS.items()}


def forward(matrices, features):
    """Return the scores ``(N, C)`` of a fully connected relu network, layer by layer in plain NumPy."""
    outputs = features[:, :-1]
    for number, matrix in enumerate(matrices):
        outputs = (outputs if number == 0 else outputs.clip(0)) @ matrix[:, :-1].T + matrix[:, -1]
    return outputs
