"""Files of Keras 2 and 3: written by the libraries themselves, without them, and damaged ones.

`data/write_keras.py` has written the archives, with what Keras computes.
"""

from __future__ import annotations

import importlib.util
import json
import random
import zipfile

import numpy as np
import pytest

import bptt
from bptt.importers import read_file
from keras_files import DATA, arrays, extracted, refused, write

h5py = pytest.importorskip("h5py")

MODELS = ("classifier", "tagger", "pooled", "nested", "parts")
LENGTHS = np.array([6, 4, 1])
rng = np.random.default_rng(0)


@pytest.fixture(scope="module", params=[2, 3], ids=["keras2", "keras3"])
def files(request, tmp_path_factory):
    """A folder with the files of one version of Keras."""
    return extracted(request.param, tmp_path_factory.mktemp(f"keras{request.param}"))


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def check(network, name, folder):
    """Compare the output of a network with that of Keras."""
    with np.load(folder / f"{name}.npz") as expected:
        x, y = expected["x"], expected["y"]
    classifies = name in ("classifier", "nested")  # ids with padding
    found, _ = network(x, lengths=LENGTHS if classifies else None)
    found = bptt.softmax(found) if classifies else found
    np.testing.assert_allclose(found, y, atol=2e-6)


# ---- files with the architecture -----------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize("name", MODELS)
def test_network(files, name, suffix):
    model = read_file(files / f"{name}{suffix}")
    assert (model.library, model.unchained, dict(model.others)) == ("Keras", "", {})
    check(model.chain(), name, files)


def test_network_of_the_layers_of_a_file(files):
    model = read_file(files / "classifier.keras")
    chain = model.chain()
    kinds = [type(module).__name__ for module in chain]
    assert (kinds, chain.pool) == (["Embedding", "LSTM", "LSTM", "Linear"], "last")
    gates = "hard_sigmoid" if "keras3" in str(files) else "hard_sigmoid_keras2"
    assert [layer.becomes for layer in model.layers.values()] == [
        "Embedding(5, 3)",
        "LSTM(3, 3)",
        f"LSTM(3, 3, gate_activation='{gates}')",
        "Linear(3, 2)",
    ]
    assert model["tokens"].note == "id 0 was masked as padding: give lengths"
    assert model["lstm"].note == "was trained with dropout=0.2"
    assert model["dense"].note == "then softmax, which is left out"
    assert model["lstm"].shapes == {"kernel": (3, 12), "recurrent_kernel": (3, 12), "bias": (12,)}
    assert model["lstm"].gates == ("input", "forget", "cell", "output")
    part = model.chain("tokens", "lstm")
    assert part.pool is None  # return_sequences=True
    assert part(np.zeros((1, 4), np.int64))[0].shape == (1, 4, 3)
    with pytest.raises(ValueError, match=r"'lstm_1' has pool='last', not an output at every step"):
        model.chain("tokens", "lstm_1", "lstm")


def test_functions_and_poolings_follow_the_layer_before(files):
    model = read_file(files / "pooled.h5")
    assert [type(module).__name__ for module in model.chain()] == [
        *("GRU", "LayerNorm", "Linear", "ReLU", "Linear", "Sigmoid")
    ]
    gru, _, dense, last = model.layers.values()
    assert (gru.pool, dense.note, last.note) == ("max", "then relu", "then sigmoid")


def test_options_of_the_file_stand(files):
    layer = read_file(files / "classifier.keras")["lstm"]
    assert layer.build(activation="tanh", recurrent_dropout=0.5).recurrent_dropout == 0.5
    with pytest.raises(
        ValueError, match="activation must be 'tanh', that of 'lstm' in the file, got 'relu'"
    ):
        layer.build(activation="relu")


# ---- weights alone -------------------------------------------------------------------------------


def weights_alone(files):
    return [files / f"classifier{s}" for s in (".weights.h5", "-weights.h5")][
        : 1 + ("keras2" in str(files))
    ]


