"""Chains of modules against composition by hand and central differences."""

from __future__ import annotations

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import bptt
from bptt.nn.recurrent import LAYERS
from bptt.nn.recurrent_base import Recurrent
from bptt.nn.state import arrays_of, as_state, as_states
from cases import DTYPES, MERGES, dtype_id
from derivatives import check_chain

F8 = {"dtype": "float64", "seed": 0}
LENGTHS = np.array([3, 0, 5, 1])
POOLS = [None, "last", "mean", "max"]


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def small(kind="GRU", bidirectional=False, merge="concat", **options):
    """Model from 2 real features to 3 outputs."""
    layer = getattr(bptt, kind)(2, 3, bidirectional=bidirectional, merge=merge, **F8)
    features = layer.output_size + (2 if options.get("skip_input") else 0)
    return bptt.Sequential(layer, bptt.Linear(features, 3, **F8), **options)


def everything(dtype=np.float64, pool=None, skip_input=False):
    """Model with every kind of module, from ids in [0, 7) to 3 outputs."""
    made = {"dtype": dtype, "seed": 0}
    return bptt.Sequential(
        bptt.Embedding(7, 2, **made),
        bptt.Dropout(0.3, **made),
        bptt.LSTM(2, 3, num_layers=2, dropout=0.2, **made),
        bptt.Linear(3, 4, **made),
        bptt.Dropout(0.2, **made),
        bptt.GRU(4, 2, bidirectional=True, **made),
        bptt.Dropout(0.4, **made),
        bptt.Linear(4 + 2 * skip_input, 3, **made),
        pool=pool,
        skip_input=skip_input,
    )


def states(model, batch, rng):
    """A random state for each recurrent layer."""
    found = []
    for module in model.modules:
        if isinstance(module, Recurrent):
            shape = (module.num_layers * (1 + module.bidirectional), batch, module.hidden_size)
            parts = [rng.standard_normal(shape).astype(module.dtype) for _ in range(4)]
            found.append(as_state(*parts[: len(module.cell.states)]))
    return tuple(found)


def assert_same(actual, expected):
    for a, b in zip(actual, expected, strict=True):
        for x, y in zip(arrays_of(a), arrays_of(b), strict=True):
            np.testing.assert_array_equal(x, y)


# ---- container ----------------------------------------------------------------------------------


def test_modules_by_index_and_in_a_loop():
    model = everything()
    assert len(model) == 8
    assert list(model) == list(model.modules)
    assert model[0] is model.modules[0]
    assert model[-1] is model.modules[-1]
    assert model[np.int64(2)] is model.modules[2]


def test_parameters_have_the_index_and_the_name_of_pytorch():
    model = everything()
    names = [f"{i}.{name}" for i, module in enumerate(model) for name in module]
    assert list(model.parameters) == names
    assert {"0.weight", "2.weight_ih_l1", "5.bias_l0_reverse"} <= set(names)
    array = model.parameters["3.bias"]
    assert array is model[3]["bias"]
    model[3]["bias"] = np.arange(4.0)
    assert array.tolist() == [0, 1, 2, 3]
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 1
    with pytest.raises(TypeError, match="does not support item assignment"):
        model.parameters["3.bias"] = array


def test_gradients_have_the_names_of_the_parameters(rng):
    model = everything()
    run = model.forward(rng.integers(0, 7, (2, 3)))
    gradients = run.backward(run.output)
    assert list(gradients.parameters) == list(model.parameters)
    assert "array" not in repr(gradients)
    for name, gradient in gradients.parameters.items():
        i, _, of_module = name.partition(".")
        assert gradient is gradients.modules[int(i)][of_module]
        assert gradient.shape == model.parameters[name].shape


