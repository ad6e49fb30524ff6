"""Classification sets through scikit-learn, bundled or of openml.org."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import datasets
from sklearn.datasets import load_iris
from sklearn.utils import Bunch

from tasks.datasets.scikit import BUNDLED, Scikit
from tasks.errors import ConfigError, DataError


@pytest.mark.parametrize("name", BUNDLED)
def test_every_bundled_set_loads(name):
    dataset = Scikit(data_name=name).load()

    assert dataset.train.images.dtype == np.float32
    assert set(dataset.train.labels.tolist()) == set(range(len(dataset.classes)))


def test_iris_is_iris():
    dataset = Scikit(drop=("sepal length (cm)",)).load()

    assert dataset.classes == ("setosa", "versicolor", "virginica")
    assert [len(part) for part in (dataset.train, dataset.validation, dataset.test)] == [96, 24, 30]
    parts = [dataset.train, dataset.validation, dataset.test]
    together = np.concatenate([np.column_stack([part.images, part.labels]) for part in parts])
    known = load_iris()
    expected = np.column_stack([known.data[:, 1:], known.target]).astype(np.float32)
    assert sorted(together.tolist()) == sorted(expected.tolist())


def test_a_set_of_openml_with_numbers_of_any_kind(openml, tmp_path):
    openml("Small", [[n / 4, -n] for n in range(20)], [["wet", "dry"][n % 2] for n in range(20)])

    dataset = Scikit(data_name="Small", version=1, root=str(tmp_path), test=4, validation=0).load()

    assert dataset.classes == ("dry", "wet")
    together = np.concatenate([dataset.train.images, dataset.test.images])
    assert sorted(together.tolist()) == [[n / 4, -n] for n in range(20)]


def test_classes_of_openml_that_are_whole_numbers_are_texts(openml, tmp_path):
    openml("Small", [[n / 4, -n] for n in range(20)], [str(n % 2) for n in range(20)], kind="NUMERIC")

    row = {"data_name": "Small", "version": 1, "root": str(tmp_path)}
    assert Scikit(**row).load().classes == ("0", "1")
    openml("Half", [[n / 4, -n] for n in range(20)], ["0.5", *["1"] * 19], kind="NUMERIC")
    with pytest.raises(DataError, match=r"the target must be one class an example, got 0\.5"):
        Scikit(**row | {"data_name": "Half", "root": str(tmp_path / "other")}).load()


def test_missing_values_of_openml_are_refused_by_name(openml, tmp_path):
    openml("Small", [[n / 4, "?" if n == 3 else n] for n in range(20)], [["wet", "dry"][n % 2] for n in range(20)])

    row = {"data_name": "Small", "version": 1, "root": str(tmp_path)}
    with pytest.raises(DataError, match=r"missing in 1 of 20 rows, in the columns 'p1' \(1\)"):
        Scikit(**row).load()
    assert len(Scikit(**row, missing="median").load().test) == 4


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        (
            {"data_name": "irish"},
            ConfigError,
            r"data_name must be one of breast_cancer, .*dataset\.version, got 'irish'",
        ),
        ({"version": 0}, ConfigError, r"dataset\.version must be >= 1, or null, got 0"),
        ({"drop": ("length",)}, ConfigError, r"dataset\.drop must be of the columns sepal length.*, got 'length'"),
    ],
)
def test_what_does_not_fit_is_refused(changes, error, message):
    with pytest.raises(error, match=message):
        Scikit(**changes).load()


def test_a_set_that_is_not_there_is_named(openml, tmp_path):
    with pytest.raises(DataError, match=r"openml\.org nothing version 1 cannot be fetched"):
        Scikit(data_name="nothing", version=1, root=str(tmp_path)).load()


def test_classes_are_not_named_by_the_column_that_holds_them(monkeypatch):
    numbers = np.arange(30) % 3 + 1
    bunch = Bunch(data=np.arange(60.0).reshape(30, 2), target=numbers, target_names=["Cover_Type"])
    monkeypatch.setattr(datasets, "fetch_covtype", lambda **_: bunch)

    assert Scikit(data_name="covtype").load().classes == ("1", "2", "3")
