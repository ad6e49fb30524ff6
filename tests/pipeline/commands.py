"""Commands that need not import first: processes forked from one that has imported what takes seconds to import.

Each is a process of its own, with its own folder, environment and output, to be signalled and killed as any other,
and runs what ``python ARGUMENTS`` runs, but draws no figures unless `FIGURES` is set. What Python or a library reads
when it starts must have been set before, but what Ray reads then, how to show a token, may be any command's own: such a
command is not forked.
"""

import atexit
import contextlib
import functools
import multiprocessing
import os
import runpy
import shutil
import subprocess
import sys
import tempfile
import time
import weakref
from multiprocessing import forkserver
from pathlib import Path
from unittest import mock

ROOT = Path(__file__).parents[2]

FIGURES = "FIGURES"
"""The variable that asks a command for figures: they take half of the time of a short one."""

UNDRAWN = """
import sys
from pipeline.cli.app import main
from pipeline.figures.drawers import InThisThread
from pipeline.figures.drawings import Figures
from pipeline.sweep import opening
opening.all_figures, opening.DrawingProcesses = Figures, lambda _: InThisThread()
sys.exit(main())
"""
"""What a fresh interpreter runs as ``descent-sweeps``, but without figures."""

_FRESH, _FORKED = multiprocessing.get_context("spawn"), multiprocessing.get_context("forkserver")
_FORKED.set_forkserver_preload(
    [
        "pipeline.cli.app",
        "pipeline.sweep.live",
        "pipeline.engine.ray_engine",
        "pipeline.figures.sweep",
        "pipeline.figures.trial",
        "pipeline.reproduce.rerun",
        "pipeline.tracking.mlflow_recorder",
        "pipeline.tracking.model",
        "mlflow.pyfunc",
        "alembic.command",
        "mlflow.store.tracking.sqlalchemy_store",
        "mlflow.store.model_registry.sqlalchemy_store",
        "optuna.importance",
        "scipy.optimize",
        "scipy.stats",
        "tests.pipeline.preloaded",
    ]
)


@functools.cache
def _start_server():
    """Start the process that commands are forked from; to import what is preloaded it needs the path of this tree."""
    with mock.patch.dict(os.environ, PYTHONPATH=str(ROOT)):
        forkserver.ensure_running()


class Command:
    """A running ``python ARGUMENTS`` in ``folder``, with more environment variables where they are given."""

    def __init__(self, arguments, folder, **environment):
        self.arguments = [str(argument) for argument in arguments]
        told = Path(tempfile.mkdtemp(prefix="command-"))
        self._remove = weakref.finalize(self, shutil.rmtree, told, ignore_errors=True)
        self._said = None
        self.out, self.err = told / "out", told / "err"
        self.out.touch()
        # The module that imports Ray sets the second, which has been imported here before the command begins.
        variables = {**os.environ, "PYTHONPATH": str(ROOT), "RAY_USAGE_STATS_ENABLED": "0", **environment}
        _start_server()
        context = _FRESH if "RAY_AUTH_MODE" in variables else _FORKED
        self._process = context.Process(
            target=_run, args=(self.arguments, str(folder), variables, str(self.out), str(self.err))
        )
        self._process.start()

    @property
    def pid(self):
        return self._process.pid

    @property
    def returncode(self):
        return self._process.exitcode

    def poll(self):
        return self.returncode

    def wait(self, timeout=None):
        self._process.join(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired(self.arguments, timeout)
        return self.returncode

    def communicate(self, timeout=None):
        """Wait for the end, and return all that was written to stdout and stderr."""
        self.wait(timeout)
        if self._said is None:
            self._said = self.out.read_text(), self.err.read_text()
            self._remove()
        return self._said

    def lines(self):
        """Yield the lines of stdout as they are written."""
        with self.out.open() as file:
            while line := self._line(file):
                yield line

    def _line(self, file):
        line = ""
        while not line.endswith("\n"):
            ended = self.poll() is not None
            line += file.readline()
            if ended:
                break
            if not line.endswith("\n"):
                time.sleep(0.02)
        return line

    def send_signal(self, number):
        os.kill(self.pid, number)

    def kill(self):
        self._process.kill()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        if exception[0] is not None:
            self.kill()
        self.wait()


def run(arguments, folder, *, timeout=240, **environment):
    """Run ``python ARGUMENTS`` in ``folder`` to its end."""
    with Command(arguments, folder, **environment) as command:
        out, err = command.communicate(timeout)
    return subprocess.CompletedProcess(command.arguments, command.returncode, out, err)


def _create_from_a_copy(_, file):
    """Create an SQLite store, which takes MLflow a second."""
    from tests.stores import empty_store

    fresh = file.with_name(f"{file.name}.part")
    fresh.write_bytes(empty_store())
    fresh.replace(file)  # another process may be reading the empty file


def _run(arguments, folder, variables, out, err):
    from pipeline.figures.drawers import InThisThread
    from pipeline.figures.drawings import Figures
    from pipeline.reproduce import rerun
    from pipeline.sweep import opening
    from pipeline.tracking import connection
    from tests.pipeline import preloaded  # noqa: F401  # the server says nothing of what it could not import

    for path, number in ((out, 1), (err, 2)):
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(file, number)
        os.close(file)
    os.environ.clear()
    os.environ.update(variables)
    os.chdir(folder)
    sys.orig_argv = [sys.executable, *arguments]
    # Matplotlib has been imported here, and would have to be once more in each of them.
    opening.DrawingProcesses = lambda _: InThisThread()
    if FIGURES not in variables:
        opening.all_figures = rerun.all_figures = Figures
    connection._create = _create_from_a_copy
    try:
        if arguments[0] == "-m":
            sys.argv = arguments[1:]
            runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
        else:
            sys.argv = arguments
            runpy.run_path(arguments[0], run_name="__main__")
    finally:
        with contextlib.suppress(Exception):
            atexit._run_exitfuncs()  # multiprocessing leaves them out
