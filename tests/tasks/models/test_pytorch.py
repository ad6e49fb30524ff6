"""PyTorch as the oracle: from the same weights and minibatches, the same losses."""

import itertools

import numpy as np
import pytest

from tasks.losses import Softmax
from tasks.models.convnet import ConvNet
from tasks.models.mlp import Mlp
from tasks.optimizers import Adam, Momentum, Sgd

torch = pytest.importorskip("torch", reason="PyTorch, the oracle, is not installed")
VERSION = f"PyTorch {torch.__version__}"  # told where a test fails

STEPS, EXAMPLES, TRIALS, CLASSES = 100, 16, 2, 5
RATES = np.array([1e-2, 3e-3])

OPTIMIZERS = {
    "sgd": (Sgd(), lambda parameters, rate: torch.optim.SGD(parameters, lr=rate)),
    "momentum": (Momentum(momentum=0.9), lambda parameters, rate: torch.optim.SGD(parameters, lr=rate, momentum=0.9)),
    "adam": (Adam(), lambda parameters, rate: torch.optim.Adam(parameters, lr=rate)),
}
NETWORKS = {
    "mlp_relu": (Mlp(hidden=(12,)), (3, 4, 4)),
    "mlp_tanh": (Mlp(hidden=(12, 7), activation="tanh"), (3, 4, 4)),
    "convnet": (ConvNet(channels=(4, 6)), (3, 8, 8)),
    "convnet_deep": (ConvNet(channels=(4,), kernel=5, hidden=(9,)), (1, 5, 6)),
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("name", NETWORKS)
def test_a_hundred_steps_have_the_losses_of_pytorch(name, optimizer):
    # given the same first weights and minibatches, in double precision
    model, image_shape = NETWORKS[name]
    rng = np.random.default_rng(11)
    points = np.concatenate(
        [
            (spread * rng.normal(size=(TRIALS, *shape))).reshape(TRIALS, -1)
            for spread, shape in zip(
                model.spreads(image_shape, CLASSES).values(), model.shapes(image_shape, CLASSES).values(), strict=True
            )
        ],
        axis=1,
    )
    batches = [(rng.normal(size=(EXAMPLES, *image_shape)), rng.integers(CLASSES, size=EXAMPLES)) for _ in range(STEPS)]
    # when both descend
    rule, theirs = OPTIMIZERS[optimizer]
    ours = descend(model, image_shape, points, batches, rule)
    expected = [
        descend_in_pytorch(model, image_shape, point, batches, lambda p, rate=rate: theirs(p, rate))
        for point, rate in zip(points, RATES, strict=True)
    ]
    # then their losses agree
    np.testing.assert_allclose(ours, np.transpose(expected), rtol=1e-5, err_msg=VERSION)


def descend(model, image_shape, points, batches, rule):
    """Return the losses of all trials after every step, ``(S, K)``: the update rule sees points."""
    group = model.arrange(TRIALS, image_shape, CLASSES, [EXAMPLES], like=points)
    state, losses = rule.init(points), []
    for step, (images, labels) in enumerate(batches, start=1):
        features = np.concatenate([images.reshape(EXAMPLES, -1), np.ones((EXAMPLES, 1))], axis=1)
        scores, vjp = group.scores_and_vjp(group.rows(points), features)
        each, slope = Softmax().losses_and_gradient(scores, labels)
        losses.append(each.mean(axis=-1))
        gradient = group.points(vjp(slope / EXAMPLES))
        update, state = rule.update(gradient, state, learning_rate=RATES[:, None], step=step)
        points = points + update
    return losses


def descend_in_pytorch(model, image_shape, point, batches, optimizer):
    """Return one trial's losses after every step, ``(S,)``."""
    network, classifier = in_pytorch(model, image_shape), torch.nn.CrossEntropyLoss()
    ends = itertools.accumulate(int(np.prod(shape)) for shape in model.shapes(image_shape, CLASSES).values())
    weighted = [module for module in network if list(module.parameters())]
    for module, matrix, shape in zip(
        weighted,
        np.split(point, list(ends)[:-1]),
        model.shapes(image_shape, CLASSES).values(),
        strict=True,
    ):
        rows = torch.tensor(matrix.reshape(shape))
        with torch.no_grad():
            module.weight.copy_(rows[:, :-1].reshape(module.weight.shape))
            module.bias.copy_(rows[:, -1])
    descent, losses = optimizer(network.parameters()), []
    for images, labels in batches:
        loss = classifier(network(torch.tensor(images)), torch.tensor(labels))
        losses.append(loss.item())
        descent.zero_grad()
        loss.backward()
        descent.step()
    return losses


def in_pytorch(model, image_shape):
    """Return the network as PyTorch's own layers, in the order that they are usually written."""
    layers, width = [], image_shape
    if isinstance(model, ConvNet):
        depth, height, breadth = image_shape
        for channels in model.channels:
            convolution = torch.nn.Conv2d(depth, channels, model.kernel, padding=model.kernel // 2)
            layers += [convolution, torch.nn.ReLU(), torch.nn.MaxPool2d(2)]
            depth, height, breadth = channels, height // 2, breadth // 2
        width = (depth, height, breadth)
    layers.append(torch.nn.Flatten())
    widths = [int(np.prod(width)), *model.hidden, CLASSES]
    activation = torch.nn.Tanh if getattr(model, "activation", "relu") == "tanh" else torch.nn.ReLU
    for before, after in itertools.pairwise(widths):
        layers += [torch.nn.Linear(before, after), activation()]
    return torch.nn.Sequential(*layers[:-1]).double()
