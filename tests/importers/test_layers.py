"""Importers against the documented equations of the other libraries."""

from __future__ import annotations

import numpy as np
import pytest

import bptt
from bptt.importers import from_keras, from_onnx, from_torch

B, T, I, H = 3, 7, 5, 4  # noqa: E741 - symbols of the documentation
GATES = {bptt.RNN: 1, bptt.LSTM: 4, bptt.GRU: 3}  # the cells that the other libraries have
every_kind = pytest.mark.parametrize("kind", GATES)
rng = np.random.default_rng(0)
x = rng.normal(size=(B, T, I))


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def unroll(step, x, size=H):
    """The outputs of a step (x_t, h, c) -> (h, c), from zeros."""
    h = c = np.zeros((len(x), size))
    outputs = []
    for t in range(x.shape[1]):
        h, c = step(x[:, t], h, c)
        outputs.append(h)
    return np.stack(outputs, axis=1)


def close(layer, expected, x=x):
    np.testing.assert_allclose(layer(x)[0], expected, atol=1e-12)


# ---- PyTorch: the equations of nn.RNN, nn.LSTM and nn.GRU ----------------------------------------


def torch_weights(kind, suffix="_l0", size=I, bias=True):
    rows = GATES[kind] * H
    shapes = {"weight_ih": (rows, size), "weight_hh": (rows, H)}
    if bias:
        shapes |= {"bias_ih": (rows,), "bias_hh": (rows,)}
    return {f"{name}{suffix}": rng.normal(size=shape) for name, shape in shapes.items()}


def torch_step(kind, weights, suffix="_l0"):
    zero = np.zeros(GATES[kind] * H)
    U, W = weights[f"weight_ih{suffix}"], weights[f"weight_hh{suffix}"]
    b_i, b_h = weights.get(f"bias_ih{suffix}", zero), weights.get(f"bias_hh{suffix}", zero)

    def step(x, h, c):
        a, r = x @ U.T + b_i, h @ W.T + b_h
        if kind is bptt.RNN:
            return np.tanh(a + r), c
        if kind is bptt.LSTM:
            i, f, g, o = np.split(a + r, 4, axis=1)
            c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
            return sigmoid(o) * np.tanh(c), c
        (ar, az, an), (hr, hz, hn) = np.split(a, 3, axis=1), np.split(r, 3, axis=1)
        r, z = sigmoid(ar + hr), sigmoid(az + hz)
        n = np.tanh(an + r * hn)
        return (1 - z) * n + z * h, c

    return step


@every_kind
@pytest.mark.parametrize("bias", [True, False])
def test_torch_cell_and_layer(kind, bias):
    weights = torch_weights(kind, bias=bias)
    expected = unroll(torch_step(kind, weights), x)
    close(from_torch(kind, weights), expected)
    single = {f"cell.{name.removesuffix('_l0')}": value for name, value in weights.items()}
    close(from_torch(kind, single, "cell."), expected)


@every_kind
def test_torch_stack_in_both_directions(kind):
    weights, below = {"decoder.weight": np.ones(1)}, x
    for layer, size in enumerate((I, 2 * H, 2 * H)):
        for suffix in (f"_l{layer}", f"_l{layer}_reverse"):
            new = torch_weights(kind, suffix, size)
            weights |= {f"encoder.{name}": value for name, value in new.items()}
        plain = {name.removeprefix("encoder."): value for name, value in weights.items()}
        there = unroll(torch_step(kind, plain, f"_l{layer}"), below)
        back = unroll(torch_step(kind, plain, f"_l{layer}_reverse"), below[:, ::-1])
        below = np.concatenate([there, back[:, ::-1]], axis=2)
    layer = from_torch(kind, weights, "encoder.")
    assert (layer.num_layers, layer.bidirectional) == (3, True)
    close(layer, below)


