"""Online estimators: against the same computation by hand, and in river's conventions."""

from __future__ import annotations

import copy
import datetime
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("sklearn")

from sklearn.base import clone
from sklearn.exceptions import NotFittedError

import bptt
from bptt.estimators._running import RunningStandardizer
from bptt.nn import RTRL

GRADIENTS = ("bptt", "rtrl", "rtrl_diagonal")
SMALL = {
    "cell": "gru_reset_after",
    "hidden_size": 5,
    "learning_rate": 0.01,
    "dtype": "float64",
    "random_state": 0,
}


def stream(steps, features=3, seed=0):
    """Features, and a target that is the first one two steps ago."""
    X = np.random.default_rng(seed).normal(2.0, 3.0, (steps, features))
    return X, np.roll(X[:, 0], 2)


def learned(model, X, y):
    for x_t, y_t in zip(X, y, strict=True):
        model.learn_one(x_t, y_t)
    return model


def predictions(model, X, y):
    found = []
    for x_t, y_t in zip(X, y, strict=True):
        found.append(model.predict_one(x_t))
        model.learn_one(x_t, y_t)
    return found


# ---- the update ----------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru", "slstm"])
@pytest.mark.parametrize("num_layers", [1, 2])
def test_updates_are_those_of_truncated_bptt(cell, num_layers):
    """Windows of `truncated_bptt` with k1 = 1, from the same weights, with the same optimizer."""
    X, y = stream(30)
    model = bptt.OnlineRegressor(
        **{**SMALL, "cell": cell}, num_layers=num_layers, window=4, scale=False, clip_norm=0.1
    )
    learned(model, X, y)

    def loss_fn(output, steps):
        return bptt.mean_squared_error(output, y[np.newaxis, steps, np.newaxis])

    first = bptt.OnlineRegressor(
        **{**SMALL, "cell": cell, "learning_rate": 0.0}, num_layers=num_layers, scale=False
    )
    learned(first, X[:1], y[:1])
    network, optimizer = first.model_, bptt.Adam(first.model_, learning_rate=0.01)
    for window in bptt.truncated_bptt(network, X[np.newaxis], loss_fn, k1=1, k2=4):
        bptt.clip_by_global_norm(window.gradients, 0.1)
        optimizer.step(window.gradients)
    for name, value in network.parameters.items():
        np.testing.assert_allclose(model.model_.parameters[name], value, rtol=0, atol=1e-12)


@pytest.mark.parametrize("approximation", [None, "diagonal"])
def test_updates_are_those_of_rtrl(approximation):
    X, y = stream(20)
    gradient = "rtrl_diagonal" if approximation else "rtrl"
    options = {**SMALL, "scale": False, "clip_norm": None}
    model = learned(bptt.OnlineRegressor(**options, gradient=gradient), X, y)
    first = learned(bptt.OnlineRegressor(**{**options, "learning_rate": 0.0}), X[:1], y[:1])
    layer, head = first.model_.modules
    rtrl, optimizer = RTRL(layer, approximation=approximation), bptt.Adam([layer, head], 0.01)
    for x_t, y_t in zip(X, y, strict=True):
        run = head.forward(rtrl.step(x_t[np.newaxis]))
        d_head = run.backward(bptt.mean_squared_error(run.output, np.array([[y_t]])))
        optimizer.step([rtrl.gradients(d_head.input), d_head])
    for name, value in first.model_.parameters.items():
        np.testing.assert_allclose(model.model_.parameters[name], value, rtol=0, atol=1e-12)


def test_prediction_is_the_output_of_the_network():
    """The state of the last update, the mean and deviation so far, and the current weights."""
    X, y = stream(12)
    model = learned(bptt.OnlineRegressor(**{**SMALL, "learning_rate": 0.0}), X[:-1], y[:-1])
    model._head["bias"] = np.array([0.5])
    model._head["weight"] = np.full((1, 5), 0.3)
    standardized = np.empty_like(X)
    for t in range(len(X)):
        seen = X[: max(1, min(t + 1, len(X) - 1))]
        std = seen.std(axis=0)
        standardized[t] = (X[t] - seen.mean(axis=0)) / np.where(std > 0, std, 1.0)
    output = model.model_(standardized[np.newaxis])[0][0, -1, 0]
    expected = output * y[:-1].std() + y[:-1].mean()
    assert model.predict_one(X[-1]) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("gradient", GRADIENTS)
def test_predicting_changes_nothing(gradient):
    X, y = stream(30)
    options = {**SMALL, "gradient": gradient}
    once = predictions(bptt.OnlineRegressor(**options), X, y)
    model = bptt.OnlineRegressor(**options)
    for x_t, y_t, expected in zip(X, y, once, strict=True):
        for _ in range(3):
            assert model.predict_one(x_t) == expected
            model.predict_one(X[0])
        model.learn_one(x_t, y_t)


