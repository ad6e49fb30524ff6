"""Provenance: the code, libraries, machine and command line that a result comes from, without the user's secrets."""

from __future__ import annotations

import getpass
import os
import platform
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from pipeline.address import redact
from pipeline.config.packages import packages
from pipeline.engine.blas import blas
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
    git = _Git(Path(__file__).resolve().parent.parent)
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
    tags |= {f"version.{name}": version for name in PACKAGES if (version := _version(name))}
    for package in packages():
        tags |= package.tags()
    attachments = {LOCK: "\n".join(sorted(_installed(), key=str.lower)) + "\n"}
    found, diff = git.answer()
    if diff:
        attachments[DIFF] = diff
    return Provenance(tags=tags | found, attachments=attachments)


class _Git:
    """Two git commands that run while the other provenance is collected."""

    def __init__(self, root: Path) -> None:
        # Only a checkout of this project counts, not one that happens to contain the environment.
        here = (root / ".git").exists()
        self._status = _git(root, "status", "--porcelain=v2", "--branch") if here else None
        self._diff = _git(root, "diff", "HEAD", "--no-color", "--no-ext-diff", "--no-textconv") if here else None

    def answer(self) -> tuple[dict[str, str], str]:
        """Return the tags and the uncommitted changes, untracked files named above the diff."""
        status, diff = _output(self._status), _output(self._diff)
        if status is None:
            return {}, ""
        lines = status.splitlines()
        head = dict(line[2:].split(" ", 1) for line in lines if line.startswith("# branch."))
        changes = [line for line in lines if not line.startswith("#")]
        tags = {"git.branch": head.get("branch.head", ""), "git.dirty": str(bool(changes)).lower()}
        if head.get("branch.oid", "(initial)") != "(initial)":
            tags["git.commit"] = head["branch.oid"]
        untracked = [f"untracked: {line[2:]}" for line in changes if line.startswith("? ")]
        text = "\n".join([*untracked, diff or ""]).strip()
        if len(text) > LONGEST_DIFF:
            text = text[:LONGEST_DIFF] + f"\n... cut at {LONGEST_DIFF} characters"
        return tags, text


def _git(root: Path, *command: str) -> subprocess.Popen[str] | None:
    arguments = ["git", "-C", str(root), "-c", "core.fsmonitor=false", "--no-optional-locks", *command]
    try:
        return subprocess.Popen(  # noqa: S603  # fixed arguments, no shell
            arguments, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, errors="replace"
        )
    except OSError:
        return None


def _output(process: subprocess.Popen[str] | None) -> str | None:
    if process is None:
        return None
    try:
        output, _ = process.communicate(timeout=_GIT_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return None
    return output if process.returncode == 0 else None


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


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _installed() -> Iterator[str]:
    # From the names of the folders: reading the metadata of every package takes a third of a second.
    for folder in dict.fromkeys(sys.path):
        if folder and Path(folder).is_dir():
            for path in Path(folder).glob("*.dist-info"):
                name, _, version = path.stem.partition("-")
                yield f"{name}=={version}"
