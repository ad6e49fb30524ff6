"""Datasets: images or features, labels and a digest, from the sources that a config can name."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from tasks.datasets.cifar10 import Cifar10
from tasks.datasets.dataset import Dataset, Split, make_dataset
from tasks.datasets.digits import Digits
from tasks.datasets.images import Images
from tasks.datasets.nothing import Nothing
from tasks.datasets.npz import Npz
from tasks.datasets.openml import OpenMl
from tasks.datasets.scikit import Scikit
from tasks.datasets.source import ProgressCallback, Source
from tasks.datasets.synthetic import Synthetic
from tasks.datasets.table import Table

__all__ = ["DATASETS", "Dataset", "ProgressCallback", "Source", "Split", "make_dataset"]

DATASETS: Mapping[str, type] = MappingProxyType(
    {
        "digits": Digits,
        "cifar10": Cifar10,
        "openml": OpenMl,
        "images": Images,
        "npz": Npz,
        "table": Table,
        "sklearn": Scikit,
        "synthetic": Synthetic,
        "none": Nothing,
    }
)
