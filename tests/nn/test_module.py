"""Modules: parameters, versions, copies, initial weights, argument checks."""

from __future__ import annotations

import copy
import json
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest

import bptt
from bptt import reference
from bptt._core import loader
from bptt.nn.recurrent import LAYERS, make_recurrent
from cases import CELLS, can_project, every_cell, every_layer

MODULES = [
    pytest.param(kind, arguments, id=name)
    for name, kind, arguments in [
        *((layer_type.__name__.lower(), layer_type, (3, 4)) for layer_type in LAYERS),
        ("linear", bptt.Linear, (3, 4)),
        ("embedding", bptt.Embedding, (3, 4)),
        ("characters", bptt.CharacterEmbedding, (3, 4, 2, 3)),
        ("attention", partial(bptt.Attention, kind="additive"), (3, 3)),
    ]
]


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def lstm():
    return bptt.LSTM(3, 4, num_layers=2, bidirectional=True, dropout=0.5, dtype="float64", seed=0)


@pytest.fixture
def x(rng):
    return rng.standard_normal((2, 5, 3))


def output(module, x):
    """Output of any module, for inputs of its type and dtype."""
    if isinstance(module, (bptt.Embedding, bptt.CharacterEmbedding)):
        return module((x > 0).astype(int))
    x = x.astype(module.dtype)
    if isinstance(module, bptt.Attention):
        return module(x, x)[0]
    y = module(x)
    return y if isinstance(module, bptt.Linear) else y[0]


# ---- parameters ----------------------------------------------------------------------------------


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("merge", ["concat", "sum"])
@every_cell
def test_names_and_shapes(cell, merge, bidirectional):
    common = {"num_layers": 3, "merge": merge, "bidirectional": bidirectional}
    layer = make_recurrent(cell, 3, 4, **common)
    expected = reference.parameter_shapes(cell, input_size=3, hidden_size=4, **common)
    assert [(name, p.shape) for name, p in layer.parameters.items()] == list(expected.items())
    assert layer._flat.size == loader.kernels.parameter_count(layer._kernel_config)
    assert layer.output_size == (8 if bidirectional and merge == "concat" else 4)


@pytest.mark.parametrize("cell", [cell for cell in CELLS if can_project(cell)])
def test_names_and_shapes_with_a_projection(cell):
    common = {"num_layers": 2, "bidirectional": True, "proj_size": 3}
    layer = make_recurrent(cell, 3, 4, **common)
    expected = reference.parameter_shapes(cell, input_size=3, hidden_size=4, **common)
    assert [(name, p.shape) for name, p in layer.parameters.items()] == list(expected.items())
    assert layer["weight_hr_l1_reverse"].shape == (3, 4)
    assert layer._flat.size == loader.kernels.parameter_count(layer._kernel_config)
    assert (layer.output_size, layer.state_sizes) == (6, (3, 4))
    columns = layer["weight_hh_l0"][:4]
    np.testing.assert_allclose(columns.T @ columns, np.eye(3), atol=1e-6)
    rule = r"must have shape \(proj_size, hidden_size\) = \(3, 4\), got"
    with pytest.raises(ValueError, match=rule):
        layer["weight_hr_l0"] = np.zeros((4, 3), np.float32)


@pytest.mark.parametrize(("kind", "arguments"), MODULES)
def test_parameters_are_read_only_views(kind, arguments):
    module = kind(*arguments)
    for name, parameter in module.parameters.items():
        assert parameter is module[name]
        assert np.shares_memory(parameter, module._flat)
        with pytest.raises(ValueError, match="read-only"):
            parameter[...] = 0
        with pytest.raises(ValueError, match="WRITEABLE"):
            parameter.flags.writeable = True
    with pytest.raises(TypeError):
        module.parameters["weight"] = module._flat  # type: ignore[index]


