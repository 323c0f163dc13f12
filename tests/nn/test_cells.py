"""The registry of cells against the reference, the layers and the kernels."""

from __future__ import annotations

import numpy as np
import pytest

from bptt import reference
from bptt._core import loader
from bptt.nn import activations
from bptt.nn.cells import CELLS
from bptt.nn.recurrent import LAYER_OF_CELL, make_recurrent
from bptt.nn.state import arrays_of
from cases import every_cell


def test_every_cell_has_a_layer_and_a_reference():
    assert set(LAYER_OF_CELL) == set(CELLS) == set(reference.CELLS)


@every_cell
def test_declaration_agrees_with_the_reference(cell):
    declared, expected = CELLS[cell], reference.CELLS[cell]
    assert declared.name == cell
    assert len(declared.gates) == expected.gates
    assert declared.saved_gates == expected.gate_names
    assert len(declared.states) == expected.states
    assert set(declared.initial_bias) <= set(declared.gates)
    assert tuple(declared.gate_parameters) == expected.gate_parameters
    assert tuple(declared.extra_parameters) == expected.extra_parameters


@every_cell
def test_layer_has_the_declared_cell(cell):
    layer = make_recurrent(cell, 3, 4)
    assert layer.cell is CELLS[cell]
    assert ("gate_activation" in layer.config) == layer.cell.has_gate_activation
    _, state = layer(np.array([[0, 2, 1]]))
    assert isinstance(state, tuple) == layer.cell.has_cell_state


def test_kernels_have_the_declared_cells():
    assert list(loader.kernels.cell_table()) == list(CELLS)


@every_cell
def test_declaration_agrees_with_the_kernels(cell):
    declared, compiled = CELLS[cell], loader.kernels.cell_table()[cell]
    assert len(declared.gates) == compiled["gates"]
    assert len(declared.states) == compiled["states"]
    extra = compiled["has_bias_hn"] + compiled["unit_weights"]
    assert len(declared.extra_parameters) == extra
    assert bool(declared.gate_parameters) == compiled["has_gains"]
    layer = make_recurrent(cell, 3, 4)
    assert layer._flat.size == loader.kernels.parameter_count(layer._kernel_config)
    run = layer.forward(np.array([[0, 2, 1]]))
    assert len(arrays_of(run.state)) == len(layer.cell.states)
    assert tuple(run.gates()) == layer.cell.saved_gates


def test_unknown_cell_in_the_kernels():
    config = {**make_recurrent("rnn", 3, 4)._kernel_config, "cell": "none"}
    with pytest.raises(ValueError, match="cell must be one of"):
        loader.kernels.parameter_count(config)


def test_activations_agree_with_the_reference():
    assert list(activations.ACTIVATIONS) == list(reference.ACTIVATIONS)
    assert list(activations.GATE_ACTIVATIONS) == list(reference.GATE_ACTIVATIONS)


@pytest.mark.parametrize("kind", ["ACTIVATIONS", "GATE_ACTIVATIONS"])
def test_slopes_are_the_largest_derivatives(kind):
    x = np.linspace(-8, 8, 2**14 + 1)
    for name, activation in getattr(activations, kind).items():
        function, derivative = getattr(reference, kind)[name]
        assert np.abs(derivative(function(x))).max() == pytest.approx(activation.slope)
