"""Many-to-one estimators: classifier and regressor."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("sklearn")

from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

import bptt
from bptt.nn.cells import CELLS


def bits(count, longest, seed):
    """Ragged sequences of bits, as floats (T, 1), and their parities."""
    random = np.random.default_rng(seed)
    X = [random.integers(0, 2, (n, 1)) * 1.0 for n in random.integers(1, longest + 1, count)]
    return X, np.array([int(x.sum()) % 2 for x in X])


def padded(X):
    lengths = np.array([len(x) for x in X])
    array = np.full((len(X), lengths.max(), X[0].shape[1]), 7.0)
    for row, x in zip(array, X, strict=True):
        row[: len(x)] = x
    return array, lengths


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_parity_is_learned(cell):
    X, y = bits(400, 8, 0)
    model = bptt.SequenceClassifier(
        cell=cell, hidden_size=16, epochs=60, learning_rate=0.02, random_state=0
    )
    model.fit(X, y)
    assert model.score(*bits(200, 8, 1)) == 1.0
    assert model.history_["loss"][-1] < 0.05 < model.history_["loss"][0]


def test_lists_padded_arrays_and_object_arrays_are_equivalent():
    X, y = bits(30, 6, 0)
    array, lengths = padded(X)
    objects = np.empty(len(X), object)
    objects[:] = X
    model = bptt.SequenceClassifier(hidden_size=4, epochs=2, random_state=0)
    expected = model.fit(X, y).predict_proba(X)
    for inputs, ends in ((array, lengths), (objects, None)):
        found = clone(model).fit(inputs, y, lengths=ends).predict_proba(inputs, lengths=ends)
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("tokens", ["characters", "words"])
def test_texts(tokens):
    texts = ["good film", "a good one", "bad film", "a bad one"] * 3
    moods = ["+", "+", "-", "-"] * 3
    model = bptt.SequenceClassifier(
        tokens=tokens, hidden_size=8, epochs=60, learning_rate=0.02, random_state=0
    )
    assert model.fit(texts, moods).score(texts, moods) == 1.0
    assert set(model.predict(["a film with unknown words"])) <= {"+", "-"}
    np.testing.assert_allclose(model.predict_proba(texts).sum(axis=1), 1, rtol=1e-6)


@pytest.mark.parametrize("pool", ["last", "mean", "max"])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_pools_directions_layers_dropout_and_embedding(pool, bidirectional):
    texts = ["abc", "cba", "bca", "acb"] * 4
    y = np.tile([0, 1, 0, 1], 4)
    model = bptt.SequenceClassifier(
        pool=pool,
        bidirectional=bidirectional,
        num_layers=2,
        dropout=0.1,
        embedding_size=5,
        hidden_size=12,
        epochs=150,
        learning_rate=0.02,
        random_state=0,
    )
    assert model.fit(texts, y).score(texts, y) == 1.0


def test_recurrent_dropout_and_zoneout():
    texts, y = ["abc", "cba", "bca", "acb"] * 4, np.tile([0, 1, 0, 1], 4)
    options = {"hidden_size": 12, "epochs": 100, "learning_rate": 0.02, "random_state": 0}
    model = bptt.SequenceClassifier(recurrent_dropout=0.1, zoneout=0.05, **options)
    assert model.fit(texts, y).score(texts, y) == 1.0
    layer = model.model_.modules[0]
    assert (layer.recurrent_dropout, layer.zoneout) == (0.1, 0.05)


def test_learned_initial_state(tmp_path):
    texts, y = ["abc", "cba", "bca", "acb"] * 4, np.tile([0, 1, 0, 1], 4)
    options = {"hidden_size": 8, "epochs": 30, "learning_rate": 0.02, "random_state": 0}
    model = bptt.SequenceClassifier(learn_initial_state=True, **options).fit(texts, y)
    layer = model.model_.modules[0]
    assert np.abs(layer["h0_l0"]).min() > 0
    assert np.abs(layer["c0_l0"]).min() > 0
    model.save(tmp_path / "a.safetensors")
    loaded = bptt.load_estimator(tmp_path / "a.safetensors")
    np.testing.assert_array_equal(loaded.predict_proba(texts), model.predict_proba(texts))


def test_a_generator_has_no_learned_initial_state():
    model = bptt.SequenceGenerator(learn_initial_state=True)
    with pytest.raises(ValueError, match="the input determines the initial state"):
        model.fit(["a"], ["b"])


def test_sample_weight_decides_between_contradictions():
    X, y = ["ab"] * 2, ["yes", "no"]
    model = bptt.SequenceClassifier(hidden_size=4, epochs=80, learning_rate=0.05, random_state=0)
    for weight, answer in (([9, 1], "yes"), ([1, 9], "no")):
        proba = model.fit(X, y, sample_weight=weight).predict_proba(["ab"])[0]
        assert model.predict(["ab"]) == [answer]
        np.testing.assert_allclose(proba.max(), 0.9, atol=0.02)


@pytest.mark.parametrize("outputs", [None, 1, 3])
def test_regressor_learns_sums(outputs):
    random = np.random.default_rng(0)
    X = [random.standard_normal((n, 2)) * 0.3 for n in random.integers(3, 9, 300)]
    y = np.array([x.sum() for x in X])
    if outputs is not None:
        y = np.stack([y * (i + 1) / outputs for i in range(outputs)], axis=1)
    model = bptt.SequenceRegressor(
        hidden_size=16, epochs=60, learning_rate=0.01, random_state=0
    ).fit(X, y)
    assert model.predict(X).shape == y.shape
    assert model.score(X, y) > 0.98


def test_same_seed_same_result_on_any_number_of_threads():
    X, y = bits(64, 20, 0)
    model = bptt.SequenceClassifier(
        hidden_size=40, num_layers=2, dropout=0.2, epochs=3, random_state=0
    )
    found = []
    for threads in (1, 2, 3):
        with bptt.threads(threads):
            found.append(clone(model).fit(X, y).predict_proba(X))
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])


def test_recompute_every_does_not_change_results():
    X, y = bits(8, 3000, 0)
    model = bptt.SequenceClassifier(hidden_size=8, batch_size=4, epochs=2, random_state=0)
    expected = model.fit(X, y).predict_proba(X)
    found = clone(model).set_params(recompute_every=100).fit(X, y).predict_proba(X)
    np.testing.assert_array_equal(found, expected)
    with pytest.raises(ValueError, match="recompute_every"):
        clone(model).set_params(recompute_every=100, bidirectional=True).fit(X, y)


def test_grid_search_on_a_list_of_ragged_arrays():
    X, y = bits(60, 5, 0)
    model = bptt.SequenceClassifier(epochs=2, random_state=0)
    search = GridSearchCV(model, {"hidden_size": [2, 8]}, cv=3).fit(X, y)
    assert search.best_params_["hidden_size"] in (2, 8)
    assert search.predict(X).shape == (60,)


def test_cross_validation_pipeline_and_padded_input():
    X, y = bits(60, 5, 0)
    double = FunctionTransformer(lambda X: [2 * x for x in X])
    pipeline = make_pipeline(double, bptt.SequenceClassifier(epochs=2, random_state=0))
    assert cross_val_score(pipeline, X, y, cv=3).shape == (3,)
    array, _ = padded(X)
    model = bptt.SequenceRegressor(epochs=1, random_state=0)
    assert cross_val_score(model, array[..., 0], y, cv=3).shape == (3,)


def test_partial_fit_continues():
    X, y = bits(200, 6, 0)
    model = bptt.SequenceClassifier(hidden_size=16, learning_rate=0.02, random_state=0)
    model.partial_fit(X[:10], y[:10], classes=[0, 1])
    for _ in range(40):
        model.partial_fit(X, y)
    assert model.score(X, y) > 0.98
    assert len(model.history_) == 41


def test_only_estimators_with_classes_take_them():
    with pytest.raises(TypeError, match="classes must be None for a SequenceRegressor"):
        bptt.SequenceRegressor().partial_fit(["a"], [0.5], classes=[0.5])


def test_early_stopping_restores_the_best_weights():
    X, y = bits(60, 12, 0)  # few: the network overfits
    model = bptt.SequenceClassifier(
        hidden_size=32,
        epochs=200,
        learning_rate=0.02,
        validation_fraction=0.3,
        patience=5,
        random_state=0,
    ).fit(X, y)
    losses = model.history_["validation_loss"]
    assert len(losses) == losses.index(min(losses)) + 1 + 5 < 200


def test_not_fitted():
    with pytest.raises(NotFittedError):
        bptt.SequenceClassifier().predict(["a"])


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        (
            {"cell": "lstn"},
            f"cell must be one of {', '.join(map(repr, CELLS))}, got 'lstn'",
        ),
        ({"pool": "first"}, "pool must be one of 'last', 'mean', 'max', got 'first'"),
        ({"checkpoint_path": "x"}, "checkpoint_path needs an integer random_state, got None"),
        ({"validation_fraction": 0.01}, "validation_fraction = 0.01 of 3 sequences leaves 3"),
    ],
)
def test_wrong_parameters(parameters, message):
    model = bptt.SequenceClassifier(**parameters)
    with pytest.raises(ValueError, match=f"^{message}"):
        model.fit(["ab", "a", "b"], [0, 1, 0])


@pytest.mark.parametrize(
    ("X", "y", "message"),
    [
        (["ab", "a"], [0], "y must have one target for each of 2 sequences, got 1"),
        ([], [], "X must"),
    ],
)
def test_wrong_data(X, y, message):
    with pytest.raises(ValueError, match=message):
        bptt.SequenceClassifier().fit(X, y)


@pytest.mark.parametrize("kind", [bptt.SequenceClassifier, bptt.SequenceRegressor])
def test_loaded_estimator_predicts_and_trains_identically(kind, tmp_path):
    X, y = bits(40, 6, 0)
    model = kind(
        hidden_size=6, num_layers=2, dropout=0.3, epochs=3, random_state=0, embedding_size=3
    )
    schedules = bptt.schedules
    model.set_params(schedule=schedules.WarmUp(2, schedules.CosineDecay(3)))
    texts = ["".join("ab"[int(b)] for b in x[:, 0]) for x in X]
    model.fit(texts, y).save(tmp_path / "model.safetensors")
    loaded = kind.load(tmp_path / "model.safetensors")
    np.testing.assert_array_equal(loaded.predict(texts), model.predict(texts))
    assert loaded.get_params() == {**model.get_params(), "callbacks": []}
    assert loaded.history_["loss"] == model.history_["loss"]
    for other in (model, loaded):
        other.partial_fit(texts, y)
    np.testing.assert_array_equal(loaded.predict(texts), model.predict(texts))


def test_a_file_of_another_estimator_is_not_loaded(tmp_path):
    path = tmp_path / "model.safetensors"
    X, y = bits(8, 4, 0)
    bptt.SequenceClassifier(epochs=1, random_state=0).fit(X, y).save(path)
    with pytest.raises(ValueError, match="must be a SequenceRegressor, got a Sequence"):
        bptt.SequenceRegressor.load(path)


def test_interrupted_training_is_resumed_by_fit(tmp_path):
    X, y = bits(40, 6, 0)

    class Interrupt:
        def on_epoch_end(self, training):
            if len(training.history) == 2:
                raise KeyboardInterrupt

    model = bptt.SequenceClassifier(hidden_size=6, epochs=5, random_state=0)
    expected = clone(model).fit(X, y).predict_proba(X)
    model.set_params(checkpoint_path=tmp_path / "c.safetensors", save_every=1)
    interrupted = clone(model).set_params(callbacks=[Interrupt()])
    with pytest.raises(KeyboardInterrupt):
        interrupted.fit(X, y)
    assert len(interrupted.history_) == 2
    interrupted.save(tmp_path / "interrupted.safetensors")
    np.testing.assert_array_equal(clone(model).fit(X, y, resume=True).predict_proba(X), expected)
    other = clone(model).set_params(label_smoothing=0.1)
    with pytest.raises(ValueError, match=r"label_smoothing must be unchanged, 0\.0, got 0\.1"):
        other.fit(X, y, resume=True)


# ---- numbers at every step


def running_sums(count, seed, outputs=None):
    """Ragged sequences of numbers, and at every step the sum of the last two."""
    random = np.random.default_rng(seed)
    X = [random.standard_normal((n, 1)) for n in random.integers(3, 9, count)]
    y = [10 + x[:, 0] + np.concatenate([[0], x[:-1, 0]]) for x in X]
    return X, [np.column_stack([row, -row]) if outputs == 2 else row for row in y]


@pytest.mark.parametrize("outputs", [None, 2])
def test_numbers_at_every_step(outputs, tmp_path):
    X, y = running_sums(300, 0, outputs)
    model = bptt.SequenceRegressor(
        pool=None, scale=True, hidden_size=16, epochs=20, learning_rate=0.02, random_state=0
    ).fit(X, y, validation=0.1)
    other, expected = running_sums(50, 1, outputs)
    assert model.score(other, expected) > 0.98
    found = model.predict(other)
    assert [one.shape for one in found] == [one.shape for one in expected]
    assert model.history_["validation_metric"][-1] < 0.3
    model.save(tmp_path / "model")
    loaded = bptt.SequenceRegressor.load(tmp_path / "model")
    for a, b in zip(loaded.predict(other), found, strict=True):
        np.testing.assert_array_equal(a, b)


def test_padded_and_missing_numbers_at_every_step():
    X, y = running_sums(30, 0)
    y = [row - 10 for row in y]
    array, lengths = padded(X)
    targets = padded([row[:, np.newaxis] for row in y])[0]
    model = bptt.SequenceRegressor(
        pool=None, hidden_size=4, epochs=3, dtype="float64", random_state=0
    )
    expected = clone(model).fit(X, y)
    for given in (targets, targets[..., 0]):
        found = clone(model).fit(array, given, lengths)
        np.testing.assert_allclose(found.history_["loss"], expected.history_["loss"], rtol=1e-12)
        assert found.score(array, given, lengths) == pytest.approx(expected.score(X, y))
    # targets that are missing at the end count as little as steps that do not exist
    partly = [np.concatenate([row[:-1], [np.nan]]) for row in y]
    found = clone(model).fit(X, partly)
    shorter = clone(model).fit([x[:-1] for x in X], [row[:-1] for row in y])
    np.testing.assert_allclose(found.history_["loss"], shorter.history_["loss"], rtol=1e-9)
    np.testing.assert_allclose(found.history_["metric"], shorter.history_["metric"], rtol=1e-9)
    assert found.score(X, partly) == pytest.approx(
        shorter.score([x[:-1] for x in X], [r[:-1] for r in y])
    )


@pytest.mark.parametrize(
    ("pool", "y", "message"),
    [
        ("last", [np.ones(3), np.ones(2)], "set pool=None for numbers at every step"),
        ("last", np.ones((2, 3, 4)), "pool=None takes numbers at every step"),
        (
            None,
            [1.0, 2.0],
            r"y\[0\] must have shape \(T,\) or \(T, K\), got \(\): .* set pool='last'",
        ),
        (
            None,
            [np.ones(3), np.ones(3)],
            r"y\[1\] must have a target for each of the 2 steps of X\[1",
        ),
        (None, [np.ones(3)], "y must have 2 sequences, as X, got 1"),
        (None, [np.ones((3, 2)), np.ones(2)], r"y\[1\] must have 2 outputs as y\[0\], got 1"),
        (None, [np.ones(3), np.full(2, np.inf)], r"y\[1\] must be finite or NaN"),
        (
            None,
            [np.full(3, np.nan), np.full(2, np.nan)],
            "y must have at least one target, got none",
        ),
    ],
)
def test_wrong_numbers_at_every_step(pool, y, message):
    X = [np.ones((3, 1)), np.ones((2, 1))]
    with pytest.raises(ValueError, match=message):
        bptt.SequenceRegressor(pool=pool, hidden_size=4, epochs=1).fit(X, y)


@pytest.mark.parametrize("pool", ["last", None])
def test_targets_far_from_zero_need_scaling(pool):
    X = np.random.default_rng(0).standard_normal((40, 5, 1))
    y = 1000.0 + (X[:, :, 0] if pool is None else X[:, 0, 0])
    options = {"hidden_size": 4, "epochs": 2, "random_state": 0, "pool": pool}
    message = (
        r"far worse than the mean of y: the loss is .*, its mean [0-9.]+; set scale=True, or sc"
    )
    with pytest.warns(ConvergenceWarning, match=message):
        bptt.SequenceRegressor(**options).fit(X, y)
    bptt.SequenceRegressor(**options).fit(X, y - 1000.0)  # no warning
    bptt.SequenceRegressor(**options, scale=True).fit(X, y)


@pytest.mark.parametrize(
    ("y", "error", "message"),
    [
        (["a", "b"], ValueError, "y must hold numbers and have shape"),
        ([object(), 1], TypeError, "y must hold one number, .*, got values of type object"),
        ([{}, {}], TypeError, "y must hold one number, .*, got values of type dict"),
        ([1j, 2], ValueError, "y must hold numbers and have shape"),
        ([[1, 2], [3]], ValueError, "y must hold one number, .* got sequences of different len"),
        ([1, np.nan], ValueError, "y must be finite in float32, got NaN or infinity: "),
        ([1], ValueError, "y must have one target for each of 2 sequences, got 1"),
        (3, ValueError, "y must hold numbers and have shape"),
    ],
)
def test_targets_that_are_no_numbers(y, error, message):
    model = bptt.SequenceRegressor(hidden_size=2, epochs=1, random_state=0)
    model.fit(["ab", "b"], [0.1, -0.1])
    for call in (model.score, model.fit, model.partial_fit):
        with pytest.raises(error, match=f"^{message}"):
            call(["ab", "b"], y)
