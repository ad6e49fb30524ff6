"""Stopping rules: which trials go on at a rung."""

from collections.abc import Mapping

from pipeline.stopping.asha import Asha
from pipeline.stopping.halving import Halving
from pipeline.stopping.hyperband import Hyperband
from pipeline.stopping.median import Median
from pipeline.stopping.never import Never
from pipeline.stopping.rule import Rule

STOPPING: Mapping[str, type[Rule]] = {
    "none": Never,
    "halving": Halving,
    "hyperband": Hyperband,
    "asha": Asha,
    "median": Median,
}

__all__ = ["STOPPING", "Asha", "Halving", "Hyperband", "Median", "Never", "Rule"]
