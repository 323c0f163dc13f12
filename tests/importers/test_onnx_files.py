"""Files of ONNX: what their nodes become, and what damaged and hostile files do."""

from __future__ import annotations

import random
import sys

import numpy as np
import pytest

import bptt
from bptt.exporters import to_onnx
from bptt.importers import read_file

RNG = np.random.default_rng(0)
X = RNG.normal(size=(2, 6, 3)).astype(np.float32)
W, R, B = (RNG.normal(size=shape).astype(np.float32) for shape in ((1, 16, 3), (1, 16, 4), (1, 32)))


def test_without_the_package(monkeypatch, tmp_path):
    (tmp_path / "a.onnx").write_bytes(b"\x08\x08")
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ImportError, match=r"needs the package onnx: pip install 'bptt\[onnx\]'"):
        read_file(tmp_path / "a.onnx")


onnx = pytest.importorskip("onnx")
helper, numpy_helper = onnx.helper, onnx.numpy_helper
FLOAT, INT64 = onnx.TensorProto.FLOAT, onnx.TensorProto.INT64


def write(path, nodes, tensors, inputs=("x",), outputs=("y",)):
    """Write a model of these nodes, with tensors by name."""
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info(name, FLOAT, None) for name in inputs],
        [helper.make_tensor_value_info(name, FLOAT, None) for name in outputs],
        [numpy_helper.from_array(array, name) for name, array in tensors.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path


def lstm(tmp_path, inputs=("x", "W", "R", "B"), more=None, nodes=(), **attributes):
    """The file of one LSTM node called "cell", after other nodes."""
    node = helper.make_node("LSTM", list(inputs), ["y"], name="cell", hidden_size=4, **attributes)
    tensors = {"W": W, "R": R, "B": B, **(more or {})}
    return read_file(write(tmp_path / "a.onnx", [*nodes, node], tensors))


# ---- networks


@pytest.mark.parametrize("pool", [None, "last"])
@pytest.mark.parametrize("reverse", [False, True])
def test_networks_of_ours(tmp_path, pool, reverse):
    network = bptt.Sequential(
        bptt.Embedding(9, 3),
        bptt.LSTM(3, 4, num_layers=2, reverse=reverse, peephole=True),
        bptt.Linear(4, 6),
        bptt.Tanh(),
        bptt.Linear(6, 2, bias=False),
        pool=pool,
    )
    for module in network.modules:
        for name in module:
            module[name] = RNG.normal(size=module[name].shape).astype(np.float32)
    to_onnx(network, tmp_path / "a.onnx", lengths=False)
    file = read_file(tmp_path / "a.onnx")
    chain = file.chain()
    assert (file.library, chain.pool) == ("ONNX", pool)
    assert [str(module) for module in chain.modules] == [str(m) for m in network.modules]
    ids = np.arange(12).reshape(2, 6) % 9
    np.testing.assert_allclose(chain(ids)[0], network(ids)[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", [bptt.RNN, bptt.LSTM, bptt.GRU])
@pytest.mark.parametrize("both", [False, True])
def test_learned_initial_states(tmp_path, kind, both):
    layer = kind(3, 4, bidirectional=both, learn_initial_state=True, seed=0)
    for name in layer:
        layer[name] = layer[name] + RNG.normal(size=layer[name].shape).astype(np.float32)
    to_onnx(layer, tmp_path / "a.onnx", lengths=False)
    (found,) = read_file(tmp_path / "a.onnx").layers.values()
    assert "learn_initial_state=True" in found.becomes
    again = found.build()
    np.testing.assert_allclose(again(X)[0], layer(X)[0], rtol=1e-5, atol=1e-6)
    turned = found.build(time_major=True)
    np.testing.assert_array_equal(turned(np.swapaxes(X, 0, 1))[0], np.swapaxes(again(X)[0], 0, 1))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("LSTM", {"num_layers": 2, "bidirectional": True}),
        ("GRU", {"num_layers": 2}),
        ("RNN", {"nonlinearity": "relu"}),
        ("LSTM", {"bias": False}),
    ],
)
def test_networks_of_torch(tmp_path, kind, options):
    torch = pytest.importorskip("torch")

    class Tagger(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = torch.nn.Embedding(9, 3)
            self.recurrent = getattr(torch.nn, kind)(3, 4, batch_first=True, **options)
            self.hidden = torch.nn.Linear(4 + 4 * options.get("bidirectional", False), 5)
            self.output = torch.nn.Linear(5, 2)

        def forward(self, ids):
            y, _ = self.recurrent(self.embedding(ids))
            return self.output(torch.relu(self.hidden(y)))

    model, ids = Tagger().eval(), torch.arange(12).reshape(2, 6) % 9
    axes = {"ids": {0: "batch", 1: "steps"}}
    torch.onnx.export(
        model, (ids,), tmp_path / "a.onnx", input_names=["ids"], dynamic_axes=axes, dynamo=False
    )
    network = read_file(tmp_path / "a.onnx").chain()
    y, _ = network(ids.numpy())
    np.testing.assert_allclose(y, model(ids).detach().numpy(), rtol=1e-5, atol=1e-6)


def test_layers_that_are_no_chain(tmp_path):
    """Two layers that read the same input: their sizes would fit."""
    arrays = {"W": RNG.normal(size=(1, 3, 3)).astype("f"), "R": np.ones((1, 3, 3), "f")}
    nodes = [helper.make_node("RNN", ["x", "W", "R"], [name], name=name) for name in "ab"]
    nodes.append(helper.make_node("Add", ["a", "b"], ["y"]))
    file = read_file(write(tmp_path / "a.onnx", nodes, arrays))
    assert file.others == {"y": "Add"}
    assert file.unchained == "'b' does not read the output of 'a'"
    with pytest.raises(ValueError, match="has arrays of no known layer, such as 'y'"):
        file.chain()


# ---- nodes


def test_constants_of_nodes(tmp_path):
    """Weights that are parts of constants, as programs without constant folding write them."""
    stacked = np.concatenate([W, R], axis=2)
    ends = [numpy_helper.from_array(np.array([n]), str(n)) for n in (0, 2, 3, 7)]
    nodes = [
        *(helper.make_node("Constant", [], [tensor.name], value=tensor) for tensor in ends),
        helper.make_node("Slice", ["stacked", "0", "3", "2"], ["W"]),
        helper.make_node("Slice", ["stacked", "3", "7", "2"], ["R"]),
        helper.make_node("Squeeze", ["row", "0"], ["flat"]),
        helper.make_node("Unsqueeze", ["flat", "0"], ["bias"]),
        helper.make_node("Identity", ["bias"], ["B"]),
        helper.make_node("LSTM", ["x", "W", "R", "B"], ["y"]),
    ]
    file = read_file(write(tmp_path / "a.onnx", nodes, {"stacked": stacked, "row": B}))
    layer = file["y"].build()
    expected = lstm(tmp_path)["cell"].build()
    np.testing.assert_array_equal(layer(X)[0], expected(X)[0])


def test_attributes(tmp_path):
    P = RNG.normal(size=(1, 12)).astype(np.float32)
    inputs = ["x", "W", "R", "B", "", "", "", "P"]
    found = lstm(tmp_path, inputs, {"P": P}, direction="reverse", input_forget=1)["cell"]
    assert found.becomes == "LSTM(3, 4, reverse=True, coupled=True, peephole=True)"
    assert found.shapes == {"W": (1, 16, 3), "R": (1, 16, 4), "B": (1, 32), "P": (1, 12)}
    assert (found.inputs, found.outputs, found.kind) == (3, 4, "LSTM")
    assert found.build().reverse
    assert lstm(tmp_path, layout=1)["cell"].note == ""
    assert "time_major=True reads (T, B, ..)" in lstm(tmp_path)["cell"].note


@pytest.mark.parametrize("value", ["zeros", "of_shape", "same", "input", "part", "computed"])
def test_initial_states(tmp_path, value):
    state = np.repeat(RNG.normal(size=(1, 1, 4)), 2, axis=1).astype(np.float32)
    tensors = {"h": np.zeros_like(state) if value == "zeros" else state}
    tensors["shape"] = np.array([1, 2, 4])
    tensors |= {"one": np.array([1]), "two": np.array([2])}
    name, nodes = "h", []
    if value == "of_shape":
        name, nodes = "zero", [helper.make_node("ConstantOfShape", ["shape"], ["zero"])]
    if value in ("input", "part"):
        name = "given"
    if value == "part":
        name = "piece"
        nodes = [helper.make_node("Slice", ["given", "one", "two"], [name])]
    if value == "computed":
        name, nodes = "other", [helper.make_node("Tanh", ["x"], ["other"])]
    node = helper.make_node("LSTM", ["x", "W", "R", "B", "", name], ["y"], hidden_size=4)
    path = write(
        tmp_path / "a.onnx", [*nodes, node], {"W": W, "R": R, "B": B, **tensors}, ("x", "given")
    )
    file = read_file(path)
    note = file["y"].note
    layer = file["y"].build()
    assert layer.learn_initial_state == (value == "same")
    given = None
    if value == "same":
        assert "initial_h is the learned initial state" in note
        given = bptt.LSTMState(state, np.zeros_like(state))
    plain = lstm(tmp_path)["cell"].build()
    np.testing.assert_array_equal(layer(X)[0], plain(X, state=given)[0])
    assert ("initial_h is 'given': give it as state" in note) == (value in ("input", "part"))
    assert (file.others == {}) == (value != "computed")


REFUSED = {
    "clip=3.0 is not supported": {"clip": 3.0},
    "activation Softsign is not supported": {"activations": ["Softsign", "Tanh", "Tanh"]},
    r"sequence_lens is the constant \[6, 5\]": {
        "inputs": ["x", "W", "R", "B", "n"],
        "more": {"n": np.array([6, 5], np.int32)},
    },
    "initial_h is a constant that differs between sequences": {
        "inputs": ["x", "W", "R", "B", "", "h"],
        "more": {"h": np.arange(8, dtype=np.float32).reshape(1, 2, 4)},
    },
    r"initial_c must have shape \(directions, batch, hidden_size\) = \(1, 1, 4\), got": {
        "inputs": ["x", "W", "R", "B", "", "", "c"],
        "more": {"c": np.ones((1, 1, 3), np.float32)},
    },
    "'V' is computed by a DequantizeLinear node, not a constant": {
        "inputs": ["x", "V", "R", "B"],
        "more": {"Q": np.ones((1, 16, 3), np.int8), "scale": np.array(0.5, np.float32)},
        "nodes": [helper.make_node("DequantizeLinear", ["Q", "scale"], ["V"])],
    },
    "'x' is an input of the model, not a constant": {"inputs": ["x", "x", "R", "B"]},
    "W and R must have 3 axes": {"inputs": ["x", "B", "R", "B"]},
}


@pytest.mark.parametrize("message", REFUSED)
def test_nodes_that_are_refused_by_name(tmp_path, message):
    file = lstm(tmp_path, **REFUSED[message])
    assert file["cell"].becomes == "–"
    for call in (file["cell"].build, file.chain):
        with pytest.raises(ValueError, match=message):
            call()
    assert message.split("(")[0].replace("\\", "")[:20] in str(file)


def test_lengths_that_are_an_input(tmp_path):
    assert "lengths are 'x'" in lstm(tmp_path, ["x", "W", "R", "B", "x"])["cell"].note


def test_weights_that_do_not_fit(tmp_path):
    file = lstm(tmp_path, more={"B": B[:, :5]})
    with pytest.raises(ValueError, match=r"B must have shape \(directions, 2\*4\*hidden_size\)"):
        file["cell"].build()


@pytest.mark.parametrize(
    ("operator", "inputs", "attributes", "becomes"),
    [
        ("MatMul", ["x", "A"], {}, "Linear(3, 5, bias=False)"),
        ("Gemm", ["x", "A"], {}, "Linear(3, 5, bias=False)"),
        ("Gemm", ["x", "A", "b"], {}, "Linear(3, 5)"),
        ("Gemm", ["x", "At", "b"], {"transB": 1}, "Linear(3, 5)"),
        ("Gemm", ["x", "A", "b"], {"alpha": 2.0}, None),
        ("Gemm", ["x", "A", "x"], {}, None),
        ("Gemm", ["x", "A", "A"], {}, None),
        ("MatMul", ["x", "x"], {}, None),
        ("MatMul", ["A", "x"], {}, None),
        ("Gather", ["A", "x"], {}, "Embedding(3, 5)"),
        ("Gather", ["A", "x"], {"axis": 1}, None),
        ("Gather", ["x", "b"], {}, None),
    ],
)
def test_affine_layers_and_embeddings(tmp_path, operator, inputs, attributes, becomes):
    A, b = RNG.normal(size=(3, 5)).astype("f"), np.arange(5, dtype=np.float32)
    node = helper.make_node(operator, inputs, ["y"], name="node", **attributes)
    tensors = {"A": A, "At": A.T.copy(), "b": b}
    file = read_file(write(tmp_path / "a.onnx", [node], tensors))
    if becomes is None:
        assert file.others == {"node": operator}
        return
    assert file["node"].becomes == becomes
    layer = file["node"].build()
    if operator == "Gather":
        np.testing.assert_array_equal(layer(np.array([[2, 0]]))[0], A[[2, 0]])
    else:
        expected = X @ A + (b if "b" in inputs else 0)
        np.testing.assert_allclose(layer(X), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("operator", "activation"),
    [("Relu", "relu"), ("Softmax", "softmax"), (None, "identity"), ("Elu", None)],
)
def test_functions_after_affine_layers(tmp_path, operator, activation):
    nodes = [helper.make_node("MatMul", ["x", "A"], ["p" if operator else "y"], name="node")]
    if operator:
        nodes.append(helper.make_node(operator, ["p"], ["y"]))
    file = read_file(write(tmp_path / "a.onnx", nodes, {"A": np.ones((3, 5), np.float32)}))
    assert file["node"].activation == activation
    assert file.others == ({} if activation else {"y": "Elu"})


# ---- data in other files


def external(tmp_path, location, offset=4, length=None, shape=(3, 5)):
    A = np.arange(15, dtype=np.float32).reshape(3, 5)
    path = write(tmp_path / "a.onnx", [helper.make_node("MatMul", ["x", "A"], ["y"])], {"A": A})
    model = onnx.load(path)
    (tensor,) = model.graph.initializer
    tensor.ClearField("raw_data")
    tensor.dims[:] = shape
    tensor.data_location = onnx.TensorProto.EXTERNAL
    pairs = {"location": location, "offset": offset, "length": length}
    for key, value in pairs.items():
        if value is not None:
            tensor.external_data.add(key=key, value=str(value))
    path.write_bytes(model.SerializeToString())
    for name in ("a.data", "../outside.data"):
        (tmp_path / name).write_bytes(b"....."[:4] + A.tobytes())
    return path, A


@pytest.mark.parametrize("length", [None, 60])
def test_data_beside_the_file(tmp_path, length):
    path, A = external(tmp_path, "a.data", length=length)
    layer = read_file(path)["y"].build()
    np.testing.assert_array_equal(layer["weight"], A.T)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"location": "../outside.data"},
            "the data of 'A' must be in a file beside the model, got '../ou",
        ),
        (
            {"location": "/etc/passwd"},
            "the data of 'A' must be in a file beside the model, got '/etc/pass",
        ),
        ({"location": "link"}, "the data of 'A' must be in a file beside the model, got 'link'"),
        ({"location": ""}, "the data of 'A' must be in a file beside the model, got ''"),
        ({"location": ".."}, "the file '..' with the data of 'A' is missing"),
        ({"location": "b.data"}, "the file 'b.data' with the data of 'A' is missing"),
        ({"offset": 8}, r"'A' of shape \(3, 5\) is beyond the end of 'a.data'"),
        ({"offset": -4}, r"'A' of shape \(3, 5\) does not fit its external data"),
        ({"length": 56}, r"'A' of shape \(3, 5\) does not fit its external data"),
        ({"shape": (2**40, 2**40)}, "is beyond the end of 'a.data'"),
        ({"shape": (-3, -5)}, "does not fit its external data"),
    ],
)
def test_data_elsewhere_are_refused(tmp_path, arguments, message):
    (tmp_path / "link").symlink_to(tmp_path.parent / "outside.data")
    path, _ = external(tmp_path, **{"location": "a.data", **arguments})
    with pytest.raises(ValueError, match=f"^cannot load .*{message}"):
        read_file(path)