def test_number_of_parameters():
    model = everything()
    sizes = [array.size for array in model.parameters.values()]
    assert model.num_parameters == sum(sizes) == sum(m.num_parameters for m in model)
    assert bptt.LSTM(3, 4).num_parameters == 4 * 4 * (3 + 4 + 1)
    assert bptt.Linear(3, 4, bias=False).num_parameters == 12
    assert bptt.Dropout(0.5).num_parameters == 0


SUMMARY = """
   module       output      parameter     shape        count
0  Embedding    (B, T, 16)  weight        (1000, 16)  16,000
1  GRU          (B, T, 32)  weight_ih_l0  (96, 16)     1,536
                            weight_hh_l0  (96, 32)     3,072
                            bias_l0       (96,)           96
   pool 'mean'  (B, 32)
2  LayerNorm    (B, 32)     weight        (32,)           32
                            bias          (32,)           32
3  ReLU         (B, 32)
4  Linear       (B, 2)      weight        (2, 32)         64
   total                                              20,832
"""


def test_summary():
    model = bptt.Sequential(
        bptt.Embedding(1000, 16),
        bptt.GRU(16, 32),
        bptt.LayerNorm(32),
        bptt.ReLU(),
        bptt.Linear(32, 2, bias=False),
        pool="mean",
    )
    assert model.summary() == SUMMARY.strip("\n")


@pytest.mark.parametrize(
    ("modules", "outputs"),
    [
        ((bptt.Linear(4, 2),), ["(..., 2)"]),
        ((bptt.Tanh(), bptt.GRU(3, 2)), ["(B, T, 3)", "(B, T, 2)"]),
        ((bptt.LSTM(3, 2, bidirectional=True), bptt.Dropout(0.1)), ["(B, T, 4)", "(B, T, 4)"]),
        ((bptt.ReLU(),), ["(..., ?)"]),
    ],
)
def test_summary_shows_the_shapes_of_the_outputs(modules, outputs):
    lines = bptt.Sequential(*modules).summary().splitlines()[1:-1]
    shown = [line[line.index("(") : line.index(")") + 1] for line in lines if line[0] != " "]
    assert shown == outputs


# ---- composition by hand -------------------------------------------------------------------------


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("dtype", DTYPES, ids=dtype_id)
@pytest.mark.parametrize("skip_input", [False, True])
def test_training_composed_by_hand(dtype, skip_input, rng):
    model = everything(dtype, skip_input=skip_input)
    other = copy.deepcopy(model)
    ids, state, d_state = rng.integers(0, 7, (4, 5)), states(model, 4, rng), states(model, 4, rng)
    d_output = rng.standard_normal((4, 5, 3)).astype(dtype)
    run = model.forward(ids, state=state)
    found = run.backward(d_output, d_state)

    embedding, drop, lstm, between, drop_between, gru, drop_top, linear = other.modules
    vectors = embedding.forward(ids)
    read = drop.forward(vectors.output)
    bottom = lstm.forward(read.output, state=state[0])
    middle = between.forward(bottom.output)
    dropped = drop_between.forward(middle.output)
    top = gru.forward(dropped.output, state=state[1])
    seen = drop_top.forward(top.output)
    shown = [seen.output, read.output] if skip_input else [seen.output]
    head = linear.forward(np.concatenate(shown, -1))
    np.testing.assert_array_equal(run.output, head.output)
    assert_same(run.state, (bottom.state, top.state))

    d_head = head.backward(d_output)
    d_seen = seen.backward(d_head.input[..., :4])
    d_top = top.backward(d_seen.input, d_state[1])
    d_dropped = dropped.backward(d_top.input)
    d_middle = middle.backward(d_dropped.input)
    d_bottom = bottom.backward(d_middle.input, d_state[0])
    d_x = d_bottom.input + (d_head.input[..., 4:] if skip_input else 0)
    d_read = read.backward(d_x)
    d_vectors = vectors.backward(d_read.input)
    by_hand = [d_vectors, d_read, d_bottom, d_middle, d_dropped, d_top, d_seen, d_head]
    for actual, expected in zip(found.modules, by_hand, strict=True):
        assert list(actual) == list(expected)
        for name in expected:
            np.testing.assert_array_equal(actual[name], expected[name])
    assert_same(found.state, (d_bottom.state, d_top.state))
    assert found.input is None


