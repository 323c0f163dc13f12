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
    kernel: str = ""
    """Name in the kernels; `name` by default."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "kernel", self.kernel or self.name)


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

# TODO: the names on the right go when the kernels are renamed.
GATE_ACTIVATIONS = {
    activation.name: activation
    for activation in (
        ACTIVATIONS["sigmoid"],
        Activation("hard_sigmoid", 1 / 6, kernel="hard_sigmoid_sixth"),
        Activation("hard_sigmoid_keras2", 1 / 5, kernel="hard_sigmoid_fifth"),
    )
}
"""σ, of gates."""
