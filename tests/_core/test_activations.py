"""Accuracy of the kernels' activation functions on every instruction set: within 4 ulp.

float32 is compared with float64, float64 with long double where that is longer, and both with
mpmath. An ulp is the spacing of the floating-point numbers at the exact value.
"""

from __future__ import annotations

import mpmath
import numpy as np
import pytest

from bptt._core import loader
from bptt.nn.activations import ACTIVATIONS, GATE_ACTIVATIONS
from cases import DTYPES, dtype_id

ULPS = 4
SMOOTH = ("tanh", "sigmoid")
ALL = {**ACTIVATIONS, **GATE_ACTIVATIONS}
HARD_SIGMOIDS = {a.name: a.slope for a in ALL.values() if a.name.startswith("hard_sigmoid")}
NAMES = tuple(activation.name for activation in ALL.values())
BITS = {np.float32: np.uint32, np.float64: np.uint64}

LONG = np.finfo(np.longdouble).nmant >= 63


@pytest.fixture(params=loader.available())
def activate(request):
    return loader.load(request.param).activate


def exact(name, x):
    """Function values in a higher precision than that of x."""
    wide = x.astype(np.float64 if x.dtype == np.float32 else np.longdouble)
    with np.errstate(over="ignore", under="ignore"):
        if name == "tanh":
            return np.tanh(wide)
        # where exp(-x) overflows, the value is exp(x) to full precision
        return np.where(wide < -80, np.exp(wide), 1 / (1 + np.exp(-wide)))


def assert_within_ulps(actual, expected, x, ulps=ULPS):
    """|actual - expected| ≤ 4 ulp; below the smallest normal number, 0 is accepted."""
    dtype = actual.dtype
    tiny = np.finfo(dtype).tiny
    rounded = expected.astype(dtype)
    ulp = np.spacing(np.abs(rounded)).astype(expected.dtype)
    error = np.abs(actual.astype(expected.dtype) - expected) / ulp
    error[(np.abs(expected) < tiny) & (actual == 0)] = 0
    worst = np.argmax(error)
    assert error[worst] <= ulps, (
        f"{float(error[worst]):.2f} ulp at x = {x[worst]!r}: {actual[worst]!r}, "
        f"not {rounded[worst]!r}"
    )


def sweep(dtype, stride, low=0.0, high=np.inf):
    """Numbers of both signs in [low, high), `stride` bit patterns apart."""
    first, end = np.array([low, high], dtype).view(BITS[dtype]).tolist()
    x = np.arange(first, end, stride, dtype=BITS[dtype]).view(dtype)
    return np.concatenate([x, -x])


def from_exponents(dtype, low, high, count, seed=0):
    """Random numbers of both signs, `count` for each binary exponent in [low, high)."""
    rng = np.random.default_rng(seed)
    mantissas = rng.uniform(1, 2, (high - low, count)) * rng.choice([-1, 1], (high - low, count))
    return np.ldexp(mantissas, np.arange(low, high)[:, None]).astype(dtype).ravel()


@pytest.mark.parametrize("name", SMOOTH)
def test_float32_within_ulps_of_float64(name, activate):
    # All exponents, and densely those where the functions are neither linear nor constant.
    for x in (sweep(np.float32, 991), sweep(np.float32, 61, 2.0**-14, 128)):
        assert_within_ulps(activate(name, x), exact(name, x), x)


@pytest.mark.skipif(not LONG, reason="long double is no longer than float64 here")
@pytest.mark.parametrize("name", SMOOTH)
def test_float64_within_ulps_of_long_double(name, activate):
    for x in (
        from_exponents(np.float64, -1074, 1024, 150),
        from_exponents(np.float64, -30, 11, 15_000, seed=1),
    ):
        assert_within_ulps(activate(name, x), exact(name, x), x)


def assert_within_ulps_of_mpmath(function, actual, x):
    """Results are within ULPS of `function`; what is below the normal numbers may be 0."""
    dtype = x.dtype.type
    with mpmath.workprec(200):
        for value, y in zip(x.tolist(), actual.tolist(), strict=True):
            expected = function(mpmath.mpf(value))
            rounded = dtype(expected)
            if abs(rounded) < np.finfo(dtype).tiny and y == 0:
                continue
            ulp = mpmath.mpf(float(np.spacing(abs(rounded))))
            assert abs(y - expected) <= ULPS * ulp, f"{value!r}: {expected}, got {y!r}"


