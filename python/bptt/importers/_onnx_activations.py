"""Activations of ONNX's recurrent operators as those of our layers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from bptt._core import checks

_OF_KIND = {
    "RNN": ("Tanh",),
    "LSTM": ("Sigmoid", "Tanh", "Tanh"),
    "GRU": ("Sigmoid", "Tanh"),
}
# Operator -> alpha and beta by default; none of those that are not here. None must be given: there
# are no operators of these names any more, and programs have other defaults, as ONNX Runtime 0.
_DEFAULTS: dict[str, tuple[float | None, ...]] = {
    "affine": (None, 0.0),
    "elu": (1.0,),
    "hardsigmoid": (0.2, 0.5),
    "leakyrelu": (0.01,),
    "scaledtanh": (None, None),
    "thresholdedrelu": (1.0,),
}
_PLAIN = {"tanh": "tanh", "sigmoid": "sigmoid", "relu": "relu"}


class Activation(NamedTuple):
    """One of our activations, of scale·a + shift."""

    name: str
    scale: float = 1.0
    shift: float = 0.0

    @property
    def is_plain(self) -> bool:
        """Whether it is one of a itself."""
        return self.scale == 1.0 and self.shift == 0.0


Activations: TypeAlias = list[tuple[Activation, ...]]
"""Of each direction those of the gates and of the cell, or of an RNN's cell alone."""


class _Given(NamedTuple):
    """An entry of ``activations`` with its alpha and beta."""

    operator: str
    parameters: tuple[float, ...]

    def __str__(self) -> str:
        names = ("alpha", "beta")
        pairs = zip(names, self.parameters, strict=False)
        return self.operator + "".join(f" {name}={value:g}" for name, value in pairs)

    def of_gate(self) -> Activation:
        """Return the gate activation, if we have it.

        Every HardSigmoid is max(0, min(1, y/6 + 1/2)) of y = 6α a + 6(β − 1/2).
        """
        operator = self.operator.lower()
        if operator == "sigmoid":
            return Activation("sigmoid")
        if operator != "hardsigmoid":
            raise ValueError(
                f"activation {self} is not supported here: gates have Sigmoid and HardSigmoid"
            )
        alpha, beta = self.parameters
        if _close(alpha, 0.2) and _close(beta, 0.5):
            return Activation("hard_sigmoid_keras2")
        if _close(alpha, 1 / 6) and _close(beta, 0.5):
            return Activation("hard_sigmoid")
        return Activation("hard_sigmoid", 6.0 * alpha, 6.0 * (beta - 0.5))

    def of_cell(self) -> Activation:
        """Return the activation φ, if we have it."""
        operator, parameters = self.operator.lower(), self.parameters
        if operator in _PLAIN:
            return Activation(_PLAIN[operator])
        if operator == "affine":
            return Activation("identity", *parameters)
        if operator == "scaledtanh" and parameters[0] == 1.0:
            return Activation("tanh", parameters[1])
        if operator in ("leakyrelu", "thresholdedrelu", "elu") and parameters == (0.0,):
            return Activation("relu")
        if operator == "leakyrelu" and parameters == (1.0,):
            return Activation("identity")
        raise ValueError(
            f"activation {self} is not supported here: the layer has Tanh, Sigmoid, Relu, Affine, "
            "ScaledTanh alpha=1"
        )


def activations_of(
    kind: str, names: Sequence[str], alpha: Any, beta: Any, directions: int
) -> Activations:
    """Return the activations of a node, whose attributes are ``activations`` and their parameters.

    Raises
    ------
    TypeError, ValueError
        If their number is wrong, our layers do not have them, or not together.
    """
    count = len(_OF_KIND[kind])
    names = names or _OF_KIND[kind] * directions
    if len(names) != count * directions:
        raise ValueError(
            f"activations must have {count} names for each direction of the {kind}, got {names}"
        )
    given = _parameterized(names, alpha, beta)
    found: Activations = []
    for first in range(0, len(given), count):
        *gates, cell = given[first : first + count][:2]
        found.append((*(one.of_gate() for one in gates), cell.of_cell()))
        if kind == "LSTM":
            _check_of_state(cell, given[first + 2])
    if any(one.name != same.name for one, same in zip(found[0], found[-1], strict=True)):
        raise ValueError(f"activations must be the same in both directions, got {names}")
    return found


def scaled(activations: Activations, *arrays: Any) -> Sequence[Any]:
    """Return W, R, B and P, if it is not None, with the scales and shifts of the activations."""
    if all(one.is_plain for each in activations for one in each):
        return arrays
    copies: list[Any] = [None if array is None else array.copy() for array in arrays]
    W, R, B, P = copies
    size, rows = R.shape[2], W.shape[1]
    for direction, each in enumerate(activations):
        parts = [slice(0, rows - size), slice(rows - size, rows)]  # of the gates, of the cell
        for one, part in zip(each, parts[-len(each) :], strict=True):
            for array in (W[direction], R[direction], *np.split(B[direction], 2)):
                array[part] *= one.scale
            B[direction, part] += one.shift
        if P is not None:
            P[direction] *= each[0].scale
    return copies


def _check_of_state(cell: _Given, state: _Given) -> None:
    """Check that an LSTM has one activation of its cell input and of its cell state."""
    of_state = state.of_cell()
    if of_state.name != cell.of_cell().name or not of_state.is_plain:
        raise ValueError(
            f"the second and the third of activations must be the same, got {cell} and {state}"
        )


def _parameterized(names: Sequence[str], alpha: Any, beta: Any) -> list[_Given]:
    """Return the activations with their parameters, which those that have any take in order."""
    values = [
        checks.real_numbers(f"activation_{name}", [] if value is None else value)
        for name, value in (("alpha", alpha), ("beta", beta))
    ]
    found = []
    for name in names:
        taken: list[float] = []
        for value, default in zip(values, _DEFAULTS.get(name.lower(), ()), strict=False):
            if not value and default is None:
                raise ValueError(
                    f"activation {name} must have its parameters in activation_alpha and "
                    f"activation_beta, got none"
                )
            taken.append(value.pop(0) if value else float(default or 0.0))
        found.append(_Given(name, tuple(taken)))
    if any(values):
        raise ValueError(
            f"activation_alpha and activation_beta must be of {list(names)}, got more values"
        )
    return found


def _close(a: float, b: float) -> bool:
    return math.isclose(a, b, rel_tol=1e-6)