@pytest.mark.parametrize(("kind", "arguments"), MODULES)
def test_assignment_copies(kind, arguments, rng):
    module = kind(*arguments)
    for name, parameter in module.parameters.items():
        value = rng.standard_normal(parameter.shape[::-1]).astype(np.float32).T
        kept = value.copy()
        module[name] = value
        value[...] = 0
        np.testing.assert_array_equal(module[name], kept)


@pytest.mark.parametrize(
    ("name", "value", "error", "message"),
    [
        ("weight", np.zeros((16, 4)), KeyError, "has no parameter 'weight', it has weight_ih_l0"),
        ("weight_hh_l0", [[0.0]], TypeError, "weight_hh_l0 must be a NumPy array, got list"),
        ("weight_hh_l0", np.zeros((16, 4), "f4"), TypeError, "must have dtype float64, got float3"),
        (
            "weight_hh_l0",
            np.zeros((16, 2)),
            ValueError,
            "weight_hh_l0 must have shape (4*hidden_size, hidden_size) = (16, 4), got (16, 2)",
        ),
        ("weight_ih_l1", np.zeros((16, 3)), ValueError, "(4*hidden_size, output_size) = (16, 8)"),
        ("bias_l0", np.zeros(()), ValueError, "must have shape (4*hidden_size,) = (16,), got ()"),
    ],
)
def test_bad_assignment_changes_nothing(lstm, name, value, error, message):
    before, version = lstm._flat.copy(), lstm._version
    gradients = bptt.Gradients(lstm._layout, lstm._flat.copy(), None)
    for target in (lstm, gradients):
        with pytest.raises(error) as raised:
            target[name] = value
        assert message in str(raised.value)
        np.testing.assert_array_equal(target._flat, before)
    assert lstm._version == version


def test_unknown_name_is_a_key_error(lstm):
    with pytest.raises(KeyError, match="it has weight_ih_l0, weight_hh_l0"):
        lstm["weight"]
    assert "weight" not in lstm
    assert "weight_hh_l1_reverse" in lstm


def test_arguments_are_fixed(lstm):
    with pytest.raises(AttributeError, match="dropout of LSTM is fixed"):
        lstm.dropout = 0.0
    lstm.note = "anything else may be added"


def test_reference_is_imported_lazily():
    code = "import bptt, sys; assert 'bptt.reference' not in sys.modules; bptt.reference.forward"
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError, match="module 'bptt' has no attribute 'nothing'"):
        _ = bptt.nothing


# ---- packed weights are never stale --------------------------------------------------------------


@every_layer
def test_calls_use_changed_parameters(layer_type, rng):
    layer = layer_type(3, 4, dtype="float64", seed=0)
    optimizer = bptt.SGD(layer, learning_rate=0.1)
    x = rng.standard_normal((2, 1, 3))

    def results():
        return layer(x)[0], layer.forward(x).output, layer.step(x[:, 0])[0][:, np.newaxis]

    def assign():
        layer["weight_ih_l0"] = 2 * layer["weight_ih_l0"]

    def learn():
        run = layer.forward(x)
        optimizer.step(run.backward(np.ones_like(run.output)))

    old = results()
    for change in (assign, learn, assign):
        change()
        new = results()
        fresh, *_ = copy.deepcopy(layer)(x)
        for before, after in zip(old, new, strict=True):
            assert not np.array_equal(before, after)
            np.testing.assert_allclose(after, fresh, rtol=1e-12)
        old = new


def test_parameters_changed_while_being_packed_are_packed_again(lstm, x, monkeypatch):
    pack = loader.kernels.pack

    def slow_pack(*arguments):
        network = pack(*arguments)
        monkeypatch.setattr(loader.kernels, "pack", pack)
        lstm["bias_l0"] = np.ones(16)  # as a signal handler could
        return network

    monkeypatch.setattr(loader.kernels, "pack", slow_pack)
    lstm(x)
    np.testing.assert_array_equal(lstm(x)[0], copy.deepcopy(lstm)(x)[0])