# ---- damaged files


def content(tmp_path):
    network = bptt.Sequential(bptt.Embedding(9, 3), bptt.GRU(3, 4), bptt.Linear(4, 2))
    to_onnx(network, tmp_path / "a.onnx")
    return (tmp_path / "a.onnx").read_bytes()


def outcome(path, data):
    """What is in a file, or None if it is refused with a sentence."""
    path.write_bytes(data)
    try:
        return read_file(path)
    except ValueError as error:
        message = str(error)
    assert message.startswith(f"cannot load {path}: ")
    return None


def test_truncated(tmp_path):
    data = content(tmp_path)
    found = [outcome(tmp_path / "b.onnx", data[:end]) for end in range(1, len(data), 7)]
    assert found.count(None) > len(found) // 2


def test_changed_bytes(tmp_path):
    data, rng = content(tmp_path), random.Random(0)
    for _ in range(1500):
        changed = bytearray(data)
        for _ in range(rng.choice([1, 1, 4, 16])):
            changed[rng.randrange(len(data))] = rng.randrange(256)
        file = outcome(tmp_path / "b.onnx", bytes(changed))
        if file is None:
            continue
        for layer in file.layers.values():
            try:
                layer.build()
            except (TypeError, ValueError):
                continue


@pytest.mark.parametrize("data", [b"", b"\x08", b"\x08\x08", b"\x08" + b"\xff" * 40])
def test_no_model(tmp_path, data):
    path = tmp_path / "a.onnx"
    assert outcome(path, data) is None


def test_constants_that_grow(tmp_path):
    """Each Concat doubles: 2**60 numbers."""
    nodes = [
        helper.make_node("Concat", [f"c{i}", f"c{i}"], [f"c{i + 1}"], axis=0) for i in range(60)
    ]
    nodes.append(helper.make_node("MatMul", ["x", "c60"], ["y"], name="product"))
    file = read_file(write(tmp_path / "a.onnx", nodes, {"c0": np.ones((4, 4), np.float32)}))
    assert file.layers == {}


def test_cycles(tmp_path):
    """A value that is computed of itself."""
    nodes = [
        helper.make_node("Identity", ["b"], ["a"]),
        helper.make_node("Slice", ["a", "n", "n"], ["b"]),
        helper.make_node("LSTM", ["x", "W", "R", "", "", "b"], ["y"]),
    ]
    path = write(tmp_path / "a.onnx", nodes, {"W": W, "R": R, "n": np.array([1])})
    assert outcome(path, path.read_bytes()) is None