@pytest.mark.parametrize("skip_input", [False, True])
def test_inference_composed_by_hand(skip_input, rng):
    model = everything(skip_input=skip_input)
    embedding, _, lstm, between, _, gru, _, linear = model.modules
    ids, state = rng.integers(0, 7, (4, 5)), states(model, 4, rng)
    y, final = model(ids, lengths=LENGTHS, state=state)
    vectors = embedding(ids)
    bottom, after_bottom = lstm(vectors, lengths=LENGTHS, state=state[0])
    top, after_top = gru(between(bottom), lengths=LENGTHS, state=state[1])
    expected = linear(np.concatenate([top, vectors], -1) if skip_input else top)
    expected[np.arange(5) >= LENGTHS[:, None]] = 0
    np.testing.assert_array_equal(y, expected)
    assert_same(final, (after_bottom, after_top))


# ---- central differences -------------------------------------------------------------------------


@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["full", "ragged"])
@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_gradients(kind, bidirectional, pool, lengths, rng):
    model = small(kind, bidirectional, pool=pool)
    x, state, d_state = rng.standard_normal((4, 5, 2)), *(states(model, 4, rng) for _ in range(2))
    d_output = rng.standard_normal((4, 3) if pool else (4, 5, 3))
    if not pool and lengths is not None:
        d_output[np.arange(5) >= lengths[:, None]] = 0
    check_chain(model, x, d_output, d_state, lengths=lengths, state=state)


@pytest.mark.parametrize("merge", MERGES)
@pytest.mark.parametrize("pool", POOLS)
def test_gradients_of_merges(pool, merge, rng):
    model = small("LSTM", True, merge, pool=pool)
    x = rng.standard_normal((4, 5, 2))
    check_chain(model, x, rng.standard_normal(model(x)[0].shape))


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("kind", ["RNN", "LSTM"])
def test_gradients_of_skip_input(kind, bidirectional, rng):
    model = small(kind, bidirectional, skip_input=True)
    x, state = rng.standard_normal((4, 5, 2)), states(model, 4, rng)
    d_output = rng.standard_normal((4, 5, 3)) * (np.arange(5) < LENGTHS[:, None])[..., None]
    check_chain(model, x, d_output, lengths=LENGTHS, state=state)


@pytest.mark.parametrize(("pool", "skip_input"), [*((p, False) for p in POOLS), (None, True)])
def test_gradients_of_all_options_together(pool, skip_input, rng):
    model = everything(pool=pool, skip_input=skip_input)
    ids, state, d_state = rng.integers(0, 7, (4, 5)), *(states(model, 4, rng) for _ in range(2))
    d_output = rng.standard_normal((4, 3) if pool else (4, 5, 3))
    if not pool:
        d_output[np.arange(5) >= LENGTHS[:, None]] = 0
    check_chain(model, ids, d_output, d_state, lengths=LENGTHS, state=state)


def test_gradients_of_a_linear_before_the_recurrent_layer(rng):
    layers = bptt.Linear(2, 3, **F8), bptt.Dropout(0.2, **F8), bptt.GRU(3, 2, **F8)
    x = rng.standard_normal((4, 5, 2))
    check_chain(bptt.Sequential(*layers), x, rng.standard_normal((4, 5, 2)), lengths=LENGTHS)


@pytest.mark.parametrize("shape", [(2,), (4, 2), (4, 5, 2)])
def test_without_recurrent_layers(shape, rng):
    first, second = bptt.Linear(2, 3, **F8), bptt.Linear(3, 2, **F8)
    model = bptt.Sequential(first, bptt.Dropout(0.3, **F8), second)
    x = rng.standard_normal(shape)
    y, state = model(x)
    assert state == ()
    np.testing.assert_array_equal(y, second(first(x)))
    check_chain(model, x, rng.standard_normal(shape))


