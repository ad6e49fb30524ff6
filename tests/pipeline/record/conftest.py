"""What the tests of the record share: a client of their store."""

import pytest

from pipeline.record.store import connect


@pytest.fixture
def client(store_uri):
    return connect(store_uri, create=False)
