"""The BLAS that NumPy calls: what the bits of a product depend on."""

from __future__ import annotations

from threadpoolctl import threadpool_info


def blas() -> tuple[str, int]:
    """Return the library with its version and kernel, and its number of threads now."""
    found = [library for library in threadpool_info() if library["user_api"] == "blas"]
    if not found:
        return "unknown", 1
    # SciPy brings one of its own, and which of them is named first is chance.
    library = min(found, key=lambda library: "numpy" not in library["filepath"])
    name = f"{library['internal_api']} {library['version']} {library.get('architecture', '')}"
    return name.strip(), library["num_threads"]
