"""Networks as C files: compiled, and compared with inference."""

from __future__ import annotations

import shutil
import subprocess

import numpy as np
import pytest

import bptt
from bptt.exporters import to_c, to_onnx
from c_files import (
    COMPILER,
    FLAGS,
    LAYERS,
    Compiled,
    close,
    needs_compiler,
    run_both,
    trained_layer,
)
from cases import trained


@needs_compiler
@pytest.mark.parametrize("name", LAYERS)
def test_layers(name, tmp_path):
    layer = trained_layer(name)
    compiled = Compiled(layer, tmp_path)
    x = np.random.default_rng(1).standard_normal((9, 3)).astype(np.float32)
    expected = layer(x[np.newaxis].astype(layer.dtype))[0][0]
    close(compiled.run(x, expected.shape), expected)
    state, y = compiled.state(), np.empty(expected.shape[1], np.float32)
    for x_t, expected_t in zip(x, expected, strict=True):
        compiled.call("step", state, x_t, y)
        close(y, expected_t)


@needs_compiler
@pytest.mark.parametrize("name", ["lstm", "gru", "gru-normalized", "slstm"])
def test_ids(name, tmp_path):
    layer = trained_layer(name, 3)
    compiled = Compiled(layer, tmp_path, "VALID_INPUT", ids=True)  # words of the templates
    ids = np.array([0, 2, 1, 1], np.int32)
    expected = layer(ids[np.newaxis])[0][0]
    close(compiled.run(ids, expected.shape), expected)


@needs_compiler
@pytest.mark.parametrize("pool", [None, "last", "mean", "max"])
@pytest.mark.parametrize("embedded", [False, True])
def test_chains(pool, embedded, tmp_path):
    first = (bptt.Embedding(7, 3),) if embedded else (bptt.Linear(4, 3), bptt.ReLU())
    model = bptt.Sequential(
        *first,
        bptt.LSTM(3, 5, num_layers=2),
        bptt.Dropout(0.5),
        bptt.LayerNorm(5),
        bptt.Linear(5, 4),
        bptt.Tanh(),
        bptt.Linear(4, 2, bias=False),
        bptt.Sigmoid(),
        pool=pool,
    )
    for module in model.modules:
        trained(module)
    rng = np.random.default_rng(2)
    x = rng.integers(0, 7, 6).astype(np.int32) if embedded else rng.normal(size=(6, 4))
    x = x if embedded else x.astype(np.float32)
    expected = model(x[np.newaxis])[0][0]
    compiled = Compiled(model, tmp_path)
    close(compiled.run(x, expected.shape), expected)
    state, y = compiled.state(), np.empty(2, np.float32)
    for t in range(len(x)):
        compiled.call("step", state, x[t], y)
        so_far = model(x[np.newaxis, : t + 1])[0][0]
        close(y, so_far if pool else so_far[t])


@needs_compiler
@pytest.mark.parametrize("merge", ["concat", "sum", "mean", "mul"])
@pytest.mark.parametrize("cell", [bptt.GRU, bptt.LSTM, bptt.SLSTM])
def test_two_directions(cell, merge, tmp_path):
    options = {"num_layers": 2, "bidirectional": True, "merge": merge}
    layer = trained(cell(3, 5, learn_initial_state=True, **options))
    x = np.random.default_rng(1).standard_normal((9, 3)).astype(np.float32)
    expected = layer(x[np.newaxis])[0][0]
    compiled = Compiled(layer, tmp_path)
    close(run_both(compiled, x, expected.shape), expected)
    assert compiled.source.functions == ("run",)


@needs_compiler
@pytest.mark.parametrize("pool", [None, "last", "mean", "max"])
@pytest.mark.parametrize("first", ["embedding", "linear", "ids", "features"])
@pytest.mark.parametrize("above", [False, True])
def test_chains_of_two_directions(pool, first, above, tmp_path):
    before = {"embedding": [bptt.Embedding(7, 3)], "linear": [bptt.Linear(4, 3), bptt.Tanh()]}
    modules = [*before.get(first, []), bptt.GRU(3, 5, bidirectional=True)]
    if above:
        modules += [bptt.LayerNorm(10), bptt.LSTM(10, 4), bptt.Linear(4, 2)]
    else:
        modules += [bptt.Linear(10, 2)]
    model = bptt.Sequential(*modules, pool=pool)
    for module in model.modules:
        trained(module)
    rng = np.random.default_rng(2)
    x = rng.normal(size=(6, 4 if first == "linear" else 3)).astype(np.float32)
    if first in ("embedding", "ids"):
        x = rng.integers(0, 3, 6).astype(np.int32)
    expected = model(x[np.newaxis])[0][0]
    compiled = Compiled(model, tmp_path, ids=True if first == "ids" else None)
    close(run_both(compiled, x, expected.shape), expected)


