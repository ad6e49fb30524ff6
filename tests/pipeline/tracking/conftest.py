"""What the tests of MLflow stores share: a client of their store."""

import pytest

from pipeline.tracking.connection import connect


@pytest.fixture
def client(store_uri):
    return connect(store_uri, create=False)
