"""What is fuzzed: readers of files that come from outside, each with whole files and what it must make of them."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import pickle
import tarfile
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image
from pyarrow import parquet

from pipeline.plan.plan import Progress
from pipeline.record.log import Log
from pipeline.record.protocol import Drew
from pipeline.sweep.checkpoints import decode, encode
from tasks.datasets.archive import unpack
from tasks.datasets.cifar10_layouts import parse_binary, parse_python
from tasks.datasets.images import Images
from tasks.datasets.npz import Npz
from tasks.datasets.openml import OpenMl
from tasks.datasets.table import Table
from tasks.events import Checkpoint, Curve

FILE = "damaged"
"""What an error must name: the file that the bytes are in."""

_RANDOM = np.random.default_rng(0)
_IMAGES = _RANDOM.integers(0, 256, (6, 2, 2), dtype=np.uint8)
_RECORDS = _RANDOM.integers(0, 10, (2, 3073), dtype=np.uint8)


@dataclass(frozen=True, kw_only=True)
class Reader:
    """A reader: ``read`` takes bytes and the folder for the file that they are put in.

    ``exact`` says that the format has a checksum: what is read is then what was written, or nothing is.
    """

    whole: tuple[bytes, ...]
    read: Callable[[bytes, Path], Any]
    names: str = FILE
    exact: bool = False


def _split(content: bytes, parse: Callable[..., Any]) -> None:
    split = parse(content, Path(FILE), records=2)
    assert split.images.shape == (2, 3072)
    assert split.images.dtype == np.uint8
    assert set(split.labels.tolist()) <= set(range(10))


def _whole(dataset: Any) -> str:
    """Assert that a dataset is one, whatever was read, and return its digest."""
    for part in (dataset.train, dataset.test):
        assert part.images.dtype == np.uint8
        assert part.images.shape == (len(part), int(np.prod(dataset.image_shape)))
        assert set(part.labels.tolist()) <= set(range(len(dataset.classes)))
    return str(dataset.digest)


def _npz(content: bytes, folder: Path) -> None:
    file = folder / f"{FILE}.npz"
    file.write_bytes(content)
    _whole(Npz(root=str(file)).load())


def _table(suffix: str) -> Callable[[bytes, Path], None]:
    def read(content: bytes, folder: Path) -> None:
        file = folder / f"{FILE}{suffix}"
        file.write_bytes(content)
        dataset = Table(root=str(file), label="kind", missing="drop").load()
        assert dataset.train.images.dtype == np.float32
        assert np.isfinite(dataset.train.images).all()
        assert set(dataset.train.labels.tolist()) <= set(range(len(dataset.classes)))

    return read


_CSV = "\n".join(["x,y,kind", *(f"{n / 3},{n},{'ab'[n % 2]}" for n in range(12))]).encode()


def _parquet() -> bytes:
    file = io.BytesIO()
    columns = {"x": [n / 3 for n in range(12)], "y": list(range(12)), "kind": ["ab"[n % 2] for n in range(12)]}
    parquet.write_table(pa.table(columns), file)
    return file.getvalue()


def _picture(content: bytes, folder: Path) -> None:
    for name in ("train/a", "train/b", "test/a", "test/b"):
        (folder / name).mkdir(parents=True, exist_ok=True)
        Image.fromarray(_IMAGES[0]).save(folder / name / "0.png")
    (folder / "train" / "b" / f"{FILE}.png").write_bytes(content)
    _whole(Images(root=str(folder)).load())


def _archive(content: bytes, folder: Path) -> bytes:
    archive = folder / f"{FILE}.tar.gz"
    archive.write_bytes(content)
    place = Path(tempfile.mkdtemp(dir=folder)) / "set"
    try:
        unpack(archive, place, {"a.bin": range(3000, 3001), "notes.txt": range(1, 10)})
        assert sorted(path.name for path in place.iterdir()) == ["a.bin", "notes.txt"]
        return (place / "a.bin").read_bytes() + (place / "notes.txt").read_bytes()
    finally:
        # Nothing is written elsewhere, and nothing half.
        assert {path.name for path in place.parent.iterdir()} <= {"set", ".set.lock"}


def _openml(part: str) -> Callable[[bytes, Path], str]:
    """Return a reader of scikit-learn's cache of openml.org, one of whose files is damaged."""

    def read(content: bytes, folder: Path) -> str:
        for name, whole in _CACHE.items():
            file = folder / "openml" / "openml.org" / f"{name}.gz"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content if name == part else whole)
        return _whole(OpenMl(data_name="small", root=str(folder), test=2, validation=1).load())

    return read


def _checkpoint(content: bytes, _folder: Path) -> bytes:
    return b"".join(encode(decode(content)))


def _log(content: bytes, folder: Path) -> None:
    file = folder / f"{FILE}.log"
    file.write_bytes(content)
    log = Log.open(file)
    found: list[Any] = []
    try:
        found.extend(log.read())
    finally:
        log.close()
        assert found == _ENTRIES[: len(found)], "what is read must be what was written, up to the damage"


