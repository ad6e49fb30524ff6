"""Extracts named files from a tar archive, and ignores everything else in it."""

from __future__ import annotations

import shutil
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from tasks.datasets.download import locked, sync
from tasks.errors import DataError

_BLOCK = 1 << 20


def unpack(archive: Path, folder: Path, members: Mapping[str, range]) -> None:
    """Write ``members`` of the folder in ``archive`` that is named like ``folder`` to ``folder``: all or none.

    ``members`` maps each file's name to the sizes it may have. Names in the archive are only compared with these, so
    that no path to another folder, link or device is ever written.

    Raises
    ------
    DataError
        If the archive is damaged, or a member is missing, no regular file or of another size.
    """
    with locked(folder):
        if folder.is_dir():
            return  # another process has unpacked it in the meantime
        fresh = folder.with_name(f".{folder.name}.part")
        shutil.rmtree(fresh, ignore_errors=True)  # left by a killed process
        fresh.mkdir()
        try:
            _write_members(archive, fresh, {f"{folder.name}/{name}": sizes for name, sizes in members.items()})
            sync(fresh)
            fresh.rename(folder)
            sync(folder.parent)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)


def _write_members(archive: Path, fresh: Path, members: Mapping[str, range]) -> None:
    missing = dict(members)
    for name, content in _read_members(archive, missing):
        file = fresh / Path(name).name
        file.write_bytes(content)
        sync(file)
        del missing[name]
    if missing:
        raise DataError(f"{archive} must hold {next(iter(missing))}, and does not")


def _read_members(archive: Path, wanted: Mapping[str, range]) -> Iterator[tuple[str, bytes]]:
    if not archive.is_file():  # a named pipe would be waited for without end
        raise DataError(f"{archive} must be a file, and is none")
    try:
        with tarfile.open(archive, "r:*") as tar:
            for member in tar:
                if member.name not in wanted:
                    continue
                if not member.isreg() or member.size not in wanted[member.name]:
                    found = f"{member.size} bytes" if member.isreg() else "no file"
                    sizes = wanted[member.name]
                    size = f"{sizes[0]} bytes" if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]} bytes"
                    raise DataError(f"{archive}: {member.name} must be a file of {size}, got {found}")
                stream = tar.extractfile(member)
                assert stream is not None  # a regular file has one
                yield member.name, stream.read()
            # The checksum of a compressed archive is at its end: it is verified when it is read.
            while tar.fileobj is not None and tar.fileobj.read(_BLOCK):
                pass
    except (OSError, EOFError, ValueError, zlib.error, tarfile.TarError) as error:
        raise DataError(f"{archive} must be a whole tar archive: {error}") from error
