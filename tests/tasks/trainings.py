"""Trainings of the tests: a trial of any strategy, what a group of them yields, and whether it is the same."""

import numpy as np

from tasks.events import Curve, Outcome, Result
from tasks.strategies import STRATEGIES
from tasks.studies.train import Train
from tasks.trial import Trial
from tests.tasks.groups import rates

RATES = rates(gradient=1e-5, lbfgs=1.0, local=1e-3, random=1.0)


def trial(strategy="gradient", **changes):
    values = {
        "task": Train(),
        "strategy": STRATEGIES[strategy](),
        "learning_rate": RATES[strategy],
        "batch_size": 64,
        "steps": 60,
        "evaluate_every": 25,
    }
    return Trial(**values | changes)


def on_batches(*sizes):
    """Return every strategy with every batch size that it takes."""
    return [(name, size) for name in STRATEGIES for size in sizes if name != "lbfgs" or size is None]


def run(trials, dataset, *, threads=1, **options):
    events = list(trials[0].task.run(trials, dataset, threads=threads, **options))
    curves = {}
    for event in events:
        if isinstance(event, Curve):
            assert len(event.steps), "a curve has points"
            for name, values in event.metrics.items():
                for step, value in zip(event.steps, values, strict=True):
                    curve = curves.setdefault(event.trial, {}).setdefault(name, {})
                    assert step not in curve, "a point is yielded once"
                    curve[int(step)] = float(value)
    results = {event.trial: event for event in events if isinstance(event, Result)}
    assert sorted(results) == list(range(len(trials))), "every trial has one result"
    return curves, results


def assert_same_bits(one, other):
    for (curves_a, result_a), (curves_b, result_b) in zip(one, other, strict=True):
        assert curves_a == curves_b
        assert result_a.metrics == result_b.metrics
        assert_same_arrays(result_a, result_b)


def assert_same_arrays(result, other):
    assert result.arrays.keys() == other.arrays.keys() == ({"weights"} if result.outcome is Outcome.COMPLETE else set())
    for name, array in result.arrays.items():
        np.testing.assert_array_equal(array, other.arrays[name])


def by_trial(curves, results):
    return [(curves.get(k, {}), results[k]) for k in sorted(results)]
