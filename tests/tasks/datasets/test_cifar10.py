"""CIFAR-10 in each of the forms it can have, whole and damaged."""

from __future__ import annotations

import hashlib
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.datasets.cifar10 import Cifar10, locate, obtain
from tasks.datasets.cifar10_layouts import CLASSES, RECORD, parse_binary, read_python
from tasks.datasets.dataset import held_out
from tasks.errors import DataError
from tests.tasks.datasets.processes import at_once


@pytest.fixture
def linked(binary_folder, tmp_path):
    """Return a folder whose cifar-10-batches-bin can be damaged: links to the files, none of them copied."""
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    for file in binary_folder.iterdir():
        (folder / file.name).symlink_to(file)
    return folder


def damage(file, change):
    """Put a changed copy of a file in its place."""
    content = file.read_bytes()
    file.unlink()
    file.write_bytes(change(content))


def test_a_folder_is_found_as_itself_and_in_its_parent(binary_folder, python_folder, tmp_path):
    (tmp_path / "renamed").symlink_to(binary_folder)

    for folder in (binary_folder, python_folder):
        assert locate(folder) == locate(folder.parent) == folder
    assert locate(tmp_path / "renamed") == tmp_path / "renamed"
    assert locate(tmp_path) is None


def test_every_form_gives_the_same_dataset(binary_folder, python_folder, archive, tmp_path, made_up_records):
    shutil.copy(archive, tmp_path)

    datasets = [Cifar10(root=str(root)).load() for root in (binary_folder, python_folder, tmp_path)]

    assert len({dataset.digest for dataset in datasets}) == 1
    dataset = datasets[0]
    assert (len(dataset.train), len(dataset.validation), len(dataset.test)) == (49_000, 1000, 10_000)
    np.testing.assert_array_equal(dataset.test.images, made_up_records[:, 1:])
    np.testing.assert_array_equal(dataset.test.labels, made_up_records[:, 0])
    held, labels = held_out(50_000, 1000), np.tile(made_up_records[:, 0], 5)
    for split, taken in ((dataset.train, ~held), (dataset.validation, held)):
        # In the order of the files, without those of the other split; a made-up image follows from its label.
        np.testing.assert_array_equal(split.labels, labels[taken])
        np.testing.assert_array_equal(split.images, made_up_records[split.labels, 1:])
    assert dataset.classes == CLASSES
    assert dataset.image_shape == (3, 32, 32)


def test_a_root_that_holds_nothing_says_what_was_looked_for_and_how_to_get_it(tmp_path, monkeypatch):
    message = (
        r"dataset\.root must hold cifar-10-batches-bin, cifar-10-batches-py or cifar-10-binary\.tar\.gz, .*, "
        r"got '{}' \(dataset\.download=true fetches"
    )
    with pytest.raises(DataError, match=message.format(tmp_path / "nowhere")):
        Cifar10(root=str(tmp_path / "nowhere")).load()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=message.format(tmp_path / "data")):
        Cifar10().load()
    assert list(tmp_path.iterdir()) == []


def test_an_empty_folder_is_told_what_it_lacks(tmp_path):
    (tmp_path / "cifar-10-batches-bin").mkdir()

    with pytest.raises(DataError, match=r"batches-bin/data_batch_1\.bin must be a file of CIFAR-10, and is missing"):
        Cifar10(root=str(tmp_path)).load()


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("data_batch_3.bin", lambda content: content[:-1], r"10000 records of 3073 bytes, .*, got 30729999"),
        ("data_batch_3.bin", lambda content: content[:-RECORD], r"10000 records of 3073 bytes, .*, got 30726927"),
        ("data_batch_3.bin", lambda content: content + b"x", r"at most 30730000 bytes, got 30730001"),
        ("test_batch.bin", lambda content: b"\x0a" + content[1:], r"a label must be 0 to 9, got 10"),
        ("batches.meta.txt", lambda content: content[8:], r"classes must be airplane, .*, got automobile"),
        ("batches.meta.txt", lambda content: bytes(2000), r"at most 1024 bytes, got 2000"),
    ],
)
def test_a_damaged_file_is_named(linked, name, change, message):
    damage(linked / name, change)

    with pytest.raises(DataError, match=rf"{name}.*{message}"):
        Cifar10(root=str(linked.parent)).load()


def test_a_missing_file_is_named_and_not_downloaded_over(linked):
    (linked / "data_batch_5.bin").unlink()

    with pytest.raises(DataError, match=r"data_batch_5\.bin must be a file of CIFAR-10, and is missing"):
        Cifar10(root=str(linked), download=True).load()


