"""Gradients of modules against central differences, in float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import bptt
from bptt.nn.module import Module
from bptt.nn.state import arrays_of
from cases import Array

EPSILON = 1e-5  # errors of about 1e-10: ε² from truncation, 1e-16/ε from rounding


def differences(loss: Callable[[], float], array: Array) -> Array:
    """dL/d array by central differences, element by element."""
    found = np.empty_like(array)
    for index in np.ndindex(array.shape):
        kept = array[index]
        array[index] = kept + EPSILON
        above = loss()
        array[index] = kept - EPSILON
        below = loss()
        array[index] = kept
        found[index] = (above - below) / (2 * EPSILON)
    return found


def parameter_differences(loss: Callable[[], float], module: Module) -> dict[str, Array]:
    """dL/d parameter, by name."""
    found = {}
    for name in module:
        value = module[name].copy()

        def moved(name: str = name, value: Array = value) -> float:
            module[name] = value
            return loss()

        found[name] = differences(moved, value)
        module[name] = value
    return found


def assert_gradient(actual: Any, expected: Array, name: str = "") -> None:
    assert actual.shape == expected.shape, name
    scale = max(np.abs(expected).max(initial=0), 1e-3)
    error = np.abs(actual - expected).max(initial=0) / scale
    assert error <= 1e-6, f"{name}: {error:.1e}"


def assert_gradients(gradients: bptt.Gradients, loss: Callable[[], float], module: Module) -> None:
    """All gradients of the module's parameters are right."""
    expected = parameter_differences(loss, module)
    assert list(gradients) == list(expected)
    for name, value in expected.items():
        assert_gradient(gradients[name], value, name)


def check_chain(
    model: bptt.Sequential, x: Array, d_output: Array, d_state: Any = None, **arguments: Any
) -> None:
    """Every gradient of `SequentialRun.backward`, of L = ⟨d_output, y⟩ + ⟨d_state, state⟩."""
    generators = [module._random for module in model.modules]
    before = [generator.bit_generator.state for generator in generators]

    def forward() -> bptt.SequentialRun:
        for generator, state in zip(generators, before, strict=True):
            generator.bit_generator.state = state  # the same dropout masks
        return model.forward(x, **arguments)

    def loss() -> float:
        run = forward()
        pairs = [(run.output, d_output)]
        for value, d in zip(run.state, d_state or (), strict=False):
            pairs += zip(arrays_of(value), arrays_of(d), strict=False)
        return float(sum(np.sum(value * d) for value, d in pairs))

    gradients = forward().backward(d_output, d_state)
    for module, found in zip(model.modules, gradients.modules, strict=True):
        assert_gradients(found, loss, module)
    if x.dtype.kind == "f":
        assert_gradient(gradients.input, differences(loss, x), "input")
    else:
        assert gradients.input is None
    for initial, found in zip(arguments.get("state", ()), gradients.state, strict=False):
        for array, d in zip(arrays_of(initial), arrays_of(found), strict=True):
            assert_gradient(d, differences(loss, array), "state")
