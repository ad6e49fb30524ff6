"""The version of the code in a trial's key: a comment keeps it, a change of what is computed does not."""

import ast
import gc
import hashlib
from pathlib import Path

import pytest

import tasks
from pipeline.config.syntax import digest_of_sources, syntax

SOURCE = b'''"""A module."""

import math


class Row:
    """A row."""

    scale: float = 1.0
    """What scale is."""

    def value(self, x: float) -> float:
        """Return it."""
        return f"{x:.2f}" if x else math.pow(self.scale * x, 2)
'''


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"import math\n", b"import math  # and nothing else\n"),
        (b'"""Return it."""', b'"""Return another thing, more precisely said."""'),
        (b'        """Return it."""\n', b""),
        (b'    """What scale is."""\n', b""),
        (b'"""A module."""', b""),
        (b"math.pow(self.scale * x, 2)", b"math.pow(\n            self.scale * x,\n            2,\n        )"),
        (b'f"{x:.2f}"', b"f'{x:.2f}'"),
        (b"2)", b"0x2)"),
        (b"\n", b"\r\n"),
    ],
)
def test_what_cannot_change_a_result_keeps_the_version(old, new):
    assert old in SOURCE
    assert syntax(SOURCE.replace(old, new)) == syntax(SOURCE)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"* x, 2", b"* x, 3"),
        (b"* x, 2", b"* x, 2.0"),
        (b"* x, 2", b"+ x, 2"),
        (b"x:.2f", b"x:.3f"),
        (b"1.0", b"-1.0"),
        (b"if x", b"if not x"),
        (b"return f", b"yield f"),
        (b"x: float)", b"x: float = 0)"),
        (b"math.pow", b"math.fmod"),
    ],
)
def test_what_may_change_a_result_changes_the_version(old, new):
    assert old in SOURCE
    assert syntax(SOURCE.replace(old, new)) != syntax(SOURCE)


def test_the_version_is_the_same_on_every_python():
    digest = hashlib.sha256(syntax(SOURCE).encode()).hexdigest()

    assert digest == "db710eb4d8c706fd15d288e15fa682d3a920fd8659848ca1c3318a64049a9abe"


class _Parsing:
    """Garbage that parses when it is collected, as another thread does that runs then."""

    def __init__(self):
        self.itself = self

    def __del__(self):
        self.deep(20)

    def deep(self, calls):
        return self.deep(calls - 1) if calls else ast.parse("x")


def test_a_source_is_read_while_another_thread_parses():
    expected, threshold = syntax(SOURCE), gc.get_threshold()
    _Parsing()
    gc.set_threshold(1)
    try:
        assert syntax(SOURCE) == expected
    finally:
        gc.set_threshold(*threshold)


def test_every_source_of_tasks_is_read():
    sources = list(Path(tasks.__path__[0]).rglob("*.py"))

    assert sources
    assert all(syntax(source.read_bytes()).startswith("Module") for source in sources)


def test_the_version_of_a_folder_holds_the_names_of_its_sources_and_those_that_do_not_parse(tmp_path):
    source, folder = tmp_path / "a.py", tmp_path / "b"
    folder.mkdir()
    digests = []
    for file, text in [(source, "x = 1"), (source, "x ="), (source, "x = ="), (folder / "a.py", "x = 1")]:
        source.unlink(missing_ok=True)
        file.write_text(text)
        digests.append(digest_of_sources(tmp_path))

    assert len(set(digests)) == 4
    source.write_text("x = 1  # one")
    (folder / "a.py").unlink()
    assert digest_of_sources(tmp_path) == digests[0]
    alone = digest_of_sources(source)  # as of a package that is one file
    source.write_text("x = 2")
    assert digest_of_sources(source) != alone