@pytest.mark.parametrize("gradient", GRADIENTS)
def test_it_learns_what_needs_memory(gradient):
    """The target is the first feature two steps before."""
    X, y = stream(2000, features=1)
    found = predictions(bptt.OnlineRegressor(**SMALL, gradient=gradient), X, y)
    error = np.mean((np.array(found) - y)[-500:] ** 2) / y.var()
    assert error < (0.9 if gradient == "rtrl_diagonal" else 0.35)


def test_same_seed_same_stream_same_predictions():
    X, y = stream(20)
    first, again, other = (
        predictions(bptt.OnlineRegressor(**{**SMALL, "random_state": seed}), X, y)
        for seed in (3, 3, 4)
    )
    assert first == again != other


def saved(model, folder):
    model.save(folder / "model.safetensors", {"a": 1})
    return bptt.load_estimator(folder / "model.safetensors")


COPIES = {
    "copy": lambda model, folder: copy.deepcopy(model),
    "pickle": lambda model, folder: pickle.loads(pickle.dumps(model)),
    "file": saved,
}


@pytest.mark.parametrize("seen", [1, 3, 20])
@pytest.mark.parametrize("gradient", GRADIENTS)
@pytest.mark.parametrize("copied", COPIES)
def test_a_copy_goes_on_in_the_same_way(gradient, copied, seen, tmp_path):
    X, y = stream(40)
    options = {**SMALL, "gradient": gradient, "window": 5}
    model = learned(bptt.OnlineRegressor(**options), X[:seen], y[:seen])
    other = COPIES[copied](model, tmp_path)
    assert predictions(other, X[seen:], y[seen:]) == predictions(model, X[seen:], y[seen:])
    names, classes = {"a": 1.0, "b": 2.0}, ["x", True, 3]
    model = bptt.OnlineClassifier(**{**options, "scale": False, "cell": "lstm"})
    for label in classes:
        model.learn_one(names, label)
    other = COPIES[copied](model, tmp_path)
    for one in (model, other):
        one.learn_one({"a": 2.0}, "new")
    assert other.predict_proba_one(names) == model.predict_proba_one(names)
    assert other.classes_ == [*classes, "new"]
    assert other.n_samples_seen_ == 4


def test_files_have_metadata_and_a_class(tmp_path):
    model = learned(bptt.OnlineRegressor(**SMALL), *stream(3))
    assert saved(model, tmp_path).metadata_ == {"a": 1}
    path = tmp_path / "model.safetensors"
    assert bptt.OnlineRegressor.load(path).n_samples_seen_ == 3
    for kind in (bptt.OnlineClassifier, bptt.SequenceRegressor):
        with pytest.raises(ValueError, match=f"it must be a {kind.__name__}, got a OnlineRegr"):
            kind.load(path)


def test_what_cannot_be_saved(tmp_path):
    path = tmp_path / "model.safetensors"
    with pytest.raises(NotFittedError):
        bptt.OnlineRegressor().save(path)
    model = learned(bptt.OnlineRegressor(**SMALL, optimizer=bptt.Adam), *stream(2))
    with pytest.raises(TypeError, match="save needs an optimizer given by name, got a function"):
        model.save(path)
    model = bptt.OnlineClassifier(**SMALL)
    model.learn_one({3: 1.0}, "a")
    with pytest.raises(TypeError, match="save needs features with strings as names, got 3"):
        model.save(path)
    model = bptt.OnlineClassifier(**SMALL)
    model.learn_one({"a": 1.0}, ("a", "b"))
    with pytest.raises(TypeError, match="save needs classes that are strings"):
        model.save(path)
    assert not path.exists()


def test_clone_is_not_trained():
    model = learned(bptt.OnlineRegressor(**SMALL), *stream(5))
    assert clone(model).get_params() == model.get_params()
    assert clone(model).predict_one([1.0, 2.0, 3.0]) == 0.0


def test_a_gradient_that_is_not_finite_is_not_applied():
    model = bptt.OnlineRegressor(**{**SMALL, "dtype": "float32"}, scale=False, clip_norm=None)
    learned(model, *stream(5))
    before = {name: value.copy() for name, value in model.model_.parameters.items()}
    with pytest.raises(FloatingPointError, match="sample 6 is not finite"):
        model.learn_one([1.0, 2.0, 3.0], 3e38)
    for name, value in model.model_.parameters.items():
        np.testing.assert_array_equal(value, before[name])


# ---- standardization -----------------------------------------------------------------------------


