"""The unpickler admits what CIFAR-10 needs and nothing else."""

from __future__ import annotations

import io
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.datasets.cifar10_layouts import parse_python
from tasks.datasets.cifar10_pickle import ADMITTED, PixelArray, loads
from tasks.errors import DataError

FILE = Path("data_batch_1")
IMAGES = np.random.default_rng(0).integers(0, 256, (3, 3072), dtype=np.uint8)
MODERN = pickle.dumps({b"labels": [6, 9, 0], b"data": IMAGES, b"filenames": [b"a.png"]}, protocol=2)
# Python 2's spelling, opcode by opcode as in the published files.
PUBLISHED = (
    b"\x80\x02}q\x01(U\x0bbatch_labelq\x02U\x15training batch 1 of 5q\x03U\x06labelsq\x04]q\x05(K\x06K\x09K\x00e"
    b"U\x04dataq\x06cnumpy.core.multiarray\n_reconstruct\nq\x07cnumpy\nndarray\nq\x08K\x00\x85U\x01b\x87Rq\x09"
    b"(K\x01K\x03M\x00\x0c\x86cnumpy\ndtype\nq\x0aU\x02u1K\x00K\x01\x87Rq\x0b(K\x03U\x01|NNNJ\xff\xff\xff\xff"
    b"J\xff\xff\xff\xffK\x00tb\x89T\x00\x24\x00\x00" + IMAGES.tobytes() + b"tb"
    b"U\x09filenamesq\x0c]q\x0d(U\x05a.pngU\x05b.pngU\x05c.pngeu."
)


@pytest.mark.parametrize("content", [MODERN, PUBLISHED], ids=["modern", "published"])
def test_both_spellings_of_the_python_version_are_read(content):
    split = parse_python(content, FILE, records=3)

    np.testing.assert_array_equal(split.images, IMAGES)
    assert split.labels.tolist() == [6, 9, 0]


def test_an_array_in_fortran_order_is_read():
    content = pickle.dumps({b"labels": [6, 9, 0], b"data": np.asfortranarray(IMAGES)}, protocol=2)

    np.testing.assert_array_equal(parse_python(content, FILE, records=3).images, IMAGES)


class Evil:
    """Runs a command when it is unpickled by a reader that lets it."""

    def __reduce__(self):
        return (os.mkdir, ("evil",))


