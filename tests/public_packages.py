"""The packages whose ``__all__`` is the public API, and those that need another library."""

from __future__ import annotations

PACKAGES = (
    "bptt",
    "bptt.data",
    "bptt.decoding",
    "bptt.diagnostics",
    "bptt.distributed",
    "bptt.estimators",
    "bptt.exporters",
    "bptt.importers",
    "bptt.losses",
    "bptt.metrics",
    "bptt.nn",
    "bptt.optim",
    "bptt.optim.schedules",
    "bptt.reference",
    "bptt.serving",
    "bptt.training",
)

OF_LIBRARIES = {
    "bptt.aeon": "aeon",
    "bptt.dask": "dask",
    "bptt.jax": "jax",
    "bptt.keras": "keras",
    "bptt.sktime": "sktime",
    "bptt.torch": "torch",
}
"""Package -> the library that it needs."""
