"""A dataset from one table, a CSV or Parquet file: a column of labels, and columns of numbers."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tasks.datasets.columns import check_options, class_text, first_text, listed, tabular
from tasks.datasets.dataset import Dataset
from tasks.datasets.source import ProgressCallback, expanded
from tasks.errors import ConfigError, DataError

TSV = (".tsv", ".tsv.gz")
CSV, PARQUET = (".csv", ".csv.gz", *TSV), (".parquet", ".pq")

LINE = 64 << 20  # bytes; a line of ten thousand columns is longer than the 1 MiB that pyarrow expects

MISSING_TEXTS = ("", "?", "NA", "N/A", "NaN", "nan", "null", "NULL", "None")
"""The texts that mean a missing number in a CSV file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """The rows of the file ``root``: ``label`` is the column of the classes, all others but ``drop`` are features.

    ``features``, if given, names the columns of features. ``split``, if given, names a column that holds ``train``,
    ``val`` or ``test`` for each row; else ``test`` rows (a number, or a fraction below 1) are drawn by ``split_seed``.
    ``validation`` is a number or a fraction of the training rows (null: a fifth). ``missing`` says what happens to
    missing values: ``refuse`` them, ``drop`` their rows, or impute the ``mean`` or ``median`` of the training rows.
    Columns are scaled by default, since their units differ (``scaling``).
    """

    root: str | None = None
    label: str | None = None
    features: tuple[str, ...] | None = None
    drop: tuple[str, ...] = ()
    split: str | None = None
    test: float = 0.2
    split_seed: int = 0
    missing: str = "refuse"
    validation: float | None = None
    scaling: str = "standard"

    def __post_init__(self) -> None:
        check_options(self)

    def load(self, *, progress: ProgressCallback | None = None) -> Dataset:  # noqa: ARG002 - pyarrow reads without a pause
        """Read the file."""
        if self.root is None:
            raise ConfigError("dataset.root must be the .csv or .parquet file to read, got None")
        file = expanded(self.root)
        table = _read(file)
        used = self._used(file, table.column_names)
        return tabular(
            title=str(file),
            name=_stem(file),
            columns={name: _numbers(file, name, table.column(name)) for name in used},
            labels=_texts(file, str(self.label), table.column(self.label)),
            parts=None if self.split is None else np.array(table.column(self.split).to_pylist(), dtype=object),
            options=self,
        )

    def _used(self, file: Path, names: list[str]) -> list[str]:
        """Return the names of the columns of features."""
        if twice := [name for name, count in Counter(names).items() if count > 1]:
            raise DataError(f"{file}: every column must have a name of its own, got {twice[0]!r} twice")
        given = {"label": (self.label,), "features": self.features or (), "drop": self.drop}
        given["split"] = () if self.split is None else (self.split,)
        for parameter, wanted in given.items():
            for name in wanted:
                if name not in names:
                    raise ConfigError(
                        f"dataset.{parameter} must be of the columns {listed(names)}, got {name!r}: {file}"
                    )
        apart = {self.label, self.split, *self.drop}
        if clash := sorted({*(self.features or ())} & apart, key=str):
            raise ConfigError(f"dataset.features must be none of label, split and drop, got {clash[0]!r}")
        return [name for name in names if name not in apart] if self.features is None else list(self.features)


def _stem(file: Path) -> str:
    """Return the file's name without its ending."""
    ending = next(ending for ending in CSV + PARQUET if file.name.lower().endswith(ending))
    return file.name[: -len(ending)]


def _read(file: Path) -> Any:
    """Return the file as a table of pyarrow."""
    from pyarrow import csv, input_stream, lib, parquet  # noqa: PLC0415 - takes a fifth of a second, few rows need it

    name = file.name.lower()
    if not name.endswith(CSV + PARQUET):
        raise DataError(f"dataset.root must be a file named {', '.join(CSV + PARQUET)}, got {str(file)!r}")
    if not file.is_file():
        raise DataError(f"dataset.root must be a file, got {str(file)!r}, and there is no such file")
    try:
        if name.endswith(PARQUET):
            table = parquet.read_table(file)
        else:
            # Pyarrow itself would know the ending of a compressed file in small letters only.
            with input_stream(file, compression="gzip" if name.endswith(".gz") else None) as stream:
                table = csv.read_csv(
                    stream,
                    read_options=csv.ReadOptions(block_size=LINE),
                    parse_options=csv.ParseOptions(delimiter="\t" if name.endswith(TSV) else ","),
                    convert_options=csv.ConvertOptions(null_values=list(MISSING_TEXTS)),
                )
        table.validate(full=True)  # texts that are none are found here
        "".join(table.column_names).encode()
    except (lib.ArrowException, OSError, ValueError) as error:
        raise DataError(f"{file} cannot be read as a table: {error}") from error
    return table


def _numbers(file: Path, name: str, column: Any) -> np.ndarray:
    """Return a column as float64 ``(N,)``, NaN where a value is missing."""
    from pyarrow import float64, lib, types  # noqa: PLC0415 - see above

    kind = column.type
    numeric = types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind) or types.is_decimal(kind)
    if not numeric and not types.is_null(kind):
        row, text = first_text(None if value in MISSING_TEXTS else value for value in column.to_pylist())
        raise DataError(
            f"{file}: column {name!r} must hold numbers, got {text!r} in row {row}: leave it out with "
            f"'dataset.drop=[{name}]', or name the others in dataset.features"
        )
    try:
        return np.asarray(column.cast(float64(), safe=False).to_numpy(), dtype=np.float64)
    except lib.ArrowException as error:
        raise DataError(f"{file}: column {name!r} must hold numbers: {error}") from error


def _texts(file: Path, name: str, column: Any) -> np.ndarray:
    """Return a column of classes as texts ``(N,)``."""
    values = column.to_pylist()
    texts = list(map(class_text, values))
    if None in texts:
        row = texts.index(None)
        raise DataError(
            f"{file}: dataset.label {name!r} must hold one class a row, got {values[row]!r} in row {row + 1}"
        )
    return np.array(texts)
