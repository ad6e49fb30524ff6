"""The package of a loss that tests install, and what is remembered of packages."""

from pipeline.config.packages import offers, package, packages
from pipeline.config.tables import _added

LOSS = """
from dataclasses import dataclass
from tasks.losses import Softmax

@dataclass(frozen=True, slots=True, kw_only=True)
class Cooled(Softmax):
    temperature: float = 2.0
"""
ROW = "[descent_sweeps.losses]\ncooled = warm_losses:Cooled\n"


def clear_caches():
    """Forget the packages found, so that newly installed or changed ones are found."""
    for cached in (offers, packages, package, _added):
        cached.cache_clear()