# ---- pooling -------------------------------------------------------------------------------------


def pooled_by_hand(pool, layer, x):
    """Pooled output of one sequence (T, I), from the outputs of both directions."""
    output, state = layer(x[None])
    if pool == "mean":
        return output[0].mean(0) if len(x) else 0 * output[0].sum(0)
    if pool == "max":
        return output[0].max(0) if len(x) else 0 * output[0].sum(0)
    ends = arrays_of(state)[0]
    if not layer.bidirectional:
        return ends[-1, 0]
    a, b = ends[-2:, 0]
    merges = {"concat": np.concatenate([a, b]), "sum": a + b, "mean": (a + b) / 2, "mul": a * b}
    return merges[layer.merge]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_pooling_does_not_depend_on_the_batch(data):
    draw = data.draw
    batch, steps = draw(st.integers(1, 5)), draw(st.integers(0, 6))
    lengths = np.array(draw(st.lists(st.integers(0, steps), min_size=batch, max_size=batch)))
    kind = draw(st.sampled_from(LAYERS))
    layer = kind(
        2,
        3,
        bidirectional=draw(st.booleans()),
        merge=draw(st.sampled_from(MERGES)),
        num_layers=draw(st.integers(1, 2)),
        **F8,
    )
    pool = draw(st.sampled_from(["last", "mean", "max"]))
    rng = np.random.default_rng(draw(st.integers(0, 100)))
    x, d = rng.standard_normal((batch, steps, 2)), rng.standard_normal((batch, layer.output_size))
    model = bptt.Sequential(layer, pool=pool)
    x[np.arange(steps) >= lengths[:, None]] = np.nan
    run = model.forward(x, lengths=lengths)
    y, _ = model(x, lengths=lengths)
    np.testing.assert_array_equal(run.output, y)
    gradients = run.backward(d)
    total = {name: np.zeros_like(value) for name, value in layer.parameters.items()}
    for i, length in enumerate(lengths):
        alone = x[i : i + 1, :length]
        np.testing.assert_allclose(y[i], pooled_by_hand(pool, layer, alone[0]), rtol=1e-12)
        own = model.forward(alone).backward(d[i : i + 1])
        expected = np.zeros((steps, 2))
        expected[:length] = own.input[0]
        np.testing.assert_allclose(gradients.input[i], expected, rtol=1e-9, atol=1e-13)
        for name, value in own.modules[0].items():
            total[name] += value
    for name, value in total.items():
        np.testing.assert_allclose(gradients.modules[0][name], value, rtol=1e-9, atol=1e-12)


def test_max_pooling_sends_the_gradient_to_the_first_maximum():
    layer = bptt.RNN(1, 1, activation="identity", dtype="float64", seed=0)
    layer["weight_ih_l0"], layer["weight_hh_l0"] = np.ones((1, 1)), np.zeros((1, 1))
    run = bptt.Sequential(layer, pool="max").forward(np.array([[[1.0], [3.0], [3.0], [2.0]]]))
    assert run.output.item() == 3
    assert run.backward(np.ones((1, 1))).input.ravel().tolist() == [0, 1, 0, 0]


@pytest.mark.parametrize("pool", ["last", "mean", "max"])
@pytest.mark.parametrize("dtype", DTYPES, ids=dtype_id)
def test_pooling_keeps_the_dtype(pool, dtype, rng):
    layer = bptt.LSTM(2, 3, bidirectional=True, dtype=dtype, seed=0)
    model = bptt.Sequential(layer, bptt.Dropout(0.5, dtype=dtype), pool=pool)
    run = model.forward(rng.standard_normal((4, 5, 2)).astype(dtype), lengths=LENGTHS)
    assert run.output.dtype == dtype
    assert run.backward(run.output).input.dtype == dtype


