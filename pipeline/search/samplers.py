"""Optuna's samplers: their names, the config keys of each, and how one is made."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Any

from pipeline.search.library import load
from tasks.errors import ConfigError, require, unknown_choice

_SAMPLERS: Mapping[str, tuple[str, ...]] = {
    "tpe": (
        "TPESampler",
        *("consider_prior", "prior_weight", "consider_magic_clip", "consider_endpoints", "n_startup_trials"),
        *("n_ei_candidates", "multivariate", "group", "warn_independent_sampling", "constant_liar"),
    ),
    "gp": ("GPSampler", "n_startup_trials", "deterministic_objective", "warn_independent_sampling"),
    "cmaes": (
        "CmaEsSampler",
        *("x0", "sigma0", "n_startup_trials", "warn_independent_sampling", "consider_pruned_trials", "popsize"),
        *("use_separable_cma", "with_margin", "lr_adapt"),
    ),
    "qmc": ("QMCSampler", "qmc_type", "scramble", "warn_asynchronous_seeding", "warn_independent_sampling"),
    "random": ("RandomSampler",),
    "grid": ("GridSampler",),
    "nsgaii": ("NSGAIISampler", "population_size", "mutation_prob", "crossover_prob", "swapping_prob"),
    "nsgaiii": (
        "NSGAIIISampler",
        *("population_size", "mutation_prob", "crossover_prob", "swapping_prob", "dividing_parameter"),
    ),
}
"""The class of each sampler, and the keys of its config."""

_MADE_BY = {"create_nsgaii_sampler": "NSGAIISampler", "create_nsgaiii_sampler": "NSGAIIISampler"}
"""The functions by which Hydra's own plug-in makes some classes; its configs are used if it is installed."""

_NEEDS = {"GPSampler": ("torch", "scipy"), "CmaEsSampler": ("cmaes",), "QMCSampler": ("scipy",)}

_RULE = "hydra.sweeper.sampler must be what Optuna's {} takes: {}"

LEARNS_NOTHING = ("RandomSampler", "QMCSampler", "GridSampler", "BruteForceSampler")
"""Samplers whose proposals do not depend on results, so that all can be made at once."""


def sampler_configs() -> dict[str, dict[str, Any]]:
    """Return the config of each sampler, with the keys of Hydra's own plug-in; null is Optuna's default."""
    return {
        name: {"_target_": f"optuna.samplers.{kind}", "seed": None, **dict.fromkeys(keys)}
        for name, (kind, *keys) in _SAMPLERS.items()
    }


def class_of(config: Mapping[str, Any]) -> str:
    """Return the name of the class that a sampler's config names.

    >>> class_of({"_target_": "optuna.samplers.TPESampler"})
    'TPESampler'
    """
    target = str(config.get("_target_"))
    name = _MADE_BY.get(target.rpartition(".")[2], target.removeprefix("optuna.samplers."))
    if name.isidentifier() and name.endswith("Sampler") and hasattr(load().samplers, name):
        return name
    known = [f"optuna.samplers.{kind}" for kind, *_ in _SAMPLERS.values()]
    raise unknown_choice("hydra.sweeper.sampler._target_", target, known)


def make_sampler(config: Mapping[str, Any], grid: Mapping[str, Sequence[Any]], *, seed: int) -> Any:
    """Return the sampler of a config, with this seed; a grid sampler takes the values of each key in ``grid``.

    A sampler that has a constant liar uses it by default, so that the proposals of a batch differ.

    Raises
    ------
    ConfigError
        If there is no such sampler, it has no such key, a value breaks its rule, or a package that it needs is not
        installed.
    """
    name = class_of(config)
    kind = getattr(load().samplers, name)
    takes = inspect.signature(kind).parameters
    given = {str(key): value for key, value in config.items() if not str(key).startswith("_") and value is not None}
    for key in given:
        if key not in takes:
            raise unknown_choice("a key of hydra.sweeper.sampler", key, [known for known in takes if known != "seed"])
    if "search_space" in takes:
        given["search_space"] = {key: list(values) for key, values in grid.items()}
    if "constant_liar" in takes:
        given.setdefault("constant_liar", True)
    if "seed" in takes:
        given["seed"] = seed
    for package in _NEEDS.get(name, ()):
        found = find_spec(package) is not None
        require(found, "hydra.sweeper.sampler", f"{name} needs the package {package}: pip install {package}", "none")
    try:
        return kind(**given)
    except (ValueError, TypeError) as error:
        raise ConfigError(_RULE.format(name, error)) from error


def rehearse(config: Mapping[str, Any], distributions: Mapping[str, Any], directions: Sequence[str]) -> None:
    """Have a sampler of this config propose a point once it learns: Optuna judges some options only then.

    Raises
    ------
    ConfigError
        If it cannot.
    """
    optuna = load()
    sampler = make_sampler(config, {}, seed=0)
    draw = optuna.samplers.RandomSampler(seed=0).sample_independent
    shown = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)  # what it warns of is shown when the search itself proposes
    try:
        study = optuna.create_study(sampler=sampler, directions=directions)
        for number in range(startup(sampler)):
            params = {key: draw(study, None, key, one) for key, one in distributions.items()}
            values = [float(number)] * len(directions)
            study.add_trial(optuna.trial.create_trial(params=params, distributions=distributions, values=values))
        study.ask(fixed_distributions=distributions)
    except Exception as error:
        raise ConfigError(_RULE.format(type(sampler).__name__, error)) from error
    finally:
        optuna.logging.set_verbosity(shown)


def startup(sampler: Any) -> int:
    """Return how many trials a sampler proposes before it learns from any; they can be made at once.

    For an evolutionary sampler it is the size of a generation, which learns only from the one before.
    """
    for name in ("_n_startup_trials", "_population_size"):
        if isinstance(count := getattr(sampler, name, None), int):
            return count
    return 1
