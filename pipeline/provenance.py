"""Provenance: the code, libraries, machine and command line that a result comes from, without the user's secrets."""

from __future__ import annotations

import getpass
import os
import platform
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from pipeline import HOME
from pipeline.address import redact
from pipeline.background import in_background
from pipeline.config.packages import packages
from pipeline.engine.blas import blas
from pipeline.engine.machine import version_of
from pipeline.record.protocol import FOLDER, Provenance

PACKAGES = (
    "descent-sweeps",
    "numpy",
    "scipy",
    "ray",
    "mlflow",
    "hydra-core",
    "array-api-compat",
    "scikit-learn",
)
COMPUTING = ("numpy", "array-api-compat")
"""Those of the packages that compute trials."""

DIFF = "uncommitted.diff"
LOCK = "versions.txt"
LONGEST_DIFF = 2_000_000

_GIT_SECONDS = 5.0
_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_CORETYPE")
"""The only environment variables that are read: they decide bits, and hold no secret."""


def collect() -> Provenance:
    """Return the provenance of this process.

    Outside a git checkout of the project there are no ``git.`` tags and no diff. This imports neither Ray nor MLflow,
    and takes a fraction of a second.
    """
    git = in_background(lambda: git_state(HOME))  # while the rest is collected
    tags = {
        "command": redact(shlex.join(sys.orig_argv)),
        FOLDER: str(Path.cwd()),
        "user": _user(),
        "host": socket.gethostname(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu": _cpu(),
        "blas": "{}, {} threads".format(*blas()),
    }
    tags |= {f"environment.{name}": os.environ[name] for name in _VARIABLES if name in os.environ}
    tags |= {f"version.{name}": version for name, version in versions(PACKAGES).items()}
    for package in packages():
        tags |= package.tags()
    attachments = {LOCK: "\n".join(sorted(_installed(), key=str.lower)) + "\n"}
    found, diff = git.result()
    if diff:
        attachments[DIFF] = diff
    return Provenance(tags=tags | found, attachments=attachments)


def versions(names: Iterable[str] = COMPUTING) -> dict[str, str]:
    """Return the versions of the libraries of these names, and of what the packages that add rows ask for."""
    every = dict.fromkeys([*names, *(name for package in packages() for name in package.requirements)])
    return {name: version for name in every if (version := version_of(name))}


def git_state(root: Path) -> tuple[dict[str, str], str]:
    """Return the tags of a checkout of the project and its uncommitted changes, untracked files named above the diff.

    Only a checkout counts, not one that happens to contain the environment.
    """
    status = _git(root, "status", "--porcelain=v2", "--branch") if (root / ".git").exists() else None
    if status is None:
        return {}, ""
    lines = status.splitlines()
    head = dict(line[2:].split(" ", 1) for line in lines if line.startswith("# branch."))
    changes = [line for line in lines if not line.startswith("#")]
    tags = {"git.branch": head.get("branch.head", ""), "git.dirty": str(bool(changes)).lower()}
    if head.get("branch.oid", "(initial)") != "(initial)":
        tags["git.commit"] = head["branch.oid"]
    untracked = [f"untracked: {line[2:]}" for line in changes if line.startswith("? ")]
    diff = _git(root, "diff", "HEAD", "--no-color", "--no-ext-diff", "--no-textconv")
    text = "\n".join([*untracked, diff or ""]).strip()
    if len(text) > LONGEST_DIFF:
        text = text[:LONGEST_DIFF] + f"\n... cut at {LONGEST_DIFF} characters"
    return tags, text


def _git(root: Path, *command: str) -> str | None:
    """Return what a git command prints, None if it fails or takes too long, or there is no git."""
    arguments = ["git", "-C", str(root), "-c", "core.fsmonitor=false", "--no-optional-locks", *command]
    try:
        done = subprocess.run(  # noqa: S603  # fixed arguments, no shell
            arguments, capture_output=True, text=True, errors="replace", timeout=_GIT_SECONDS, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a user id without a name, as in some containers
        return "unknown"


def _cpu() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return f"{line.partition(':')[2].strip()}, {os.cpu_count()} CPUs"
    except OSError:
        pass
    return f"{platform.processor() or platform.machine()}, {os.cpu_count()} CPUs"


def _installed() -> Iterator[str]:
    # From the names of the folders: reading the metadata of every package takes a third of a second.
    for folder in dict.fromkeys(sys.path):
        if folder and Path(folder).is_dir():
            for path in Path(folder).glob("*.dist-info"):
                name, _, version = path.stem.partition("-")
                yield f"{name}=={version}"
