import os

import pytest

from pipeline.engine import machine

CPUS = len(os.sched_getaffinity(0))
MEMORY = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize(
    ("cpus", "memory", "expected"),
    [
        (None, None, (CPUS, MEMORY)),
        ("max 100000", "max", (CPUS, MEMORY)),
        ("100000 100000", "500000000", (1, 500_000_000)),
        ("50000 100000", "1", (1, 1)),
        ("150000 100000", None, (min(2, CPUS), MEMORY)),
        ("999900000 100000", str(2**60), (CPUS, MEMORY)),
    ],
)
def test_a_container_has_no_more_than_its_limits(tmp_path, monkeypatch, cpus, memory, expected):
    monkeypatch.setattr(machine, "_CGROUP", tmp_path)
    for name, text in (("cpu.max", cpus), ("memory.max", memory)):
        if text is not None:
            (tmp_path / name).write_text(f"{text}\n")

    assert (machine.cpu_count(), machine.memory()) == expected
