"""Weights of 16 and 8 bits: the numbers that they stand for, results, files, refusals."""

from __future__ import annotations

import copy
import pickle
from dataclasses import replace

import numpy as np
import pytest

import bptt
import cases
from bptt._core import loader
from bptt.nn.compression import KINDS, NarrowArray
from bptt.nn.state import arrays_of
from bptt.optim.clipping import clip_by_global_norm
from cases import Case, every_form, every_layer
from layer_results import assert_identical

every_kind = pytest.mark.parametrize("kind", KINDS)

# H next to a register's width, more and less than a tile; depths odd, and beyond 512.
SIZES = ((3, 5), (4, 16), (33, 17), (600, 70), (7, 129))


def inference(layer, problem):
    """Results of inference, by name."""
    y, state = layer(problem.x, lengths=problem.lengths, state=problem.state)
    return {"y": y} | {str(i): part for i, part in enumerate(arrays_of(state))}


def with_parameters(layer, parameters):
    """A float32 copy of a layer with these parameters."""
    made = type(layer)(**layer.config)
    for name, value in parameters.items():
        made[name] = value
    return made


# ---- rounding


def test_bfloat16_is_the_nearest_upper_half_ties_to_even():
    words = np.arange(1 << 16, dtype=np.uint32) << 16
    exact = words.view(np.float32)
    finite = np.isfinite(exact) & np.isfinite((words + 0x10000).view(np.float32))
    low, high = exact[finite], (words[finite] + 0x10000).view(np.float32)
    middle = (words[finite] + 0x8000).view(np.float32)
    even = np.where(words[finite] >> 16 & 1, high, low)
    below, above = (np.nextafter(middle, end) for end in (low, high))
    for given, expected in ((low, low), (below, low), (middle, even), (above, high)):
        found = NarrowArray.of(given.reshape(1, -1), "bfloat16").widened()[0]
        np.testing.assert_array_equal(found, expected)


def test_int8_has_a_scale_for_each_row_and_the_nearest_integers():
    rng = np.random.default_rng(0)
    w = (rng.standard_normal((50, 40)) * 10.0 ** rng.integers(-30, 30, (50, 1))).astype(np.float32)
    w[3] = 0
    narrow = NarrowArray.of(w, "int8")
    assert narrow.scales is not None
    np.testing.assert_allclose(narrow.scales, np.abs(w).max(1) / 127, rtol=1e-6)
    assert np.abs(narrow.values).max(1).tolist() == [0 if i == 3 else 127 for i in range(50)]
    assert (np.abs(narrow.widened() - w) <= narrow.scales[:, None] * 0.50001).all()
    again = NarrowArray.of(narrow.widened(), "int8")
    np.testing.assert_array_equal(again.values, narrow.values)


# ---- recurrent layers


def assert_as_rounded(case: Case, kind: str, **more: object) -> None:
    """The results are those of a float32 layer with the rounded weights."""
    problem = cases.make(case, np.float32)
    layer = cases.make_layer(case, problem, **more)
    small = layer.compressed(kind)
    rounded = with_parameters(layer, small.parameters)
    found, expected = inference(small, problem), inference(rounded, problem)
    if kind == "bfloat16":
        return assert_identical(found, expected)
    for name, value in expected.items():  # the inputs of products have 16 bits
        scale = max(1.0, np.abs(value).max(initial=0))
        np.testing.assert_allclose(found[name], value, rtol=0, atol=1e-3 * scale, err_msg=name)


@every_kind
@every_form
def test_results_are_those_of_the_rounded_weights(form, kind, isa):
    base = Case(**form, steps=5, state=True)
    for inputs, hidden in SIZES:
        assert_as_rounded(replace(base, input_size=inputs, hidden_size=hidden), kind)


@every_kind
@pytest.mark.parametrize("case", [c for c in cases.options() if not c.dropout], ids=str)
def test_options(case, kind):
    assert_as_rounded(case, kind)