def test_the_classes_of_the_python_version_are_checked(python_folder, tmp_path):
    for file in python_folder.iterdir():
        (tmp_path / file.name).symlink_to(file)
    damage(tmp_path / "batches.meta", lambda content: content.replace(b"airplane", b"aeroplan"))

    with pytest.raises(DataError, match=r"batches\.meta: the classes must be airplane, .*, got aeroplan, automobile"):
        Cifar10(root=str(tmp_path)).load()


@pytest.mark.parametrize("meta", [{}, {b"label_names": b"airplane"}, {b"label_names": [1, 2]}])
def test_a_file_of_classes_that_names_none_is_refused_by_name(meta, tmp_path):
    (tmp_path / "batches.meta").write_bytes(pickle.dumps(meta, protocol=2))

    with pytest.raises(DataError, match=r"batches\.meta: the classes must be airplane, "):
        read_python(tmp_path, 0)


@pytest.fixture
def published(server, archive):
    """Return the address and the checksum of the archive on a server on loopback."""
    content = archive.read_bytes()
    server.files = {"/cifar-10-binary.tar.gz": content}
    return {"url": f"{server.url}/cifar-10-binary.tar.gz", "md5": hashlib.md5(content).hexdigest()}


def test_a_download_is_unpacked_and_found_the_next_time(published, server, tmp_path, binary_folder):
    root, seen = tmp_path / "new" / "folder", []

    folder = obtain(root, download=True, progress=lambda done, total: seen.append((done, total)), **published)

    assert len(server.requests) == 1
    assert seen[-1][0] == seen[-1][1] > 0
    assert locate(root) == folder
    assert [(folder / file.name).read_bytes() == file.read_bytes() for file in binary_folder.iterdir()] == [True] * 7
    assert {path.name for path in root.iterdir() if not path.name.endswith(".lock")} == {
        "cifar-10-binary.tar.gz",
        folder.name,
    }


def test_a_root_that_cannot_be_written_is_named(published, tmp_path):
    (tmp_path / "file").write_text("no folder")

    with pytest.raises(DataError, match=r"dataset\.root must be a folder that can be written, got '.*/file'"):
        obtain(tmp_path / "file", download=True, **published)


@pytest.mark.slow
def test_eight_processes_at_once_make_one_download_and_one_folder(published, server, tmp_path):
    call = "obtain(pathlib.Path(sys.argv[1]), download=True, url=sys.argv[2], md5=sys.argv[3])"

    ends = at_once(8, "from tasks.datasets.cifar10 import obtain", call, tmp_path / "data", *published.values())

    assert ends == [0] * 8
    assert len(server.requests) == 1
    assert len(list((tmp_path / "data" / "cifar-10-batches-bin").iterdir())) == 7


SMALL = np.random.default_rng(0).integers(0, 10, (2, RECORD), dtype=np.uint8).tobytes()


@settings(max_examples=200, deadline=None)
@given(
    changes=st.lists(st.tuples(st.sampled_from([0, 1, RECORD - 1, RECORD, RECORD + 1]), st.integers(0, 255))),
    end=st.one_of(st.just(2 * RECORD), st.integers(0, 2 * RECORD)),
)
def test_damaged_records_are_refused_or_read_right(changes, end):
    content = bytearray(SMALL)
    for position, value in changes:
        content[position] = value
    right = end == 2 * RECORD and content[0] < 10 and content[RECORD] < 10

    try:
        split = parse_binary(bytes(content[:end]), Path("batch"), records=2)
    except DataError:
        assert not right
    else:
        assert right
        assert split.labels.tolist() == [content[0], content[RECORD]]
        assert split.images.tobytes() == bytes(content[1:RECORD] + content[RECORD + 1 :])


@pytest.mark.slow
@pytest.mark.cifar10
def test_the_real_images_are_sixty_thousand_in_ten_equal_classes(cifar10_root):
    dataset = Cifar10(root=str(cifar10_root), validation=0).load()

    assert np.bincount(dataset.train.labels).tolist() == [5000] * 10
    assert np.bincount(dataset.test.labels).tolist() == [1000] * 10
    red, green, blue = dataset.mean.reshape(3, -1).mean(axis=1)
    np.testing.assert_allclose([red, green, blue], [125.3, 123.0, 113.9], atol=1)  # the published channel means
