"""The contract of the core on every array library: what NumPy gives, within the rounding of the precision."""

import dataclasses
import itertools

import numpy as np
import pytest
from array_api_compat import array_namespace, is_numpy_array

from tasks.arrays.devices import as_numpy, device_put, in_precision
from tasks.arrays.stacking import per_trial, stack
from tasks.events import Checkpoint, Outcome, Result
from tasks.fused.objective import Objective
from tasks.fused.problem import Problem
from tasks.losses import LOSSES, Softmax, Svm
from tasks.models.linear import Linear
from tasks.models.model import as_matrices
from tasks.optimizers import OPTIMIZERS
from tasks.regularizers import L1, L2, REGULARIZERS
from tasks.studies.finite_difference import FiniteDifference
from tasks.studies.gradient_check import GradientCheck
from tasks.studies.landscape import Landscape
from tasks.studies.step_size import StepSize
from tasks.studies.train import Train
from tasks.trial import Trial
from tests.tasks.backends import OTHERS, distance, like_of
from tests.tasks.groups import STEADY, groups
from tests.tasks.rows_of_models import SMALL_MODELS
from tests.tasks.trainings import RATES, run, trial

# The largest difference from NumPy, relative to the largest magnitude: of one evaluation in float64, and of 60
# steps of training in float32, where roundings add up (measured with PyTorch on a CPU: 2.2e-6 in the weights).
EVALUATION = 1e-13
TRAINING = 2e-5


@pytest.fixture(params=OTHERS)
def like(request):
    """Return an empty float32 array of a library that is not NumPy."""
    return like_of(request.param)


def there(like, *arrays):
    return [device_put(np.asarray(array), like) for array in arrays]


def scores_and_labels(seed=1, shape=(3, 4, 20)):
    rng = np.random.default_rng(seed)
    return rng.normal(0, 2, size=shape), rng.integers(shape[-2], size=shape[-1])


def mixed_trials(strategy="gradient", **changes):
    kinds = [kind() for kind in LOSSES.values()]
    rows = itertools.product(kinds, [(L2(), 0.0), (L1(), 1e-3)], [0, 1])
    return [
        trial(strategy, loss=loss, regularizer=regularizer, regularization=strength, seed=seed, **changes)
        for loss, (regularizer, strength), seed in rows
    ]


@pytest.mark.parametrize("name", LOSSES)
def test_losses_and_their_gradients(like, name):
    scores, labels = scores_and_labels()
    scores[1] = np.nan
    loss = LOSSES[name]()

    def everything(scores, labels):
        kind = loss.coordinates
        ahead = kind.counted(scores, labels, loss.offset), kind.of(scores, labels) + loss.offset
        return [loss.losses(scores, labels), *loss.losses_and_gradient(scores, labels), *map(loss.sums, ahead)]

    expected, found = everything(scores, labels), everything(*there(like, scores, labels))
    for one, other in zip(found, expected, strict=True):
        assert array_namespace(one) is array_namespace(like)
        assert distance(as_numpy(one)[[0, 2]], other[[0, 2]]) < EVALUATION
    assert np.isnan(as_numpy(found[0])[1]).all()


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizers_step_by_step(like, name):
    kind = OPTIMIZERS[name]
    gradients = np.random.default_rng(0).normal(size=(4, 2, 15))
    fused = [kind(), kind(**dict.fromkeys([field.name for field in dataclasses.fields(kind)], 0.5))]

    def descend(like):
        like = in_precision(like, "float64")
        row, rate = stack(fused, like=like, trailing=1), per_trial([0.1, 0.01], like=like, trailing=1)
        (weights,) = there(like, np.zeros((2, 15)))
        state = row.init(weights)
        for step, gradient in enumerate(gradients, start=1):
            update, state = row.update(*there(like, gradient), state, learning_rate=rate, step=step)
            weights = weights + update
        return as_numpy(weights)

    assert distance(descend(like), descend(np.empty(0))) < EVALUATION