@every_kind
def test_torch_module(kind):
    torch = pytest.importorskip("torch")
    theirs = getattr(torch.nn, kind.__name__)(I, H, num_layers=2, bidirectional=True)
    ours = from_torch(kind, theirs.state_dict(), time_major=True)
    x = rng.normal(size=(T, B, I)).astype(np.float32)
    expected, _ = theirs(torch.tensor(x))
    np.testing.assert_allclose(ours(x)[0], expected.detach().numpy(), atol=1e-6)


def test_torch_module_with_a_projection():
    torch = pytest.importorskip("torch")
    options = {"num_layers": 2, "bidirectional": True, "dtype": torch.float64}
    theirs = torch.nn.LSTM(I, H, proj_size=2, **options)
    weights = theirs.state_dict()
    ours = from_torch(bptt.LSTM, weights, time_major=True)
    assert (ours.hidden_size, ours.proj_size) == (H, 2)
    x = rng.normal(size=(T, B, I))
    expected, (h, c) = theirs(torch.tensor(x))
    y, state = ours(x)
    for found, same in ((y, expected), (state.h, h), (state.c, c)):
        np.testing.assert_allclose(found, same.detach().numpy(), atol=1e-12)
    from_torch(bptt.LSTM, weights, proj_size=2)
    with pytest.raises(ValueError, match="proj_size must be 2, that of the tensors, got 3"):
        from_torch(bptt.LSTM, weights, proj_size=3)
    with pytest.raises(KeyError, match="weight_hr_l1_reverse"):
        from_torch(bptt.LSTM, {n: w for n, w in weights.items() if n != "weight_hr_l1_reverse"})


# ---- Keras: the equations of its layers' step() --------------------------------------------------


def keras_weights(kind, form="one bias"):
    n = GATES[kind] * H
    bias = {"one bias": (n,), "two biases": (2, n), "cudnn": (2 * n,)}[form]
    return [rng.normal(size=shape) for shape in ((I, n), (H, n), bias)]


def keras_step(kind, kernel, recurrent, bias):
    def step(x, h, c):
        if kind is bptt.RNN:
            return np.tanh(x @ kernel + bias + h @ recurrent), c
        if kind is bptt.LSTM:
            i, f, g, o = np.split(x @ kernel + h @ recurrent + bias, 4, axis=1)
            c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
            return sigmoid(o) * np.tanh(c), c
        after = bias.ndim == 2
        xz, xr, xh = np.split(x @ kernel + (bias[0] if after else bias), 3, axis=1)
        hz, hr, hh = np.split(h @ recurrent + (bias[1] if after else 0), 3, axis=1)
        z, r = sigmoid(xz + hz), sigmoid(xr + hr)
        inner = r * hh if after else (r * h) @ recurrent[:, 2 * H :]
        return z * h + (1 - z) * np.tanh(xh + inner), c

    return step


@every_kind
@pytest.mark.parametrize("form", ["one bias", "two biases"])
def test_keras(kind, form):
    if form == "two biases" and kind is not bptt.GRU:
        pytest.skip("only a GRU has two")
    weights = keras_weights(kind, form)
    close(from_keras(kind, weights), unroll(keras_step(kind, *weights), x))


@every_kind
def test_keras_bidirectional(kind):
    there, back = keras_weights(kind), keras_weights(kind)
    forward = unroll(keras_step(kind, *there), x)
    backward = unroll(keras_step(kind, *back), x[:, ::-1])[:, ::-1]
    layer = from_keras(kind, [*there, *back], bidirectional=True, merge="sum")
    close(layer, forward + backward)


@pytest.mark.parametrize("kind", [bptt.LSTM, bptt.GRU])
def test_keras_cudnn(kind):
    """CuDNN has matrices (H, I) and (H, H) for each gate, stored in arrays of Keras' shapes."""
    kernel, recurrent, bias = keras_weights(kind, "cudnn")
    gates = GATES[kind]
    order = [1, 0, 2] if kind is bptt.GRU else [0, 1, 2, 3]  # z r h
    U, W = (np.hsplit(a, gates) for a in (kernel, recurrent))
    biases = bias.reshape(2, gates, H)
    weights = {
        "weight_ih_l0": np.concatenate([U[gate].reshape(H, I) for gate in order]),
        "weight_hh_l0": np.concatenate([W[gate] for gate in order]),
        "bias_ih_l0": biases[0, order].ravel(),
        "bias_hh_l0": biases[1, order].ravel(),
    }
    layer = from_keras(kind, [kernel, recurrent, bias], cudnn=True)
    close(layer, unroll(torch_step(kind, weights), x))


