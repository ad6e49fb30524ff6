"""The BLAS that NumPy calls, which decides the bits of a product."""

from __future__ import annotations

from threadpoolctl import threadpool_info


def blas() -> tuple[str, int]:
    """Return the library with its version and kernel, and its number of threads now."""
    found = [library for library in threadpool_info() if library["user_api"] == "blas"]
    if not found:
        return "unknown", 1
    # SciPy has a BLAS of its own, and their order is arbitrary.
    library = min(found, key=lambda library: "numpy" not in library["filepath"])
    name = f"{library['internal_api']} {library['version']} {library.get('architecture', '')}"
    return name.strip(), library["num_threads"]
