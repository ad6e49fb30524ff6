"""Command lines one after another in one process, which has imported once."""

import contextlib
import io
import json
import os
import subprocess
import sys
from pathlib import Path

ROOT, MODULE = Path(__file__).parents[2], "tests.pipeline.session"


def session(folder, *lines, **environment):
    """Run command lines in a forked process, as `commands.run` does; return their exit codes, stderr and stdout."""
    from tests.pipeline import commands

    end = commands.run(["-m", MODULE, json.dumps(lines)], folder, **environment)
    assert end.returncode == 0, end.stderr
    return ends(end)[0]


def fresh_session(folder, *lines):
    """Run command lines in a process that imports nothing before; return also what it has imported in the end."""
    return ends(run(folder, *lines))


def ends(process):
    """Return what a process of `run` tells of its commands."""
    return json.loads(process.stdout.splitlines()[-1])


def run(folder, *lines):
    """Run command lines in one process to its end."""
    return subprocess.run(
        [sys.executable, "-m", MODULE, json.dumps(lines)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))},
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )


def _end(arguments):
    from pipeline.cli.app import main

    sys.argv = ["pipeline", *arguments]
    out, err, code = io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stderr(err), contextlib.redirect_stdout(out):
        try:
            main()
        except SystemExit as end:
            code = end.code
    return code, err.getvalue(), out.getvalue()


if __name__ == "__main__":
    told = [_end(arguments) for arguments in json.loads(sys.argv[1])]
    print(json.dumps([told, [name for name in ("ray", "mlflow", "sklearn", "matplotlib") if name in sys.modules]]))
