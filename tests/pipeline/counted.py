"""The command line with a training that takes its time and leaves a note of every attempt in $NOTES.

The pipeline's constants that $CONSTANTS names have its values, so that what takes a minute takes a second.
"""

import importlib
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from tasks.events import Curve, Pause
from tasks.studies.registry import TASKS
from tasks.studies.train import Train

# They travel with the training: the workers of a cluster that was joined have another environment.
NOTES, PAUSE, RAISES = os.environ.get("NOTES", ""), float(os.environ.get("PAUSE", "0")), os.environ.get("RAISES")
CONSTANTS = json.loads(os.environ.get("CONSTANTS", "{}"))


def set_constants():
    for name, value in CONSTANTS.items():
        module, _, constant = name.rpartition(".")
        setattr(importlib.import_module(module), constant, value)


@dataclass(frozen=True, kw_only=True)
class Counted:
    """Trains, with a pause of $PAUSE seconds at every event; a trial with the seed $RAISES raises after the first.

    Once there is a file go.part beside the notes, it goes on without a pause.
    """

    needs_data: ClassVar[bool] = True
    # No figure of a training, no winner, nothing that a rule stops: most tests that use it are of other things.
    trains: ClassVar[bool] = bool(os.environ.get("TRAINS"))

    def unused(self, trial):
        return Train().unused(trial)

    def fusion_key(self, trial):
        return Train().fusion_key(trial)

    def check(self, trial, dataset):
        Train().check(trial, dataset)

    def run(self, trials, dataset, **options):
        set_constants()
        note = Path(NOTES) / f"{os.getpid()}-{time.time_ns()}"
        first = options["start"].step if options["start"] else 0
        for event in Train().run(trials, dataset, **options):
            yield event
            at = event.checkpoint if isinstance(event, Pause) else event
            step = int(at.steps[-1]) if isinstance(at, Curve) else at.step
            note.with_suffix(".part").write_text(f"{os.getpid()} {first} {step} {len(trials)}")
            note.with_suffix(".part").replace(note)
            if any(str(trial.seed) == RAISES for trial in trials):
                raise ValueError("poison")
            if not Path(NOTES, "go.part").exists():
                time.sleep(PAUSE)


if __name__ == "__main__":
    TASKS["train"] = Counted
    set_constants()
    from pipeline.cli.app import main

    main()
