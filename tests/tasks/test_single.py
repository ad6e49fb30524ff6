"""A task of one's own: one trial at a time, by a function that reports."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest

from tasks.arrays.devices import HOST_BLOCKS
from tasks.cost import DataSize, cost
from tasks.datasets.nothing import Nothing
from tasks.errors import ConfigError
from tasks.events import Checkpoint, Curve, Outcome, Pause, Result
from tasks.memory import bytes_of_group, widest_group
from tasks.single import Diverged, Single
from tasks.studies.train import Train
from tasks.trial import Trial, check

NOTHING = Nothing().load()


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit(Single):
    """Descends on a parabola, keeps where it is, and counts the steps it has computed."""

    needs_data: ClassVar[bool] = False
    width: int = 2
    keeps: bool = True

    def train(self, trial, data, report):
        at = report.kept.get("at", np.full(self.width, 3.0))
        rng = np.random.default_rng(trial.seed)
        rng.bit_generator.state = eval(report.kept["rng"]) if report.step else rng.bit_generator.state
        for step in range(report.step + 1, trial.steps + 1):
            at = at - trial.learning_rate * (2 * at + rng.standard_normal(self.width))
            if step % trial.evaluate_every == 0:
                state = {"at": at, "rng": repr(rng.bit_generator.state).encode()}
                report(step, {"loss": float(at @ at)}, keep=(lambda s=state: s) if self.keeps else None)
        return {"end/loss": at @ at, "at": at}


def trial(task=None, **changes):
    return Trial(**{"task": task or Fit(), "steps": 20, "evaluate_every": 5, "learning_rate": 0.1} | changes)


def run(one, **options):
    return list(one.task.run([one], NOTHING, threads=1, **options))


def points(events):
    return {int(event.steps[0]): float(event.metrics["loss"][0]) for event in events if isinstance(event, Curve)}


def test_a_trial_reports_and_ends_in_a_result():
    events = run(trial())

    assert list(points(events)) == [5, 10, 15, 20]
    (result,) = (event for event in events if isinstance(event, Result))
    assert (result.outcome, result.step) == (Outcome.COMPLETE, 20)
    assert result.metrics == {"end/loss": points(events)[20]}
    assert result.arrays["at"].shape == (2,)


@pytest.mark.parametrize(("last", "value"), [(0.4, 0.4), (float("nan"), 0.9), (0.9, 0.9)])
def test_a_metric_that_is_returned_too_has_the_value_of_its_point_at_that_step(last, value):
    @dataclass(frozen=True, kw_only=True)
    class ReturnsItsBest(Fit):
        def train(self, trial, data, report):
            report(5, {"accuracy": 0.9})
            report(10, {"accuracy": last})
            return {"accuracy": 0.9, "other": 1}

    result = run(trial(ReturnsItsBest()))[-1]

    assert result.metrics == {"accuracy": value, "other": 1}
    told = "accuracy is 0.4, as it was reported at step 10, and not 0.9, as it was returned" if last == 0.4 else ""
    assert result.message.partition(":")[0] == told


def test_a_trial_that_ends_where_it_goes_on_from_keeps_the_metrics_of_that_step():
    @dataclass(frozen=True, kw_only=True)
    class OutOfPatience(Fit):
        def train(self, trial, data, report):
            if not report.step:
                report(5, {"accuracy": 0.4, "loss": float("nan")}, keep=lambda: {"best": 0.9})
            return {"accuracy": float(report.kept["best"]), "loss": 1}

    checkpoint = run(trial(OutOfPatience()), until=5)[-1].checkpoint
    (result,) = run(trial(OutOfPatience()), start=checkpoint)

    assert (result.step, result.metrics) == (5, {"accuracy": 0.4, "loss": 1})


def test_a_field_that_a_trial_does_not_have_is_told_with_the_closest_one():
    class Mistyped(Fit):
        uses: ClassVar[frozenset[str]] = frozenset({"learning_rat", "steps"})

    with pytest.raises(ConfigError, match=r"^Mistyped.uses must be one of .* \(did you mean 'learning_ra"):
        Mistyped().unused(trial())


@pytest.mark.parametrize("keeps", [True, False])
def test_a_trial_that_pauses_and_goes_on_is_the_one_that_never_did(keeps):
    one = trial(Fit(keeps=keeps))
    whole = run(one)

    first = run(one, until=10)
    assert isinstance(first[-1], Pause)
    assert first[-1].checkpoint.step == 10
    second = run(one, start=Checkpoint.join([first[-1].checkpoint]), until=15)
    third = run(one, start=second[-1].checkpoint, until=20)

    # without anything kept, it begins again: the same points come once more
    begun = [5, 10, 15] if not keeps else [15]
    assert (list(points(first)), list(points(second)), list(points(third))[-1]) == ([5, 10], begun, 20)
    assert points(first) | points(second) | points(third) == points(whole)
    np.testing.assert_array_equal(third[-1].arrays["at"], whole[-1].arrays["at"])


@pytest.mark.parametrize("keeps", [True, False])
def test_a_trial_that_has_come_to_where_it_pauses_pauses_there(keeps):
    one = trial(Fit(keeps=keeps))
    there = run(one, until=10)[-1].checkpoint

    (pause,) = run(one, start=there, until=10)

    assert pause == Pause(checkpoint=there)


def test_checkpoints_come_no_oftener_than_is_asked():
    steps = [event.step for event in run(trial(), checkpoint_every=8) if isinstance(event, Checkpoint)]
    assert steps == [10]
    assert [event.step for event in run(trial(steps=40), checkpoint_every=8) if isinstance(event, Checkpoint)] == [
        10,
        20,
        30,
    ]
    assert not [event for event in run(trial(Fit(keeps=False)), checkpoint_every=5) if isinstance(event, Checkpoint)]


def test_a_buffer_that_is_kept_and_used_again_is_kept_as_it_was():
    @dataclass(frozen=True, kw_only=True)
    class Reusing(Fit):
        def train(self, trial, data, report):
            buffer = bytearray(b"one")
            report(5, {}, keep=lambda: {"state": buffer})
            buffer[:] = b"other"
            report(10, {}, keep=lambda: {"state": buffer})

    kept = [event for event in run(trial(Reusing()), checkpoint_every=5) if isinstance(event, Checkpoint)]

    assert [bytes(one.arrays["bytes/state"][0]) for one in kept] == [b"one", b"other"]


def test_what_was_kept_is_the_functions_own_to_change_and_the_checkpoint_stays():
    @dataclass(frozen=True, kw_only=True)
    class InPlace(Fit):
        def train(self, trial, data, report):
            state = {"at": np.zeros(2)} | report.kept
            for step in range(report.step + 1, trial.steps + 1):
                state["at"] += step
                if step % trial.evaluate_every == 0:
                    report(step, {"loss": state["at"].sum()}, keep=lambda: state)
            return state

    one = trial(InPlace())
    there = run(one, until=10)[-1].checkpoint
    there.arrays["at"].flags.writeable = False  # as it is where a worker of Ray gets it

    for _ in range(2):  # after a worker was lost, it goes on from the same checkpoint
        np.testing.assert_array_equal(run(one, start=there)[-1].arrays["at"], run(one)[-1].arrays["at"])


def test_what_a_task_does_not_use_takes_no_part_and_cannot_be_seen():
    @dataclass(frozen=True, kw_only=True)
    class Curious(Fit):
        def train(self, trial, data, report):
            return {"clip": trial.clip}

    one = trial(Curious())
    assert {"model", "loss", "clip", "record_every"} <= one.task.unused(one)
    assert not {"task", "learning_rate", "seed"} & one.task.unused(one)
    with pytest.raises(AttributeError, match=r"clip must be in `uses` of Curious, which has batch_size, "):
        run(one)


def test_what_is_raised_is_raised_where_the_trial_is_computed_after_what_was_told():
    @dataclass(frozen=True, kw_only=True)
    class Poison(Fit):
        def train(self, trial, data, report):
            report(3, {"loss": 1.0})
            raise OSError("poison")

    events = trial(Poison()).task.run([trial(Poison())], NOTHING, threads=1)
    assert points([next(events)]) == {3: 1.0}
    with pytest.raises(OSError, match="poison") as error:
        next(events)
    assert "train" in [entry.name for entry in error.traceback]


def test_a_training_can_say_that_it_diverged():
    @dataclass(frozen=True, kw_only=True)
    class Wild(Fit):
        def train(self, trial, data, report):
            report(4, {"loss": float("inf")})
            raise Diverged("the loss is infinite")

    (result,) = (event for event in run(trial(Wild())) if isinstance(event, Result))
    assert (result.outcome, result.step, result.message) == (Outcome.DIVERGED, 4, "the loss is infinite")


def test_a_function_that_is_not_listened_to_any_more_ends_where_it_reports():
    ended = threading.Event()

    @dataclass(frozen=True, kw_only=True)
    class Endless(Fit):
        def train(self, trial, data, report):
            try:
                for step in range(1, trial.steps + 1):
                    report(step, {"loss": 0.0})
            finally:
                ended.set()

    events = Endless().run([trial(Endless())], NOTHING, threads=1)
    next(events)
    assert not ended.is_set()
    events.close()
    assert ended.wait(5)
    assert not [thread for thread in threading.enumerate() if thread.name == "trial"]


def test_a_function_that_catches_what_stops_it_is_stopped_again():
    stops = []

    @dataclass(frozen=True, kw_only=True)
    class Stubborn(Fit):
        patience: ClassVar[float] = 0.1

        def train(self, trial, data, report):
            for step in range(1, trial.steps + 1):
                try:
                    report(step, {"loss": 0.0})
                except BaseException as error:  # noqa: BLE001
                    stops.append(type(error).__name__)

    events = Stubborn().run([trial(Stubborn())], NOTHING, threads=1)
    next(events)
    events.close()
    deadline = time.monotonic() + 5
    while len(stops) < 20 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert stops == ["_Stopped"] * 20


def test_a_step_may_be_a_number_of_any_library():
    @dataclass(frozen=True, kw_only=True)
    class Numpy(Fit):
        def train(self, trial, data, report):
            for step in np.arange(5, trial.steps + 1, 5, dtype=np.int32):
                report(step, {"loss": 1.0}, keep=lambda: {"at": np.zeros(2)})

    *points, result = run(trial(Numpy()), checkpoint_every=5)
    steps = [event.step for event in points if isinstance(event, Checkpoint)] + [result.step]
    assert steps == [5, 10, 15, 20]
    # a checkpoint's file and a run's record hold numbers of Python's own
    assert {type(step) for step in steps} == {int}
    assert type(run(trial(Numpy()), until=10)[-1].checkpoint.step) is int


@pytest.mark.filterwarnings("error")
def test_a_metric_may_be_a_number_of_any_library():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    loss = torch.tensor([2.0], requires_grad=True).sum()

    @dataclass(frozen=True, kw_only=True)
    class Measured(Fit):
        def train(self, trial, data, report):
            report(5, {"loss": loss, "one": np.float32(1), "array": np.array([3.0])})
            return {"end": loss, "whole": np.int64(4)}

    curve, result = run(trial(Measured()))

    assert {name: values.tolist() for name, values in curve.metrics.items()} == {"loss": [2], "one": [1], "array": [3]}
    assert result.metrics == {"end": 2, "whole": 4}

    @dataclass(frozen=True, kw_only=True)
    class Several(Fit):
        def train(self, trial, data, report):
            report(5, {"loss": torch.ones(2)})

    with pytest.raises(ConfigError, match=r"metric 'loss' must be a number, got tensor\(\[1., 1.\]\)"):
        run(trial(Several()))


@pytest.mark.parametrize(
    ("calls", "message"),
    [
        ([(0, {})], r"must be above 0, the last, and at most steps=20, got 0"),
        ([(5, {}), (5, {})], r"must be above 5, the last, .*, got 5"),
        ([(21, {})], r"at most steps=20, got 21"),
        ([(2.5, {})], r"a step that is reported must be a whole number, got 2\.5"),
        ([("5", {})], r"a step that is reported must be a whole number, got '5'"),
        ([(5, {"loss": "low"})], r"metric 'loss' must be a number, got 'low'"),
        ([(5, {"loss": 10**309})], r"metric 'loss' must be a number, got 10000"),
        ([(5, [0.5])], r"the metrics that are reported must be a mapping from names to values, got \[0.5\]"),
        ([(5, {}), (12, {})], r"must report at step 10, where it is compared with others, got 12 after 5"),
    ],
)
def test_a_report_that_cannot_be_is_refused(calls, message):
    @dataclass(frozen=True, kw_only=True)
    class Wrong(Fit):
        def train(self, trial, data, report):
            for step, metrics in calls:
                report(step, metrics)

    with pytest.raises(ConfigError, match=message):
        run(trial(Wrong()), until=10)


def test_what_cannot_be_kept_or_returned_is_refused():
    @dataclass(frozen=True, kw_only=True)
    class Wrong(Fit):
        def train(self, trial, data, report):
            report(5, {}, keep=lambda: {"model": object()})

    with pytest.raises(
        ConfigError, match=r"what is kept or returned as 'model' must be numbers, text or bytes, got <object"
    ):
        run(trial(Wrong()), until=5)
    with pytest.raises(ConfigError, match=r"what is kept or returned as 'model' must be"):
        run(trial(Wrong()), checkpoint_every=5)

    @dataclass(frozen=True, kw_only=True)
    class Number(Fit):
        def train(self, trial, data, report):
            return 3

    with pytest.raises(ConfigError, match=r"what train returns must be a mapping from names to values, got 3"):
        run(trial(Number()))

    @dataclass(frozen=True, kw_only=True)
    class State(Fit):
        keep: str = ""

        def train(self, trial, data, report):
            report(5, {}, keep=self.keep or (lambda: b"state"))

    with pytest.raises(ConfigError, match=r"what is kept must be a mapping from names to values, got b'state'"):
        run(trial(State()), until=5)
    with pytest.raises(ConfigError, match=r"keep must be a function that returns the state, got 'state'"):
        run(trial(State(keep="state")))

    @dataclass(frozen=True, kw_only=True)
    class Lists(Fit):
        def train(self, trial, data, report):
            return {"history": [[1], [2, 3]]}

    with pytest.raises(
        ConfigError, match=r"returned as 'history' must be numbers, text or bytes, got list: setting an"
    ):
        run(trial(Lists()))

    @dataclass(frozen=True, kw_only=True)
    class Classes(Fit):
        def train(self, trial, data, report):
            return {"classes": np.array(["a", None], dtype=object)}

    with pytest.raises(ConfigError, match=r"what is kept or returned as 'classes' must be numbers, text or bytes"):
        run(trial(Classes()))


def test_a_task_gets_data_where_it_needs_them_and_none_where_it_does_not(small_dataset):
    check(trial(), NOTHING)
    check(trial(Train(), batch_size=10), small_dataset)
    with pytest.raises(ConfigError, match=r"dataset must be none for this task, .*, got 'small'"):
        check(trial(), small_dataset)
    with pytest.raises(ConfigError, match=r"dataset must be one with examples for this task, got 'none'"):
        check(replace(trial(), task=Train()), NOTHING)


def test_what_a_model_of_ones_own_takes_is_unknown_and_it_has_a_device_to_itself():
    assert cost([trial()], DataSize.of(NOTHING)).of(1) == 40  # two a step
    assert bytes_of_group([trial()], NOTHING, blocks=HOST_BLOCKS) == 0
    assert widest_group([trial()], NOTHING, available=2**40, blocks=HOST_BLOCKS, threads=1) == 1
