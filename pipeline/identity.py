"""The identity of a trial: a digest of all that decides its result, and of nothing else."""

from __future__ import annotations

import functools
import hashlib
import json
from pathlib import Path

import tasks
from pipeline.schema import Config, describe_trial


def key(config: Config, dataset_digest: str) -> str:
    """Return what identifies a trial: a digest of all that decides its result, and of nothing else.

    A parameter that the trial's task or strategy does not use takes no part in it. The version of the code
    is the hash of the sources of `tasks`: what cannot change a result does not change the key.
    """
    unused = config.trial.task.unused(config.trial)
    used = {name: value for name, value in describe_trial(config.trial).items() if name not in unused}
    identity = {"trial": used, "dataset": dataset_digest, "code": code_version()}
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()


@functools.cache
def code_version() -> str:
    """Return the SHA-256 of the sources of `tasks`, in hexadecimal."""
    root = Path(tasks.__path__[0])
    digest = hashlib.sha256()
    for source in sorted(root.rglob("*.py")):
        digest.update(source.relative_to(root).as_posix().encode() + b"\0" + source.read_bytes())
    return digest.hexdigest()
