"""Score space against the general loops: the same searches, landscapes and step sizes, by another way."""

import dataclasses

import numpy as np
import pytest

from tasks.events import Curve, Result
from tasks.losses import LOSSES, Logistic, Svm
from tasks.models.linear import Linear
from tasks.models.model import ScoreLinear
from tasks.regularizers import L1
from tasks.strategies import STRATEGIES
from tasks.studies.landscape import Landscape
from tasks.studies.step_size import StepSize
from tasks.studies.train import Train
from tasks.trial import Trial
from tests.tasks.groups import STEADY, rates

ROWS = [kind() for kind in LOSSES.values()]
RATES = rates(random=1.0, local=1e-4, gradient=1e-6, lbfgs=1.0)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Unaware:
    """The linear model, without saying that its scores are linear in the weights."""

    def __getattr__(self, name):
        if name in {"scores_of_points", "scores_of_blocks", "alignment"}:
            raise AttributeError(name)
        return getattr(Linear(), name)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class InBlocks(Linear):
    """The linear model, with a block size of its own."""

    def block(self, image_shape, classes):
        return 30


def events(trial, dataset):
    return list(trial.task.run([trial], dataset, threads=1))


@pytest.mark.parametrize("strategy", ["random", "local"])
def test_a_search_takes_the_blocks_of_its_model(small_dataset, strategy):
    # given trials of a model with blocks so small that the examples are several
    settings = {"strategy": STRATEGIES[strategy](), "learning_rate": RATES[strategy], "batch_size": None, "steps": 40}
    in_blocks, whole = (
        [Trial(task=Train(), model=model, seed=seed, **settings) for seed in range(3)]
        for model in (InBlocks(), Linear())
    )
    assert len(small_dataset.train) > 2 * InBlocks().block((), 0)
    results = [
        [event for event in Train().run(group, small_dataset, threads=1) if isinstance(event, Result)]
        for group in (in_blocks, whole, in_blocks[2:])
    ]
    # then they are searched as in one block, and bit for bit alone as fused
    for one, other in zip(*results[:2], strict=True):
        np.testing.assert_allclose(one.arrays["weights"], other.arrays["weights"], rtol=1e-4, atol=1e-8)
    np.testing.assert_array_equal(results[0][2].arrays["weights"], results[2][0].arrays["weights"])


def test_only_one_of_them_goes_through_score_space():
    assert isinstance(Linear(), ScoreLinear)
    assert not isinstance(Unaware(), ScoreLinear)


@pytest.mark.parametrize("loss", ROWS)
@pytest.mark.parametrize("strategy", STEADY)
def test_a_strategy_is_its_general_loop(small_dataset, strategy, loss):
    # given a trial that sees all examples at every step
    settings = {"strategy": STRATEGIES[strategy](), "learning_rate": RATES[strategy], "batch_size": None}
    # and a penalty that decides with the loss which candidate of a search is better
    settings |= {"regularization": {"random": 1e6, "local": 1e4}.get(strategy, 1e-3)}
    settings |= {"loss": loss, "steps": 40, "record_every": 1, "evaluate_every": 20}
    fast, general = (
        events(Trial(task=Train(), model=model, **settings), small_dataset) for model in (Linear(), Unaware())
    )
    # then the same steps are taken, and told
    for one, other in zip(*([e for e in told if isinstance(e, Curve)] for told in (fast, general)), strict=True):
        np.testing.assert_array_equal(one.steps, other.steps)
        for name, values in one.metrics.items():
            np.testing.assert_allclose(values, other.metrics[name], rtol=2e-4, atol=1e-6, err_msg=name)
    (one,), (other,) = ([e for e in told if isinstance(e, Result)] for told in (fast, general))
    np.testing.assert_allclose(one.arrays["weights"], other.arrays["weights"], rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize("loss", ROWS)
@pytest.mark.parametrize("dimensions", [1, 2])
def test_a_landscape_is_that_of_plain_evaluations(small_dataset, dimensions, loss):
    scales = {"weights_scale": 1e-3, "direction_scale": 1e-3}
    task = Landscape(dimensions=dimensions, resolution=5, **scales)
    fast, general = (
        events(Trial(task=task, model=model, loss=loss, regularization=1e-2), small_dataset)[-1]
        for model in (Linear(), Unaware())
    )
    for name, values in fast.arrays.items():
        np.testing.assert_allclose(values, general.arrays[name], rtol=1e-5, atol=1e-7, err_msg=name)


@pytest.mark.parametrize("loss", ROWS)
def test_step_sizes_are_those_of_plain_evaluations(small_dataset, loss):
    task = StepSize(weights_scale=1e-3, examples=100)
    fast, general = (
        events(Trial(task=task, model=model, loss=loss, regularizer=L1(), regularization=1e-2), small_dataset)[-1]
        for model in (Linear(), Unaware())
    )
    for name, values in fast.arrays.items():
        np.testing.assert_allclose(values, general.arrays[name], rtol=1e-9, err_msg=name)


def test_losses_of_other_coordinates_are_no_group_of_a_local_search_but_of_a_descent():
    local, descent = (
        [Trial(task=Train(), strategy=STRATEGIES[name](), loss=loss, batch_size=None) for loss in (Svm(), Logistic())]
        for name in ("local", "gradient")
    )
    assert len({trial.task.fusion_key(trial) for trial in local}) == 2
    assert len({trial.task.fusion_key(trial) for trial in descent}) == 1
