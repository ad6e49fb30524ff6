"""The capacity of a cluster: how many workers its nodes hold, or why not one."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipeline.config.schema import Cluster
from pipeline.errors import EngineError


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A node's total resources (``CPU``, ``GPU`` and Ray's custom ones, by amount), and its labels."""

    resources: Mapping[str, float]
    labels: Mapping[str, str]

    def holds(self, cluster: Cluster) -> int:
        """Return how many workers fit on the node."""
        if not all(_fits(self.labels.get(key), selector) for key, selector in (cluster.labels or {}).items()):
            return 0
        return min(fit(kind, self.resources.get(kind, 0), need) for kind, need in needs(cluster).items())

    def __str__(self) -> str:
        # Resources that Ray adds itself, such as node:ADDRESS, cannot be asked for in a config.
        own = {"CPU", "GPU", "memory", "object_store_memory"}
        others = {kind: n for kind, n in self.resources.items() if kind not in own and not kind.startswith("node:")}
        has = f"{self.resources.get('CPU', 0):g} CPUs and {self.resources.get('GPU', 0):g} GPUs"
        has += "".join(f", {amount:g} {kind}" for kind, amount in sorted(others.items()))
        labels = [f"{key}={value}" for key, value in sorted(self.labels.items()) if key != "ray.io/node-id"]
        return has + (f" (labels {', '.join(labels)})" if labels else "")


def fit(kind: str, has: float, need: float) -> int:
    """Return how many workers that need so much of a resource fit on what a node has of it.

    A share of a GPU is a part of one GPU: Ray does not spread a worker over the rest of two.

    >>> fit("CPU", 2, 0.4), fit("GPU", 2, 0.4), fit("GPU", 4, 2)
    (5, 4, 2)
    """
    if kind == "GPU" and need < 1:
        return math.floor(has) * fit("", 1, need)
    return math.floor(has / need + 1e-4)  # Ray counts in parts of 1/10,000: 7 / 0.07 is 100 workers, not 99


def capacity(nodes: Sequence[Node], cluster: Cluster) -> int:
    """Return how many workers fit on all nodes, if nothing else runs on them."""
    return sum(node.holds(cluster) for node in nodes)


def require_room(nodes: Sequence[Node], cluster: Cluster) -> None:
    """Raise if no node has what a worker needs: Ray would wait for such a node for ever.

    Raises
    ------
    EngineError
        The message names the key that asks for too much, and what the nodes have.
    """
    if capacity(nodes, cluster):
        return
    keys = {"CPU": "cluster.cpus_per_worker", "GPU": "cluster.gpus_per_worker"}
    has = "; ".join(f"{count} x {text}" for text, count in Counter(map(str, nodes)).items())
    for kind, need in needs(cluster).items():
        most = max((node.resources.get(kind, 0) for node in nodes), default=0)
        if most < need:
            has = f"at most {most:g}" if kind == "memory" else has
            raise EngineError(
                f"{keys.get(kind, f'cluster.resources.{kind}')} must be at most what a node of the cluster has, "
                f"got {need:g}: its nodes have {has}"
            )
    for key, selector in (cluster.labels or {}).items():
        if not any(_fits(node.labels.get(key), selector) for node in nodes):
            raise EngineError(
                f"cluster.labels.{key} must be a label of a node of the cluster, got {selector!r}: its nodes have {has}"
            )
    raise EngineError(f"cluster must ask for no more than one node of the cluster has: its nodes have {has}")


def needs(cluster: Cluster) -> dict[str, float]:
    """Return what a worker needs, by the kind of resource."""
    asked = {"CPU": cluster.cpus_per_worker, "GPU": cluster.gpus_per_worker, **(cluster.resources or {})}
    return {kind: amount for kind, amount in asked.items() if amount}


def _fits(label: str | None, selector: str) -> bool:
    """Return whether Ray takes a node with this label (None: it has none) for this selector."""
    wanted = selector.removeprefix("!")
    values = wanted.removeprefix("in(").removesuffix(")").split(",") if wanted.startswith("in(") else [wanted]
    return (label in {value.strip() for value in values}) is not selector.startswith("!")
