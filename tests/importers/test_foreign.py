"""Layers that are found by their names, and the networks that they become."""

from __future__ import annotations

import json
import struct

import numpy as np
import pytest

import bptt
from bptt.importers import read_file

GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
SAFETENSORS = {"float16": "F16", "float32": "F32", "float64": "F64", "int64": "I64", "bool": "BOOL"}
rng = np.random.default_rng(0)


def recurrent(kind, inputs, size, prefix="", layers=1, both=False, suffix="_l{}"):
    """Weights of a module of PyTorch."""
    rows, found = GATES[kind] * size, {}
    for layer in range(layers):
        for direction in ("", "_reverse")[: 1 + both]:
            end = suffix.format(layer) + direction
            found[f"{prefix}weight_ih{end}"] = rng.normal(size=(rows, inputs))
            found[f"{prefix}weight_hh{end}"] = rng.normal(size=(rows, size))
            found[f"{prefix}bias_ih{end}"] = rng.normal(size=rows)
            found[f"{prefix}bias_hh{end}"] = rng.normal(size=rows)
        inputs = size * (1 + both)
    return found


def linear(inputs, outputs, name="output", bias=True):
    weights = {f"{name}.weight": rng.normal(size=(outputs, inputs))}
    return weights | ({f"{name}.bias": rng.normal(size=outputs)} if bias else {})


def safetensors(path, tensors, metadata=None, **lies):
    """Write a file of safetensors, with lies about some tensors."""
    header, data = {"__metadata__": metadata} if metadata else {}, b""
    for name, array in tensors.items():
        entry = {"dtype": SAFETENSORS[array.dtype.name], "shape": array.shape}
        place = [len(data), len(data) + array.nbytes]
        header[name] = entry | {"data_offsets": place} | lies.get(name, {})
        data += array.tobytes()
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


@pytest.fixture
def read(tmp_path):
    return lambda tensors, **lies: read_file(
        safetensors(tmp_path / "file.safetensors", tensors, **lies)
    )


# ---- layers


@pytest.mark.parametrize("kind", GATES)
@pytest.mark.parametrize(("layers", "both"), [(1, False), (2, False), (3, True)])
def test_recurrent_layers_are_found(kind, layers, both, read):
    weights = recurrent(kind, 3, 2, "a.b.", layers, both)
    file = read(weights)
    layer = file["a.b"]
    built = layer.build(time_major=True)
    assert (layer.kind, layer.inputs, layer.outputs) == (kind, 3, built.output_size)
    assert type(built) is getattr(bptt, kind)
    assert (built.num_layers, built.bidirectional, built.time_major) == (layers, both, True)
    assert set(layer.shapes) == {name.removeprefix("a.b.") for name in weights}
    expected = bptt.importers.from_torch(type(built), weights, "a.b.", time_major=True)
    for name, value in expected.parameters.items():
        assert built[name].tobytes() == value.tobytes()


def test_what_becomes_of_layers(read):
    weights = recurrent("LSTM", 3, 4) | recurrent("GRU", 3, 2, "cell.", suffix="")
    weights |= {"p.weight_ih_l0": np.ones((16, 3)), "p.weight_hh_l0": np.ones((16, 2))}
    weights |= {"p.weight_hr_l0": np.ones((2, 4))}
    file = read(weights)
    becomes = {name: layer.becomes for name, layer in file.layers.items()}
    assert becomes == {
        "": "LSTM(3, 4)",
        "cell": "GRU(3, 2, reset_after=True)",
        "p": "LSTM(3, 4, proj_size=2)",
    }
    for layer in file.layers.values():
        assert str(eval(layer.becomes, vars(bptt))).partition("(")[0] == layer.kind
        assert layer.build().output_size == layer.outputs
    assert '""' in str(file)


def test_what_a_file_does_not_say(read):
    weights = recurrent("RNN", 3, 2, "rnn.")
    assert "relu" in read(weights)["rnn"].note
    assert read(weights)["rnn"].build(activation="relu").activation == "relu"
    del weights["rnn.bias_hh_l0"]
    file = read(weights)
    assert "'rnn.bias_hh_l0' is missing in tensors" in file["rnn"].note
    with pytest.raises(KeyError, match=r"'rnn\.bias_hh_l0' is missing in tensors"):
        file["rnn"].build()


