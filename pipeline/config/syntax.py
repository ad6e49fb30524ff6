"""A digest of the syntax of sources: comments, docstrings and layout do not change it."""

from __future__ import annotations

import ast
import hashlib
from pathlib import Path

_IGNORED_FIELDS = frozenset({"ctx", "kind", "type_comment", "type_params"})
"""Fields of a syntax tree that follow from the others, or that differ between versions of Python."""


def digest_of_sources(root: Path) -> str:
    """Return the SHA-256 of the syntax of the sources in a folder, or of one file, in hexadecimal."""
    digest = hashlib.sha256()
    for source in sorted(root.rglob("*.py")) if root.is_dir() else [root]:
        digest.update(f"{source.relative_to(root).as_posix()}\0{_syntax_of(source)}".encode())
    return digest.hexdigest()


def _syntax_of(source: Path) -> str:
    """Return the syntax of a file; for a file that does not parse, its bytes in hexadecimal."""
    try:
        return syntax(source.read_bytes())
    except (SyntaxError, ValueError):
        return source.read_bytes().hex()


def syntax(source: bytes) -> str:
    r"""Return the syntax tree of a source as text, without comments and docstrings.

    >>> syntax(b"x = 1  # one") == syntax(b"x = (\n    1)\n'says what x is'") != syntax(b"x = 2")
    True
    """
    parts: list[str] = []
    try:
        tree = ast.parse(source)
    except SystemError:  # before Python 3.11.8 if another thread parses at the same time (cpython#106905)
        tree = ast.parse(source)
    _append_syntax(tree, parts)
    return "\n".join(parts)


def _append_syntax(node: ast.AST, parts: list[str]) -> None:
    """Append a syntax tree to ``parts``, without positions, comments and bare strings such as docstrings."""
    parts.append(type(node).__name__)
    for name in node._fields:
        value = getattr(node, name, None)
        if name in _IGNORED_FIELDS or (isinstance(value, list) and not value):
            continue
        parts.append(name)
        for one in value if isinstance(value, list) else [value]:
            if not isinstance(one, ast.AST):
                parts.append(repr(one))
            elif not _is_bare_string(one):
                _append_syntax(one, parts)
    parts.append(")")


def _is_bare_string(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
