import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.benchmarks.report import write_json
from tests.benchmarks.row import Reach, Row

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_one_benchmark_alone_is_measured_printed_and_written_as_json(tmp_path, cifar10_root):
    file = tmp_path / "rows.json"

    end = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks", "--only", "numerical", "--repeat", "1", "--json", file],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )

    assert end.returncode == 0, end.stderr
    assert "numerical-gradient" in end.stdout
    assert "numpy" in end.stdout
    (row,) = json.loads(file.read_text())
    assert list(row) == ["name", "value", "against", "ratio", "reach", "met"]
    assert row["name"] == "numerical-gradient"
    assert row["ratio"] == pytest.approx(row["against"] / row["value"])
    assert row["met"] is (row["ratio"] >= 500)


def test_an_unknown_name_is_refused_with_the_choices(tmp_path):
    command = [sys.executable, "-m", "tests.benchmarks", "--only", "sped"]

    end = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)

    assert end.returncode == 2
    assert "got 'sped'" in end.stderr
    assert "landscape" in end.stderr


@pytest.mark.parametrize(
    ("reach", "value", "ratio", "met"),
    [
        (Reach(limit=4, at_least=True), 100.0, 4.0, True),
        (Reach(limit=4, at_least=True), 100.0, 3.9, False),
        (Reach(limit=1.05, at_least=False), 100.0, 1.1, False),
        (Reach(limit=15, at_least=False, of_value=True), 14.0, None, True),
        (Reach(limit=4, at_least=True), None, None, None),
        (None, 100.0, 4.0, None),
    ],
)
def test_a_reach_is_met_by_the_ratio_or_by_the_value(tmp_path, reach, value, ratio, met):
    row = Row(name="row", value=value, ratio=ratio, reach=reach)

    write_json([row], tmp_path / "rows.json")

    assert json.loads((tmp_path / "rows.json").read_text())[0]["met"] is met
