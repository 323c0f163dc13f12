"""Tags of sktime: what the adapters can do."""

from __future__ import annotations

from typing import Any

PACKAGE: dict[str, Any] = {
    "authors": "the bptt developers",
    "maintainers": "the bptt developers",
    "property:randomness": "stochastic",
    "capability:categorical_in_X": False,
}
"""Of all adapters."""

COLLECTIONS: dict[str, Any] = PACKAGE | {
    "X_inner_mtype": ["df-list", "numpy3D"],
    "capability:multivariate": True,
    "capability:unequal_length": True,
    "capability:missing_values": True,
}
"""Of those with a target for every series; the last holds for some estimators only."""
