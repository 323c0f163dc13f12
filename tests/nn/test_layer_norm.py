"""LSTM and GRU with layer normalization: haste's formulas in PyTorch, save and load, refusals.

Everything else is tested as for the other cells, by the lists of cases.py.
"""

from __future__ import annotations

import numpy as np
import pytest

import bptt
from bptt.nn import cells
from bptt.nn.state import arrays_of
from cases import DTYPES, Case, assert_all_close, dtype_id, in_float64, make, make_layer
from layer_results import assert_identical, results

CELLS = [name for name, cell in cells.CELLS.items() if cell.gate_parameters]
every_normalized_cell = pytest.mark.parametrize("cell", CELLS)


# ---- haste, written anew: frameworks/pytorch/layer_norm_lstm.py, layer_norm_gru.py


def lstm_step(torch, wx, state, p):
    """One step from the normalized input product `wx`: LayerNormLSTM."""
    h, c = state
    size = h.shape[1]
    rh = torch.nn.functional.layer_norm(h @ p["weight_hh"].T, (4 * size,), p["gain_hh"])
    i, f, g, o = (wx + rh + p["bias"]).chunk(4, dim=1)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    seen = torch.nn.functional.layer_norm(c, (size,), p["gain_cell"], p["bias_cell"])
    return o.sigmoid() * seen.tanh(), c


def gru_step(torch, wx, state, p):
    """The same of LayerNormGRU, whose recurrent bias is 0 for r and z: their bias is in `bias`."""
    (h,) = state
    size = h.shape[1]
    rh = torch.nn.functional.layer_norm(h @ p["weight_hh"].T, (3 * size,), p["gain_hh"])
    w_r, w_z, w_n = (rh + torch.nn.functional.pad(p["bias_hn"], (2 * size, 0))).chunk(3, dim=1)
    u_r, u_z, u_n = (wx + p["bias"]).chunk(3, dim=1)
    z = (u_z + w_z).sigmoid()
    n = (u_n + (u_r + w_r).sigmoid() * w_n).tanh()
    return ((1 - z) * n + z * h,)


STEPS = {"lstm_layer_norm": lstm_step, "gru_layer_norm": gru_step}


def run_torch(torch, case, problem):
    """Output, final state and all gradients of one layer, by the names of `results`."""

    def variable(value):
        return torch.tensor(value, requires_grad=True)

    p = {name[: -len("_l0")]: variable(value) for name, value in problem.parameters.items()}
    x, initial = variable(problem.x), [variable(s) for s in arrays_of(problem.state)]
    wx = torch.nn.functional.layer_norm(x @ p["weight_ih"].T, (len(p["bias"]),), p["gain_ih"])
    state, outputs = tuple(s[0] for s in initial), []
    for t in range(case.steps):
        active = torch.tensor(t < problem.lengths)[:, None]
        new = STEPS[case.cell](torch, wx[:, t], state, p)
        state = tuple(torch.where(active, *pair) for pair in zip(new, state, strict=True))
        outputs.append(torch.where(active, new[0], 0))
    output = torch.stack(outputs, dim=1)
    loss = (output * torch.tensor(problem.d_output)).sum()
    for s, d in zip(state, arrays_of(problem.d_state), strict=True):
        loss = loss + (s * torch.tensor(d[0])).sum()
    loss.backward()
    found = {"output": output, **{f"state{k}": s[None] for k, s in enumerate(state)}}
    gradients = {"input": x.grad, **{f"{name}_l0": value.grad for name, value in p.items()}}
    gradients |= {f"d_state{k}": s.grad for k, s in enumerate(initial)}
    return (
        {name: value.detach().numpy() for name, value in found.items()},
        {name: value.numpy() for name, value in gradients.items()},
    )


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("dtype", DTYPES, ids=dtype_id)
@pytest.mark.parametrize(("batch", "hidden_size"), [(5, 19), (9, 64)])
@every_normalized_cell
def test_formulas_of_haste(cell, batch, hidden_size, dtype):
    torch = pytest.importorskip("torch")
    case = Case(
        cell, steps=12, batch=batch, input_size=6, hidden_size=hidden_size, lengths="ragged",
        state=True,
    )  # fmt: skip
    problem = make(case, dtype)
    expected, gradients = run_torch(torch, case, in_float64(problem))
    layer = make_layer(case, problem)
    found = results(
        layer, problem.x, problem.d_output, problem.d_state, lengths=problem.lengths,
        state=problem.state,
    )  # fmt: skip
    assert_all_close({name: found[name] for name in expected}, expected, dtype, case.steps)
    assert_all_close({n: found[n] for n in gradients}, gradients, dtype, case.steps, gradient=True)


# ---- as a layer


@every_normalized_cell
def test_output_does_not_depend_on_the_scale_of_the_weights(cell):
    """But for ε, neither does it on that of the input."""
    case = Case(cell, steps=7, hidden_size=20, state=True)
    problem = make(case)
    expected = make_layer(case, problem)(problem.x, state=problem.state)[0]
    for name in ("weight_ih_l0", "weight_hh_l0"):
        problem.parameters[name] *= 1e3
    problem.x *= 1e3
    found = make_layer(case, problem)(problem.x, state=problem.state)[0]
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_gains_and_biases_at_first():
    layer = bptt.LSTM(3, 4, layer_norm=True, seed=0)
    assert (layer["gain_ih_l0"] == 1).all()
    assert layer["gain_hh_l0"].shape == (16,)
    assert (layer["gain_cell_l0"] == 1).all()
    assert not layer["bias_cell_l0"].any()
    np.testing.assert_array_equal(layer["bias_l0"], np.repeat([0, 1, 0, 0], 4))


@every_normalized_cell
def test_save_and_load(cell, tmp_path):
    case = Case(cell, num_layers=2, bidirectional=True)
    problem = make(case)
    layer = make_layer(case, problem)
    bptt.Sequential(layer).save(tmp_path / "model.bptt")
    (loaded,) = bptt.Sequential.load(tmp_path / "model.bptt").modules
    assert loaded.layer_norm
    assert_identical(results(loaded, problem.x), results(layer, problem.x))


LSTM_RULE = "peephole=False and coupled=False and proj_size=0"


@pytest.mark.parametrize(
    ("kind", "options", "rule", "got"),
    [
        (bptt.LSTM, {"peephole": True}, LSTM_RULE, "peephole=True"),
        (bptt.LSTM, {"coupled": True}, LSTM_RULE, "coupled=True"),
        (bptt.LSTM, {"proj_size": 2}, LSTM_RULE, "proj_size=2"),
        (bptt.GRU, {}, "reset_after=True", "reset_after=False"),
    ],
)
def test_refused_combinations(kind, options, rule, got):
    with pytest.raises(ValueError, match=f"^layer_norm=True needs {rule}, got .*{got}"):
        kind(3, 4, layer_norm=True, **options)
