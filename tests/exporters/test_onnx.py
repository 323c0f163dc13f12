"""Networks as ONNX models, run by ONNX Runtime and compared with inference."""

from __future__ import annotations

import copy

import numpy as np
import pytest

import bptt
from bptt.exporters import to_onnx
from cases import trained

onnx = pytest.importorskip("onnx")
runtime = pytest.importorskip("onnxruntime")

SHAPES = [(3, 7), (1, 1), (4, 12), (2, 3)]


def session(model):
    return runtime.InferenceSession(model.SerializeToString())


def close(found, expected):
    scale = max(1.0, float(np.abs(expected).max(initial=0)))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=2e-6 * scale)


def inputs(shape, features=3, seed=1):
    rng = np.random.default_rng([seed, *shape])
    lengths = rng.integers(1, shape[1] + 1, shape[0]).astype(np.int32)
    lengths[0] = shape[1]
    return rng.standard_normal((*shape, features)).astype(np.float32), lengths


LAYERS = {
    "rnn": bptt.RNN(3, 5, seed=0),
    "rnn-relu": bptt.RNN(3, 5, activation="relu", num_layers=2, seed=0),
    "rnn-identity": bptt.RNN(3, 5, activation="identity", bidirectional=True, seed=0),
    "lstm": bptt.LSTM(3, 5, seed=0),
    "lstm-both": bptt.LSTM(3, 5, bidirectional=True, num_layers=2, seed=0),
    "lstm-hard": bptt.LSTM(3, 5, activation="relu", gate_activation="hard_sigmoid", seed=0),
    "lstm-keras": bptt.LSTM(
        3, 5, gate_activation="hard_sigmoid_keras2", bidirectional=True, seed=0
    ),
    "lstm-peephole": bptt.LSTM(3, 5, peephole=True, bidirectional=True, seed=0),
    "lstm-coupled": bptt.LSTM(3, 5, coupled=True, seed=0),
    "lstm-peephole-coupled": bptt.LSTM(3, 5, peephole=True, coupled=True, seed=0),
    "gru": bptt.GRU(3, 5, seed=0),
    "gru-after": bptt.GRU(3, 5, reset_after=True, bidirectional=True, num_layers=2, seed=0),
    "gru-sum": bptt.GRU(3, 5, bidirectional=True, merge="sum", seed=0),
    "gru-mean": bptt.GRU(3, 5, bidirectional=True, merge="mean", seed=0),
    "gru-mul": bptt.GRU(3, 5, bidirectional=True, merge="mul", num_layers=2, seed=0),
    "rnn-reverse": bptt.RNN(3, 5, reverse=True, seed=0),
    "lstm-reverse": bptt.LSTM(3, 5, reverse=True, num_layers=2, learn_initial_state=True, seed=0),
    "gru-reverse": bptt.GRU(3, 5, reverse=True, reset_after=True, seed=0),
    "learned": bptt.LSTM(3, 5, num_layers=2, bidirectional=True, learn_initial_state=True, seed=0),
    "time-major": bptt.GRU(3, 5, dropout=0.5, num_layers=2, seed=0),
    "float64": bptt.GRU(3, 5, dtype=np.float64, seed=0),
}
every_layer = pytest.mark.parametrize("name", LAYERS)


@every_layer
@pytest.mark.parametrize("ragged", [False, True])
def test_layers(name, ragged):
    layer = trained(copy.deepcopy(LAYERS[name]))
    run = session(to_onnx(layer, lengths=ragged))
    for shape in SHAPES:
        x, lengths = inputs(shape)
        given = {"lengths": lengths} if ragged else {}
        (y,) = run.run(None, {"x": x, **given})
        expected, _ = layer(x.astype(layer.dtype), **given)
        if ragged:
            steps = np.arange(shape[1]) < lengths[:, np.newaxis]
            close(y[steps], expected[steps])
        else:
            close(y, expected)


