"""A package that is installed for a test, and that the tables know."""

import sys

import pytest

from tests.pipeline.config.installed import LOSS, ROW, clear_caches
from tests.pipeline.packaging import install


@pytest.fixture
def site(tmp_path, monkeypatch):
    """Return a maker of installed packages, which the tables then know."""
    folder = tmp_path / "site"

    def make(name="warm-losses", code=LOSS, rows=ROW, **more):
        place = install(folder, name, code, rows, **more)
        monkeypatch.syspath_prepend(str(folder))
        sys.modules.pop(place.name, None)
        clear_caches()
        return place

    yield make
    monkeypatch.undo()
    for name in ("warm_losses", "cold_losses"):
        sys.modules.pop(name, None)
    clear_caches()
