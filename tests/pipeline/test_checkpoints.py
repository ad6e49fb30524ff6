import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import RecordError
from pipeline.plan.plan import Progress
from pipeline.record.log import DamagedError
from pipeline.sweep.checkpoints import KEPT_AFTER_END, Checkpoints, decode, encode
from tasks.events import Checkpoint, Curve

ROOT = Path(__file__).parents[2]


def saved(step=100, keys=("a", "b", "c")):
    """A checkpoint of three trials whose state stands in another order than the trials do."""
    generator = np.random.default_rng(step)
    curves = tuple(
        Curve(trial=k, steps=np.arange(10, step + 1, 10), metrics={"train/loss": generator.random(step // 10)})
        for k in range(len(keys))
    )
    arrays = {"weights": generator.random((len(keys), 2, 3), dtype=np.float32), "curves/x": np.zeros((len(keys), 0))}
    checkpoint = Checkpoint(step=step, trials=np.arange(len(keys))[::-1].copy(), arrays=arrays)
    progress = Progress(checkpoint=checkpoint, curves=curves)
    return keys, progress


def assert_equal(one, other):
    assert one[0] == other[0]
    a, b = one[1].checkpoint, other[1].checkpoint
    assert a.step == b.step
    np.testing.assert_array_equal(a.trials, b.trials)
    assert a.arrays.keys() == b.arrays.keys()
    for name in a.arrays:
        np.testing.assert_array_equal(a.arrays[name], b.arrays[name])
        assert a.arrays[name].dtype == b.arrays[name].dtype
    for c, d in zip(one[1].curves, other[1].curves, strict=True):
        assert c.trial == d.trial
        np.testing.assert_array_equal(c.steps, d.steps)
        assert c.metrics.keys() == d.metrics.keys()
        for name in c.metrics:
            np.testing.assert_array_equal(c.metrics[name], d.metrics[name])


def assert_loaded(found, expected):
    """Assert that what was found is the progress of each trial of a checkpoint."""
    keys, whole = expected
    assert tuple(found) == keys
    for slot, (key, progress) in enumerate(found.items()):
        assert_equal(((key,), progress), ((key,), whole.of_trials([slot])))


def test_what_is_written_is_read():
    assert_equal(decode(b"".join(encode(saved()))), saved())


def test_the_part_of_some_trials_is_theirs():
    part = saved()[1].of_trials([2, 0])

    checkpoint = part.checkpoint
    assert checkpoint.trials.tolist() == [0, 1]
    np.testing.assert_array_equal(checkpoint.arrays["weights"], saved()[1].checkpoint.arrays["weights"][[0, 2]])
    assert [curve.trial for curve in part.curves] == [1, 0]


@given(data=st.data())
def test_damage_is_noticed_wherever_it_is(data):
    whole = b"".join(encode(saved()))
    if data.draw(st.booleans(), label="truncated"):
        damaged = whole[: data.draw(st.integers(0, len(whole) - 1))]
    else:
        place, bit = data.draw(st.integers(0, len(whole) - 1)), data.draw(st.integers(0, 7))
        damaged = whole[:place] + bytes([whole[place] ^ 1 << bit]) + whole[place + 1 :]

    with pytest.raises(DamagedError, match=r"checksum|another form"):
        decode(damaged)


def test_a_checkpoint_of_an_older_form_is_refused():
    older = b"".join(encode(saved())).replace(b"checkpoint 4", b"checkpoint 3", 1)
    with pytest.raises(DamagedError, match="descent-sweeps checkpoint 4"):
        decode(older)


@given(st.binary(max_size=300))
def test_foreign_bytes_are_refused(content):
    with pytest.raises(DamagedError):
        decode(content)


def test_the_last_two_are_kept_and_the_one_before_replaces_a_damaged_one(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    for step in (100, 200, 300):
        checkpoints.save(*saved(step))
    assert [path.name[-14:] for path in sorted(tmp_path.iterdir())] == ["200.checkpoint", "300.checkpoint"]
    assert_loaded(checkpoints.load(), saved(300))

    last = max(tmp_path.iterdir())
    last.write_bytes(last.read_bytes()[:-100])

    assert_loaded(checkpoints.load(), saved(200))
    assert checkpoints.damaged == [last]


def test_writing_takes_no_more_than_its_share(tmp_path, monkeypatch):
    checkpoints = Checkpoints(tmp_path)
    assert checkpoints.is_due(("a", "b", "c"))

    clock = iter([100.0, 101.0, 119.0, 122.0, 119.0])  # it takes a second to write
    monkeypatch.setattr("pipeline.sweep.checkpoints.time.monotonic", lambda: next(clock))
    checkpoints.save(*saved())

    assert not checkpoints.is_due(("a", "b", "c"))
    assert checkpoints.is_due(("a", "b", "c"))
    assert checkpoints.is_due(("d",))


def test_every_trial_goes_on_from_its_furthest_checkpoint(tmp_path):
    # given a group that was halved after a fault, and one half that came further
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(*saved(100, ("a", "b", "c")))
    checkpoints.save(*saved(200, ("b", "c")))

    found = {key: progress.checkpoint.step for key, progress in checkpoints.load().items()}

    assert found == {"a": 100, "b": 200, "c": 200}


def test_the_checkpoints_of_a_group_are_removed_some_time_after_its_last_trial_has_ended(tmp_path, monkeypatch):
    now = 0.0
    monkeypatch.setattr("pipeline.sweep.checkpoints.time.monotonic", lambda: now)
    checkpoints = Checkpoints(tmp_path)
    for step, keys in ((100, ("a", "b")), (200, ("a", "b")), (300, ("b",)), (100, ("c",))):
        checkpoints.save(*saved(step, keys))

    def kept(at):
        nonlocal now
        now = at
        checkpoints.save(*saved(100, ("d",)))
        return sorted((keys, progress.checkpoint.step) for keys, progress in map(read, tmp_path.iterdir()))

    def read(path):
        return decode(path.read_bytes())

    every = [(("a", "b"), 100), (("a", "b"), 200), (("b",), 300), (("c",), 100), (("d",), 100)]
    checkpoints.end("a")
    assert kept(1000.0) == every
    checkpoints.end("b")
    assert kept(1000.0 + KEPT_AFTER_END / 2) == every
    assert kept(1000.0 + KEPT_AFTER_END) == every[3:]


LIMITED = """
import resource, signal, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_checkpoints import saved
from pipeline.sweep.checkpoints import Checkpoints
checkpoints = Checkpoints(Path(sys.argv[1]))
checkpoints.save(*saved(100))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    checkpoints.save(*saved(200))
except OSError as error:
    print(error.strerror)
"""


def test_a_write_that_fails_leaves_the_last_good_one(tmp_path):
    # when the system takes no more than 1000 bytes of the second checkpoint
    script = LIMITED.format(tests=str(Path(__file__).parent))
    end = subprocess.run(
        [sys.executable, "-c", script, tmp_path], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )

    assert "File too large" in end.stdout
    (file,) = tmp_path.iterdir()
    assert_equal(decode(file.read_bytes()), saved(100))


HOLDING = """
import sys
from pathlib import Path
from pipeline.sweep.checkpoints import Checkpoints
checkpoints = Checkpoints(Path(sys.argv[1]))
print("mine", flush=True)
sys.stdin.read()
"""


def test_one_process_at_a_time_uses_a_folder(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-c", HOLDING, tmp_path], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout.readline() == "mine\n"
        with pytest.raises(RecordError, match="must not be running elsewhere"):
            Checkpoints(tmp_path)
        assert Checkpoints.are_used(tmp_path)
        # The lock goes with the process, even where it is killed.
        other.kill()
        other.wait()

    assert not Checkpoints.are_used(tmp_path)
    Checkpoints(tmp_path).close(done=True)

    assert not tmp_path.exists()


def test_sweeps_in_one_folder_have_checkpoints_of_their_own(tmp_path):
    one, other = Checkpoints.fresh(tmp_path), Checkpoints.fresh(tmp_path)

    assert one.folder != other.folder


def test_a_folder_that_may_not_be_looked_into_may_be_used(tmp_path):
    # given the checkpoints of another user, on the same machine and in the same store
    folder = Checkpoints.fresh(tmp_path / "theirs").folder
    tmp_path.chmod(0)
    user = os.geteuid()
    os.seteuid(user or 65534)  # who is no root, and may not either
    try:
        assert Checkpoints.are_used(folder)
    finally:
        os.seteuid(user)
        tmp_path.chmod(0o700)
