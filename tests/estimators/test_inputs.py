"""Input of estimators: integers, options of tokens, data frames, and what the log says of them."""

from __future__ import annotations

import re

import numpy as np
import pytest

pytest.importorskip("sklearn")

import bptt
from tables import Table

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
    model = bptt.SequenceRegressor(embedding_size=3, **SMALL).fit(PASSENGERS, [0.0, 1.0])
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


# ---- tables


def tables(names="ab", count=10):
    random = np.random.default_rng(0)
    return [Table(random.standard_normal((5, len(names))), names) for _ in range(count)]


def swapped(X):
    return [Table(np.asarray(x)[:, ::-1], list(x.columns)[::-1]) for x in X]


def test_swapped_columns_are_refused(tmp_path):
    X, y = tables(), [0, 1] * 5
    model = bptt.SequenceClassifier(**SMALL).fit(X, y)
    assert model.feature_names_in_.tolist() == ["a", "b"]
    model.save(tmp_path / "model")
    message = r"The feature names should match .* order: \['a', 'b'\], got \['b', 'a'\]"
    for one in (model, bptt.SequenceClassifier.load(tmp_path / "model")):
        assert one.feature_names_in_.tolist() == ["a", "b"]
        with pytest.raises(ValueError, match=message):
            one.predict(swapped(X))
        with pytest.raises(ValueError, match=message):
            one.partial_fit(swapped(X), y)
    with pytest.raises(ValueError, match=message):
        model.fit(X, y, validation=(swapped(X), y))
    with pytest.warns(UserWarning, match="X does not have valid feature names, but"):
        model.predict([np.asarray(x) for x in X])
    with pytest.raises(ValueError, match=r"X\[1\] must have the columns of X\[0\] in the same"):
        model.fit([X[0], *swapped(X[1:])], y)
    model.fit([np.asarray(x) for x in X], y)
    assert not hasattr(model, "feature_names_in_")
    with pytest.warns(UserWarning, match="fitted without feature names"):
        model.predict(X)


def test_columns_that_are_no_numbers_are_named():
    rows = [[1.0, "2012-01-01"], [2.0, "2012-01-02"]]
    X = [Table(np.array(rows, object), ["x", "date"])] * 10
    message = r"X\[0\]: all columns must hold real numbers, got 'date' of <U10: select the columns"
    with pytest.raises(TypeError, match=message):
        bptt.SequenceClassifier(**SMALL).fit(X, [0, 1] * 5)


def test_texts_in_several_columns_are_refused():
    X = Table([["a film", "good"], ["b", "so so"]], ["title", "text"])
    message = r"got the text 'a film' in a table of \['title', 'text'\]: select a column, or join"
    with pytest.raises(TypeError, match=message):
        bptt.SequenceClassifier(tokens="words", **SMALL).fit(X, [0, 1])
    tokens = Table([["a", "c"], ["g", "t"]], ["1", "2"])
    assert (
        "a vocabulary of 5"
        in bptt.SequenceClassifier(**SMALL).fit(tokens, [0, 1]).encoder_.describe()
    )


def test_labels_of_every_step_need_a_tagger():
    message = r"y must hold one label per sequence, .* got a list: a SequenceTagger takes labels"
    with pytest.raises(TypeError, match=message):
        bptt.SequenceClassifier(**SMALL).fit(NUMBERS, [[0, 1, 0, 1]] * 10)


def test_missing_labels_and_texts_are_found():
    model = bptt.SequenceClassifier(**SMALL)
    for missing in (None, np.nan):
        message = rf"labels must not be missing, got {missing} in y\[2\]$"
        with pytest.raises(ValueError, match=message):
            model.fit(["a", "b", "c"], ["x", "y", missing])
        with pytest.raises(TypeError, match=rf"^X\[1\] must not be missing, got {missing}: fill"):
            model.fit(["a", missing, "c"], ["x", "y", "x"])


def test_numbers_of_a_regressor_that_are_not_finite_are_found():
    model = bptt.SequenceRegressor(**SMALL)
    for wrong in (np.nan, 1e300):
        with pytest.raises(ValueError, match=r"^y must be finite in float32, .*: y\[3\] is "):
            model.fit(NUMBERS, [*np.ones(3), wrong, *np.ones(6)])


def test_one_sequence_is_not_a_batch():
    model = bptt.SequenceClassifier(**SMALL).fit(np.ones((4, 5, 3)), [0, 1, 0, 1])
    with pytest.raises(ValueError, match=r"\(B, T, 3\), got \(5, 3\): use \[X\] for one sequence$"):
        model.predict(np.ones((5, 3)))
    assert len(model.predict([np.ones((5, 3))])) == 1


def test_sample_weights_of_steps_are_refused_by_a_classifier():
    message = r"^sample_weight must have shape \(B,\) = \(2,\), one number per sequence, got lists"
    with pytest.raises(ValueError, match=message):
        bptt.SequenceClassifier(**SMALL).fit(["ab", "c"], ["x", "y"], sample_weight=[[1, 2], [1]])


def test_columns_of_one_table_are_checked():
    X = Table(NUMBERS, "abcd")
    model = bptt.SequenceRegressor(**SMALL).fit(X, np.arange(10.0))
    with pytest.raises(ValueError, match="The feature names should match"):
        model.predict(Table(NUMBERS, "abdc"))


def test_groups_are_sequences():
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame(
        {"who": list("yxyxy"), "a": np.arange(5.0), "b": np.ones(5), "word": list("abcde")}
    )
    groups = table.drop(columns="word").groupby("who")
    x, y = np.array([[1.0, 1.0], [3.0, 1.0]]), np.array([[0.0, 1.0], [2.0, 1.0], [4.0, 1.0]])
    model = bptt.SequenceClassifier(**SMALL).fit(groups, [0, 1])
    assert model.feature_names_in_.tolist() == ["a", "b"]
    for other in (
        table.groupby("who")[["a", "b"]],
        [table[["a", "b"]][table.who == w] for w in "xy"],
    ):
        np.testing.assert_array_equal(model.predict_proba(other), model.predict_proba(groups))
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        np.testing.assert_array_equal(model.predict_proba([x, y]), model.predict_proba(groups))
    labels = pandas.Series([0, 1], index=["x", "y"])
    model.fit(groups, labels)
    for method in (model.fit, model.partial_fit, model.score):
        with pytest.raises(ValueError, match=r"in the order of the groups of X, 'x' at 0, got 'y'"):
            method(groups, labels[::-1])
    tagger = bptt.SequenceTagger(**SMALL, tokens=None)
    tagger.fit(table.groupby("who")[["word"]], table.groupby("who")["b"])
    assert [len(labels) for labels in tagger.predict(table.groupby("who")[["word"]])] == [2, 3]


# ---- training


def test_functions_are_callbacks():
    losses = []
    model = bptt.SequenceClassifier(
        callbacks=[lambda training: losses.append(training.history[-1].loss)],
        **{**SMALL, "epochs": 3},
    ).fit(NUMBERS, [0, 1] * 5)
    assert losses == model.history_["loss"]
    model.partial_fit(NUMBERS, [0, 1] * 5)
    assert len(losses) == 4


def test_a_huge_learning_rate_is_an_error():
    model = bptt.SequenceClassifier(learning_rate=1e30, **{**SMALL, "epochs": 3})
    message = r"^the loss is \S+e\+\d\d in epoch 2, .* times the first, .* a smaller learning_rate"
    with pytest.raises(FloatingPointError, match=message):
        model.fit(NUMBERS, [0, 1] * 5)
