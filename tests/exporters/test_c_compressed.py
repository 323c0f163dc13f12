"""C files with weights of 16 and 8 bits: compared with float32 and with the kernels."""

from __future__ import annotations

import re
import shutil

import numpy as np
import pytest

import bptt
from bptt.exporters import to_c
from c_files import LAYERS, Compiled, close, needs_compiler, run_both, trained_layer
from cases import trained

KINDS = ("bfloat16", "int8")
every_kind = pytest.mark.parametrize("kind", KINDS)
NAMES = [name for name in LAYERS if name != "float64"]


def widened(module):
    """The float32 module with the rounded weights of a compressed one."""
    if isinstance(module, bptt.Sequential):
        return bptt.Sequential(*map(widened, module), pool=module.pool)
    if module.compression is None:
        return module
    return type(module)._with_parameters(module.config, module.parameters.__getitem__)


def sequence(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@needs_compiler
@every_kind
@pytest.mark.parametrize("name", NAMES)
def test_layers_have_the_bits_of_float32(name, kind, tmp_path):
    """Widened weights are the same floats; of 8 bits the scale is a factor of four products."""
    small = trained_layer(name).compressed(kind)
    x, layer = sequence(1, 9, 3), widened(small)
    expected = layer(x[np.newaxis])[0][0]
    compiled = Compiled(small, tmp_path, "small")
    found = compiled.run(x, expected.shape)
    close(found, expected)
    if kind == "bfloat16":
        as_floats = Compiled(layer, tmp_path, "large").run(x, expected.shape)
        np.testing.assert_array_equal(found, as_floats)
    state, y = compiled.state(), np.empty(expected.shape[1], np.float32)
    for x_t, found_t in zip(x, found, strict=True):
        compiled.call("step", state, x_t, y)
        np.testing.assert_array_equal(y, found_t)


@needs_compiler
@pytest.mark.parametrize("name", NAMES)
def test_steps_of_the_kernels(name, tmp_path):
    """With bfloat16 they compute the same; the products in another order."""
    small = trained_layer(name).compressed("bfloat16")
    x, state = sequence(1, 9, 3), None
    compiled = Compiled(small, tmp_path)
    of_c, y = compiled.state(), np.empty(small.output_size, np.float32)
    for x_t in x:
        expected, state = small.step(x_t[np.newaxis], state)
        compiled.call("step", of_c, x_t, y)
        close(y, expected[0])


@needs_compiler
def test_steps_of_the_kernels_of_8_bits_within_their_rounding(tmp_path):
    """Kernels round x and h to multiples of s = max / 32767 of each 512 numbers: by s / 2 at most.

    A sum of products then differs by at most s / 2 Σ |w|, and by what h of the step before does:
    tanh does not enlarge it. Rounding of float32 is added to both.
    """
    rnn = trained(bptt.RNN(40, 600, seed=0))
    for name in ("weight_ih_l0", "weight_hh_l0"):
        rnn[name] = rnn[name] / 10
    small = rnn.compressed("int8")
    compiled = Compiled(small, tmp_path)
    x, steps = sequence(1, 6, 40), []
    for x_t in x:
        steps.append(small.step(x_t[np.newaxis], steps[-1][1] if steps else None))
    found = compiled.run(x, (6, 600))
    U, W = (np.abs(small[f"weight_{part}_l0"]).astype(np.float64) for part in ("ih", "hh"))
    bound, h = np.zeros(600), np.zeros(600, np.float32)
    epsilon = np.finfo(np.float32).eps
    largest = 0.0
    for x_t, (y, _), found_t in zip(x, steps, found, strict=True):
        step = [np.abs(part).max() / 32767 for part in (x_t, h[:512], h[512:])]
        rounded = step[0] * U.sum(1) + step[1] * W[:, :512].sum(1) + step[2] * W[:, 512:].sum(1)
        magnitude = U @ np.abs(x_t) + W @ np.abs(h) + np.abs(small["bias_l0"])
        bound = 0.501 * rounded + W @ bound + 640 * epsilon * magnitude + 8 * epsilon
        difference = np.abs(y[0] - found_t)
        assert (difference <= bound).all()
        largest = max(largest, difference.max())
        h = y[0]
    assert largest > 20 * epsilon  # they do round


@needs_compiler
@every_kind
@pytest.mark.parametrize("first", ["embedding", "linear", "ids"])
@pytest.mark.parametrize("pool", [None, "last", "mean"])
@pytest.mark.parametrize("both", [False, True])
def test_chains(kind, first, pool, both, tmp_path):
    before = {"embedding": [bptt.Embedding(7, 3)], "linear": [bptt.Linear(4, 3), bptt.Tanh()]}
    size = 5 * (1 + both)
    modules = [*before.get(first, []), bptt.GRU(3, 5, bidirectional=both), bptt.LayerNorm(size)]
    model = bptt.Sequential(*modules, bptt.Linear(size, 2), pool=pool)
    for module in model.modules:
        trained(module)
    small = model.compressed(kind)
    ids = np.random.default_rng(2).integers(0, 3, 6).astype(np.int32)
    x = sequence(2, 6, 4) if first == "linear" else ids
    expected = widened(small)(x[np.newaxis])[0][0]
    compiled = Compiled(small, tmp_path, ids=True if first == "ids" else None)
    found = run_both(compiled, x, expected.shape) if both else compiled.run(x, expected.shape)
    close(found, expected)


@needs_compiler
@every_kind
@pytest.mark.parametrize("name", ["lstm", "gru", "gru-normalized", "slstm"])
def test_ids(name, kind, tmp_path):
    small = trained_layer(name, 3).compressed(kind)
    ids = np.array([0, 2, 1, 1], np.int32)
    expected = widened(small)(ids[np.newaxis])[0][0]
    close(Compiled(small, tmp_path, ids=True).run(ids, expected.shape), expected)


@every_kind
@pytest.mark.parametrize("cell", [bptt.LSTM, bptt.GRU, bptt.SLSTM])
def test_sizes_and_constants(cell, kind, tmp_path):
    layer = cell(12, 32, seed=0)
    small = layer.compressed(kind)
    source = to_c(small, tmp_path / "a.c")
    assert source.weight_bytes == small._nbytes
    assert "#include <stdint.h>" in source.code
    large = to_c(layer, tmp_path / "a.c")
    assert source.header == large.header
    assert "stdint" not in large.code
    kind_in_c = {"bfloat16": "uint16_t", "int8": "int8_t"}[kind]
    constants = re.findall(r"static const (\w+) (\w+)\[(\d+)\]", source.code)
    matrices = [int(size) for type, _, size in constants if type == kind_in_c]
    assert sum(matrices) == sum(layer[name].size for name in layer if "weight" in name)
    scales = [int(size) for _, name, size in constants if name.endswith("_scale")]
    rows = len(layer["weight_ih_l0"])
    assert sum(scales) == (2 * rows if kind == "int8" else 0)


@needs_compiler
@every_kind
def test_estimators_and_saved_models(kind, tmp_path, capsys):
    pytest.importorskip("safetensors")
    pytest.importorskip("sklearn")
    from bptt.cli.main import main

    texts = ["ab", "ba", "aab"] * 5
    options = {"hidden_size": 4, "embedding_size": 3, "epochs": 2, "random_state": 0}
    model = bptt.SequenceClassifier(**options)
    small = model.fit(texts, [text.count("a") for text in texts]).compressed(kind)
    ids = small.encoder_.transform(["ab"])[0].astype(np.int32)
    logits = Compiled(small, tmp_path, "net").run(ids, (2,))
    rounding = 1e-5 if kind == "bfloat16" else 1e-3  # of inputs to 16 bits
    decision = small.decision_function(["ab"])[0]
    np.testing.assert_allclose(logits[1] - logits[0], decision, atol=rounding)
    code = (tmp_path / "net.c").read_text()
    small.save(tmp_path / "small.safetensors")
    main(["export", str(tmp_path / "small.safetensors"), "--c", str(tmp_path / "net.c")])
    assert (tmp_path / "net.c").read_text() == code
    assert (
        f"{Compiled(small, tmp_path).source.weight_bytes} bytes, constant" in capsys.readouterr()[0]
    )


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
@pytest.mark.parametrize("flags", [("-O3", "-march=native"), ("-Os",)])
@every_kind
def test_compilers(kind, flags, compiler, tmp_path):
    if shutil.which(compiler) is None:
        pytest.skip(f"needs {compiler}")
    small = trained_layer("lstm-projected").compressed(kind)
    x = sequence(1, 9, 3)
    expected = widened(small)(x[np.newaxis])[0][0]
    compiled = Compiled(small, tmp_path, compiler=compiler, flags=flags)
    close(compiled.run(x, expected.shape), expected)
