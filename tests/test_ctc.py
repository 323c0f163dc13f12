"""CTC against all paths, the reference, central differences and PyTorch; its decoders."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import bptt
from bptt import reference
from bptt.decoding import ctc_beam_search, ctc_greedy
from cases import DTYPES, dtype_id
from derivatives import assert_gradient, differences

EVERY_DTYPE = pytest.mark.parametrize("dtype", DTYPES, ids=dtype_id)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def rounding(dtype, steps=1):
    size = 400 * float(np.finfo(dtype).eps) * (1 + steps / 10)
    return {"rtol": size, "atol": size}


def collapsed(path, blank):
    """A path without repetitions and then without blanks."""
    return tuple(k for k, _ in itertools.groupby(path) if k != blank)


def all_labels(logits, blank):
    """Label sequence -> probability, over all paths of one sequence (n, K)."""
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    found = {}
    for path in itertools.product(range(logits.shape[1]), repeat=len(logits)):
        labels = collapsed(path, blank)
        found[labels] = found.get(labels, 0.0) + p[np.arange(len(path)), path].prod()
    return found


def data(batch, steps, classes, labels, rng, dtype=np.float64, blank=0):
    """Logits and targets with their lengths; NaN and -1 in the padding."""
    logits = 2 * rng.standard_normal((batch, steps, classes)).astype(dtype)
    others = np.delete(np.arange(classes), blank)
    targets = rng.choice(others, (batch, labels))
    lengths = rng.integers(steps // 2, steps + 1, batch)
    sizes = rng.integers(0, labels + 1, batch)
    lengths[0], sizes[0] = steps, labels
    logits[np.arange(steps) >= lengths[:, np.newaxis]] = np.nan
    targets[np.arange(labels) >= sizes[:, np.newaxis]] = -1
    return {"logits": logits, "targets": targets, "lengths": lengths, "target_lengths": sizes}


# ---- loss ----------------------------------------------------------------------------------------


@EVERY_DTYPE
@pytest.mark.parametrize("blank", [0, 2])
@pytest.mark.parametrize("steps", [1, 2, 5])
@pytest.mark.usefixtures("isa")
def test_loss_is_that_of_all_paths(steps, blank, dtype, rng):
    logits = rng.standard_normal((1, steps, 3)).astype(dtype)
    for labels, p in all_labels(logits[0].astype(float), blank).items():
        targets = np.array([labels], int).reshape(1, -1)
        loss = bptt.ctc_loss(logits, targets, blank=blank)
        assert loss.value == pytest.approx(
            -np.log(p), **{"rel": rounding(dtype)["rtol"], "abs": rounding(dtype)["atol"]}
        )
        assert loss.gradient.dtype == dtype


@EVERY_DTYPE
@pytest.mark.parametrize("blank", [0, 3])
@pytest.mark.parametrize(
    "size", [(3, 6, 4, 3), (4, 40, 5, 15), (3, 60, 30, 17), (5, 30, 6, 1), (70, 20, 7, 4)]
)
@pytest.mark.usefixtures("isa")
def test_loss_and_gradient_are_those_of_the_reference(size, blank, dtype, rng):
    given = data(*size, rng, dtype, blank)
    loss = bptt.ctc_loss(**given, blank=blank, zero_infinity=True)
    wide = np.nan_to_num(given["logits"].astype(float))
    close, value = rounding(dtype, size[1]), 0.0
    for b in range(size[0]):
        own = {name: array[b : b + 1] for name, array in given.items()} | {
            "logits": wide[b : b + 1]
        }
        alone, d = reference.ctc_loss(**own, blank=blank)
        value += alone if np.isfinite(alone) else 0.0
        np.testing.assert_allclose(loss.gradient[b], d[0], **close)
    np.testing.assert_allclose(loss.value, value, **close)


def test_gradient_is_central_differences(rng):
    given = data(3, 7, 4, 3, rng)
    given["targets"][0] = [1, 1, 2]  # a repetition
    options = {"weights": np.array([0.5, 2.0, 1.0]), "reduction": "mean"}
    found = bptt.ctc_loss(**given, **options).gradient
    expected = differences(lambda: bptt.ctc_loss(**given, **options).value, given["logits"])
    inside = np.isfinite(given["logits"])
    assert_gradient(found[inside], expected[inside])
    assert not found[~inside].any()


@EVERY_DTYPE
def test_long_sequences_and_unlikely_targets_keep_their_digits(dtype, rng):
    logits = (10 * rng.standard_normal((2, 600, 9))).astype(dtype)
    targets = rng.integers(1, 9, (2, 90))
    loss = bptt.ctc_loss(logits, targets)
    value, d = reference.ctc_loss(logits.astype(float), targets)
    epsilon = np.finfo(dtype).eps
    assert value > 9000
    np.testing.assert_allclose(loss.value, value, rtol=20 * epsilon)
    # Logarithms of the reference, in float64, are as large as the value.
    own = 20 * np.finfo(np.float64).eps * value
    np.testing.assert_allclose(loss.gradient, d, atol=3000 * epsilon + own)


def test_sequences_without_a_path(rng):
    logits = rng.standard_normal((3, 4, 3))
    targets = np.array([[1, 2, 1, 2], [1, 1, 1, 0], [2, 2, 1, 1]])
    sizes = np.array([4, 3, 4])  # one path; 5 steps needed; 6 steps needed
    loss = bptt.ctc_loss(logits, targets, target_lengths=sizes)
    assert loss.value == np.inf
    zero = bptt.ctc_loss(logits, targets, target_lengths=sizes, zero_infinity=True)
    first = bptt.ctc_loss(logits[:1], targets[:1])
    assert zero.value == first.value
    for found in (loss.gradient, zero.gradient):
        np.testing.assert_array_equal(found[:1], first.gradient)
        assert not found[1:].any()
    none = np.zeros(3, int)
    assert bptt.ctc_loss(logits, targets[:, :0], lengths=none).value == 0.0
    assert bptt.ctc_loss(logits, targets, lengths=none, target_lengths=sizes).value == np.inf
    forbidden = logits.copy()
    forbidden[..., 1] = -np.inf
    assert bptt.ctc_loss(forbidden, targets[:1, :1].repeat(3, 0)).value == np.inf


def test_nan_comes_through(rng):
    logits = rng.standard_normal((2, 5, 3))
    logits[1, 2, 0] = np.nan
    loss = bptt.ctc_loss(logits, np.array([[1], [2]]))
    assert np.isnan(loss.value)
    assert np.isnan(loss.gradient[1]).any()
    assert np.isfinite(loss.gradient[0]).all()


def test_weights_reduction_and_time_major(rng):
    given = data(4, 9, 5, 3, rng)
    lengths, weights = given["lengths"], np.array([1.0, 0.5, 2.0, 0.0])
    total = bptt.ctc_loss(**given, weights=weights)
    ones = [
        weight * bptt.ctc_loss(**{k: v[b : b + 1] for k, v in given.items()}).value
        for b, weight in enumerate(weights)
    ]
    assert total.value == pytest.approx(sum(ones))
    mean = bptt.ctc_loss(**given, weights=weights, reduction="mean")
    assert mean.value == pytest.approx(total.value / (lengths @ weights))
    np.testing.assert_allclose(mean.gradient, total.gradient / (lengths @ weights), rtol=1e-12)
    assert not total.gradient[3].any()
    turned = {**given, "logits": given["logits"].swapaxes(0, 1)}
    other = bptt.ctc_loss(**turned, weights=weights, time_major=True)
    assert other.value == total.value
    np.testing.assert_array_equal(other.gradient.swapaxes(0, 1), total.gradient)


@EVERY_DTYPE
def test_bits_do_not_depend_on_threads_nor_rows_on_each_other(dtype, rng):
    given = data(64, 60, 20, 12, rng, dtype)

    def run():
        return bptt.ctc_loss(**given, zero_infinity=True)

    with bptt.threads(1):
        expected = run()
    for count in (2, 3, 8):
        with bptt.threads(count):
            found = run()
        assert found.value == expected.value
        np.testing.assert_array_equal(found.gradient, expected.gradient)
    own = {name: array[5:6] for name, array in given.items()}
    alone = bptt.ctc_loss(**own, zero_infinity=True)
    np.testing.assert_array_equal(alone.gradient, expected.gradient[5:6])


@pytest.mark.parametrize("shape", [(0, 4, 3), (2, 0, 3)])
def test_empty_batches(shape):
    loss = bptt.ctc_loss(np.zeros(shape), np.zeros((shape[0], 0), int))
    assert loss.value == 0.0
    assert loss.gradient.shape == shape


def test_training_finds_labels_without_their_times(rng):
    """Each label is shown for two steps; where is not told."""
    targets = rng.integers(1, 4, (60, 3))
    x = np.zeros((60, 20, 4), np.float32)
    for row, labels in zip(x, targets, strict=True):
        for start, label in zip(np.sort(rng.choice(6, 3, replace=False)), labels, strict=True):
            row[3 * start : 3 * start + 2, label] = 1.0
    model = bptt.Sequential(bptt.Linear(4, 4, seed=0))
    optimizer = bptt.Adam(model, learning_rate=0.1)
    for _ in range(150):
        run = model.forward(x)
        optimizer.step(run.backward(bptt.ctc_loss(run.output, targets, reduction="mean")))
    for found, labels in zip(ctc_greedy(model(x)[0]), targets, strict=True):
        np.testing.assert_array_equal(found, labels)


@pytest.mark.parametrize("zero_infinity", [False, True])
def test_pytorch(zero_infinity, rng):
    torch = pytest.importorskip("torch")
    given = data(6, 30, 7, 8, rng)
    given["lengths"][1:] = 30  # every sequence has a path
    logits = torch.from_numpy(np.nan_to_num(given["logits"])).requires_grad_()
    value = torch.nn.functional.ctc_loss(
        torch.log_softmax(logits, -1).swapaxes(0, 1),
        torch.from_numpy(np.maximum(given["targets"], 0)),
        torch.from_numpy(given["lengths"]),
        torch.from_numpy(given["target_lengths"]),
        reduction="sum",
        zero_infinity=zero_infinity,
    )
    value.backward()
    loss = bptt.ctc_loss(
        **{**given, "logits": np.nan_to_num(given["logits"])}, zero_infinity=zero_infinity
    )
    assert loss.value == pytest.approx(value.item(), rel=1e-12)
    np.testing.assert_allclose(loss.gradient, logits.grad.numpy(), atol=1e-12)


def test_wrong_targets(rng):
    logits = rng.standard_normal((2, 5, 3))
    with pytest.raises(ValueError, match="targets must not have the blank, 0"):
        bptt.ctc_loss(logits, np.array([[1, 0], [1, 2]]))
    bptt.ctc_loss(logits, np.array([[1, 0], [1, 2]]), target_lengths=np.array([1, 2]))


# ---- decoding ------------------------------------------------------------------------------------


def test_greedy_collapses_the_best_path():
    path = np.array([0, 1, 1, 0, 1, 2, 2, 0])
    logits = np.eye(3)[np.stack([path, path[::-1]])]
    found = ctc_greedy(logits, lengths=np.array([8, 3]))
    assert [labels.tolist() for labels in found] == [[1, 1, 2], [2]]
    assert ctc_greedy(logits[:, :0])[0].tolist() == []
    assert ctc_greedy(logits, blank=1)[0].tolist() == [0, 0, 2, 0]


@pytest.mark.parametrize("blank", [0, 1])
def test_a_wide_beam_finds_the_probabilities_of_all_paths(blank, rng):
    logits = rng.standard_normal((2, 5, 3))
    found = ctc_beam_search(logits, blank=blank, beam=500)
    for x, hypotheses in zip(logits, found, strict=True):
        expected = all_labels(x, blank)
        assert len(hypotheses) == len(expected)
        for one in hypotheses:
            p = expected[tuple(one.tokens.tolist())]
            assert one.log_probability == one.score == pytest.approx(np.log(p))
        scores = [one.score for one in hypotheses]
        assert scores == sorted(scores, reverse=True)


def test_beam_search_sums_over_paths_where_greedy_does_not():
    """Of two steps, blank is the most likely class, and label 1 the most likely label sequence."""
    logits = np.log(np.array([[[0.6, 0.4], [0.6, 0.4]]]))
    assert ctc_greedy(logits)[0].tolist() == []
    ((best, *_),) = ctc_beam_search(logits)
    assert best.tokens.tolist() == [1]
    assert np.exp(best.log_probability) == pytest.approx(0.64)


def test_log_probability_is_that_of_the_loss(rng):
    logits = rng.standard_normal((1, 7, 4)) * 3
    ((best,),) = ctc_beam_search(logits, beam=2000, count=1)
    loss = bptt.ctc_loss(logits, best.tokens[np.newaxis])
    assert best.log_probability == pytest.approx(-loss.value, rel=1e-6)


def test_language_model_decides_between_labels(rng):
    """Labels 1 and 2 are as likely; after 1, the model wants 2, and after 2 it wants 1."""
    logits = np.log(np.tile([[0.9, 0.05, 0.05], [0.02, 0.49, 0.49]], (3, 1)))[np.newaxis]
    asked = []

    def model(labels):
        asked.append(labels)
        p = [0.0, 0.5, 0.5] if not labels else [0.0, 0.1, 0.9] if labels[-1] == 1 else [0, 0.9, 0.1]
        with np.errstate(divide="ignore"):
            return np.log(np.array(p))

    ((best, second, *_),) = ctc_beam_search(logits, language_model=model, beam=30)
    assert {tuple(one.tokens.tolist()) for one in (best, second)} == {(1, 2, 1), (2, 1, 2)}
    assert best.score == pytest.approx(best.log_probability + np.log(0.5 * 0.9 * 0.9))
    assert len(asked) == len(set(asked))
    ((long, *_),) = ctc_beam_search(logits, language_model=model, weight=0.5, bonus=3.0)
    prior = 0.5 * sum(model(tuple(long.tokens[:i].tolist()))[k] for i, k in enumerate(long.tokens))
    assert long.score == pytest.approx(long.log_probability + prior + 3.0 * len(long.tokens))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"blank": 3}, ValueError, r"blank must be in \[0, classes\) = \[0, 3\), got 3"),
        ({"beam": 0}, ValueError, "beam must be an integer >= 1, got 0"),
        ({"beam": 2, "count": 3}, ValueError, r"count must be in \[1, beam\] = \[1, 2\], got 3"),
        ({"language_model": 3}, TypeError, "language_model must be a function, got int"),
        ({"weight": -1.0}, ValueError, "weight must be in"),
        ({"bonus": np.nan}, ValueError, "bonus must be in"),
        ({"lengths": np.array([6, 1])}, ValueError, "lengths must lie in"),
        ({"language_model": len}, TypeError, "language_model's result must be a NumPy array"),
        (
            {"language_model": lambda labels: np.zeros(4)},
            ValueError,
            r"language_model's result must have shape \(classes,\) = \(3,\), got \(4,\)",
        ),
    ],
)
def test_wrong_arguments_of_the_beam_search(options, error, message):
    with pytest.raises(error, match=message):
        ctc_beam_search(np.zeros((2, 5, 3)), **options)
    with pytest.raises(ValueError, match="logits must have shape"):
        ctc_greedy(np.zeros((5, 3)))