@every_layer
def test_states(name):
    layer = trained(copy.deepcopy(LAYERS[name]))
    run = session(to_onnx(layer, state=True))
    x, lengths = inputs((3, 6))
    rng = np.random.default_rng(4)
    rows = layer.num_layers * (1 + layer.bidirectional)
    states = [rng.standard_normal((rows, 3, 5)).astype(np.float32) for _ in layer.cell.states]
    names = [f"{state}_0" for state in layer.cell.states]
    given = {"x": x, "lengths": lengths, **dict(zip(names, states, strict=True))}
    y, *last = run.run(["y", *(f"{one}_last" for one in names)], given)
    of_layer = [state.astype(layer.dtype) for state in states]
    of_layer = of_layer[0] if len(of_layer) == 1 else tuple(of_layer)
    expected, final = layer(x.astype(layer.dtype), lengths=lengths, state=of_layer)
    steps = np.arange(6) < lengths[:, np.newaxis]
    close(y[steps], expected[steps])
    for found, same in zip(last, final if isinstance(final, tuple) else (final,), strict=True):
        close(found, same)


@pytest.mark.parametrize("pool", [None, "last", "mean", "max"])
@pytest.mark.parametrize("first", ["embedding", "linear", "ids", "features"])
@pytest.mark.parametrize("ragged", [False, True])
@pytest.mark.parametrize("both", [False, True])
def test_chains(pool, first, ragged, both):
    before = {"embedding": [bptt.Embedding(7, 3)], "linear": [bptt.Linear(4, 3), bptt.Tanh()]}
    modules = [*before.get(first, []), bptt.GRU(3, 5), bptt.Dropout(0.5)]
    modules += [bptt.LSTM(5, 4, bidirectional=both), bptt.LayerNorm(4 + 4 * both)]
    modules += [bptt.Linear(4 + 4 * both, 6), bptt.ReLU(), bptt.Linear(6, 2, bias=False)]
    model = bptt.Sequential(*modules, bptt.Sigmoid(), pool=pool)
    for module in model.modules:
        trained(module)
    run = session(to_onnx(model, ids=True if first == "ids" else None, lengths=ragged))
    for shape in SHAPES:
        x, lengths = inputs(shape, 4 if first == "linear" else 3)
        if first in ("embedding", "ids"):
            x = np.random.default_rng(5).integers(0, 3, shape)
        given = {"lengths": lengths} if ragged else {}
        (y,) = run.run(None, {"x": x, **given})
        expected, _ = model(x, **given)
        if ragged and pool is None:
            steps = np.arange(shape[1]) < lengths[:, np.newaxis]
            y, expected = y[steps], expected[steps]
        close(y, expected)


@pytest.mark.parametrize("pool", [None, "last", "mean", "max"])
@pytest.mark.parametrize("ragged", [False, True])
def test_chains_that_read_backwards(pool, ragged):
    layer = bptt.LSTM(3, 4, reverse=True, num_layers=2, learn_initial_state=True)
    model = bptt.Sequential(layer, bptt.GRU(4, 5), bptt.RNN(5, 4, reverse=True), pool=pool)
    for module in model.modules:
        trained(module)
    run = session(to_onnx(model, lengths=ragged))
    for shape in SHAPES:
        x, lengths = inputs(shape)
        given = {"lengths": lengths} if ragged else {}
        (y,) = run.run(None, {"x": x, **given})
        expected, _ = model(x, **given)
        if ragged and pool is None:
            steps = np.arange(shape[1]) < lengths[:, np.newaxis]
            y, expected = y[steps], expected[steps]
        close(y, expected)


def test_estimators(tmp_path):
    pytest.importorskip("sklearn")
    rng = np.random.default_rng(0)
    X = 5 + 3 * rng.standard_normal((40, 6, 2)).astype(np.float32)
    options = {"hidden_size": 4, "epochs": 2, "scale": True, "random_state": 0}
    regressor = bptt.SequenceRegressor(**options).fit(X, 100 + X.sum((1, 2)))
    to_onnx(regressor, tmp_path / "a.onnx")
    run = runtime.InferenceSession(tmp_path / "a.onnx")
    (found,) = run.run(None, {"x": X, "lengths": np.full(40, 6, np.int32)})
    close(found[:, 0] / 100, regressor.predict(X) / 100)
    texts = ["ab", "ba", "aab", "b"]
    classifier = bptt.SequenceClassifier(hidden_size=4, epochs=2, random_state=0)
    classifier.fit(texts * 5, [text.count("a") for text in texts] * 5)
    ids = np.zeros((4, 3), np.int64)
    codes = classifier.encoder_.transform(texts)
    for row, code in zip(ids, codes, strict=True):
        row[: len(code)] = code
    given = {"x": ids, "lengths": np.array([len(text) for text in texts], np.int32)}
    (logits,) = session(to_onnx(classifier)).run(None, given)
    close(logits, classifier.decision_function(texts))