@every_kind
@pytest.mark.parametrize("batch", [1, 2, 3, 7, 8, 9, 33])
def test_rows_do_not_depend_on_each_other(batch, kind, isa):
    for cell in ("lstm", "gru_reset_after"):
        case = Case(cell, batch=batch, steps=4, input_size=20, hidden_size=35, state=True)
        problem = cases.make(case, np.float32)
        small = cases.make_layer(case, problem).compressed(kind)
        y, _ = small(problem.x, state=problem.state)
        for row in range(batch):
            one = tuple(part[:, row : row + 1] for part in arrays_of(problem.state))
            alone, _ = small(problem.x[row : row + 1], state=one if len(one) > 1 else one[0])
            np.testing.assert_array_equal(alone[0], y[row])


@every_kind
@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_threads_do_not_change_bits(cell, kind, isa):
    for batch in (1, 5):
        case = Case(
            cell, batch=batch, steps=6, input_size=300, hidden_size=600, num_layers=2, state=True
        )
        problem = cases.make(case, np.float32)
        layer = cases.make_layer(case, problem)
        found = []
        for count in (1, 2, 3, 8):
            with bptt.threads(count):
                found.append(inference(layer.compressed(kind), problem))
        for other in found[1:]:
            assert_identical(other, found[0])


@every_kind
def test_steps_are_those_of_the_sequence(kind):
    for layer in (
        bptt.LSTM(9, 70, num_layers=2, seed=0),
        bptt.GRU(9, 70, reset_after=True, learn_initial_state=True, seed=0),
        bptt.SLSTM(9, 32, num_heads=2, seed=0),
    ):
        small = layer.compressed(kind)
        x = np.random.default_rng(0).standard_normal((2, 5, 9), np.float32)
        y, state = small(x)
        after, out = None, None
        for t in range(5):
            out = small.step(x[:, t], after, out=out)
            after = out[1]
            np.testing.assert_array_equal(out[0], y[:, t])
        for part, expected in zip(arrays_of(after), arrays_of(state), strict=True):
            np.testing.assert_array_equal(part, expected)
        ids = np.array([3, 0])
        one_hot = np.eye(9, dtype=np.float32)[ids]
        np.testing.assert_allclose(small.step(ids)[0], small.step(one_hot)[0], atol=1e-4)


@every_kind
def test_strides_and_nan_of_the_input(kind):
    small = bptt.LSTM(40, 20, seed=0).compressed(kind)
    x = np.random.default_rng(0).standard_normal((3, 5, 40), np.float32)
    expected = small(x)[0]
    wide = np.zeros((3, 5, 80), np.float32)
    wide[..., ::2] = x
    np.testing.assert_array_equal(small(wide[..., ::2])[0], expected)
    for bad in (np.nan, np.inf):
        broken = x.copy()
        broken[1, 2, 3] = bad
        y = small(broken)[0]
        np.testing.assert_array_equal(y[[0, 2]], expected[[0, 2]])
        np.testing.assert_array_equal(y[1, :2], expected[1, :2])
        assert np.isnan(y[1, 2:]).any() if np.isnan(bad) else np.isfinite(expected).all()


def test_inputs_of_any_scale():
    """Of 8 bits: the integers of a row of the input are relative to its largest."""
    layer = bptt.LSTM(40, 20, activation="identity", seed=0)
    small = layer.compressed("int8")
    rounded = with_parameters(layer, small.parameters)
    x = np.random.default_rng(0).standard_normal((1, 3, 40), np.float32)
    for scale in (0.0, 1e-40, 1e-36, 1e-10, 1e-3, 10.0):
        given = (x * scale).astype(np.float32)
        found, expected = small(given)[0], rounded(given)[0]
        np.testing.assert_allclose(found, expected, atol=1e-4 * (np.abs(expected).max() + 1e-30))


