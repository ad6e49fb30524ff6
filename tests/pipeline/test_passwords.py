"""No password is told: not by an error, not by a sweep's record or files."""

import json
import socket
import sys

import pytest

from pipeline import provenance
from pipeline.cli.error_messages import message_of
from pipeline.sweep import resume as resuming
from tests.pipeline import session
from tests.pipeline.commands import run
from tests.pipeline.secret import SECRET, holding

SMALL = ("dataset=synthetic", "steps=20", "batch_size=32", "engine=inprocess")


def test_what_is_printed_and_recorded_of_a_command_line_has_no_password(monkeypatch):
    line = ["pipeline", "-m", f"tracking.uri=postgresql://ann:{SECRET}@host/db", "seed=1,2"]
    monkeypatch.setattr(sys, "argv", line)
    monkeypatch.setattr(sys, "orig_argv", ["python", "-m", *line])

    told = [resuming.resume_command(), provenance.collect().tags["command"], message_of(ValueError("something"))]

    for text in told:
        assert "tracking.uri=postgresql://***@host/db" in text
        assert SECRET not in text


def test_what_hydras_own_launcher_and_sweeper_write_has_no_password_and_files_of_the_user_are_left_alone(tmp_path):
    # given a file of the user's own, with a password, where Hydra is told to put its files
    (tmp_path / "mine.yaml").write_text(f"uri: postgresql://ann:{SECRET}@host/db\n")
    small = [*SMALL, f"tracking.uri=postgresql://ann:{SECRET}@host/db", "sweep.dry_run=true"]
    here = ["hydra.run.dir=.", "hydra.output_subdir=."]

    ends = session.session(
        tmp_path,
        ["-m", "seed=1,2", *small, "hydra/sweeper=basic", "hydra.sweep.dir=one"],
        ["-m", "seed=1,2", *small, "hydra/sweeper=basic", "hydra/launcher=basic", "hydra.sweep.dir=two"],
        [*small, *here],
    )

    assert [code for code, _, _ in ends] == [0, 0, 0], ends
    assert all((tmp_path / name).is_file() for name in ("one/multirun.yaml", "two/multirun.yaml", "config.yaml"))
    assert holding(tmp_path) == ["mine.yaml"]


@pytest.fixture
def odd():
    """Return the port of a server that answers whoever comes with something that is no store's answer."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        import threading

        def answer():
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(4096)
                    connection.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")

        thread = threading.Thread(target=answer)
        thread.start()
        yield listening.getsockname()[1]
        listening.shutdown(socket.SHUT_RDWR)
    thread.join()


@pytest.mark.slow
def test_no_error_shows_the_password_of_a_store_that_cannot_be_used(tmp_path, odd):
    # given stores that refuse, answer nonsense, cannot be found, have no driver, and addresses that are none
    places = [
        f"postgresql://ann:{SECRET}@127.0.0.1:1/db",
        f"https://ann:{SECRET}@127.0.0.1:1",
        f"http://ann:{SECRET}@127.0.0.1:{odd}",
        f"https://ann:{SECRET}@127.0.0.1:{odd}",
        f"postgresql+psycopg2://ann:{SECRET}@127.0.0.1:{odd}/db",
        f"mysql://ann:{SECRET}@127.0.0.1:{odd}/db",
        f"postgresql://ann:{SECRET}@nowhere.invalid/db",
        f"postgresql://ann:{SECRET}@127.0.0.1:99999/db",
        f"nosuch://ann:{SECRET}@127.0.0.1/db",
        f"http://ann:{SECRET}/word@127.0.0.1:{odd}",
        f"postgresql://ann:{SECRET}@[::1/db",  # Hydra cannot read it
        f"'postgresql://ann:{SECRET}@[::1/db'",
        f"[postgresql://ann:{SECRET}@host/db]",  # a list
        f"${{postgresql://ann:{SECRET}@host/db}}",
    ]
    commands = [[*SMALL, f"tracking.uri={uri}"] for uri in places]
    commands += [["-m", "seed=1,2", *SMALL, f"tracking.uri={uri}"] for uri in places[:3]]
    commands += [[*SMALL, f"tracking.uri={places[0]}", other] for other in ("learning_rat=1", "loss=none", "seed=[")]

    # when each is used
    done = run(["-m", session.MODULE, json.dumps(commands)], tmp_path)

    # then each is an error, and the password is neither in it nor in a file
    assert SECRET not in done.stdout + done.stderr
    assert done.returncode == 0, done.stderr
    ends, _ = session.ends(done)
    assert {code for code, *_ in ends} == {2}
    assert all("error: " in err for _, err, _ in ends)
    assert holding(tmp_path) == []


@pytest.mark.slow
def test_a_sweep_on_a_store_with_a_password_leaves_it_nowhere(tmp_path, server, server_folder, experiment):
    # given a sweep that writes to a server for which it has a password
    uri = f"http://ann:{SECRET}@127.0.0.1:{server}"
    where = [f"tracking.uri={uri}", f"tracking.experiment={experiment}"]
    done = run(["-m", "pipeline", "-m", *SMALL, "seed=1,2", *where], tmp_path)
    assert done.returncode == 0, done.stderr

    # then neither what it printed, nor its folders, nor the record, nor the server's log hold it
    assert f"http://***@127.0.0.1:{server}/#/experiments/" in done.stdout
    assert SECRET not in done.stdout + done.stderr
    assert holding(tmp_path) == []
    assert holding(server_folder) == []
    assert any("multirun" in str(path) for path in tmp_path.rglob(".hydra/config.yaml"))
    assert list((server_folder / "artifacts").rglob("overrides.yaml"))
