"""The BLAS is asked for its name while other threads import libraries."""

import subprocess
import sys
from pathlib import Path

WHILE_LIBRARIES_ARE_LOADED = """
import threading
from _ctypes import dlclose, dlopen
from pathlib import Path

import numpy

from pipeline.engine.blas import blas

modules = [str(file) for file in Path(numpy.__file__).parent.rglob("*.so")]

def load():
    while True:
        for module in modules:
            dlclose(dlopen(module, 1))

threading.Thread(target=load, daemon=True).start()
for _ in range(20):
    print(*blas())
"""


def test_the_blas_is_found_while_another_thread_imports():
    # threadpoolctl before 3.7 and the import wait for each other, always here and sometimes as a sweep starts.
    end = subprocess.run(
        [sys.executable, "-c", WHILE_LIBRARIES_ARE_LOADED],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert (end.returncode, end.stdout.count("\n")) == (0, 20), end.stderr