@pytest.mark.parametrize("name", REGULARIZERS)
def test_regularizers(like, name):
    weights = np.random.default_rng(0).normal(size=(2, 3, 5))
    (strange,) = there(like, weights)
    row = REGULARIZERS[name]()
    assert distance(as_numpy(row.penalty(strange)), row.penalty(weights)) < EVALUATION
    assert distance(as_numpy(row.gradient(strange, 0.5)), row.gradient(weights, 0.5)) < EVALUATION


@pytest.mark.parametrize("examples", [1, 20])
def test_the_linear_model(like, examples):
    rng = np.random.default_rng(0)
    points, features = rng.normal(size=(3, 28)), rng.normal(size=(examples, 7))
    slope, blocks = rng.normal(size=(3, 4, examples)), rng.normal(size=(2, 3, 28))
    model = Linear()

    def products(points, features, slope, blocks):
        arrangement = model.arrange(3, (6,), 4, [examples], like=points)
        rows = arrangement.rows(points)
        scores, vjp = arrangement.scores_and_vjp(rows, features)
        return [
            arrangement.points(rows),
            arrangement.scores(rows, features),
            scores,
            arrangement.points(vjp(slope)),
            arrangement.data_gradient(rows, features, slope),
            arrangement.last_layer_inputs(rows, features),
            model.scores_of_points(points, features),
            model.scores_of_blocks(blocks, features),
        ]

    arrays = (points, features, slope, blocks)
    for one, other in zip(products(*there(like, *arrays)), products(*arrays), strict=True):
        assert distance(as_numpy(one), other) < EVALUATION


def test_the_objective_of_trials_that_differ(like):
    trials = mixed_trials()
    trials.sort(key=lambda t: (type(t.loss).__name__, type(t.regularizer).__name__))
    rng = np.random.default_rng(0)
    arrays = rng.normal(size=(len(trials), 28)), rng.normal(size=(20, 7)), rng.integers(4, size=20)

    def evaluate(like):
        objective = Objective.of(trials, like=in_precision(like, "float64"))
        points, features, labels = there(like, *arrays)
        arrangement = Linear().arrange(len(trials), (6,), 4, [20], like=points)
        scores, vjp = arrangement.scores_and_vjp(arrangement.rows(points), features)
        losses, slope = objective.losses_and_slope(scores, labels)
        penalties = (
            objective.regularization_loss(as_matrices(points, [(4, 7)])),
            objective.regularization_gradient(points),
        )
        return [as_numpy(array) for array in (losses, arrangement.points(vjp(slope)), scores, *penalties)]

    for one, other in zip(evaluate(like), evaluate(np.empty(0)), strict=True):
        assert distance(one, other) < EVALUATION


@pytest.mark.parametrize("batch_size", [64, None, 1])
@pytest.mark.parametrize("strategy", STEADY)
def test_training_is_that_of_numpy(like, small_dataset, strategy, batch_size):
    # given trials that differ in all that may differ inside a group, some of one seed
    for trials in groups(mixed_trials(strategy, batch_size=batch_size)):
        # when they are trained here and by NumPy, with the same draws and the same minibatches
        curves, results = run(trials, small_dataset, like=like)
        expected_curves, expected = run(trials, small_dataset)
        # then weights and curves differ by rounding alone, and no point is missing
        for k in range(len(trials)):
            assert results[k].outcome is expected[k].outcome
            assert distance(results[k].arrays["weights"], expected[k].arrays["weights"]) < TRAINING
            assert results[k].arrays["weights"].dtype == np.float32
            for name, points in expected_curves[k].items():
                assert curves[k][name] == pytest.approx(points, rel=TRAINING, abs=1e-2, nan_ok=True), name


