"""Optimizers and gradient clipping against the reference and PyTorch."""

from __future__ import annotations

import copy
import inspect

import numpy as np
import pytest

import bptt
from bptt import reference
from bptt.optim.optimizers import OPTIMIZERS
from wrong_arguments import of_signature

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


OTHER_THAN_DEFAULT = {
    "learning_rate": 0.02,
    "momentum": 0.7,
    "nesterov": True,
    "decay": 0.8,
    "beta1": 0.8,
    "beta2": 0.9,
    "epsilon": 1e-3,
    "weight_decay": 0.3,
}
CASES = [
    *(pytest.param(kind, {}, id=name) for name, kind in OPTIMIZERS.items()),
    *(
        pytest.param(kind, of_signature(kind, OTHER_THAN_DEFAULT), id=f"{name}-arguments")
        for name, kind in OPTIMIZERS.items()
    ),
    pytest.param(bptt.SGD, {"learning_rate": 0.3, "momentum": 0.9}, id="momentum"),
    pytest.param(bptt.SGD, {"weight_decay": 0.1}, id="sgd-decay"),
    pytest.param(bptt.SGD, {"momentum": 0.8, "nesterov": True, "weight_decay": 0.1}, id="nesterov"),
    pytest.param(bptt.AdamW, {"learning_rate": 0.02, "weight_decay": 0.3}, id="adamw-decay"),
]
every_optimizer = pytest.mark.parametrize(("kind", "arguments"), CASES)


def reference_of(kind):
    """The reference's step and its arguments: p, g, the state, and t if it depends on it."""
    step = getattr(reference, f"{kind.__name__.lower()}_step")
    parameters = inspect.signature(step).parameters.values()
    return step, [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]


@every_optimizer
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.usefixtures("isa")
def test_steps_match_the_reference(kind, arguments, dtype):
    modules = make_modules(dtype)
    expected = parameters_of(modules)
    step, (_, _, *names) = reference_of(kind)
    counts = "t" in names
    states = {
        key: [np.zeros(value.shape)] * (len(names) - counts) for key, value in expected.items()
    }
    optimizer = kind(modules, **arguments)
    for t in range(1, 6):
        gradients = make_gradients(modules, seed=t)
        optimizer.step(gradients)
        for key, g in nested(gradients).items():
            p = expected[key].astype(np.float64)
            expected[key], *states[key] = step(p, g, *states[key], *[t] * counts, **arguments)
    for key, p in parameters_of(modules).items():
        assert p.dtype == dtype
        np.testing.assert_allclose(p, expected[key], rtol=rounding(dtype), atol=rounding(dtype))


def torch_optimizer(torch, kind, parameters, arguments):
    names = {"learning_rate": "lr", "epsilon": "eps", "decay": "alpha"}
    options = {names.get(name, name): value for name, value in arguments.items()}
    if issubclass(kind, bptt.Adam):
        options["betas"] = options.pop("beta1", 0.9), options.pop("beta2", 0.999)
    options.setdefault("lr", 0.001 if issubclass(kind, bptt.Adam) else 0.01)
    return getattr(torch.optim, kind.__name__.replace("Prop", "prop"))(parameters, **options)


@every_optimizer
def test_steps_match_pytorch(kind, arguments):
    torch = pytest.importorskip("torch")
    if kind not in (bptt.SGD, bptt.RMSProp, bptt.Adam, bptt.AdamW):
        pytest.skip("PyTorch has no such optimizer")
    modules = make_modules()
    weights = {key: torch.tensor(value) for key, value in parameters_of(modules).items()}
    oracle = torch_optimizer(torch, kind, weights.values(), arguments)
    optimizer = kind(modules, **arguments)
    for t in range(5):
        gradients = make_gradients(modules, seed=t)
        for key, g in nested(gradients).items():
            weights[key].grad = torch.tensor(g)
        oracle.step()
        optimizer.step(gradients)
    for key, p in parameters_of(modules).items():
        np.testing.assert_allclose(p, weights[key].numpy(), rtol=1e-12, atol=1e-14)


# ---- state ---------------------------------------------------------------------------------------


@every_optimizer
@pytest.mark.parametrize("dtype", DTYPES)
def test_restored_optimizer_continues_bit_by_bit(kind, arguments, dtype):
    modules = make_modules(dtype)
    optimizer = kind(modules, **arguments)
    for t in range(3):
        optimizer.step(make_gradients(modules, seed=t))
    optimizer.learning_rate = 0.123
    others = [copy.deepcopy(module) for module in modules]
    other = kind(others, **arguments)
    other.step(make_gradients(others, seed=9))  # another state before
    for module, original in zip(others, modules, strict=True):
        for name in module:
            module[name] = original[name]
    other.restore(optimizer.state())
    for t in range(3, 6):
        optimizer.step(make_gradients(modules, seed=t))
        other.step(make_gradients(others, seed=t))
    for module, original in zip(others, modules, strict=True):
        np.testing.assert_array_equal(module._flat, original._flat)
    before, after = optimizer.state(), other.state()
    assert list(before) == list(after)
    for name, array in before.items():
        np.testing.assert_array_equal(after[name], array)
    assert other.learning_rate == 0.123