# ---- ONNX: the equations of its operators --------------------------------------------------------


def onnx_step(kind, W, R, B, after):
    b_w, b_r = np.split(B, 2)

    def step(x, h, c):
        a, r = x @ W.T + b_w, h @ R.T + b_r
        if kind is bptt.RNN:
            return np.tanh(a + r), c
        if kind is bptt.LSTM:
            i, o, f, g = np.split(a + r, 4, axis=1)
            c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
            return sigmoid(o) * np.tanh(c), c
        (az, ar, ah), (rz, rr, rh) = np.split(a, 3, axis=1), np.split(r, 3, axis=1)
        z, r = sigmoid(az + rz), sigmoid(ar + rr)
        inner = r * rh if after else (r * h) @ R[2 * H :].T + b_r[2 * H :]
        return (1 - z) * np.tanh(ah + inner) + z * h, c

    return step


def onnx_weights(kind, directions):
    n = GATES[kind] * H
    return [rng.normal(size=(directions, *shape)) for shape in ((n, I), (n, H), (2 * n,))]


@every_kind
@pytest.mark.parametrize("after", [False, True])
def test_onnx(kind, after):
    W, R, B = onnx_weights(kind, 2)
    options = {"reset_after": after} if kind is bptt.GRU else {}
    there = unroll(onnx_step(kind, W[0], R[0], B[0], after), x)
    back = unroll(onnx_step(kind, W[1], R[1], B[1], after), x[:, ::-1])[:, ::-1]
    close(from_onnx(kind, W, R, B, **options), np.concatenate([there, back], axis=2))
    without = unroll(onnx_step(kind, W[0], R[0], 0 * B[0], after), x)
    close(from_onnx(kind, W[:1], R[:1], **options), without)


