"""What follows from the entries of a log, whoever replays it and however much of it there is."""

import dataclasses
import tracemalloc

import numpy as np
import pytest

from pipeline.output import LONGEST_OUTPUT
from pipeline.record.artifacts import CONFIG, LONGEST_NAME, LONGEST_TAG, OVERRIDES, SIGNATURE
from pipeline.record.outbox import PACK_ABOVE, PACK_TAG
from pipeline.record.protocol import Closed, Data, Drew, Opened, Recalled
from pipeline.record.runs import RESUMED, Runs
from pipeline.record.trial_run import OUTPUT, TRIAL_LOG
from pipeline.reports import Finished, Printed, Progressed, Searched, Started, Told
from pipeline.results.criterion import Criterion
from tasks.events import Curve, Outcome
from tests.pipeline.record.recording import PROVENANCE, done, header


@pytest.fixture
def opened(tiny):
    """Return a maker of the first entry of a sweep's log."""

    def make(*trials):
        return Opened(
            log="1",
            uri="sqlite:///mlflow.db",
            experiment="e",
            parent="2" * 32,
            sweep=header(*trials),
            data=Data.of(tiny),
            provenance=PROVENANCE,
        )

    return make


def searched(*numbers):
    proposals = tuple(Told(number=number, params={"learning_rate": str(number)}, known=0) for number in numbers)
    return Searched(
        sampler="tpe", metrics=("val/accuracy",), directions=("maximize",), proposals=proposals, importances={}
    )


def test_no_run_has_the_name_of_one_that_was_lost_with_the_end_of_the_log(opened, trial):
    one, lost, other = trial(), trial(), trial()
    whole, rest = Runs(opened(one, lost, other), "1"), Runs(opened(one, lost, other), "1")
    for runs in (whole, rest):
        runs.apply(Started(trial=one), 1)
    whole.apply(Started(trial=lost), 2)

    rest.apply(Started(trial=other), 3)

    assert whole.names & rest.names == {whole.runs[one.key].id}
    assert sorted(rest.names) == [rest.runs[one.key].id, rest.runs[other.key].id]


@pytest.mark.parametrize(("over", "best"), [(("seed",), 0), (("learning_rate",), 3), (("seed", "learning_rate"), 0)])
def test_a_log_whose_sweep_was_resumed_under_another_ranking_is_read_to_its_end(opened, trial, layout, over, best):
    # given trials of which some are repeats by the first ranking, or by the second one
    trials = [trial(learning_rate=rate, seed=seed) for rate in (1.0, 2.0) for seed in (0, 1)]
    scores, opening = (0.9, 0.6, 0.0, 0.8), opened(*trials)
    runs = Runs(opening, "1")
    for number, one in enumerate(trials[:3]):
        result = done(**{"val/accuracy": scores[number]})
        runs.apply(Finished(trial=one, result=result, layout=layout), number)

    sweep = dataclasses.replace(opening.sweep, criterion=Criterion(over=over))
    runs.apply(dataclasses.replace(opening, sweep=sweep), 4)
    runs.apply(Finished(trial=trials[3], result=done(**{"val/accuracy": scores[3]}), layout=layout), 5)
    runs.apply(Closed(status="FINISHED"), 6)

    assert runs.parent.best.winner.trial == trials[best]
    assert [runs.parent.best.may_win(one) for one in trials] == [number == best for number in range(4)]


def test_who_has_not_ended_or_has_no_score_does_not_win(opened, trial, layout):
    running, diverged = trial(), trial()
    runs = Runs(opened(running, diverged), "1")

    runs.apply(Started(trial=running), 1)
    runs.apply(Finished(trial=diverged, result=done(Outcome.DIVERGED, step=7), layout=layout), 2)

    assert runs.parent.best.winner is None
    tags = runs.outbox.drain(0)[runs.runs[diverged.key].id].tags
    assert (tags["outcome"], tags["outcome.step"]) == ("diverged", "7")


def test_a_run_that_is_older_than_the_log_goes_by_its_id_in_the_store(opened, trial, layout):
    one, store_id = trial(), "3" * 32
    runs = Runs(opened(one), "1")
    runs.apply(Recalled(trial=one, run_id=store_id, curves=(), result=done(), layout=layout), 1)

    runs.apply(Drew(trial=one, files={"loss.png": b"png"}), 2)

    assert runs.parent.tally.standings[one.key].run_id == store_id
    assert runs.outbox.drain(0)[store_id].files == {"figures/loss.png": b"png"}


