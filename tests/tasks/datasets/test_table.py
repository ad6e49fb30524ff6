"""A dataset from one table."""

from __future__ import annotations

import dataclasses
import gzip
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from tasks.datasets.columns import numbered
from tasks.datasets.table import Table
from tasks.errors import ConfigError, DataError

LINES = ["id,age,fee,sick", *(f"p{n},{20 + n},{n / 4},{'yes' if n % 3 else 'no'}" for n in range(20))]


@pytest.fixture
def table(tmp_path):
    """Return a maker of rows that read these lines as CSV."""

    def make(lines=LINES, name="set.csv", **changes):
        (tmp_path / name).write_text("\n".join(lines))
        return Table(**{"root": str(tmp_path / name), "label": "sick", "drop": ("id",), "validation": 0} | changes)

    return make


def test_columns_of_numbers_are_features_and_the_label_names_the_classes(table):
    dataset = table(test=5).load()

    together = np.concatenate([dataset.train.images, dataset.test.images])
    assert dataset.classes == ("no", "yes")
    assert (dataset.name, dataset.image_shape, together.dtype) == ("set", (2,), np.float32)
    assert sorted(together.tolist()) == [[20 + n, n / 4] for n in range(20)]
    assert (len(dataset.train), len(dataset.test)) == (15, 5)
    ages = dataset.train.images[:, 0]
    np.testing.assert_array_equal(dataset.train.labels, (ages - 20) % 3 > 0)


def test_parquet_holds_the_same(table, tmp_path):
    row = table()
    names = LINES[0].split(",")
    columns = list(zip(*(line.split(",") for line in LINES[1:]), strict=True))
    kinds = {"age": int, "fee": float}
    values = {name: [kinds.get(name, str)(v) for v in column] for name, column in zip(names, columns, strict=True)}
    parquet.write_table(pa.table(values), tmp_path / "set.parquet")

    assert table(root=str(tmp_path / "set.parquet")).load().digest == row.load().digest


def test_numbers_of_every_type_are_features_and_whole_ones_classes(table, tmp_path):
    # given integers of more digits than float64 has, decimals, truth values, and classes as floating-point numbers
    columns = {
        "count": [2**60 + 1 + 2**50 * n for n in range(20)],
        "price": [Decimal(n) / 4 for n in range(20)],
        "paid": [n % 3 == 0 for n in range(20)],
        "sick": [float(n % 2) for n in range(20)],
    }
    parquet.write_table(pa.table(columns), tmp_path / "set.parquet")

    dataset = table(root=str(tmp_path / "set.parquet"), drop=()).load()

    together = np.concatenate([dataset.train.images, dataset.test.images])
    assert sorted(together.tolist()) == [[float(2**60 + 2**50 * n), n / 4, n % 3 == 0] for n in range(20)]
    assert dataset.classes == ("0", "1")
    # and a column of no type holds no number
    parquet.write_table(pa.table(columns | {"paid": pa.nulls(20)}), tmp_path / "set.parquet")
    with pytest.raises(DataError, match=r"missing in 20 of 20 rows, in the columns 'paid' \(20\)"):
        table(root=str(tmp_path / "set.parquet"), drop=()).load()


@pytest.mark.parametrize("numbers", [[2**24 + n for n in range(20)], [1.7e9 + 0.5 * n for n in range(20)]])
def test_numbers_that_float32_does_not_tell_apart_are_refused(table, numbers):
    lines = ["when,sick", *(f"{number!r},{n % 2}" for n, number in enumerate(numbers))]
    rule = r"column 'when' must hold numbers that float32 tells apart, got 1\d+ to 1\d+.*: .*dataset\.drop=\[when\]"

    with pytest.raises(DataError, match=rule):
        table(lines, drop=()).load()
    # then it is no matter of size alone, and a missing number does not hide it
    far = [f"{number + 1e6 * n!r},{n % 2}" for n, number in enumerate(numbers)]
    assert len(table([lines[0], *far], drop=()).load().train) == 16
    with pytest.raises(DataError, match=rule):
        table([*lines, ",0"], drop=(), missing="mean").load()


def test_a_column_that_is_constant_but_for_rounding_is_no_loss(table):
    lines = ["x,sick", *(f"{0.1 + 1e-17 * n + (n % 3) * 2**-55!r},{n % 2}" for n in range(20))]

    assert len(table(lines, drop=()).load().train) == 16


def test_tabs_and_numbers_as_classes(table):
    lines = ["x\ty", *(f"{n / 8}\t{[10, 9, -1][n % 3]}" for n in range(12))]

    assert table(lines, "set.tsv", label="y", drop=()).load().classes == ("-1", "9", "10")


def test_classes_are_numbers_of_any_number_of_digits(table, tmp_path):
    codes = ["100000000000000000001", "9", "-100000000000000000001"]
    columns = {"x": np.arange(12) / 8, "y": [codes[n % 3] for n in range(12)]}
    parquet.write_table(pa.table(columns), tmp_path / "codes.parquet")

    dataset = table(root=str(tmp_path / "codes.parquet"), label="y", drop=()).load()
    assert dataset.classes == ("-100000000000000000001", "9", "100000000000000000001")
    classes, labels = numbered(np.array(codes))
    assert (classes, labels.tolist()) == (dataset.classes, [2, 1, 0])


