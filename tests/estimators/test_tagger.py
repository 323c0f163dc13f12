"""SequenceTagger: training, label feedback and cross-validation."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("sklearn")

from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_val_score

import bptt


def strings_with_x(count, seed):
    """Strings, and for each character whether an "x" has occurred."""
    random = np.random.default_rng(seed)
    X = ["".join(random.choice(list("abx"), n)) for n in random.integers(1, 9, count)]
    return X, [["seen" if "x" in text[: t + 1] else "not" for t in range(len(text))] for text in X]


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("embedding_size", [None, 4])
def test_memory_of_a_character_is_learned(bidirectional, embedding_size):
    X, y = strings_with_x(200, 0)
    model = bptt.SequenceTagger(
        hidden_size=12,
        bidirectional=bidirectional,
        embedding_size=embedding_size,
        epochs=30,
        learning_rate=0.02,
        random_state=0,
    ).fit(X, y)
    unseen, labels = strings_with_x(100, 1)
    assert model.score(unseen, labels) == 1.0
    found = model.predict(unseen)
    assert [list(f) for f in found] == labels
    proba = model.predict_proba(unseen)
    assert all(p.shape == (len(x), 2) for p, x in zip(proba, unseen, strict=True))


def alternating(count, seed):
    """Labels that depend on the label before: an "x" switches between two states."""
    random = np.random.default_rng(seed)
    X = ["".join(random.choice(list("ax"), n)) for n in random.integers(2, 12, count)]
    y = []
    for text in X:
        state, labels = 0, []
        for character in text:
            state ^= character == "x"
            labels.append("ab"[state])
        y.append(labels)
    return X, y


def test_label_feedback_learns_transitions():
    """With label feedback a tiny RNN needs to remember only one step."""
    X, y = alternating(300, 0)
    model = bptt.SequenceTagger(
        cell="rnn", hidden_size=8, feedback=True, epochs=40, learning_rate=0.02, random_state=0
    ).fit(X, y)
    assert model.score(*alternating(100, 1)) == 1.0


def test_predictions_with_feedback_are_consistent():
    """Stepwise prediction equals teacher forcing with the predicted labels."""
    X, y = alternating(40, 0)
    model = bptt.SequenceTagger(
        hidden_size=6, feedback=True, epochs=2, dtype="float64", random_state=0
    ).fit(X, y)
    task = model._task()
    data = model._dataset(X, model.predict(X))
    batch = data.batch(np.arange(len(X)))
    forced, _ = task.chain(task.append_labels(task.embed(batch.x), batch.y), lengths=batch.lengths)
    alone = task.predict(batch.x, batch.lengths)
    for row, length in enumerate(batch.lengths):
        np.testing.assert_allclose(alone[row, :length], forced[row, :length], rtol=1e-10)


def test_float_features_and_padded_labels():
    random = np.random.default_rng(0)
    X = random.standard_normal((60, 7, 3))
    lengths = random.integers(1, 8, 60)
    y = (X[..., 0] > 0).astype(int)
    model = bptt.SequenceTagger(
        hidden_size=8, skip_input=True, epochs=60, learning_rate=0.02, random_state=0
    ).fit(X, y, lengths=lengths)
    assert model.score(X, y, lengths=lengths) > 0.97
    ragged = clone(model).fit(
        [x[:n] for x, n in zip(X, lengths, strict=True)],
        [labels[:n] for labels, n in zip(y, lengths, strict=True)],
    )
    for one, other in zip(model.predict(X, lengths), ragged.predict(X, lengths), strict=True):
        np.testing.assert_array_equal(one, other)


def test_cross_validation():
    X, y = strings_with_x(60, 0)
    model = bptt.SequenceTagger(epochs=20, learning_rate=0.02, random_state=0)
    assert cross_val_score(model, X, y, cv=3, error_score="raise").min() > 0.9
    search = GridSearchCV(model, {"hidden_size": [1, 12]}, cv=2, error_score="raise").fit(X, y)
    assert search.best_params_ == {"hidden_size": 12}


def test_padding_is_not_a_class():
    X, lengths = np.ones((4, 3, 2)), np.array([3, 1, 2, 0])
    y = np.where(np.arange(3) < lengths[:, np.newaxis], "a", "padding")
    y[0, 0] = "b"
    model = bptt.SequenceTagger(hidden_size=2, epochs=1).fit(X, y, lengths=lengths)
    assert model.classes_.tolist() == ["a", "b"]


def test_weights_and_smoothing():
    X, y = strings_with_x(100, 0)
    model = bptt.SequenceTagger(
        hidden_size=12, epochs=20, learning_rate=0.02, label_smoothing=0.2, random_state=0
    ).fit(X, y, sample_weight=np.ones(100))
    assert model.score(X, y) == 1.0
    most = np.concatenate(model.predict_proba(X)).max(axis=1)
    np.testing.assert_allclose(np.median(most), 0.9, atol=0.03)  # 1 - 0.2 + 0.2 / 2


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"feedback": True, "bidirectional": True}, "feedback=True needs bidirectional=False"),
        ({"skip_input": True}, "skip_input"),
        ({"label_smoothing": 1.0}, "label_smoothing must be in"),
    ],
)
def test_wrong_parameters(parameters, message):
    with pytest.raises(ValueError, match=message):
        bptt.SequenceTagger(**parameters).fit(["ab", "a"], [[0, 1], [0]])


def test_labels_must_fit_their_sequences():
    with pytest.raises(ValueError, match=r"y\[1\]"):
        bptt.SequenceTagger().fit(["ab", "a"], [[0, 1], [0, 1]])


@pytest.mark.parametrize("labels", [["x"], ["x", "y"], list("xyxy"), list("xyxyx")])
def test_score_needs_a_label_for_every_step(labels):
    model = bptt.SequenceTagger(hidden_size=4, epochs=1, random_state=0)
    model.fit(["aba", "bb"], [list("xyx"), list("yy")])
    rule = rf"^y\[0\] must have a label for each of the 3 steps of X\[0\], got {len(labels)}$"
    for call in (model.score, model.fit, model.partial_fit):
        with pytest.raises(ValueError, match=rule):
            call(["aba"], [labels])
