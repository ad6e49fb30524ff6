"""What the tests of the record write down, a header, blocks of points, a result, and read in a log that is in use."""

import json
import re

import numpy as np

from pipeline.record.protocol import Provenance, SweepHeader
from tasks.events import Curve, Outcome, Result

PROVENANCE = Provenance(
    tags={"git.commit": "abc", "command": "python -m pipeline -m strategy=random,local"},
    attachments={"versions.txt": "numpy==2"},
)


def header(*trials):
    return SweepHeader(
        name="strategies on tiny",
        overrides=("strategy=random,local",),
        trials=trials,
        key="a sweep",
    )


def block(start, stop, **metrics):
    steps = np.arange(start, stop)
    return Curve(trial=0, steps=steps, metrics={name: np.asarray(f(steps), float) for name, f in metrics.items()})


def done(outcome=Outcome.COMPLETE, step=10, **metrics):
    arrays = {"weights": np.arange(6, dtype=np.float32).reshape(2, 3) / 7}
    return Result(trial=0, outcome=outcome, step=step, metrics=metrics, arrays=arrays, message="")


def note(run):
    return run.data.tags.get("mlflow.note.content", "")


def parent_of(recorder):
    return recorder._store.known_id(recorder._runs.opened.parent)


def logged(folder, kind):
    """Return the entries of a kind in the one log in ``folder``, as they are while another process appends to it."""
    logs = [*folder.rglob("record-*.log")]
    assert len(logs) <= 1
    pattern = rb'\[\d+,(\{"\\u0000":"%s".*)\]\n' % kind.encode()
    found = [entry for log in logs for entry in re.findall(pattern, log.read_bytes())]
    return [json.loads(entry) for entry in found]