def test_misspelt_names(read):
    weights = recurrent("GRU", 3, 2, "a.")
    for name in ("ih", "hh"):
        weights[f"a.bias_{name}_0"] = weights.pop(f"a.bias_{name}_l0")
    file = read(weights)
    assert file["a"].note == "'a.bias_ih_0' is no name of such a module: is it 'a.weight_ih_l0'?"
    assert list(file.others) == ["a.bias_ih_0", "a.bias_hh_0"]
    with pytest.raises(ValueError, match="is no name of such a module"):
        file["a"].build()


def test_what_is_of_no_layer(read):
    weights = {
        "conv.weight": np.ones((2, 2, 3)),
        "norm.weight": np.ones(3),
        "norm.bias": np.ones(3),
        "norm.running_mean": np.ones(3),
        "uneven.weight": np.ones(3),
        "uneven.bias": np.ones(2),
        "ids.weight": np.ones((2, 3), np.int64),
        "wrong.weight": np.ones((2, 3)),
        "wrong.bias": np.ones(3),
        "five.weight_ih_l0": np.ones((10, 3)),
        "five.weight_hh_l0": np.ones((10, 2)),
        "alone.weight_ih_l0": np.ones((10, 3)),
        "x": np.ones(()),
    }
    file = read(weights)
    assert not file.layers
    assert file.others == {name: str(array.shape) for name, array in weights.items()}
    with pytest.raises(ValueError, match="has arrays of no known layer, such as"):
        file.chain()


@pytest.mark.parametrize("name", ["weight_ih_l9999", "weight_ih_l99999999999999999999"])
def test_layers_that_a_name_invents(name, read):
    file = read(recurrent("GRU", 3, 2, "a.") | {f"a.{name}": np.ones((6, 2))})
    with pytest.raises((KeyError, ValueError), match="is no name of such a module"):
        file["a"].build()


def test_layer_normalization(read):
    weights = {"norm.weight": rng.normal(size=4), "norm.bias": rng.normal(size=4)}
    file = read(weights | linear(4, 2))
    layer = file["norm"]
    assert (layer.kind, layer.becomes) == ("LayerNorm or GroupNorm", "LayerNorm(4)")
    assert "a GroupNorm, which bptt does not have, has the same arrays" in layer.note
    norm, x = layer.readings["LayerNorm"].build(), rng.normal(size=(2, 3, 4))
    same = bptt.LayerNorm(4, dtype="float64")
    same["weight"], same["bias"] = weights["norm.weight"], weights["norm.bias"]
    np.testing.assert_array_equal(norm(x), same(x))
    assert layer.readings["LayerNorm"].build(epsilon=1e-3).epsilon == 1e-3
    with pytest.raises(ValueError, match=r"several kinds: use its readings\['LayerNorm'\]"):
        layer.build()
    with pytest.raises(ValueError, match="'norm' may be LayerNorm or GroupNorm: build it by"):
        file.chain("norm")


# ---- chains


def test_a_chain_of_all_layers(read):
    weights = linear(5, 9, "letters", bias=False) | recurrent("GRU", 5, 4, "encoder.")
    file = read(weights | linear(4, 2))
    network = file.chain(pool="last")
    kinds = [type(module).__name__ for module in network]
    assert kinds == ["Embedding", "GRU", "Linear"]
    assert network.pool == "last"
    assert network[0]["weight"].tobytes() == weights["letters.weight"].tobytes()
    assert file.chain("encoder", "output", activation="relu")[0].activation == "relu"
    with pytest.raises(TypeError, match="unknown argument units"):
        file.chain(units=3)