@every_kind
def test_onnx_reference_evaluator(kind):
    onnx = pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    weights = [a.astype(np.float32) for a in onnx_weights(kind, 1)]
    after = {"linear_before_reset": 1} if kind is bptt.GRU else {}
    helper, float32 = onnx.helper, onnx.TensorProto.FLOAT
    node = helper.make_node(
        kind.__name__, ["x", "W", "R", "B"], ["y"], hidden_size=H, layout=0, **after
    )
    graph = helper.make_graph(
        [node],
        "layer",
        [helper.make_tensor_value_info("x", float32, (T, B, I))],
        [helper.make_tensor_value_info("y", float32, (T, 1, B, H))],
        [onnx.numpy_helper.from_array(a, name) for a, name in zip(weights, "WRB", strict=True)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)
    session = runtime.InferenceSession(model.SerializeToString())
    steps = np.ascontiguousarray(x.swapaxes(0, 1), np.float32)
    (expected,) = session.run(None, {"x": steps})
    options = {"reset_after": True} if kind is bptt.GRU else {}
    layer = from_onnx(kind, *weights, time_major=True, **options)
    np.testing.assert_allclose(layer(steps)[0], expected[:, 0], atol=1e-6)


@pytest.mark.parametrize("coupled", [False, True])
@pytest.mark.parametrize("peephole", [False, True])
def test_onnx_variants_of_the_lstm(peephole, coupled):
    """Against a loop: f = 1 − i if the gates are coupled; P is that of i, o, f."""
    W, R, B = onnx_weights(bptt.LSTM, 2)
    P = np.random.default_rng(4).standard_normal((2, 3 * H)) if peephole else None
    layer = from_onnx(bptt.LSTM, W, R, B, P, coupled=coupled)
    assert layer.config["peephole"] == peephole

    def step_of(d):
        p_i, p_o, p_f = np.split(P[d] if peephole else np.zeros(3 * H), 3)

        def step(x, h, c):
            a = x @ W[d].T + h @ R[d].T + sum(np.split(B[d], 2))
            a_i, a_o, a_f, a_g = np.split(a, 4, axis=1)
            i = sigmoid(a_i + p_i * c)
            f = 1 - i if coupled else sigmoid(a_f + p_f * c)
            c = f * c + i * np.tanh(a_g)
            return sigmoid(a_o + p_o * c) * np.tanh(c), c

        return step

    there, back = unroll(step_of(0), x), unroll(step_of(1), x[:, ::-1])[:, ::-1]
    close(layer, np.concatenate([there, back], axis=2))


@pytest.mark.parametrize("coupled", [False, True])
@pytest.mark.parametrize("peephole", [False, True])
def test_onnx_runtime_of_the_variants(peephole, coupled):
    onnx = pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    weights = (a.astype(np.float32) for a in onnx_weights(bptt.LSTM, 1))
    arrays = dict(zip("WRB", weights, strict=True))
    if peephole:
        arrays["P"] = np.random.default_rng(4).standard_normal((1, 3 * H)).astype(np.float32)
    helper, float32 = onnx.helper, onnx.TensorProto.FLOAT
    inputs = ["x", "W", "R", "B", "", "", "", *(["P"] if peephole else [])]
    node = helper.make_node("LSTM", inputs, ["y"], hidden_size=H, input_forget=int(coupled))
    graph = helper.make_graph(
        [node],
        "layer",
        [helper.make_tensor_value_info("x", float32, (T, B, I))],
        [helper.make_tensor_value_info("y", float32, (T, 1, B, H))],
        [onnx.numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)
    session = runtime.InferenceSession(model.SerializeToString())
    steps = np.ascontiguousarray(x.swapaxes(0, 1), np.float32)
    (expected,) = session.run(None, {"x": steps})
    layer = from_onnx(bptt.LSTM, **arrays, coupled=coupled, time_major=True)
    np.testing.assert_allclose(layer(steps)[0], expected[:, 0], atol=1e-6)


# ---- errors --------------------------------------------------------------------------------------


def test_errors():
    weights = torch_weights(bptt.LSTM)
    with pytest.raises(KeyError, match=r"rnn\.weight_ih_l0"):
        from_torch(bptt.LSTM, weights, "rnn.")
    with pytest.raises(ValueError, match=r"weight_ih_l0 must have 3\*hidden_size rows, .*got 16"):
        from_torch(bptt.GRU, weights)
    with pytest.raises(TypeError, match=r"weight_ih_l0 must have dtype .*, got int64"):
        from_torch(bptt.LSTM, {name: a.astype(np.int64) for name, a in weights.items()})
    with pytest.raises(ValueError, match=r"weight_hh_l0 must have 2 dimensions, got shape \(16,"):
        from_torch(bptt.LSTM, {**weights, "weight_hh_l0": weights["bias_hh_l0"]})
    with pytest.raises(ValueError, match=r"weight_hh_l0 must have .*\(16, 4\), got \(16, 3\)"):
        from_torch(bptt.LSTM, {**weights, "weight_hh_l0": weights["weight_hh_l0"][:, :3]})
    with pytest.raises(ValueError, match=r"weights must be kernel, .* got 1 arrays"):
        from_keras(bptt.LSTM, keras_weights(bptt.LSTM)[:1])
    with pytest.raises(ValueError, match="W must have 3 dimensions"):
        from_onnx(bptt.LSTM, weights["weight_ih_l0"], weights["weight_hh_l0"])


def test_layers_that_the_libraries_do_not_have():
    for read, weights in ((from_torch, ({},)), (from_keras, ([],)), (from_onnx, ([], []))):
        with pytest.raises(ValueError, match=r"kind must be one of RNN, LSTM, GRU, .*got Linear"):
            read(bptt.Linear, *weights)


def test_variants_that_the_libraries_do_not_have():
    W, R, B = onnx_weights(bptt.LSTM, 1)
    P = np.zeros((1, 3 * H))
    for name in ("peephole", "coupled"):
        for read, weights in ((from_torch, torch_weights), (from_keras, keras_weights)):
            with pytest.raises(ValueError, match=f"{name} must be False: .*, got True"):
                read(bptt.LSTM, weights(bptt.LSTM), **{name: True})
    with pytest.raises(ValueError, match="proj_size must be 0, that of the tensors, got 2"):
        from_torch(bptt.LSTM, torch_weights(bptt.LSTM), proj_size=2)
    for read, weights in ((from_keras, [keras_weights(bptt.LSTM)]), (from_onnx, [W, R, B])):
        with pytest.raises(ValueError, match="proj_size must be 0, the library's LSTM has no pro"):
            read(bptt.LSTM, *weights, proj_size=2)
    with pytest.raises(ValueError, match="peephole must be whether there is a P, got peephole=Tr"):
        from_onnx(bptt.LSTM, W, R, B, peephole=True)
    with pytest.raises(ValueError, match="peephole must be whether there is a P, got peephole=Fa"):
        from_onnx(bptt.LSTM, W, R, B, P, peephole=False)
    with pytest.raises(ValueError, match=r"P must have shape .* = \(1, 12\), got \(2, "):
        from_onnx(bptt.LSTM, W, R, B, np.zeros((2, 3 * H)))
    with pytest.raises(ValueError, match="P needs an LSTM, got GRU"):
        from_onnx(bptt.GRU, *onnx_weights(bptt.GRU, 1), P)
    with pytest.raises(ValueError, match=r"W must have 4\*hidden_size rows, .* got 3"):
        from_onnx(bptt.LSTM, W[:, :3], R[:, :3], None, coupled=True)


# ---- weights that would be misread ---------------------------------------------------------------


def test_layers_of_a_stack_that_are_missing():
    weights = torch_weights(bptt.LSTM) | torch_weights(bptt.LSTM, "_l2", H)
    with pytest.raises(KeyError, match="'weight_ih_l1' is missing in tensors, beside 'bias_hh_l0'"):
        from_torch(bptt.LSTM, weights)
    both = torch_weights(bptt.LSTM) | torch_weights(bptt.LSTM, "_l0_reverse")
    both |= torch_weights(bptt.LSTM, "_l1", 2 * H)
    with pytest.raises(KeyError, match="'weight_ih_l1_reverse' is missing"):
        from_torch(bptt.LSTM, both)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("bias_ih_0", "'bias_ih_0' is no name of such a module: is it 'bias_ih_l0'"),
        ("bias_ihl0", "is it 'bias_ih_l0'"),
        ("weight_hh_l0_rev", "'weight_hh_l0_rev' is no name of such a module"),
    ],
)
def test_misspelt_names(name, message):
    weights = torch_weights(bptt.GRU)
    weights[name] = weights.pop("bias_ih_l0") if "bias" in name else np.ones((3 * H, H))
    with pytest.raises(ValueError, match=message):
        from_torch(bptt.GRU, weights)


