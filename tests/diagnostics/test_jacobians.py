"""Products of Jacobians, their bound, and the contributions to the gradient of W."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import bptt
from bptt import diagnostics, reference
from bptt.nn.activations import ACTIVATIONS
from bptt.nn.state import arrays_of, as_state
from cases import CELLS, Case, every_cell, every_form, make, make_layer
from derivatives import EPSILON, assert_gradient

T, H = 7, 5
KINDS = {0.5: "vanishing", 1.0: "healthy", 1.5: "exploding"}  # by the scale of a rotation


def problem(cell, dtype=np.float64, **options):
    """A layer, one sequence for it, and an initial state."""
    case = Case(cell, steps=T, batch=1, hidden_size=H, state=True, **options)
    p = make(case, dtype, scale=2.0)
    return case, p, make_layer(case, p)


def state_of(case, parts):
    """(S,) as the state of a reference of one layer."""
    ends = np.cumsum(case.state_sizes)[:-1]
    rows = [part[np.newaxis, np.newaxis] for part in np.split(parts, ends)]
    return rows[0] if len(rows) == 1 else tuple(rows)


def flat(state):
    return np.concatenate([part[0, 0] for part in (state if isinstance(state, tuple) else [state])])


def reference_states(case, p, x, first):
    """s_0, .., s_T, (T+1, S), one call of the reference for each."""
    states = [first]
    for x_t in x:
        result = reference.forward(
            case.cell,
            x_t[np.newaxis, np.newaxis],
            p.parameters,
            state=state_of(case, states[-1]),
            **case.options,
        )
        states.append(flat(result.state))
    return states


@every_form
def test_products_are_those_of_central_differences_on_the_reference(form):
    case, p, layer = problem(**form)
    found = diagnostics.jacobian_products(layer, p.x[0], state=p.state)
    s_0 = flat(p.state)
    states = reference_states(case, p, p.x[0], s_0)
    for k in range(T + 1):
        moved = []
        for i in range(len(s_0)):
            step = np.eye(len(s_0))[i] * EPSILON
            above = reference_states(case, p, p.x[0, k:], states[k] + step)
            below = reference_states(case, p, p.x[0, k:], states[k] - step)
            moved.append([(a - b) / (2 * EPSILON) for a, b in zip(above, below, strict=True)])
        for t in range(k, T + 1):
            expected = np.array([column[t - k] for column in moved]).T
            assert_gradient(found.product(t, k), expected, f"ds_{t}/ds_{k}")
        assert found.norms[k] == pytest.approx(np.linalg.norm(found.product(T, k), 2), rel=1e-12)


@every_cell
@pytest.mark.parametrize(("level", "reverse"), [(0, True), (1, False), (1, True)])
def test_products_of_a_stack_propagate_its_gradients(cell, level, reverse):
    """From the last state of any layer and direction to the initial one."""
    _, p, layer = problem(cell, np.float64, num_layers=2, bidirectional=True, merge="sum")
    found = diagnostics.jacobian_products(
        layer, p.x[0], state=p.state, level=level, reverse=reverse
    )
    place = 2 * level + reverse
    d_state = [np.zeros_like(part) for part in arrays_of(p.state)]
    d_state[0][place] = p.d_output[0, 0, :H]
    passed = layer.forward(p.x, state=p.state)
    d = passed.backward(d_state=as_state(*d_state))
    d_initial = np.concatenate([part[place, 0] for part in arrays_of(d.state)])
    d_last = np.concatenate([part[place, 0] for part in d_state])
    np.testing.assert_allclose(d_last @ found.product(T, 0), d_initial, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("scale", "kind"), KINDS.items())
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_verdicts_on_scaled_rotations(scale, kind, dtype):
    """Every step multiplies by `scale`; 3000 steps exceed float64, but not its logarithm."""
    angle = 0.3
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    layer = bptt.RNN(1, 2, activation="identity", dtype=dtype, seed=0)
    layer["weight_hh_l0"] = (scale * rotation).astype(dtype)
    x = np.zeros((100, 1), dtype)
    found = diagnostics.jacobian_products(layer, x)
    assert found.verdict.kind == kind
    assert found.verdict.steps == 100
    assert found.verdict.rate == pytest.approx(scale, rel=1e-6)
    assert str(found.verdict).startswith(f"{kind}: over 100 steps the gradient ")
    np.testing.assert_allclose(found.norms, scale ** np.arange(100, -1.0, -1), rtol=1e-4)
    np.testing.assert_allclose(found.bound, found.norms, rtol=1e-4)
    assert found.verdict.reach == {"vanishing": 7, "healthy": None, "exploding": 12}[kind]
    long = diagnostics.jacobian_products(layer, np.zeros((3000, 1), dtype)).verdict
    assert (long.kind, long.rate) == (kind, pytest.approx(scale, rel=1e-6))


@pytest.mark.parametrize("activation", ACTIVATIONS)
@settings(max_examples=40)
@given(
    size=st.integers(1, 8),
    steps=st.integers(1, 30),
    scale=st.floats(0.01, 4.0),
    seed=st.integers(0, 2**32 - 1),
)
def test_the_bound_holds_for_every_w(activation, size, steps, scale, seed):
    rng = np.random.default_rng(seed)
    layer = bptt.RNN(2, size, activation=activation, dtype=np.float64, seed=0)
    layer["weight_hh_l0"] = scale * rng.standard_normal((size, size))
    layer["weight_ih_l0"] = rng.standard_normal((size, 2))
    found = diagnostics.jacobian_products(layer, rng.standard_normal((steps, 2)))
    assert (found.norms <= found.bound * (1 + 1e-10)).all()
    slope = ACTIVATIONS[activation].slope
    λ = np.linalg.norm(layer["weight_hh_l0"], 2)
    np.testing.assert_allclose(found.bound, (slope * λ) ** np.arange(steps, -1.0, -1), rtol=1e-12)


def test_cells_with_gates_have_no_bound():
    for cell in CELLS[1:]:
        _, p, layer = problem(cell)
        found = diagnostics.jacobian_products(layer, p.x[0])
        assert found.bound is found.slope is found.spectral_norm is None


# ---- contributions -------------------------------------------------------------------------------


def losses(p, dtype=np.float64):
    """A loss at every step, and its targets' place."""
    targets = p.d_output.astype(dtype)
    return lambda output: bptt.mean_squared_error(output, targets)


