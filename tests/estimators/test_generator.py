"""SequenceGenerator: training, decoding and files."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("sklearn")

from sklearn.exceptions import NotFittedError
from sklearn.model_selection import cross_val_score

from bptt import SequenceGenerator

WORDS = ["one", "two", "three", "four", "five"]


def memorizing(**parameters):
    return SequenceGenerator(
        **{
            "hidden_size": 24,
            "epochs": 150,
            "learning_rate": 0.02,
            "random_state": 0,
            **parameters,
        }
    )


def conditions(kind):
    return {
        "vectors": np.eye(5),
        "numbers": np.linspace(-1, 1, 5)[:, np.newaxis],
        "labels": [10, 20, 30, 40, 50],
        "names": np.array(["eins", "zwei", "drei", "vier", "fünf"]),
    }[kind]


@pytest.mark.parametrize("kind", ["vectors", "numbers", "labels", "names"])
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_one_word_per_condition(kind, cell):
    X = conditions(kind)
    model = memorizing(cell=cell).fit(X, WORDS)
    assert model.predict(X) == WORDS
    assert model.predict(X[::-1]) == WORDS[::-1]
    assert model.score(X, WORDS) == 1.0
    assert model.score(X, ["one", "2", "three", "four", "5"]) == pytest.approx(0.6)
    assert model.score(X[:2], ["one", "2"], sample_weight=[3, 1]) == pytest.approx(0.75)
    assert model.sample(X, top_p=0.8, random_state=0) == WORDS
    right, wrong = (np.concatenate(model.surprisal(X, y)) for y in (WORDS, WORDS[::-1]))
    assert right.shape == wrong.shape == (sum(map(len, WORDS)) + 5,)
    assert right.mean() < 0.05
    assert wrong.mean() > 1


@pytest.mark.parametrize(
    ("parameters", "y"),
    [
        ({"tokens": "words"}, ["a big cat", "a dog", "b"]),
        ({"tokens": None}, [["a", "big", "cat"], ["a", "dog"], ["b"]]),
        ({}, [np.array([1, 5, 2]), np.array([1, 3]), np.array([4])]),
    ],
)
def test_words_token_lists_and_ids(parameters, y):
    X = np.eye(3)
    model = memorizing(num_layers=2, embedding_size=6, dropout=0.05, **parameters).fit(X, y)
    found = model.predict(X, beam=3)
    assert [type(one) for one in found] == [type(one) for one in y]
    assert [list(one) for one in found] == [list(one) for one in y]


def test_beam_search_finds_a_more_likely_sequence_than_greedy_search():
    """The most likely first token is "a", the most likely sequence is "bf"."""
    X, y = [0] * 10, ["ac"] * 2 + ["ad"] * 2 + ["ae"] * 2 + ["bf"] * 4
    model = memorizing(epochs=120, batch_size=10).fit(X, y)
    assert model.predict([0])[0] in ("ac", "ad", "ae")
    assert model.predict([0], beam=4) == ["bf"]
    assert model.predict([0], beam=4, max_length=1) == ["a"]


def test_samples_follow_the_distribution_of_the_data():
    X, y = ["x"] * 4 + ["y"] * 4, ["aa"] * 3 + ["b"] + ["b"] * 3 + ["aa"]
    model = memorizing(epochs=200).fit(X, y)
    found = model.sample(["x"] * 1000 + ["y"] * 1000, random_state=0)
    assert found[:1000].count("aa") / 1000 == pytest.approx(0.75, abs=0.06)
    assert found[1000:].count("aa") / 1000 == pytest.approx(0.25, abs=0.06)
    assert found == model.sample(["x"] * 1000 + ["y"] * 1000, random_state=0)


@pytest.mark.parametrize("kind", ["vectors", "labels"])
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_gradients(kind, cell):
    """Gradients of the decoder and of the layer of the condition."""
    from derivatives import assert_gradients

    model = memorizing(cell=cell, num_layers=2, hidden_size=4, epochs=1, dtype="float64")
    model.fit(conditions(kind), WORDS)
    task = model._task()
    batch = model._dataset(conditions(kind), WORDS, None, [1, 2, 3, 1, 2]).batch(np.arange(5))
    step = task.training_step(batch)
    assert step.weight == 4 * 1 + 4 * 2 + 6 * 3 + 5 * 1 + 5 * 2
    for module, found in zip(task.modules.values(), step.gradients, strict=True):
        assert_gradients(found, lambda: task.evaluate(batch).loss, module)


@pytest.mark.parametrize("kind", ["vectors", "names"])
def test_loaded_estimator_is_identical(kind, tmp_path):
    pytest.importorskip("safetensors")
    X = conditions(kind)
    model = memorizing(epochs=80, embedding_size=5, dropout=0.05).fit(X, WORDS)
    model.save(tmp_path / "model")
    loaded = SequenceGenerator.load(tmp_path / "model")
    assert loaded.predict(X) == model.predict(X)
    assert loaded.sample(X, random_state=1) == model.sample(X, random_state=1)
    one, other = (m.partial_fit(X, WORDS).history_["loss"][-1] for m in (model, loaded))
    assert one == other


def test_partial_fit_with_classes():
    model = memorizing().partial_fit([1, 2], ["one", "two three"], classes=[1, 2, 3])
    for _ in range(150):
        model.partial_fit([1, 2, 3] * 4, ["one", "two", "three"] * 4)
    assert model.predict([3, 1, 2]) == ["three", "one", "two"]


def test_cross_validation():
    scores = cross_val_score(
        memorizing(epochs=2), np.eye(5).repeat(4, 0), np.repeat(WORDS, 4), cv=2
    )
    assert scores.shape == (2,)


def test_errors():
    with pytest.raises(NotFittedError):
        SequenceGenerator().predict([[1.0]])
    with pytest.raises(ValueError, match="beam must be an integer >= 1, got 0"):
        memorizing(epochs=1).fit([1], ["a"]).predict([1], beam=0)
    with pytest.raises(ValueError, match="SequenceGenerator needs bidirectional=False"):
        memorizing(bidirectional=True).fit([1], ["a"])
    with pytest.raises(ValueError, match="y must have one sequence for each of 2 inputs, got 1"):
        memorizing().fit([1, 2], ["a"])
    with pytest.raises(ValueError, match="X must be finite, got NaN or infinity"):
        memorizing().fit([[np.nan]], ["a"])
    with pytest.raises(ValueError, match=r"X must hold numbers and have shape \(B, features\)"):
        memorizing().fit([0.5, 1.5], ["a", "b"])
    model = memorizing(epochs=1).fit(np.eye(2), ["a", "b"])
    with pytest.raises(ValueError, match="X must have 2 features, got 3"):
        model.predict(np.eye(3))
    labels = memorizing(epochs=1).fit([1, 2], ["a", "b"])
    with pytest.raises(ValueError, match=r"labels must not be missing, got None in X\[1\]$"):
        SequenceGenerator(epochs=1).fit(["a", None], ["b", "c"])
    with pytest.raises(ValueError, match=r"X must hold known labels \(1, 2\), got 3"):
        labels.predict([3])