def test_a_seed_draws_the_test_and_validation_examples(table):
    first, again, other = (table(split_seed=seed, test=0.25).load() for seed in (1, 1, 2))

    assert first.digest == again.digest != other.digest
    assert len(first.test) == 5
    assert len(table(test=0.25, validation=None).load().validation) == 3
    assert len(table(test=0.25, validation=0.4).load().validation) == 6
    assert len(table(test=0.25, validation=4).load().validation) == 4


def test_every_example_keeps_the_name_of_its_class_where_numbers_are_sorted():
    texts = ["10", "3", "2", "10", "-1", "2"]

    classes, labels = numbered(np.array(texts))

    assert classes == ("-1", "2", "3", "10")
    assert [classes[label] for label in labels] == texts


def test_classes_of_which_only_some_are_numbers_are_texts():
    assert numbered(np.array(["x", "10", "9"]))[0] == ("10", "9", "x")


def test_an_amount_of_1_is_a_row_and_an_infinite_one_is_refused(table):
    dataset = table(test=1, validation=1).load()

    assert (len(dataset.test), len(dataset.validation), len(dataset.train)) == (1, 1, 18)
    with pytest.raises(ConfigError, match=r"dataset\.test must be a number of rows, or a fraction of them below 1"):
        table(test=float("inf"))


def test_rows_stay_in_their_order(table):
    dataset = table(test=5).load()

    for split in (dataset.train, dataset.test):
        np.testing.assert_array_equal(split.images[:, 0], np.sort(split.images[:, 0]))


def test_a_column_says_which_split_a_row_is_of(table):
    parts = ["train", "Test ", "val", "training"]
    lines = [LINES[0] + ",part", *(f"{line},{parts[n % 4]}" for n, line in enumerate(LINES[1:]))]

    dataset = table(lines, split="part", validation=None).load()

    assert sorted(dataset.test.images[:, 0].tolist()) == [21 + 4 * n for n in range(5)]
    assert sorted(dataset.validation.images[:, 0].tolist()) == [22 + 4 * n for n in range(5)]
    assert len(dataset.train) == 10
    with pytest.raises(ConfigError, match=r"dataset\.validation must be null for data that have their own, got 2"):
        table(lines, split="part", validation=2).load()
    with pytest.raises(DataError, match=r"must hold one of train, .*, got 'other' in row 3"):
        table([line.replace(",val", ",other") for line in lines], split="part").load()
    with pytest.raises(DataError, match=r"must have rows for test, got none"):
        table([line.replace(",Test ", ",train") for line in lines], split="part").load()


GAPS = [
    "x,y,kind,part",
    "1,,a,train",
    "3,5,b,train",
    "8,7,a,train",
    "NA,9,b,test",
    "100,?,a,test",
    "?,6,b,val",
    "7,7,a,val",
]


@pytest.mark.parametrize(
    ("missing", "train", "test", "validation"),
    [
        ("drop", [[3, 5], [8, 7]], None, [[7, 7]]),
        ("mean", [[1, 6], [3, 5], [8, 7]], [[4, 9], [100, 6]], [[4, 6], [7, 7]]),
        ("median", [[1, 6], [3, 5], [8, 7]], [[3, 9], [100, 6]], [[3, 6], [7, 7]]),
    ],
)
def test_missing_values_are_left_out_or_made_up_from_the_training_rows(table, missing, train, test, validation):
    lines = GAPS if test else [*GAPS, "2,2,a,test"]

    dataset = table(lines, label="kind", split="part", drop=(), missing=missing, validation=None).load()

    assert dataset.train.images.tolist() == train
    assert dataset.test.images.tolist() == (test or [[2, 2]])
    assert dataset.validation.images.tolist() == validation


def test_a_row_is_named_by_its_place_in_the_file_though_others_are_left_out(table):
    lines = [*GAPS[:-1], "7,7,a,other"]
    with pytest.raises(DataError, match=r"must hold one of train, .*, got 'other' in row 7"):
        table(lines, label="kind", split="part", drop=(), missing="drop").load()


