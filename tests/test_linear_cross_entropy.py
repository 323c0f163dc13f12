"""Output layer and loss together, against the two in turn, central differences and PyTorch."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest

import bptt
from bptt import reference

DTYPES = [np.float32, np.float64]
# Few classes: blocks of rows. Many: chunks of rows and blocks of classes; several of both.
SIZES = {
    "one": (3, 1, 1, 1),
    "few": (7, 5, 6, 11),
    "groups of rows": (40, 33, 4, 5),
    "many": (5, 7, 3, 600),
    "blocks of classes": (3, 4, 2, 9001),
    "chunks of rows": (20, 30, 3, 20_000),
    "edges of tiles": (7, 19, 37, 1111),
    "deep": (5, 13, 337, 577),
    "rows of logits too large for a chunk": (2, 65, 2, 70_001),
}
every_size = pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)


def rounding(dtype):
    return {"rtol": 2e-5, "atol": 2e-6} if dtype == np.float32 else {"rtol": 1e-11, "atol": 1e-13}


def make(size, dtype=np.float64, seed=0, *, ragged=True, bias=True):
    """Input, parameters, targets and options, with NaN where nothing must be read."""
    rng = np.random.default_rng(seed)
    B, T, D, K = size
    arguments = {
        "x": rng.standard_normal((B, T, D)).astype(dtype),
        "weight": rng.standard_normal((K, D)).astype(dtype),
        "targets": rng.integers(0, K, (B, T)),
        "bias": rng.standard_normal(K).astype(dtype) if bias else None,
    }
    if ragged:
        arguments["lengths"] = rng.integers(0, T + 1, B)
        arguments["lengths"][0] = T
        arguments["weights"] = rng.integers(1, 3, (B, T)) * 0.7
        arguments["weights"][0, 0] = 0.0
        ignored = np.arange(T) >= arguments["lengths"][:, np.newaxis]
        ignored |= arguments["weights"] == 0.0
        arguments["x"][ignored] = np.nan
        arguments["targets"][ignored] = -1
        arguments["label_smoothing"] = 0.1
    return arguments


def in_turn(x, weight, targets, *, bias=None, **options):
    """The same by a `Linear` and `softmax_cross_entropy`."""
    layer = bptt.Linear(x.shape[-1], len(weight), bias=bias is not None, dtype=x.dtype, seed=0)
    layer["weight"] = weight
    if bias is not None:
        layer["bias"] = bias
    run = layer.forward(np.nan_to_num(x))
    loss = bptt.softmax_cross_entropy(run.output, targets, **options)
    return loss, run.backward(loss), run.output.argmax(-1)


# ---- numbers -------------------------------------------------------------------------------------


@every_size
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("ragged", [False, True])
@pytest.mark.parametrize("reduction", ["sum", "mean"])
@pytest.mark.usefixtures("isa")
def test_same_as_linear_and_softmax_cross_entropy(size, dtype, ragged, reduction):
    arguments = make(size, dtype, ragged=ragged, bias=ragged)
    expected, gradients, predicted = in_turn(**arguments, reduction=reduction)
    loss = bptt.linear_cross_entropy(**arguments, reduction=reduction)
    assert type(loss.value) is float
    assert loss.value == pytest.approx(expected.value, rel=rounding(dtype)["rtol"])
    assert float(loss) == loss.value
    assert f"{loss:.2f}" == f"{loss.value:.2f}"
    np.testing.assert_allclose(loss.gradient, gradients.input, **rounding(dtype))
    np.testing.assert_allclose(loss.weight_gradient, gradients["weight"], **rounding(dtype))
    if ragged:
        np.testing.assert_allclose(loss.bias_gradient, gradients["bias"], **rounding(dtype))
    else:
        assert loss.bias_gradient is None
    counted = ~np.isnan(arguments["x"][..., 0])
    np.testing.assert_array_equal(loss.predicted[counted], predicted[counted])
    assert not loss.gradient[~counted].any()
    assert not loss.losses[~counted].any()
    divisor = arguments.get("weights", np.ones(counted.shape))[counted].sum()
    total = math.fsum(loss.losses.ravel()) / (divisor if reduction == "mean" else 1)
    assert total == pytest.approx(loss.value, rel=1e-12)


@every_size
def test_value_does_not_depend_on_gradients(size):
    arguments = make(size, np.float32)
    loss = bptt.linear_cross_entropy(**arguments)
    alone = bptt.linear_cross_entropy(**arguments, gradients=False)
    assert alone.value == loss.value
    assert (alone.gradient, alone.weight_gradient, alone.bias_gradient) == (None, None, None)
    np.testing.assert_array_equal(alone.losses, loss.losses)
    np.testing.assert_array_equal(alone.predicted, loss.predicted)


@pytest.mark.parametrize("classes", [5, 600])
def test_gradients_match_central_differences(classes):
    arguments = make((3, 4, 3, classes), seed=1)
    loss = bptt.linear_cross_entropy(**arguments, reduction="mean")
    found = {
        "x": loss.gradient,
        "weight": loss.weight_gradient,
        "bias": loss.bias_gradient,
    }
    rng, epsilon = np.random.default_rng(0), 1e-5
    for name, gradient in found.items():
        array = arguments[name]
        places = list(np.ndindex(array.shape))
        for i in rng.permutation(len(places))[:60]:
            middle = array[places[i]]
            values = []
            for sign in (1, -1):
                array[places[i]] = middle + sign * epsilon
                values.append(bptt.linear_cross_entropy(**arguments, reduction="mean").value)
            array[places[i]] = middle
            expected = (values[0] - values[1]) / (2 * epsilon)
            assert gradient[places[i]] == pytest.approx(expected, rel=1e-5, abs=1e-9)


@pytest.mark.parametrize("classes", [7, 700])
def test_reference(classes):
    arguments = make((4, 5, 3, classes), ragged=False)
    x, weight, bias = (arguments[name] for name in ("x", "weight", "bias"))
    logits = reference.linear(x, weight, bias)
    value, d_logits = reference.softmax_cross_entropy(logits, arguments["targets"])
    loss = bptt.linear_cross_entropy(**arguments)
    assert loss.value == pytest.approx(value, rel=1e-12)
    np.testing.assert_allclose(loss.gradient, d_logits @ weight, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("classes", [11, 3000])
def test_pytorch(classes):
    torch = pytest.importorskip("torch")
    arguments = make((6, 5, 8, classes), ragged=False)
    named = {
        name: torch.tensor(arguments[name], requires_grad=True) for name in ("x", "weight", "bias")
    }
    logits = torch.nn.functional.linear(*named.values())
    expected = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1),
        torch.tensor(arguments["targets"]).flatten(),
        label_smoothing=0.2,
    )
    expected.backward()
    loss = bptt.linear_cross_entropy(**arguments, label_smoothing=0.2, reduction="mean")
    assert loss.value == pytest.approx(expected.item(), rel=1e-12)
    for name, found in zip(named, loss[1:4], strict=True):
        np.testing.assert_allclose(found, named[name].grad, rtol=1e-10, atol=1e-14)


@every_size
@pytest.mark.parametrize("dtype", DTYPES)
def test_bits_do_not_depend_on_threads(size, dtype):
    B, T, D, K = size
    arguments = make((B, T, max(D, 48), K), dtype)  # large enough for threads
    results = []
    for count in (1, 2, 3, 8):
        with bptt.threads(count):
            loss = bptt.linear_cross_entropy(**arguments)
        results.append([np.asarray(part).tobytes() for part in loss])
    assert results.count(results[0]) == len(results)


def test_layouts():
    arguments = make((6, 5, 4, 600))
    loss = bptt.linear_cross_entropy(**arguments)
    swapped = {
        name: value.swapaxes(0, 1) if name in ("x", "targets", "weights") else value
        for name, value in arguments.items()
    }
    turned = bptt.linear_cross_entropy(**swapped, time_major=True)
    strided = {**arguments, "x": np.asfortranarray(arguments["x"])}
    strided["weight"] = np.asfortranarray(arguments["weight"])
    for other, back in ((turned, (1, 0)), (bptt.linear_cross_entropy(**strided), (0, 1))):
        assert other.value == pytest.approx(loss.value, rel=1e-14)
        for name in ("losses", "predicted"):
            np.testing.assert_allclose(getattr(other, name).transpose(back), getattr(loss, name))
        np.testing.assert_allclose(other.gradient.transpose(*back, 2), loss.gradient, rtol=1e-12)
    once = {name: arguments[name] for name in ("weight", "bias")}
    once |= {name: arguments[name][0, 1:] for name in ("x", "targets", "weights")}
    found = bptt.linear_cross_entropy(**once)  # once per sequence
    whole = {**once, **{name: once[name][:, np.newaxis] for name in ("x", "targets", "weights")}}
    expected = bptt.linear_cross_entropy(**whole)
    assert found.value == expected.value
    np.testing.assert_array_equal(found.gradient, expected.gradient[:, 0])


@pytest.mark.parametrize("classes", [4, 600])
@pytest.mark.usefixtures("isa")
def test_infinite_logits_and_nan(classes):
    arguments = make((1, 3, 1, classes), ragged=False)
    arguments["x"][:] = 1.0
    arguments["bias"][:-2] = -np.inf  # whole blocks without probability
    arguments["targets"][:] = classes - 1
    loss = bptt.linear_cross_entropy(**arguments)
    logits = (arguments["weight"][:, 0] + arguments["bias"])[-2:]
    expected = np.log(np.exp(logits).sum()) - logits[-1]
    assert loss.value == pytest.approx(3 * expected, rel=1e-12)
    assert np.isfinite(loss.weight_gradient).all()
    arguments["targets"][0, 1] = 0
    assert bptt.linear_cross_entropy(**arguments).value == np.inf
    for bad in (np.nan, np.inf):
        arguments = make((1, 3, 1, classes), ragged=False)
        expected = bptt.linear_cross_entropy(**arguments)
        arguments["x"][0, 1] = bad
        loss = bptt.linear_cross_entropy(**arguments)
        assert np.isnan(loss.value)
        assert np.isnan(loss.gradient[0, 1]).all()
        np.testing.assert_array_equal(loss.gradient[0, [0, 2]], expected.gradient[0, [0, 2]])


def test_partial_sums_of_large_weights():
    """They are over larger groups of rows: so many would take too much memory."""
    arguments = make((2, 1200, 400, 400))
    _, gradients, _ = in_turn(**arguments)
    loss = bptt.linear_cross_entropy(**arguments)
    np.testing.assert_allclose(loss.weight_gradient, gradients["weight"], **rounding(np.float64))
    with bptt.threads(1):
        alone = bptt.linear_cross_entropy(**arguments)
    assert alone.weight_gradient.tobytes() == loss.weight_gradient.tobytes()


def test_no_steps_that_count():
    arguments = make((2, 3, 4, 5), ragged=False)
    for option in ({"lengths": np.zeros(2, int)}, {"mask": np.zeros((2, 3), bool)}):
        loss = bptt.linear_cross_entropy(**arguments, **option, reduction="mean")
        assert loss.value == 0
        assert not any(part.any() for part in loss[1:])
    empty = make((0, 3, 4, 600), ragged=False)
    assert not bptt.linear_cross_entropy(**empty).weight_gradient.any()


# ---- modules -------------------------------------------------------------------------------------


def test_linear():
    arguments = make((5, 4, 3, 600))
    layer = bptt.Linear(3, 600, dtype=np.float64, seed=0)
    layer["weight"], layer["bias"] = arguments.pop("weight"), arguments.pop("bias")
    named = {**arguments, "weight": layer["weight"], "bias": layer["bias"]}
    expected = bptt.linear_cross_entropy(**named)
    loss = layer.cross_entropy(**arguments)
    assert float(loss) == loss.value == expected.value
    assert f"{loss:.3f}" == str(round(loss.value, 3))
    np.testing.assert_array_equal(loss.gradients["weight"], expected.weight_gradient)
    np.testing.assert_array_equal(loss.gradients["bias"], expected.bias_gradient)
    np.testing.assert_array_equal(loss.gradients.input, expected.gradient)
    np.testing.assert_array_equal(loss.predicted, expected.predicted)
    alone = layer.cross_entropy(**arguments, gradients=False)
    assert alone.gradients is None
    assert alone.value == loss.value


CHAINS = {
    "tagger": lambda: bptt.Sequential(
        bptt.Embedding(9, 4, dtype="float64", seed=0),
        bptt.LSTM(4, 5, dtype="float64", seed=1),
        bptt.Linear(5, 7, dtype="float64", seed=2),
    ),
    "skip": lambda: bptt.Sequential(
        bptt.Embedding(9, 4, dtype="float64", seed=0),
        bptt.GRU(4, 5, dtype="float64", seed=1, bidirectional=True),
        bptt.Linear(14, 600, dtype="float64", seed=2),
        skip_input=True,
    ),
    "pool": lambda: bptt.Sequential(
        bptt.Embedding(9, 4, dtype="float64", seed=0),
        bptt.GRU(4, 5, dtype="float64", seed=1),
        bptt.Linear(5, 7, dtype="float64", seed=2),
        pool="max",
    ),
}


@pytest.mark.parametrize("chain", CHAINS)
def test_sequential(chain):
    model, rng = CHAINS[chain](), np.random.default_rng(0)
    ids, lengths = rng.integers(0, 9, (4, 6)), np.array([6, 2, 5, 1])
    targets = rng.integers(0, 7, (4,) if model.pool else (4, 6))
    options = {"weights": rng.random(4), "label_smoothing": 0.1, "reduction": "mean"}
    expected_run = model.forward(ids, lengths=lengths)
    given = {} if model.pool else {"lengths": lengths}
    expected = bptt.softmax_cross_entropy(expected_run.output, targets, **given, **options)
    gradients = expected_run.backward(expected, retain=True)
    run = model.forward(ids, lengths=lengths)
    loss = run.cross_entropy(targets, **options)
    assert loss.value == pytest.approx(expected.value, rel=1e-13)
    found = [run.backward(loss, retain=True), run.backward(loss)]
    for one in found:
        for name, value in gradients.parameters.items():
            np.testing.assert_allclose(one.parameters[name], value, rtol=1e-9, atol=1e-13)
    assert found[0].modules[-1]._flat is not found[1].modules[-1]._flat
    inferred = model.cross_entropy(ids, targets, lengths=lengths, **options)
    assert inferred.value == pytest.approx(loss.value, rel=1e-13)
    assert inferred.gradients is None
    np.testing.assert_array_equal(inferred.predicted, loss.predicted)
    np.testing.assert_array_equal(run.output, expected_run.output)


def test_output_layer_is_that_of_the_forward_pass():
    """Output, loss and gradients are at the parameters of `forward`, even if they have changed."""
    model, rng = CHAINS["tagger"](), np.random.default_rng(0)
    ids, targets = rng.integers(0, 9, (4, 6)), rng.integers(0, 7, (4, 6))
    expected = model.forward(ids)
    expected.output  # noqa: B018 - computes it
    loss = expected.cross_entropy(targets)
    gradients = expected.backward(loss)
    run = model.forward(ids)
    model[-1]["weight"] = np.zeros((7, 5))
    np.testing.assert_array_equal(run.output, expected.output)
    again = run.cross_entropy(targets)
    assert again.value == loss.value
    for name, value in gradients.parameters.items():
        np.testing.assert_array_equal(run.backward(again, retain=True).parameters[name], value)


def test_errors():
    model = CHAINS["tagger"]()
    ids, targets = np.zeros((2, 3), int), np.zeros((2, 3), int)
    run = model.forward(ids)
    other = model.forward(ids[:1]).cross_entropy(targets[:1])
    with pytest.raises(ValueError, match="d_output must be what cross_entropy of this run"):
        run.backward(other)
    with pytest.raises(ValueError, match="d_output must be what cross_entropy of this run"):
        run.backward(model.cross_entropy(ids, targets))
    layers = bptt.Sequential(*model.modules[:-1])
    for call in (
        lambda: layers.cross_entropy(ids, targets),
        lambda: layers.forward(ids).cross_entropy(targets),
    ):
        with pytest.raises(ValueError, match="needs a Linear or a CRF as the last module"):
            call()


# ---- memory --------------------------------------------------------------------------------------

SCRIPT = """
import numpy as np, bptt
def resident(name):
    with open("/proc/self/status") as status:
        fields = dict(line.split(":") for line in status)
    return int(fields[name].split()[0]) * 1024