def test_files_of_arrays_have_names_of_their_own(opened, trial, layout):
    trials = [trial() for _ in range(PACK_ABOVE + 1)]
    runs, names = Runs(opened(*trials), "1"), []
    for one in trials[:2]:
        runs.apply(Finished(trial=one, result=done(), layout=layout), 1)
        names += [name for name in runs.outbox.drain(0)[runs.opened.parent].files if name.startswith(PACK_TAG)]

    assert len(set(names)) == 2


@pytest.mark.parametrize(("first", "total"), [(PACK_ABOVE + 1, 0), (1, PACK_ABOVE + 1)], ids=["grid", "search"])
def test_the_texts_of_a_large_sweep_are_files_and_the_short_ones_of_its_trials_tags(opened, trial, first, total):
    trials = [trial() for _ in range(first)]
    begun = opened(*trials)
    runs = Runs(dataclasses.replace(begun, sweep=dataclasses.replace(begun.sweep, total=total)), "1")

    runs.apply(Started(trial=trials[0]), 1)

    changes = runs.outbox.drain(0)
    of_sweep, of_trial = changes[runs.opened.parent], changes[runs.runs[trials[0].key].id]
    assert of_sweep.files.keys() == {"provenance/versions.txt", SIGNATURE}
    assert of_sweep.files.keys().isdisjoint(of_sweep.tags)
    assert of_trial.params["learning_rate"] == "0.001"
    assert {CONFIG, OVERRIDES} <= of_trial.tags.keys()
    assert of_trial.files == {}


def test_long_names_are_cut_to_what_a_database_server_takes_and_stay_different(opened, trial):
    lead = "gradient prompt=" + "long " * 2000
    trials = [trial(lead + end, learning_rate=rate) for end, rate in (("a", 1.0), ("b", 2.0))]
    runs = Runs(opened(*trials), "1")
    for one in trials:
        runs.apply(Started(trial=one), 1)

    created = [change for change in runs.outbox.drain(0).values() if change.start is not None]

    assert [len(change.name) for change in created] == [LONGEST_NAME] * 2
    assert all(change.name.startswith(lead[:200]) for change in created)
    assert len({change.name for change in created}) == 2
    assert {len(change.tags["setting"]) for change in created} == {LONGEST_TAG}


def test_a_search_that_is_resumed_from_its_first_trial_is_still_the_sweep_that_it_was(opened, trial):
    trials = [trial(learning_rate=float(rate)) for rate in (1, 2)]
    runs = Runs(opened(*trials), "1")

    resumed = dataclasses.replace(header(trials[0]), name="one trial on tiny")
    runs.apply(dataclasses.replace(runs.opened, sweep=resumed), 5)

    assert runs.parent.sweep.name == header().name
    assert runs.parent.sweep.trials == tuple(trials)


def test_the_log_of_a_trial_whose_sweep_is_resumed_says_why_it_was_killed_as_its_tag_does(opened, trial):
    one = trial()
    runs = Runs(opened(one), "1")
    runs.apply(Started(trial=one), 1)
    run = runs.runs[one.key].id

    runs.apply(runs.opened, 2)

    killed = runs.outbox.drain(0)[run]
    assert killed.tags["outcome.message"] == RESUMED
    assert killed.files[TRIAL_LOG].decode().endswith(f" killed: {RESUMED}\n")


def test_the_results_of_ended_trials_hold_no_arrays(opened, trial, layout):
    ended, recalled = trial(), trial()
    runs = Runs(opened(ended, recalled), "1")

    runs.apply(Finished(trial=ended, result=done(), layout=layout), 1)
    runs.apply(Recalled(trial=recalled, run_id="3" * 32, curves=(), result=done(), layout=layout), 1)

    assert [result.arrays for result in runs.results().values()] == [{}, {}]


def test_what_a_trial_says_in_characters_that_a_store_refuses_is_escaped(opened, trial, layout):
    # given a sweep whose short files are tags, and a trial that prints, and ends with, what is no text
    trials = [trial() for _ in range(PACK_ABOVE + 1)]
    runs, odd = Runs(opened(*trials), "1"), "a\0b\udcff ü"
    result = dataclasses.replace(done(Outcome.DIVERGED), message=odd)

    runs.apply(Printed(trial=trials[0], text=odd), 1)
    runs.apply(Finished(trial=trials[0], result=result, layout=layout), 2)
    runs.apply(Closed(status="FINISHED"), 3)

    changes = runs.outbox.drain(0)
    of_trial = changes[runs.runs[trials[0].key].id]
    assert of_trial.tags[OUTPUT] == of_trial.tags["outcome.message"] == "a\\0b\\udcff ü"
    for change in changes.values():
        for text in [*change.tags.values(), *change.params.values()]:
            assert "\0" not in text.encode().decode()
    assert changes[runs.opened.parent].end == ("FINISHED", 3)


