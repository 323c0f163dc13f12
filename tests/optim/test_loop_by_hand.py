"""Training loops by hand: first guesses of PyTorch users work, or the error names the cure."""

from __future__ import annotations

import math

import numpy as np
import pytest

import bptt
from bptt.nn import Decoder
from bptt.optim.optimizers import OPTIMIZERS

KINDS = list(OPTIMIZERS.values())


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def make_model(dtype="float64"):
    made = {"dtype": dtype, "seed": 0}
    return bptt.Sequential(bptt.GRU(3, 4, **made), bptt.Linear(4, 2, **made))


def make_decoder():
    made = {"dtype": "float64", "seed": 0}
    return Decoder(
        embedding=bptt.Embedding(5, 3, **made),
        recurrent=bptt.LSTM(3, 4, **made),
        output=bptt.Linear(4, 5, **made),
    )


def all_parameters(model):
    modules = model.modules.values() if isinstance(model, Decoder) else model.modules
    return [module._flat.copy() for module in modules]


def loss_of(model, x, targets):
    run = model.forward(x)
    return run, bptt.softmax_cross_entropy(run.output, targets, reduction="mean")


def same(actual, expected):
    return all(np.array_equal(a, b) for a, b in zip(actual, expected, strict=True))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("make", [make_model, make_decoder])
def test_optimizer_takes_a_network_and_its_gradients(kind, make, rng):
    """The same bits as with lists of modules and of gradients."""
    whole, by_list = make(), make()
    tokens = make is make_decoder
    x = rng.integers(5, size=(2, 6)) if tokens else rng.standard_normal((2, 6, 3))
    targets = rng.integers(2, size=(2, 6))
    one = kind(whole)
    two = kind(list(by_list.modules.values()) if tokens else list(by_list.modules))
    for _ in range(3):
        run, loss = loss_of(whole, x, targets)
        gradients = run.backward(loss)
        norm = bptt.clip_by_global_norm(gradients, 0.05)
        bptt.clip_by_value(gradients, 0.01)
        one.step(gradients)
        run, loss = loss_of(by_list, x, targets)
        listed = run.backward(loss.gradient).modules
        assert norm == bptt.clip_by_global_norm(listed, 0.05)
        bptt.clip_by_value(listed, 0.01)
        two.step(listed)
    assert same(all_parameters(whole), all_parameters(by_list))
    assert not same(all_parameters(whole), all_parameters(make()))


def test_clipping_a_network_bounds_the_norm_of_all_its_gradients(rng):
    run, loss = loss_of(make_model(), rng.standard_normal((2, 6, 3)), np.zeros((2, 6), int))
    gradients = run.backward(loss)
    squares = sum(float(np.square(g._flat).sum()) for g in gradients.modules)
    assert bptt.clip_by_global_norm(gradients, 0.01) == pytest.approx(math.sqrt(squares))
    assert bptt.clip_by_global_norm(gradients, math.inf) == pytest.approx(0.01)


def test_several_networks_and_modules_have_one_optimizer(rng):
    encoder, head = make_model(), bptt.Linear(2, 2, dtype="float64", seed=1)
    optimizer = bptt.SGD([encoder, head], 0.1)
    before = [*all_parameters(encoder), head._flat.copy()]
    run = encoder.forward(rng.standard_normal((2, 6, 3)))
    top = head.forward(run.output)
    loss = bptt.mean_squared_error(top.output, np.ones((2, 6, 2)))
    d_head = top.backward(loss)
    optimizer.step([run.backward(d_head.input), d_head])
    assert not any(map(np.array_equal, before, [*all_parameters(encoder), head._flat]))
    with pytest.raises(ValueError, match="modules must be distinct"):
        bptt.SGD([encoder, encoder.modules[0]])


@pytest.mark.parametrize(
    "module",
    [
        bptt.Linear(3, 2, seed=0),
        bptt.Dropout(0.5, seed=0),
        bptt.LSTM(3, 2, seed=0),
        bptt.Sequential(bptt.GRU(3, 2, seed=0)),
    ],
    ids=lambda module: type(module).__name__,
)
def test_backward_takes_a_loss(module, rng):
    x = rng.standard_normal((2, 5, 3), np.float32)
    run = module.forward(x)
    loss = bptt.mean_squared_error(run.output, np.zeros_like(run.output))
    retain = {} if isinstance(module, (bptt.Linear, bptt.Dropout)) else {"retain": True}
    found, expected = run.backward(loss, **retain), run.backward(loss.gradient, **retain)
    np.testing.assert_array_equal(found.input, expected.input)


