"""``python -m tests.fuzz --seconds 60``: damaged files for every reader, each in a process that may crash or hang."""

from __future__ import annotations

import argparse
import subprocess
import sys
import time

from tests.fuzz.readers import READERS

BATCH = 50
HANG = 120.0
"""Seconds for a batch: many times what one takes."""

WORKER = """
import sys, traceback
from tests.fuzz.fuzzing import try_one
name, first, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
for seed in range(first, first + count):
    print(seed, flush=True)
    try:
        try_one(name, seed)
    except BaseException:
        traceback.print_exc()
        sys.exit(3)
"""


def main() -> int:
    """Fuzz for so many seconds; return 1 where a reader crashed, hung or raised what it must not."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="in all (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="the first damaged file's number (default: %(default)s)")
    parser.add_argument("--only", choices=sorted(READERS), help="one reader")
    options = parser.parse_args()
    names = [options.only] if options.only else sorted(READERS)
    end, done, bad = time.monotonic() + options.seconds, 0, 0
    while time.monotonic() < end:
        name, first = names[done % len(names)], options.seed + done // len(names) * BATCH
        bad += not _batch(name, first)
        done += 1
    print(f"{done * BATCH} damaged files for {len(names)} readers, {bad} batches of {BATCH} ended badly")
    return int(bad > 0)


def _batch(name: str, first: int) -> bool:
    command = [sys.executable, "-c", WORKER, name, str(first), str(BATCH)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=HANG, check=False)
        how, out, error = f"ended with {done.returncode}", done.stdout, done.stderr
        if done.returncode == 0:
            return True
    except subprocess.TimeoutExpired as expired:
        how, out, error = "hangs", (expired.stdout or b"").decode(), ""
    last = (out.split() or ["?"])[-1]
    print(f"{name}: {how} at damaged file {last}: python -m tests.fuzz --only '{name}' --seed {last}\n{error}")
    return False


if __name__ == "__main__":
    sys.exit(main())
