"""CRF against all paths, the reference, central differences, pytorch-crf and PyTorch."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import bptt
from bptt import reference
from cases import DTYPES, dtype_id
from derivatives import assert_gradient, assert_gradients, differences

EVERY_DTYPE = pytest.mark.parametrize("dtype", DTYPES, ids=dtype_id)
# Of the transitions: exponentials, logarithms, and labels that must not follow each other.
WIDTHS = {"narrow": 1.0, "wide": 500.0, "forbidden": np.inf}
EVERY_WIDTH = pytest.mark.parametrize("width", WIDTHS.values(), ids=WIDTHS)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def rounding(dtype, steps=1, width=1.0):
    """Errors of sums over steps of scores that are as large as the transitions."""
    size = 400 * np.finfo(dtype).eps * (1 + steps / 10)
    return {"rtol": size, "atol": size * (width if 1 < width < np.inf else 1)}


def make(labels, rng, dtype=np.float64, width=1.0):
    """Module with random parameters."""
    crf = bptt.CRF(labels, dtype=dtype)
    for name in crf:
        crf[name] = rng.standard_normal(crf[name].shape).astype(dtype)
    transitions = crf["transitions"].copy()
    if np.isinf(width):
        transitions[rng.random(transitions.shape) < 0.3] = -np.inf
        np.fill_diagonal(transitions, 0.5)  # some path remains
    elif width > 1.0:
        transitions.flat[:: labels + 2] -= width
    crf["transitions"] = transitions
    return crf


def data(batch, steps, labels, rng, dtype=np.float64):
    """Emissions, labels and lengths, with NaN and -1 in the padding."""
    x = rng.standard_normal((batch, steps, labels)).astype(dtype)
    targets = rng.integers(0, labels, (batch, steps))
    lengths = rng.integers(0, steps + 1, batch)
    lengths[0] = steps
    padding = np.arange(steps) >= lengths[:, np.newaxis]
    x[padding], targets[padding] = np.nan, -1
    return x, targets, lengths


def possible(crf, lengths, rng):
    """Random labels without forbidden transitions."""
    targets = np.full((len(lengths), lengths.max()), -1)
    for row, n in zip(targets, lengths, strict=True):
        for t in range(n):
            follows = crf["transitions"][row[t - 1]] if t else crf["start"]
            row[t] = rng.choice(np.flatnonzero(follows > -1e3))
    return targets


def wide(crf):
    """The parameters in float64."""
    return [crf[name].astype(np.float64) for name in crf]


def all_paths(crf, x):
    """Every label sequence of one sequence x (n, K), with its score."""
    transitions, start, end = wide(crf)
    for labels in itertools.product(range(crf.num_labels), repeat=len(x)):
        score = start[labels[0]] + end[labels[-1]]
        score += sum(x[t, k] for t, k in enumerate(labels))
        yield labels, score + sum(transitions[pair] for pair in itertools.pairwise(labels))


# ---- numbers -------------------------------------------------------------------------------------


def test_initial_parameters():
    crf = bptt.CRF(3)
    assert {name: crf[name].shape for name in crf} == {
        "transitions": (3, 3),
        "start": (3,),
        "end": (3,),
    }
    assert not any(crf[name].any() for name in crf)
    assert repr(crf) == "CRF(num_labels=3)"


@EVERY_DTYPE
@EVERY_WIDTH
@pytest.mark.parametrize("steps", [1, 2, 5])
@pytest.mark.usefixtures("isa")
def test_everything_is_that_of_all_paths(steps, width, dtype, rng):
    crf = make(3, rng, dtype, width)
    x = rng.standard_normal((1, steps, 3)).astype(dtype)
    paths, scores = zip(*all_paths(crf, x[0].astype(float)), strict=True)
    paths, p = np.array(paths), np.exp(np.array(scores) - np.max(scores))
    p /= p.sum()
    np.testing.assert_array_equal(crf.decode(x), paths[[p.argmax()]])
    marginals = np.stack([((paths == k) * p[:, None]).sum(0) for k in range(3)], axis=-1)
    np.testing.assert_allclose(crf.marginals(x)[0], marginals, **rounding(dtype))
    for path in paths[np.argsort(p)[[-1, len(p) // 2]]]:  # likely and less so
        with np.errstate(divide="ignore"):
            expected = -np.log(p[(paths == path).all(axis=1)].sum())
        if np.isfinite(expected):
            loss = crf.cross_entropy(x, path[np.newaxis])
            np.testing.assert_allclose(loss.value, expected, **rounding(dtype))
    some = paths[p.argmax()]
    mask = np.arange(steps)[np.newaxis] % 2 == 1  # the others may be any
    expected = -np.log(p[(paths == some)[:, mask[0]].all(axis=1)].sum())
    loss = crf.cross_entropy(x, np.where(mask, some, -7), mask=mask)
    np.testing.assert_allclose(loss.value, expected, **rounding(dtype))


@EVERY_DTYPE
@EVERY_WIDTH
@pytest.mark.parametrize("size", [(3, 6, 1), (4, 1, 5), (5, 30, 4), (3, 40, 17), (70, 12, 9)])
@pytest.mark.usefixtures("isa")
def test_everything_is_that_of_the_reference(size, width, dtype, rng):
    crf = make(size[-1], rng, dtype, width)
    x, _, lengths = data(*size, rng, dtype)
    targets = possible(crf, lengths, rng)
    x64 = np.nan_to_num(x.astype(float))
    value, d = reference.crf_loss(x64, targets, *wide(crf), lengths)
    loss = crf.cross_entropy(x, targets, lengths=lengths)
    close = rounding(dtype, size[1], width)
    scale = {**close, "atol": close["atol"] * size[0]}  # sums over sequences
    np.testing.assert_allclose(loss.value, value, **scale)
    assert loss.value == float(loss) == pytest.approx(loss.losses.sum(), rel=1e-14)
    np.testing.assert_allclose(loss.gradients.input, d.emissions, **close)
    for name, expected in zip(crf, d[1:], strict=True):
        assert loss.gradients[name].dtype == dtype
        np.testing.assert_allclose(loss.gradients[name], expected, err_msg=name, **scale)
    p = crf.marginals(x, lengths=lengths)
    assert p.dtype == dtype
    np.testing.assert_allclose(p, reference.crf_marginals(x64, *wide(crf), lengths), **close)
    if dtype == np.float64:
        expected = reference.crf_viterbi(x64, *wide(crf), lengths)
        np.testing.assert_array_equal(crf.decode(x, lengths=lengths), expected)
        np.testing.assert_array_equal(loss.predicted, expected)
    without = crf.cross_entropy(x, targets, lengths=lengths, gradients=False, predictions=False)
    assert without.gradients is None
    assert not without.predicted.any()
    assert without.value == loss.value


@EVERY_DTYPE
@pytest.mark.usefixtures("isa")
def test_both_kinds_of_numbers_agree_where_they_meet(dtype, rng):
    """A range of transitions at which exponentials give way to logarithms."""
    widest = 40 if dtype == np.float32 else 300
    x, targets, lengths = data(3, 50, 6, rng, dtype)
    x *= 20
    found = []
    for width in (widest * 0.999, widest * 1.001):
        crf = make(6, np.random.default_rng(1), dtype)
        transitions = crf["transitions"].copy()
        transitions[2, 3], transitions[4, 1] = 0, -width
        transitions[transitions > 0] = 0
        crf["transitions"] = transitions
        value, d = reference.crf_loss(np.nan_to_num(x.astype(float)), targets, *wide(crf), lengths)
        loss = crf.cross_entropy(x, targets, lengths=lengths)
        close = rounding(dtype, 50)
        np.testing.assert_allclose(loss.value, value, rtol=close["rtol"])
        np.testing.assert_allclose(loss.gradients.input, d.emissions, **close)
        found.append(loss.value)
    assert found[0] == pytest.approx(found[1], rel=1e-2)


@EVERY_DTYPE
def test_states_that_drift_apart_are_not_lost(dtype, rng):
    """Two chains without a way between them: the one that is unlikely at first wins."""
    crf = bptt.CRF(2, dtype=dtype)
    crf["transitions"] = np.array([[0, -np.inf], [-np.inf, 0]], dtype)
    x = np.zeros((1, 200, 2), dtype)
    x[0, :100, 0], x[0, 100:, 1] = 10, 20
    np.testing.assert_array_equal(crf.decode(x), np.ones((1, 200)))
    np.testing.assert_allclose(crf.marginals(x)[0, :, 1], 1)
    assert crf.cross_entropy(x, np.ones((1, 200), int)).value == pytest.approx(0, abs=1e-3)


def test_forbidden_labels_have_an_infinite_loss_and_no_probability(rng):
    crf = make(3, rng)
    crf["start"] = np.array([0.0, -np.inf, 0.0])
    x = rng.standard_normal((2, 4, 3))
    assert not crf.marginals(x)[:, 0, 1].any()
    targets = np.zeros((2, 4), int)
    assert np.isfinite(crf.cross_entropy(x, targets).losses).all()
    targets[1, 0] = 1
    assert np.isposinf(crf.cross_entropy(x, targets).losses).tolist() == [False, True]


def test_probabilities_of_large_scores_have_sum_1(rng):
    """Logarithms of 10,000 have errors of 1e-3 in float32."""
    crf = make(5, rng, np.float32)
    crf["transitions"] = rng.uniform(-1e4, 1e4, (5, 5)).astype(np.float32)
    x = rng.uniform(-1e4, 1e4, (50, 8, 5)).astype(np.float32)
    np.testing.assert_allclose(crf.marginals(x).sum(axis=-1), 1, rtol=0, atol=1e-6)


def test_nan_comes_through(rng):
    crf = make(3, rng)
    x = rng.standard_normal((2, 4, 3))
    x[1, 2, 0] = np.nan
    loss = crf.cross_entropy(x, np.zeros((2, 4), int))
    assert np.isnan(loss.losses).tolist() == [False, True]
    assert np.isnan(loss.gradients["transitions"]).any()


def test_zero_parameters_are_softmax_at_every_step(rng):
    x, targets, lengths = data(3, 7, 5, rng)
    crf = bptt.CRF(5, dtype="float64")
    for reduction in ("sum", "mean"):
        loss = crf.cross_entropy(x, targets, lengths=lengths, reduction=reduction)
        expected = bptt.softmax_cross_entropy(x, targets, lengths=lengths, reduction=reduction)
        assert loss.value == pytest.approx(expected.value, rel=1e-12)
        np.testing.assert_allclose(loss.gradients.input, expected.gradient, atol=1e-14)
    inside = np.arange(7) < lengths[:, np.newaxis]
    np.testing.assert_allclose(crf.marginals(x, lengths=lengths)[inside], bptt.softmax(x[inside]))
    np.testing.assert_array_equal(crf.decode(x, lengths=lengths)[inside], x[inside].argmax(-1))


@EVERY_WIDTH
def test_gradients_are_central_differences(width, rng):
    if np.isinf(width):
        width = 50.0  # a difference of infinities is none
    crf = make(4, rng, np.float64, width)
    x, targets, lengths = data(3, 6, 4, rng)
    mask = rng.random((3, 6)) < 0.6
    options = {"lengths": lengths, "mask": mask, "weights": np.array([0.5, 2.0, 0.0])}

    def loss():
        return crf.cross_entropy(x, targets, reduction="mean", **options).value

    gradients = crf.cross_entropy(x, targets, reduction="mean", **options).gradients
    assert_gradients(gradients, loss, crf)
    assert_gradient(gradients.input, differences(loss, x), "emissions")


def test_weights_and_reduction(rng):
    crf = make(4, rng)
    x, targets, lengths = data(5, 6, 4, rng)
    weights = np.array([0.5, 2.0, 0.0, 1.0, 3.0])
    one = crf.cross_entropy(x, targets, lengths=lengths)
    each = crf.cross_entropy(x, targets, lengths=lengths, weights=weights)
    np.testing.assert_allclose(each.losses, one.losses * weights)
    mean = crf.cross_entropy(x, targets, lengths=lengths, weights=weights, reduction="mean")
    assert mean.value == pytest.approx(each.value / (lengths @ weights))
    np.testing.assert_allclose(
        mean.gradients["start"], each.gradients["start"] / (lengths @ weights)
    )
    empty = crf.cross_entropy(x, targets, lengths=np.zeros(5, int), reduction="mean")
    assert empty.value == 0.0
    assert not any(empty.gradients[name].any() for name in crf)
    assert not empty.gradients.input.any()


@pytest.mark.parametrize("shape", [(0, 4, 3), (2, 0, 3), (0, 0, 3)])
def test_empty_batches(shape, rng):
    crf = make(3, rng)
    loss = crf.cross_entropy(np.zeros(shape), np.zeros(shape[:2], int))
    assert loss.value == 0.0
    assert loss.gradients.input.shape == shape
    assert not loss.gradients["transitions"].any()
    assert crf.decode(np.zeros(shape)).shape == shape[:2]
    assert crf.marginals(np.zeros(shape)).shape == shape


@EVERY_DTYPE
@EVERY_WIDTH
def test_bits_do_not_depend_on_threads_nor_rows_on_each_other(width, dtype, rng):
    crf = make(20, rng, dtype, width)
    x, _, lengths = data(64, 50, 20, rng, dtype)
    targets = possible(crf, lengths, rng)

    def run():
        loss = crf.cross_entropy(x, targets, lengths=lengths)
        parts = [loss.gradients.input, *loss.gradients.values(), loss.losses, loss.predicted]
        return [*parts, crf.marginals(x, lengths=lengths)]

    with bptt.threads(1):
        expected = run()
    for count in (2, 3, 8):
        with bptt.threads(count):
            for found, right in zip(run(), expected, strict=True):
                np.testing.assert_array_equal(found, right)
    for b in (0, 7, 63):
        own = slice(b, b + 1)
        alone = crf.cross_entropy(x[own], targets[own], lengths=lengths[own])
        np.testing.assert_array_equal(alone.gradients.input, expected[0][own])
        assert alone.losses == expected[4][own]


def test_strided_emissions(rng):
    crf = make(3, rng)
    x = rng.standard_normal((3, 5, 2))
    targets = rng.integers(0, 3, (2, 5))
    a = crf.cross_entropy(x.T, targets)
    b = crf.cross_entropy(np.ascontiguousarray(x.T), targets)
    np.testing.assert_array_equal(a.gradients.input, b.gradients.input)


# ---- chains --------------------------------------------------------------------------------------

F8 = {"dtype": "float64", "seed": 0}


def chain(rng, **options):
    features = 5 + 3 * options.get("skip_input", False)
    modules = bptt.LSTM(3, 5, **F8), bptt.Linear(features, 4, **F8), make(4, rng)
    return bptt.Sequential(*modules, **options)


@pytest.mark.parametrize("skip_input", [False, True])
def test_gradients_of_a_chain_are_central_differences(skip_input, rng):
    model = chain(rng, skip_input=skip_input)
    x = rng.standard_normal((3, 6, 3))
    targets, lengths = rng.integers(0, 4, (3, 6)), np.array([6, 0, 4])
    run = model.forward(x, lengths=lengths)
    loss = run.cross_entropy(targets, reduction="mean")
    gradients = run.backward(loss)

    def value():
        return model.cross_entropy(x, targets, lengths=lengths, reduction="mean").value

    assert loss.value == value()
    for module, found in zip(model.modules, gradients.modules, strict=True):
        assert_gradients(found, value, module)
    assert_gradient(gradients.input, differences(value, x), "input")


def test_a_chain_passes_the_emissions_through(rng):
    model = chain(rng)
    x = rng.standard_normal((2, 6, 3))
    emissions, _ = bptt.Sequential(*model.modules[:-1])(x)
    np.testing.assert_array_equal(model(x)[0], emissions)
    np.testing.assert_array_equal(model.forward(x).output, emissions)
    y, _ = model.step(x[:, 0])
    np.testing.assert_allclose(y, emissions[:, 0], rtol=1e-12)
    run = model.forward(x)
    d = run.backward(np.ones_like(emissions))
    assert not any(d.modules[-1][name].any() for name in model[-1])
    assert "CRF" in model.summary()


def test_run_uses_the_parameters_of_the_forward_pass(rng):
    model = chain(rng)
    x, targets = rng.standard_normal((2, 6, 3)), rng.integers(0, 4, (2, 6))
    run = model.forward(x)
    before = model.cross_entropy(x, targets).value
    model[-1]["transitions"] = np.ones((4, 4))
    assert run.cross_entropy(targets).value == before
    assert model.cross_entropy(x, targets).value != before


def test_training_learns_what_emissions_do_not_tell(rng):
    """Labels alternate, the first one at random; the input tells one step of each sequence."""
    first = rng.integers(0, 2, 60)
    targets = (first[:, np.newaxis] + np.arange(8)) % 2
    x = np.zeros((60, 8, 2), np.float32)
    x[np.arange(60), 3, targets[:, 3]] = 1.0
    model = bptt.Sequential(bptt.Linear(2, 2, seed=0), bptt.CRF(2))
    optimizer = bptt.Adam(model, learning_rate=0.1)
    for _ in range(200):
        run = model.forward(x)
        optimizer.step(run.backward(run.cross_entropy(targets, reduction="mean")))
    np.testing.assert_array_equal(model[-1].decode(model(x)[0]), targets)


def test_save_and_load(tmp_path, rng):
    pytest.importorskip("safetensors")
    model = chain(rng)
    model.save(tmp_path / "model.safetensors")
    loaded = bptt.Sequential.load(tmp_path / "model.safetensors")
    for name, value in model.parameters.items():
        np.testing.assert_array_equal(loaded.parameters[name], value)
    assert loaded[-1].config == {"num_labels": 4, "dtype": "float64"}


def test_errors_of_chains(rng):
    lstm, linear, crf = bptt.LSTM(3, 5), bptt.Linear(5, 4), bptt.CRF(4)
    with pytest.raises(ValueError, match="a CRF at the end only, got one at index 1"):
        bptt.Sequential(lstm, bptt.CRF(5), linear)
    with pytest.raises(ValueError, match="a CRF needs pool=None, got pool='last'"):
        bptt.Sequential(lstm, linear, crf, pool="last")
    with pytest.raises(ValueError, match="must take 4 features, got CRF"):
        bptt.Sequential(lstm, linear, bptt.CRF(5))
    run = bptt.Sequential(lstm, linear, crf).forward(np.zeros((2, 3, 3), np.float32))
    with pytest.raises(ValueError, match=r"label_smoothing must be 0 with a CRF, got 0\.1"):
        run.cross_entropy(np.zeros((2, 3), int), label_smoothing=0.1)


# ---- second witnesses ----------------------------------------------------------------------------


def test_pytorch_crf(rng):
    torch = pytest.importorskip("torch")
    torchcrf = pytest.importorskip("torchcrf")
    crf = make(5, rng)
    x, targets, lengths = data(4, 7, 5, rng)
    lengths = np.maximum(lengths, 1)  # it needs a step of each
    x, targets = np.nan_to_num(x), np.maximum(targets, 0)
    other = torchcrf.CRF(5, batch_first=True).double()
    pairs = {"transitions": "transitions", "start": "start_transitions", "end": "end_transitions"}
    with torch.no_grad():
        for name, theirs in pairs.items():
            getattr(other, theirs).copy_(torch.from_numpy(crf[name].copy()))
    emissions = torch.from_numpy(x.copy()).requires_grad_()
    mask = torch.from_numpy(np.arange(7) < lengths[:, np.newaxis])
    value = -other(emissions, torch.from_numpy(targets), mask=mask)
    value.backward()
    loss = crf.cross_entropy(x, targets, lengths=lengths)
    assert loss.value == pytest.approx(value.item(), rel=1e-12)
    np.testing.assert_allclose(loss.gradients.input, emissions.grad.numpy(), atol=1e-12)
    for name, theirs in pairs.items():
        expected = getattr(other, theirs).grad.numpy()
        np.testing.assert_allclose(loss.gradients[name], expected, atol=1e-12)
    best = other.decode(emissions, mask=mask)
    for row, n, right in zip(crf.decode(x, lengths=lengths), lengths, best, strict=True):
        assert row[:n].tolist() == right


def test_autograd_of_pytorch(rng):
    """The partition function as a product of matrices, differentiated by PyTorch."""
    torch = pytest.importorskip("torch")
    crf = make(5, rng)
    x = rng.standard_normal((1, 9, 5))
    targets = rng.integers(0, 5, (1, 9))
    arrays = [x[0], *(crf[name] for name in crf)]
    e, a, s, f = (torch.from_numpy(array.copy()).requires_grad_() for array in arrays)
    alpha = s + e[0]
    for t in range(1, 9):
        alpha = e[t] + torch.logsumexp(alpha[:, None] + a, 0)
    y = torch.from_numpy(targets[0])
    score = s[y[0]] + f[y[-1]] + e[torch.arange(9), y].sum() + a[y[:-1], y[1:]].sum()
    (torch.logsumexp(alpha + f, 0) - score).backward()
    loss = crf.cross_entropy(x, targets)
    np.testing.assert_allclose(loss.gradients.input[0], e.grad.numpy(), atol=1e-12)
    for name, tensor in zip(crf, (a, s, f), strict=True):
        np.testing.assert_allclose(loss.gradients[name], tensor.grad.numpy(), atol=1e-12)
