"""What tests share: a small data set, trials, and for the whole session one real store and tracking server."""

from __future__ import annotations

import itertools
import shutil
import time

import numpy as np
import pytest

from pipeline.config.schema import describe, parse
from pipeline.plan.plan import PlannedTrial
from pipeline.reports import Layout
from tasks.datasets.dataset import Split, make_dataset
from tests.pipeline.serving import Proxy, tracking_server

_numbers = itertools.count()


@pytest.fixture
def messages_of(caplog):
    """What a module has logged, whatever threads of an earlier test log meanwhile."""
    return lambda module: [one.getMessage() for one in caplog.records if one.name == module.__name__]


@pytest.fixture(scope="session")
def tiny():
    """Six images of four pixels."""
    rng = np.random.default_rng(0)
    split = Split(images=rng.integers(0, 256, (6, 4), dtype=np.uint8), labels=np.array([0, 1, 0, 1, 0, 1]))
    return make_dataset(name="tiny", train=split, test=split, classes=("a", "b"), image_shape=(2, 2), validation=2)


@pytest.fixture
def trial():
    """Return a maker of planned trials that differ in their key."""

    def make(name="a trial", **values):
        config = parse(values)
        return PlannedTrial(
            index=0,
            key=f"key-{next(_numbers)}",
            name=name,
            overrides=tuple(f"{key}={value}" for key, value in values.items()),
            config=describe(config),
            trial=config.trial,
        )

    return make


@pytest.fixture
def layout():
    return Layout(width=8, slot=2, threads=1, host="here", device="cpu", blas="openblas 0.3 Haswell")


@pytest.fixture(scope="session")
def store_uri(empty_store, tmp_path_factory):
    """One SQLite store, in which tests take an experiment each."""
    return f"sqlite:///{shutil.copy(empty_store, tmp_path_factory.mktemp('store'))}"


@pytest.fixture
def experiment():
    return f"experiment-{next(_numbers)}-{time.time_ns()}"


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory, empty_store):
    """What the trials of `disturbed.GRID` are that nothing disturbs."""
    from tests.pipeline.disturbed import Sweep

    sweep = Sweep(tmp_path_factory.mktemp("undisturbed"), empty_store, pause=0)
    code, _, err = sweep.run("engine=inprocess")
    assert code == 0, err
    results = sweep.results()
    assert len(results) == 4
    return results


@pytest.fixture(scope="session")
def server_folder(tmp_path_factory):
    """Where the tracking server keeps its database, its artifacts and its log."""
    return tmp_path_factory.mktemp("server")


@pytest.fixture(scope="session")
def server(server_folder, empty_store):
    """One tracking server, by its port: starting one takes seconds, so tests take an experiment each."""
    shutil.copy(empty_store, server_folder / "server.db")
    with tracking_server(server_folder) as port:
        yield port


@pytest.fixture
def proxy(server):
    """A proxy of the test's own before the tracking server."""
    made = Proxy(server)
    yield made
    made.close()
