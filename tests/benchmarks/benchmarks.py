"""The benchmarks by name, in the order of the table."""

from __future__ import annotations

from collections.abc import Mapping

from tests.benchmarks import (
    arithmetic,
    deciding,
    gpu,
    growth,
    many,
    memory,
    networks,
    searches,
    simulation,
    sweeps,
    update_rules,
)
from tests.benchmarks.row import Benchmark

BENCHMARKS: Mapping[str, Benchmark] = {
    "random-search": arithmetic.random_search,
    "local-search": arithmetic.local_search,
    "numerical-gradient": arithmetic.numerical_gradient,
    "landscape": arithmetic.landscape,
    "two-layer": networks.two_layer,
    "convnet": networks.convnet,
    "optimizers": update_rules.optimizers,
    "sweep-cold": sweeps.cold,
    "sweep-running-cluster": sweeps.running,
    "network-sweep": sweeps.running_networks,
    "search": searches.tpe,
    "sweep-steps": sweeps.steps_alone,
    "halving": deciding.halving,
    "asha": deciding.asha,
    "first-step": sweeps.first_step,
    "default-sweep": sweeps.default_sweep,
    "planning": sweeps.planning,
    "recording": sweeps.recording,
    "short-trials": many.short_trials,
    "memory": memory.two_workers,
    "gpu-random-search": gpu.random_search,
    "gpu-fused": gpu.fused,
    "gpu-networks": gpu.networks,
    "gpu-landscape": gpu.landscape,
    "growth-trials": growth.trials,
    "growth-images": growth.images,
    "growth-width": growth.width,
    "simulation": simulation.scale,
}
