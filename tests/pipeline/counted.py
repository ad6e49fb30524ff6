"""The command line with a training that takes its time and leaves a note of every attempt in $NOTES."""

import os
import time
from dataclasses import dataclass
from pathlib import Path

from tasks.events import Curve
from tasks.registry import TASKS
from tasks.train import Train


@dataclass(frozen=True, kw_only=True)
class Counted:
    """Trains, with a pause of $PAUSE seconds at every event; a trial with the seed $RAISES raises after the first."""

    def unused(self, trial):
        return Train().unused(trial)

    def fusion_key(self, trial):
        return Train().fusion_key(trial)

    def check(self, trial, dataset):
        Train().check(trial, dataset)

    def run(self, trials, dataset, **options):
        note = Path(os.environ["NOTES"]) / f"{os.getpid()}-{time.time_ns()}"
        first = options["start"].step if options["start"] else 0
        for event in Train().run(trials, dataset, **options):
            yield event
            step = int(event.steps[-1]) if isinstance(event, Curve) else event.step
            note.with_suffix(".part").write_text(f"{os.getpid()} {first} {step} {len(trials)}")
            note.with_suffix(".part").replace(note)
            if any(str(trial.seed) == os.environ.get("RAISES") for trial in trials):
                raise ValueError("poison")
            time.sleep(float(os.environ["PAUSE"]))


if __name__ == "__main__":
    TASKS["train"] = Counted
    from pipeline.app import main

    main()