def test_stacked_layers_become_one(read):
    weights = recurrent("LSTM", 3, 4, "a.", both=True) | recurrent("LSTM", 8, 4, "b.", 2, both=True)
    file = read(weights | recurrent("LSTM", 8, 2, "c.") | linear(2, 5))
    network = file.chain()
    assert [getattr(module, "num_layers", 0) for module in network] == [3, 1, 0]
    x = rng.normal(size=(2, 7, 3))
    y = x
    for name in ("a", "b", "c"):
        y, _ = file[name].build()(y)
    np.testing.assert_allclose(network(x)[0], file["output"].build()(y), atol=1e-12)


def test_a_weight_without_bias_is_read_by_its_place(read):
    gru = recurrent("GRU", 5, 4, "gru.")
    file = read(linear(3, 5, "project", bias=False) | gru | linear(4, 3, bias=False))
    linears = file.chain("gru", "output")
    assert str(linears[1]) == "Linear(in_features=4, out_features=3, bias=False, dtype=float64)"
    with pytest.raises(ValueError, match="does not say which function is between 'project' and"):
        file.chain("project", "gru")
    square = read(linear(5, 5, "square", bias=False) | gru)
    with pytest.raises(ValueError, match="'square' may be Embedding or Linear: build it by its"):
        square.chain()
    with pytest.raises(ValueError, match="'square' may be Embedding or Linear"):
        square.chain("square")


def norm(size, name):
    return {f"{name}.{array}": rng.normal(size=size) for array in ("weight", "bias")}


def test_layer_normalization_in_a_chain(read):
    weights = linear(5, 9, "letters", bias=False) | norm(5, "before")
    weights |= recurrent("LSTM", 5, 4, "one.") | norm(4, "between")
    weights |= recurrent("LSTM", 4, 4, "two.") | norm(4, "after") | linear(4, 2)
    file = read(weights)
    network = file.chain(epsilon=1e-3, pool="last")
    kinds = ["Embedding", "LayerNorm", "LSTM", "LayerNorm", "LSTM", "LayerNorm", "Linear"]
    assert [type(module).__name__ for module in network] == kinds
    ids = np.array([[1, 4, 8], [0, 0, 3]])
    y = network[0](ids)
    for name, lstm in (("before", "one"), ("between", "two")):
        normal = file[name].readings["LayerNorm"].build(epsilon=1e-3)
        y, state = file[lstm].build()(normal(y))
    last = file["after"].readings["LayerNorm"].build(epsilon=1e-3)(state[0][0])
    np.testing.assert_allclose(network(ids)[0], file["output"].build()(last), atol=1e-12)
    assert file.chain("before", "one")[0].epsilon == 1e-5
    with pytest.raises(ValueError, match="epsilon must be > 0"):
        file.chain(epsilon=0.0)
    with pytest.raises(ValueError, match="'between' reads 4 features, 'before' before it has 5"):
        file.chain("before", "between")


def test_normalization_without_bias_is_none_of_the_layers(read):
    """Of an RMSNorm or of a LayerNorm without bias: the file does not say."""
    weights = linear(5, 9, "letters", bias=False) | {"norm.weight": np.ones(5)}
    file = read(weights | recurrent("GRU", 5, 4, "gru."))
    assert "of no known layer: norm.weight (5,)" in str(file)
    with pytest.raises(ValueError, match=r"arrays of no known layer, such as 'norm\.weight'"):
        file.chain()


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("gru", "gru"), "'gru' reads 5 features, 'gru' before it has 4: give the names of layers"),
        (("output", "gru"), "'gru' reads 5 features, 'output' before it has 4"),
        (("output", "head"), "does not say which function is between 'output' and 'head'"),
    ],
)
def test_layers_that_are_no_chain(names, message, read):
    file = read(recurrent("GRU", 5, 4, "gru.") | linear(4, 4) | linear(4, 2, "head"))
    with pytest.raises(ValueError, match=message):
        file.chain(*names)


def test_options_that_the_file_contradicts(read):
    file = read(recurrent("GRU", 5, 4, "gru.") | linear(4, 2))
    with pytest.raises(ValueError, match="hidden_size must be 4, that of the weights, got 5"):
        file["gru"].build(hidden_size=5)
    with pytest.raises(ValueError, match="bias must be True, that of the file, got False"):
        file["output"].build(bias=False)
    with pytest.raises(ValueError, match="reset_after must be True"):
        file["gru"].build(reset_after=False)