def gadget(module, name):
    """Return a pickle that calls a function by its name."""
    return b"\x80\x02c" + module + b"\n" + name + b"\n)R."


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (pickle.dumps({b"data": Evil()}, protocol=2), r"it names posix\.mkdir"),
        (gadget(b"os", b"system"), r"it names os\.system, for which CIFAR-10 has no use"),
        (gadget(b"builtins", b"eval"), r"it names builtins\.eval"),
        (gadget(b"numpy", b"load"), r"it names numpy\.load"),
        (gadget(b"numpy", b"dtype.__class__"), r"it names numpy\.dtype\.__class__"),
        (pickle.dumps({}, protocol=4), r"opcode MEMOIZE"),
        (b"\x80\x02Pid\n.", r"opcode PERSID"),
        (b"\x80\x02\x82\x01.", r"opcode EXT1"),
        (pickle.dumps(1.5, protocol=2), r"opcode BINFLOAT"),
        (b"\x80\x02}r\xff\xff\xff\x7f.", r"LONG_BINPUT number 2 is out of proportion"),
        (b"\x80\x02}(" + b")" + b"\x85" * 200_000 + b"Nu.", r"TUPLE1 number .* is out of proportion"),
        (pickle.dumps([1, 2], protocol=2), r"a dict, got list"),
        (pickle.dumps({b"data": np.zeros(3)}, protocol=2), r"an array must be uint8"),
        (pickle.dumps({b"data": np.array([{}])}, protocol=2), r"an array must be uint8"),
        (b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00aX\x05\x00\x00\x00utf-8\x86R.", r"spelt in latin1"),
        (b"", r"pickle exhausted before seeing STOP"),
        (MODERN[:-5], r"pickle exhausted before seeing STOP"),
    ],
)
def test_anything_else_is_refused_with_the_file_named(content, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    with pytest.raises(DataError, match=rf"data_batch_1 must be .*{message}"):
        loads(content, FILE)

    assert list(tmp_path.iterdir()) == []


def test_a_pickle_cannot_change_what_is_admitted():
    for module, name in ADMITTED:
        content = b"\x80\x02c" + f"{module}\n{name}\n".encode() + b"}X\x08\x00\x00\x00__call__Nsb."
        with pytest.raises(DataError):
            loads(content, FILE)


def test_an_array_without_its_state_is_refused():
    rebuilt = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
    content = b"\x80\x02}(U\x04data" + rebuilt + b"U\x06labels](K\x01K\x01K\x01eu."

    with pytest.raises(DataError, match=r"data must be a uint8 array \(3, 3072\), got 0 bytes"):
        parse_python(content, FILE, records=3)


def test_an_array_with_less_content_than_its_shape_is_refused():
    short = PUBLISHED.replace(b"T\x00\x24\x00\x00" + IMAGES.tobytes(), b"T\xff\x23\x00\x00" + IMAGES.tobytes()[:-1])

    with pytest.raises(DataError, match=r"data must be a uint8 array \(3, 3072\), got 9215 bytes"):
        parse_python(short, FILE, records=3)


@pytest.mark.parametrize(("dtype", "content"), [("u1", []), ("u1", "text"), (None, b"bytes")])
def test_the_state_of_an_array_must_be_bytes_of_uint8(dtype, content):
    kind = ADMITTED["numpy", "dtype"](dtype) if dtype else dtype

    with pytest.raises(pickle.UnpicklingError, match="an array must be uint8"):
        PixelArray().__setstate__((1, (3, 3072), kind, False, content))


def test_an_array_is_never_numpys_own():
    assert type(loads(MODERN, FILE)[b"data"]) is PixelArray


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        ({b"data": IMAGES}, r"labels must be a list of 3 whole numbers, got NoneType"),
        ({b"data": IMAGES, b"labels": [1, 2]}, r"labels must be a list of 3 whole numbers, got list"),
        ({b"data": IMAGES, b"labels": [1, 2, True]}, r"labels must be a list of 3 whole numbers"),
        ({b"data": IMAGES, b"labels": [1, 2, 10]}, r"a label must be 0 to 9, got 10"),
        ({b"data": IMAGES, b"labels": [1, -2, 0]}, r"a label must be 0 to 9, got -2"),
        ({b"labels": [1, 2, 3]}, r"data must be a uint8 array \(3, 3072\), got NoneType"),
        ({b"data": IMAGES[:2], b"labels": [1, 2, 3]}, r"data must be a uint8 array \(3, 3072\), got 6144 bytes"),
        ({b"data": IMAGES.T.copy(), b"labels": [1, 2, 3]}, r"data must be a uint8 array \(3, 3072\), got 9216 bytes"),
    ],
)
def test_a_batch_that_is_not_what_it_must_be_is_refused(batch, message):
    with pytest.raises(DataError, match=rf"data_batch_1: {message}"):
        parse_python(pickle.dumps(batch, protocol=2), FILE, records=3)


@settings(max_examples=400, deadline=None)
@given(
    content=st.sampled_from([MODERN, PUBLISHED]),
    changes=st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255), st.booleans()), max_size=4),
    end=st.integers(0, 60),
)
def test_a_damaged_pickle_is_refused_or_read_right(content, changes, end):
    damaged = bytearray(content)
    for position, value, at_the_end in changes:
        damaged[-position - 1 if at_the_end else position] = value

    try:
        split = parse_python(bytes(damaged[: len(damaged) - end]), FILE, records=3)
    except DataError as error:
        assert "data_batch_1" in str(error)  # noqa: PT017 - either outcome is right
    else:
        assert split.images.shape == (3, 3072)
        assert split.images.dtype == np.uint8
        assert set(split.labels.tolist()) <= set(range(10))


@settings(max_examples=300, deadline=None)
@given(content=st.binary(max_size=200))
def test_any_bytes_at_all_are_refused(content):
    with pytest.raises(DataError):
        parse_python(b"\x80\x02" + content, FILE, records=3)


def test_what_is_refused_would_have_run_elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    pickle.load(io.BytesIO(pickle.dumps(Evil(), protocol=2)))

    assert (tmp_path / "evil").exists()
