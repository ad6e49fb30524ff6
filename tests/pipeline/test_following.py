import io
import signal

import pytest
from rich.console import Console

from pipeline.console import Display
from pipeline.errors import Interrupted
from pipeline.following import Provenance, compute
from pipeline.recorder.protocol import MemoryRecorder, RecordError
from pipeline.schema import Config
from pipeline.starting import Record
from pipeline.tally import Tally


class Stopped:
    """An engine that a signal interrupts."""

    def run(self, groups, dataset):
        raise Interrupted(signal.SIGINT)
        yield

    def close(self):
        pass


class Broken(MemoryRecorder):
    def close(self, status):
        super().close(status)
        raise RecordError("the store is gone")


def test_a_signal_stays_one_if_the_record_cannot_be_closed_either(tiny):
    out, recorder, tally = io.StringIO(), Broken(), Tally([], validated=True)
    record = Record(recorder=recorder, checkpoints=None, past=None)
    with pytest.raises(Interrupted), Display(Console(file=out), tally) as display:
        compute([], tiny, Stopped(), record, tally, display, Provenance(tags={}, attachments={}), Config())

    assert recorder.status == "KILLED"
    assert "error: the store is gone" in out.getvalue()
