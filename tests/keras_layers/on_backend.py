"""`bptt.keras` against Keras' own layers: run by test_layers.py in a process for each backend."""

from __future__ import annotations

import keras
import numpy as np
import pytest

import bptt.keras
from bptt.keras import _layers

BACKEND = keras.config.backend()
RNG = np.random.default_rng(0)
X = RNG.normal(size=(5, 7, 3)).astype("f4")
MASK = np.array(
    [
        [1, 1, 1, 1, 1, 1, 1],
        [1, 1, 1, 0, 0, 0, 0],
        [0, 0, 1, 1, 1, 1, 1],
        [1, 0, 1, 0, 0, 1, 0],
        [0, 0, 0, 0, 0, 0, 0],
    ],
    dtype=bool,
)
KINDS = ("SimpleRNN", "LSTM", "GRU")
ALL = {"return_sequences": True}
OPTIONS = {
    "plain": {},
    "without bias": {"use_bias": False, "go_backwards": True},
    "relu": {"activation": "relu"},
    "linear": {"activation": None, **ALL},
    "sigmoid": {"activation": "sigmoid", "return_state": True},
    "hard_sigmoid": {"recurrent_activation": "hard_sigmoid", **ALL},
    "reset before": {"reset_after": False, **ALL},
    "reset before, without bias": {"reset_after": False, "use_bias": False},
    "all outputs, backwards": {"return_state": True, "go_backwards": True, **ALL},
    "zero": {"zero_output_for_mask": True, **ALL},
    "zero, last, dropout": {"zero_output_for_mask": True, "dropout": 0.4, "seed": 7},
}
UNMASKED = ("plain", "all outputs, backwards", "zero, last, dropout")  # each takes JAX a second
CASES = [
    (kind, name, masked)
    for kind in KINDS
    for name, options in OPTIONS.items()
    if not (kind != "GRU" and "reset_after" in options)
    and not (kind == "SimpleRNN" and "recurrent_activation" in options)
    for masked in (False, True)[name not in UNMASKED :]
]
# Keras' own warning with NumPy 2
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
every_kind = pytest.mark.parametrize("kind", KINDS)


def pair(kind, **options):
    """Return Keras' layer and ours with the same weights, none of which are 0."""
    layers = [getattr(module, kind)(4, **options) for module in (keras.layers, bptt.keras)]
    for layer in layers:
        layer.build(X.shape)
    weights = [RNG.normal(size=w.shape) * 0.5 for w in layers[0].get_weights()]
    for layer in layers:
        layer.set_weights(weights)
    return layers


@pytest.fixture
def calls(monkeypatch):
    """The calls of the kernels."""
    found = []
    run = _layers.kernels.run

    def recorded(*arguments):
        found.append(arguments)
        return run(*arguments)

    monkeypatch.setattr(_layers.kernels, "run", recorded)
    return found


def mask_of(masked):
    return {"mask": keras.ops.convert_to_tensor(MASK)} if masked else {}


def numbers(value):
    return [keras.ops.convert_to_numpy(part) for part in keras.tree.flatten(value)]


def outputs_and_gradients(layer, *tensors, **options):
    """Return outputs, and gradients of weights and tensors, of a loss that weighs all outputs."""
    names = ("sequences", "initial_state")

    if BACKEND == "torch":
        import torch

        leaves = keras.tree.map_structure(
            lambda t: torch.tensor(t, requires_grad=True), list(tensors)
        )
        found = layer(**dict(zip(names, leaves, strict=False)), **options)
        weights = [w.value for w in layer.trainable_weights]
        parts = keras.tree.flatten(found)
        loss = sum((y * torch.linspace(-1, 1, y.numel()).view(y.shape)).sum() for y in parts)
        gradients = torch.autograd.grad(loss, [*weights, *keras.tree.flatten(leaves)])
        return numbers(found), numbers(gradients)
    import jax

    state = [v.value for v in layer.non_trainable_variables]

    def run(weights, tensors):
        inputs = dict(zip(names, tensors, strict=False))
        sequences = inputs.pop("sequences")
        found, _ = layer.stateless_call(weights, state, sequences, **inputs, **options)
        parts = keras.tree.flatten(found)
        return sum(
            (y * jax.numpy.linspace(-1, 1, y.size).reshape(y.shape)).sum() for y in parts
        ), found

    weights = [v.value for v in layer.trainable_variables]
    gradients, found = jax.jit(jax.grad(run, (0, 1), has_aux=True))(weights, list(tensors))
    return numbers(found), numbers(gradients)


def assert_same(found, expected, tolerance=1e-5):
    for one, other in zip(found, expected, strict=True):
        for a, b in zip(one, other, strict=True):
            np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(("kind", "name", "masked"), CASES)
def test_outputs_and_gradients(kind, name, masked, calls):
    theirs, ours = pair(kind, **OPTIONS[name])
    options = {"training": True} | mask_of(masked)
    expected, found = (outputs_and_gradients(layer, X, **options) for layer in (theirs, ours))
    assert_same(found, expected)
    assert calls