@needs_compiler
@pytest.mark.parametrize("both", [False, True])
def test_all_of_gru_d(both, tmp_path):
    """Values, masks, times and another feature; the recurrent layer reads the times as well."""
    decay = bptt.InputDecay(2, num_others=1, pass_times=True)
    gru = bptt.GRU(7, 4, decay_size=2, bidirectional=both)
    model = bptt.Sequential(decay, gru, bptt.Linear(4 + 4 * both, 2), pool="last")
    for module in model.modules:
        trained(module)
    rng = np.random.default_rng(3)
    x = rng.standard_normal((6, 7)).astype(np.float32)
    x[:, 2:4] = rng.integers(0, 2, (6, 2))
    x[:, 4:6] = rng.integers(1, 4, (6, 2))
    expected = model(x[np.newaxis])[0][0]
    compiled = Compiled(model, tmp_path)
    run = run_both if both else Compiled.run
    close(run(compiled, x, expected.shape), expected)


@needs_compiler
def test_estimators(tmp_path):
    pytest.importorskip("sklearn")
    rng = np.random.default_rng(0)
    X = 5 + 3 * rng.standard_normal((40, 6, 2)).astype(np.float32)
    options = {"hidden_size": 4, "epochs": 2, "scale": True, "random_state": 0}
    regressor = bptt.SequenceRegressor(**options).fit(X, 100 + X.sum((1, 2)))
    found = Compiled(regressor, tmp_path, "regressor").run(X[0], (1,))
    close(found / 100, regressor.predict(X[:1]) / 100)
    texts = ["ab", "ba", "aab"] * 5
    classifier = bptt.SequenceClassifier(hidden_size=4, epochs=2, random_state=0)
    classifier.fit(texts, [text.count("a") for text in texts])
    ids = classifier.encoder_.transform(["ab"])[0].astype(np.int32)
    logits = Compiled(classifier, tmp_path, "classifier").run(ids, (2,))
    close(logits[1] - logits[0], classifier.decision_function(["ab"])[0])


@needs_compiler
def test_language_models(tmp_path):
    pytest.importorskip("sklearn")
    options = {"hidden_size": 4, "num_layers": 2, "epochs": 1, "random_state": 0}
    model = bptt.LanguageModel(learn_initial_state=True, **options).fit(["abab", "bca"] * 4)
    compiled = Compiled(model, tmp_path)
    ids = np.array([model.target_encoder_.start, 1, 2, 0], np.int32)
    expected = model.decoder_(ids[np.newaxis])[0][0]
    close(compiled.run(ids, expected.shape), expected)


@needs_compiler
@pytest.mark.parametrize("flags", [("-Os",), ("-O3", "-march=native"), ("-O0", "-x", "c++")])
def test_other_compilations(flags, tmp_path):
    """For microcontrollers, with vectors, and as a part of a C++ program."""
    global FLAGS
    layer = trained(bptt.GRU(3, 8))
    source = to_c(layer, tmp_path / "a.c")
    if "c++" in flags:
        (tmp_path / "main.cpp").write_text(
            '#include "a.h"\nint main() { a_state s; a_reset(&s); return 0; }\n'
        )
        compiler = shutil.which("c++")
        if compiler is None:
            pytest.skip("needs a C++ compiler")
        subprocess.run([COMPILER, "-c", "a.c"], cwd=tmp_path, check=True)
        command = [compiler, "main.cpp", "a.o", "-lm", "-o", "main"]
        subprocess.run(command, cwd=tmp_path, check=True)
        subprocess.run([tmp_path / "main"], check=True)
        return
    x = np.random.default_rng(1).standard_normal((9, 3)).astype(np.float32)
    expected = layer(x[np.newaxis])[0][0]
    close(Compiled(layer, tmp_path, flags=flags).run(x, expected.shape), expected)
    assert source.weight_bytes == 4 * sum(layer[name].size for name in layer)
    assert source.state_bytes == 4 * 8


# Other compilers, and the emulators of other processors.
CROSS = {
    "aarch64": ("aarch64-linux-gnu-gcc", "qemu-aarch64"),
    "arm": ("arm-linux-gnueabihf-gcc", "qemu-arm"),
    "clang": ("clang", None),
}
MAIN = """
#include <stdio.h>
#include "net.h"

int main(void) {
  float x[net_inputs], y[net_outputs];
  net_state state;
  net_reset(&state);
  while (fread(x, sizeof *x, net_inputs, stdin) == net_inputs) {
    net_step(&state, x, y);
    fwrite(y, sizeof *y, net_outputs, stdout);
  }
  return 0;
}
"""


