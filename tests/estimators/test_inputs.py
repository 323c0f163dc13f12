"""Input of estimators: integers, options of tokens, data frames, and what the log says of them."""

from __future__ import annotations

import re

import numpy as np
import pytest

pytest.importorskip("sklearn")

import bptt

SMALL = {"hidden_size": 4, "epochs": 1, "random_state": 0}
PASSENGERS = [[112, 118, 132, 129], [121, 135, 148, 148]]
NUMBERS = np.random.default_rng(0).standard_normal((10, 4))


# ---- integers


@pytest.mark.parametrize("scale", [False, True])
def test_integers_of_a_regressor_are_numbers(scale):
    large = np.arange(40).reshape(10, 4) * 1_000_000  # once 39 million one-hot columns
    model = bptt.SequenceRegressor(scale=scale, **SMALL).fit(large, np.arange(10.0))
    assert model.model_.modules[0].input_size == 1
    assert model.predict(large * 2).shape == (10,)


def test_integers_of_a_scaled_estimator_are_numbers():
    for kind, y in ((bptt.SequenceRegressor, [1.0, 2.0]), (bptt.SequenceClassifier, ["a", "b"])):
        model = kind(scale=True, **SMALL).fit(PASSENGERS, y)
        assert model.model_.modules[0].input_size == 1  # once 149
        assert len(model.predict([[900, 1000]])) == 1  # once an unknown id


def test_ids_of_a_regressor_are_embedded():
    model = bptt.SequenceRegressor(embedding_size=3, **SMALL).fit(PASSENGERS, [1.0, 2.0])
    assert model.encoder_.kind == "ids"
    with pytest.raises(ValueError, match=r"id 900 at step 0 is not in \[0, 149\), those in fit"):
        model.predict([[900]])


def test_huge_ids_are_refused_with_the_cure():
    with pytest.raises(ValueError, match=r"below 1,000,000, got 39,000,000\. Pass floats \(X.ast"):
        bptt.SequenceClassifier(**SMALL).fit(np.arange(40).reshape(10, 4) * 1_000_000, [0, 1] * 5)


def test_the_log_says_what_was_understood(capfd):
    pytest.importorskip("tqdm")
    options = {**SMALL, "verbose": True}
    bptt.SequenceClassifier(**options).fit(PASSENGERS, [-1, 1])
    shown = capfd.readouterr().err.splitlines()
    assert shown[:2] == ["input: integer ids in [0, 149)", "target: 2 classes: -1, 1"]
    bptt.SequenceRegressor(scale=True, **options).fit(PASSENGERS, [1, 2])
    shown = capfd.readouterr().err.splitlines()
    assert shown[:2] == [
        "input: 1 number per step, standardized",
        "target: 1 number per sequence, standardized",
    ]
    bptt.LanguageModel(**options).fit(["ab"])
    assert "sequences: characters, a vocabulary of 5" in capfd.readouterr().err
    bptt.EncoderDecoder(**options, tokens="words").fit(NUMBERS, ["a b"] * 10)
    shown = capfd.readouterr().err.splitlines()
    assert shown[:2] == ["input: 1 number per step", "target: words, a vocabulary of 5"]


# ---- options of tokens


@pytest.mark.parametrize(
    ("option", "X", "message"),
    [
        (
            {"embedding_size": 8},
            NUMBERS,
            "embedding_size=8 needs tokens or integer ids, got X that",
        ),
        (
            {"min_count": 2},
            NUMBERS,
            "min_count=2 needs strings or tokens, got X that holds 1 number",
        ),
        ({"min_count": 2}, [[0, 1]] * 10, "got X that holds integer ids in [0, 2): leave it out"),
        ({"tokens": "words"}, NUMBERS, "tokens='words' needs strings or tokens, got X"),
    ],
)
def test_options_of_tokens_need_tokens(option, X, message):
    for kind in (bptt.SequenceClassifier, bptt.SequenceTagger):
        y = [0, 1] * 5 if kind is bptt.SequenceClassifier else [[0] * len(x) for x in X]
        with pytest.raises(ValueError, match=re.escape(message)):
            kind(**SMALL, **option).fit(X, y)


def test_options_of_tokens_may_concern_the_target():
    model = bptt.EncoderDecoder(**SMALL, tokens="words", min_count=2, embedding_size=4)
    model.fit(NUMBERS, ["a b"] * 10)
