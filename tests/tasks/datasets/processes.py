"""Processes that do the same at once, forked from one that has imported what they need."""

import json
import subprocess
import sys
from pathlib import Path

FORKING = """
import json, os, pathlib, sys
{preparation}

def forked():
    child = os.fork()
    if not child:
        {call}
        os._exit(0)
    return child

print(json.dumps([os.waitpid(child, 0)[1] for child in [forked() for _ in range({count})]]))
"""


def at_once(count, preparation, call, *arguments):
    """Let so many processes evaluate ``call``, with these ``sys.argv[1:]``; return how each has ended."""
    program = FORKING.format(preparation=preparation, call=call, count=count)
    command = [sys.executable, "-c", program, *map(str, arguments)]
    done = subprocess.run(
        command, cwd=Path(__file__).parents[3], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
