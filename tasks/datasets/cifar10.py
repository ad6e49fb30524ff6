"""CIFAR-10 from a local folder, from its published archive, or downloaded once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tasks.datasets.cifar10_layouts import CLASSES, RECORD, RECORDS, TEST, TRAIN, read_binary, read_python
from tasks.datasets.dataset import Dataset, check_scaling, make_dataset
from tasks.datasets.source import ProgressCallback, expanded
from tasks.errors import DataError, require

URL = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
MD5 = "c32a1d4ab5d03f1284b67883e8d87530"
ARCHIVE = "cifar-10-binary.tar.gz"
BINARY, PYTHON = "cifar-10-batches-bin", "cifar-10-batches-py"
MEMBERS = {f"{name}.bin": range(RECORDS * RECORD, RECORDS * RECORD + 1) for name in (*TRAIN, TEST)} | {
    "batches.meta.txt": range(1, 1025)
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cifar10:
    """Sixty thousand photographs of ten classes, 3 x 32 x 32, the last ten thousand for testing (Krizhevsky, 2009).

    ``root`` (default: the folder ``data``) holds cifar-10-batches-bin, cifar-10-batches-py or
    cifar-10-binary.tar.gz, or is one of those two folders. If it is none of these, ``download`` fetches the archive.
    """

    root: str | None = "data"
    download: bool = False
    validation: int = 1000
    scaling: str = "none"

    def __post_init__(self) -> None:
        check_scaling(self.scaling)
        require(self.validation >= 0, "dataset.validation", "must be >= 0", self.validation)

    def load(self, *, progress: ProgressCallback | None = None) -> Dataset:
        """Read the images; the progress counts the bytes of a download."""
        root = expanded(self.root or "data")
        folder = locate(root) or obtain(root, download=self.download, progress=progress)
        binary = folder.name == BINARY or any((folder / name).exists() for name in MEMBERS)
        train, held, test = (read_binary if binary else read_python)(folder, self.validation)
        return make_dataset(
            name="cifar10",
            train=train,
            test=test,
            classes=CLASSES,
            image_shape=(3, 32, 32),
            validation=held if len(held) else 0,
            scaling=self.scaling,
        )


def locate(root: Path) -> Path | None:
    """Return the folder of CIFAR-10's files: ``root`` or a folder in it, None if there is none."""
    for folder in (root / BINARY, root / PYTHON):
        if folder.is_dir():
            return folder
    names = (*MEMBERS, *TRAIN, TEST)
    return root if any((root / name).is_file() for name in names) else None


def obtain(
    root: Path, *, download: bool, progress: ProgressCallback | None = None, url: str = URL, md5: str = MD5
) -> Path:
    """Unpack the published archive in ``root``, after a download if ``download``; return the folder."""
    from tasks.datasets.archive import unpack  # noqa: PLC0415 - these two import networking modules,
    from tasks.datasets.download import fetch  # noqa: PLC0415 - which unpacked files do not need

    archive, folder = root / ARCHIVE, root / BINARY
    if not archive.is_file() and not download:
        raise DataError(
            f"dataset.root must hold {BINARY}, {PYTHON} or {ARCHIVE}, or be one of those two folders, got "
            f"{str(root.absolute())!r} (dataset.download=true fetches the archive, 162 MiB, to there)"
        )
    try:
        root.mkdir(parents=True, exist_ok=True)
        fetch(url, md5, archive, progress=progress)
        unpack(archive, folder, MEMBERS)
    except OSError as error:
        raise DataError(f"dataset.root must be a folder that can be written, got {str(root)!r}: {error}") from error
    return folder
