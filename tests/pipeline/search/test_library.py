import importlib.metadata
import logging
import sys

import pytest

from pipeline.search import library
from tasks.errors import ConfigError


def test_without_optuna_it_is_said_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)

    with pytest.raises(ConfigError, match=r"search needs Optuna, .* pip install 'descent-sweeps\[search\]'"):
        library.load()


@pytest.mark.parametrize("version", ["2.10.1", "4.8.0", "6.0.0"])
def test_a_version_of_optuna_that_is_not_known_is_refused(monkeypatch, version):
    monkeypatch.setattr(importlib.metadata, "version", lambda _: version)

    with pytest.raises(ConfigError, match=f"needs Optuna from 4.9 on and before 6, got {version}"):
        library.load()


def test_a_warning_that_a_sampler_repeats_for_each_trial_is_shown_once():
    library.load()
    handler = logging.getLogger("optuna").handlers[0]
    warnings = [
        logging.LogRecord("optuna.samplers", logging.WARNING, "", 0, text, (), None)
        for text in ("`c` in Trial#1 is drawn", "`c` in Trial#2 is drawn", "`d` in Trial#2 is drawn")
    ]

    assert [bool(handler.filter(one)) for one in warnings] == [True, False, True]


def test_what_others_log_on_a_handler_of_optuna_passes_as_often_as_it_comes():
    library.load()
    of_optuna, ours = (logging.LogRecord(name, 30, "", 0, "no gradients", None, None) for name in ("optuna.x", "ours"))

    handlers = logging.getLogger("optuna").handlers
    passed = [[bool(handler.filter(one)) for _ in range(2)] for handler in handlers[:1] for one in (of_optuna, ours)]

    assert passed == [[True, False], [True, True]]
