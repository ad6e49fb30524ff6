"""A tally names settings once, and not for each trial that starts."""

from pipeline.reports import Finished
from pipeline.results import tally as module
from pipeline.results.tally import Tally
from tests.pipeline.record.recording import done


def test_trials_that_are_known_are_not_named_again(trial, monkeypatch):
    trials = [trial(str(rate), learning_rate=float(rate), seed=seed) for rate in (1, 2) for seed in (0, 1)]
    tally, named, names = Tally(trials), [], module.setting_names
    monkeypatch.setattr(module, "setting_names", lambda *arguments: named.append(1) or names(*arguments))

    for one in trials:  # as a record does for each that starts
        tally.add([one])
        tally.setting_name(one)
        tally.take(Finished(trial=one, result=done(), layout=None))

    assert named == [1]
