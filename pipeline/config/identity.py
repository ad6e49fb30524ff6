"""The identity of a trial: a digest of all that decides its result, and of nothing else."""

from __future__ import annotations

import ast
import functools
import hashlib
import json
from pathlib import Path

import tasks
from pipeline.config.schema import Config, describe_trial

CODE = "tasks.sha256"
"""The tag that says which version of `tasks` computes a sweep."""

_SILENT = frozenset({"ctx", "kind", "type_comment", "type_params"})
"""Fields of a syntax tree that follow from the others, or that versions of Python write differently."""


def key(config: Config, dataset_digest: str) -> str:
    """Return what identifies a trial: a digest of all that decides its result, and of nothing else.

    A parameter that the trial's task or strategy does not use takes no part in it. The version of the code
    is a digest of the syntax of `tasks`: what cannot change a result does not change the key.
    """
    unused = config.trial.task.unused(config.trial)
    used = {name: value for name, value in describe_trial(config.trial).items() if name not in unused}
    identity = {"trial": used, "dataset": dataset_digest, "code": code_version()}
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()


@functools.cache
def code_version() -> str:
    """Return the SHA-256 of the syntax of the sources of `tasks`, in hexadecimal."""
    root = Path(tasks.__path__[0])
    digest = hashlib.sha256()
    for source in sorted(root.rglob("*.py")):
        digest.update(f"{source.relative_to(root).as_posix()}\0{syntax(source.read_bytes())}".encode())
    return digest.hexdigest()


def syntax(source: bytes) -> str:
    r"""Return what a source says to Python, without what it says to people only.

    >>> syntax(b"x = 1  # one") == syntax(b"x = (\n    1)\n'says what x is'") != syntax(b"x = 2")
    True
    """
    said: list[str] = []
    _say(ast.parse(source), said)
    return "\n".join(said)


def _say(node: ast.AST, said: list[str]) -> None:
    """Say a syntax tree without places, comments, and texts that stand alone, as docstrings do."""
    said.append(type(node).__name__)
    for name in node._fields:
        value = getattr(node, name, None)
        if name in _SILENT or (isinstance(value, list) and not value):
            continue
        said.append(name)
        for one in value if isinstance(value, list) else [value]:
            if not isinstance(one, ast.AST):
                said.append(repr(one))
            elif not _is_remark(one):
                _say(one, said)
    said.append(")")


def _is_remark(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
