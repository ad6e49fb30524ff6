"""Work in the background."""

import os
import sys

import pytest

from pipeline.background import in_background


def test_it_is_done_and_its_error_is_raised_where_the_result_is_asked_for():
    assert in_background(lambda: 1).result() == 1
    with pytest.raises(ValueError, match="no such colour"):
        in_background(lambda: raises("no such colour")).result()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a thread cannot be nice by itself")
def test_a_nice_thread_leaves_the_others_as_they_are():
    before = os.nice(0)

    assert in_background(lambda: os.nice(0), nice=3).result() == before + 3
    assert os.nice(0) == before


def raises(message):
    raise ValueError(message)