@pytest.mark.parametrize("target", CROSS)
@pytest.mark.parametrize("name", ["lstm-peephole", "gru-after", "slstm", "decay", "stacked"])
def test_other_compilers_and_processors(name, target, tmp_path):
    """A program that reads inputs and writes outputs, linked statically for the emulator."""
    compiler, emulator = (tool and shutil.which(tool) for tool in CROSS[target])
    if compiler is None or (CROSS[target][1] and emulator is None):
        pytest.skip(f"needs {' and '.join(filter(None, CROSS[target]))}")
    layer = trained_layer(name)
    to_c(layer, tmp_path / "net.c")
    (tmp_path / "main.c").write_text(MAIN)
    command = [compiler, *FLAGS, "-O2", "net.c", "main.c", "-static", "-o", "main", "-lm"]
    subprocess.run(command, cwd=tmp_path, check=True)
    x = np.random.default_rng(1).standard_normal((9, 3)).astype("<f4")
    program = [*filter(None, [emulator]), tmp_path / "main"]
    output = subprocess.run(program, input=x.tobytes(), capture_output=True, check=True).stdout
    expected = layer(x[np.newaxis].astype(layer.dtype))[0][0]
    close(np.frombuffer(output, "<f4").reshape(expected.shape), expected)


@needs_compiler
def test_two_streams_and_two_networks(tmp_path):
    one, other = trained(bptt.GRU(3, 4), 1), trained(bptt.RNN(3, 4), 2)
    a, b = Compiled(one, tmp_path, "a"), Compiled(other, tmp_path, "b")
    x = np.random.default_rng(1).standard_normal((5, 3)).astype(np.float32)
    states, y = [a.state(), a.state()], np.empty(4, np.float32)
    for t in range(5):
        a.call("step", states[0], x[t], y)
        close(y, one(x[np.newaxis, : t + 1])[0][0, -1])
        a.call("step", states[1], x[-1 - t], y)
        close(y, one(x[np.newaxis, ::-1][:, : t + 1])[0][0, -1])
    close(b.run(x, (5, 4)), other(x[np.newaxis])[0][0])


@pytest.mark.parametrize(
    ("model", "name", "message"),
    [
        (bptt.Sequential(bptt.Linear(2, 3)), "a", "a network without a recurrent layer"),
        (
            bptt.Sequential(bptt.GRU(2, 3), bptt.Linear(5, 2), skip_input=True),
            "a",
            "skip_input=True has no C code",
        ),
        (
            bptt.Sequential(bptt.GRU(2, 3), bptt.Linear(3, 4), bptt.CRF(4)),
            "a",
            "a CRF has no C code",
        ),
        (bptt.GRU(2, 3, reverse=True), "a", "a layer with reverse=True has no C code"),
        (bptt.GRU(2, 3), "1a", "the name of path must be an identifier of C, got '1a'"),
    ],
)
def test_what_has_no_c_code(model, name, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        to_c(model, tmp_path / f"{name}.c")
    assert not list(tmp_path.iterdir())


def fitted_estimators():
    rng = np.random.default_rng(0)
    options = {"hidden_size": 3, "epochs": 1, "random_state": 0}
    words, tags = [["a", "b"], ["b", "a"]] * 3, [["x", "y"], ["y", "x"]] * 3
    affixes = {"affixes": 2, "tokens": "words", "embedding_size": 4}
    texts = [" ".join(row) for row in words]
    online = bptt.OnlineRegressor(hidden_size=3)
    online.learn_one([1.0, 2.0], 3.0)
    rows = rng.standard_normal((6, 5, 2)).astype(np.float32)
    chain = "or a classifier, regressor, tagger or language model, got"
    return [
        (bptt.SequenceClassifier(**options, **affixes).fit(texts, [0, 1] * 3), "EmbeddingBag has"),
        (bptt.SequenceTagger(**options, feedback=True).fit(words, tags), "feedback=True cannot be"),
        (
            bptt.SequenceRegressor(**options, scale=True, loss="gaussian").fit(rows, rows[:, 0, 0]),
            "loss='gaussian' cannot be exported: its outputs are no targets",
        ),
        (bptt.SequenceForecaster(**options, lookback=5).fit(np.arange(40.0)), chain),
        (bptt.SequenceGenerator(**options).fit([1, 2] * 3, texts), chain),
        (online, chain),
    ]


@pytest.mark.parametrize("export", [to_c, to_onnx])
def test_estimators_whose_network_is_not_all(export, tmp_path):
    """Their network alone would compute something else, without a word."""
    pytest.importorskip("sklearn")
    if export is to_onnx:
        pytest.importorskip("onnx")
    for model, message in fitted_estimators():
        with pytest.raises((TypeError, ValueError), match=message):
            export(model, tmp_path / "a.c")
    assert not list(tmp_path.iterdir())
    from sklearn.exceptions import NotFittedError

    with pytest.raises(NotFittedError):
        export(bptt.SequenceClassifier(), tmp_path / "a.c")


def test_wrong_types(tmp_path):
    with pytest.raises(TypeError, match=r"model must be a recurrent layer, .* got Linear"):
        to_c(bptt.Linear(2, 3), tmp_path / "a.c")
    with pytest.raises(TypeError, match="path must be a string or a path, got int"):
        to_c(bptt.GRU(2, 3), 3)
    with pytest.raises(TypeError, match="ids must be True or False, got int"):
        to_c(bptt.GRU(2, 3), tmp_path / "a.c", ids=1)