def test_one_bias_of_two():
    weights = torch_weights(bptt.GRU)
    del weights["bias_hh_l0"]
    with pytest.raises(KeyError, match="'bias_hh_l0' is missing in tensors, beside 'bias_ih_l0'"):
        from_torch(bptt.GRU, weights)


def test_prefixes_that_there_are():
    weights = {f"encoder.rnn.{name}": a for name, a in torch_weights(bptt.RNN).items()}
    with pytest.raises(KeyError, match=r"prefixes with recurrent weights: 'encoder.rnn.'"):
        from_torch(bptt.RNN, weights, "encoder.rnn")
    with pytest.raises(ValueError, match="weight_hr, a projection, needs an LSTM, got kind GRU"):
        from_torch(bptt.GRU, torch_weights(bptt.GRU) | {"weight_hr_l0": np.ones((2, H))})


def test_a_square_projection_is_no_projection():
    weights = torch_weights(bptt.LSTM) | {"weight_hr_l0": np.eye(H)}
    with pytest.raises(ValueError, match="proj_size must be < hidden_size = 4, got 4"):
        from_torch(bptt.LSTM, weights)


def test_two_keras_layers_are_not_one_of_two_directions():
    size = I
    one, two = ([rng.normal(size=s) for s in ((size, 20), (size, 20), (20,))] for _ in range(2))
    with pytest.raises(ValueError, match=r"got 6 arrays: of a Bidirectional layer they need bidir"):
        from_keras(bptt.LSTM, [*one, *two])
    narrow = [rng.normal(size=s) for s in ((size, 16), (4, 16), (16,))]
    with pytest.raises(ValueError, match=r"got \(5, 20\) and \(5, 16\): are they of two layers"):
        from_keras(bptt.LSTM, [*one, *narrow], bidirectional=True)
    with pytest.raises(ValueError, match=r"of each direction, got 3 arrays"):
        from_keras(bptt.LSTM, one, bidirectional=True)