def test_lbfgs_trains_as_with_numpy(like, small_dataset):
    # given few steps: a line search amplifies every rounding
    settings = {"batch_size": None, "steps": 8, "loss": Softmax(), "regularization": 1e-2}
    trials = [trial("lbfgs", seed=seed, **settings) for seed in (0, 1)]
    _, results = run(trials, small_dataset, like=like)
    _, expected = run(trials, small_dataset)
    for k in range(2):
        assert distance(results[k].arrays["weights"], expected[k].arrays["weights"]) < TRAINING


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizer_trains_as_with_numpy(like, small_dataset, optimizer):
    settings = {"optimizer": OPTIMIZERS[optimizer](), "learning_rate": 1e-6, "loss": Softmax(), "regularization": 1e-2}
    trials = [trial(seed=seed, **settings) for seed in (0, 1)]
    _, results = run(trials, small_dataset, like=like)
    _, expected = run(trials, small_dataset)
    for k in range(2):
        assert distance(results[k].arrays["weights"], expected[k].arrays["weights"]) < TRAINING


@pytest.mark.parametrize("clip", [None, 1.0])
def test_trials_of_several_optimizers_train_as_with_numpy(like, small_dataset, clip):
    rules = [kind() for name, kind in OPTIMIZERS.items() if clip or name != "sgd"]
    trials = [trial(optimizer=rule, learning_rate=1e-6, clip=clip, seed=seed) for seed in (0, 1) for rule in rules]
    assert len({one.task.fusion_key(one) for one in trials}) == 1
    _, results = run(trials, small_dataset, like=like)
    _, expected = run(trials, small_dataset)
    for k in range(len(trials)):
        assert distance(results[k].arrays["weights"], expected[k].arrays["weights"]) < TRAINING


@pytest.mark.parametrize("strategy", STEADY)
def test_fused_trials_are_each_trial_alone(like, small_dataset, strategy):
    trials = [
        trial(strategy, learning_rate=RATES[strategy] * factor, seed=seed) for factor in (1, 2) for seed in (0, 1)
    ]
    _, fused = run(trials, small_dataset, like=like)
    for k, one in enumerate(trials):
        _, alone = run([one], small_dataset, like=like)
        assert distance(fused[k].arrays["weights"], alone[0].arrays["weights"]) < TRAINING


@pytest.mark.parametrize("batch_size", [64, None])
@pytest.mark.parametrize("strategy", STEADY)
def test_a_run_goes_on_from_a_checkpoint_that_lies_on_the_host(like, small_dataset, strategy, batch_size):
    # given a run with a trial that diverges, where descent can
    rates = [RATES[strategy], 1e30]
    trials = [trial(strategy, batch_size=batch_size, learning_rate=rate) for rate in rates]
    events = list(Train().run(trials, small_dataset, threads=1, checkpoint_every=25, like=like))
    results = {event.trial: event for event in events if isinstance(event, Result)}
    checkpoint = next(event for event in events if isinstance(event, Checkpoint))
    assert all(is_numpy_array(array) for array in checkpoint.arrays.values())
    # when it goes on from there
    resumed = list(Train().run(trials, small_dataset, threads=1, start=checkpoint, like=like))
    # then it ends where the uninterrupted run ended
    ended = [event for event in resumed if isinstance(event, Result)]
    assert ended
    for event in ended:
        assert event.outcome is results[event.trial].outcome
        assert distance(event.arrays["weights"], results[event.trial].arrays["weights"]) < TRAINING


def test_a_diverged_trial_ends_alone(like, small_dataset):
    _, results = run([trial(learning_rate=rate) for rate in (1e-5, 1e36, 2e-5)], small_dataset, like=like)
    assert [results[k].outcome for k in range(3)] == [Outcome.COMPLETE, Outcome.DIVERGED, Outcome.COMPLETE]
    _, alone = run([trial(learning_rate=2e-5)], small_dataset, like=like)
    assert distance(results[2].arrays["weights"], alone[0].arrays["weights"]) < TRAINING