# ---- safetensors


def test_safetensors_of_the_package(tmp_path):
    numpy = pytest.importorskip("safetensors.numpy")
    tensors = recurrent("GRU", 3, 2) | {"half": np.ones(3, np.float16), "n": np.arange(4)}
    path = tmp_path / "a.bin"
    numpy.save_file(tensors, path, {"format": "pt"})
    found = read_file(path).tensors
    assert set(found) == set(tensors)
    for name, array in tensors.items():
        assert found[name].dtype == array.dtype
        assert found[name].tobytes() == array.tobytes()


def test_bfloat16_becomes_float32(read):
    exact = np.array([1.5, -2.0, 3.0e38, 0.0], np.float32)
    upper = (exact.view(np.uint32) >> 16).astype(np.uint16)
    file = read({"a": upper.view(np.float16)}, a={"dtype": "BF16"})
    kept = (upper.astype(np.uint32) << 16).view(np.float32)
    np.testing.assert_array_equal(file.tensors["a"], kept)
    assert file.tensors["a"].dtype == np.float32
    assert read({"a": np.ones(2, bool)}, a={"dtype": "F8_E5M2"}).others == {"a": "(F8_E5M2)"}


@pytest.mark.parametrize(
    "lie",
    [
        {"shape": [5]},
        {"shape": [-2]},
        {"shape": [2.0]},
        {"shape": 3},
        {"shape": [10**30, 0]},
        {"data_offsets": [0, 10**9]},
        {"data_offsets": [-8, 8]},
        {"data_offsets": [16, 0]},
        {"data_offsets": "ab"},
        {"shape": [1] * 40 + [2]},
        {"dtype": []},
    ],
    ids=str,
)
def test_lies_of_a_header(lie, read):
    with pytest.raises(ValueError, match=r"^cannot load .*file\.safetensors: "):
        read({"a": np.ones(2)}, a=lie)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (b"{", "its header is damaged"),
        (b'{"a": ' + b"[" * 100_000, "its header is damaged"),
        (b'{"a": 1}', "'a' must be described by an object"),
        (b'{"a": {}}', "'dtype' is missing"),
        (b'{"a": {}, "a": {}}', "its header has 'a' twice"),
        (b'{"\xff": {}}', "its header is damaged"),
    ],
)
def test_damaged_headers(header, message, tmp_path):
    path = tmp_path / "a"
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(8))
    with pytest.raises(ValueError, match=f"^cannot load .*: {message}$"):
        read_file(path)


def test_tensors_that_overlap(read):
    """Many tensors of the same bytes would be larger than the file as float32."""
    tensors = {str(i): np.ones(8, np.float16) for i in range(20)}
    lie = {"dtype": "BF16", "shape": [160], "data_offsets": [0, 320]}
    with pytest.raises(ValueError, match="its tensors are larger than the file"):
        read(tensors, **dict.fromkeys(tensors, lie))


def test_files_of_bptt_are_named(tmp_path):
    pytest.importorskip("safetensors")
    bptt.Sequential(bptt.GRU(2, 3)).save(tmp_path / "own")
    with pytest.raises(ValueError, match="it is a file of bptt: use "):
        read_file(tmp_path / "own")


@pytest.mark.parametrize("content", [b"", b"\x80", b"text of a letter", bytes(100)])
def test_other_files(content, tmp_path):
    (tmp_path / "a.pt").write_bytes(content)
    known = "it is not a file of PyTorch, safetensors, Keras or ONNX"
    with pytest.raises(ValueError, match=f"^cannot load .*: {known}$"):
        read_file(tmp_path / "a.pt")


def test_paths(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_file(tmp_path / "none.pt")
    with pytest.raises(IsADirectoryError):
        read_file(tmp_path)
    with pytest.raises(TypeError, match="path must be a string or a path, got int"):
        read_file(3)