def _logged() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        log = Log.begin(Path(folder))
        for time, entry in _ENTRIES:
            log.append(time, entry)
        log.close()
        assert log.path is not None, "a log can be written"
        return log.path.read_bytes()


def _saved() -> bytes:
    curves = (Curve(trial=0, steps=np.arange(1, 9), metrics={"train/loss": _RANDOM.random(8)}),)
    checkpoint = Checkpoint(step=8, trials=np.arange(1), arrays={"weights": _RANDOM.random((1, 2, 3))})
    return b"".join(encode((("a",), Progress(checkpoint=checkpoint, curves=curves))))


def _packed() -> bytes:
    stream = io.BytesIO()
    labels = np.arange(6) % 3
    np.savez_compressed(
        stream, train_images=_IMAGES, train_labels=labels, test_images=_IMAGES[:2], test_labels=labels[:2]
    )
    return stream.getvalue()


def _encoded(kind: str) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(_IMAGES[0]).save(stream, kind)
    return stream.getvalue()


def _tar() -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as tar:
        for name, content in (("set/a.bin", _RANDOM.bytes(3000)), ("set/notes.txt", b"notes")):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return stream.getvalue()


def _cache() -> dict[str, bytes]:
    """Return scikit-learn's cache of a small set, as it keeps the answers of openml.org: file by address."""
    rows = [[*image.ravel().tolist(), label] for image, label in zip(_IMAGES, "010101", strict=True)]
    lines = ["@RELATION small", *(f"@ATTRIBUTE p{i} NUMERIC" for i in range(4)), "@ATTRIBUTE class {0,1}", "@DATA"]
    arff = "\n".join([*lines, *(",".join(map(str, row)) for row in rows)]) + "\n"
    kinds = [(f"p{i}", "numeric", "false") for i in range(4)] + [("class", "nominal", "true")]
    features = [
        {"index": str(i), "name": name, "data_type": kind, "is_target": target}
        | {"is_ignore": "false", "is_row_identifier": "false", "number_of_missing_values": "0"}
        for i, (name, kind, target) in enumerate(kinds)
    ]
    about = {"id": "1", "name": "small", "version": "1", "status": "active", "format": "ARFF", "description": ""}
    checksum = hashlib.md5(arff.encode()).hexdigest()
    about |= {"url": "https://www.openml.org/data/v1/download/1", "md5_checksum": checksum}
    found = {"data": {"dataset": [{"did": 1, "name": "small", "version": 1, "status": "active"}]}}
    quality = {"data_qualities": {"quality": [{"name": "NumberOfInstances", "value": "6"}]}}
    api = "api/v1/json/data"
    answers: dict[str, Any] = {
        f"{api}/list/data_name/small/limit/2/data_version/1": found,
        f"{api}/1": {"data_set_description": about},
        f"{api}/features/1": {"data_features": {"feature": features}},
        f"{api}/qualities/1": quality,
    }
    texts = {name: json.dumps(answer) for name, answer in answers.items()} | {"data/v1/download/1": arff}
    return {name: gzip.compress(text.encode(), mtime=0) for name, text in texts.items()}


_CACHE = _cache()
_ENTRIES = [(number, Drew(trial=None, files={f"{number}.png": _RANDOM.bytes(30)})) for number in range(9)]
_BATCH = {b"labels": [6, 9], b"data": _RECORDS[:, 1:].copy(), b"filenames": [b"a.png"]}

READERS = {
    "cifar10 binary": Reader(whole=(_RECORDS.tobytes(),), read=lambda content, _: _split(content, parse_binary)),
    "cifar10 python": Reader(
        whole=(pickle.dumps(_BATCH, protocol=2),), read=lambda content, _: _split(content, parse_python)
    ),
    "csv": Reader(whole=(_CSV,), read=_table(".csv"), names=""),
    "parquet": Reader(whole=(_parquet(),), read=_table(".parquet"), names=""),
    "npz": Reader(whole=(_packed(),), read=_npz),
    "images": Reader(whole=(_encoded("PNG"), _encoded("JPEG")), read=_picture),
    "archive": Reader(whole=(_tar(),), read=_archive, exact=True),
    "openml cache": Reader(
        whole=(_CACHE["data/v1/download/1"],),
        read=_openml("data/v1/download/1"),
        names="openml.org small",
        exact=True,
    ),
    "openml answers": Reader(
        whole=(_CACHE["api/v1/json/data/features/1"],),
        read=_openml("api/v1/json/data/features/1"),
        names="openml.org small",
        exact=True,
    ),
    "checkpoint": Reader(whole=(_saved(),), read=_checkpoint, names="checkpoint", exact=True),
    "log": Reader(whole=(_logged(),), read=_log, names="byte|log"),
}
"""By name; a reader of another format is a row more."""
