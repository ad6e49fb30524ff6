"""Replays: what they compute, on every array library, and on a GPU how often Python computes it."""

import importlib

import numpy as np
import pytest
from array_api_compat import array_namespace

from tasks.arrays.devices import as_numpy, is_torch_on_cuda
from tasks.arrays.replay import Replay, entry, free_graphs
from tasks.fused.descent import Replayed
from tasks.fused.problem import Problem
from tasks.optimizers import OPTIMIZERS
from tasks.strategies.row_descent import RowDescent
from tasks.strategies.scaled_descent import ScaledDescent
from tests.tasks.backends import OTHERS, like_of
from tests.tasks.rows_of_models import SMALL_MODELS
from tests.tasks.trainings import trial

CALLS = 8


@pytest.fixture(params=OTHERS)
def like(request):
    """Return an empty float32 array of a library that is not NumPy."""
    return like_of(request.param)


@pytest.fixture
def cuda():
    """Return an empty float32 array of PyTorch on a GPU."""
    like = like_of("cuda")
    if not is_torch_on_cuda(like):
        pytest.skip("PyTorch sees no GPU")
    return like


class Sum:
    """A sum of entries in place, which counts how often Python computes it."""

    def __init__(self, like, extra=lambda total: None):
        xp, device = array_namespace(like), like.device
        self.values = xp.arange(CALLS, dtype=xp.float32, device=device)
        self.total = xp.zeros(1, dtype=xp.float32, device=device)
        self.calls, self.extra = 0, extra

    def __call__(self, number):
        self.calls += 1
        self.total += entry(self.values, number)
        self.extra(self.total)
        return [self.total * 2, self.total + 1]


def sums(replay):
    return [[float(as_numpy(output)[0]) for output in outputs] for outputs in [replay(k) for k in range(CALLS)]]


EXPECTED = [[2 * total, total + 1] for total in np.arange(CALLS).cumsum().tolist()]


def test_a_replay_computes_what_is_written(like):
    assert sums(Replay(Sum(like), like)) == EXPECTED


@pytest.mark.gpu
def test_on_a_gpu_python_computes_once_and_once_more_for_the_record(cuda):
    compute = Sum(cuda)
    assert sums(Replay(compute, cuda)) == EXPECTED
    assert compute.calls == 2


@pytest.mark.gpu
def test_what_is_made_at_the_first_call_may_wait(cuda):
    made = []
    compute = Sum(cuda, lambda total: made or made.append(float(total[0])))
    assert sums(Replay(compute, cuda)) == EXPECTED
    assert compute.calls == 3


def wait(total):
    assert bool(total >= 0)


def run_out_of_memory(total):
    torch = importlib.import_module("torch")
    if torch.cuda.is_current_stream_capturing():
        torch.empty(2**50, device=total.device)


@pytest.mark.gpu
@pytest.mark.parametrize("extra", [wait, run_out_of_memory])
def test_what_cannot_be_recorded_is_computed_as_it_is_written(cuda, extra):
    compute = Sum(cuda, extra)
    assert sums(Replay(compute, cuda)) == EXPECTED
    assert compute.calls >= CALLS
    # and the next one is recorded
    compute = Sum(cuda)
    assert sums(Replay(compute, cuda)) == EXPECTED
    assert compute.calls == 2


@pytest.mark.gpu
def test_replays_one_after_the_other_share_their_memory(cuda):
    torch = importlib.import_module("torch")
    taken = []
    for _ in range(6):
        sums(Replay(Sum(cuda, extra=lambda _: torch.ones(2**26, device="cuda") + 1), cuda))
        taken.append(torch.cuda.memory_reserved())
    assert taken[-1] == taken[1]


@pytest.mark.gpu
def test_a_group_begins_without_the_memory_of_the_graphs_before(cuda):
    torch = importlib.import_module("torch")
    free_graphs()
    before = torch.cuda.memory_reserved()
    sums(Replay(Sum(cuda, extra=lambda _: torch.ones(2**26, device="cuda") + 1), cuda))
    assert torch.cuda.memory_reserved() > before + 2**28
    free_graphs()
    assert torch.cuda.memory_reserved() < before + 2**27


@pytest.mark.gpu
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("model", SMALL_MODELS)
def test_replayed_steps_are_the_steps_bit_for_bit(cuda, image_dataset, model, optimizer):
    # given a group whose learning rates fall and whose weights decay
    settings = {"model": SMALL_MODELS[model], "optimizer": OPTIMIZERS[optimizer](), "batch_size": 32, "steps": 20}
    group = [trial(learning_rate=rate, regularization=0.1, seed=k, **settings) for k, rate in enumerate((1e-3, 2e-3))]
    problem = Problem.of(group, image_dataset, like=cuda, threads=1)
    kind = ScaledDescent if optimizer == "sgd" else RowDescent

    def weights(step_of):
        descent = kind(problem, kind.init(problem, problem.initial_weights([1.0, 1.0])), range(1, 21))
        step = step_of(descent)
        measures = [step(number, norms=number % 2 == 1) for number in range(20)]
        return as_numpy(descent.state()["weights"]), [[as_numpy(value) for value in values] for values, _ in measures]

    def by_number_on_the_device(descent):
        xp = array_namespace(cuda)
        return lambda number, norms: descent.step(xp.asarray([number], device="cuda"), norms=norms)

    # when its steps are replayed, and done one by one
    replayed, curves = weights(lambda descent: Replayed(descent, cuda).step)
    expected, expected_curves = weights(by_number_on_the_device)
    # then nothing differs
    np.testing.assert_array_equal(replayed, expected)
    np.testing.assert_array_equal(curves, expected_curves)


def test_an_entry_is_that_of_its_number(like):
    xp, device = array_namespace(like), like.device
    values = xp.reshape(xp.arange(6, dtype=xp.float32, device=device), (3, 2))
    for number in range(3):
        there = xp.asarray([number], device=device)
        np.testing.assert_array_equal(as_numpy(entry(values, there)), as_numpy(entry(values, number)))