@pytest.mark.parametrize("task", [Landscape(resolution=9), Landscape(resolution=9, dimensions=1, around="trained")])
def test_landscapes(like, small_dataset, task):
    sliced = dataclasses.replace(trial(loss=Softmax(), regularization=1e-3), task=task)
    here, there = (ended(sliced, small_dataset, like) for like in (np.empty(0), like))
    for name in ("data_loss", "regularization_loss"):
        assert distance(there.arrays[name], here.arrays[name]) < TRAINING


@pytest.mark.parametrize("directions", ["filter", "path"])
@pytest.mark.parametrize("model", SMALL_MODELS)
def test_landscapes_of_every_model(like, image_dataset, model, directions):
    task = Landscape(resolution=5, examples=50, around="trained", directions=directions)
    settings = {"loss": Softmax(), "model": SMALL_MODELS[model], "learning_rate": 1e-3, "batch_size": 32}
    sliced = Trial(task=task, steps=20, evaluate_every=5, **settings)
    here, there = (ended(sliced, image_dataset, like) for like in (np.empty(0), like))
    for name in ("data_loss", "path") if directions == "path" else ("data_loss",):
        assert distance(there.arrays[name], here.arrays[name]) < TRAINING


TABLES = [
    (StepSize(highest=1), ("data_loss", "regularization_loss")),
    (FiniteDifference(highest=-1, lowest=-4), ("derivative",)),
]


@pytest.mark.parametrize(("task", "names"), [*TABLES, (GradientCheck(), ("analytic",))])
@pytest.mark.parametrize("model", SMALL_MODELS)
def test_tables_of_every_model(like, image_dataset, model, task, names):
    tabled = Trial(task=task, loss=Softmax(), regularization=1e-3, model=SMALL_MODELS[model])
    here, there = (ended(tabled, image_dataset, like) for like in (np.empty(0), like))
    assert there.outcome is Outcome.COMPLETE
    for name in names:
        assert distance(there.arrays[name], here.arrays[name]) < 1e-10


@pytest.mark.parametrize(("task", "names"), TABLES)
def test_tables_in_double_precision(like, small_dataset, task, names):
    tabled = dataclasses.replace(trial(loss=Softmax(), regularization=1e-3), task=task)
    here, there = (ended(tabled, small_dataset, like) for like in (np.empty(0), like))
    for name in names:
        assert distance(there.arrays[name], here.arrays[name]) < 1e-10


@pytest.mark.parametrize("variable", ["weights", "data"])
def test_the_gradient_of_the_device_is_checked(like, small_dataset, variable):
    result = ended(Trial(task=GradientCheck(variable=variable, examples=10), regularization=1e-3), small_dataset, like)
    assert result.outcome is Outcome.COMPLETE
    assert 0 < result.metrics["gradient_check/largest_relative_error"] < 1e-4


def test_the_images_are_there_once_as_they_are(like, small_dataset):
    # given the problem of a group
    trials = [trial(seed=seed) for seed in range(3)]
    problem = Problem.of(trials, small_dataset, like=like, threads=1)
    # then its images are uint8 on the device, and those of every problem made of it
    images = problem.dataset.train.images
    assert array_namespace(images) is array_namespace(like)
    assert images.dtype == array_namespace(like).uint8
    assert problem.of_trials([1]).dataset.train.images is images
    assert problem.dataset.on(like) is problem.dataset
    # and they come back as they were
    np.testing.assert_array_equal(problem.dataset.on(np.empty(0)).train.images, small_dataset.train.images)


def ended(trial, dataset, like):
    """Return the result of a trial on data that are already on the device, as those of a worker are."""
    events = trial.task.run([trial], dataset.on(like), threads=1, like=like)
    return next(event for event in events if isinstance(event, Result))


def test_svm_trials_at_a_kink_take_the_same_side(like):
    # given scores exactly at the hinge's kink
    scores, labels = there(like, np.array([[2.0], [1.0], [-5.0]]), np.array([0]))
    _, gradient = Svm().losses_and_gradient(scores, labels)
    np.testing.assert_array_equal(as_numpy(gradient), np.zeros((3, 1)))