# ---- linear layers and embeddings


@every_kind
@pytest.mark.parametrize("rows", [0, 1, 2, 9, 70])
@pytest.mark.parametrize("bias", [True, False])
def test_linear(bias, rows, kind, isa):
    for size, outputs in ((1, 1), (33, 7), (600, 65), (20, 1100)):
        layer = bptt.Linear(size, outputs, bias=bias, seed=0)
        if bias:
            layer["bias"] = np.random.default_rng(1).standard_normal(outputs).astype(np.float32)
        small = layer.compressed(kind)
        x = np.random.default_rng(0).standard_normal((rows, size)).astype(np.float32)
        weight = small["weight"].astype(np.float64)
        expected = x @ weight.T + (layer["bias"] if bias else 0)
        bound = (3e-7 if kind == "bfloat16" else 3e-5) * (np.abs(x) @ np.abs(weight).T + 1)
        found = small(x)
        assert found.dtype == np.float32
        assert found.shape == (rows, outputs)
        assert (np.abs(found - expected) <= bound).all()
        for row in range(min(rows, 3)):
            np.testing.assert_array_equal(small(x[row]), found[row])
    targets = np.zeros((1, rows), int)
    loss = small.cross_entropy(x[np.newaxis], targets, gradients=False)
    assert np.isfinite(float(loss))


@every_kind
def test_large_linear_on_threads(kind):
    small = bptt.Linear(300, 3000, seed=0).compressed(kind)
    x = np.random.default_rng(0).standard_normal((150, 300), np.float32)
    found = []
    for count in (1, 2, 3, 8):
        with bptt.threads(count):
            found.append(small(x))
    for y in found[1:]:
        np.testing.assert_array_equal(y, found[0])


@every_kind
def test_embeddings(kind, isa):
    for type_ in (bptt.Embedding, bptt.EmbeddingBag):
        layer = type_(50, 13, seed=0)
        small = layer.compressed(kind)
        rounded = with_parameters(layer, small.parameters)
        rng = np.random.default_rng(0)
        ids = rng.integers(0, 50, (4, 6, 3) if type_ is bptt.EmbeddingBag else (4, 6))
        lengths = np.array([6, 0, 3, 1])
        for given in ({}, {"lengths": lengths}):
            np.testing.assert_allclose(small(ids, **given), rounded(ids, **given), atol=1e-7)
        with pytest.raises(ValueError, match=r"ids must be in \[0, num_embeddings\)|must lie in"):
            small(ids + 50)


# ---- chains, copies, files


def chain(kind=None):
    model = bptt.Sequential(
        bptt.Embedding(30, 12, seed=0),
        bptt.LSTM(12, 20, num_layers=2, bidirectional=True, dropout=0.2, seed=1),
        bptt.LayerNorm(40),
        bptt.Dropout(0.1),
        bptt.GRU(40, 18, reset_after=True, seed=2),
        bptt.Linear(18, 5, seed=3),
    )
    return model if kind is None else model.compressed(kind)


@every_kind
def test_chain(kind):
    model, small = chain(), chain(kind)
    ids = np.random.default_rng(0).integers(0, 30, (3, 7))
    lengths = np.array([7, 0, 4])
    y, _ = small(ids, lengths=lengths)
    expected, _ = model(ids, lengths=lengths)
    assert 0 < np.abs(y - expected).max() < 0.05
    assert small.cross_entropy(ids, np.zeros((3, 7), int), lengths=lengths).value > 0
    assert [m.compression for m in small] == [kind, kind, None, None, kind, kind]
    assert f"Linear(in_features=18, out_features=5, seed=3).compressed({kind!r})" in repr(small)
    assert small.num_parameters == model.num_parameters


