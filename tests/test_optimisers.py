"""Optimisers and clipping against the formulas of the reference, and against PyTorch."""

from __future__ import annotations

import copy

import numpy as np
import pytest

import bptt
from bptt import reference

DTYPES = [np.float32, np.float64]


def rounding(dtype):
    return {np.float32: 1e-5, np.float64: 1e-12}[dtype]


def make_modules(dtype=np.float64):
    return [
        bptt.LSTM(3, 17, num_layers=2, dtype=dtype, seed=0),
        bptt.Linear(17, 5, dtype=dtype, seed=1),
    ]


def make_gradients(modules, seed=0):
    """Random gradients of every module, as `backward` would return them."""
    rng = np.random.default_rng(seed)
    return [
        bptt.Gradients(m._layout, rng.standard_normal(m._flat.size).astype(m.dtype), None)
        for m in modules
    ]


def nested(arrays):
    return {
        (i, name): array.copy() for i, module in enumerate(arrays) for name, array in module.items()
    }


def parameters_of(modules):
    return nested(module.parameters for module in modules)


OPTIMISERS = [
    pytest.param(bptt.SGD, {}, id="sgd"),
    pytest.param(bptt.SGD, {"learning_rate": 0.3, "momentum": 0.9}, id="momentum"),
    pytest.param(bptt.Adam, {}, id="adam"),
    pytest.param(
        bptt.Adam,
        {"learning_rate": 0.02, "beta1": 0.8, "beta2": 0.9, "epsilon": 1e-3},
        id="adam-arguments",
    ),
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("kind", "arguments"), OPTIMISERS)
def test_formulas(kind, arguments, dtype):
    modules = make_modules(dtype)
    expected = parameters_of(modules)
    zeros = {key: np.zeros(value.shape) for key, value in expected.items()}
    first, second = dict(zeros), dict(zeros)
    optimiser = kind(modules, **arguments)
    for t in range(1, 6):
        gradients = make_gradients(modules, seed=t)
        optimiser.step(gradients)
        for key, g in nested(gradients).items():
            p, m, v = expected[key].astype(np.float64), first[key], second[key]
            if kind is bptt.SGD:
                expected[key], first[key] = reference.sgd_step(p, g, m, **arguments)
            else:
                updated = reference.adam_step(p, g, m, v, t, **arguments)
                expected[key], first[key], second[key] = updated
    for key, p in parameters_of(modules).items():
        assert p.dtype == dtype
        np.testing.assert_allclose(p, expected[key], rtol=rounding(dtype), atol=rounding(dtype))


@pytest.mark.parametrize(("kind", "arguments"), OPTIMISERS)
def test_same_as_pytorch(kind, arguments):
    torch = pytest.importorskip("torch")
    modules = make_modules()
    weights = {key: torch.tensor(value) for key, value in parameters_of(modules).items()}
    rate = {"lr": arguments.get("learning_rate", 0.01 if kind is bptt.SGD else 0.001)}
    if kind is bptt.SGD:
        oracle = torch.optim.SGD(weights.values(), momentum=arguments.get("momentum", 0.0), **rate)
    else:
        betas = arguments.get("beta1", 0.9), arguments.get("beta2", 0.999)
        epsilon = arguments.get("epsilon", 1e-8)
        oracle = torch.optim.Adam(weights.values(), betas=betas, eps=epsilon, **rate)
    optimiser = kind(modules, **arguments)
    for t in range(5):
        gradients = make_gradients(modules, seed=t)
        for key, g in nested(gradients).items():
            weights[key].grad = torch.tensor(g)
        oracle.step()
        optimiser.step(gradients)
    for key, p in parameters_of(modules).items():
        np.testing.assert_allclose(p, weights[key].numpy(), rtol=1e-12, atol=1e-14)


def test_one_module_alone():
    module = make_modules()[0]
    (gradients,) = make_gradients([module])
    before = module._flat.copy()
    optimiser = bptt.SGD(module)
    optimiser.step(gradients)
    np.testing.assert_allclose(module._flat, before - 0.01 * gradients._flat, rtol=1e-12)
    optimiser.step([gradients])
    np.testing.assert_allclose(module._flat, before - 0.02 * gradients._flat, rtol=1e-12)


def test_step_leaves_the_gradients():
    modules = make_modules()
    gradients = make_gradients(modules)
    before = nested(gradients)
    for optimiser in (bptt.SGD(modules, momentum=0.5), bptt.Adam(modules)):
        optimiser.step(gradients)
    for key, g in nested(gradients).items():
        np.testing.assert_array_equal(g, before[key])


def test_learning_rate_may_change():
    modules = make_modules()
    gradients = make_gradients(modules)
    optimiser = bptt.SGD(modules)
    optimiser.learning_rate = 0
    before = parameters_of(modules)
    optimiser.step(gradients)
    for key, p in parameters_of(modules).items():
        np.testing.assert_array_equal(p, before[key])
    with pytest.raises(ValueError, match=r"learning_rate must be in \[0, inf\), got nan"):
        optimiser.learning_rate = np.nan
    assert optimiser.learning_rate == 0


def test_gradients_of_a_copy_will_do():
    module = make_modules()[0]
    gradients = make_gradients([copy.deepcopy(module)])
    bptt.Adam(module).step(gradients)


