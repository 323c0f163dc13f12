"""Sessions of estimators: the predictions of `predict`, at every step."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn")

import bptt
from bptt import Sessions
from session_streams import same_bits

TEXTS = ["good film", "a good one", "bad film", "a bad one"] * 3
MOODS = ["+", "+", "-", "-"] * 3
SMALL: dict[str, Any] = {"hidden_size": 6, "epochs": 2, "random_state": 0}
WORDS: dict[str, Any] = {**SMALL, "tokens": "words"}
NUMBERS = [np.random.default_rng(i).normal(size=(6, 2)).astype("f4") for i in range(5)]
TAGS = [[word[0] for word in text.split()] for text in TEXTS]


def classifiers() -> dict[str, Any]:
    kind = bptt.SequenceClassifier
    found = {
        "characters": kind(**SMALL),
        "words": kind(**WORDS, num_layers=2, dtype="float64"),
        "embedded": kind(**WORDS, embedding_size=4, affixes=2, learn_initial_state=True),
        "ordinal": kind(**WORDS, ordinal=["-", "0", "+"]),
    }
    moods = {"ordinal": ["+", "0", "-", "-"] * 3}
    return {name: one.fit(TEXTS, moods.get(name, MOODS)) for name, one in found.items()}


CLASSIFIERS = classifiers()
REGRESSORS = {
    "one": bptt.SequenceRegressor(**SMALL, scale=True).fit(NUMBERS, np.arange(5.0)),
    "two": bptt.SequenceRegressor(**SMALL, scale=True).fit(NUMBERS, np.ones((5, 2))),
    "gaussian": bptt.SequenceRegressor(**SMALL, loss="gaussian").fit(NUMBERS, np.arange(5.0)),
}


def streamed(model: Any, steps: Any, pool: Any = None) -> list[Any]:
    """Return the answers after each step of one of two streams that are stepped together."""
    sessions = Sessions(model)
    found = []
    for i in range(len(steps)):
        pair = steps[i : i + 1]
        both = pair + pair if isinstance(pair, list) else np.concatenate([pair, pair])
        y = sessions.step(["other", "this"] if i else ["this", "other"], both)
        assert same_bits(y[0], y[1])
        found.append(y[0])
    return found


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_classifiers_answer_as_if_the_sequence_ended(name):
    model = CLASSIFIERS[name]
    tokens = model.encoder_.tokenize("a good good film")
    beginnings = [tokens[: i + 1] for i in range(len(tokens))]
    expected = model.predict_proba(beginnings)
    np.testing.assert_allclose(streamed(model, tokens), expected, rtol=1e-5)


@pytest.mark.parametrize("name", REGRESSORS)
def test_regressors_answer_as_if_the_sequence_ended(name):
    model = REGRESSORS[name]
    expected = model.predict([NUMBERS[0][: i + 1] for i in range(6)])
    np.testing.assert_allclose(streamed(model, NUMBERS[0]), expected, rtol=1e-4, atol=1e-6)


def test_numbers_at_every_step():
    targets = [rows[:, 0] * 2 for rows in NUMBERS]
    model = bptt.SequenceRegressor(**SMALL, pool=None).fit(NUMBERS, targets)
    np.testing.assert_allclose(
        streamed(model, NUMBERS[1]), model.predict(NUMBERS[1:2])[0], rtol=1e-4, atol=1e-6
    )


def test_taggers_answer_at_every_step():
    model = bptt.SequenceTagger(**WORDS, embedding_size=4, characters=3).fit(TEXTS, TAGS)
    words = ["a", "good", "unknown", "film"]
    expected = model.predict_proba([words])[0]
    np.testing.assert_allclose(streamed(model, words), expected, rtol=1e-5)


def test_language_models_give_the_next_token():
    model = bptt.LanguageModel(**SMALL, learn_initial_state=True).fit(["abc", "bcd"])
    expected = model.predict_proba(["d", "dc", "dca"])
    np.testing.assert_allclose(streamed(model, list("dca")), expected, rtol=1e-5)
    sessions = Sessions(model)
    first = sessions.step([1], ["d"])
    sessions.step([1], ["a"])
    sessions.reset([1])
    assert same_bits(sessions.step([1], ["d"]), first)


def test_ids_and_categories_are_read_as_in_fit():
    ids = [np.array([0, 2, 1]), np.array([1, 1, 2])] * 3
    model = bptt.SequenceClassifier(**SMALL).fit(ids, [0, 1] * 3)
    expected = model.predict_proba([ids[0][:2], ids[0]])
    np.testing.assert_allclose(streamed(model, ids[0])[1:], expected, rtol=1e-5)
    pandas = pytest.importorskip("pandas")
    tables = [
        pandas.DataFrame({"a": rows[:, 0], "b": np.where(rows[:, 1] < 0, "low", "high")})
        for rows in NUMBERS
    ]
    model = bptt.SequenceClassifier(**SMALL, categorical_features=["b"], scale=True)
    model.fit(tables, [0, 1, 0, 1, 0])
    sessions = Sessions(model)
    found = [sessions.step(["x"], tables[1][i : i + 1])[0] for i in range(6)]
    np.testing.assert_allclose(found[-1], model.predict_proba(tables[1:2])[0], rtol=1e-5)


def test_a_loaded_estimator_has_the_sessions_of_the_one_that_was_saved(tmp_path):
    model = CLASSIFIERS["embedded"]
    sessions = Sessions(model)
    sessions.step(["a", "b"], ["good", "bad"])
    sessions.save(tmp_path / "sessions")
    model.save(tmp_path / "model")
    loaded = bptt.load_estimator(tmp_path / "model")
    restored = Sessions.load(tmp_path / "sessions", loaded)
    assert same_bits(
        restored.step(["b", "a"], ["film", "one"]), sessions.step(["b", "a"], ["film", "one"])
    )
    with pytest.raises(ValueError, match="another model"):
        Sessions.load(tmp_path / "sessions", CLASSIFIERS["words"])
    other = bptt.load_estimator(tmp_path / "model")
    other.encoder_ = CLASSIFIERS["words"].encoder_
    with pytest.raises(ValueError, match="another model"):
        Sessions.load(tmp_path / "sessions", other)


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (["good"], ValueError, "x must have 2 rows, one for each key, got"),
        ([1.0, 2.0], TypeError, "x must hold strings, as in fit, got numbers"),
        ([], ValueError, "x must have at least one step, got none"),
        (3, TypeError, "x must"),
        (None, TypeError, "x must"),
    ],
)
def test_input_that_is_no_step_changes_nothing(x, error, message):
    sessions = Sessions(CLASSIFIERS["words"])
    sessions.step(["a"], ["bad"])
    before = sessions.state("a")[0].h.copy()
    with pytest.raises(error, match=message):
        sessions.step(["a", "b"], x)
    assert list(sessions) == ["a"]
    assert same_bits(sessions.state("a")[0].h, before)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (bptt.SequenceClassifier(**WORDS, bidirectional=True).fit(TEXTS, MOODS), "bidirectional"),
        (bptt.SequenceClassifier(**WORDS, pool="mean").fit(TEXTS, MOODS), "pool"),
        (bptt.SequenceTagger(**WORDS, crf=True).fit(TEXTS, TAGS), "crf=False"),
        (bptt.SequenceTagger(**WORDS, feedback=True).fit(TEXTS, TAGS), "feedback=False"),
        (
            bptt.SequenceRegressor(**SMALL, missing="mask").fit(NUMBERS, np.arange(5.0)),
            "missing='error'",
        ),
        (bptt.EncoderDecoder(), "model must be a recurrent layer, a Sequential, or"),
    ],
)
def test_estimators_that_need_whole_sequences_are_refused(model, message):
    with pytest.raises((TypeError, ValueError), match=message):
        Sessions(model)


def test_an_estimator_must_be_fitted():
    from sklearn.exceptions import NotFittedError

    for model in (bptt.SequenceClassifier(), bptt.LanguageModel()):
        with pytest.raises(NotFittedError):
            Sessions(model)
