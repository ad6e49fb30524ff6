"""The objectives of a search: the metric that ranks the sweep, or several metrics, each with a direction."""

from __future__ import annotations

import math
from collections.abc import Collection, Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.results.criterion import mode_of
from tasks.errors import ConfigError, require, require_choice

_MODES = {"max": "maximize", "min": "minimize"}
ACCURACY = ("val/accuracy", "train/accuracy")
"""The default metric of a search: the first of these that is measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Objectives:
    """The metrics that a search optimises (None: accuracy), and the direction of each."""

    metrics: tuple[str | None, ...]
    directions: tuple[str, ...]

    @classmethod
    def of(cls, sweep: Mapping[str, Any], metrics: Any, direction: Any) -> Objectives:
        """Return the objectives of the keys ``sweep``, ``hydra.sweeper.metrics`` and ``hydra.sweeper.direction``.

        Raises
        ------
        ConfigError
            If they contradict each other.
        """
        for key, given in (("metrics", metrics), ("direction", direction)):
            usable = given is None or isinstance(given, str | Sequence)
            require(usable, f"hydra.sweeper.{key}", "must be a text or a list of texts", given)
        ranked = sweep.get("metric")
        rule = "must be a string (hydra.sweeper.metrics takes a list)"
        require(ranked is None or isinstance(ranked, str), "sweep.metric", rule, ranked)
        names = [ranked] if metrics is None else _list_of(metrics)
        require(len(set(names)) == len(names) > 0, "hydra.sweeper.metrics", "must name each metric once", names)
        directions = [] if direction is None else _list_of(direction)
        for one in directions:
            require_choice("hydra.sweeper.direction", one, _MODES.values())
        if direction is not None and len(directions) != len(names):
            raise ConfigError(
                f"hydra.sweeper.metrics must name as many metrics as hydra.sweeper.direction has directions, got "
                f"{metrics if metrics is None else ', '.join(map(str, names))} for {', '.join(directions)}"
            )
        usual = [_MODES[mode_of(name or ACCURACY[0])] for name in names]
        if [name or ACCURACY[0] for name in names] == [ranked or ACCURACY[0]]:
            usual = [_MODES.get(str(sweep.get("mode")), usual[0])]
            named = names[0] or "accuracy"
            rule = f"must agree with sweep.mode, by which {named} is {usual[0]}d"
            require(directions in ([], usual), "hydra.sweeper.direction", rule, ", ".join(directions))
        return cls(metrics=tuple(names), directions=tuple(directions or usual))

    def names(self, measured: Container[str] = ()) -> tuple[str, ...]:
        """Return the names of the metrics; which accuracy it is says what is ``measured``."""
        accuracy = next((name for name in ACCURACY if name in measured), "accuracy")
        return tuple(name or accuracy for name in self.metrics)

    def values(self, measured: Mapping[str, float]) -> list[float]:
        """Return the value of each metric, NaN if it was not measured."""
        return [measured.get(name, math.nan) for name in self.names(measured)]

    def require_measured(self, measured: Collection[str]) -> None:
        """Raise a `ConfigError` if a metric is not ``measured``."""
        for name in self.names(measured):
            rule = f"must be measured by its trials, which measure {', '.join(sorted(measured)) or 'nothing'}"
            require(name in measured, "the metric of a search", rule, name)


def _list_of(texts: Any) -> list[str]:
    return [texts] if isinstance(texts, str) else [str(one) for one in texts]