@pytest.mark.parametrize("dtype", DTYPES, ids=dtype_id)
@pytest.mark.parametrize("name", SMOOTH)
def test_within_ulps_of_mpmath(name, dtype, activate):
    low, high = {np.float32: (-30, 8), np.float64: (-60, 11)}[dtype]
    x = from_exponents(dtype, low, high, 60, seed=2)
    function = {"tanh": mpmath.tanh, "sigmoid": lambda v: 1 / (1 + mpmath.exp(-v))}[name]
    actual = activate(name, x)
    assert_within_ulps_of_mpmath(function, actual, x)


@pytest.mark.parametrize("dtype", DTYPES, ids=dtype_id)
@pytest.mark.parametrize("name", SMOOTH)
def test_within_ulps_at_range_reduction_boundaries(name, dtype, activate):
    """Around multiples of ln(2)/2, the boundaries of the range reduction, and powers of two."""
    if dtype is np.float64 and not LONG:
        pytest.skip("long double is no longer than float64 here")
    middle = np.concatenate([np.arange(1, 2200) * np.log(2) / 2, 2.0 ** np.arange(-60, 10)])
    x = (middle.astype(dtype).view(BITS[dtype])[:, None] + np.arange(-8, 9).astype(BITS[dtype])).T
    x = np.ascontiguousarray(x).view(dtype).ravel()
    for signed in (x, -x):
        assert_within_ulps(activate(name, signed), exact(name, signed), signed)


@pytest.mark.parametrize("dtype", DTYPES, ids=dtype_id)
@pytest.mark.parametrize("name", SMOOTH)
def test_saturation_at_the_limits(name, dtype, activate):
    x = np.concatenate([from_exponents(dtype, -5, 11, 20_000), [np.inf, -np.inf]]).astype(dtype)
    y = activate(name, x)
    assert np.abs(y).max() == 1  # never beyond the limits
    low = {"tanh": -1, "sigmoid": 0}[name]
    assert y.min() == low
    # and the limits themselves wherever they are the nearest number
    info = np.finfo(dtype)
    end = -np.log(info.eps) + 3
    np.testing.assert_array_equal(y[x >= (end / 2 if name == "tanh" else end)], 1)
    end = end / 2 if name == "tanh" else 2 - np.log(float(info.smallest_subnormal))
    np.testing.assert_array_equal(y[x <= -end], low)


@pytest.mark.parametrize("dtype", DTYPES, ids=dtype_id)
@pytest.mark.parametrize("name", SMOOTH)
def test_symmetry(name, dtype, activate):
    x = np.abs(from_exponents(dtype, -40, 11, 500))
    if name == "tanh":
        np.testing.assert_array_equal(activate(name, -x), -activate(name, x))
    else:
        error = np.abs(activate(name, x) + activate(name, -x) - 1)
        assert error.max() <= 2 * ULPS * np.finfo(dtype).epsneg


@pytest.mark.parametrize("dtype", DTYPES, ids=dtype_id)
def test_special_values(dtype, activate):
    info = np.finfo(dtype)
    x = np.array([0, -0.0, np.inf, -np.inf, np.nan, -np.nan, info.max, info.min], dtype)
    limits = {
        "tanh": [0, -0.0, 1, -1, np.nan, np.nan, 1, -1],
        "sigmoid": [0.5, 0.5, 1, 0, np.nan, np.nan, 1, 0],
        **{name: [0.5, 0.5, 1, 0, np.nan, np.nan, 1, 0] for name in HARD_SIGMOIDS},
        "relu": [0, 0, np.inf, 0, np.nan, np.nan, info.max, 0],
        "identity": x,
    }
    for name, expected in limits.items():
        y = activate(name, x)
        assert y.dtype == dtype
        np.testing.assert_array_equal(y, np.array(expected, dtype), err_msg=name)
        if name in ("tanh", "identity"):
            np.testing.assert_array_equal(np.signbit(y[:2]), [False, True], err_msg=name)
    for name in NAMES:  # NaN stays in its lane
        for lane in range(33):
            x = np.zeros(33, dtype)
            x[lane] = np.nan
            np.testing.assert_array_equal(np.isnan(activate(name, x)), np.isnan(x), err_msg=name)