x, weight = np.ones((20, 100, 8), np.float32), np.ones((20_000, 8), np.float32)
targets = np.zeros((20, 100), int)
bptt.linear_cross_entropy(x[:1, :2], weight, targets[:1, :2])
before = resident("VmRSS")
bptt.linear_cross_entropy(x, weight, targets)
print(resident("VmHWM") - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_logits_are_never_in_memory_at_once():
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 0.3 * 20 * 100 * 20_000 * 4


def test_parameters_are_copied_only_where_a_run_needs_them():
    model, rng = CHAINS["tagger"](), np.random.default_rng(0)
    head = model[-1]
    ids, targets = rng.integers(0, 9, (4, 6)), rng.integers(0, 7, (4, 6))
    run = model.forward(ids)
    run.backward(run.cross_entropy(targets), retain=True)
    assert head._latest().flat is head._flat
    kept = head._latest()
    head["weight"] = 2 * head["weight"]
    assert kept.flat is not head._flat
    np.testing.assert_array_equal(2 * kept.flat[:35], head._flat[:35])
    assert head._latest() is None
    run = model.forward(ids)
    output = model(ids)[0]
    run.backward(run.cross_entropy(targets))
    assert head._latest() is None
    np.testing.assert_array_equal(run.output, output)  # still there, as long as nothing changes
    run = model.forward(ids)
    run.backward(run.cross_entropy(targets))
    head["bias"] = np.ones(7)
    with pytest.raises(RuntimeError, match="output needs the parameters of the forward pass"):
        run.output  # noqa: B018 - raises
