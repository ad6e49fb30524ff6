"""`python -m pipeline.new`: a package is written whole, or one message says why not."""

from __future__ import annotations

import ast
import tomllib

import pytest

from pipeline.new.command import main

SPELLING = "must be small letters, digits and _, beginning with a letter and not ending with _, as my_sweeps"


def test_a_package_is_written_under_its_name(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)

    assert main(["own_2_sweeps"]) == 0

    files = {file.relative_to(tmp_path / "own_2_sweeps").as_posix() for file in tmp_path.rglob("*") if file.is_file()}
    assert files == {
        "README.md",
        "pyproject.toml",
        "src/own_2_sweeps/__init__.py",
        "src/own_2_sweeps/conf/experiment/own_2_sweeps/first.yaml",
        "src/own_2_sweeps/task.py",
        "tests/test_own_2_sweeps.py",
    }
    texts = [(tmp_path / "own_2_sweeps" / name).read_text() for name in files]
    assert not [text for text in texts if "NAME" in text or "DASHED" in text]
    project = tomllib.loads((tmp_path / "own_2_sweeps/pyproject.toml").read_text())
    assert project["project"]["name"] == "own-2-sweeps"
    assert project["project"]["entry-points"] == {
        "descent_sweeps.tasks": {"own_2_sweeps": "own_2_sweeps.task:Fit"},
    }
    for name in files:
        if name.endswith(".py"):
            ast.parse((tmp_path / "own_2_sweeps" / name).read_text())
    assert "pip install --editable 'own_2_sweeps[test]'" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("My-sweeps", f"NAME {SPELLING}, got 'My-sweeps'"),
        ("../up", f"NAME {SPELLING}, got '../up'"),
        ("1st", f"NAME {SPELLING}, got '1st'"),
        ("numpy", "NAME must not name a module, got 'numpy'"),
        ("tasks", "NAME must not name a module, got 'tasks'"),
        ("json", "NAME must not name a module, got 'json'"),
        ("scikit_learn", "NAME must not name an installed package, got 'scikit_learn'"),
        ("my_", f"NAME {SPELLING}, got 'my_'"),  # pip takes no name that ends so
        ("class", "NAME must be no word that Python, YAML or Hydra reads in its own way, got 'class'"),
        ("nan", "NAME must be no word that Python, YAML or Hydra reads in its own way, got 'nan'"),
        ("landscape", "NAME must not name a task, got 'landscape'"),
        ("there", "NAME must be a folder that is not there yet, got "),
    ],
)
def test_a_name_that_cannot_be_is_refused_and_nothing_is_written(tmp_path, monkeypatch, capsys, name, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").mkdir()

    assert main([name]) == 2

    assert capsys.readouterr().err.startswith(f"error: {message}")
    assert [place.name for place in tmp_path.rglob("*")] == ["there"]
