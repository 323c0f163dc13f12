"""Gradient flow, gates and saliency of layers and chains."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

import bptt
from bptt import diagnostics, reference
from bptt.nn.cells import CELLS
from cases import EVERYTHING, Case, every_cell, every_form, forward_reference, make, make_layer
from derivatives import assert_gradient, differences

KINDS = {0.5: "vanishing", 1.0: "healthy", 1.5: "exploding"}  # by the scale of a rotation
TARGETS = np.random.default_rng(5).integers(0, 3, (4, 9))
IDS = np.random.default_rng(6).integers(0, 8, (4, 9))
LENGTHS = np.array([9, 4, 0, 7])


def chain(pool=None, dtype=np.float64, skip_input=False, **options):
    """Embedding, two layers of LSTM in both directions, dropout, and scores of three classes."""
    recurrent = {"num_layers": 2, "bidirectional": True, "dropout": 0.4, **options}
    layer = bptt.LSTM(5, 6, **recurrent, dtype=dtype, seed=1)
    return bptt.Sequential(
        bptt.Embedding(8, 5, dtype=dtype, seed=0),
        layer,
        bptt.Dropout(0.3, dtype=dtype, seed=2),
        bptt.Linear(layer.output_size + 5 * skip_input, 3, dtype=dtype, seed=3),
        pool=pool,
        skip_input=skip_input,
    )


def step_loss(output):
    return bptt.softmax_cross_entropy(output, TARGETS, lengths=LENGTHS)


def loss(output):
    """Half the sum of squares."""
    return float((output**2).sum() / 2), output


def rotation(scale, size=2, dtype=np.float64, **options):
    """An RNN every step of which multiplies by `scale`."""
    layer = bptt.RNN(1, size, activation="identity", dtype=dtype, seed=0, **options)
    angle = 0.7
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    for name in layer:
        if name.startswith("weight_hh"):
            layer[name] = (scale * turn).astype(dtype)
    return layer


# ---- gradient flow -------------------------------------------------------------------------------


@every_form
@pytest.mark.parametrize("time_major", [False, True])
def test_norms_are_those_of_the_reference(form, time_major):
    """Of a stack in both directions, of ragged sequences from a state."""
    case = replace(EVERYTHING, **form)
    p = make(case)
    layer = make_layer(case, p, time_major=time_major)
    x, targets = (np.swapaxes(a, 0, 1) if time_major else a for a in (p.x, p.d_output))

    def loss_fn(y):
        return bptt.mean_squared_error(y, targets, lengths=p.lengths, time_major=time_major)

    found = diagnostics.gradient_flow(layer, x, loss_fn, lengths=p.lengths, state=p.state)
    result = forward_reference(case, p)
    d_output = bptt.mean_squared_error(result.output, p.d_output, lengths=p.lengths).gradient
    hidden = reference.backward(result, d_output).hidden_steps
    assert found.names == ("layer 0", "layer 0, reverse", "layer 1", "layer 1, reverse")
    for norms, d_h in zip(found.norms, hidden, strict=True):
        np.testing.assert_allclose(norms, np.sqrt(np.square(d_h).sum(axis=(0, 2))), rtol=1e-9)


@pytest.mark.parametrize("pool", [None, "last", "mean"])
def test_step_gradients_of_a_chain_are_those_of_the_reference(pool):
    """Given the gradient behind the output layer and the pooling."""
    case = Case("lstm", steps=9, batch=4, input_size=5, hidden_size=6, num_layers=2)
    p = make(case)
    layer, head = make_layer(case, p), bptt.Linear(6, 3, dtype=np.float64, seed=0)
    run = bptt.Sequential(layer, head, pool=pool).forward(p.x, lengths=LENGTHS)
    d = np.random.default_rng(0).standard_normal(run.output.shape)
    found = run.backward(d, steps=True, retain=True).modules
    plain = run.backward(d).modules
    assert [gradients.steps is None for gradients in (*found, *plain)] == [False, True, True, True]
    for one, other in zip(found, plain, strict=True):
        np.testing.assert_array_equal(one._flat, other._flat)

    result = forward_reference(case, replace(p, lengths=LENGTHS))
    d_h, d_state = d @ head["weight"], None
    if pool == "last":
        d_state = case.states(np.zeros)
        d_state[0][-1] = d_h
        d_h = None
    elif pool == "mean":
        share = (np.arange(9) < LENGTHS[:, np.newaxis]) / np.maximum(LENGTHS, 1)[:, np.newaxis]
        d_h = d_h[:, np.newaxis] * share[..., np.newaxis]
    expected = reference.backward(result, d_h, d_state)
    np.testing.assert_allclose(found[0].steps.hidden, expected.hidden_steps, rtol=0, atol=1e-12)
    np.testing.assert_allclose(found[0].steps.cell, expected.cell_steps, rtol=0, atol=1e-12)


def test_a_layer_above_the_loss_has_gradients_of_zero():
    model = bptt.Sequential(bptt.GRU(3, 4, seed=0), bptt.LSTM(4, 5, seed=0))
    run = model.forward(np.ones((2, 6, 3), np.float32))
    below, above = run.backward(d_state=(np.ones((1, 2, 4), np.float32), None), steps=True).modules
    assert below.steps.hidden.all()
    assert above.steps.hidden.shape == above.steps.cell.shape == (1, 2, 6, 5)
    assert not above.steps.hidden.any()


@pytest.mark.parametrize(("scale", "kind"), KINDS.items())
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("every_step", [False, True])
def test_verdicts_on_scaled_rotations(scale, kind, reverse, every_step):
    """Whether the loss is at the end or at every step, and however long the sequences are."""
    layer = rotation(scale, bidirectional=True)
    lengths = np.array([40, 3, 0, 17])
    x = np.random.default_rng(0).standard_normal((4, 40, 1))
    pool = None if every_step else "last"
    model = bptt.Sequential(layer, bptt.Linear(4, 2, dtype=np.float64, seed=0), pool=pool)
    found = diagnostics.gradient_flow(model, x, lambda y: (0.0, np.ones_like(y)), lengths=lengths)
    verdict = found.verdicts[int(reverse)]
    assert (verdict.kind, verdict.steps) == (kind, 39)
    assert verdict.rate == pytest.approx(scale, rel=1e-9)
    assert verdict.factor == pytest.approx(scale**39, rel=1e-9)
    np.testing.assert_allclose(found.remaining[int(reverse)], scale ** np.arange(40.0), rtol=1e-9)
    assert found.verdict.kind == kind


def test_remaining_is_of_the_last_loss_alone():
    model = chain(bidirectional=False, dropout=0.0)
    found = diagnostics.gradient_flow(model, IDS, step_loss, lengths=LENGTHS)
    last = np.arange(9) == LENGTHS[:, np.newaxis] - 1
    one = diagnostics.gradient_flow(
        model,
        IDS,
        lambda y: bptt.softmax_cross_entropy(y, TARGETS, mask=last),
        lengths=LENGTHS,
    )
    for all_losses, last_loss in zip(found.remaining, one.remaining, strict=True):
        np.testing.assert_allclose(all_losses, last_loss, rtol=1e-12)
    assert not np.allclose(found.norms[0], one.norms[0])
    longest = diagnostics.gradient_flow(
        model, IDS[:1], lambda y: bptt.softmax_cross_entropy(y, TARGETS[:1], mask=last[:1])
    )
    norms = longest.norms[1]
    np.testing.assert_allclose(longest.remaining[1], norms[::-1] / norms[-1], rtol=1e-12)


def test_the_verdict_is_that_of_the_worst_layer():
    below, above = rotation(0.5), bptt.LSTM(2, 3, dtype=np.float64, seed=0)
    x = np.random.default_rng(0).standard_normal((2, 60, 1))
    model = bptt.Sequential(below, above)
    found = diagnostics.gradient_flow(model, x, lambda y: (0.0, np.ones_like(y)))
    assert found.names == ("layer 0", "layer 1")
    factors = [abs(np.log(verdict.factor)) for verdict in found.verdicts]
    assert found.verdict == found.verdicts[int(np.argmax(factors))]


def test_a_gradient_of_zero_is_vanishing():
    model = rotation(1.0)
    x = np.ones((2, 5, 1))
    found = diagnostics.gradient_flow(model, x, lambda y: (0.0, np.zeros_like(y)))
    assert not found.norms[0].any()
    assert (found.verdict.kind, found.verdict.factor) == ("vanishing", 0.0)
    assert "the gradient is 0" in str(found.verdict)


def test_gradients_beyond_float64_are_exploding():
    x = np.zeros((1, 3000, 1))
    model = bptt.Sequential(rotation(1.5), pool="last")
    found = diagnostics.gradient_flow(model, x, lambda y: (0.0, np.ones_like(y)))
    assert (found.verdict.kind, found.verdict.factor) == ("exploding", np.inf)
    assert found.verdict.reach == 12


def test_diagnostics_leave_parameters_and_generators_unchanged():
    """And the loss gets the output in the model's dtype."""
    model = chain(dtype=np.float32)
    before = [(m._flat.copy(), m._random.bit_generator.state) for m in model.modules]

    def loss_fn(output):
        assert output.dtype == np.float32
        return step_loss(output)

    one, other = (diagnostics.gradient_flow(model, IDS, loss_fn, lengths=LENGTHS) for _ in range(2))
    assert one.norms[0].dtype == np.float64
    np.testing.assert_array_equal(one.norms, other.norms)
    for module, (flat, state) in zip(model.modules, before, strict=True):
        np.testing.assert_array_equal(module._flat, flat)
        assert module._random.bit_generator.state == state


