"""Fuzzing: a reader is given damaged files, and must read them right or say in one of its own errors what is wrong."""

from __future__ import annotations

import random
import re
import tempfile
import warnings
from pathlib import Path
from unittest import mock

from tasks.errors import SweepError
from tests.fuzz.readers import READERS, Reader

ODD = (b"", b"\0", b"\xff", b"\x80", b"\x7f", b"\xff\xff\xff\x7f", b"\xff" * 8, b"\0" * 64, b"\n", b"..", b"/", b"-1")
_NO_WAITING = {"https_proxy": "http://127.0.0.1:9", "http_proxy": "http://127.0.0.1:9", "no_proxy": ""}


def damaged(whole: bytes, seed: int) -> bytes:
    """Return ``whole`` with one to four changes: bits, bytes, odd values, pieces cut, doubled or moved."""
    generator = random.Random(seed)
    content = bytearray(whole)
    for _ in range(generator.randint(1, 4)):
        length = len(content)
        place, end = sorted((generator.randint(0, length), generator.randint(0, length)))
        match generator.randrange(7):
            case 0 if length:
                content[generator.randrange(length)] ^= 1 << generator.randrange(8)
            case 1 if length:
                content[generator.randrange(length)] = generator.randrange(256)
            case 2:
                odd = generator.choice(ODD)
                content[place : place + len(odd)] = odd
            case 3:
                content[place:place] = generator.choice(ODD)
            case 4:
                del content[place : place + generator.choice([1, 2, 8, length])]
            case 5:
                content[place:place] = content[place:end][:4096]
            case _:
                content = content[end:] + content[place:end] + content[:place] if generator.random() < 0.3 else content
    return bytes(content)


def try_one(name: str, seed: int) -> str:
    """Give a reader the damaged file number ``seed``; return ``"read"`` or ``"refused"``.

    Raises
    ------
    AssertionError
        If what it read is not what it must be, or its error does not name the file.
    Exception
        Whatever else the reader raises, which it must not.
    """
    reader = READERS[name]
    whole = reader.whole[seed % len(reader.whole)]
    content = damaged(whole, seed)
    # A damaged cache is fetched anew: from nowhere, and at once.
    with (
        tempfile.TemporaryDirectory() as folder,
        mock.patch.dict("os.environ", _NO_WAITING),
        mock.patch("urllib.request._opener", None),  # what knows these proxies is for this time only
        mock.patch("time.sleep"),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")  # a damaged header may be read as one of an older NumPy, which warns
        try:
            found = reader.read(content, Path(folder))
        except SweepError as error:
            if re.search(reader.names, str(error)) is None:
                raise AssertionError(f"the error must name {reader.names}, got: {error}") from error
            return "refused"
        _check(reader, found, whole)
    return "read"


def _check(reader: Reader, found: object, whole: bytes) -> None:
    if not reader.exact:
        return
    with tempfile.TemporaryDirectory() as folder:
        assert found == reader.read(whole, Path(folder)), "what is read must be what was written"
