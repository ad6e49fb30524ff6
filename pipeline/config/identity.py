"""The identity of a trial: a digest of everything that decides its result, and of nothing else."""

from __future__ import annotations

import functools
import hashlib
import json
from pathlib import Path

import tasks
from pipeline.config.packages import Package
from pipeline.config.schema import Config, describe_used
from pipeline.config.syntax import digest_of_sources
from pipeline.config.tables import TABLES
from tasks.trial import Trial

CODE = "tasks.sha256"
"""The tag that says which version of `tasks` computes a sweep."""


def key(config: Config, dataset_digest: str) -> str:
    """Return the key of a trial: a digest of everything that decides its result, and of nothing else.

    It leaves out the parameters that the trial's task or strategy does not use. It holds the syntax of the sources of
    `tasks`, and the version and syntax of each package that has a row of the trial: comments and docstrings do not
    change the key. Of the data set it holds the digest of the data, not the row.
    """
    identity = {"trial": describe_used(config.trial), "dataset": dataset_digest, "code": code_version()}
    if given := {package.name: [package.version, package.sources] for package in packages_of(config.trial)}:
        identity["packages"] = given
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()


def packages_of(trial: Trial) -> list[Package]:
    """Return the other packages whose rows the trial uses."""
    used = describe_used(trial).items()
    given = [TABLES[group].package(value["name"]) for group, value in used if group in TABLES]
    return list({package.name: package for package in given if package is not None}.values())


@functools.cache
def code_version() -> str:
    """Return the SHA-256 of the syntax of the sources of `tasks`, in hexadecimal."""
    return digest_of_sources(Path(tasks.__path__[0]))
