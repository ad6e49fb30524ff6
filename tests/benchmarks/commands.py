"""Commands as a shell runs them: timed from start to end, alone on the machine or beside a running Ray cluster."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.benchmarks.row import Skipped
from tests.benchmarks.timing import seconds
from tests.pipeline.serving import free_port

ROOT = Path(__file__).parents[2]
PEERS = Path(__file__).with_name("peers")
STORE = "mlflow.db"


def environment(rays: Path) -> dict[str, str]:
    """Return the environment of a command that finds no Ray cluster but the one started with the folder ``rays``."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return {**os.environ, "RAY_TMPDIR": str(rays), "PYTHONPATH": path, "RAY_USAGE_STATS_ENABLED": "0"}


def pipeline(*arguments: str) -> list[str]:
    """Return this project's command."""
    return [sys.executable, "-m", "pipeline", *arguments]


def timed(command: Sequence[str], folder: Path, *, rays: Path | None = None) -> float:
    """Return the seconds that a command takes in its folder.

    Raises
    ------
    RuntimeError
        If it fails, with the end of what it printed.
    """
    log = folder / "output.txt"
    with log.open("w", encoding="utf-8") as output:

        def run() -> None:
            code = subprocess.run(
                command,
                cwd=folder,
                env=environment(rays or folder),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                check=False,
            ).returncode
            if code:
                raise RuntimeError(f"{' '.join(command)} exited with {code}:\n{tail(log)}")

        return seconds(run)


def tail(log: Path, lines: int = 15) -> str:
    """Return the last lines of a log."""
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])


def require_peer(module: str) -> None:
    """Skip a peer that is not installed."""
    if importlib.util.find_spec(module) is None:
        raise Skipped(f"{module} is not installed: pip install -e '.[bench]'")


def make_store(folder: Path) -> str:
    """Make an MLflow store and return its address: two workers that make one at once break it."""
    address = f"sqlite:///{folder / STORE}"
    code = f"import mlflow; mlflow.MlflowClient({address!r}).search_experiments()"
    timed([sys.executable, "-c", code], folder)
    return address


@contextlib.contextmanager
def running_cluster(cpus: int) -> Iterator[Path]:
    """Start a Ray cluster of its own, as a user has one running, and yield the folder that leads to it."""
    rays = Path(tempfile.mkdtemp(prefix="r."))
    ray = Path(sys.executable).with_name("ray")
    start = [ray, "start", "--head", "--block", "--port=0", f"--num-cpus={cpus}", "--include-dashboard=false"]
    if importlib.util.find_spec("grpc"):
        start.append(f"--ray-client-server-port={free_port()}")  # else it is 10001, which another cluster may have
    with (rays / "output.txt").open("w", encoding="utf-8") as output:
        process = subprocess.Popen(
            start, env=environment(rays), stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        while not (rays / "ray" / "ray_current_cluster").exists():
            if process.poll() is not None:
                raise RuntimeError(f"Ray did not start:\n{tail(rays / 'output.txt')}")
            time.sleep(0.2)
        time.sleep(10)  # its idle workers are starting still
        yield rays
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        process.wait()
        shutil.rmtree(rays, ignore_errors=True)
