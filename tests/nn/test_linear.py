"""Linear layer against its formula."""

from __future__ import annotations

import numpy as np
import pytest

import bptt

DTYPES = [np.float32, np.float64]


def rounding(dtype):
    return {"rtol": 1e-5, "atol": 1e-5} if dtype == np.float32 else {"rtol": 1e-12, "atol": 1e-13}


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("leading", [(), (1,), (4,), (2, 3), (2, 0), (2, 3, 2)])
def test_linear(leading, bias, dtype, rng):
    layer = bptt.Linear(6, 5, bias=bias, dtype=dtype, seed=0)
    if bias:
        layer["bias"] = rng.standard_normal(5).astype(dtype)
    x = rng.standard_normal((*leading, 6)).astype(dtype)
    d_output = rng.standard_normal((*leading, 5)).astype(dtype)
    run = layer.forward(x)
    expected = x @ layer["weight"].T + (layer["bias"] if bias else 0)
    for y in (layer(x), run.output):
        assert y.dtype == dtype
        np.testing.assert_allclose(y, expected, **rounding(dtype))
    for _ in range(2):  # repeatable: nothing is released
        gradients = run.backward(d_output)
    rows, d_rows = x.reshape(-1, 6), d_output.reshape(-1, 5)
    assert list(gradients) == list(layer.parameters)
    np.testing.assert_allclose(gradients["weight"], d_rows.T @ rows, **rounding(dtype))
    if bias:
        np.testing.assert_allclose(gradients["bias"], d_rows.sum(0), **rounding(dtype))
    np.testing.assert_allclose(gradients.input, d_output @ layer["weight"], **rounding(dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("outputs", [1, 2, 3, 4, 7, 130])
@pytest.mark.parametrize("inputs", [1, 3, 8, 16, 17, 64, 71, 5000])
def test_rows_of_single_steps_do_not_depend_on_the_others(inputs, outputs, dtype, rng):
    layer = bptt.Linear(inputs, outputs, dtype=dtype, seed=0)
    layer["bias"] = rng.standard_normal(outputs).astype(dtype)
    x = rng.standard_normal((70, inputs)).astype(dtype)
    whole = layer._of_rows(x)
    expected = x.astype(np.float64) @ layer["weight"].T.astype(np.float64) + layer["bias"]
    np.testing.assert_allclose(whole, expected, **rounding(dtype))
    for count in (1, 2, 3, 4, 5, 9, 64):
        for first in range(0, 70 - count, 7):
            part = layer._of_rows(x[first : first + count])
            assert part.tobytes() == whole[first : first + count].tobytes()
    assert layer._of_rows(x[:0]).shape == (0, outputs)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("rows", "inputs", "outputs"), [(64, 1, 9000), (65, 337, 577), (400, 37, 1111), (129, 650, 513)]
)
def test_many_rows_and_outputs(rows, inputs, outputs, dtype, rng):
    layer = bptt.Linear(inputs, outputs, dtype=dtype, seed=0)
    layer["bias"] = rng.standard_normal(outputs).astype(dtype)
    x = rng.standard_normal((rows, inputs)).astype(dtype)
    results = []
    for count in (1, 2, 3, 8):
        with bptt.threads(count):
            results.append(layer(x))
    assert all(result.tobytes() == results[0].tobytes() for result in results)
    expected = x.astype(np.float64) @ layer["weight"].T.astype(np.float64) + layer["bias"]
    np.testing.assert_allclose(results[0], expected, **rounding(dtype))


def test_linear_reads_any_strides(rng):
    layer = bptt.Linear(6, 5, dtype=np.float64, seed=0)
    x = rng.standard_normal((6, 4, 3)).transpose(1, 2, 0)
    d_output = rng.standard_normal((8, 3, 5))[::2]
    run, copied = layer.forward(x), layer.forward(x.copy())
    np.testing.assert_array_equal(run.output, copied.output)
    gradients, expected = run.backward(d_output), copied.backward(d_output.copy())
    np.testing.assert_array_equal(gradients["weight"], expected["weight"])
    np.testing.assert_array_equal(gradients.input, expected.input)


def test_backward_uses_the_weight_of_forward(rng):
    layer = bptt.Linear(6, 5, dtype=np.float64, seed=0)
    weight = layer["weight"].copy()
    run = layer.forward(rng.standard_normal((2, 6)))
    layer["weight"] = np.zeros((5, 6))
    d_output = np.ones((2, 5))
    np.testing.assert_allclose(run.backward(d_output).input, d_output @ weight, rtol=1e-12)


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (
            np.ones((2, 4)),
            ValueError,
            "x must have shape (..., in_features) = (..., 6), got (2, 4)",
        ),
        (np.ones(()), ValueError, "x must have shape (..., in_features) = (..., 6), got ()"),
        (
            np.ones(6, np.float32),
            TypeError,
            "x must have dtype float64 as the layer, got float32: ",
        ),
        ([1.0] * 6, TypeError, "x must be a NumPy array, got list: use np.array(x), or pad "),
    ],
)
def test_linear_errors(x, error, message):
    layer = bptt.Linear(6, 5, dtype=np.float64)
    for call in (layer, layer.forward):
        with pytest.raises(error) as raised:
            call(x)
        assert str(raised.value).startswith(message)


@pytest.mark.parametrize(
    ("d_output", "error", "message"),
    [
        (
            np.ones((3, 5)),
            ValueError,
            "d_output must have the shape of the output, (2, 5), got (3,",
        ),
        (
            np.ones((2, 6)),
            ValueError,
            "d_output must have the shape of the output, (2, 5), got (2,",
        ),
        (np.ones((2, 5), np.float32), TypeError, "d_output must have dtype float64, got float32"),
        (None, TypeError, "d_output must be a NumPy array, got NoneType"),
    ],
)
def test_linear_backward_errors(d_output, error, message):
    run = bptt.Linear(6, 5, dtype=np.float64).forward(np.ones((2, 6)))
    with pytest.raises(error) as raised:
        run.backward(d_output)
    assert str(raised.value).startswith(message)
