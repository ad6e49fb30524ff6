"""A download that can be resumed, is verified by its checksum, and happens once for any number of processes."""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from tasks.datasets.source import ProgressCallback
from tasks.errors import DataError

BLOCK = 1 << 18
TIMEOUT = 30.0  # seconds without a byte


def fetch(url: str, md5: str, destination: Path, *, progress: ProgressCallback | None = None) -> None:
    """Download ``url`` to ``destination``, unless another process has done so in the meantime.

    The bytes are collected in a file beside it with the ending ``.part``; a later call resumes it if the server
    supports that, and starts again if not. ``destination`` appears complete or not at all (an atomic rename).
    The progress counts bytes.

    Raises
    ------
    DataError
        If the server cannot be reached, the connection ends early or the checksum is wrong.
    """
    partial = destination.with_name(f"{destination.name}.part")
    with locked(destination):
        if destination.exists():
            return
        resumed = partial.exists()
        _receive(url, partial, progress)
        if resumed and _md5(partial) != md5:
            partial.unlink()  # it may have begun with another file's bytes: retry once, from the start
            _receive(url, partial, progress)
        found = _md5(partial)
        if found != md5:
            partial.unlink()
            raise DataError(f"{url}: the MD5 checksum must be {md5}, got {found}")
        sync(partial)
        partial.replace(destination)
        sync(destination.parent)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of ``path``: a hidden file beside it, which the system unlocks when the process ends."""
    with path.with_name(f".{path.name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def sync(path: Path) -> None:
    """Wait until a file, or a folder's list of names, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _receive(url: str, partial: Path, progress: ProgressCallback | None) -> None:
    start = partial.stat().st_size if partial.exists() else 0
    headers = {"Range": f"bytes={start}-"} if start else {}
    try:
        request = Request(url, headers=headers)  # noqa: S310 - the address is a constant of this package
        with urlopen(request, timeout=TIMEOUT) as response:  # noqa: S310 - see above
            _store(response, url, partial, start, progress)
    except HTTPError as error:
        error.close()
        # Nothing is left to send: the partial file is complete, or of another file. The checksum decides.
        if error.code != HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE or not start:
            raise DataError(f"{url} cannot be downloaded: {error}") from error
    except (OSError, HTTPException) as error:
        raise DataError(f"{url} cannot be downloaded: {error}") from error


def _store(response: HTTPResponse, url: str, partial: Path, start: int, progress: ProgressCallback | None) -> None:
    continues = response.status == HTTPStatus.PARTIAL_CONTENT and (
        response.headers.get("Content-Range", "").startswith(f"bytes {start}-")
    )
    done = start if continues else 0
    total = 0 if response.length is None else done + response.length
    with partial.open("ab" if continues else "wb") as file:
        while block := response.read(BLOCK):
            file.write(block)
            done += len(block)
            if progress:
                progress(done, total)
    if done < total:
        raise DataError(f"{url}: the connection ended after {done} of {total} bytes; the next try goes on from there")


def _md5(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
