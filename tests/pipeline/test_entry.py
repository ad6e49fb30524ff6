"""The entry of every command, where an error ends that nobody expected."""

import pytest

from pipeline.entry import run_command

BROKEN = """
def main():
    return first()

def first():
    return second()

def second():
    return third()

def third():
    return {}["token=s3cret&"]
"""


@pytest.fixture
def broken(tmp_path, monkeypatch):
    (tmp_path / "broken_command.py").write_text(BROKEN)
    monkeypatch.syspath_prepend(tmp_path)
    return "broken_command"


def test_an_unexpected_error_is_told_once_with_its_deepest_frames(broken, monkeypatch, capsys):
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)

    with pytest.raises(SystemExit) as ended:
        run_command(broken)

    assert ended.value.code == 1
    *frames, message = capsys.readouterr().err.splitlines()
    assert [line.rpartition(" ")[2] for line in frames if line.startswith("  File")] == ["first", "second", "third"]
    assert message == "error: KeyError: 'token=***&' (HYDRA_FULL_ERROR=1 shows all frames)"


def test_all_frames_are_told_where_they_are_asked_for(broken, monkeypatch):
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")

    with pytest.raises(KeyError, match="s3cret"):
        run_command(broken)