@every_kind
@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda m: m, "pickle", "file"])
def test_copies_and_files(duplicate, kind, tmp_path):
    small = chain(kind)
    ids = np.random.default_rng(0).integers(0, 30, (3, 7))
    expected = small(ids)[0]
    if duplicate == "pickle":
        again = pickle.loads(pickle.dumps(small))
    elif duplicate == "file":
        path = tmp_path / "small.safetensors"
        small.save(path)
        full = tmp_path / "full.safetensors"
        chain().save(full)
        assert path.stat().st_size < full.stat().st_size * 0.75
        again = bptt.Sequential.load(path)
        again.save(full)
        assert full.read_bytes() == path.read_bytes()
    else:
        again = duplicate(small)
    np.testing.assert_array_equal(again(ids)[0], expected)
    assert [m.compression for m in again] == [m.compression for m in small]


def test_files_have_the_types_of_the_format(tmp_path):
    from safetensors import safe_open

    for kind, expected in (("bfloat16", "BF16"), ("int8", "I8")):
        path = tmp_path / f"{kind}.safetensors"
        bptt.save_modules(path, {"a": bptt.LSTM(3, 5, seed=0).compressed(kind)})
        with safe_open(path, framework="numpy") as file:
            types = {key: file.get_slice(key).get_dtype() for key in file.keys()}  # noqa: SIM118
        assert types["a/weight_hh_l0"] == types["a/weight_ih_l0"] == expected
        assert types["a/bias_l0"] == "F32"
        if kind == "int8":
            assert types["a/weight_hh_l0.scales"] == "F32"


@every_kind
def test_damaged_files(kind, tmp_path):
    path, broken = tmp_path / "small.safetensors", tmp_path / "broken.safetensors"
    chain(kind).save(path)
    content = path.read_bytes()
    rng = np.random.default_rng(0)
    for place in rng.integers(8, len(content), 150):
        damaged = bytearray(content)
        damaged[place] ^= 1 << rng.integers(0, 8)
        broken.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"broken\.safetensors"):
            bptt.Sequential.load(broken)
    for size in (0, 7, 100, len(content) - 1):
        broken.write_bytes(content[:size])
        with pytest.raises(ValueError, match="cannot load"):
            bptt.Sequential.load(broken)


def test_contents_that_do_not_fit():
    small = bptt.Linear(3, 2, seed=0).compressed("int8")
    tensors = small._narrow.tensors()

    def made(kind="int8", **changed):
        given = {**tensors, **changed}
        return bptt.Linear._from_narrow(small.config, kind, lambda name: given[name])

    assert made()["weight"].shape == (2, 3)
    for message, changed in (
        ("int8", {"weight": np.zeros((2, 3), np.float32)}),
        ("shape", {"weight": np.zeros((3, 2), np.int8)}),
        ("shape", {"weight.scales": np.zeros(3, np.float32)}),
        (">= 0", {"weight.scales": np.array([1, -1], np.float32)}),
        ("finite", {"weight.scales": np.array([1, np.inf], np.float32)}),
        ("bfloat16", {"kind": "bfloat16"}),
        ("compression must be one of", {"kind": "int4"}),
    ):
        with pytest.raises((ValueError, TypeError), match=message):
            made(**changed)
    with pytest.raises(ValueError, match="compression must be None"):
        bptt.Dropout._from_narrow({"rate": 0.5}, "int8", tensors.__getitem__)


# ---- refusals


@every_layer
def test_training_is_refused(layer_type):
    small = layer_type(3, 4, seed=0).compressed("bfloat16")
    x = np.zeros((1, 2, 3), np.float32)
    rule = r"training needs weights of float32, got .*compressed\('bfloat16'\)"
    with pytest.raises(ValueError, match=rule):
        small.forward(x)
    with pytest.raises(ValueError, match=rule):
        small["bias_l0"] = small["bias_l0"]
    with pytest.raises(ValueError, match=rule):
        bptt.Adam(small)
    assert not small["weight_ih_l0"].flags.writeable
    assert not small["bias_l0"].flags.writeable


