"""Layers with reverse=True: each sequence is read from its last step to its first.

Values and gradients of every cell are in `test_layers`, `test_gradients` and the tests of the
reference, over the cases with `reverse`.
"""

import numpy as np
import pytest

import bptt
from bptt.diagnostics import contributions, gate_trace, gradient_flow, jacobian_products
from bptt.nn.state import arrays_of
from cases import Case, every_cell, every_form, make, make_layer

F8 = {"dtype": "float64", "seed": 0}
OPTIONS = {"num_layers": 2, "batch": 5, "steps": 7, "state": True}


def flipped(x, lengths):
    """The steps of every sequence in reverse, one sequence at a time."""
    result = x.copy()
    for row, length in enumerate(lengths):
        result[row, :length] = x[row, :length][::-1]
    return result


@every_form
@pytest.mark.parametrize("lengths", ["full", "ragged"])
def test_same_as_a_layer_that_reads_reversed_sequences(form, lengths):
    case = Case(**form, reverse=True, lengths=lengths, **OPTIONS)
    problem = make(case)
    layer, forward = (
        make_layer(Case(**form, reverse=r, **OPTIONS), problem) for r in (True, False)
    )
    ends = [7] * 5 if problem.lengths is None else problem.lengths
    run = layer.forward(problem.x, lengths=problem.lengths, state=problem.state)
    other = forward.forward(flipped(problem.x, ends), lengths=problem.lengths, state=problem.state)
    np.testing.assert_array_equal(run.output, flipped(other.output, ends))
    for ours, theirs in zip(arrays_of(run.state), arrays_of(other.state), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    if layer.cell.has_cell_state:
        np.testing.assert_array_equal(run.cells(1), flipped(other.cells(1), ends))
    for name, gate in run.gates(1).items():
        np.testing.assert_array_equal(gate, flipped(other.gates(1)[name], ends))
    d, d_flipped = problem.d_output, flipped(problem.d_output, ends)
    found = run.backward(d, problem.d_state, steps=True)
    expected = other.backward(d_flipped, problem.d_state, steps=True)
    np.testing.assert_array_equal(found.input, flipped(expected.input, ends))
    for name in layer.parameters:
        np.testing.assert_array_equal(found[name], expected[name])
    for ours, theirs in zip(found.steps, expected.steps, strict=True):
        if ours is not None:
            for one, two in zip(ours, theirs, strict=True):
                np.testing.assert_array_equal(one, flipped(two, ends))


@every_cell
def test_same_as_the_second_direction_of_a_bidirectional_layer(cell):
    both = Case(cell, bidirectional=True, lengths="ragged", batch=5)
    problem = make(both)
    bidirectional = make_layer(both, problem)
    layer = make_layer(Case(cell, reverse=True), make(Case(cell)))
    for name in layer.parameters:
        layer[name] = problem.parameters[f"{name}_reverse"]
    y, state = layer(problem.x, lengths=problem.lengths)
    expected, states = bidirectional(problem.x, lengths=problem.lengths)
    np.testing.assert_allclose(y, expected[..., 5:], rtol=1e-12, atol=1e-14)
    for ours, theirs in zip(arrays_of(state), arrays_of(states), strict=True):
        np.testing.assert_allclose(ours, theirs[1:], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("lengths", [None, np.array([4, 6, 0])])
@pytest.mark.parametrize("ids", [False, True])
def test_time_major(lengths, ids):
    x = np.random.default_rng(0).normal(size=(3, 6, 4))
    x = np.arange(18).reshape(3, 6) % 4 if ids else x
    layer, other = (bptt.GRU(4, 5, reverse=True, time_major=t, **F8) for t in (False, True))
    run, turned = (
        one.forward(values, lengths=lengths)
        for one, values in ((layer, x), (other, np.swapaxes(x, 0, 1)))
    )
    np.testing.assert_array_equal(turned.output, np.swapaxes(run.output, 0, 1))
    d = np.random.default_rng(1).normal(size=run.output.shape)
    gradients = run.backward(d, retain=True, steps=True)
    others = turned.backward(np.swapaxes(d, 0, 1), steps=True)
    np.testing.assert_allclose(others["weight_hh_l0"], gradients["weight_hh_l0"], rtol=1e-12)
    np.testing.assert_allclose(
        others.steps.hidden, np.swapaxes(gradients.steps.hidden, 1, 2), rtol=1e-12
    )
    if not ids:
        np.testing.assert_allclose(others.input, np.swapaxes(gradients.input, 0, 1), rtol=1e-12)


@pytest.mark.parametrize("time_major", [False, True])
def test_one_sequence_of_ids(time_major):
    layer = bptt.LSTM(4, 5, reverse=True, time_major=time_major, **F8)
    ids = np.array([3, 1, 2, 0])
    y, _ = layer(ids)
    expected, _ = layer(np.eye(4)[ids][:, None] if time_major else np.eye(4)[ids][None])
    np.testing.assert_allclose(y, expected, rtol=1e-12)


def test_padding_is_not_read():
    layer = bptt.LSTM(3, 4, reverse=True, **F8)
    x, lengths = np.random.default_rng(0).normal(size=(2, 5, 3)), np.array([5, 2])
    expected, state = layer(x, lengths=lengths)
    x[1, 2:] = np.nan
    y, again = layer(x, lengths=lengths)
    np.testing.assert_array_equal(y, expected)
    np.testing.assert_array_equal(again.h, state.h)
    assert not y[1, 2:].any()


def test_masks_are_those_of_the_steps_of_x():
    """Without the last step of x, the masks of which the kernels draw first, all is finite."""
    layer = bptt.RNN(3, 4, num_layers=2, reverse=True, dropout=0.5, zoneout=0.5, **F8)
    lengths = np.array([6, 3])
    x = np.random.default_rng(0).normal(size=(2, 6, 3))
    run = layer.forward(x, lengths=lengths)
    (mask,) = run.zoneout_mask(1)
    assert not mask[1, 3:].any()
    assert mask[0].any()
    h = np.concatenate([run.output, np.zeros((2, 1, 4))], axis=1)  # and the state before all
    kept = (mask == 0) & (np.arange(6) < lengths[:, None])[..., None]
    np.testing.assert_array_equal(h[:, :-1][kept], h[:, 1:][kept])
    assert set(np.unique(run.dropout_mask(0)[0])) == {0.0, 2.0}


@pytest.mark.parametrize("pool", [None, "last", "mean", "max"])
def test_in_a_chain(pool):
    rng = np.random.default_rng(0)
    x, lengths = rng.normal(size=(3, 6, 4)), np.array([6, 2, 4])
    layer, head = bptt.GRU(4, 5, reverse=True, **F8), bptt.Linear(5, 2, dtype="float64", seed=1)
    chain = bptt.Sequential(layer, head, pool=pool)
    y, (state,) = chain(x, lengths=lengths)
    output, last = layer(x, lengths=lengths)
    np.testing.assert_array_equal(state, last)
    if pool == "last":
        np.testing.assert_allclose(y, head(last[0]), rtol=1e-12)
        np.testing.assert_array_equal(last[0], output[:, 0])
    run = chain.forward(x, lengths=lengths)
    np.testing.assert_allclose(run.output, y, rtol=1e-12)
    d = rng.normal(size=y.shape)
    gradient = run.backward(d).modules[0]["weight_hh_l0"]
    weight = layer["weight_hh_l0"].copy()
    step = np.zeros_like(weight)
    step[3, 2] = 1e-6
    losses = []
    for sign in (1, -1):
        layer["weight_hh_l0"] = weight + sign * step
        output, _ = chain(x, lengths=lengths)
        if pool is None:
            output = output * (np.arange(6) < lengths[:, None])[..., None]
        losses.append((output * d).sum())
    np.testing.assert_allclose(gradient[3, 2], (losses[0] - losses[1]) / 2e-6, rtol=1e-6)


@every_cell
def test_saved_and_loaded(cell, tmp_path):
    case = Case(cell, reverse=True, learn_initial_state=True)
    layer = make_layer(case, make(case))
    bptt.save_modules(tmp_path / "layer", {"layer": layer})
    loaded = bptt.load_modules(tmp_path / "layer")[0]["layer"]
    assert loaded.reverse
    x = np.random.default_rng(0).normal(size=(2, 5, 4))
    np.testing.assert_array_equal(loaded(x)[0], layer(x)[0])


def test_older_descriptions_have_no_reverse():
    layer = bptt.LSTM(3, 4, **F8)
    config = {name: value for name, value in layer.config.items() if name != "reverse"}
    assert not bptt.LSTM(**config).reverse


@pytest.mark.parametrize("lengths", [None, np.array([30, 7, 0])])
def test_recompute_every(lengths):
    x = np.random.default_rng(0).normal(size=(3, 30, 4))
    runs = [
        bptt.GRU(4, 5, reverse=True, **F8).forward(x, lengths=lengths, recompute_every=k)
        for k in (None, 4)
    ]
    d = np.random.default_rng(1).normal(size=(3, 30, 5))
    first, second = (run.backward(d) for run in runs)
    np.testing.assert_array_equal(first.input, second.input)
    np.testing.assert_array_equal(first["weight_ih_l0"], second["weight_ih_l0"])


def test_refused_where_steps_come_one_after_the_other():
    layer = bptt.LSTM(3, 4, reverse=True, **F8)
    x = np.zeros((1, 5, 3))
    chain = bptt.Sequential(layer, bptt.Linear(4, 2, dtype="float64"))
    head = bptt.Linear(4, 3, dtype="float64")
    calls = {
        "step needs a layer with reverse=False, got reverse=True": lambda: layer.step(x[:, 0]),
        "step needs a layer with reverse=False, got": lambda: chain.step(x[:, 0]),
        "model must have layers with reverse=False": lambda: bptt.truncated_bptt(
            chain, x, lambda y, steps: (0.0, y), 2, 2
        ),
        "layer must have reverse=False": lambda: bptt.nn.RTRL(layer),
        "recurrent must have reverse=False": lambda: bptt.nn.Decoder(recurrent=layer, output=head),
        "contributions needs a layer with num_layers=1": lambda: contributions(
            layer, x[0], lambda h: (0.0, h)
        ),
        "reverse must be False, as in PyTorch, got True": lambda: bptt.exporters.to_torch(layer),
        "reverse=True needs a bidirectional layer": lambda: layer.forward(x).gates(reverse=True),
        "reverse=True needs bidirectional=False, got bidirectional=True": lambda: bptt.RNN(
            3, 4, bidirectional=True, reverse=True
        ),
    }
    for message, call in calls.items():
        with pytest.raises(ValueError, match=message):
            call()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"x": [[1.0]]}, TypeError, "x must be a NumPy array, got list"),
        ({"x": np.zeros((2, 5))}, ValueError, r"x must have shape \(batch, steps, input_size\)"),
        ({"x": np.zeros((2, 5, 2))}, ValueError, r"x must have shape \(batch, steps, input_size\)"),
        ({"lengths": np.array([1])}, ValueError, r"lengths must have shape \(batch,\) = \(2,\)"),
        ({"lengths": np.array([1, 6])}, ValueError, r"lengths must lie in \[0, steps\] = \[0, 5\]"),
        ({"lengths": np.array([1.0, 2.0])}, TypeError, "lengths must be integers"),
    ],
)
def test_wrong_arguments(arguments, error, message):
    layer = bptt.GRU(3, 4, reverse=True, **F8)
    for call in (layer, layer.forward):
        with pytest.raises(error, match=message):
            call(**{"x": np.zeros((2, 5, 3)), **arguments})