@pytest.mark.parametrize("kind", [bptt.SGD, bptt.Adam])
def test_bad_gradients_change_nothing(kind):
    modules = make_modules()
    lstm, linear = make_gradients(modules)
    single = make_gradients(make_modules(np.float32))
    optimiser = kind(modules)
    before = parameters_of(modules)
    for gradients, error, message in [
        (lstm, ValueError, "gradients must be one for each of 2 modules, got 1"),
        ([lstm, linear, single[0]], ValueError, "gradients must be one for each of 2 modules, got"),
        ([linear, lstm], ValueError, "gradients for LSTM(input_size=3, hidden_size=17, num_layers"),
        ([lstm, single[1]], ValueError, "gradients for Linear(in_features=17, out_features=5, dt"),
        ([], ValueError, "gradients must not be empty"),
        ([lstm, lstm], ValueError, "gradients must not hold the same one twice"),
        (None, TypeError, "gradients must be Gradients or a list or tuple of them, got NoneType"),
        ([lstm, dict(linear)], TypeError, "gradients must be Gradients or a list or tuple of the"),
        (modules, TypeError, "gradients must be Gradients or a list or tuple of them, got list o"),
    ]:
        with pytest.raises(error) as raised:
            optimiser.step(gradients)
        assert str(raised.value).startswith(message)
    for key, p in parameters_of(modules).items():
        np.testing.assert_array_equal(p, before[key])


@pytest.mark.parametrize(
    ("kind", "arguments", "error", "message"),
    [
        (bptt.SGD, {"learning_rate": -1}, ValueError, "learning_rate must be in [0, inf), got -1"),
        (bptt.SGD, {"learning_rate": np.inf}, ValueError, "learning_rate must be in [0, inf), got"),
        (bptt.Adam, {"learning_rate": "1"}, TypeError, "learning_rate must be a real number, got "),
        (bptt.SGD, {"momentum": 1}, ValueError, "momentum must be in [0, 1), got 1"),
        (bptt.SGD, {"momentum": True}, TypeError, "momentum must be a real number, got bool"),
        (bptt.Adam, {"beta1": -0.1}, ValueError, "beta1 must be in [0, 1), got -0.1"),
        (bptt.Adam, {"beta2": 1.0}, ValueError, "beta2 must be in [0, 1), got 1"),
        (bptt.Adam, {"epsilon": 0}, ValueError, "epsilon must be > 0, got 0"),
        (bptt.SGD, {"modules": []}, ValueError, "modules must not be empty"),
        (bptt.SGD, {"modules": None}, TypeError, "modules must be a Module or a list or tuple of"),
        (
            bptt.SGD,
            {"modules": [3]},
            TypeError,
            "modules must be a Module or a list or tuple of th",
        ),
    ],
)
def test_constructor_errors(kind, arguments, error, message):
    with pytest.raises(error) as raised:
        kind(**{"modules": make_modules(), **arguments})
    assert str(raised.value).startswith(message)


def test_a_module_comes_once():
    module = make_modules()[0]
    with pytest.raises(ValueError, match="modules must not hold the same one twice"):
        bptt.SGD([module, module])


# ---- clipping ------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("limit", [0.5, 100, np.inf])
def test_clip_by_value(dtype, limit):
    gradients = make_gradients(make_modules(dtype))
    gradients[0]["bias_l0"][:3] = np.nan, np.inf, -np.inf
    expected = reference.clip_by_value(nested(gradients), limit)
    assert bptt.clip_by_value(gradients, limit) is None
    for key, g in nested(gradients).items():
        np.testing.assert_array_equal(g, expected[key].astype(dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("max_norm", [0.5, 1e6, np.inf])
def test_clip_by_global_norm(dtype, max_norm):
    gradients = make_gradients(make_modules(dtype))
    expected, before = reference.clip_by_global_norm(nested(gradients), max_norm)
    norm = bptt.clip_by_global_norm(gradients, max_norm)
    assert isinstance(norm, float)
    assert norm == pytest.approx(before, rel=rounding(dtype))
    for key, g in nested(gradients).items():
        np.testing.assert_allclose(g, expected[key], rtol=rounding(dtype))
    after = bptt.clip_by_global_norm(gradients, np.inf)
    assert after == pytest.approx(min(norm, max_norm), rel=rounding(dtype))


def test_clip_one_alone():
    (gradients,) = make_gradients(make_modules()[:1])
    bptt.clip_by_global_norm(gradients, 1)
    assert np.linalg.norm(gradients._flat) == pytest.approx(1)
    bptt.clip_by_value(gradients, 1e-3)
    assert np.abs(gradients._flat).max() == 1e-3


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_norm_that_is_no_number_changes_nothing(value):
    gradients = make_gradients(make_modules())
    gradients[1]["bias"][2] = value
    before = nested(gradients)
    np.testing.assert_equal(bptt.clip_by_global_norm(gradients, 1), value)
    for key, g in nested(gradients).items():
        np.testing.assert_array_equal(g, before[key])


def test_norm_of_float32_does_not_overflow():
    gradients = make_gradients(make_modules(np.float32))
    for gradient in gradients:
        gradient._flat[...] = 1e30
    count = sum(gradient._flat.size for gradient in gradients)
    assert bptt.clip_by_global_norm(gradients, 1) == pytest.approx(1e30 * np.sqrt(count))
    assert bptt.clip_by_global_norm(gradients, 1) == pytest.approx(1)


@pytest.mark.parametrize("clip", [bptt.clip_by_value, bptt.clip_by_global_norm])
def test_clipping_errors(clip):
    gradients = make_gradients(make_modules())
    before = nested(gradients)
    for limit, error in [(0, ValueError), (-1, ValueError), (np.nan, ValueError), ("1", TypeError)]:
        with pytest.raises(error, match=r"(limit|max_norm) must be"):
            clip(gradients, limit)
    for given in (None, [], [gradients[0], 3], dict(gradients[0]), [gradients[0], gradients[0]]):
        with pytest.raises((TypeError, ValueError), match="gradients must"):
            clip(given, 1)
    for key, g in nested(gradients).items():
        np.testing.assert_array_equal(g, before[key])