def test_training_of_other_modules_is_refused():
    x = np.zeros((1, 2, 3), np.float32)
    rule = "training needs weights of float32"
    for module, value in (
        (bptt.Linear(3, 2), x),
        (bptt.Embedding(3, 2), np.zeros((1, 2), int)),
        (bptt.EmbeddingBag(3, 2), np.zeros((1, 2, 2), int)),
        (bptt.Sequential(bptt.LSTM(3, 2)), x),
    ):
        with pytest.raises(ValueError, match=rule):
            module.compressed("int8").forward(value)
    with pytest.raises(ValueError, match=rule):
        bptt.Embedding(3, 2).compressed("int8").set_vectors(["a"], {"a": np.ones(2)})
    with pytest.raises(ValueError, match=rule):
        bptt.nn.RTRL(bptt.RNN(3, 2).compressed("int8")).step(x[:, 0])


def test_what_cannot_be_compressed():
    layer = bptt.LSTM(3, 4, seed=0)
    with pytest.raises(ValueError, match="kind must be one of 'bfloat16', 'int8', got 'int4'"):
        layer.compressed("int4")
    with pytest.raises(TypeError, match="kind must be one of"):
        layer.compressed(8)
    with pytest.raises(ValueError, match=r"needs a module of float32, got .* of float64"):
        bptt.LSTM(3, 4, dtype="float64").compressed("int8")
    with pytest.raises(ValueError, match=r"needs a module of float32, got .*compressed\('int8'\)"):
        layer.compressed("int8").compressed("int8")
    layer["weight_ih_l0"] = np.full((16, 3), np.finfo(np.float32).max, np.float32)
    with pytest.raises(ValueError, match="finite in bfloat16, got others in weight_ih_l0"):
        layer.compressed("bfloat16")
    config, flat = layer._kernel_config, layer._flat
    with pytest.raises(ValueError, match="training=True needs weights in full"):
        loader.kernels.pack(config, flat, True, "bfloat16")


def test_the_original_is_unchanged():
    layer = bptt.LSTM(3, 4, seed=0)
    before = {name: value.copy() for name, value in layer.parameters.items()}
    small = layer.compressed("int8")
    x = np.ones((1, 2, 3), np.float32)
    y = small(x)[0]
    run = layer.forward(x)
    gradients = run.backward(run.output)
    clip_by_global_norm(gradients, 1.0)
    assert_identical(dict(layer.parameters), before)
    bptt.SGD(layer, 0.1).step(gradients)
    np.testing.assert_array_equal(small(x)[0], y)


# ---- reports


def test_report():
    model = chain()
    ids = np.random.default_rng(0).integers(0, 30, (3, 7))
    for kind in KINDS:
        small = model.compressed(kind)
        difference = np.abs(small(ids)[0].astype(float) - model(ids)[0])
        report = bptt.compression_report(model, small, ids, score=lambda y: -float(y.var()))
        assert report.largest == difference.max()
        np.testing.assert_allclose(report.mean, difference.mean())
        assert report.score == (-float(model(ids)[0].var()), -float(small(ids)[0].var()))
        assert report.score_loss == report.score[0] - report.score[1]
        assert report.nbytes[0] == 4 * model.num_parameters
        assert report.nbytes[1] < report.nbytes[0] * (0.55 if kind == "bfloat16" else 0.35)
        assert f"{report.nbytes[1]:,}" in str(report)
        bptt.compression_report(model, small, ids, max_difference=report.largest)
        with pytest.raises(ValueError, match="the largest difference must be <= max_difference = "):
            bptt.compression_report(model, small, ids, max_difference=report.largest / 2)
    with pytest.raises(ValueError, match="max_score_loss must be None where"):
        bptt.compression_report(model, small, ids, max_score_loss=0.1)
    with pytest.raises(TypeError, match="of the same class, got Sequential and LSTM"):
        bptt.compression_report(model, model[1], ids)