@pytest.mark.parametrize("dtype", DTYPES, ids=dtype_id)
def test_log_sigmoid(dtype, activate):
    """The logarithm, and its derivative."""
    low, high = {np.float32: (-30, 8), np.float64: (-60, 11)}[dtype]
    x = from_exponents(dtype, low, high, 60, seed=3)
    found = activate("log_sigmoid", x)
    assert found.shape == (2, *x.shape)
    functions = (lambda v: -mpmath.log1p(mpmath.exp(-v)), lambda v: 1 / (1 + mpmath.exp(v)))
    for function, values in zip(functions, found, strict=True):
        assert_within_ulps_of_mpmath(function, values, x)
    x = np.array([0, np.inf, -np.inf, np.nan], dtype)
    expected = [[-np.log(2), 0, -np.inf, np.nan], [0.5, 0, 1, np.nan]]
    np.testing.assert_array_almost_equal(activate("log_sigmoid", x), expected)


@pytest.mark.parametrize("dtype", DTYPES, ids=dtype_id)
def test_subnormals(dtype, activate):
    smallest = np.finfo(dtype).smallest_subnormal
    x = np.concatenate([[1, 2, 3], 2.0 ** np.arange(2, np.finfo(dtype).nmant + 1)]) * smallest
    x = np.concatenate([x, -x]).astype(dtype)
    assert (np.abs(x) <= np.finfo(dtype).tiny).all()
    y = activate("tanh", x)
    assert ((y == x) | (y == 0)).all()
    np.testing.assert_array_equal(activate("sigmoid", x), dtype(0.5))
    # subnormal results of normal arguments
    x = np.linspace(np.log(smallest) - 1, np.log(np.finfo(dtype).tiny), 1000).astype(dtype)
    y = activate("sigmoid", x)
    assert ((y >= 0) & (y <= np.finfo(dtype).tiny * 1.001)).all()


@pytest.mark.parametrize("dtype", DTYPES, ids=dtype_id)
def test_piecewise_linear(dtype, activate):
    x = np.concatenate(
        [
            from_exponents(dtype, -20, 20, 2000),
            np.linspace(-4, 4, 8001).astype(dtype),
            np.nextafter(np.array([-3, -2.5, 2.5, 3], dtype), dtype(0)),
        ]
    )
    np.testing.assert_array_equal(activate("relu", x), np.maximum(x, 0))
    np.testing.assert_array_equal(activate("identity", x), x)
    for name, slope in HARD_SIGMOIDS.items():
        y = activate(name, x)
        expected = np.clip(slope * x.astype(np.longdouble) + 0.5, 0, 1)
        # near zero, the error is relative to the 1/2
        assert np.abs(y - expected).max() <= np.finfo(dtype).eps
        clipped = np.abs(x) > 1.001 * 0.5 / slope
        np.testing.assert_array_equal(y[clipped], x[clipped] > 0)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", DTYPES, ids=dtype_id)
def test_lanes_are_independent(name, dtype, activate):
    x = np.random.default_rng(0).normal(size=67).astype(dtype)
    whole = activate(name, x)
    for count in range(1, 67, 5):
        np.testing.assert_array_equal(activate(name, x[:count]), whole[:count])
        np.testing.assert_array_equal(activate(name, x[count:].copy()), whole[count:])
    assert activate(name, x[:0]).shape == (0,)


def test_errors(activate):
    x = np.zeros(3)
    with pytest.raises(ValueError, match=r"name must be one of 'tanh', 'sigmoid', .*, got 'gelu'"):
        activate("gelu", x)
    with pytest.raises(TypeError, match="x must have dtype float32 or float64, got int64"):
        activate("tanh", x.astype(np.int64))
    with pytest.raises(TypeError, match="x must be a NumPy array, got list"):
        activate("tanh", [0.0])
