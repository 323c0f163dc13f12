"""Weights for PyTorch and Keras: round trips through the importers, and the libraries' output."""

from __future__ import annotations

import numpy as np
import pytest

import bptt
from bptt.exporters import to_keras, to_torch
from bptt.importers import from_keras, from_torch

LAYERS = [
    bptt.RNN(3, 4, num_layers=2, activation="relu", seed=0),
    bptt.LSTM(3, 4, num_layers=2, bidirectional=True, dtype="float64", seed=0),
    bptt.LSTM(3, 4, proj_size=2, bidirectional=True, seed=0),
    bptt.GRU(3, 4, reset_after=True, num_layers=3, seed=0),
]


@pytest.fixture(autouse=True, scope="module")
def random_biases():
    rng = np.random.default_rng(0)
    for layer in LAYERS:
        for name in layer:
            layer[name] = rng.normal(size=layer[name].shape).astype(layer.dtype)


def same(found, expected):
    assert found.config == expected.config
    for name, value in expected.parameters.items():
        assert found[name].tobytes() == value.tobytes(), name


@pytest.mark.parametrize("layer", LAYERS, ids=str)
def test_torch_round_trip(layer):
    weights = to_torch(layer, "encoder.")
    assert all(name.startswith("encoder.") for name in weights)
    options = {"activation": layer.activation, "seed": 0}
    same(from_torch(type(layer), weights, "encoder.", **options), layer)
    if isinstance(layer, bptt.GRU):
        assert not weights["encoder.bias_hh_l1"][:8].any()
        assert weights["encoder.bias_hh_l1"][8:].all()
    else:
        assert not weights["encoder.bias_hh_l0"].any()


@pytest.mark.parametrize("layer", LAYERS, ids=str)
@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported")
def test_torch_computes_the_same(layer):
    torch = pytest.importorskip("torch")
    options = {"nonlinearity": "relu"} if isinstance(layer, bptt.RNN) else {}
    options |= {"proj_size": layer.proj_size} if isinstance(layer, bptt.LSTM) else {}
    theirs = getattr(torch.nn, type(layer).__name__)(
        *(3, 4, layer.num_layers),
        batch_first=True,
        bidirectional=layer.bidirectional,
        dtype=getattr(torch, layer.dtype.name),
        **options,
    )
    weights = {name: torch.from_numpy(value) for name, value in to_torch(layer).items()}
    assert list(weights) == list(theirs.state_dict())
    theirs.load_state_dict(weights)
    x = np.random.default_rng(1).normal(size=(2, 7, 3)).astype(layer.dtype)
    expected, _ = theirs(torch.from_numpy(x))
    np.testing.assert_allclose(layer(x)[0], expected.detach().numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "layer",
    [
        bptt.RNN(3, 4, activation="identity", seed=0),
        bptt.LSTM(3, 4, bidirectional=True, merge="sum", gate_activation="hard_sigmoid", seed=0),
        bptt.GRU(3, 4, seed=0),
        bptt.GRU(3, 4, reset_after=True, bidirectional=True, dtype="float64", seed=0),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_keras_round_trip(layer):
    rng = np.random.default_rng(0)
    for name in layer:
        layer[name] = rng.normal(size=layer[name].shape).astype(layer.dtype)
    options = {"merge": layer.merge, "activation": layer.activation, "seed": 0}
    if not isinstance(layer, bptt.RNN):
        options["gate_activation"] = layer.gate_activation
    weights = to_keras(layer)
    assert [array.flags.c_contiguous for array in weights] == [True] * len(weights)
    same(from_keras(type(layer), weights, bidirectional=layer.bidirectional, **options), layer)


def test_a_stack_is_several_layers_of_keras():
    stack = LAYERS[1]
    with pytest.raises(ValueError, match="index must be one of 0 to 1: Keras has 2 layers for it"):
        to_keras(stack)
    x = np.random.default_rng(1).normal(size=(2, 7, 3))
    y = x
    for index in range(2):
        y, _ = from_keras(bptt.LSTM, to_keras(stack, index=index), bidirectional=True)(y)
    np.testing.assert_allclose(y, stack(x)[0], atol=1e-12)
    with pytest.raises(ValueError, match="index must be < num_layers = 2, got 2"):
        to_keras(stack, index=2)


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (bptt.LSTM(3, 4, peephole=True), "peephole must be False, as in {}, got True"),
        (bptt.LSTM(3, 4, coupled=True), "coupled must be False, as in {}, got True"),
        (bptt.LSTM(3, 4, layer_norm=True), "layer_norm must be False, as in {}, got True"),
        (bptt.LSTM(3, 4, zoneout=0.5), "zoneout must be 0.0, as in {}, got 0.5"),
        (bptt.GRU(3, 4, reset_after=True, decay_size=1), "decay_size must be 0, as in {}, got 1"),
        (bptt.RNN(3, 4, learn_initial_state=True), "learn_initial_state must be False, as in {}"),
        (bptt.MGU(3, 4), "{} has no MGU"),
        (bptt.SLSTM(3, 4), "{} has no SLSTM"),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_what_the_libraries_do_not_have(layer, message):
    for function, library in ((to_torch, "PyTorch"), (to_keras, "Keras")):
        with pytest.raises(ValueError, match=message.format(library)):
            function(layer)


@pytest.mark.parametrize(
    ("function", "layer", "message"),
    [
        (to_torch, bptt.GRU(3, 4), "reset_after must be True, as in PyTorch, got False"),
        (to_torch, bptt.LSTM(3, 4, activation="relu"), "activation must be 'tanh', as in PyTorch"),
        (to_torch, bptt.RNN(3, 4, activation="sigmoid"), "must be 'tanh' or 'relu', as in PyTorch"),
        (to_torch, bptt.GRU(3, 4, reset_after=True, gate_activation="hard_sigmoid"), "'sigmoid'"),
        (
            to_torch,
            bptt.RNN(3, 4, bidirectional=True, merge="sum"),
            "merge must be 'concat', as in",
        ),
        (to_keras, bptt.LSTM(3, 4, proj_size=2), "proj_size must be 0, as in Keras, got 2"),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_what_one_library_does_not_have(function, layer, message):
    with pytest.raises(ValueError, match=message):
        function(layer)


@pytest.mark.parametrize("function", [to_torch, to_keras])
def test_wrong_types(function):
    with pytest.raises(TypeError, match="layer must be of type Recurrent, got Linear"):
        function(bptt.Linear(3, 4))
