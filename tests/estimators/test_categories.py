"""Tables of numbers and categories in estimators: `categorical_features`."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("sklearn")
pytest.importorskip("safetensors")

from sklearn.model_selection import GridSearchCV

import bptt
from tables import Table

OPTIONS = {"hidden_size": 8, "epochs": 2, "categorical_features": ["day"], "random_state": 0}


def tables(count, seed):
    """Tables of a number and a day, and whether the number was positive on the last Sunday."""
    random = np.random.default_rng(seed)
    X, y = [], []
    for n in random.integers(2, 6, count):
        numbers, days = random.standard_normal(n), random.choice(["sun", "mon", "tue"], n)
        X.append(Table(np.array([*zip(numbers, days, strict=True)], object), ["x", "day"]))
        y.append(float(numbers[days == "sun"].sum()))
    return X, np.array(y)


@pytest.mark.parametrize("missing", ["error", "mask"])
@pytest.mark.parametrize(
    ("kind", "target"),
    [
        ("SequenceClassifier", lambda X, y: y > 0),
        ("SequenceRegressor", lambda X, y: y),
        ("SequenceTagger", lambda X, y: [["a"] * len(x) for x in X]),
        ("EncoderDecoder", lambda X, y: ["ab"] * len(X)),
    ],
)
def test_estimators_of_tables(kind, target, missing, tmp_path):
    X, y = tables(20, 0)
    model = getattr(bptt, kind)(**OPTIONS, scale=True, missing=missing).fit(X, target(X, y))
    assert model.n_features_in_ == 2
    assert model.feature_names_in_.tolist() == ["x", "day"]
    model.save(tmp_path / "model")
    loaded = bptt.load_estimator(tmp_path / "model")
    assert loaded.categorical_features == ["day"]
    for found, expected in zip(loaded.predict(X), model.predict(X), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_categories_are_learned():
    X, y = tables(400, 0)
    model = bptt.SequenceRegressor(
        **{**OPTIONS, "hidden_size": 16, "epochs": 60, "learning_rate": 0.01}
    )
    assert model.fit(X[:300], y[:300]).score(X[300:], y[300:]) > 0.9
    np.testing.assert_array_equal(  # an unknown day is no Sunday
        *(
            model.predict([Table(np.array([[1.0, day]], object), ["x", "day"])])
            for day in ("?", None)
        )
    )


def test_warm_start_and_grid_search_with_an_array_of_columns():
    X, y = tables(12, 0)
    model = bptt.SequenceRegressor(
        **{**OPTIONS, "categorical_features": np.array([1])}, warm_start=True
    )
    model.fit(X, y).fit(X, y)
    assert len(model.history_) == 4
    GridSearchCV(model.set_params(warm_start=False), {"hidden_size": [4]}, cv=2).fit(X, y)


@pytest.mark.parametrize(
    ("kind", "X", "y"),
    [("LanguageModel", ["a", "b"], None), ("SequenceGenerator", [0, 1], ["a", "b"])],
)
def test_estimators_without_features(kind, X, y):
    with pytest.raises(ValueError, match=f"{kind} needs categorical_features=None"):
        getattr(bptt, kind)(**OPTIONS).fit(X, y)