# ---- gates ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", [cell.name for cell in CELLS.values() if cell.saved_gates])
@pytest.mark.parametrize(("layer", "reverse"), [(0, False), (1, True)])
def test_gates_are_those_of_the_reference(cell, layer, reverse):
    case = Case(cell, num_layers=2, bidirectional=True, batch=1)
    p = make(case)
    found = diagnostics.gate_trace(make_layer(case, p), p.x[0], layer=layer, reverse=reverse)
    expected = forward_reference(case, p)
    for name, steps in expected.gates(layer, reverse).items():
        np.testing.assert_allclose(found.gates[name], steps[0], rtol=0, atol=1e-12)
    assert found.tokens is None
    if CELLS[cell].has_cell_state:
        cells = expected.cells(layer, reverse)[0]
        np.testing.assert_allclose(found.cells, cells, rtol=0, atol=1e-12)
    else:
        assert found.cells is None


def test_gates_by_token():
    model, ids = chain(), np.array([3, 1, 3, 7, 1, 3])
    found = diagnostics.gate_trace(model, ids, layer=1)
    assert found.tokens == (3, 1, 3, 7, 1, 3)
    by_token = found.by_token("forget")
    for token in (1, 3, 7):
        expected = found.gates["forget"][ids == token].mean()
        assert by_token[token] == pytest.approx(expected, rel=1e-12)
    assert list(by_token.values()) == sorted(by_token.values(), reverse=True)
    named = diagnostics.gate_trace(model, ids, layer=1, tokens="hellou"[:6])
    assert set(named.by_token("input")) == set("hellou"[:6])