def test_missing_values_are_refused_by_name(table):
    with pytest.raises(DataError, match=r"missing in 4 of 7 rows, in the columns 'x' \(2\), 'y' \(2\): .*missing=drop"):
        table(GAPS, label="kind", split="part", drop=()).load()
    empty = ["x,y,kind,part", ",1,a,train", ",2,b,train", "3,4,a,test"]
    with pytest.raises(DataError, match=r"column 'x' must hold a number in some row of training, got none"):
        table(empty, label="kind", split="part", drop=(), missing="mean").load()


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        (
            {"drop": ()},
            DataError,
            r"column 'id' must hold numbers, got 'p0' in row 1: leave it out with 'dataset\.drop=\[id\]'",
        ),
        ({"label": None}, ConfigError, r"dataset\.label must be of the columns id, age, fee, sick, got None"),
        ({"label": "ill"}, ConfigError, r"dataset\.label must be of the columns .*, got 'ill'"),
        ({"drop": ("no",)}, ConfigError, r"dataset\.drop must be of the columns .*, got 'no'"),
        ({"features": ("no",)}, ConfigError, r"dataset\.features must be of the columns .*, got 'no'"),
        ({"split": "no"}, ConfigError, r"dataset\.split must be of the columns .*, got 'no'"),
        ({"features": ("age", "sick")}, ConfigError, r"dataset\.features must be none of label, .*, got 'sick'"),
        (
            {"label": "fee", "drop": ("id", "sick")},
            DataError,
            r"dataset\.label 'fee' must hold one class a row, got 0\.25 in row 2",
        ),
        ({"features": ()}, DataError, r"there must be a column of numbers and a row, got 0 and 20"),
        ({"test": 20}, DataError, r"dataset\.test must leave rows for training and test of 20, got 20"),
        ({"test": 0.01}, DataError, r"must leave rows for training and test of 20, got 0\.01, which is 0 of them"),
        ({"validation": 0.99}, ConfigError, r"validation must be .* below the 16 .*, got 0\.99, which is 16 of"),
        ({"validation": 16}, ConfigError, r"validation must be .* below the 16 training examples, got 16$"),
        ({"root": None}, ConfigError, r"dataset\.root must be the \.csv or \.parquet file to read, got None"),
        ({"root": "none.csv"}, DataError, r"got 'none\.csv', and there is no such file"),
        ({"root": "set.xlsx"}, DataError, r"dataset\.root must be a file named \.csv, .*, got 'set\.xlsx'"),
    ],
)
def test_what_does_not_fit_is_refused(table, changes, error, message):
    with pytest.raises(error, match=message):
        table(**changes).load()


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["a,a,sick", "1,2,x"], r"every column must have a name of its own, got 'a' twice"),
        (["id,a,sick", "1,2,x", "1,2"], r"set\.csv cannot be read as a table: .*2"),
        (["id,a,sick", "1,1e300,x", "1,2,y"], r"column 'a' must hold finite numbers of float32, got 1e\+300 in row 1"),
        (
            ["id,a,sick", "1,2,x", "1,NA,x", "1,two,y"],
            r"column 'a' must hold numbers, got 'two' in row 3: leave it out",
        ),
        (["id,sick", "1,x", "2,y"], r"there must be a column of numbers and a row, got 0 and 2"),
        (["id,a,sick", "1,2,x", "1,2,"], r"dataset\.label 'sick' must hold one class a row, got '' in row 2"),
    ],
)
def test_a_table_that_cannot_be_is_refused(table, lines, message):
    with pytest.raises(DataError, match=message):
        table(lines).load()


@pytest.mark.parametrize(
    ("name", "called"), [("SET.CSV", "SET"), ("set.tsv.csv", "set.tsv"), (".csv.csv", ".csv"), ("A.CSV.GZ", "A")]
)
def test_a_file_is_read_by_its_ending_and_named_without_it(table, tmp_path, name, called):
    row = table(name=name)
    if name.endswith(".GZ"):
        (tmp_path / name).write_bytes(gzip.compress((tmp_path / name).read_bytes()))

    dataset = row.load()

    assert (dataset.name, dataset.digest) == (called, table().load().digest)


def test_of_many_columns_a_message_lists_the_first(table):
    lines = [",".join(f"c{n}" for n in range(99)), ",".join("1" * 99)]

    with pytest.raises(
        ConfigError, match=r"dataset\.label must be of the columns c0, .*, c19, \.\.\. \(99 in all\), got "
    ):
        table(lines).load()


def test_a_line_may_be_longer_than_a_mebibyte(table):
    long = "x" * (1 << 20)

    assert table([line.replace("age", long) for line in LINES], drop=("id",)).load().digest == table().load().digest


def test_a_file_that_is_no_parquet_is_refused(table):
    with pytest.raises(DataError, match=r"set\.parquet cannot be read as a table: "):
        table(name="set.parquet").load()


def test_texts_that_are_none_are_refused(table, tmp_path):
    no_text = pa.array([b"\xff"] * 20, pa.binary()).view(pa.string())
    parquet.write_table(pa.table({"x": np.arange(20.0), "sick": no_text}), tmp_path / "set.parquet")
    row = table(drop=())
    (tmp_path / "set.csv").write_bytes((tmp_path / "set.csv").read_bytes().replace(b"age", b"\xff"))

    for file in ("set.parquet", "set.csv"):
        with pytest.raises(DataError, match=rf"{file} cannot be read as a table: "):
            dataclasses.replace(row, root=str(tmp_path / file)).load()


@pytest.mark.parametrize(
    ("field", "value"),
    [("test", 0), ("test", 1.5), ("test", -1), ("validation", 1.5), ("split_seed", -1), ("missing", "zero")],
)
def test_a_value_that_cannot_be_is_refused(field, value):
    with pytest.raises(ConfigError, match=rf"dataset\.{field} must be .*, got {value!r}"):
        Table(**{field: value})
