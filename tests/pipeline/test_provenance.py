"""Provenance is collected fast, holds what decides a result, and no secret."""

import json
import subprocess
import sys

from pipeline import provenance
from tests.pipeline.secret import SECRET


def collect_in_a_process(*arguments, **environment):
    code = (
        "import json, sys; from pipeline.provenance import collect; now = collect();"
        "print(json.dumps([now.tags, now.attachments, list(sys.modules)]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True, env=environment or None
    )
    return json.loads(done.stdout)


def make_repository(folder):
    def git(*arguments):
        identity = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")
        subprocess.run(["git", "-C", str(folder), *identity, *arguments], check=True, capture_output=True)

    git("init", "-b", "trunk")
    (folder / "code.py").write_text("a = 1\n")
    git("add", "code.py")
    git("commit", "-m", "first")
    return folder


def test_what_decides_a_result_is_there():
    now = provenance.collect()

    assert {"command", "python", "platform", "cpu", "blas", "version.numpy", "version.ray"} <= now.tags.keys()
    assert all(isinstance(value, str) for value in now.tags.values())
    assert "numpy==" in now.attachments[provenance.LOCK]
    assert "threads" in now.tags["blas"]


def test_no_secret_of_the_environment_or_the_command_line_is_kept(monkeypatch):
    environment = {"AWS_SECRET_ACCESS_KEY": SECRET, "OMP_NUM_THREADS": "1", "MLFLOW_TRACKING_PASSWORD": SECRET}

    tags, attachments, _ = collect_in_a_process(
        f"tracking.uri=http://ann:{SECRET}@host", f"token={SECRET}", **environment
    )

    assert SECRET not in json.dumps([tags, attachments])
    assert "tracking.uri=http://***@host" in tags["command"]
    assert tags["environment.OMP_NUM_THREADS"] == "1"
    assert not {name for name in tags if "AWS" in name or "MLFLOW_" in name}


def test_neither_ray_nor_mlflow_is_imported():
    *_, modules = collect_in_a_process()

    assert not {"ray", "mlflow"} & set(modules)


def test_a_clean_checkout_is_its_commit(tmp_path):
    tags, diff = provenance.git_state(make_repository(tmp_path))

    assert len(tags.pop("git.commit")) == 40
    assert tags == {"git.branch": "trunk", "git.dirty": "false"}
    assert diff == ""


def test_uncommitted_changes_are_kept(tmp_path):
    repository = make_repository(tmp_path)
    (repository / "code.py").write_text("a = 2\n")
    (repository / "new.py").write_text("b = 1\n")

    tags, diff = provenance.git_state(repository)

    assert tags["git.dirty"] == "true"
    assert diff.startswith("untracked: new.py\ndiff --git")
    assert "-a = 1\n+a = 2" in diff


def test_a_repository_without_a_commit_and_a_folder_without_a_repository_are_no_error(tmp_path):
    (empty := tmp_path / "empty").mkdir()
    subprocess.run(["git", "-C", str(empty), "init", "-b", "trunk"], check=True, capture_output=True)
    (inside := empty / "site-packages").mkdir()

    assert provenance.git_state(empty) == ({"git.branch": "trunk", "git.dirty": "false"}, "")
    assert provenance.git_state(inside) == ({}, "")


def test_a_machine_without_git_is_no_error(tmp_path, monkeypatch):
    repository = make_repository(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))

    assert provenance.git_state(repository) == ({}, "")