@every_form
@pytest.mark.parametrize("from_zero", [True, False])
def test_contributions_add_up_to_the_gradient_of_plain_bptt(form, from_zero):
    _, p, layer = problem(**form)
    state = None if from_zero else p.state
    found = diagnostics.contributions(layer, p.x[0], losses(p), state=state)
    run = layer.forward(p.x, state=state)
    plain = run.backward(losses(p)(run.output).gradient)["weight_hh_l0"]
    np.testing.assert_allclose(found.total, plain, rtol=0, atol=1e-13)
    terms = [found.term(t, k) for t in range(T) for k in range(t + 1)]
    np.testing.assert_allclose(np.sum(terms, axis=0), plain, rtol=0, atol=1e-13)


@every_cell
def test_each_contribution_is_its_term_of_the_sum(cell):
    """dL_t/ds_k by the Jacobians; the immediate derivative by central differences."""
    case, p, layer = problem(cell)
    found = diagnostics.contributions(layer, p.x[0], losses(p))
    jacobians = diagnostics.jacobian_products(layer, p.x[0])
    s_0 = np.zeros(len(flat(p.state)))
    states = reference_states(case, p, p.x[0], s_0)
    d_output = losses(p)(layer(p.x)[0]).gradient[0]
    name = "weight_hh_l0"
    for t, k in [(0, 0), (3, 0), (5, 2), (T - 1, T - 1), (T - 1, 1)]:
        d_t = np.concatenate([d_output[t], np.zeros(len(s_0) - H)])
        d_k = d_t @ jacobians.product(t + 1, k + 1)
        assert found.states[t, k] == pytest.approx(np.linalg.norm(d_k), rel=1e-10)
        W = p.parameters[name]
        expected = np.empty_like(W)
        for index in np.ndindex(W.shape):
            sides = []
            for side in (EPSILON, -EPSILON):
                moved = W.copy()
                moved[index] += side
                parameters = {**p.parameters, name: moved}
                after = reference.forward(
                    cell,
                    p.x[:, k : k + 1],
                    parameters,
                    state=state_of(case, states[k]),
                    **case.options,
                )
                sides.append(d_k @ flat(after.state))
            expected[index] = (sides[0] - sides[1]) / (2 * EPSILON)
        assert_gradient(found.term(t, k), expected, f"({t}, {k})")
        assert found.weights[t, k] == pytest.approx(np.linalg.norm(found.term(t, k)), rel=1e-10)


