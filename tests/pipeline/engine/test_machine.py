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
    monkeypatch.setattr(machine, "_OWN_GROUP", tmp_path / "cgroup")
    (tmp_path / "cgroup").write_text("0::/\n")
    for name, text in (("cpu.max", cpus), ("memory.max", memory)):
        if text is not None:
            (tmp_path / name).write_text(f"{text}\n")

    assert (machine.cpu_count(), machine.memory()) == expected


def test_a_job_has_no_more_than_the_groups_above_it(tmp_path, monkeypatch):
    # given a task of a job of Slurm's, whose memory is limited, on a machine that limits CPUs for all jobs
    monkeypatch.setattr(machine, "_CGROUP", tmp_path)
    monkeypatch.setattr(machine, "_OWN_GROUP", tmp_path / "cgroup")
    (tmp_path / "cgroup").write_text("1:name=systemd:/other\n0::/slurm/job_7/task_0\n")
    (tmp_path / "slurm" / "job_7" / "task_0").mkdir(parents=True)
    (tmp_path / "slurm" / "job_7" / "task_0" / "memory.max").write_text("max\n")
    (tmp_path / "slurm" / "job_7" / "memory.max").write_text("500000000\n")
    (tmp_path / "slurm" / "cpu.max").write_text("100000 100000\n")

    assert (machine.cpu_count(), machine.memory()) == (1, 500_000_000)
