"""Activation functions: names and largest slopes.

Argument checks, diagnostics and tests derive from these tables. The functions are in the kernels
and in `bptt.reference.activations`.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Activation:
    """Declaration of an activation function."""

    name: str
    slope: float
    """γ, the largest absolute value of the derivative."""


ACTIVATIONS = {
    activation.name: activation
    for activation in (
        Activation("tanh", 1.0),
        Activation("sigmoid", 1 / 4),
        Activation("relu", 1.0),
        Activation("identity", 1.0),
    )
}
"""φ, of candidates and cell states."""

GATE_ACTIVATIONS = {
    activation.name: activation
    for activation in (
        ACTIVATIONS["sigmoid"],
        Activation("hard_sigmoid", 1 / 6),
        Activation("hard_sigmoid_keras2", 1 / 5),
    )
}
"""σ, of gates."""