def test_losses_contribute_through_earlier_states_only():
    _, p, layer = problem("lstm")
    before = np.tril(np.ones((T, T), bool))
    found = diagnostics.contributions(layer, p.x[0], losses(p), state=p.state)
    np.testing.assert_array_equal(found.states > 0, before)
    np.testing.assert_array_equal(found.weights > 0, before)
    found = diagnostics.contributions(layer, p.x[0], losses(p))
    assert (found.weights[:, 0] == 0).all()  # W times an initial state of zeros
    np.testing.assert_array_equal(found.weights[:, 1:] > 0, before[:, 1:])


def test_float32_layers_are_analyzed_in_float64():
    """0.5 to the power of 200 is below the range of float32."""
    layer = bptt.RNN(1, 1, activation="identity", seed=0)
    layer["weight_hh_l0"] = np.full((1, 1), 0.5, np.float32)
    x = np.zeros((200, 1), np.float32)

    def last(output):
        assert output.dtype == np.float32
        d = np.zeros_like(output)
        d[:, -1] = 1
        return float(output[:, -1].sum()), d

    found = diagnostics.contributions(layer, x, last)
    np.testing.assert_allclose(found.states[-1], 0.5 ** np.arange(199, -1.0, -1), rtol=1e-12)
    flow = diagnostics.gradient_flow(layer, x[np.newaxis], last)
    np.testing.assert_allclose(flow.norms[0], found.states[-1], rtol=1e-12)


# ---- wrong arguments -----------------------------------------------------------------------------


def test_errors_of_wrong_arguments():
    rnn = bptt.RNN(3, 4, seed=0)
    x = np.zeros((5, 3), np.float32)
    wrong = [
        (TypeError, "layer must be an RNN, LSTM or GRU, got Linear", bptt.Linear(3, 4), x, {}),
        (TypeError, "x must be a NumPy array, got list", rnn, x.tolist(), {}),
        (ValueError, "x must be one sequence, .* got shape \\(1, 5, 3\\)", rnn, x[np.newaxis], {}),
        (ValueError, "with T >= 1, got shape \\(0, 3\\)", rnn, x[:0], {}),
        (ValueError, "\\(T, input_size\\) = \\(5, 3\\), got \\(5, 2\\)", rnn, x[:, :2], {}),
        (
            ValueError,
            "level must be in \\[0, num_layers\\) = \\[0, 1\\), got 1",
            rnn,
            x,
            {"level": 1},
        ),
        (ValueError, "reverse=True needs a bidirectional layer", rnn, x, {"reverse": True}),
        (ValueError, "must be finite", rnn, x * np.nan, {}),
    ]
    for error, sentence, layer, sequence, options in wrong:
        with pytest.raises(error, match=sentence):
            diagnostics.jacobian_products(layer, sequence, **options)
    found = diagnostics.jacobian_products(rnn, x)
    for t, k in ((6, 0), (2, 3)):
        with pytest.raises(ValueError, match=f"0 <= k <= t <= T = 5 must hold, got k = {k}"):
            found.product(t, k)
    with pytest.raises(ValueError, match="contributions needs a layer with num_layers=1"):
        diagnostics.contributions(bptt.RNN(3, 4, num_layers=2), x, lambda y: (0.0, y))
    with pytest.raises(TypeError, match="loss_fn must return a pair"):
        diagnostics.contributions(rnn, x, lambda y: y)
    with pytest.raises(TypeError, match="loss_fn must be a function, got int"):
        diagnostics.contributions(rnn, x, 3)
