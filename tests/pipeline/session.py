"""Command lines one after another in one process, which has imported once."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

SESSION = """
import contextlib, io, json, sys
from pipeline.cli.app import main

ends = []
for arguments in json.load(sys.stdin):
    sys.argv = ["pipeline", *arguments]
    out, err, code = io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stderr(err), contextlib.redirect_stdout(out):
        try:
            main()
        except SystemExit as end:
            code = end.code
    ends.append([code, err.getvalue(), out.getvalue()])
print(json.dumps([ends, [name for name in ("ray", "mlflow", "sklearn") if name in sys.modules]]))
"""


def session(folder, *commands):
    """Run commands in one process, and return their exit codes, stderr and stdout, and what was imported."""
    return ends(run(folder, *commands))


def ends(process):
    """Return what a process of `run` tells of its commands."""
    return json.loads(process.stdout.splitlines()[-1])


def run(folder, *commands):
    """Run commands in one process to its end."""
    return subprocess.run(
        [sys.executable, "-c", SESSION],
        input=json.dumps([list(command) for command in commands]),
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))},
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