# ---- padding -------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", ["linear", "skip", "dropout", "layer", "no layer", "max"])
def test_padding_is_not_read(model, rng):
    linear, layer = bptt.Linear(2, 2, **F8), bptt.GRU(2, 3, **F8)
    linear["bias"] = np.ones(2)
    head = bptt.Linear(5 if model == "skip" else 3, 4, **F8)
    head["bias"] = np.ones(4)
    modules = {
        "linear": (linear, layer, head),
        "dropout": (bptt.Dropout(0.5, **F8), linear, layer, head, bptt.Dropout(0.5, **F8)),
        "no layer": (linear,),
    }.get(model, (layer, head))
    pool = "max" if model == "max" else None
    chain = bptt.Sequential(*modules, skip_input=model == "skip", pool=pool)
    padding = np.arange(5) >= LENGTHS[:, None]
    x = rng.standard_normal((4, 5, 2))
    x[padding] = 0
    dirty = np.where(padding[..., None], np.nan, x)
    kept = dirty.copy()
    clean, run = (copy.deepcopy(chain).forward(values, lengths=LENGTHS) for values in (x, dirty))
    np.testing.assert_array_equal(run.output, clean.output)
    d_output = rng.standard_normal(run.output.shape)
    found, expected = run.backward(d_output), clean.backward(d_output)
    if not pool:
        assert not run.output[padding].any()
        dirty_d = np.where(padding[..., None], np.nan, d_output)
        again = copy.deepcopy(chain).forward(x, lengths=LENGTHS).backward(dirty_d)
        assert_same([g._flat for g in again.modules], [g._flat for g in expected.modules])
    assert_same([g._flat for g in found.modules], [g._flat for g in expected.modules])
    np.testing.assert_array_equal(found.input, expected.input)
    assert not found.input[padding].any()
    np.testing.assert_array_equal(dirty, kept)
    for y in (chain(dirty, lengths=LENGTHS)[0], chain(x, lengths=LENGTHS)[0]):
        assert np.isfinite(y).all()


def test_padded_ids_are_not_read(rng):
    model = everything(pool="mean")
    ids = rng.integers(0, 7, (4, 5))
    dirty = np.where(np.arange(5) >= LENGTHS[:, None], -1, ids)
    np.testing.assert_array_equal(
        model(dirty, lengths=LENGTHS)[0], model(ids, lengths=list(LENGTHS))[0]
    )


# ---- steps, threads, copies ----------------------------------------------------------------------


@pytest.mark.parametrize(("pool", "skip_input"), [(None, False), ("last", False), (None, True)])
def test_steps(pool, skip_input, rng):
    model = bptt.Sequential(
        bptt.Embedding(7, 2, **F8),
        bptt.GRU(2, 3, num_layers=2, **F8),
        bptt.Dropout(0.5, **F8),
        bptt.LSTM(3, 4, **F8),
        bptt.Linear(4 + 2 * skip_input, 3, **F8),
        pool=pool,
        skip_input=skip_input,
    )
    ids, state = rng.integers(0, 7, (2, 6)), None
    for t in range(6):
        y_t, state = model.step(ids[:, t], state)
        y, final = model(ids[:, : t + 1])
        np.testing.assert_allclose(y_t, y if pool else y[:, t], rtol=1e-12)
    for a, b in zip(state, final, strict=True):
        np.testing.assert_allclose(np.stack(arrays_of(a)), np.stack(arrays_of(b)), rtol=1e-12)


def test_final_state_continues_the_sequence(rng):
    model = bptt.Sequential(bptt.LSTM(2, 3, **F8), bptt.GRU(3, 3, **F8), bptt.Linear(3, 2, **F8))
    x = rng.standard_normal((2, 9, 2))
    y, final = model(x)
    first, state = model(x[:, :4])
    second, state = model(x[:, 4:], state=state)
    np.testing.assert_allclose(np.concatenate([first, second], 1), y, rtol=1e-12)
    np.testing.assert_allclose(state[1], final[1], rtol=1e-12)
    zero = model(x, state=(None, np.zeros((1, 2, 3))))[0]
    np.testing.assert_array_equal(zero, y)


