"""The networks of the peer: PyTorch's own layers, optimiser and autograd, one net at a time, the images as floats."""

from __future__ import annotations

import itertools

import torch


def two_layer(inputs, hidden, classes):
    """Return a fully connected network with one hidden layer."""
    return torch.nn.Sequential(torch.nn.Linear(inputs, hidden), torch.nn.ReLU(), torch.nn.Linear(hidden, classes))


def convnet(image_shape, channels, classes):
    """Return blocks of convolution, relu and max pooling, and a layer of scores."""
    depth, height, width = image_shape
    layers = []
    for before, after in itertools.pairwise([depth, *channels]):
        layers += [torch.nn.Conv2d(before, after, 3, padding=1), torch.nn.ReLU(), torch.nn.MaxPool2d(2)]
        height, width = height // 2, width // 2
    return torch.nn.Sequential(*layers, torch.nn.Flatten(), torch.nn.Linear(channels[-1] * height * width, classes))


def steps(network, images, labels, *, learning_rate, regularization, batch_size):
    """Yield the loss of step after step of gradient descent on minibatches of images ``(N, *image_shape)``."""
    descent = torch.optim.SGD(network.parameters(), lr=learning_rate, weight_decay=2 * regularization)
    loss_of, generator = torch.nn.CrossEntropyLoss(), torch.Generator().manual_seed(0)
    while True:
        for batch in torch.randperm(len(labels), generator=generator).split(batch_size)[: len(labels) // batch_size]:
            loss = loss_of(network(images[batch]), labels[batch])
            descent.zero_grad()
            loss.backward()
            descent.step()
            yield loss.item()
