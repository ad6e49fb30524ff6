"""Strategies: random search, local search, gradient descent and L-BFGS, the rows of one table."""

from collections.abc import Mapping

from tasks.strategies.gradient_descent import GradientDescent
from tasks.strategies.lbfgs import Lbfgs
from tasks.strategies.local_search import LocalSearch
from tasks.strategies.random_search import RandomSearch
from tasks.strategies.strategy import Strategy

STRATEGIES: Mapping[str, type[Strategy]] = {
    "random": RandomSearch,
    "local": LocalSearch,
    "gradient": GradientDescent,
    "lbfgs": Lbfgs,
}

__all__ = ["STRATEGIES", "GradientDescent", "Lbfgs", "LocalSearch", "RandomSearch", "Strategy"]