@every_kind
@pytest.mark.parametrize("masked", [False, True])
def test_initial_state(kind, masked):
    theirs, ours = pair(kind, return_state=True, return_sequences=True)
    state = [RNG.normal(size=(5, 4)).astype("f4") for _ in range(1 + (kind == "LSTM"))]
    expected, found = (
        outputs_and_gradients(layer, X, state, **mask_of(masked)) for layer in (theirs, ours)
    )
    assert_same(found, expected)


def models(kind, **options):
    """Return two models, with Keras' layers and ours, of the same weights."""
    found = []
    for module in (keras.layers, bptt.keras):
        keras.utils.set_random_seed(3)
        layer = getattr(module, kind)
        model = keras.Sequential(
            [
                keras.layers.Input((7,)),
                keras.layers.Embedding(20, 6, mask_zero=True),
                keras.layers.Bidirectional(layer(5, return_sequences=True)),
                layer(4, **options),
                keras.layers.Dense(3),
            ]
        )
        model.compile(keras.optimizers.Adam(0.01), keras.losses.SparseCategoricalCrossentropy(True))
        found.append(model)
    found[1].set_weights(found[0].get_weights())
    return found


IDS = RNG.integers(1, 20, (40, 7)) * (np.arange(7) < RNG.integers(1, 8, (40, 1)))
LABELS = IDS[:, 0] % 3


@every_kind
@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_training(kind, dropout, calls):
    """20 updates of a whole model, with masks and both directions."""
    histories = []
    for model in models(kind, dropout=dropout, seed=11):
        keras.utils.set_random_seed(5)
        history = model.fit(IDS, LABELS, batch_size=10, epochs=5, verbose=0)
        histories.append([*history.history["loss"], *model.predict(IDS, verbose=0)[0]])
    assert len(calls) > 0
    np.testing.assert_allclose(*histories, rtol=1e-4, atol=1e-5)


@every_kind
def test_files(kind, tmp_path):
    """Files are read by Keras, and by `read_file`."""
    _, model = models(kind, dropout=0.1)
    model.fit(IDS, LABELS, verbose=0)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert type(again.layers[2]) is getattr(bptt.keras, kind)
    assert type(again.layers[1].backward_layer) is getattr(bptt.keras, kind)
    assert again.layers[2].get_config() == model.layers[2].get_config()
    expected, found = (one.predict(IDS, verbose=0) for one in (model, again))
    np.testing.assert_array_equal(found, expected)
    chain = bptt.importers.read_file(tmp_path / "model.keras").chain()
    logits, _ = chain(IDS, lengths=(IDS > 0).sum(axis=1))
    np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-5)


@every_kind
def test_stateful(kind):
    theirs, ours = pair(kind, stateful=True, return_sequences=True, return_state=True)
    _, *state = ours(X)
    theirs(X)
    assert_same([numbers(ours(X))], [numbers(theirs(X))])
    ours.reset_state()
    ours(X)
    _, same = pair(kind, return_sequences=True, return_state=True)
    same.set_weights([weight.numpy() for weight in ours.trainable_weights])
    found, (_, expected) = (
        outputs_and_gradients(ours, X),
        outputs_and_gradients(same, X, numbers(state)),
    )
    assert_same([found[1]], [expected[: len(found[1])]])


@every_kind
def test_functional_models_and_shapes(kind):
    inputs = keras.Input((None, 3))
    y, *state = getattr(bptt.keras, kind)(4, return_sequences=True, return_state=True)(inputs)
    assert y.shape == (None, None, 4)
    assert [part.shape for part in state] == [(None, 4)] * (1 + (kind == "LSTM"))
    model = keras.Model(inputs, [y, *state])
    assert model.predict(X, verbose=0)[0].shape == (5, 7, 4)
    assert model.predict(X[:, :2], verbose=0)[0].shape == (5, 2, 4)


@every_kind
def test_other_dtypes_run_in_keras(kind, calls):
    layer = getattr(bptt.keras, kind)(4, dtype="mixed_bfloat16")
    assert keras.backend.standardize_dtype(layer(X).dtype) == "bfloat16"
    assert not calls


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"recurrent_dropout": 0.2}, r"recurrent_dropout must be 0 for bptt.keras, got 0.2"),
        ({"activation": "gelu"}, r"activation must be one of 'tanh', .* got 'gelu'"),
        ({"recurrent_activation": "tanh"}, r"recurrent_activation must be one of 'sigmoid', 'hard"),
        ({"dropout": 0.2, "implementation": 1}, r"implementation must be 2 with dropout .* got 1"),
    ],
)
def test_refused_options(options, message):
    for kind in ("LSTM", "GRU"):
        with pytest.raises(ValueError, match=message):
            getattr(bptt.keras, kind)(4, **options)