@every_kind
@pytest.mark.parametrize("both", [False, True])
def test_keras_without_bias(kind, both):
    weights = keras_weights(kind)
    zero = [*weights[:2], 0 * weights[2]]
    options = {"reset_after": False} if kind is bptt.GRU else {}
    there = unroll(keras_step(kind, *zero), x)
    if both:
        back = unroll(keras_step(kind, *zero), x[:, ::-1])[:, ::-1]
        layer = from_keras(kind, [*weights[:2]] * 2, bidirectional=True, **options)
        close(layer, np.concatenate([there, back], axis=2))
    else:
        close(from_keras(kind, weights[:2], **options), there)


def test_reset_after_is_not_guessed():
    weights = keras_weights(bptt.GRU)
    with pytest.raises(ValueError, match="a GRU without bias needs reset_after: Keras' default is"):
        from_keras(bptt.GRU, weights[:2])
    with pytest.raises(ValueError, match=r"reset_after must be False, as the bias of shape"):
        from_keras(bptt.GRU, weights, reset_after=True)
    with pytest.raises(ValueError, match=r"reset_after must be True, as of all GRUs of PyTorch"):
        from_torch(bptt.GRU, torch_weights(bptt.GRU), reset_after=False)


def test_layouts_of_another_library_are_guessed():
    kernel, recurrent, bias = keras_weights(bptt.LSTM)
    with pytest.raises(ValueError, match="is it the transpose, as PyTorch has it"):
        from_keras(bptt.LSTM, [kernel.T, recurrent.T, bias])
    torch = torch_weights(bptt.LSTM)
    torch["weight_hh_l0"] = torch["weight_hh_l0"].T
    with pytest.raises(ValueError, match=r"got \(4, 16\): it is the transpose"):
        from_torch(bptt.LSTM, torch)
    with pytest.raises(ValueError, match=r"cudnn=True\?"):
        from_keras(bptt.LSTM, [kernel, recurrent, np.zeros(32)])
    with pytest.raises(ValueError, match="is it of a GRU"):
        from_keras(bptt.LSTM, [kernel, recurrent, np.zeros((2, 16))])


@pytest.mark.parametrize("dtype", [">f4", ">f8", "f2"])
def test_other_floats_are_converted(dtype):
    weights = {name: a.astype(dtype) for name, a in torch_weights(bptt.LSTM).items()}
    layer = from_torch(bptt.LSTM, weights)
    assert layer.dtype == {">f8": np.float64}.get(dtype, np.float32)
    np.testing.assert_array_equal(layer["weight_hh_l0"], weights["weight_hh_l0"].astype("f8"))


def test_tensors_of_torch_are_converted():
    torch = pytest.importorskip("torch")
    module = torch.nn.GRU(I, H, dtype=torch.bfloat16)
    layer = from_torch(bptt.GRU, dict(module.named_parameters()))  # which have gradients
    expected = module.weight_hh_l0.detach().float().numpy()
    np.testing.assert_array_equal(layer["weight_hh_l0"], expected)


