"""What an engine reports of a trial is in its record: where it was computed, and from which step on."""

import io
import platform
from pathlib import Path

from rich.console import Console

from pipeline.console import Display
from pipeline.engine import worker
from pipeline.engine.inprocess import InProcess
from pipeline.engine.protocol import Checkpointed
from pipeline.following import Provenance, compute
from pipeline.plan import Group
from pipeline.recorder.mlflow_recorder import MlflowRecorder
from pipeline.recorder.store import connect
from pipeline.schema import Config
from pipeline.starting import Record
from pipeline.tally import Tally

SHORT = {"steps": 40, "trial": {"record_every": 5, "evaluate_every": 20}, "batch_size": 2}


def test_a_trial_that_goes_on_from_a_checkpoint_says_so(store_uri, experiment, tiny, trial, monkeypatch):
    monkeypatch.setattr(worker, "CHECKPOINT_EVERY", 0.0)
    planned = trial(**SHORT)
    engine = InProcess(threads=1, device="cpu", checkpoint_every=20)
    reports = list(engine.run([Group(trials=(planned,), width=1)], tiny))
    (checkpointed,) = (report for report in reports if isinstance(report, Checkpointed))
    recorder, tally = MlflowRecorder(store_uri, experiment), Tally([planned], validated=True)
    recorder.open(None, tiny)

    compute(
        [Group(trials=(planned,), width=1, start=checkpointed.progress)],
        tiny,
        engine,
        Record(recorder=recorder, checkpoints=None, past=None),
        tally,
        Display(Console(file=io.StringIO()), tally),
        Provenance(tags={}, attachments={}),
        Config(),
    )

    client, run_id = connect(store_uri, create=False), recorder.run_id(planned)
    tags = client.get_run(run_id).data.tags
    assert (tags["layout.host"], tags["started.step"]) == (platform.node(), "20")
    log = Path(client.download_artifacts(run_id, "trial.log")).read_text().splitlines()
    assert log[0].endswith(f"started on {platform.node()}: a trial, 40 steps on tiny, from step 20")
    assert [line.split(" ", 1)[1].split(":")[0] for line in log[1:-2]] == ["step 20", "step 40", "complete at step 40"]