@pytest.mark.parametrize("embedding_size", [None, 4])
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_language_models(cell, embedding_size):
    pytest.importorskip("sklearn")
    options = {"num_layers": 2, "dropout": 0.2, "learn_initial_state": True, "random_state": 0}
    model = bptt.LanguageModel(
        cell=cell, hidden_size=5, embedding_size=embedding_size, epochs=2, **options
    ).fit(["abab", "bca", "caab"] * 4)
    start, size = model.target_encoder_.start, model.target_encoder_.size
    whole = session(to_onnx(model, lengths=False))
    for shape in SHAPES:
        prompts = np.random.default_rng([6, *shape]).integers(0, size, shape)
        (logits,) = whole.run(None, {"x": prompts})
        close(logits, model.decoder_(prompts)[0])
    ids = model.target_encoder_.transform(["ab", "ca"])
    x = np.stack([[start, *code] for code in ids])
    (logits,) = whole.run(None, {"x": x})
    close(bptt.losses.softmax(logits[:, -1]), model.predict_proba(["ab", "ca"]))
    stream = session(to_onnx(model, lengths=False, state=True))  # one token after the other
    names = ["h_0", "c_0"] if cell == "lstm" else ["h_0"]
    initial = model.decoder_.recurrent._initial_state(2)
    given = dict(zip(names, initial if cell == "lstm" else (initial,), strict=True))
    for t in range(x.shape[1]):
        y, *last = stream.run(
            ["y", *(f"{name}_last" for name in names)], {"x": x[:, t : t + 1], **given}
        )
        close(y[:, 0], logits[:, t])
        given = dict(zip(names, last, strict=True))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (bptt.MGU(2, 3), "ONNX has no operator for MGU layers"),
        (bptt.SLSTM(2, 3), "ONNX has no operator for sLSTM layers"),
        (bptt.GRU(2, 3, reset_after=True, layer_norm=True), "no operator for GRU, layer norm"),
        (bptt.LSTM(2, 3, proj_size=2), "ONNX's LSTM has no projection"),
        (bptt.GRU(2, 3, zoneout=0.1), "ONNX's operators have no zoneout"),
        (bptt.Sequential(bptt.Linear(2, 3)), "a network without a recurrent layer"),
        (
            bptt.Sequential(bptt.GRU(2, 3), bptt.Linear(5, 2), skip_input=True),
            "skip_input=True has no ONNX model",
        ),
        (
            bptt.Sequential(bptt.GRU(2, 3), bptt.Linear(3, 4), bptt.CRF(4)),
            "a CRF has no ONNX operator",
        ),
    ],
)
def test_what_onnx_does_not_have(model, message):
    with pytest.raises(ValueError, match=message):
        to_onnx(model)


def test_wrong_types():
    with pytest.raises(TypeError, match=r"model must be a recurrent layer, .* got Linear"):
        to_onnx(bptt.Linear(2, 3))
    for name in ("ids", "lengths", "state"):
        with pytest.raises(TypeError, match=f"{name} must be True or False, got int"):
            to_onnx(bptt.GRU(2, 3), **{name: 1})


@every_layer
def test_what_is_exported_can_be_imported(name):
    """The weights of every node, by the importer of ONNX nodes."""
    layer = trained(copy.deepcopy(LAYERS[name]))
    model = to_onnx(layer)
    arrays = {one.name: onnx.numpy_helper.to_array(one) for one in model.graph.initializer}
    node = next(one for one in model.graph.node if one.op_type in ("RNN", "LSTM", "GRU"))
    attributes = {one.name: onnx.helper.get_attribute_value(one) for one in node.attribute}
    W, R, B = (arrays[name] for name in node.input[1:4])
    P = arrays[node.input[7]] if len(node.input) > 7 else None
    kind = {"RNN": bptt.RNN, "LSTM": bptt.LSTM, "GRU": bptt.GRU}[node.op_type]
    from bptt.importers import from_onnx

    found = from_onnx(kind, W, R, B, P, attributes={**attributes, "layout": 1})
    for parameter in found:
        close(found[parameter], layer[parameter])
