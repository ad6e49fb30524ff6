"""A delivery hands on each write until it is done or refused, and what is refused takes no other along."""

import threading

from pipeline.record.delivery import Delivery
from pipeline.record.writes import Log
from pipeline.results.fault_log import NAME, FaultLog


class RefusedError(Exception):
    error_code = "BAD_REQUEST"


class Picky:
    """A scribe that does all writes at once, or none where one of them is bad."""

    def __init__(self):
        self.done = []

    def do(self, writes):
        if any(write.run == "bad" for write in writes):
            raise RefusedError("bad")
        self.done += writes
        return len(writes)

    def settle(self):
        pass


def test_of_writes_that_went_together_only_the_bad_one_is_lost(tmp_path):
    scribe = Picky()
    delivery = Delivery(scribe, lambda: None, FaultLog(tmp_path), threading.Event())

    delivery.post([Log(run=run) for run in ("one", "two", "bad", "three")])

    assert delivery.close() == (None, "")
    assert [write.run for write in scribe.done] == ["one", "two", "three"]
    assert [str(error) for error in delivery.refused] == ["bad"]
    assert not (tmp_path / NAME).exists()