def test_weights_are_packed_once_per_version(lstm, x, monkeypatch):
    packs = []
    pack = loader.kernels.pack
    monkeypatch.setattr(loader.kernels, "pack", lambda *a: packs.append(a[2]) or pack(*a))
    lstm(x)
    lstm(x)
    lstm.forward(x)
    lstm(x)  # uses the weights packed for training
    lstm.forward(x)
    assert packs == [False, True]


def test_concurrent_calls_of_one_layer(rng):
    layer = bptt.GRU(8, 16, num_layers=2, seed=0)
    x = rng.standard_normal((4, 20, 8), dtype=np.float32)
    expected, _ = layer(x)
    for _ in range(5):
        layer["bias_l0"] = layer["bias_l0"].copy()  # so that all threads pack
        with ThreadPoolExecutor(8) as pool:
            for y, _ in pool.map(layer, [x] * 16):
                np.testing.assert_array_equal(y, expected)


# ---- copies --------------------------------------------------------------------------------------


def pickled(value):
    return pickle.loads(pickle.dumps(value))


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, pickled])
@pytest.mark.parametrize(("kind", "arguments"), MODULES)
def test_copies_are_equal_and_independent(kind, arguments, duplicate, x):
    module = kind(*arguments, seed=1)
    expected = output(module, x)  # packs the weights
    other = duplicate(module)
    assert repr(other) == repr(module)
    assert other.config == module.config
    np.testing.assert_array_equal(output(other, x), expected)
    name, *_ = other
    other[name] = np.zeros_like(other[name])
    assert not np.array_equal(output(other, x), expected)
    np.testing.assert_array_equal(output(module, x), expected)


@pytest.mark.parametrize(("kind", "arguments"), MODULES)
def test_config_makes_an_equal_module(kind, arguments, x):
    module = kind(*arguments, seed=1, dtype=np.float64)
    other = kind(**json.loads(json.dumps(module.config)))
    assert other.config == module.config
    np.testing.assert_array_equal(other._flat, module._flat)


def test_copies_have_the_same_dropout_masks(lstm, x):
    other = pickled(lstm)
    for _ in range(2):
        np.testing.assert_array_equal(lstm.forward(x).output, other.forward(x).output)


def test_gradients_are_a_mapping(lstm, x):
    run = lstm.forward(x)
    gradients = run.backward(np.ones_like(run.output))
    assert list(gradients) == list(lstm.parameters)
    assert len(gradients) == len(lstm.parameters)
    assert gradients == gradients
    assert gradients != copy.copy(gradients)
    for other in (copy.deepcopy(gradients), pickled(gradients)):
        other["bias_l1"] *= 2
        other["bias_l0"][...] = 0
        np.testing.assert_array_equal(other["bias_l1"], 2 * gradients["bias_l1"])
        assert np.shares_memory(other["bias_l0"], other._flat)
        assert gradients["bias_l0"].any()


# ---- initial weights -----------------------------------------------------------------------------


@every_cell
def test_initial_weights(cell):
    options = {"bidirectional": True, "num_layers": 2, "dtype": "float64", "seed": 0}
    layer = make_recurrent(cell, 60, 40, **options)
    for name, parameter in layer.parameters.items():
        if name.startswith("weight_hh"):
            for block in parameter.reshape(-1, 40, 40):
                np.testing.assert_allclose(block @ block.T, np.eye(40), atol=1e-12)
            assert abs(np.mean(parameter)) < 0.01
        elif name.startswith("weight_ih"):
            limit = np.sqrt(6 / (40 + parameter.shape[1]))
            assert 0.95 * limit < np.abs(parameter).max() <= limit
            assert np.var(parameter) == pytest.approx(limit**2 / 3, rel=0.1)
        else:
            blocks = [layer.cell.initial_bias.get(gate, 0.0) for gate in layer.cell.gates]
            expected = np.repeat(blocks, 40) if name.startswith("bias_l") else 0.0
            expected = 1.0 if name.startswith("gain") else expected
            np.testing.assert_array_equal(parameter, expected)


