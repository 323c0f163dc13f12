"""Isolation of calls: other rows, the floating-point mode, other threads, memory."""

from __future__ import annotations

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

import bptt
from bptt.nn.state import arrays_of
from cases import (
    ACTIVATIONS,
    CELLS,
    DTYPES,
    EVERYTHING,
    MERGES,
    Case,
    assert_all_close,
    assert_close,
    dtype_id,
    every_cell,
    gate_activations,
    in_float64,
    is_normalized,
    make,
    make_layer,
    run_reference,
)
from layer_results import assert_identical, results

# ---- NaN and Inf ---------------------------------------------------------------------------------


def of_rows(found, rows):
    """The results of some rows of the batch."""
    rowwise = {name: found[name][rows] for name in ("output", "inference", "input")}
    states = [name for name in found if name[-1] in "01" and name[:-1].endswith(("state", "ed"))]
    steps = [name for name in found if name.endswith("_steps")]
    return rowwise | {name: found[name][:, rows] for name in (*states, *steps)}


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("dtype", DTYPES, ids=dtype_id)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", ["x", "state", "d_output", "d_state"])
@every_cell
def test_nan_and_infinity_stay_in_their_row(cell, where, value, dtype):
    for merge in MERGES:
        case = replace(EVERYTHING, cell=cell, merge=merge, lengths="full")
        p = make(case, dtype)
        layer = make_layer(case, p)
        others = np.array([0, 1, 3, 4, 5])

        def run(p=p, layer=layer):
            return results(layer, p.x, p.d_output, p.d_state, state=p.state)

        expected = of_rows(run(), others)
        if where in ("x", "d_output"):
            getattr(p, where)[2, 4, 3] = value
        else:
            arrays_of(getattr(p, where))[0][1, 2, 3] = value
        assert_identical(of_rows(run(), others), expected)


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("dtype", DTYPES, ids=dtype_id)
@pytest.mark.parametrize(
    "case",
    [
        Case(cell, activation, gate, hidden_size=hidden_size, state=True)
        for cell in CELLS
        for activation in ACTIVATIONS
        for gate in gate_activations(cell)
        for hidden_size in (16, 19)
    ],
    ids=str,
)
def test_nan_propagates_forward_in_time(case, dtype):
    """From its step and row on, to all units, but not to earlier steps."""
    p = make(case, dtype)
    p.x[1, 3, 0] = np.nan
    y, _ = make_layer(case, p)(p.x, state=p.state)
    came = np.zeros(y.shape, bool)
    came[1, 3:] = True
    np.testing.assert_array_equal(np.isnan(y), came)


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("dtype", DTYPES, ids=dtype_id)
@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("hidden_size", [8, 16, 19])
@pytest.mark.parametrize("cell", [c for c in CELLS if c != "slstm" and not is_normalized(c)])
def test_infinite_input_saturates_the_gates(cell, hidden_size, sign, dtype):
    """IEEE semantics: gates saturate, and values that are finite in the reference are finite.

    Not of an exponential gate, nor of a mean and a variance, which are infinite or NaN.
    """
    case = Case(cell, num_layers=2, bidirectional=True, hidden_size=hidden_size, state=True)
    p = make(case, dtype)
    p.x[1, 3, 0] = sign * np.inf
    found = results(make_layer(case, p), p.x, p.d_output, p.d_state, state=p.state)
    with np.errstate(invalid="ignore"):
        result, d = run_reference(case, in_float64(p))
    assert np.isfinite(result.output).all()
    assert_close(found["output"], result.output, dtype, case.steps)
    assert_close(found["input"], d.input, dtype, case.steps, gradient=True)
    assert_close(found["hidden_steps"], d.hidden_steps, dtype, case.steps, gradient=True)
    parameters = {name: found[name] for name in d.parameters}
    assert_all_close(parameters, d.parameters, dtype, case.steps, gradient=True)


# ---- denormals -----------------------------------------------------------------------------------


def denormals_live():
    tiny = {np.float32: np.float32(1e-40), np.float64: np.float64(1e-310)}
    return all(value * dtype(1) == value != 0 for dtype, value in tiny.items())


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("dtype", DTYPES, ids=dtype_id)
@every_cell
def test_calls_restore_the_denormal_mode(cell, dtype):
    case = Case(cell, num_layers=2, batch=2, state=True)
    p = make(case, dtype)
    layer, head = make_layer(case, p), bptt.Linear(case.output_size, 4, dtype=dtype)
    optimizers = [bptt.SGD([layer, head], momentum=0.5), bptt.Adam([layer, head])]
    assert denormals_live()
    layer(p.x)
    assert denormals_live()
    run = layer.forward(p.x)
    assert denormals_live()
    scores = head.forward(run.output)
    assert denormals_live()
    loss = bptt.softmax_cross_entropy(scores.output, np.zeros(p.x.shape[:2], int))
    assert denormals_live()
    d_head = scores.backward(loss.gradient)
    gradients = [run.backward(d_head.input), d_head]
    assert denormals_live()
    layer.step(p.x[:, 0])
    assert denormals_live()
    bptt.clip_by_global_norm(gradients, 1e-3)
    for optimizer in optimizers:
        optimizer.step(gradients)
        assert denormals_live()
    with pytest.raises(TypeError):
        layer(p.x, state="none")
    assert denormals_live()


