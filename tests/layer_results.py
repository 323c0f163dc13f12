"""Selection of kernels, and comparison of all results of a layer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from bptt._core import loader
from bptt.nn.state import arrays_of
from cases import Array, State


def use_kernels(isa: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Use the kernels of an instruction set.

    Layers must be made afterwards: packed weights belong to the kernels that packed them.
    """
    monkeypatch.setattr(loader, "kernels", loader.load(isa))


def results(
    layer: Any,
    x: Array,
    d_output: Array | None = None,
    d_state: State | None = None,
    **arguments: Any,
) -> dict[str, Array]:
    """All results of inference, forward and backward, by name.

    The gradient of the output is the output itself if none is given.
    """
    run = layer.forward(x, **arguments)
    d = run.backward(run.output if d_output is None else d_output, d_state, steps=True)
    y, state = layer(x, **arguments)
    found = {"output": run.output, "inference": y, "input": d.input, "hidden_steps": d.steps.hidden}
    found |= {"cell_steps": d.steps.cell, **d}
    for name, value in (("state", run.state), ("inferred", state), ("d_state", d.state)):
        found |= {f"{name}{i}": part for i, part in enumerate(arrays_of(value))}
    return {name: value for name, value in found.items() if value is not None}


def assert_identical(actual: Mapping[str, Array], expected: Mapping[str, Array]) -> None:
    """Bit for bit the same (but for the sign of 0, and NaN is NaN)."""
    assert actual.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(actual[name], value, err_msg=name)