def test_lstm_starts_with_open_forget_gates():
    assert bptt.LSTM(3, 2)["bias_l0"].tolist() == [0, 0, 1, 1, 0, 0, 0, 0]


@pytest.mark.parametrize(("kind", "arguments"), MODULES)
def test_seed_determines_the_weights(kind, arguments):
    double, single = (kind(*arguments, seed=5, dtype=dtype) for dtype in ("float64", "float32"))
    np.testing.assert_array_equal(single._flat, double._flat.astype(np.float32))
    assert not np.array_equal(single._flat, kind(*arguments, seed=6)._flat)
    assert not np.array_equal(kind(*arguments)._flat, kind(*arguments)._flat)


# ---- constructor arguments -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value", "error", "message"),
    [
        ("input_size", 0, ValueError, "input_size must be an integer >= 1, got 0"),
        ("input_size", 3.0, TypeError, "input_size must be an integer, got float"),
        ("hidden_size", True, TypeError, "hidden_size must be an integer, got bool"),
        ("hidden_size", np.bool_(True), TypeError, "hidden_size must be an integer, got bool"),
        ("num_layers", -1, ValueError, "num_layers must be an integer >= 1, got -1"),
        ("num_layers", None, TypeError, "num_layers must be an integer, got NoneType"),
        ("bidirectional", 1, TypeError, "bidirectional must be True or False, got int"),
        ("time_major", "no", TypeError, "time_major must be True or False, got str"),
        ("reset_after", 0, TypeError, "reset_after must be True or False, got int"),
        ("merge", "max", ValueError, "merge must be one of 'concat', 'sum', 'mean', 'mul', got 'm"),
        ("merge", None, TypeError, "merge must be one of 'concat', 'sum', 'mean', 'mul', got Non"),
        ("activation", "gelu", ValueError, "activation must be one of 'tanh', 'sigmoid', 'relu'"),
        (
            "activation",
            np.tanh,
            TypeError,
            "activation must be one of 'tanh', 'sigmoid', 'relu', 'i",
        ),
        ("gate_activation", "tanh", ValueError, "gate_activation must be one of 'sigmoid', 'hard_"),
        ("dropout", 1, ValueError, "dropout must be in [0, 1), got 1"),
        ("dropout", -0.1, ValueError, "dropout must be in [0, 1), got -0.1"),
        ("dropout", np.nan, ValueError, "dropout must be in [0, 1), got nan"),
        ("dropout", "0.5", TypeError, "dropout must be a real number, got str"),
        ("dropout", False, TypeError, "dropout must be a real number, got bool"),
        ("dtype", np.float16, TypeError, "dtype must be float32 or float64, got <class 'numpy.fl"),
        ("dtype", None, TypeError, "dtype must be float32 or float64, got None"),
        ("dtype", "nonsense", TypeError, "dtype must be float32 or float64, got 'nonsense'"),
        (
            "dtype",
            np.dtype(np.float64).newbyteorder(),
            TypeError,
            "dtype must be float32 or float6",
        ),
        ("seed", -1, ValueError, "seed must be an integer >= 0, got -1"),
        ("seed", 0.5, TypeError, "seed must be an integer, got float"),
    ],
)
def test_constructor_errors(name, value, error, message):
    with pytest.raises(error) as raised:
        bptt.GRU(**{"input_size": 3, "hidden_size": 4, name: value})
    assert str(raised.value).startswith(message)
    names = {"input_size": "in_features", "hidden_size": "out_features", "dtype": "dtype"}
    if name in names:
        with pytest.raises(error, match=names[name]):
            bptt.Linear(**{"in_features": 3, "out_features": 4, names[name]: value})


def test_constructor_accepts_numpy_scalars():
    layer = bptt.RNN(np.int64(3), np.uint8(4), dropout=np.float32(0.5), time_major=np.bool_(False))
    assert json.loads(json.dumps(layer.config)) == layer.config
    assert repr(layer) == "RNN(input_size=3, hidden_size=4, dropout=0.5)"