def test_layers_of_a_chain_are_counted_from_the_input():
    model = bptt.Sequential(
        bptt.RNN(3, 4, num_layers=2, seed=0), bptt.LSTM(4, 5, seed=0), bptt.GRU(5, 6, seed=0)
    )
    x = np.ones((7, 3), np.float32)
    assert diagnostics.gate_trace(model, x, layer=2).gates["cell"].shape == (7, 5)
    assert diagnostics.gate_trace(model, x, layer=3).gates["candidate"].shape == (7, 6)
    with pytest.raises(ValueError, match="gate_trace needs an LSTM or a GRU, got RNN"):
        diagnostics.gate_trace(model, x, layer=1)
    with pytest.raises(ValueError, match="layer must be in \\[0, layers\\) = \\[0, 4\\), got 4"):
        diagnostics.gate_trace(model, x, layer=4)


# ---- saliency ------------------------------------------------------------------------------------


@every_cell
def test_saliency_of_a_layer_is_that_of_central_differences(cell):
    case = Case(cell, num_layers=2, bidirectional=True, batch=1)
    p = make(case)
    layer = make_layer(case, p)
    for step, output in ((2, 3), (-1, 0)):
        found = diagnostics.saliency(layer, p.x[0], output=output, step=step)

        def y(step=step, output=output):
            return forward_reference(case, p).output[0, step, output]

        expected = differences(y, p.x)[0]
        assert_gradient(found.gradient, expected)
        np.testing.assert_allclose(found.norms, np.sqrt((expected**2).sum(axis=1)), rtol=1e-6)
        assert (found.step, found.output) == (step % case.steps, output)


@pytest.mark.parametrize("pool", [None, "last", "mean", "max"])
def test_saliency_of_tokens_is_that_of_their_vectors(pool):
    model, ids = chain(pool, skip_input=pool is None), IDS[0]
    found = diagnostics.saliency(model, ids, output=1)
    rest = bptt.Sequential(*model.modules[1:], pool=pool, skip_input=pool is None)
    vectors = model.modules[0](ids)[np.newaxis]

    def y():
        output = rest(vectors)[0][0]
        return output[1] if pool else output[-1, 1]

    assert_gradient(found.gradient, differences(y, vectors)[0])
    assert found.tokens == tuple(ids.tolist())
    assert found.step == (None if pool else 8)


def test_saliency_with_several_ids_per_step():
    bag = bptt.EmbeddingBag(8, 5, dtype=np.float64, seed=0)
    model = bptt.Sequential(bag, *chain().modules[1:])
    ids = IDS[0].reshape(3, 3)
    found = diagnostics.saliency(model, ids, output=0)
    rest, vectors = bptt.Sequential(*model.modules[1:]), bag(ids)[np.newaxis]
    expected = differences(lambda: rest(vectors)[0][0, -1, 0], vectors)[0]
    assert_gradient(found.gradient, expected)
    assert found.tokens is None