def test_concurrent_calls_of_one_model(rng):
    model = everything(pool="max")
    ids = [rng.integers(0, 7, (3, 8)) for _ in range(16)]
    expected = [model(batch)[0] for batch in ids]
    for _ in range(5):
        model.modules[2]["bias_l0"] = model.modules[2]["bias_l0"].copy()  # all threads pack
        with ThreadPoolExecutor(8) as pool:
            for found, y in zip(pool.map(model, ids), expected, strict=True):
                np.testing.assert_array_equal(found[0], y)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_copies(duplicate, rng):
    model = everything(pool="last")
    other, ids = duplicate(model), rng.integers(0, 7, (3, 8))
    assert repr(other) == repr(model)
    np.testing.assert_array_equal(other.forward(ids).output, model.forward(ids).output)


def test_one_dimensional_ids_are_one_sequence(rng):
    ids = rng.integers(0, 7, 6)
    model = everything()
    np.testing.assert_array_equal(model(ids)[0], model(ids[None])[0])
    layer = bptt.Sequential(bptt.GRU(7, 3, seed=0), bptt.Linear(3, 2, seed=0))
    np.testing.assert_array_equal(layer(ids)[0], layer(ids[None])[0])
    assert layer.forward(ids).output.shape == (1, 6, 2)


# ---- backward ------------------------------------------------------------------------------------


def test_backward_uses_the_parameters_of_forward(rng):
    model = everything(pool="max")
    ids, d = rng.integers(0, 7, (3, 8)), rng.standard_normal((3, 3))
    expected = copy.deepcopy(model).forward(ids).backward(d)
    run = model.forward(ids)
    for module in model.modules:
        for name in module:
            module[name] = np.zeros_like(module[name])
    found = run.backward(d)
    assert_same([g._flat for g in found.modules], [g._flat for g in expected.modules])


def test_backward_skips_gradients_that_are_zero(rng, monkeypatch):
    """With pool="last" the gradient enters as that of the final state, not of every step."""
    given_to_kernel = []
    kernel = bptt._core.loader.kernels.backward

    def spy(network, saved, x, y, d_output, d_state, *flags):
        given_to_kernel.append((d_output is not None, d_state is not None))
        return kernel(network, saved, x, y, d_output, d_state, *flags)

    monkeypatch.setattr(bptt._core.loader.kernels, "backward", spy)
    layers = bptt.LSTM(2, 3, **F8), bptt.GRU(3, 3, **F8), bptt.Linear(3, 2, **F8)
    x = rng.standard_normal((4, 5, 2))
    d_state = states(bptt.Sequential(*layers), 4, rng)

    def backward(*d, pool=None):
        given_to_kernel.clear()
        gradients = bptt.Sequential(*layers, pool=pool).forward(x).backward(*d)
        assert len(gradients.modules) == 3
        return gradients, given_to_kernel.copy()

    assert backward(np.ones((4, 2)), pool="last")[1] == [(False, True), (True, False)]
    assert backward(np.ones((4, 5, 2)))[1] == [(True, False), (True, False)]
    gradients, calls = backward(None, d_state)
    assert calls == [(False, True), (True, True)]
    assert not gradients.modules[2]["weight"].any()
    gradients, calls = backward(None, (d_state[0], None))
    assert calls == [(False, True)]
    assert not any(gradients.modules[1]._flat)
    assert gradients.state[1].shape == (1, 4, 3)
    assert not gradients.state[1].any()
    assert gradients.input.any()


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize(
    ("modules", "skip_input"),
    [
        ((bptt.GRU(2, 3, bidirectional=True, **F8), bptt.LSTM(6, 3, **F8)), False),
        ((bptt.Dropout(0.5, **F8), bptt.LSTM(2, 3, **F8), bptt.Linear(5, 2, **F8)), True),
        ((bptt.Linear(2, 3, **F8), bptt.RNN(3, 3, **F8), bptt.Linear(6, 2, **F8)), True),
        ((bptt.Dropout(0.5, **F8), bptt.Linear(2, 3, **F8)), False),
    ],
    ids=["layers", "skip", "linear", "no layer"],
)
def test_without_the_gradient_of_the_input(modules, skip_input, rng):
    run = bptt.Sequential(*modules, skip_input=skip_input).forward(
        rng.standard_normal((4, 5, 2)), lengths=LENGTHS
    )
    d = rng.standard_normal(run.output.shape)
    whole, part = run.backward(d, retain=True), run.backward(d, input=False)
    assert whole.input.shape == (4, 5, 2)
    assert part.input is None
    for module, found, expected in zip(modules, part.modules, whole.modules, strict=True):
        np.testing.assert_array_equal(found._flat, expected._flat)
        bptt.SGD(module).step(found)
    assert_same(part.state, whole.state)