def test_backward_of_embedding_and_attention_takes_a_loss(rng):
    ids = bptt.Embedding(4, 2, seed=0).forward(rng.integers(4, size=(2, 5)))
    loss = bptt.mean_squared_error(ids.output, np.zeros_like(ids.output))
    np.testing.assert_array_equal(
        ids.backward(loss)["weight"], ids.backward(loss.gradient)["weight"]
    )
    x = rng.standard_normal((2, 5, 3), np.float32)
    read = bptt.Attention(3, 3).forward(x, x)
    loss = bptt.mean_squared_error(read.output, np.zeros_like(x))
    for a, b in zip(read.backward(loss).input, read.backward(loss.gradient).input, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_loss_of_another_output_is_refused(rng):
    run, _ = loss_of(make_model(), rng.standard_normal((2, 6, 3)), np.zeros((2, 6), int))
    other = bptt.mean_squared_error(np.ones((2, 5, 2)), np.zeros((2, 5, 2)))
    with pytest.raises(ValueError, match=r"d_output must have the shape of the output, \(2, 6, 2"):
        run.backward(other)


# ---- learning rate -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_learning_rate_is_the_second_argument_and_may_be_set(kind, rng):
    model = make_model()
    optimizer = kind(model, 0.25)
    assert optimizer.learning_rate == 0.25
    optimizer.learning_rate = 0.0
    run, loss = loss_of(model, rng.standard_normal((2, 6, 3)), np.zeros((2, 6), int))
    before = all_parameters(model)
    optimizer.step(run.backward(loss))
    assert same(all_parameters(model), before)
    with pytest.raises(TypeError, match="positional argument"):
        kind(model, 0.25, 0.9)


@pytest.mark.parametrize("kind", KINDS)
def test_unknown_arguments_name_the_cure(kind):
    model = make_model()
    with pytest.raises(TypeError) as raised:
        kind(model, lr=0.1)
    assert str(raised.value) == "unknown argument lr: it is called learning_rate"
    with pytest.raises(TypeError, match=f"^unknown argument colour: {kind.__name__} has modules, "):
        kind(model, colour=1)


@pytest.mark.parametrize(
    ("kind", "argument", "name"),
    [
        (bptt.Adam, "betas", "beta1 and beta2"),
        (bptt.Adam, "beta_1", "beta1"),
        (bptt.AdamW, "eps", "epsilon"),
        (bptt.RMSProp, "alpha", "decay"),
        (bptt.RMSProp, "rho", "decay"),
        (bptt.SGD, "params", "modules"),
    ],
)
def test_names_of_other_libraries_are_translated(kind, argument, name):
    with pytest.raises(TypeError) as raised:
        kind(make_model(), **{argument: 1})
    assert str(raised.value) == f"unknown argument {argument}: it is called {name}"


@pytest.mark.parametrize("kind", KINDS)
def test_unknown_attributes_are_refused(kind):
    optimizer = kind(make_model())
    with pytest.raises(AttributeError) as raised:
        optimizer.lr = 1
    name = kind.__name__
    assert str(raised.value) == f"unknown attribute lr of {name}: it is called learning_rate"
    with pytest.raises(AttributeError) as raised:
        optimizer.learning_rat = 1
    cure = "the only one that may be set is learning_rate"
    assert str(raised.value) == f"unknown attribute learning_rat of {name}: {cure}"
    with pytest.raises(ValueError, match=r"learning_rate must be in \[0, inf\), got -1"):
        optimizer.learning_rate = -1.0


def test_parameters_in_place_of_the_model():
    with pytest.raises(TypeError, match=r"got mappingproxy: pass the model itself$"):
        bptt.Adam(bptt.LSTM(3, 4).parameters)


def test_repr_shows_the_arguments():
    optimizer = bptt.AdamW(make_model(), 0.5, beta1=0.25)
    arguments = "learning_rate=0.5, beta1=0.25, beta2=0.999, epsilon=1e-08, weight_decay=0.01"
    assert repr(optimizer) == f"AdamW({arguments})"
    shown = repr(bptt.SGD(make_model(), 0.5))
    assert shown == "SGD(learning_rate=0.5, momentum=0.0, nesterov=False, weight_decay=0.0)"


# ---- loss ----------------------------------------------------------------------------------------


def test_loss_is_a_number():
    loss = bptt.mean_squared_error(np.full((2, 1), 1.5), np.zeros((2, 1)))
    assert float(loss) == loss.value == 4.5
    assert f"{loss:.3f}" == "4.500"
    assert f"{loss}" == str(loss) == "4.5"
    value, gradient = loss
    assert value == 4.5
    assert gradient.shape == (2, 1)