@pytest.mark.parametrize("trials", [1, 20])
def test_of_a_group_that_prints_without_end_no_more_is_in_memory_than_one_of_its_trials_will_write(
    opened, trial, trials
):
    runs, group = Runs(opened(), "1"), [trial() for _ in range(trials)]
    tracemalloc.start()
    try:
        for number in range(50):
            text = f"{number}: " + "x" * LONGEST_OUTPUT  # the same in all trials of a group
            for one in group:
                runs.apply(Printed(trial=one, text=text), 1)
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert kept < 5 * LONGEST_OUTPUT


@pytest.mark.parametrize("size", [7, 1000, LONGEST_OUTPUT // 2, LONGEST_OUTPUT])
@pytest.mark.parametrize("beyond", [-1, 0, 1, 2 * LONGEST_OUTPUT])
def test_the_start_and_the_end_of_an_output_are_kept_whatever_it_came_in(opened, trial, size, beyond):
    # given an output that is as long as may be written, or longer, or not so long
    whole = "".join(map(chr, range(32, 127))) * (4 * LONGEST_OUTPUT // 95)
    whole, half = whole[: LONGEST_OUTPUT + beyond], LONGEST_OUTPUT // 2
    runs, one = Runs(opened(), "1"), trial()

    for start in range(0, len(whole), size):
        runs.apply(Printed(trial=one, text=whole[start : start + size]), 1)
    runs.apply(Closed(status="KILLED"), 2)

    written = runs.outbox.drain(0)[runs.runs[one.key].id].files[OUTPUT].decode()
    assert written == (
        whole if beyond <= 0 else f"{whole[:half]}\n... what was printed here is left out ...\n{whole[-half:]}"
    )


def test_proposals_are_known_in_the_batches_in_which_they_were_made(opened, trial):
    runs = Runs(opened(trial()), "1")
    for news in (searched(0, 1), searched(1, 2), searched(2), searched(3)):
        runs.apply(news, 1)

    first, *others = ([dict(params) for params in made] for made in runs.parent.proposed)
    assert first == [{"learning_rate": "0"}, {"learning_rate": "1"}]
    assert others == [[{"learning_rate": "2"}], [{"learning_rate": "3"}]]


def test_the_best_of_a_sweep_that_was_stopped_is_not_named_once_it_has_diverged(opened, trial, layout):
    # given a sweep that was stopped with a trial that had a value
    one = trial()
    opening = opened(one)
    runs = Runs(opening, "1")
    curve = Curve(trial=0, steps=np.array([10]), metrics={"val/accuracy": np.array([0.5])})
    runs.apply(Progressed(trial=one, curve=curve), 1)
    runs.apply(Closed(status="KILLED"), 2)
    stopped = runs.outbox.drain(0)[opening.parent]

    # when a resume lets it diverge
    runs.apply(opening, 3)
    result = dataclasses.replace(done(), outcome=Outcome.DIVERGED)
    runs.apply(Finished(trial=one, result=result, layout=layout), 4)
    runs.apply(Closed(status="FINISHED"), 5)
    ended = runs.outbox.drain(0)[opening.parent]

    assert stopped.tags["best.setting"] == one.name
    assert ended.tags["best.setting"] == ended.tags["best.trial"] == "none"
    assert {name: float(values[-1]) for name, values, *_ in stopped.points}["best/val/accuracy"] == 0.5
    assert np.isnan({name: float(values[-1]) for name, values, *_ in ended.points}["best/val/accuracy"])


@pytest.mark.parametrize(
    ("search", "status", "params"),
    [(True, "KILLED", False), (True, "FAILED", False), (True, "FINISHED", True), (False, "KILLED", True)],
)
def test_a_search_that_was_stopped_has_no_params_yet_since_they_cannot_be_changed(
    opened, trial, search, status, params
):
    runs = Runs(opened(trial()), "1")
    if search:
        runs.apply(searched(0), 1)

    runs.apply(Closed(status=status), 2)

    assert bool(runs.outbox.drain(0)[runs.opened.parent].params) is params