@every_optimizer
def test_names_shapes_and_copies_of_the_state(kind, arguments):
    modules = make_modules(np.float32)
    optimizer = kind(modules, **arguments)
    start = optimizer.state()
    optimizer.step(make_gradients(modules))
    state = optimizer.state()
    momentum = ["velocity"] if arguments.get("momentum") else []
    slots = {
        bptt.SGD: momentum,
        bptt.RMSProp: ["mean_square", *momentum],
        bptt.Adam: ["first_moment", "second_moment"],
        bptt.AdamW: ["first_moment", "second_moment"],
    }.get(kind)
    if slots is None:  # as in the reference
        slots = list(dict.fromkeys(name.partition("/")[0] for name in start if "/" in name))
        assert len(slots) == len(set(reference_of(kind)[1]) - {"p", "g", "t"})
    expected = {"updates": ((1,), np.int64), "learning_rate": ((1,), np.float64)}
    expected |= {
        f"{slot}/{i}": (modules[i]._flat.shape, np.float32) for slot in slots for i in (0, 1)
    }
    assert {name: (a.shape, a.dtype.type) for name, a in state.items()} == expected
    assert (start["updates"], state["updates"]) == (0, 1)
    for slot in slots:
        assert not start[f"{slot}/0"].any()
        assert state[f"{slot}/0"].any()
        state[f"{slot}/0"][...] = np.nan
    state["updates"][0] = 99
    assert optimizer.state()["updates"] == 1
    assert all(np.isfinite(array).all() for array in optimizer.state().values())


def test_state_through_a_file(tmp_path):
    numpy = pytest.importorskip("safetensors.numpy")
    module = make_modules()[0]
    optimizer = bptt.Adam(module)
    optimizer.step(make_gradients([module]))
    numpy.save_file(optimizer.state(), tmp_path / "state.safetensors")
    other = bptt.Adam(make_modules()[0])
    other.restore(numpy.load_file(tmp_path / "state.safetensors"))
    for name, array in optimizer.state().items():
        np.testing.assert_array_equal(other.state()[name], array)


def test_bad_state_changes_nothing():
    modules = make_modules()
    optimizer = bptt.Adam(modules)
    optimizer.step(make_gradients(modules))
    right = optimizer.state()
    names = "updates, learning_rate, first_moment/0, first_moment/1, second_moment/0"
    size = modules[1]._flat.size
    last = "state['second_moment/1']"
    zeros = np.zeros(size)
    for wrong, error, message in [
        (None, TypeError, "state must be a mapping of arrays, got NoneType"),
        ({}, ValueError, f"state must hold {names}, second_moment/1, got "),
        ({**right, "velocity/0": zeros}, ValueError, f"state must hold {names}, second_moment/1"),
        (bptt.SGD(modules).state(), ValueError, f"state must hold {names}, second_moment/1, got u"),
        (
            {**right, "second_moment/1": zeros[1:]},
            ValueError,
            f"{last} must have shape (size,) = ({size},), got ({size - 1},)",
        ),
        (
            {**right, "second_moment/1": zeros.astype(np.float32)},
            TypeError,
            f"{last} must have dtype float64, got float32",
        ),
        (
            {**right, "second_moment/1": zeros.tolist()},
            TypeError,
            f"{last} must be a NumPy array, got list",
        ),
        (
            {**right, "updates": np.array([-1])},
            ValueError,
            "state['updates'] must be an integer >= 0, got -1",
        ),
        (
            {**right, "updates": np.array([1.0])},
            TypeError,
            "state['updates'] must have dtype int64, got float64",
        ),
        (
            {**right, "learning_rate": np.array([np.nan])},
            ValueError,
            "learning_rate must be in [0, inf), got nan",
        ),
    ]:
        with pytest.raises(error) as raised:
            optimizer.restore(wrong)
        assert str(raised.value).startswith(message)
        for name, array in optimizer.state().items():
            np.testing.assert_array_equal(array, right[name])


# ---- modules and gradients -----------------------------------------------------------------------


class Nothing(bptt.nn.module.Module):
    """A module without parameters."""

    def __init__(self):
        super().__init__({"dtype": np.dtype(np.float64), "seed": None})

    def _shapes(self):
        return {}

    def _initialize(self, parameters):
        pass


