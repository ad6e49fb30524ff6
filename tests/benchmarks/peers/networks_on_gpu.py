"""The networks of the peer on a GPU: PyTorch one net at a time, eager and as a CUDA graph, and all under vmap.

They start from given parameters, matrices with the bias last, and see given minibatches of images that stay uint8 on
the device, as this project's do, so that the curves can be compared.
"""

from __future__ import annotations

import time

import torch
from torch.nn import functional


def scores(parameters, pixels, image_shape):
    """Return the scores of a two-layer net, or of a convnet where the first matrices are filters of 3 x 3."""
    hidden = pixels
    if len(parameters) > 2:
        hidden = hidden.reshape(-1, *image_shape)
        for matrix in parameters[:-1]:
            filters = matrix[:, :-1].reshape(-1, hidden.shape[1], 3, 3)
            hidden = torch.relu(functional.max_pool2d(functional.conv2d(hidden, filters, matrix[:, -1], padding=1), 2))
        hidden = hidden.reshape(hidden.shape[0], -1)
    else:
        hidden = torch.relu(hidden @ parameters[0][:, :-1].T + parameters[0][:, -1])
    return hidden @ parameters[-1][:, :-1].T + parameters[-1][:, -1]


class Steps:
    """Steps of nets that start from ``matrices``, ``(K, R, D)`` each, on the minibatches ``order (S, B)``."""

    def __init__(self, dataset, matrices, rates, order):
        self.dataset, self.matrices, self.rates, self.order = dataset, matrices, rates, order

    def pixels(self, index):
        return (self.dataset.train.images[index].float() - self.dataset.mean) * self.dataset.scale

    def loss(self, parameters, pixels, labels):
        return functional.cross_entropy(scores(parameters, pixels, self.dataset.image_shape), labels)

    def step(self, parameters, index, rate):
        loss = self.loss(parameters, self.pixels(index), self.dataset.train.labels[index])
        gradients = torch.autograd.grad(loss, parameters)
        with torch.no_grad():
            torch._foreach_add_(parameters, gradients, alpha=-rate)
        return loss.detach()

    def parameters(self, k):
        return [matrix[k].clone().requires_grad_() for matrix in self.matrices]

    def eager(self, k):
        """Return the seconds of one net's steps, and its losses."""
        parameters = self.parameters(k)
        return timed(lambda: [self.step(parameters, index, self.rates[k]) for index in self.order])

    def graph(self, k):
        """Return the same with the step captured as a CUDA graph."""
        parameters, index, loss = self.parameters(k), self.order[0].clone(), torch.zeros((), device="cuda")

        def step():
            loss.copy_(self.step(parameters, index, self.rates[k]))

        def restart():
            with torch.no_grad():
                for parameter, matrix in zip(parameters, self.matrices, strict=True):
                    parameter.copy_(matrix[k])

        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):
                step()
        torch.cuda.current_stream().wait_stream(stream)
        restart()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            step()
        restart()

        def replay(minibatch):
            index.copy_(minibatch)
            graph.replay()
            return loss.clone()

        return timed(lambda: [replay(minibatch) for minibatch in self.order])

    def vmap(self):
        """Return the seconds of all nets' steps under ``torch.func.vmap``, and their losses."""
        gradient = torch.func.vmap(torch.func.grad_and_value(self.loss), in_dims=(0, None, None))
        rates = torch.tensor(self.rates, device="cuda")[:, None, None]
        parameters = [matrix.clone() for matrix in self.matrices]

        def step(index):
            nonlocal parameters
            gradients, loss = gradient(parameters, self.pixels(index), self.dataset.train.labels[index])
            parameters = [matrix - rates * slope for matrix, slope in zip(parameters, gradients, strict=True)]
            return loss

        return timed(lambda: [step(index) for index in self.order])


def timed(work):
    torch.cuda.synchronize()
    start = time.perf_counter()
    losses = torch.stack(work()).cpu()
    torch.cuda.synchronize()
    return time.perf_counter() - start, losses.numpy()