@pytest.mark.parametrize("dtype", DTYPES, ids=dtype_id)
@every_cell
def test_denormal_numbers_are_flushed_to_zero(cell, dtype):
    case = Case(cell, num_layers=2)
    p = make(case, dtype)
    layer = make_layer(case, p)
    expected = results(layer, np.zeros_like(p.x))
    tiny = np.full_like(p.x, np.finfo(dtype).smallest_subnormal * 100)
    found = results(layer, tiny)
    for name in ("output", "inference"):
        np.testing.assert_allclose(found[name], expected[name], atol=np.finfo(dtype).tiny)


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("dtype", DTYPES, ids=dtype_id)
def test_denormal_numbers_are_kept_without_flushing(dtype):
    tiny = np.full((1, 1, 1), np.finfo(dtype).tiny / 4, dtype)
    layer = bptt.RNN(1, 1, activation="identity", dtype=dtype)
    layer["weight_ih_l0"] = np.ones((1, 1), dtype)
    assert bptt.get_flush_denormals()
    assert layer(tiny)[0].item() == 0
    bptt.set_flush_denormals(False)
    try:
        assert not bptt.get_flush_denormals()
        assert layer(tiny)[0].item() == tiny.item()
        assert denormals_live()
    finally:
        bptt.set_flush_denormals(True)


# ---- threads -------------------------------------------------------------------------------------


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("dtype", DTYPES, ids=dtype_id)
@every_cell
def test_concurrent_calls_of_one_layer(cell, dtype):
    """Inference, training and single steps in every thread, with different shapes."""
    cases = [
        replace(EVERYTHING, cell=cell, batch=2 + i, steps=3 + 2 * i, hidden_size=40)
        for i in range(4)
    ]
    problems = [make(case, dtype) for case in cases]
    layer = make_layer(cases[0], problems[0])
    stream = bptt.LSTM(7, 40, dtype=dtype, seed=0)

    def work(p):
        found = results(layer, p.x, p.d_output, p.d_state, lengths=p.lengths, state=p.state)
        y, state = stream.step(p.x[:, 0])
        return {**found, "step": y, "stepped": state.c}

    expected = [work(p) for p in problems]
    with ThreadPoolExecutor(8) as pool:
        for i, found in enumerate(pool.map(work, problems * 20)):
            assert_identical(found, expected[i % len(problems)])


def test_backward_in_another_thread():
    p = make(EVERYTHING)
    layer = make_layer(EVERYTHING, p)
    runs = [layer.forward(p.x, lengths=p.lengths) for _ in range(9)]
    expected = runs.pop().backward(p.d_output)
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(lambda run: run.backward(p.d_output), runs):
            np.testing.assert_array_equal(found._flat, expected._flat)


@every_cell
def test_calls_during_assignments_of_parameters(cell):
    """After concurrent assignments every thread sees the last values."""
    case = Case(cell, num_layers=2, steps=3, hidden_size=48, input_size=48)
    first, second = make(case), make(case, seed=1)
    layer, x = make_layer(case, first), first.x
    expected = [make_layer(case, p)(x)[0] for p in (first, second)]
    stop = threading.Event()

    def read():
        while not stop.is_set():
            assert np.isfinite(layer(x)[0]).all()
            layer.forward(x).backward(first.d_output)

    with ThreadPoolExecutor(3) as pool:
        readers = [pool.submit(read) for _ in range(3)]
        try:
            for i in range(40):
                for name, value in (first, second)[i % 2].parameters.items():
                    layer[name] = value
                for _ in range(2):  # and no thread restores older packed weights
                    np.testing.assert_array_equal(layer(x)[0], expected[i % 2])
        finally:
            stop.set()
        for reader in readers:
            reader.result()
    np.testing.assert_array_equal(layer(x)[0], expected[1])
    np.testing.assert_array_equal(layer.forward(x).output, expected[1])
    np.testing.assert_array_equal(layer.step(x[:, 0])[0], expected[1][:, 0])


# ---- memory --------------------------------------------------------------------------------------

LEAK = """
import resource, sys
import numpy as np, bptt
layer = getattr(bptt, sys.argv[1])(16, 32, num_layers=2, bidirectional=True, dropout=0.1, seed=0)
x = np.ones((16, 50, 16), np.float32)  # one run saves about 3 MB
unit = 1 if sys.platform == "darwin" else 1024
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20
def use():
    layer(x, lengths=np.arange(16))
    layer.forward(x)
    run = layer.forward(x)
    run.gates(), run.dropout_mask()
    run.backward(run.output, steps=True, retain=True)
    for bad in (run.output[0], [1]):
        try:
            run.backward(bad)
        except (TypeError, ValueError):
            pass
    layer["bias_l0"] = layer["bias_l0"]
for _ in range(10):
    use()
before = peak()
for _ in range(150):
    use()
print(peak() - before)
"""


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_memory_does_not_leak(kind):
    """The peak of 160 rounds is that of 10; leaks of 100 kB per round would be detected."""
    pytest.importorskip("resource")
    run = subprocess.run(
        [sys.executable, "-c", LEAK, kind], capture_output=True, text=True, check=True
    )
    assert float(run.stdout) < 12, f"{run.stdout} MB more"