@given(
    st.lists(
        st.lists(st.floats(-1e6, 1e6) | st.just(float("nan")), min_size=2, max_size=2), min_size=1
    )
)
@settings(max_examples=50)
def test_running_moments_are_those_of_all_values(rows):
    values = np.array(rows)
    running = RunningStandardizer(2)
    for row in values:
        running.update(row)
    for column in range(2):
        known = values[~np.isnan(values[:, column]), column]
        assert running.count[column] == len(known)
        if len(known):
            size = np.abs(known).max()
            np.testing.assert_allclose(running.mean[column], known.mean(), atol=1e-9 * size)
            if known.std() > 1e-6 * size:
                np.testing.assert_allclose(running.std[column], known.std(), rtol=1e-5)


def test_constant_features_become_zero():
    running = RunningStandardizer(1)
    for _ in range(100):
        running.update(np.array([0.1]))
    assert abs(running.transform(np.array([0.1]))[0]) < 1e-12


def test_absent_features_are_their_mean():
    X, y = stream(30)
    columns = dict(enumerate("abc"))
    model = bptt.OnlineRegressor(**SMALL)
    for x_t, y_t in zip(X, y, strict=True):
        model.learn_one({columns[i]: value for i, value in enumerate(x_t)}, y_t)
    mean = float(model._standardizer.mean[1])
    expected = model.predict_one({"a": 1.0, "b": mean, "c": 2.0})
    for x in ({"a": 1.0, "c": 2.0}, {"c": 2.0, "a": 1.0, "b": None}, {"a": 1, "b": np.nan, "c": 2}):
        assert model.predict_one(x) == pytest.approx(expected, abs=1e-12)


# ---- classes -------------------------------------------------------------------------------------


def test_classes_may_appear_at_any_step():
    model = bptt.OnlineClassifier(**SMALL)
    x = {"a": 1.0, "b": 2.0}
    assert (model.predict_one(x), model.predict_proba_one(x)) == (None, {})
    model.learn_one(x, "one")
    assert (model.predict_one(x), model.predict_proba_one(x)) == ("one", {"one": 1.0})
    model.learn_one(x, "two")
    assert list(model.predict_proba_one(x)) == model.classes_ == ["one", "two"]
    model.learn_one(x, 3)
    assert model.classes_ == ["one", "two", 3]
    assert sum(model.predict_proba_one(x).values()) == pytest.approx(1.0)


def test_a_new_class_keeps_the_network_and_the_optimizer():
    X, _ = stream(20)
    model = bptt.OnlineClassifier(**SMALL, clip_norm=None)
    learned(model, X, ["a", "b"] * 10)
    other = copy.deepcopy(model)
    before = model._optimizer.state()
    model._add_output()
    after = model._optimizer.state()
    assert after["updates"] == before["updates"]
    for slot in ("first_moment/0", "second_moment/0"):
        np.testing.assert_array_equal(after[slot], before[slot])
    for flat, old in (
        (model._head._flat, other._head._flat),
        (after["first_moment/1"], before["first_moment/1"]),
    ):
        views, old_views = model._head._layout.views(flat), other._head._layout.views(old)
        for name, view in views.items():
            np.testing.assert_array_equal(view[:-1], old_views[name])
            assert not view[-1].any()


@pytest.mark.parametrize("gradient", ["bptt", "rtrl"])
def test_a_classifier_learns_what_needs_memory(gradient):
    """The class is the sign of the feature a step before."""
    X, _ = stream(1500, features=1)
    y = np.roll(X[:, 0] > 2.0, 1)
    model = bptt.OnlineClassifier(**SMALL, gradient=gradient)
    assert np.mean((np.array(predictions(model, X, y)) == y)[-500:]) > 0.85


# ---- river's conventions -------------------------------------------------------------------------


def test_a_pipeline_of_river():
    river = pytest.importorskip("river")
    from river import base, datasets, evaluate, metrics, preprocessing

    assert river
    base.Regressor.register(bptt.OnlineRegressor)
    base.Classifier.register(bptt.OnlineClassifier)
    model = preprocessing.StandardScaler() | bptt.OnlineRegressor(**SMALL)
    metric = evaluate.progressive_val_score(
        datasets.TrumpApproval().take(200), model, metrics.MAE()
    )
    assert metric.get() < 5.0
    model = preprocessing.StandardScaler() | bptt.OnlineClassifier(**SMALL)
    score = evaluate.progressive_val_score(datasets.Phishing().take(300), model, metrics.Accuracy())
    assert score.get() > 0.7


# ---- wrong arguments -----------------------------------------------------------------------------

