"""The packages whose ``__all__`` is the public API."""

from __future__ import annotations

PACKAGES = (
    "bptt",
    "bptt.data",
    "bptt.decoding",
    "bptt.diagnostics",
    "bptt.estimators",
    "bptt.exporters",
    "bptt.importers",
    "bptt.losses",
    "bptt.metrics",
    "bptt.nn",
    "bptt.optim",
    "bptt.optim.schedules",
    "bptt.reference",
    "bptt.training",
)