def test_results_do_not_depend_on_recomputation(rng):
    modules = bptt.LSTM(2, 3, num_layers=2, dropout=0.3, **F8), bptt.GRU(3, 3, **F8)
    model, x = bptt.Sequential(*modules, pool="max"), rng.standard_normal((4, 600, 2))
    d = rng.standard_normal((4, 3))
    expected = copy.deepcopy(model).forward(x).backward(d)
    found = model.forward(x, recompute_every=100).backward(d)
    assert_same([g._flat for g in found.modules], [g._flat for g in expected.modules])
    with pytest.raises(ValueError, match="recompute_every needs a layer with bidirectional=False"):
        small(bidirectional=True).forward(x, recompute_every=100)


def test_release(rng):
    model = small("LSTM")
    run = model.forward(rng.standard_normal((4, 5, 2)))
    d = np.ones_like(run.output)
    with pytest.raises(ValueError, match="backward needs d_output, d_state or both, got neither"):
        run.backward()
    with pytest.raises(ValueError, match="backward needs d_output, d_state or both, got neither"):
        run.backward(None, (None,))
    first, second = run.backward(d, retain=True), run.backward(d)
    assert_same([g._flat for g in first.modules], [g._flat for g in second.modules])
    with pytest.raises(RuntimeError, match="backward needs the values that forward saved"):
        run.backward(d)


def test_arguments_are_not_changed(rng):
    model = small("LSTM", skip_input=True, bidirectional=True)
    run = model.forward(rng.standard_normal((4, 5, 2)), lengths=LENGTHS)
    d, d_state = rng.standard_normal((4, 5, 3)), states(model, 4, rng)
    before = copy.deepcopy((d, d_state))
    run.backward(d, d_state)
    np.testing.assert_array_equal(d, before[0])
    assert_same(d_state, before[1])


def test_training_learns_the_last_token(rng):
    model = bptt.Sequential(
        bptt.Embedding(5, 8, seed=0),
        bptt.GRU(8, 16, seed=1),
        bptt.Linear(16, 5, seed=2),
        pool="last",
    )
    adam = bptt.Adam(model.modules, learning_rate=0.02)
    lengths = rng.integers(1, 7, 64)
    ids = rng.integers(0, 5, (64, 6))
    targets = ids[np.arange(64), lengths - 1]
    for _ in range(40):
        run = model.forward(ids, lengths=lengths)
        _, d_output = bptt.softmax_cross_entropy(run.output, targets, reduction="mean")
        gradients = run.backward(d_output).modules
        bptt.clip_by_global_norm(gradients, 1.0)
        adam.step(gradients)
    assert (model(ids, lengths=lengths)[0].argmax(1) == targets).mean() > 0.95