def test_diagnostics_walk_from_the_last_step():
    rng = np.random.default_rng(0)
    layer, forward = (bptt.GRU(3, 4, reverse=r, **F8) for r in (True, False))
    x = rng.normal(size=(7, 3))
    ours, theirs = jacobian_products(layer, x), jacobian_products(forward, x[::-1])
    np.testing.assert_allclose(ours.norms, theirs.norms, rtol=1e-12)
    trace, expected = gate_trace(layer, x), gate_trace(forward, np.ascontiguousarray(x[::-1]))
    assert trace.reverse
    np.testing.assert_allclose(trace.gates["update"], expected.gates["update"][::-1], rtol=1e-12)
    chains = [bptt.Sequential(one, bptt.Linear(4, 2, **F8)) for one in (layer, forward)]
    batch, d = rng.normal(size=(2, 7, 3)), rng.normal(size=(2, 7, 2))

    def loss(target):
        return lambda y: ((y * target).sum(), target)

    flow = gradient_flow(chains[0], batch, loss(d))
    other = gradient_flow(chains[1], np.ascontiguousarray(batch[:, ::-1]), loss(d[:, ::-1].copy()))
    assert flow.names == ("layer 0, reverse",)
    np.testing.assert_allclose(flow.remaining[0], other.remaining[0], rtol=1e-10)
