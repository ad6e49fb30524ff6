"""A tabular classification set that scikit-learn bundles or fetches, or any of openml.org."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tasks.datasets.columns import check_options, class_text, first_text, listed, tabular
from tasks.datasets.dataset import Dataset
from tasks.datasets.source import ProgressCallback
from tasks.errors import ConfigError, DataError, require

BUNDLED = ("breast_cancer", "digits", "iris", "wine")
FETCHED = ("covtype", "olivetti_faces")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scikit:
    """The set ``data_name``, one of `BUNDLED` or `FETCHED`; with a ``version``, a set of openml.org.

    ``root`` is the folder that caches fetched sets (null: scikit-learn's own). ``drop`` leaves columns out.
    For the other keys see `tasks.datasets.table.Table`.
    """

    data_name: str = "iris"
    version: int | None = None
    root: str | None = None
    drop: tuple[str, ...] = ()
    test: float = 0.2
    split_seed: int = 0
    missing: str = "refuse"
    validation: float | None = None
    scaling: str = "standard"

    def __post_init__(self) -> None:
        check_options(self)
        require(self.version is None or self.version >= 1, "dataset.version", "must be >= 1, or null", self.version)
        known = self.version is not None or self.data_name in BUNDLED + FETCHED
        rule = f"must be one of {', '.join(BUNDLED + FETCHED)}, or of openml.org with dataset.version"
        require(known and self.data_name.strip(), "dataset.data_name", rule, self.data_name)

    def load(self, *, progress: ProgressCallback | None = None) -> Dataset:  # noqa: ARG002 - scikit-learn's fetcher reports none
        """Read the set, and fetch it first if it is not cached."""
        title = f"scikit-learn's {self.data_name}"
        if self.version is not None:
            title = f"openml.org {self.data_name} version {self.version}"
        columns, labels = self._fetch(title)
        for name in self.drop:
            if name not in columns:
                raise ConfigError(f"dataset.drop must be of the columns {listed([*columns])}, got {name!r}: {title}")
        kept = {name: _numbers(title, name, values) for name, values in columns.items() if name not in self.drop}
        return tabular(title=title, name=self.data_name, columns=kept, labels=labels, options=self)

    def _fetch(self, title: str) -> tuple[dict[str, Any], np.ndarray]:
        """Return the columns by name, and the class of every row as a text."""
        from sklearn import datasets  # noqa: PLC0415 - its import takes seconds, few rows need it

        try:
            if self.version is not None:
                bunch = datasets.fetch_openml(
                    self.data_name, version=self.version, data_home=self.root, as_frame=True, parser="liac-arff"
                )
            elif self.data_name in BUNDLED:
                bunch = getattr(datasets, f"load_{self.data_name}")()
            else:
                bunch = getattr(datasets, f"fetch_{self.data_name}")(data_home=self.root)
        except Exception as error:  # network, server, parser and cache each raise types of their own
            raise DataError(f"{title} cannot be fetched (dataset.root={self.root!r}): {error}") from error
        if self.version is not None:
            return {str(name): bunch.data[name] for name in bunch.data}, _texts(title, bunch.target)
        names = bunch.get("feature_names")
        if names is None:
            names = [f"feature {number}" for number in range(bunch.data.shape[1])]
        classes = bunch.get("target_names") if self.data_name in BUNDLED else None  # elsewhere it may name the column
        texts = bunch.target if classes is None else np.asarray(classes)[bunch.target]
        return dict(zip(map(str, list(names)), bunch.data.T, strict=True)), np.array(
            [str(text) for text in texts.tolist()]
        )


def _numbers(title: str, name: str, values: Any) -> np.ndarray:
    """Return a column as float64 ``(N,)``, NaN where a value is missing."""
    try:
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        row, text = first_text(values)
        raise DataError(
            f"{title}: column {name!r} must hold numbers, got {text!r} in row {row}: leave it out with "
            f"'dataset.drop=[{name}]'"
        ) from None


def _texts(title: str, target: Any) -> np.ndarray:
    """Return the target of an OpenML set as texts ``(N,)``."""
    values = [] if target is None or getattr(target, "ndim", 1) != 1 else target.tolist()
    texts = list(map(class_text, values))
    if not texts or None in texts:
        found = "none" if target is None else values[texts.index(None)] if texts else target.shape
        raise DataError(f"{title}: the target must be one class an example, got {found!r}")
    return np.array(texts)