def test_weights_alone(files):
    for path in weights_alone(files):
        model = read_file(path)
        tokens = next(name for name in model.layers if name in ("tokens", "embedding"))
        gates = "hard_sigmoid" if "keras3" in str(files) else "hard_sigmoid_keras2"
        network = bptt.Sequential(
            model[tokens].build(),
            model["lstm"].build(),
            model["lstm_1"].build(gate_activation=gates),
            model["dense"].build(),
            pool="last",
        )
        check(network, "classifier", files)
        assert model["lstm"].note == "not in the file: pool, activation, gate_activation"
        assert model["dense"].activation is None
        assert model["dense"].note == "its activation is not in the file"
        if "-weights" in path.name:  # which has their order
            assert list(model.layers) == ["tokens", "lstm", "lstm_1", "dense"]
            chain = model.chain(pool="last")
            assert [type(module).__name__ for module in chain] == ["Embedding", "LSTM", "Linear"]
        else:
            with pytest.raises(ValueError, match="does not have their order: give their names"):
                model.chain()


def test_weights_alone_of_other_layers(files):
    model = read_file(files / "tagger.weights.h5")
    assert {layer.becomes for layer in model.layers.values()} == {
        *("GRU(2, 3)", "RNN(3, 2, bidirectional=True)", "Linear(2, 2)")
    }
    both = next(layer for layer in model.layers.values() if layer.kind == "RNN")
    assert both.note == "not in the file: pool, merge, activation"
    model = read_file(files / "pooled.weights.h5")
    gru = next(layer for layer in model.layers.values() if layer.kind == "GRU")
    assert "needs reset_after: Keras has True by default since 2.3" in gru.note
    with pytest.raises(ValueError, match="needs reset_after, which is not in the file"):
        gru.build()
    assert gru.build(reset_after=True).bidirectional
    assert len(model.others) == 2
    assert all("layer_normalization" in name for name in model.others)


# ---- files made by hand --------------------------------------------------------------------------


def one_lstm(path, kind="LSTM", weights=None, version="2.2.4", **options):
    found = arrays(2, 3) if weights is None else weights
    write(path, {"a": (kind, options)}, weights={"a": found}, version=version)
    return read_file(path)["a"]


def test_cudnn_layers(tmp_path):
    H = 3
    weights = arrays(2, H, bias=(8 * H,))
    network = one_lstm(tmp_path / "a.h5", "CuDNNLSTM", weights, return_sequences=True).build()
    kernels = [k.T.reshape(k.shape, order="F") for k in np.hsplit(weights["kernel"], 4)]
    recurrents = [r.T for r in np.hsplit(weights["recurrent_kernel"], 4)]
    biases = np.split(weights["bias"][: 4 * H] + weights["bias"][4 * H :], 4)
    x = rng.normal(size=(2, 5, 2)).astype(np.float32)
    h = c = np.zeros((2, H))
    for t in range(5):
        i, f, g, o = (
            x[:, t] @ U + h @ W + b for U, W, b in zip(kernels, recurrents, biases, strict=True)
        )
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
    np.testing.assert_allclose(network(x)[0][:, -1], h, atol=1e-6)
    gru = one_lstm(tmp_path / "a.h5", "CuDNNGRU", arrays(2, H, 3, bias=(6 * H,)))
    assert gru.build().reset_after