@every_optimizer
def test_modules_without_parameters(kind, arguments):
    alone, beside = [make_modules()[1]], [Nothing(), make_modules()[1], Nothing()]
    for modules in (alone, beside):
        optimizer = kind(modules, **arguments)
        for t in range(2):
            seeded = make_gradients([m for m in modules if m._flat.size], seed=t)
            gradients = [seeded[0] if m._flat.size else make_gradients([m])[0] for m in modules]
            bptt.clip_by_value(gradients, 0.5)
            bptt.clip_by_global_norm(gradients, 1.0)
            optimizer.step(gradients)
        optimizer.restore(optimizer.state())
    np.testing.assert_array_equal(alone[0]._flat, beside[1]._flat)
    only = Nothing()
    (gradients,) = make_gradients([only])
    assert bptt.clip_by_global_norm(gradients, 1.0) == 0
    kind(only, **arguments).step(gradients)


def test_single_module():
    module = make_modules()[0]
    (gradients,) = make_gradients([module])
    before = module._flat.copy()
    optimizer = bptt.SGD(module)
    optimizer.step(gradients)
    np.testing.assert_allclose(module._flat, before - 0.01 * gradients._flat, rtol=1e-12)
    optimizer.step([gradients])
    np.testing.assert_allclose(module._flat, before - 0.02 * gradients._flat, rtol=1e-12)


def test_step_does_not_change_the_gradients():
    modules = make_modules()
    gradients = make_gradients(modules)
    before = nested(gradients)
    for parameter in CASES:
        kind, arguments = parameter.values
        kind(modules, **arguments).step(gradients)
    for key, g in nested(gradients).items():
        np.testing.assert_array_equal(g, before[key])


def test_learning_rate_may_change():
    modules = make_modules()
    gradients = make_gradients(modules)
    optimizer = bptt.SGD(modules)
    optimizer.learning_rate = 0
    before = parameters_of(modules)
    optimizer.step(gradients)
    for key, p in parameters_of(modules).items():
        np.testing.assert_array_equal(p, before[key])
    with pytest.raises(ValueError, match=r"learning_rate must be in \[0, inf\), got nan"):
        optimizer.learning_rate = np.nan
    assert optimizer.learning_rate == 0


def test_gradients_of_a_copy_are_accepted():
    module = make_modules()[0]
    gradients = make_gradients([copy.deepcopy(module)])
    bptt.Adam(module).step(gradients)


@pytest.mark.parametrize("kind", [bptt.SGD, bptt.Adam])
def test_bad_gradients_change_nothing(kind):
    modules = make_modules()
    lstm, linear = make_gradients(modules)
    single = make_gradients(make_modules(np.float32))
    optimizer = kind(modules)
    before = parameters_of(modules)
    for gradients, error, message in [
        (lstm, ValueError, "gradients must be one for each of 2 modules, got 1"),
        ([lstm, linear, single[0]], ValueError, "gradients must be one for each of 2 modules, got"),
        ([linear, lstm], ValueError, "gradients for LSTM(input_size=3, hidden_size=17, num_layers"),
        ([lstm, single[1]], ValueError, "gradients for Linear(in_features=17, out_features=5, dt"),
        ([], ValueError, "gradients must not be empty"),
        ([lstm, lstm], ValueError, "gradients must be distinct"),
        (None, TypeError, "gradients must be what backward returned, "),
        ([lstm, dict(linear)], TypeError, "gradients must be what backward returned, "),
        (modules, TypeError, "gradients must be what backward returned, "),
    ]:
        with pytest.raises(error) as raised:
            optimizer.step(gradients)
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
        (bptt.SGD, {"nesterov": True}, ValueError, "momentum must be > 0 for nesterov=True, got 0"),
        (bptt.Adam, {"beta1": -0.1}, ValueError, "beta1 must be in [0, 1), got -0.1"),
        (bptt.Adam, {"beta2": 1.0}, ValueError, "beta2 must be in [0, 1), got 1"),
        (bptt.Adam, {"epsilon": 0}, ValueError, "epsilon must be > 0, got 0"),
        (bptt.SGD, {"modules": []}, ValueError, "modules must not be empty"),
        (bptt.SGD, {"modules": None}, TypeError, "modules must be a Module, a Sequential,"),
        (
            bptt.SGD,
            {"modules": [3]},
            TypeError,
            "modules must be a Module, a Sequential, or a list or ",
        ),
    ],
)
def test_constructor_errors(kind, arguments, error, message):
    with pytest.raises(error) as raised:
        kind(**{"modules": make_modules(), **arguments})
    assert str(raised.value).startswith(message)


def test_modules_must_be_distinct():
    module = make_modules()[0]
    with pytest.raises(ValueError, match="modules must be distinct"):
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


def test_clipping_a_single_module():
    (gradients,) = make_gradients(make_modules()[:1])
    bptt.clip_by_global_norm(gradients, 1)
    assert np.linalg.norm(gradients._flat) == pytest.approx(1)
    bptt.clip_by_value(gradients, 1e-3)
    assert np.abs(gradients._flat).max() == 1e-3


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nan_or_infinite_norm_changes_nothing(value):
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
