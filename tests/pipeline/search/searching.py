"""Searches of a small space that tests make, and the values that they are told."""

import importlib.util

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from pipeline.search.samplers import sampler_configs
from pipeline.search.search import Search
from pipeline.search.space import space_of
from pipeline.search.study import Options

SPACE = ("x=range(-2,2,step=0.25)", "n=int(interval(1,4))", "c=a,b,null", "y=1")
NEEDED = {"cmaes": "cmaes", "gp": "torch"}
SAMPLERS = [
    pytest.param(
        name,
        marks=pytest.mark.skipif(
            name in NEEDED and importlib.util.find_spec(NEEDED[name]) is None, reason=f"needs {NEEDED.get(name)}"
        ),
    )
    for name in sampler_configs()
]


def made(
    name="tpe", space=SPACE, past=(), directions=("minimize",), storage=None, extend=None, *, resume=False, **options
):
    spanned = space_of(OverridesParser.create().parse_overrides(list(space)))
    config = sampler_configs()[name] | options
    kept = {"storage": storage, "study_name": "one", "extend": extend, "resume": resume}
    search = Search(spanned, Options(sampler=config, directions=directions, **kept))
    search.recall(past)
    return search


def x_of(proposal):
    return float(proposal.overrides[0].split("=")[1])


def value(proposal):
    given = dict(text.split("=") for text in proposal.overrides)
    return (float(given["x"]) - 1) ** 2 + int(given["n"]) + (given["c"] != "a")


COUNT = 14
"""Proposals, of which a sampler learns from the ends of the first ten."""


def searched(search, count, at_once=4):
    """Return the proposals of a search that gets their values in batches, the last of a batch first."""
    proposals = []
    while len(proposals) < count:
        batch = [search.ask() for _ in range(min(at_once, count - len(proposals)))]
        for proposal in reversed(batch):
            search.tell(proposal.number, [value(proposal)])
        proposals += batch
    return proposals