@pytest.mark.parametrize(
    ("version", "gates"),
    [
        ("2.1.6-tf", "hard_sigmoid_keras2"),
        ("2.15.0", "hard_sigmoid_keras2"),
        ("3.4.1", "hard_sigmoid"),
    ],
)
def test_hard_sigmoid_is_that_of_the_version(tmp_path, version, gates):
    options = {"recurrent_activation": "hard_sigmoid", "version": version}
    assert one_lstm(tmp_path / "a.h5", **options).build().gate_activation == gates


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("Lambda", {"function": "rm -rf"}, "a Lambda is code, which is never loaded"),
        ("Conv1D", {}, "bptt has no Conv1D"),
        ("LSTM", {"module": "mine.layers"}, "mine.layers.LSTM is not a class of Keras"),
        ("LSTM", {"go_backwards": True}, "it has go_backwards=True, and layers of bptt have no"),
        ("LSTM", {"activation": "elu"}, "its activation is elu, and bptt has tanh, sigmoid, relu"),
        ("LSTM", {"activation": {"config": "mine"}}, "its activation is mine, and bptt has"),
        ("LSTM", {"activation": {"config": [1]}}, "its activation is a function of its own"),
        ("LSTM", {"recurrent_activation": "relu"}, "its recurrent_activation is relu, and bptt"),
        (
            "LSTM",
            {"recurrent_activation": "hard_sigmoid", "version": None},
            "another function since",
        ),
        ("LSTM", {"units": 4}, "it has units=4, and its arrays have 3"),
        ("LSTM", {"use_bias": False}, "it has use_bias=False, and its arrays have True"),
        ("GRU", {}, r"recurrent_kernel has shape \(3, 15\), not \(5, 15\) of"),
        ("Dense", {}, "it has the array 'recurrent_kernel', not kernel, bias alone"),
        ("Embedding", {}, "it has the array 'bias', not embeddings alone"),
        ("LayerNormalization", {}, "not gamma, beta alone"),
        ("TimeDistributed", {"layer": {"class_name": "LSTM", "config": {}}}, "LSTM, not Dense"),
        ("ReLU", {}, "ReLU is read only after a layer that has neither"),
        ("Bidirectional", {"merge_mode": None}, "merge_mode is None, and bptt has concat, sum"),
        (
            "Bidirectional",
            {"layer": {"class_name": "LSTM", "config": {}}},
            "it has the array 'bias', not forward/kernel",
        ),
        ("Bidirectional", {"layer": {"class_name": "ConvLSTM1D", "config": {}}}, "is ConvLSTM1D"),
        (
            "Bidirectional",
            {
                "layer": {"class_name": "LSTM", "config": {"activation": "relu"}},
                "backward_layer": {"class_name": "LSTM", "config": {"go_backwards": True}},
            },
            "layer and backward_layer differ",
        ),
    ],
)
def test_layers_that_bptt_does_not_have(tmp_path, kind, options, message):
    weights = arrays(2, 3, 4 if kind != "GRU" else 5)
    layer = one_lstm(tmp_path / "a.h5", kind, weights, **options)
    assert (layer.becomes, layer.note) == ("–", layer.refusal)
    with pytest.raises(ValueError, match=message) as caught:
        layer.build()
    assert str(caught.value).startswith("'a' is not supported: ")
    with pytest.raises(ValueError, match=message):
        read_file(tmp_path / "a.h5").chain()


@pytest.mark.parametrize(
    ("removed", "message"),
    [
        ("kernel", "its arrays are not those of a layer with 4 gates"),
        ("recurrent_kernel", "it has the arrays kernel, bias alone"),
    ],
)
def test_missing_arrays(tmp_path, removed, message):
    weights = arrays(2, 3)
    del weights[removed]
    with pytest.raises(ValueError, match=message):
        one_lstm(tmp_path / "a.h5", weights=weights).build()


def test_functions_that_bptt_does_not_have_are_at_no_place_of_a_chain(tmp_path):
    dense = {"kernel": np.ones((3, 3), np.float32), "bias": np.zeros(3, np.float32)}
    layers = {"a": ("LSTM", {"units": 3}), "b": ("Dense", {"activation": "gelu"})}
    path = write(tmp_path / "a.h5", layers, weights={"a": arrays(2, 3), "b": dense})
    model = read_file(path)
    assert model["b"].note == "then gelu, which is left out"
    model["b"].build()
    with pytest.raises(ValueError, match="'b' is followed by gelu, which bptt does not have"):
        model.chain()
    layers["c"] = ("Dense", {})
    path = write(tmp_path / "a.h5", layers, weights={"a": arrays(2, 3), "b": dense, "c": dense})
    with pytest.raises(ValueError, match="'b' is followed by gelu, which must be at the end"):
        read_file(path).chain()


