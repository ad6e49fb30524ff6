"""`python -m pipeline.deploy kuberay|ray OVERRIDES`: a sweep and its cluster as YAML, for KubeRay or `ray up`."""

from __future__ import annotations

import argparse
import importlib.metadata
import math
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import hydra
import yaml
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationResolutionError, UnsupportedInterpolationType

from pipeline.address import redact
from pipeline.cli.error_messages import is_expected, message_of
from pipeline.config.schema import Config, parse
from pipeline.engine.capacity import Node
from pipeline.hydra import register
from pipeline.hydra.composer import Composer, plain_values
from pipeline.hydra.grid import combinations
from pipeline.hydra.groups import misplaced
from pipeline.hydra.search_path import CONF
from tasks.errors import ConfigError, require, require_choice
from tasks.rows import convert

TARGETS = ("kuberay", "ray")
"""The templates of ``conf/cluster/deploy``."""

_DERIVED = {"nodes": int | None, "ray": str | None}
"""The types of the values that are null in a template: they follow from the sweep and from this machine."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the manifest; return 0, or 2 if it cannot be rendered."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.deploy", description=__doc__)
    parser.add_argument("target", choices=TARGETS, help="a RayJob for KubeRay, or a cluster for `ray up` on AWS")
    parser.add_argument("--output", type=Path, metavar="FILE", help="default: standard output")
    parser.add_argument(
        "overrides",
        nargs="*",
        metavar="KEY=VALUE",
        help="those of the sweep, as descent-sweeps --multirun takes them, and deploy.KEY=VALUE of the template",
    )
    options = parser.parse_intermixed_args(arguments)
    try:
        text = render(options.target, options.overrides)
        if options.output is None:
            sys.stdout.write(text)
        else:
            options.output.write_text(text, encoding="utf-8")
    except Exception as error:
        if not is_expected(error):
            raise
        print(f"error: {message_of(error)}", file=sys.stderr)  # noqa: T201  # this is a command
        return 2
    return 0


def render(target: str, overrides: Sequence[str]) -> str:
    """Return the YAML of a template of ``conf/cluster/deploy`` for the sweep of ``overrides``.

    The overrides ``deploy.KEY=VALUE`` are the template's, all others the sweep's: the template is filled in from
    the config of the sweep's first trial, and the job on the cluster runs them unchanged.

    Raises
    ------
    ConfigError
        If an override holds a password or is of another type than the template's value, ``cluster.workers`` is left
        out, or no node can hold a worker.
    """
    register()
    OmegaConf.register_new_resolver("quoted", shlex.quote, replace=True)
    own = [text for text in overrides if text.startswith("deploy.")]
    swept = [text for text in overrides if text not in own]
    for text in swept:
        name = text.partition("=")[0]
        require(redact(text) == text, name, "must hold no password: it goes to the cluster as a secret", redact(text))
    composed = _composed(target, swept, own)
    try:
        of_sweep = {name: composed[name] for name in composed if name not in {"deploy", "hydra"}}
        config = parse(plain_values(OmegaConf.create(of_sweep)))
    except (InterpolationResolutionError, UnsupportedInterpolationType):  # the job can resolve it
        config = parse({"device": composed.device, "cluster": OmegaConf.to_container(composed.cluster, resolve=True)})
    deploy = composed.deploy
    if not config.cluster.gpus_per_worker:
        deploy.gpus = None
    enough = node_count(config, cpus=deploy.cpus, gpus=deploy.gpus)
    deploy.nodes = enough if deploy.nodes is None else deploy.nodes
    require(deploy.nodes >= 1, "deploy.nodes", "must be >= 1", deploy.nodes)
    fewest = deploy.min_nodes or 0
    require(0 <= fewest <= deploy.nodes, "deploy.min_nodes", f"must be 0 to deploy.nodes={deploy.nodes}", fewest)
    deploy.ray = deploy.ray or importlib.metadata.version("ray")
    deploy.overrides = shlex.join(swept).replace("${", r"\${")  # Hydra's interpolations are the job's to resolve
    filled: Any = OmegaConf.to_container(deploy, resolve=True, throw_on_missing=True)
    steps = "".join(f"# {step}\n" for step in filled["steps"])
    return steps + yaml.safe_dump(_given(filled["manifest"]), sort_keys=False, width=math.inf)


def node_count(config: Config, *, cpus: int, gpus: int | None) -> int:
    """Return how many nodes of so many CPUs and GPUs hold the workers of the config.

    >>> from pipeline.config.schema import Cluster
    >>> node_count(Config(cluster=Cluster(workers=10, cpus_per_worker=2.0)), cpus=8, gpus=None)
    3
    """
    cluster = config.cluster
    if cluster.workers is None:
        raise ConfigError("cluster.workers must be given: the cluster is made for them, got None")
    share = cluster.gpus_per_worker
    require(config.device == "cpu" or share > 0, "cluster.gpus_per_worker", "must be > 0 for device=cuda", share)
    for name, needed, has in (("cpus", cluster.cpus_per_worker, cpus), ("gpus", share, gpus or 0)):
        require(isinstance(has, int), f"deploy.{name}", "must be a whole number", has)
        require(needed <= has, f"cluster.{name}_per_worker", f"must be <= deploy.{name}={has}", needed)
    for name, asked in (("resources", cluster.resources), ("labels", cluster.labels)):
        require(not asked, f"cluster.{name}", "must be left out: the nodes have none but CPUs, GPUs and memory", asked)
    node = Node(resources={"CPU": cpus, "GPU": gpus or 0}, labels={})
    return -(-cluster.workers // node.holds(cluster))


def _composed(target: str, swept: Sequence[str], own: Sequence[str]) -> DictConfig:
    """Return the config of a template and of a sweep's first trial, which has the first value of each swept key.

    If a group is swept, a key that its first choice lacks is left out.
    """
    with hydra.initialize_config_dir(CONF, version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        parsed = OverridesParser.create(config_loader=loader).parse_overrides(list(swept))
        first = [combinations([override], points=2)[0][0] for override in parsed]
        template = f"+cluster/deploy={target}"
        master = hydra.compose("config", [template], return_hydra_config=True)
        for text in own:
            name = text.partition("=")[0].split(".")[1]
            require_choice("deploy.KEY", name, master.deploy)
        composer = Composer(loader, master)
        job = composer.compose([template, *first, *own], 0)
        varied = [override.key_or_group for override in parsed if override.is_sweep_override()]
        varied += job.base.hydra["sweeper"].get("params") or {}
        if job.left_out and not any(map(composer.is_group, varied)):
            raise ConfigError(misplaced(job.left_out[0].key_or_group))
        composed = job.config()
        for text in own:
            _convert(composed.deploy, text.partition("=")[0].removeprefix("deploy."), master.deploy)
        return composed


def _convert(deploy: DictConfig, key: str, template: DictConfig) -> None:
    """Convert a value that was given to the type of the template's."""
    if "." in key:
        return  # the manifest's, which may hold anything
    name, kind = f"deploy.{key}", _DERIVED.get(key, type(template[key]))
    require(kind in {*_DERIVED.values(), int, str}, name, "must be left as it is, or be given by its keys", deploy[key])
    deploy[key] = convert(deploy[key], kind, name)


def _given(values: Any) -> Any:
    """Return the values without keys that hold None."""
    if isinstance(values, list):
        return [_given(value) for value in values]
    if not isinstance(values, dict):
        return values
    return {name: _given(value) for name, value in values.items() if value is not None}
