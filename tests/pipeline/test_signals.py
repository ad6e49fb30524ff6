"""Signals stop a sweep wherever its main thread is."""

import signal
import time
import weakref

import pytest

from pipeline.errors import Interrupted
from pipeline.signals import StopSignals


class Watched:
    """Something that a weak reference can be told of."""


def test_a_signal_that_comes_while_a_weak_reference_calls_back_is_not_lost():
    def go_and_wait():
        with StopSignals():
            watched = Watched()
            reference = weakref.ref(watched, lambda _: signal.raise_signal(signal.SIGINT))
            del watched
            time.sleep(10)
            return reference

    with pytest.raises(Interrupted):
        go_and_wait()