def test_saliency_of_ids_is_that_of_their_one_hot_vectors():
    layer, ids = bptt.GRU(4, 3, dtype=np.float64, seed=0), np.array([0, 3, 3, 1])
    found = diagnostics.saliency(layer, ids, output=2)
    one_hot = np.eye(4)[ids][np.newaxis]
    assert_gradient(found.gradient, differences(lambda: layer(one_hot)[0][0, -1, 2], one_hot)[0])


def test_saliency_is_of_the_largest_output_by_default():
    model = chain("last")
    best = int(model(IDS[:1])[0][0].argmax())
    found = diagnostics.saliency(model, IDS[0])
    assert found.output == best
    same = diagnostics.saliency(model, IDS[0], output=best)
    np.testing.assert_array_equal(found.gradient, same.gradient)


# ---- arguments, drawing, imports -----------------------------------------------------------------


def test_errors_of_wrong_arguments():
    lstm, x = bptt.LSTM(3, 4, seed=0), np.zeros((5, 3), np.float32)
    head = bptt.Sequential(bptt.Dropout(0.5))
    flow, gates, saliency = (
        diagnostics.gradient_flow,
        diagnostics.gate_trace,
        diagnostics.saliency,
    )
    types = {
        "an RNN, LSTM, GRU or Sequential, got Dropout": lambda: flow(head.modules[0], x, loss),
        "loss_fn must be a function, got float": lambda: flow(lstm, x[None], 1.0),
        "state must be a tuple of states, .* got int": lambda: flow(chain(), IDS, loss, state=1),
        r"pair \(loss, gradient\), got float": lambda: flow(lstm, x[None], lambda y: 1.0),
        "Sequential or an estimator, got dict": lambda: gates({}, x),
        "x must be a NumPy array, got list": lambda: gates(lstm, [1]),
    }
    values = {
        "model must have a recurrent layer": lambda: flow(head, x, loss),
        "must have the shape of the output": lambda: flow(lstm, x[None], lambda y: (0.0, y[0])),
        r"x must be one sequence, .* got shape \(1, 5, 3\)": lambda: gates(lstm, x[None]),
        r"with T >= 1, got shape \(0, 3\)": lambda: saliency(lstm, x[:0]),
        "by_token needs a sequence of tokens": lambda: gates(lstm, x).by_token("input"),
        "gate must be one of 'input', .* got 'f'": lambda: gates(lstm, x).by_token("f"),
        "tokens must have T = 5 labels, got 2": lambda: gates(lstm, x, tokens="ab"),
        r"step must be in \[-5, 5\), got 5": lambda: saliency(lstm, x, step=5),
        r"output must be in \[-4, 4\), got 4": lambda: saliency(lstm, x, output=4),
        "reverse=True needs a bidirectional layer": lambda: gates(lstm, x, reverse=True),
    }
    for error, calls in ((TypeError, types), (ValueError, values)):
        for sentence, call in calls.items():
            with pytest.raises(error, match=sentence):
                call()


def test_every_result_has_its_plot(monkeypatch):
    for kind in ("flow", "flow_history", "jacobians", "contributions", "gates", "saliency"):
        draw = lambda result, ax, kind=kind, **options: (f"plot_{kind}", result, ax, options)  # noqa: E731
        monkeypatch.setattr(diagnostics.plots, f"plot_{kind}", draw)
    lstm, x = bptt.LSTM(3, 4, seed=0), np.ones((5, 3), np.float32)
    for name, result in {
        "plot_flow": diagnostics.gradient_flow(lstm, x[np.newaxis], loss),
        "plot_jacobians": diagnostics.jacobian_products(lstm, x),
        "plot_contributions": diagnostics.contributions(lstm, x, loss),
        "plot_gates": diagnostics.gate_trace(lstm, x),
        "plot_flow_history": diagnostics.GradientFlowRecorder(x),
        "plot_saliency": diagnostics.saliency(lstm, x),
    }.items():
        drawn = result.flows if name == "plot_flow_history" else result
        assert result.plot("ax")[:3] == (name, drawn, "ax")
        assert result.plot()[2] is None
    assert diagnostics.gate_trace(lstm, x).plot(gate="input")[3] == {"gate": "input"}


ALONE = """
import sys
for name in ("matplotlib", "sklearn", "tqdm", "safetensors"):
    sys.modules[name] = None  # any import of it fails
import numpy as np, bptt
assert "bptt.diagnostics" not in sys.modules
lstm, x = bptt.LSTM(3, 4, seed=0), np.ones((5, 3), np.float32)
bptt.diagnostics.jacobian_products(lstm, x)
bptt.diagnostics.gradient_flow(lstm, x[None], lambda y: (0.0, y))
bptt.diagnostics.gate_trace(lstm, x), bptt.diagnostics.saliency(lstm, x)
"""


def test_diagnostics_need_numpy_alone():
    subprocess.run([sys.executable, "-c", ALONE], check=True)
