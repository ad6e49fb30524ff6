"""Packages that are installed as pip leaves them, in a folder of a test's: made in a moment, without pip."""

from __future__ import annotations

from pathlib import Path


def install(
    folder: Path, name: str, code: str, rows: str, *, version: str = "0.1", files: dict[str, str] | None = None
):
    """Lay out a distribution called ``name`` with one package of ``code``, and the entry points ``rows``."""
    module = name.replace("-", "_")
    about = folder / f"{module}-{version}.dist-info"
    content = {
        folder / module / "__init__.py": code,
        about / "METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        about / "entry_points.txt": rows,
        **{folder / module / path: text for path, text in (files or {}).items()},
    }
    for file, text in content.items():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return folder / module