def test_modules_can_be_saved(tmp_path, rng):
    pytest.importorskip("safetensors")
    model = everything(pool="last")
    bptt.save_modules(tmp_path / "m", {str(i): m for i, m in enumerate(model.modules)})
    modules, _ = bptt.load_modules(tmp_path / "m")
    ids = rng.integers(0, 7, (3, 8))
    loaded = bptt.Sequential(*modules.values(), pool="last")
    np.testing.assert_array_equal(loaded(ids)[0], model(ids)[0])


# ---- errors --------------------------------------------------------------------------------------

EMBEDDING, LAYER, LINEAR = bptt.Embedding(5, 2), bptt.GRU(2, 3), bptt.Linear(3, 4)


@pytest.mark.parametrize(
    ("modules", "options", "error", "sentence"),
    [
        ((LINEAR, LAYER), {}, ValueError, f"modules[1] must take 4 features, got {LAYER}"),
        (
            (EMBEDDING, bptt.Dropout(0.5), LINEAR),
            {},
            ValueError,
            f"modules[2] must take 2 features, got {LINEAR}",
        ),
        (
            (LAYER, LINEAR),
            {"skip_input": True},
            ValueError,
            f"modules[1] must take 3 + 2 = 5 features, got {LINEAR}",
        ),
        (
            (LINEAR,),
            {"pool": "max"},
            ValueError,
            f"pool='max' needs a recurrent layer, got Sequential({LINEAR}, pool='max')",
        ),
        (
            (LINEAR,),
            {"skip_input": True},
            ValueError,
            f"skip_input=True needs a recurrent layer, got Sequential({LINEAR}, skip_input=True)",
        ),
        (
            (LAYER,),
            {"skip_input": True},
            ValueError,
            f"skip_input needs a Linear as the last module, got {LAYER}",
        ),
        (
            (LAYER, bptt.Linear(5, 4)),
            {"skip_input": True, "pool": "max"},
            ValueError,
            "skip_input needs pool=None, got pool='max'",
        ),
    ],
)
def test_modules_that_do_not_fit(modules, options, error, sentence):
    with pytest.raises(error) as raised:
        bptt.Sequential(*modules, **options)
    assert str(raised.value) == sentence


def test_errors_of_step():
    for pool in ("mean", "max"):
        with pytest.raises(ValueError, match="step needs pool=None or pool='last', got pool='m"):
            bptt.Sequential(LAYER, pool=pool).step(np.ones((1, 2), np.float32))
    with pytest.raises(ValueError, match="step needs a layer with bidirectional=False"):
        small(bidirectional=True).step(np.ones((1, 2)))
    with pytest.raises(TypeError, match="skip_input needs an Embedding for x_t of dtype int64"):
        small(skip_input=True).step(np.array([0]))
    with pytest.raises(TypeError, match="skip_input needs an Embedding for x of dtype int64"):
        small(skip_input=True)(np.array([[0]]))


def test_errors_of_lengths():
    rule = r"x of shape \(batch, steps, features\), or \(batch, steps\) of token ids"
    for shape in ((), (2,), (4, 2), (1, 4, 5, 2)):
        for model in (small(), bptt.Sequential(bptt.Linear(2, 3, **F8))):
            with pytest.raises(ValueError, match=f"lengths needs {rule}, got "):
                model(np.ones(shape), lengths=LENGTHS)


def test_lstm_state_is_not_a_tuple_of_states():
    model = bptt.Sequential(bptt.GRU(2, 3, **F8), bptt.GRU(3, 3, **F8))
    h = np.zeros((1, 1, 3))
    sentence = "state must be a tuple of states, one for each of 2 recurrent layers, got LSTMState"
    with pytest.raises(TypeError, match=sentence):
        model(np.zeros((1, 1, 2)), state=bptt.LSTMState(h, h))
    assert as_states("state", [h, None], 2) == [h, None]
