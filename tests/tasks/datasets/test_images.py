"""A dataset from folders of pictures."""

from __future__ import annotations

import os
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from tasks.datasets.images import Images
from tasks.errors import ConfigError, DataError


@pytest.fixture
def root(tmp_path):
    """Return a folder of grey 3 x 2 pictures, two classes, two files each in train and one in test."""
    folder = tmp_path / "pictures"
    for part, count in (("train", 2), ("test", 1)):
        for label, name in enumerate(("cat", "dog")):
            (folder / part / name).mkdir(parents=True)
            for number in range(count):
                pixels = np.full((2, 3), 100 * label + number, dtype=np.uint8)
                Image.fromarray(pixels).save(folder / part / name / f"{number}.png")
    return folder


def replace(root, image, name="train/dog/1.png"):
    """Put another picture in the place of the last training file."""
    image.save(root / name)


def test_files_are_read_in_order_with_their_folders_as_classes(root):
    dataset = Images(root=str(root)).load()

    assert dataset.name == "pictures"
    assert dataset.classes == ("cat", "dog")
    assert dataset.image_shape == (2, 3)
    assert dataset.train.images[:, 0].tolist() == [0, 1, 100, 101]
    assert dataset.train.labels.tolist() == [0, 0, 1, 1]
    assert dataset.test.labels.tolist() == [0, 1]


def test_colour_stands_before_height_and_width(tmp_path):
    pixels = np.arange(18, dtype=np.uint8).reshape(2, 3, 3)
    for name in ("train/a", "train/b", "test/a", "test/b"):
        (tmp_path / name).mkdir(parents=True)
        Image.fromarray(pixels).save(tmp_path / name / "x.PNG")

    dataset = Images(root=str(tmp_path)).load()

    assert dataset.image_shape == (3, 2, 3)
    assert dataset.train.images[0].tolist() == [*range(0, 18, 3), *range(1, 18, 3), *range(2, 18, 3)]


def test_jpegs_are_read_and_other_files_left_aside(root):
    replace(root, Image.new("L", (3, 2), 77), "train/cat/a.jpg")
    (root / "train" / "cat" / "notes.txt").write_text("not an image")
    (root / "train" / "cat" / "._0.png").write_text("what macOS leaves behind")
    (root / "train" / ".cache").mkdir()

    dataset = Images(root=str(root)).load()

    assert dataset.train.images[:, 0].tolist() == [0, 1, 77, 100, 101]


def test_the_progress_counts_files(root):
    seen = []

    Images(root=str(root)).load(progress=lambda done, total: seen.append((done, total)))

    assert seen == [(1, 6), (2, 6), (3, 6), (4, 6), (5, 6), (6, 6)]


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (Image.new("L", (4, 2)), r"1\.png: an image must have the size .* first one, 3 x 2 grey, got 4 x 2 grey"),
        (Image.new("RGB", (3, 2)), r"1\.png: .* first one, 3 x 2 grey, got 3 x 2 RGB"),
        (Image.new("RGBA", (3, 2)), r"1\.png: an image must be grey or RGB with 8 bits a colour, got the mode RGBA"),
        (Image.new("I;16", (3, 2)), r"1\.png: an image must be grey or RGB with 8 bits a colour, got the mode I"),
        (Image.new("1", (4096, 2048)), r"1\.png: an image must have at most 4194304 pixels, got 4096 x 2048"),
    ],
)
def test_an_odd_image_is_named(root, image, message):
    replace(root, image)

    with pytest.raises(DataError, match=message):
        Images(root=str(root)).load()


def bomb():
    """Return a PNG of a few bytes that claims to have ten thousand million pixels."""

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    "damage",
    [lambda content: content[:-30], lambda content: b"", lambda content: b"GIF89a" + content, lambda content: bomb()],
    ids=["truncated", "empty", "of another kind", "a decompression bomb"],
)
def test_a_damaged_file_is_named(root, damage):
    file = root / "train" / "dog" / "1.png"
    file.write_bytes(damage(file.read_bytes()))

    with pytest.raises(DataError, match=r"dog/1\.png must be a whole PNG or JPEG image"):
        Images(root=str(root)).load()


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: path.symlink_to("nowhere")])
def test_what_is_no_file_is_named_and_not_waited_for(root, make):
    make(root / "test" / "dog" / "1.png")

    with pytest.raises(DataError, match=r"dog/1\.png must be a file, and is none"):
        Images(root=str(root)).load()


def test_a_palette_with_transparency_is_read_without_a_warning_an_image(root, recwarn):
    for file in root.glob("*/*/*.png"):
        with Image.open(file) as image:
            image.convert("P").save(file, transparency=bytes([0, 128]))

    assert Images(root=str(root)).load().image_shape == (3, 2, 3)
    assert not recwarn.list


def test_a_class_whose_folder_has_a_name_of_another_encoding_is_a_text(root):
    for part in ("train", "test"):
        (root / part / "cat").rename(root / part / os.fsdecode(b"caf\xe9"))

    assert Images(root=str(root)).load().classes == ("caf\\udce9", "dog")


def test_train_and_test_must_have_the_same_classes(root):
    (root / "test" / "fish").mkdir()

    with pytest.raises(DataError, match=r"must have the same class folders, got 'fish' in one only"):
        Images(root=str(root)).load()


def test_a_class_without_images_is_named(root):
    (root / "test" / "dog" / "0.png").unlink()

    with pytest.raises(DataError, match=r"test/dog must hold images \(\.png, \.jpg, \.jpeg\), got none"):
        Images(root=str(root)).load()


def test_a_root_without_the_folders_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"dataset\.root must hold the folders train and test, .* no folder .*/train"):
        Images(root=str(tmp_path)).load()
    (tmp_path / "train").mkdir()
    with pytest.raises(DataError, match=r"train must hold one folder of images a class, got none"):
        Images(root=str(tmp_path)).load()
    with pytest.raises(ConfigError, match=r"dataset\.root must be the folder that holds train and test, got None"):
        Images().load()