# ---- attributes of an ONNX node ------------------------------------------------------------------


def test_onnx_attributes_are_mapped():
    W, R, B = onnx_weights(bptt.LSTM, 2)
    attributes = {
        "direction": b"bidirectional",
        "hidden_size": H,
        "layout": 1,
        "input_forget": 1,
        "activations": [b"HardSigmoid", b"Relu", b"Relu"] * 2,
        "activation_alpha": [1 / 6, 1 / 6],
        "activation_beta": [0.5, 0.5],
    }
    layer = from_onnx(bptt.LSTM, W, R, B, attributes=attributes)
    expected = {"activation": "relu", "gate_activation": "hard_sigmoid", "coupled": True}
    expected |= {"bidirectional": True, "time_major": False, "peephole": False}
    assert {name: layer.config[name] for name in expected} == expected
    gru = onnx_weights(bptt.GRU, 1)
    layer = from_onnx(bptt.GRU, *gru, attributes={"linear_before_reset": 1})
    assert (layer.reset_after, layer.time_major) == (True, True)
    assert not from_onnx(bptt.GRU, *gru, attributes={}).reset_after
    assert from_onnx(bptt.GRU, *gru, attributes={"direction": "reverse"}).reverse
    given = {"activations": ["hardSigmoid", "Affine"], "activation_alpha": [0.2, 1.0]}
    layer = from_onnx(bptt.GRU, *gru, attributes=given)
    assert layer.gate_activation == "hard_sigmoid_keras2"
    assert layer.activation == "identity"


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"clip": 3.0}, "clip=3.0 is not supported: no layer clips its gates"),
        ({"direction": "bidirectional"}, "does not fit W with 1 directions"),
        (
            {"direction": "both"},
            "direction must be one of 'forward', 'reverse', 'bidirectional', got 'both'",
        ),
        ({"hidden_size": 5}, "hidden_size must be 4, that of W, got 5"),
        ({"layout": 2}, "layout must be 0 or 1, got 2"),
        ({"activations": ["Sigmoid", "Tanh"]}, "activations must have 3 names for each direction"),
        (
            {"activations": ["Sigmoid", "Affine", "Affine"], "activation_alpha": [2.0, 2.0]},
            "the second and the third of activations must be the same, got Affine alpha=2 beta=0",
        ),
        ({"activations": ["Sigmoid", "Tanh", "Relu"]}, "the second and the third of activations"),
        ({"activations": ["Softsign", "Tanh", "Tanh"]}, "activation Softsign is not supported"),
        (
            {"activations": ["Sigmoid", "Elu", "Elu"]},
            "activation Elu alpha=1 is not supported here",
        ),
        (
            {"activations": ["Sigmoid", "Tanh", "Tanh"], "activation_alpha": [0.3]},
            "activation_alpha and activation_beta must be of",
        ),
        ({"activations": ["Sigmoid", "Affine", "Affine"]}, "activation Affine must have its param"),
        ({"linear_before_reset": 1}, "the LSTM has no attribute 'linear_before_reset'"),
    ],
)
def test_onnx_attributes_that_are_refused(attributes, message):
    W, R, B = onnx_weights(bptt.LSTM, 1)
    with pytest.raises(ValueError, match=message):
        from_onnx(bptt.LSTM, W, R, B, attributes=attributes)


def test_onnx_activations_that_differ_between_directions():
    weights = onnx_weights(bptt.GRU, 2)
    given = {"direction": "bidirectional", "activations": ["Sigmoid", "Tanh", "Sigmoid", "Relu"]}
    with pytest.raises(ValueError, match="activations must be the same in both directions"):
        from_onnx(bptt.GRU, *weights, attributes=given)
    with pytest.raises(ValueError, match="time_major must be True, that of the attributes, got Fa"):
        from_onnx(bptt.RNN, *onnx_weights(bptt.RNN, 1), attributes={}, time_major=False)
