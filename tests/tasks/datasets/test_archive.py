"""Named members of an archive, and nothing else of it."""

from __future__ import annotations

import gzip
import io
import os
import tarfile

import pytest

from tasks.datasets.archive import unpack
from tasks.errors import DataError

MEMBERS = {"a.bin": range(3, 4), "notes.txt": range(1, 10)}


def member(name, content=b"abc", kind=tarfile.REGTYPE):
    """Return an archive's entry."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, "/etc/passwd"
    info.size = len(content) if kind == tarfile.REGTYPE else 0
    return info, io.BytesIO(content)


A, NOTES = member("set/a.bin"), member("set/notes.txt", b"notes")


@pytest.fixture
def write(tmp_path):
    """Return a function that writes an archive of the given entries."""

    def build(*entries):
        file = tmp_path / "set.tar.gz"
        with tarfile.open(file, "w:gz") as tar:
            for info, stream in entries:
                stream.seek(0)
                tar.addfile(info, stream)
        return file

    return build


def test_the_named_members_are_written_and_no_others(write, tmp_path):
    entries = [
        member("set/../../escaped"),
        member("/tmp/absolute"),
        member("../escaped"),
        member("set/a.bin/below"),
        member("set/more.bin"),
        member("set/link", kind=tarfile.SYMTYPE),
        member("set/device", kind=tarfile.CHRTYPE),
    ]

    unpack(write(*entries, A, NOTES), tmp_path / "set", MEMBERS)

    assert {path.name for path in tmp_path.iterdir()} == {"set", "set.tar.gz", ".set.lock"}
    assert {path.name: path.read_bytes() for path in (tmp_path / "set").iterdir()} == {
        "a.bin": b"abc",
        "notes.txt": b"notes",
    }


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([A], r"set\.tar\.gz must hold set/notes\.txt, and does not"),
        ([member("set/a.bin", b"abcd"), NOTES], r"set/a\.bin must be a file of 3 bytes, got 4 bytes"),
        ([A, member("set/notes.txt", b"")], r"set/notes\.txt must be a file of 1 to 9 bytes, got 0 bytes"),
        ([member("set/a.bin", kind=tarfile.SYMTYPE), NOTES], r"set/a\.bin must be a file of 3 bytes, got no file"),
        ([member("set/a.bin", kind=tarfile.LNKTYPE), NOTES], r"set/a\.bin must be a file of 3 bytes, got no file"),
        ([member("set/a.bin", kind=tarfile.CHRTYPE), NOTES], r"set/a\.bin must be a file of 3 bytes, got no file"),
        ([member("set/a.bin", kind=tarfile.DIRTYPE), NOTES], r"set/a\.bin must be a file of 3 bytes, got no file"),
    ],
)
def test_a_member_that_is_not_what_it_must_be_leaves_nothing(write, tmp_path, entries, message):
    with pytest.raises(DataError, match=message):
        unpack(write(*entries), tmp_path / "set", MEMBERS)

    assert {path.name for path in tmp_path.iterdir()} == {"set.tar.gz", ".set.lock"}


@pytest.mark.parametrize("damage", [lambda content: content[:60], lambda content: b"", lambda content: b"no archive"])
def test_a_damaged_archive_is_named(write, tmp_path, damage):
    archive = write(A, NOTES)
    archive.write_bytes(damage(archive.read_bytes()))

    with pytest.raises(DataError, match=r"set\.tar\.gz must be a whole tar archive"):
        unpack(archive, tmp_path / "set", MEMBERS)

    assert not (tmp_path / "set").exists()


def test_an_archive_whose_content_has_changed_is_noticed_by_its_checksum(tmp_path):
    # given an archive that is stored without compression, where a changed bit is no error of its format
    plain, archive = io.BytesIO(), tmp_path / "set.tar.gz"
    with tarfile.open(fileobj=plain, mode="w") as tar:
        for info, stream in (A, NOTES):
            stream.seek(0)
            tar.addfile(info, stream)
    archive.write_bytes(gzip.compress(plain.getvalue(), compresslevel=0).replace(b"abc", b"abd"))

    with pytest.raises(DataError, match=r"set\.tar\.gz must be a whole tar archive: CRC check failed"):
        unpack(archive, tmp_path / "set", MEMBERS)

    assert not (tmp_path / "set").exists()


def test_what_a_killed_process_left_is_cleared_away(write, tmp_path):
    (tmp_path / ".set.part").mkdir()
    (tmp_path / ".set.part" / "a.bin").write_bytes(b"a")

    unpack(write(A, NOTES), tmp_path / "set", MEMBERS)

    assert (tmp_path / "set" / "a.bin").read_bytes() == b"abc"
    assert not (tmp_path / ".set.part").exists()


def test_a_folder_that_is_there_is_left_as_it_is(write, tmp_path):
    (tmp_path / "set").mkdir()

    unpack(write(A, NOTES), tmp_path / "set", MEMBERS)

    assert list((tmp_path / "set").iterdir()) == []


def test_what_is_no_file_is_named_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "set.tar.gz")

    with pytest.raises(DataError, match=r"set\.tar\.gz must be a file, and is none"):
        unpack(tmp_path / "set.tar.gz", tmp_path / "set", MEMBERS)
    assert not (tmp_path / "set").exists()
