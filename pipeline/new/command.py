"""`python -m pipeline.new my_sweeps`: write a package with a task of one's own, ready to install and to sweep."""

from __future__ import annotations

import argparse
import keyword
import re
import sys
from collections.abc import Sequence
from importlib.metadata import distributions
from importlib.util import find_spec
from pathlib import Path

from pipeline.config.tables import TABLES
from tasks.errors import ConfigError, require

TEMPLATE = Path(__file__).with_name("template")
"""The files of the package; NAME in them, and in their paths, is replaced by its name."""

_NAME = "NAME"
_SUFFIX = ".in"
"""The suffix of the files, so that they are not taken as code of this project."""


_CONSTANTS = {"null", "true", "false", "inf", "nan", "y", "n", "yes", "no", "on", "off"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the package into a folder of its name; return 0, or 2 if it cannot be written."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.new", description=__doc__)
    parser.add_argument("name", metavar="NAME", help="what Python imports: small letters, digits and _")
    options = parser.parse_args(arguments)
    try:
        folder = write(options.name, Path.cwd())
    except (ConfigError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201  # this is a command
        return 2
    text = f"""{folder} is yours. These commands install it, and sweep it:

  pip install --editable '{folder.name}[test]'
  descent-sweeps --multirun experiment={options.name}/first

{folder.name}/src/{options.name}/task.py holds the training function: put yours in its place."""
    print(text)  # noqa: T201
    return 0


def write(name: str, place: Path) -> Path:
    """Write the package into the folder ``name`` in ``place``, and return that folder.

    Raises
    ------
    ConfigError
        If the name is not valid for a package, or is taken.
    """
    rule = "must be small letters, digits and _, beginning with a letter and not ending with _, as my_sweeps"
    require(re.fullmatch(r"[a-z](?:[a-z0-9_]*[a-z0-9])?", name), "NAME", rule, name)
    taken = name in _CONSTANTS or keyword.iskeyword(name)
    require(not taken, "NAME", "must be no word that Python, YAML or Hydra reads in its own way", name)
    require(name not in TABLES["task"], "NAME", "must not name a task", name)
    folder = place / name
    require(not folder.exists(), "NAME", "must be a folder that is not there yet", str(folder))
    require(name not in sys.stdlib_module_names and find_spec(name) is None, "NAME", "must not name a module", name)
    require(not any(distributions(name=name)), "NAME", "must not name an installed package", name)
    for file in sorted(TEMPLATE.rglob(f"*{_SUFFIX}")):
        target = folder / str(file.relative_to(TEMPLATE)).replace(_NAME, name).removesuffix(_SUFFIX)
        target.parent.mkdir(parents=True, exist_ok=True)
        text = file.read_text(encoding="utf-8").replace("DASHED", name.replace("_", "-"))
        target.write_text(text.replace(_NAME, name), encoding="utf-8")
    return folder