def branches(first, second, outputs):
    """Inbound nodes of a and b, and the model's outputs."""
    dense = {"kernel": np.ones((3, 3), np.float32), "bias": np.zeros(3, np.float32)}
    layers = {
        "in": ("InputLayer", {"inbound_nodes": []}),
        "a": ("Dense", {"inbound_nodes": first}),
        "b": ("Dense", {"inbound_nodes": second}),
    }
    return layers, {"a": dense, "b": dense}, outputs


@pytest.mark.parametrize(
    ("first", "second", "outputs", "message"),
    [
        ([[["in", 0, 0, {}]]], [[["in", 0, 0, {}]]], ["a", "b"], "'b' reads 'in', not 'a' before"),
        ([[["in", 0, 0, {}]]], [[["a", 0, 0, {}]]], ["a", "b"], "its outputs are of 'a', 'b'"),
        ([[["in", 0, 0, {}]]], [[["a", 0, 0], ["in", 0, 0]]], ["b"], "reads 'a', 'in', not 'a'"),
        ([[["in", 0, 0, {}]]], [[["a", 0, 0, {"x": ["in", 0, 1]}]]], ["b"], r"'in'\[1\], not 'a'"),
        ([[["in", 0, 0]], [["b", 0, 0]]], [[["a", 0, 0]]], ["b"], "'a' is called 2 times"),
        ([], [[["a", 0, 0]]], ["b"], "'a' is called 0 times"),
    ],
)
def test_networks_that_are_no_chain(tmp_path, first, second, outputs, message):
    layers, weights, _ = branches(first, second, outputs)
    ends = [[name, 0, 0] for name in outputs]
    path = write(tmp_path / "a.h5", layers, weights=weights, kind="Model", output_layers=ends)
    model = read_file(path)
    with pytest.raises(ValueError, match=message):
        model.chain()
    assert "no chain: " in str(model)
    assert len(model.chain("a", "b")) == 2  # the caller's choice


def test_models_of_other_classes_have_weights_alone(tmp_path):
    path = write(tmp_path / "a.h5", {}, weights={"a": arrays(2, 3)}, kind="MyModel")
    model = read_file(path)
    assert model.unchained == "its class 'MyModel' is not of Keras"
    with pytest.raises(ValueError, match="needs gate_activation, which is not in the file"):
        model["a"].build()
    assert model["a"].build(gate_activation="sigmoid").hidden_size == 3


def test_half_precision(tmp_path):
    half = {name: value.astype(np.float16) for name, value in arrays(2, 3).items()}
    assert one_lstm(tmp_path / "a.h5", weights=half).build().dtype == np.float32
    with h5py.File(tmp_path / "a.weights.h5", "w") as file:  # as Keras 3 writes it
        values = {n: (v.view("<u4") >> 16).astype("<u2") for n, v in arrays(2, 3).items()}
        for place, value in enumerate(values.values()):
            group = file.require_group("layers/lstm/cell/vars")
            group.create_dataset(str(place), data=value.view("V2")).attrs["dtype"] = "bfloat16"
    layer = read_file(tmp_path / "a.weights.h5")["lstm"].build()
    same = values["recurrent_kernel"].astype("<u4") << 16
    np.testing.assert_array_equal(layer["weight_hh_l0"].T, same.view("<f4"))


# ---- files that are refused ----------------------------------------------------------------------


def test_no_other_file_is_opened(tmp_path):
    outside = tmp_path / "outside.h5"
    with h5py.File(outside, "w") as file:
        file["x"] = np.ones(3)
    path = tmp_path / "a.h5"
    for link in (h5py.ExternalLink("outside.h5", "x"), h5py.SoftLink("/a")):
        with h5py.File(path, "w") as file:
            file["a"] = np.ones(2)
            file["b"] = link
        refused(path, "its objects must be in the file, 'b' is a link")
    with h5py.File(path, "w") as file:
        file["a"] = np.ones(2)
        file["b"] = file["a"]
    refused(path, "its objects must have one name each, 'b' is another name")
    with h5py.File(path, "w") as file:
        file.create_dataset("a", (3,), "f8", external=[(str(outside), 0, 24)])
    refused(path, "its arrays must be in the file, 'a' is in another one")
    with h5py.File(path, "w") as file:
        layout = h5py.VirtualLayout((3,), "f8")
        layout[:] = h5py.VirtualSource(str(outside), "x", (3,))
        file.create_virtual_dataset("a", layout)
    refused(path, "its arrays must be in the file, 'a' is in another one")