PARAMETERS = [
    ({"cell": "gru2"}, ValueError, "cell must be one of"),
    ({"hidden_size": 0}, ValueError, "hidden_size must be an integer >= 1"),
    ({"window": 0}, ValueError, "window must be an integer >= 1, got 0"),
    ({"window": 2.0}, TypeError, "window must be an integer, got float"),
    ({"gradient": "exact"}, ValueError, "gradient must be one of 'bptt', 'rtrl'"),
    ({"gradient": "rtrl", "num_layers": 2}, ValueError, "layer must have num_layers=1"),
    ({"gradient": "rtrl_diagonal", "cell": "mgu"}, ValueError, "approximation='diagonal' needs"),
    ({"scale": 1}, TypeError, "scale must be True or False"),
    ({"optimizer": "adagrad"}, ValueError, "optimizer must be one of"),
    ({"learning_rate": -1.0}, ValueError, "learning_rate must be in"),
    ({"clip_norm": 0.0}, ValueError, "clip_norm must be > 0"),
    ({"dtype": "float16"}, TypeError, "dtype must be float32 or float64"),
    ({"random_state": "a"}, ValueError, "seed"),
]


@pytest.mark.parametrize(("options", "error", "message"), PARAMETERS)
def test_wrong_parameters(options, error, message):
    model = bptt.OnlineRegressor(**{**SMALL, **options})
    with pytest.raises(error, match=message):
        model.learn_one({"a": 1.0}, 2.0)
    assert not hasattr(model, "n_samples_seen_")


FEATURES = [
    ({}, ValueError, "x must have at least one feature"),
    ({"a": "1"}, TypeError, r"x\['a'\] must be a real number, got str"),
    ({"a": datetime.date(2020, 1, 1)}, TypeError, r"x\['a'\] must be a real number, got date"),
    ({"a": [1.0]}, TypeError, r"x\['a'\] must be a real number, got list"),
    ({"a": np.inf}, ValueError, "x must have features that are finite"),
    ({"a": 1e308, "b": 1e308}, ValueError, "x must have features that are finite in float32"),
    ({"a": -4e38}, ValueError, "x must have features that are finite in float32"),
    ({"a": 1j}, TypeError, r"x\['a'\] must be a real number, got complex"),
    (3.0, TypeError, "x must be a list or an array, got float"),
    ("abc", TypeError, "x must be a list or an array, got str"),
    ([[1.0]], TypeError, r"x\[0\] must be a real number, got list"),
]


@pytest.mark.parametrize(("x", "error", "message"), FEATURES)
def test_wrong_features_of_the_first_step(x, error, message):
    model = bptt.OnlineClassifier(**SMALL)
    with pytest.raises(error, match=message):
        model.learn_one(x, "a")
    model.learn_one({"a": 1, "b": True}, "a")  # as if nothing had been


LATER = [
    ({"a": 1.0, "c": 2.0}, ValueError, "x must have features of the first call, a, b, got c"),
    ([1.0, 2.0], TypeError, "x must be of type Mapping, got list"),
    ({"a": "1"}, TypeError, r"x\['a'\] must be a real number, got str"),
    ({"a": np.inf, "b": 1.0}, ValueError, "x must have features that are finite"),
]


@pytest.mark.parametrize(("x", "error", "message"), LATER)
def test_wrong_features_of_a_later_step(x, error, message):
    model = bptt.OnlineRegressor(**SMALL)
    model.learn_one({"a": 1.0, "b": 2.0}, 1.0)
    other = copy.deepcopy(model)
    for call in (lambda: model.learn_one(x, 1.0), lambda: model.predict_one(x)):
        with pytest.raises(error, match=message):
            call()
    model.learn_one({"a": 1.0, "b": 2.0}, 2.0)
    other.learn_one({"a": 1.0, "b": 2.0}, 2.0)
    assert model.predict_one({"a": 3.0}) == other.predict_one({"a": 3.0})


def test_wrong_number_of_features():
    model = learned(bptt.OnlineRegressor(**SMALL), *stream(2))
    with pytest.raises(ValueError, match=r"x must have shape .*\(3,\), got \(2,\)"):
        model.predict_one([1.0, 2.0])
    with pytest.raises(TypeError, match="x must be a list or an array, got dict"):
        model.learn_one({"a": 1.0}, 2.0)


@pytest.mark.parametrize(
    ("y", "error"),
    [
        *(("a", TypeError), (None, TypeError), (True, TypeError)),
        *((np.nan, ValueError), (np.inf, ValueError), (1e39, ValueError)),
    ],
)
def test_wrong_targets(y, error):
    with pytest.raises(error, match="y must be"):
        bptt.OnlineRegressor(**SMALL).learn_one({"a": 1.0}, y)


@pytest.mark.parametrize(
    ("y", "error"),
    [(None, ValueError), (np.nan, ValueError), ([1], TypeError), (np.array([1, 2]), TypeError)],
)
def test_wrong_classes(y, error):
    model = bptt.OnlineClassifier(**SMALL)
    with pytest.raises(error, match="y must be"):
        model.learn_one({"a": 1.0}, y)
    assert model.predict_one({"a": 1.0}) is None
