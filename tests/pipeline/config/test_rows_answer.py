"""No row of a table is asked what class it is outside its own room: a row answers for itself."""

import ast
from pathlib import Path

import pytest

import pipeline
import tasks
from pipeline.config.tables import TABLES

OWN = {kind.__name__: kind.__module__.rpartition(".")[2] for table in TABLES.values() for kind in table.own.values()}
"""The module in which each of our rows is defined."""

SOURCES = sorted(path for package in (tasks, pipeline) for path in Path(package.__path__[0]).rglob("*.py"))


def asked(source):
    """Return the rows' classes that a module compares a class with: isinstance, issubclass, match, ``type(x) is``."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Call(func=ast.Name(id="isinstance" | "issubclass"), args=[_, kinds]):
                classes = kinds
            case ast.MatchClass(cls=kind):
                classes = kind
            case ast.Compare(left=ast.Call(func=ast.Name(id="type"))):
                classes = node
            case _:
                continue
        parts = [ast.unparse(part) for part in ast.walk(classes) if isinstance(part, ast.Name | ast.Attribute)]
        names = [part.rpartition(".")[2] for part in parts if not part.startswith("ast.")]  # Python's own Constant
        yield from (name for name in names if name in OWN)


@pytest.mark.parametrize(
    "source",
    [
        "isinstance(loss, Svm)",
        "isinstance(loss, Softmax | losses.Svm)",
        "issubclass(kind, (Softmax, Svm))",
        "type(trial.loss) is Svm",
        "match loss:\n    case Svm(margin=1):\n        pass",
    ],
)
def test_a_question_for_the_class_of_a_row_is_found(source):
    assert "Svm" in asked(source)
    assert not list(asked("isinstance(loss, PiecewiseLinear)"))


def test_no_row_is_asked_for_its_class_outside_its_room():
    # The room of a row is its own module, and the module of its figure, which has the same name.
    found = [
        f"{path.parent.name}/{path.name} asks for {name}"
        for path in SOURCES
        for name in asked(path.read_text(encoding="utf-8"))
        if path.stem != OWN[name]
    ]

    assert len(SOURCES) > 200
    assert found == []
