"""Everything around the mathematics: command line, plan, Ray, MLflow, provenance, figures."""

import importlib.util
import sys
from pathlib import Path

HOME = Path(__file__).resolve().parent.parent
"""The folder that holds ``conf``, ``pipeline`` and ``tasks``, in a checkout or in an environment."""


def _import_own(name: str) -> None:
    """Import the package ``name`` from the folder of this package.

    The name is a common one: Python would find a file or folder of that name in the working folder first.
    """
    source = HOME / name / "__init__.py"
    if not source.is_file():  # on a Ray node to which the packages were sent, each is in a different folder
        return
    if name in sys.modules:
        file = getattr(sys.modules[name], "__file__", None)
        if file is None or Path(file).resolve() != source:
            raise ImportError(f"{name} must be the package {source.parent}, got {file or sys.modules[name]}")
        return
    spec = importlib.util.spec_from_file_location(name, source)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)


_import_own("tasks")