def test_files_that_declare_more_than_they_hold(tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("a", (1 << 20, 1 << 20), "f4")  # never written
    refused(path, "its content must have at most .* bytes, as the file has .*: 'a' has")
    with h5py.File(path, "w") as file:
        file.create_dataset("a", data=np.zeros(1 << 20), compression="gzip")
    refused(path, "its content must have at most .* bytes")
    with h5py.File(path, "w") as file:
        file.create_dataset(
            "a", data=np.zeros(1), maxshape=(None,), chunks=(1 << 20,), compression="gzip"
        )
    refused(path, "chunks must have at most .* bytes")
    with h5py.File(path, "w") as file:
        file.create_dataset("a", data=np.ones(64), compression="lzf")
    refused(path, "filters must be gzip, shuffle, fletcher32, 'a' has number 32000")
    text = "x" * (1 << 20)
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = ["a"] * 4000  # any of which can refer to the long text
        file.attrs["model_config"] = text
    refused(path, "its content must have at most 1,073,741,824 bytes")


def test_texts_that_end_outside_of_their_heap(files, tmp_path):
    path = tmp_path / "a.h5"  # which the HDF5 library would read without end
    data = bytearray((files / "classifier.h5").read_bytes())
    heap = data.index(b"GCOL")
    for size in (0xFFF0, 0xFFFFFFFFFFFFFFF0):
        data[heap + 24 : heap + 32] = size.to_bytes(8, "little")  # of the first text
        path.write_bytes(data)
        refused(path, "its HDF5 is damaged: a text ends outside of its heap")


def test_compressed_files(tmp_path):
    path = tmp_path / "a.h5"
    weights = arrays(20, 30)
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [b"a"]
        for name, value in weights.items():
            file.create_dataset(f"a/a/{name}:0", data=value, compression="gzip", shuffle=True)
    file = read_file(path)["a"].build(gate_activation="sigmoid")
    np.testing.assert_array_equal(file["weight_ih_l0"].T, weights["kernel"])


def archive(path, **members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in members.items():
            file.writestr(name.replace("_json", ".json").replace("_h5", ".weights.h5"), data)


def test_archives(tmp_path, files):
    path = tmp_path / "a.keras"
    archive(path, config_json="{}", metadata_json="{}")
    refused(path, "it has no model.weights.h5")
    archive(path, config_json=b" " * (1 << 22), metadata_json="{}", model_h5=b"")
    refused(path, "config.json must have at most .* bytes, as the file has")
    archive(path, config_json="[", metadata_json="{}", model_h5=b"")
    refused(path, "Expecting value")
    archive(path, config_json="[]", metadata_json="{}", model_h5=b"")
    refused(path, "config.json must be an object, got list")
    archive(path, config_json="[" * 100_000, metadata_json="{}", model_h5=b"")
    refused(path, "recursion|at most")
    archive(path, config_json="{}", metadata_json="{}", model_h5=b"abc")
    refused(path, "its HDF5 is damaged")
    with zipfile.ZipFile(files / "classifier.keras") as content:
        weights = content.read("model.weights.h5")
    for config, message in (
        ({}, "'class_name' is missing"),
        ({"class_name": "Sequential", "config": {"layers": 1}}, "layers must be a list, got int"),
        ({"class_name": "Sequential", "config": [1]}, "layer must be an object, got int"),
        ({"class_name": "Sequential", "config": 1}, "config must be an object, got int"),
        (
            {"class_name": "Sequential", "config": [{"class_name": "A", "config": {"name": 1}}]},
            "names of layers must be strings, got int",
        ),
        (
            {
                "class_name": "Sequential",
                "config": 2 * [{"class_name": "A", "config": {"name": "a"}}],
            },
            "names of layers must be different, got 'a' twice",
        ),
    ):
        archive(path, config_json=json.dumps(config), metadata_json="{}", model_h5=weights)
        refused(path, message)


@pytest.mark.parametrize("name", ["classifier.h5", "pooled.keras", "tagger.weights.h5"])
def test_damaged_files(files, name, tmp_path):
    data = (files / name).read_bytes()
    r = random.Random(0)
    path, sentences = tmp_path / name, []
    for trial in range(30):
        damaged = bytearray(data)
        if trial % 5:
            for _ in range(r.choice((1, 3, 30))):
                damaged[r.randrange(8, len(data))] ^= 1 << r.randrange(8)
        else:
            del damaged[r.randrange(8, len(data)) :]
        path.write_bytes(damaged)
        try:
            model = read_file(path)
            str(model)
            for layer in model.layers.values():
                layer.build()
            model.chain()
        except (KeyError, TypeError, ValueError) as error:
            sentences.append(str(error))
    assert all(sentences)
    assert len(sentences) > 10


def test_without_h5py(files, monkeypatch):
    monkeypatch.setattr("bptt.importers._hdf5.find_spec", lambda name: None)
    message = r"reading files of Keras needs h5py: pip install 'bptt\[keras\]'"
    with pytest.raises(ImportError, match=message):
        read_file(files / "classifier.keras")


# ---- files of others -----------------------------------------------------------------------------


def published(package, path):
    from examples._data import package_file

    return package_file(package, path, sdist=True)


@pytest.mark.network
def test_chars2vec():
    path = published("chars2vec==0.1.7", "chars2vec/trained_models/eng_50/weights.h5")
    file = read_file(path)
    assert [layer.becomes for layer in file.layers.values()] == ["LSTM(59, 50)", "LSTM(50, 50)"]
    with pytest.raises(ValueError, match="has hard_sigmoid_keras2 by default"):
        file.chain()
    network = file.chain(pool="last", gate_activation="hard_sigmoid_keras2")
    y, _ = network(np.arange(36).reshape(3, 12) * 7 % 59)
    expected = [  # of tf_keras 2.21
        [-0.17118289, -0.43960655, -0.3997908, -0.08052006],
        [-0.17692502, -0.3987825, -0.17926052, -0.0208864],
        [0.55051816, -0.3540928, -0.83832747, -0.19471219],
    ]
    np.testing.assert_allclose(y[:, :4], expected, atol=2e-6)


@pytest.mark.network
def test_textgenrnn():  # examples/pretrained/textgen.py compares its texts
    file = read_file(published("textgenrnn==2.0.0", "textgenrnn/textgenrnn_weights.hdf5"))
    assert {name: layer.becomes for name, layer in file.layers.items()} == {
        "embedding": "Embedding(465, 100)",
        "rnn_1": "LSTM(100, 128)",
        "rnn_2": "LSTM(128, 128)",
        "output": "Linear(356, 465)",
    }
    assert list(file.others) == ["attention/attention/attention_W"]
    with pytest.raises(ValueError, match="arrays of no known layer, such as 'attention/"):
        file.chain()
    kernel = file.tensors["rnn_1/rnn_1/kernel:0"]  # in the layout of CuDNN
    blocks = [k.T.reshape(k.shape, order="F") for k in np.hsplit(kernel, 4)]
    layer = file["rnn_1"].build()
    np.testing.assert_array_equal(layer["weight_ih_l0"], np.hstack(blocks).T)


# ---- fresh files, where Keras is installed -------------------------------------------------------


@pytest.mark.parametrize("library", ["keras", "tf_keras"])
@pytest.mark.filterwarnings("ignore")  # of Keras
def test_fresh_files(library, tmp_path, monkeypatch):
    if importlib.util.find_spec("torch"):
        monkeypatch.setenv("KERAS_BACKEND", "torch")
    keras = pytest.importorskip(library)
    specification = importlib.util.spec_from_file_location("write_keras", DATA / "write_keras.py")
    writer = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(writer)
    writer.write(keras, tmp_path)
    for name in MODELS:
        for suffix in (".keras", ".h5"):
            check(read_file(tmp_path / f"{name}{suffix}").chain(), name, tmp_path)
