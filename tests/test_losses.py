"""Losses and output functions against their formulas in plain Python."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import bptt
from bptt import reference

DTYPES = [np.float32, np.float64]
LOSSES = ["ids", "probabilities", "binary", "squared", "quantiles", "gaussian", "ordinal"]
LEVELS = (0.1, 0.5, 0.9)
FUNCTIONS = {
    "ids": bptt.softmax_cross_entropy,
    "probabilities": bptt.softmax_cross_entropy,
    "binary": bptt.binary_cross_entropy,
    "squared": bptt.mean_squared_error,
    "quantiles": functools.partial(bptt.pinball_loss, quantiles=LEVELS),
    "gaussian": bptt.gaussian_nll,
    "ordinal": bptt.ordinal_cross_entropy,
}
OF_IDS = ("ids", "ordinal")
every_loss = pytest.mark.parametrize("kind", LOSSES)


def rounding(dtype):
    return {"rtol": 2e-6, "atol": 2e-6} if dtype == np.float32 else {"rtol": 1e-12, "atol": 1e-13}


# ---- one step, by its formula --------------------------------------------------------------------


def cross_entropy(x, q):
    top = max(x)
    e = [math.exp(value - top) for value in x]
    log_y = [value - top - math.log(math.fsum(e)) for value in x]
    loss = math.fsum(-q_k * log_y_k for q_k, log_y_k in zip(q, log_y, strict=True) if q_k > 0)
    return loss, [math.exp(a) - b for a, b in zip(log_y, q, strict=True)]


def binary_cross_entropy(x, z):
    y = [1 / (1 + math.exp(-value)) for value in x]
    each = [-b * math.log(a) - (1 - b) * math.log1p(-a) for a, b in zip(y, z, strict=True)]
    return math.fsum(each), [a - b for a, b in zip(y, z, strict=True)]


def squared_error(y, z):
    d = [a - b for a, b in zip(y, z, strict=True)]
    return math.fsum(a * a for a in d) / len(d), [2 * a / len(d) for a in d]


def pinball(y, z):
    count, losses, d = len(y), [], []
    for k, target in enumerate(z):
        for i, q in enumerate(LEVELS):
            error = target - y[k * len(LEVELS) + i]
            losses.append(max(q * error, (q - 1) * error) / count)
            d.append((-q if error > 0 else 1 - q) / count)
    return math.fsum(losses), d


def gaussian(y, z):
    K, losses, d = len(z), [], []
    for k, target in enumerate(z):
        mean, variance = y[k], math.exp(y[K + k])
        density = math.exp(-((target - mean) ** 2) / (2 * variance)) / math.sqrt(
            2 * math.pi * variance
        )
        losses.append(-math.log(density) if density > 1e-300 else math.inf)
        d.append((mean - target) / variance / K)
    d += [(1 - (z[k] - y[k]) ** 2 / math.exp(y[K + k])) / (2 * K) for k in range(K)]
    return math.fsum(losses) / K, d


def ordinal(x, z):
    ratios = [1 / (1 + math.exp(-value)) for value in x]  # p(class > k | class >= k)
    losses = [-math.log(p) for p in ratios[:z]]
    losses += [-math.log1p(-p) for p in ratios[z : z + 1]]
    d = [p - (k < z) if k <= z else 0.0 for k, p in enumerate(ratios)]
    return math.fsum(losses), d


FORMULAS = {
    "squared": squared_error,
    "quantiles": pinball,
    "gaussian": gaussian,
    "ordinal": ordinal,
}


# ---- problems ------------------------------------------------------------------------------------


@dataclass
class Problem:
    """Arguments of a loss, batch-first; `poison` overwrites ignored values."""

    kind: str
    output: np.ndarray  # (B, T, K)
    targets: np.ndarray  # (B, T), or (B, T, K)
    counts: np.ndarray  # weights (B, T)
    options: dict = field(default_factory=dict)

    def __call__(self, *, time_major=False, **options):
        chosen = {**self.options, **options}
        output, targets = self.output, self.targets
        if time_major:
            output, targets = output.swapaxes(0, 1), targets.swapaxes(0, 1)
            for name in ("mask", "weights"):
                if np.ndim(chosen.get(name)) == 2:
                    chosen[name] = chosen[name].T
            chosen["time_major"] = True
        value, gradient = FUNCTIONS[self.kind](output, targets, **chosen)
        return value, gradient.swapaxes(0, 1) if time_major else gradient

    def expected(self, reduction="sum"):
        """Value and gradient by the formula, step by step."""
        smoothing = self.options.get("label_smoothing", 0.0)
        K = self.output.shape[-1]
        losses, gradient = [], np.zeros(self.output.shape)
        divisor = self.counts.sum() if reduction == "mean" and self.counts.any() else 1.0
        for at in zip(*np.nonzero(self.counts), strict=True):
            x = [float(value) for value in self.output[at]]
            if self.kind == "binary":
                loss, d = binary_cross_entropy(x, self.targets[at].tolist())
            elif self.kind in FORMULAS:
                loss, d = FORMULAS[self.kind](x, self.targets[at].tolist())
            else:
                hard = self.targets[at]
                q = np.eye(K)[hard] if self.kind == "ids" else hard.astype(np.float64)
                loss, d = cross_entropy(x, ((1 - smoothing) * q + smoothing / K).tolist())
            losses.append(self.counts[at] * loss)
            gradient[at] = np.multiply(d, self.counts[at] / divisor)
        return math.fsum(losses) / divisor, gradient

    def poison(self):
        """Overwrite the values of ignored steps, which must not be read."""
        self.output[self.counts == 0] = np.nan
        self.targets[self.counts == 0] = -1 if self.kind in OF_IDS else np.nan


def make(kind, shape, dtype=np.float64, seed=0, **wanted):
    """A random problem with the options `wanted`."""
    rng = np.random.default_rng(seed)
    B, T, K = shape
    outputs = K * {"quantiles": len(LEVELS), "gaussian": 2}.get(kind, 1)
    output = (3 * rng.standard_normal((B, T, outputs))).astype(dtype)
    if kind == "gaussian":
        output[..., K:] /= 6  # of variances between 1/20 and 20
    if kind == "ids":
        targets = rng.integers(0, K, (B, T))
    elif kind == "ordinal":
        targets = rng.integers(0, K + 1, (B, T))
    elif kind == "probabilities":
        targets = rng.dirichlet(np.full(K, 0.3), (B, T)).astype(dtype)
    elif kind == "binary":
        targets = rng.random(shape).round(rng.integers(0, 3)).astype(dtype)
    else:
        targets = rng.standard_normal(shape).astype(dtype)
    counts, options = np.ones((B, T)), {}
    if wanted.get("lengths"):
        options["lengths"] = rng.integers(0, T + 1, B)
        counts *= np.arange(T) < options["lengths"][:, np.newaxis]
    if wanted.get("mask"):
        options["mask"] = rng.random((B, T)) < 0.7
        counts *= options["mask"]
    if wanted.get("weights"):
        whole = wanted["weights"] == "sequences"
        options["weights"] = rng.integers(0, 3, B if whole else (B, T)) * rng.random(1)
        counts *= options["weights"][:, np.newaxis] if whole else options["weights"]
    if wanted.get("smoothing") and kind in ("ids", "probabilities"):
        options["label_smoothing"] = 0.1
    return Problem(kind, output, targets, counts, options)


EVERYTHING = {"lengths": True, "mask": True, "weights": "targets", "smoothing": True}


# ---- formulas ------------------------------------------------------------------------------------


@every_loss
@settings(
    max_examples=100,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    shape=st.tuples(st.integers(0, 4), st.integers(0, 5), st.integers(1, 40)),
    dtype=st.sampled_from(DTYPES),
    seed=st.integers(0, 1000),
    time_major=st.booleans(),
    reduction=st.sampled_from(["sum", "mean"]),
    wanted=st.fixed_dictionaries(
        {
            "lengths": st.booleans(),
            "mask": st.booleans(),
            "weights": st.sampled_from([None, "sequences", "targets"]),
            "smoothing": st.booleans(),
        }
    ),
)
def test_loss_matches_its_formula(isa, kind, shape, dtype, seed, time_major, reduction, wanted):
    problem = make(kind, shape, dtype, seed, **wanted)
    value, gradient = problem.expected(reduction)
    problem.poison()
    loss = problem(time_major=time_major, reduction=reduction)
    assert type(loss[0]) is float
    assert loss[1].dtype == dtype
    scale = max(1.0, problem.counts.sum())
    np.testing.assert_allclose(loss[0], value, rtol=rounding(dtype)["rtol"], atol=1e-6 * scale)
    if dtype == np.float64:
        np.testing.assert_allclose(loss[0], value, rtol=1e-12, atol=1e-13 * scale)
    np.testing.assert_allclose(loss[1], gradient, **rounding(dtype))
    assert not loss[1][problem.counts == 0].any()


@every_loss
@pytest.mark.parametrize("reduction", ["sum", "mean"])
@pytest.mark.usefixtures("isa")
def test_gradient_matches_central_differences(kind, reduction):
    problem = make(kind, (3, 4, 5), seed=4, **EVERYTHING)
    problem.poison()
    _, gradient = problem(reduction=reduction)
    assert problem.counts.any()
    epsilon = 1e-5
    for at in np.ndindex(problem.output.shape):
        middle = problem.output[at]
        values = []
        for sign in (1, -1):
            problem.output[at] = middle + sign * epsilon
            values.append(problem(reduction=reduction)[0])
        problem.output[at] = middle
        expected = (values[0] - values[1]) / (2 * epsilon)
        assert gradient[at] == pytest.approx(expected, rel=1e-6, abs=1e-8)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("lengths", [None, (5, 0, 2, 4)])
def test_softmax_cross_entropy_matches_the_reference(dtype, lengths):
    rng = np.random.default_rng(0)
    logits = (3 * rng.standard_normal((4, 5, 7))).astype(dtype)
    targets = rng.integers(0, 7, (4, 5))
    ends = None if lengths is None else np.array(lengths)
    value, gradient = reference.softmax_cross_entropy(logits.astype(np.float64), targets, ends)
    loss = bptt.softmax_cross_entropy(logits, targets, lengths=ends)
    assert loss.value == pytest.approx(value, rel=rounding(dtype)["rtol"])
    np.testing.assert_allclose(loss.gradient, gradient, **rounding(dtype))


# ---- layouts -------------------------------------------------------------------------------------


@every_loss
def test_loss_once_per_sequence(kind):
    problem = make(kind, (6, 1, 7), mask=True, weights="targets", smoothing=True)
    value, gradient = problem(reduction="mean")
    options = problem.options
    for name in ("mask", "weights"):
        options[name] = options[name][:, 0]
    loss = FUNCTIONS[kind](problem.output[:, 0], problem.targets[:, 0], reduction="mean", **options)
    assert loss.value == value
    np.testing.assert_array_equal(loss.gradient, gradient[:, 0])


@pytest.mark.parametrize("function", [bptt.binary_cross_entropy, bptt.mean_squared_error])
@pytest.mark.parametrize("shape", [(4, 1), (4, 5, 1)])
def test_single_output_without_last_axis(function, shape):
    rng = np.random.default_rng(0)
    output, targets = rng.standard_normal(shape), rng.random(shape)
    expected, loss = function(output, targets), function(output, targets[..., 0])
    assert loss.value == expected.value
    assert loss.gradient.shape == shape
    np.testing.assert_array_equal(loss.gradient, expected.gradient)


@every_loss
def test_results_do_not_depend_on_strides(kind):
    problem = make(kind, (4, 5, 6), **EVERYTHING)
    value, gradient = problem()
    problem.output = np.asfortranarray(problem.output)
    problem.targets = np.asfortranarray(problem.targets)
    problem.options = {
        name: np.repeat(option, 2, axis=0)[::2] if np.ndim(option) else option
        for name, option in problem.options.items()
    }
    again = problem()
    assert again[0] == value
    np.testing.assert_array_equal(again[1], gradient)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32", "int64", "uint64"])
def test_ids_of_any_integer_dtype(dtype):
    problem = make("ids", (4, 5, 6), lengths=True)
    value, gradient = problem()
    problem.targets = problem.targets.astype(dtype)
    again = problem()
    assert again[0] == value
    np.testing.assert_array_equal(again[1], gradient)


@every_loss
def test_arguments_are_not_changed(kind):
    problem = make(kind, (4, 5, 6), **EVERYTHING)
    arrays = [problem.output, problem.targets, *problem.options.values()]
    before = [np.copy(array) for array in arrays]
    for array in arrays:
        if isinstance(array, np.ndarray):
            array.flags.writeable = False
    problem(reduction="mean")
    for old, new in zip(before, arrays, strict=True):
        np.testing.assert_array_equal(old, new)


# ---- equivalent arguments ------------------------------------------------------------------------


@every_loss
def test_integer_weight_is_a_number_of_copies(kind):
    problem = make(kind, (3, 4, 5), smoothing=True)
    counts = np.array([[2, 0, 1, 3], [0, 0, 0, 0], [1, 1, 0, 1]])
    value, gradient = problem(weights=counts.astype(np.float64), reduction="mean")
    rows = np.repeat(problem.output.reshape(-1, problem.output.shape[2]), counts.ravel(), axis=0)
    width = problem.targets.shape[2:]
    targets = np.repeat(problem.targets.reshape(-1, *width), counts.ravel(), axis=0)
    copies = FUNCTIONS[kind](rows, targets, reduction="mean", **problem.options)
    assert value == pytest.approx(copies.value, rel=1e-14)
    np.testing.assert_allclose(
        gradient[counts == 1], copies.gradient[[2, 6, 7, 8]], rtol=1e-14, atol=1e-16
    )


@every_loss
def test_lengths_mask_and_weights_ignore_alike(kind):
    problem = make(kind, (3, 4, 5), smoothing=True)
    lengths = np.array([4, 0, 2])
    mask = np.arange(4) < lengths[:, np.newaxis]
    expected = problem(lengths=lengths, reduction="mean")
    for option in ({"mask": mask}, {"weights": mask.astype(np.float64)}):
        found = problem(reduction="mean", **option)
        assert found[0] == expected[0]
        np.testing.assert_array_equal(found[1], expected[1])


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("dtype", DTYPES)
def test_ids_are_one_hot_probabilities(smoothing, dtype):
    problem = make("ids", (3, 4, 5), dtype, lengths=True)
    options = {**problem.options, "label_smoothing": smoothing}
    one_hot = np.eye(5, dtype=dtype)[problem.targets]
    expected = bptt.softmax_cross_entropy(problem.output, one_hot, **options)
    loss = bptt.softmax_cross_entropy(problem.output, problem.targets, **options)
    assert loss.value == pytest.approx(expected.value, rel=rounding(dtype)["rtol"])
    np.testing.assert_allclose(loss.gradient, expected.gradient, **rounding(dtype))


def test_binary_is_softmax_of_two_classes():
    rng = np.random.default_rng(0)
    x, z = rng.standard_normal((50, 1)), rng.random((50, 1))
    one = bptt.binary_cross_entropy(x, z)
    two = bptt.softmax_cross_entropy(np.hstack([x, 0 * x]), np.hstack([z, 1 - z]))
    assert one.value == pytest.approx(two.value, rel=1e-13)
    np.testing.assert_allclose(one.gradient, two.gradient[:, :1], rtol=1e-11, atol=1e-15)


@every_loss
@pytest.mark.parametrize("option", ["lengths", "mask", "weights"])
def test_mean_over_no_steps_is_zero(kind, option):
    nothing = {"lengths": np.zeros(2, int), "mask": np.zeros((2, 3), bool), "weights": np.zeros(2)}
    value, gradient = make(kind, (2, 3, 4))(reduction="mean", **{option: nothing[option]})
    assert value == 0
    assert not gradient.any()


# ---- extreme numbers -----------------------------------------------------------------------------


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [800.0, 1e4, 1e30])
@pytest.mark.parametrize("soft", [False, True])
def test_large_logits(size, dtype, soft):
    logits = np.array([[size, 0.0], [0.0, size], [-size, -size]], dtype)
    targets = np.array([0, 0, 1])
    given = np.eye(2, dtype=dtype)[targets] if soft else targets
    loss = bptt.softmax_cross_entropy(logits, given)
    assert loss.value == pytest.approx(float(dtype(size)) + math.log(2), rel=1e-15)
    np.testing.assert_array_equal(loss.gradient, [[0, 0], [-1, 1], [0.5, -0.5]])
    # q = (0.9, 0.1): the first is 0.1 size, the second 0.9 size
    smooth = bptt.softmax_cross_entropy(logits, given, label_smoothing=0.2)
    assert smooth.value == pytest.approx(float(dtype(size)) + math.log(2), rel=1e-6)
    expected = [[0.1, -0.1], [-0.9, 0.9], [0.4, -0.4]]
    np.testing.assert_allclose(smooth.gradient, expected, rtol=1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
def test_large_binary_logits(dtype):
    logits = np.array([[1e4, -1e4, 1e4, -1e4, 1e4]], dtype)
    targets = np.array([[1, 0, 0, 1, 0.25]], dtype)
    loss = bptt.binary_cross_entropy(logits, targets)
    assert loss.value == 27500
    np.testing.assert_array_equal(loss.gradient, [[0, 0, 1, -1, 0.75]])


def test_sums_are_accumulated_in_float64():
    """2^24 + 1 is not representable in float32."""
    output = np.full((1, 2**12 + 1, 1), 2.0**6, np.float32)
    output[0, -1] = 1
    loss = bptt.mean_squared_error(output, np.zeros_like(output))
    assert loss.value == 2**24 + 1
    logits = np.zeros((2**12, 2**6, 2), np.float32)
    loss = bptt.softmax_cross_entropy(logits, np.zeros(logits.shape[:2], int))
    assert loss.value == pytest.approx(2**18 * math.log(2), rel=1e-10)


@pytest.mark.usefixtures("isa")
def test_logits_of_minus_infinity():
    x = np.array([[1.0, -np.inf, 2.0]])
    expected = bptt.softmax_cross_entropy(x[:, [0, 2]], np.array([1]))
    for targets in (np.array([2]), np.array([[0.0, 0.0, 1.0]])):
        loss = bptt.softmax_cross_entropy(x, targets)
        assert loss.value == pytest.approx(expected.value, rel=1e-15)
        np.testing.assert_allclose(loss.gradient[:, [0, 2]], expected.gradient, rtol=1e-15)
        assert loss.gradient[0, 1] == 0
    for targets in (np.array([1]), np.array([[0.0, 1.0, 0.0]])):
        assert bptt.softmax_cross_entropy(x, targets).value == np.inf


@every_loss
@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("place", [0, 1, 17, 39])
def test_nan_stays_in_its_step(kind, place):
    problem = make(kind, (2, 3, 40))
    _, expected = problem()
    problem.output[1, 2, place] = np.nan
    value, gradient = problem()
    assert np.isnan(value)
    assert np.isnan(gradient[1, 2, place])
    others = np.arange(6).reshape(2, 3) != 5
    np.testing.assert_array_equal(gradient[others], expected[others])


# ---- softmax and sigmoid -------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(7,), (3, 1), (2, 3, 50), (0, 4)])
def test_softmax(shape, dtype):
    x = (5 * np.random.default_rng(0).standard_normal(shape)).astype(dtype)
    y = bptt.softmax(x)
    assert y.dtype == dtype
    e = np.exp(x.astype(np.float64))
    np.testing.assert_allclose(y, e / e.sum(-1, keepdims=True), rtol=32 * np.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", DTYPES)
def test_sigmoid(dtype):
    x = np.linspace(-80, 80, 1001).astype(dtype).reshape(7, 11, 13)
    y = bptt.sigmoid(x)
    assert y.dtype == dtype
    expected = [1 / (1 + math.exp(-float(value))) for value in x.ravel()]
    np.testing.assert_allclose(y.ravel(), expected, rtol=8 * np.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", DTYPES)
def test_probabilities_of_large_logits(dtype):
    x = np.array([1e4, -1e4, 1e30, -1e30, np.inf, -np.inf, 0], dtype)
    with np.errstate(all="raise"):
        np.testing.assert_array_equal(bptt.sigmoid(x), [1, 0, 1, 0, 1, 0, 0.5])
        np.testing.assert_array_equal(bptt.softmax(x[:3]), [0, 0, 1])
        np.testing.assert_array_equal(bptt.softmax(np.array([0, -np.inf, 0], dtype)), [0.5, 0, 0.5])
    assert np.isnan(bptt.sigmoid(np.array([np.nan], dtype))).all()
    assert np.isnan(bptt.softmax(np.array([np.nan, 0], dtype))).all()


def test_gradients_are_probabilities_minus_targets():
    problem = make("ids", (3, 4, 5))
    np.testing.assert_allclose(
        problem()[1], bptt.softmax(problem.output) - np.eye(5)[problem.targets], atol=1e-15
    )
    problem = make("binary", (3, 4, 5))
    np.testing.assert_array_equal(problem()[1], bptt.sigmoid(problem.output) - problem.targets)


# ---- errors: those of a single argument are in wrong_arguments.py --------------------------------

LOGITS, TARGETS = np.zeros((2, 3, 4)), np.zeros((2, 3), int)
PROBABILITIES = "targets must be probabilities, >= 0 with a sum of 1 over the classes"


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (
            {"targets": TARGETS.astype(float)},
            TypeError,
            "targets must be integers (classes) or float64 (probabilities), got dtype float64: "
            "use targets.astype(np.int64)",
        ),
        (
            {"targets": TARGETS.T, "time_major": True},
            ValueError,
            "targets must have shape (steps, batch) = (2, 3), got (3, 2)",
        ),
        (
            {"logits": LOGITS[0]},
            ValueError,
            "targets must have shape (batch,) = (3,), got (2, 3)",
        ),
        (
            {"logits": LOGITS[0], "targets": TARGETS[0], "lengths": np.ones(3, int)},
            ValueError,
            "lengths needs logits of shape (batch, steps, classes), got (3, 4)",
        ),
        (
            {"logits": LOGITS[0], "targets": TARGETS[0], "time_major": True},
            ValueError,
            "time_major needs logits of shape (batch, steps, classes), got (3, 4)",
        ),
        (
            {"logits": LOGITS[0], "targets": TARGETS[0], "mask": np.ones((3, 4), bool)},
            ValueError,
            "mask must have shape (batch,) = (3,), got (3, 4)",
        ),
        (
            {"logits": LOGITS[0], "targets": TARGETS[0], "weights": np.ones((3, 1))},
            ValueError,
            "weights must have shape (batch,) = (3,), got (3, 1)",
        ),
        (
            {"mask": np.ones((3, 2), bool), "time_major": True},
            ValueError,
            "mask must have shape (steps, batch) = (2, 3), got (3, 2)",
        ),
        (
            {"targets": LOGITS.astype(np.float32)},
            TypeError,
            "targets must have dtype float64, got float32: use targets.astype(np.float64)",
        ),
        (
            {"targets": LOGITS + 0.3},
            ValueError,
            f"{PROBABILITIES}, got a sum of 1.2",
        ),
        (
            {"targets": LOGITS - 0.5},
            ValueError,
            f"{PROBABILITIES}, got -0.5",
        ),
    ],
)
def test_inconsistent_arguments(arguments, error, message):
    with pytest.raises(error) as raised:
        bptt.softmax_cross_entropy(**{"logits": LOGITS, "targets": TARGETS, **arguments})
    assert str(raised.value) == message


@pytest.mark.parametrize("value", [-1, 4, 2**40])
def test_ignored_targets_are_not_checked(value):
    targets = TARGETS.copy()
    targets[1, 2] = value
    mask = np.ones((2, 3), bool)
    mask[1, 2] = False
    bptt.softmax_cross_entropy(LOGITS, targets, mask=mask)
    with pytest.raises(ValueError, match=r"targets must lie in \[0, classes\) = \[0, 4\), got"):
        bptt.softmax_cross_entropy(LOGITS, targets, mask=~mask)


# ---- second witnesses ----------------------------------------------------------------------------


def test_pinball_loss_matches_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics")
    random = np.random.default_rng(0)
    z, y = random.standard_normal((50, 1)), random.standard_normal((50, 3))
    expected = np.mean(
        [metrics.mean_pinball_loss(z, y[:, i], alpha=q) for i, q in enumerate(LEVELS)]
    )
    assert bptt.pinball_loss(y, z[:, 0], LEVELS, reduction="mean").value == pytest.approx(expected)


def test_gaussian_nll_matches_torch():
    torch = pytest.importorskip("torch")
    random = np.random.default_rng(0)
    z, y = random.standard_normal((50, 2)), random.standard_normal((50, 4))
    given = torch.tensor(y, requires_grad=True)
    expected = torch.nn.functional.gaussian_nll_loss(
        given[:, :2], torch.tensor(z), given[:, 2:].exp(), full=True
    )
    expected.backward()
    loss = bptt.gaussian_nll(y, z, reduction="mean")
    assert loss.value == pytest.approx(expected.item())
    np.testing.assert_allclose(loss.gradient, given.grad.numpy(), rtol=1e-12, atol=1e-15)
