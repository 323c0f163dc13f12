"""`bptt.jax` within the transformations of JAX, and against an LSTM and a GRU of jax.lax.scan."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest

import bptt

jax = pytest.importorskip("jax")
functions = pytest.importorskip("bptt.jax")
test_util = pytest.importorskip("jax.test_util")
jnp, host = jax.numpy, functions._primitives.host
jax.config.update("jax_enable_x64", True)  # float32 stays float32

close = partial(np.testing.assert_allclose, rtol=0, atol=1e-10)
X = np.random.default_rng(0).normal(size=(3, 6, 4))
MANY = np.random.default_rng(1).normal(size=(5, 3, 6, 4))  # what vmap maps


def assert_same(found, expected):
    jax.tree.map(close, found, expected)


@pytest.fixture(scope="module")
def params():
    return functions.params_of(bptt.LSTM(4, 5, num_layers=2, dtype="float64", seed=0))


def loss(params, x, state=None):
    y, (h, c) = functions.lstm(params, x, state)
    return (y**2).sum() + (h * c).sum()


# ---- against jax.lax.scan


def scan_lstm(params, x, state):
    def step(state, a):
        h, c = state
        i, f, g, o = jnp.split(a + h @ params["weight_hh_l0"].T, 4, axis=-1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return (h, c), h

    return scan(step, params, x, tuple(state))


def scan_gru(params, x, state):
    def step(h, a):
        b = h @ params["weight_hh_l0"].T
        (r, z, n), (r_h, z_h, n_h) = (jnp.split(part, 3, axis=-1) for part in (a, b))
        r, z = jax.nn.sigmoid(r + r_h), jax.nn.sigmoid(z + z_h)
        n = jnp.tanh(n + r * (n_h + params["bias_hn_l0"]))
        h = (1 - z) * n + z * h
        return h, h

    return scan(step, params, x, state)


def scan(step, params, x, state):
    a = x @ params["weight_ih_l0"].T + params["bias_l0"]
    last, y = jax.lax.scan(step, jax.tree.map(lambda part: part[0], state), a.swapaxes(0, 1))
    return y.swapaxes(0, 1), jax.tree.map(lambda part: part[None], last)


@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_values_and_gradients_are_those_of_a_scan(kind):
    layer = {
        "lstm": bptt.LSTM(4, 5, dtype="float64", seed=0),
        "gru": bptt.GRU(4, 5, reset_after=True, dtype="float64", seed=0),
    }[kind]
    params = functions.params_of(layer)
    h = np.random.default_rng(2).normal(size=(1, 3, 5))
    state = (h, -h) if kind == "lstm" else h
    found, expected = (
        jax.jit(jax.value_and_grad(partial(total, function), (0, 1, 2)))(params, X, state)
        for function in (getattr(functions, kind), {"lstm": scan_lstm, "gru": scan_gru}[kind])
    )
    assert_same(found, expected)


def total(function, params, x, state):
    """A loss of output and final state with other gradients everywhere."""
    parts = jax.tree.leaves(function(params, x, state))
    return sum((part * jnp.linspace(-1, 1, part.size).reshape(part.shape)).sum() for part in parts)


@pytest.mark.parametrize("state", [False, True])
def test_gradients_are_those_of_differences(params, state):
    start = (np.full((2, 3, 5), 0.3), np.full((2, 3, 5), -0.2)) if state else None
    test_util.check_grads(lambda p, x, s: functions.lstm(p, x, s), (params, X, start), 1, ["rev"])


# ---- vmap


def test_vmap_of_sequences_is_one_batch(params):
    run = partial(functions.lstm, params)
    expected = [run(x) for x in MANY]
    y, state = jax.jit(jax.vmap(run))(MANY)
    close(y, np.stack([y for y, _ in expected]))
    close(state.c, np.stack([state.c for _, state in expected]))
    assert "bptt_recurrence[" in str(jax.make_jaxpr(jax.vmap(run))(MANY))
    assert "f64[15,6,5]" in str(jax.make_jaxpr(jax.vmap(run))(MANY))  # 5 times 3 sequences


@pytest.mark.parametrize("axes", [(0, None, None), (1, 2, None), (None, None, 0), (2, 0, 0)])
def test_vmap_of_input_state_and_lengths(params, axes):
    state = np.random.default_rng(2).normal(size=(5, 2, 3, 5))
    lengths = np.random.default_rng(3).integers(0, 7, (5, 3))
    full = (MANY, state, lengths)
    given = [
        value[0] if axis is None else np.moveaxis(value, 0, axis)
        for value, axis in zip(full, axes, strict=True)
    ]

    def run(x, h, lengths, time_major=False):
        x = x.swapaxes(0, 1) if time_major else x
        return functions.lstm(params, x, (h, -h), lengths=lengths, time_major=time_major)

    y, last = jax.vmap(run, axes)(*given)
    swapped, _ = jax.vmap(partial(run, time_major=True), axes)(*given)
    for i in range(5):
        own = [v[0] if axis is None else v[i] for v, axis in zip(full, axes, strict=True)]
        expected, state = run(*own)
        close(y[i], expected)
        close(swapped[i], expected.swapaxes(0, 1))
        close(last.c[i], state.c)


def test_gradients_of_and_within_vmap(params):
    each = [jax.grad(loss, (0, 1))(params, x) for x in MANY]
    d_params = jax.tree.map(lambda *parts: np.stack(parts), *(p for p, _ in each))
    within = jax.jit(jax.vmap(jax.grad(loss, (0, 1)), (None, 0)))(params, MANY)
    assert_same(within[0], d_params)
    close(within[1], np.stack([x for _, x in each]))

    def mean(params):
        return jax.vmap(partial(loss, params))(MANY).sum()

    assert_same(jax.grad(mean)(params), jax.tree.map(lambda part: part.sum(0), d_params))
    program = str(jax.make_jaxpr(jax.grad(mean))(params))
    assert program.count("bptt_recurrence_backward[") == 1
    assert "scan" not in program  # one call of the kernels, not one for each


def test_vmap_of_parameters(params):
    both = jax.tree.map(lambda part: jnp.stack([part, part / 2]), params)
    half = jax.tree.map(lambda part: part / 2, params)
    found = jax.vmap(jax.value_and_grad(loss), (0, None))(both, X)
    for i, own in enumerate((params, half)):
        expected = jax.value_and_grad(loss)(own, X)
        assert_same(jax.tree.map(lambda part, i=i: part[i], found), expected)


def test_jacobian(params):
    def run(x):
        return functions.lstm(params, x)[1].h

    rows = jax.jacrev(run)(X)
    assert rows.shape == (2, 3, 5, 3, 6, 4)
    _, pullback = jax.vjp(run, X)
    close(rows[1, 2, 3], pullback(jnp.zeros((2, 3, 5)).at[1, 2, 3].set(1.0))[0])


# ---- others


def test_gradients_within_scan_and_checkpoint(params):
    def chunks(params, x):
        def step(state, part):
            y, state = functions.lstm(params, part, state)
            return state, (y**2).sum()

        start = bptt.LSTMState(jnp.zeros((2, 3, 5)), jnp.zeros((2, 3, 5)))
        (h, c), losses = jax.lax.scan(step, start, x.reshape(3, 3, 2, 4).swapaxes(0, 1))
        return losses.sum() + (h * c).sum()

    expected = jax.value_and_grad(loss)(params, X)
    assert_same(jax.jit(jax.value_and_grad(chunks))(params, X), expected)
    assert_same(jax.value_and_grad(jax.checkpoint(loss))(params, X), expected)


def test_only_the_gradients_that_are_wanted(params):
    def results(argument):
        program = jax.make_jaxpr(jax.grad(loss, argument))(params, X)
        (backward,) = (e for e in program.eqns if e.primitive is functions._primitives._backward)
        return len(backward.outvars)

    assert (results(0), results(1)) == (len(params), len(params) + 1)


def test_inference_keeps_nothing_and_backward_forgets(params):
    host._kept._found.clear()
    jax.jit(loss)(params, X).block_until_ready()
    loss(params, X)
    assert not host._kept._found
    jax.tree.map(np.asarray, jax.jit(jax.grad(loss))(params, X))
    assert not host._kept._found


def test_backward_without_what_forward_kept(params):
    """Of passes without a backward pass not all are kept, and a second one repeats forward."""
    passes = [jax.vjp(loss, params, x)[1] for x in np.concatenate([MANY] * 5)]
    assert len(host._kept._found) == host._Kept._most < len(passes)
    expected = jax.grad(loss, (0, 1))(params, MANY[0])
    for pullback in (passes[0], passes[-5], passes[-5]):
        assert_same(pullback(1.0), expected)
    host._kept._found.clear()


@pytest.mark.parametrize(
    "differentiate",
    [
        lambda f: jax.jvp(f, (X,), (X,)),
        lambda f: jax.jit(jax.jacfwd(f))(X),
        lambda f: jax.linearize(f, X)[1](X),
    ],
)
def test_forward_mode_is_refused_by_jax(params, differentiate):
    message = re.escape("can't apply forward-mode autodiff (jvp) to a custom_vjp function")
    with pytest.raises(TypeError, match=message):
        differentiate(partial(loss, params))


@pytest.mark.parametrize(
    "transformation", [jax.hessian, lambda f: jax.grad(lambda x: jax.grad(f)(x).sum())]
)
def test_gradients_of_gradients_are_refused(params, transformation):
    with pytest.raises(NotImplementedError, match=r"bptt\.jax has no gradients of gradients"):
        transformation(partial(loss, params))(X)


def test_calls_from_several_threads(params):
    """Large arrays, which JAX hands to the callbacks in another way than small ones."""
    big = functions.params_of(bptt.LSTM(64, 96, seed=0))
    x = np.random.default_rng(0).normal(size=(16, 40, 64)).astype("f4")
    step = jax.jit(jax.grad(lambda params, x: functions.lstm(params, x)[0].sum()))
    expected = step(big, x)
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(lambda _: step(big, x), range(24)):
            jax.tree.map(np.testing.assert_array_equal, found, expected)
