"""What the numbers were measured on: processor, memory, load, BLAS and versions."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from pathlib import Path

from threadpoolctl import threadpool_info

DISTRIBUTIONS = ("numpy", "ray", "mlflow", "hydra-core", "hydra-ray-launcher", "descent-sweeps")


def describe() -> str:
    """Return the machine and the versions in a few lines."""
    blas = {f"{lib['internal_api']} {lib['version']} {lib.get('architecture', '')}" for lib in _blas()}
    threads = max((lib["num_threads"] for lib in _blas()), default=0)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{_processor()}, {os.cpu_count()} CPUs, {memory:.0f} GiB, {platform.system()} {platform.release()}\n"
        f"Python {platform.python_version()}, {', '.join(map(version, DISTRIBUTIONS))}\n"
        f"{', '.join(sorted(blas))}, {threads} threads, load {load()}"
    )


def version(distribution: str) -> str:
    """Return the name and version of a distribution, or that there is none."""
    try:
        return f"{distribution} {importlib.metadata.version(distribution)}"
    except importlib.metadata.PackageNotFoundError:
        return f"no {distribution}"


def has_avx512() -> bool:
    """Return whether the BLAS uses AVX-512 here: products take half as long then, and all else as long."""
    return any(library.get("architecture") in {"SkylakeX", "Cooperlake", "SapphireRapids"} for library in _blas())


def load() -> str:
    """Return the number of processes that wanted to run, over the last minute."""
    return f"{os.getloadavg()[0]:.1f}"


def _blas() -> list[dict[str, object]]:
    return [library for library in threadpool_info() if library["user_api"] == "blas"]


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
