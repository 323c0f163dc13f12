"""Labels of classifier and tagger: weights, missing and unknown ones, spans, valid sequences."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("sklearn")

import bptt
from bptt import metrics
from bptt.decoding import viterbi_decode

SMALL = {"hidden_size": 8, "epochs": 20, "learning_rate": 0.02, "random_state": 0}
TEXTS = ["ab", "ba", "aab", "bba"] * 5
TAGS = [text.upper() for text in TEXTS]
FLAT = {"rtol": 1e-9, "atol": 1e-12}


def classifier(**options):
    return bptt.SequenceClassifier(**{**SMALL, **options})


def tagger(**options):
    return bptt.SequenceTagger(**{**SMALL, **options})


def same_predictions(a, b):
    for p, q in zip(a.predict_proba(TEXTS), b.predict_proba(TEXTS), strict=True):
        np.testing.assert_allclose(p, q, **FLAT)


# ---- class weights


def test_class_weights_are_sample_weights():
    y = ["x", "y", "y", "y"] * 5
    one = {"dtype": "float64", "batch_size": 20, "epochs": 5}
    weights = np.where(np.array(y) == "x", 3.0, 0.5)
    expected = classifier(**one).fit(TEXTS, y, sample_weight=weights)
    found = classifier(class_weight={"x": 3.0, "y": 0.5}, **one).fit(TEXTS, y)
    same_predictions(found, expected)
    balanced = classifier(class_weight="balanced", **one).fit(TEXTS, y)
    by_hand = classifier(class_weight={"x": 2.0, "y": 2 / 3}, **one).fit(TEXTS, y)
    same_predictions(balanced, by_hand)
    np.testing.assert_allclose(found.history_["loss"], expected.history_["loss"])
    # the metric is the plain accuracy
    assert found.history_["metric"][-1] == np.mean(found.predict(TEXTS) == y)


def test_class_weights_of_steps_equal_weights_of_sequences():
    """Sequences of one label each: the weight of the label is that of the sequence."""
    tags = ["A" * len(text) if i % 4 else "B" * len(text) for i, text in enumerate(TEXTS)]
    weights = np.array([5.0 if tag[0] == "B" else 1.0 for tag in tags])
    one = {"dtype": "float64", "batch_size": 20, "epochs": 5}
    expected = tagger(**one).fit(TEXTS, tags, sample_weight=weights)
    same_predictions(tagger(class_weight={"B": 5.0}, **one).fit(TEXTS, tags), expected)


def imbalanced(seed):
    """Steps of label O, and a few of B, which are drawn from overlapping distributions."""
    random = np.random.default_rng(seed)
    y = [np.where(random.random(20) < 0.05, "B", "O") for _ in range(60)]
    return [random.normal(1.2 * (labels == "B"))[:, np.newaxis] for labels in y], y


def test_a_small_weight_of_the_frequent_label_finds_more_spans():
    X, y = imbalanced(0)
    plain, weighted = tagger().fit(X, y), tagger(class_weight={"O": 0.1}).fit(X, y)
    found = [sum((labels == "B").sum() for labels in m.predict(X)) for m in (plain, weighted)]
    expected = sum((labels == "B").sum() for labels in y)
    assert found[0] < expected / 3 < expected < found[1]


@pytest.mark.parametrize("model", [classifier(), tagger()])
@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        ({"z": 1}, ValueError, r"^class_weight must have classes as keys, \['A', 'B'\], got 'z'"),
        ({"A": -1}, ValueError, r"^class_weight\['A'\] must be in \[0, inf\), got -1.0"),
        ("balance", ValueError, r"^class_weight must be one of 'balanced', got 'balance'"),
        (
            [1, 2],
            TypeError,
            r"^class_weight must be 'balanced' or a dict from class to weight, got",
        ),
    ],
)
def test_wrong_class_weights(model, value, error, message):
    y = TAGS if isinstance(model, bptt.SequenceTagger) else ["A", "B"] * 10
    with pytest.raises(error, match=message):
        model.set_params(class_weight=value, epochs=1).fit(TEXTS, y)


@pytest.mark.parametrize("value", ["balanced", {1: 2.0, np.int64(2): np.float64(0.5)}])
def test_class_weights_are_saved(value, tmp_path):
    model = classifier(class_weight=value, epochs=2).fit(TEXTS, [1, 2] * 10)
    model.save(tmp_path / "model")
    loaded = bptt.SequenceClassifier.load(tmp_path / "model")
    assert loaded.class_weight == value
    for one in (model, loaded):
        one.partial_fit(TEXTS, [1, 1, 1, 2] * 5)
    same_predictions(loaded, model)


# ---- log-probabilities


def test_log_probabilities():
    X = [np.full((2, 1), 1e4), np.full((3, 1), -1e4)] * 4
    model = classifier(epochs=1, dtype="float64").fit(X, [0, 1] * 4)
    model.model_.modules[-1]["weight"] = 1e3 * np.arange(16.0).reshape(2, 8)
    found = model.predict_log_proba(X)
    assert np.isfinite(found).all()
    np.testing.assert_allclose(np.exp(found), model.predict_proba(X), atol=1e-12)
    marked = tagger(epochs=1).fit(TEXTS, TAGS)
    for p, q in zip(marked.predict_log_proba(TEXTS), marked.predict_proba(TEXTS), strict=True):
        np.testing.assert_allclose(np.exp(p), q, rtol=1e-5)


# ---- missing labels


@pytest.mark.parametrize("feedback", [False, True])
@pytest.mark.parametrize(
    ("missing", "option"), [(None, None), (np.nan, None), ("?", "?")], ids=["None", "nan", "value"]
)
def test_steps_without_a_label_do_not_count(missing, option, feedback):
    partly = [[*tag[:-1], missing] for tag in TAGS]
    model = tagger(ignore_label=option, feedback=feedback, epochs=5, dtype="float64")
    model.fit(TEXTS, partly, validation=(TEXTS, partly))
    assert model.classes_.tolist() == ["A", "B"]
    if not feedback:  # the same loss as without the last steps, whose states are not read
        shorter = [text[:-1] for text in TEXTS]
        other = tagger(epochs=5, dtype="float64")
        other.fit(shorter, [tag[:-1] for tag in TAGS])
        np.testing.assert_allclose(model.history_["loss"], other.history_["loss"], rtol=1e-9)
    found = model.predict(TEXTS)
    right = [
        f[t] == tag[t] for f, tag in zip(found, partly, strict=True) for t in range(len(f) - 1)
    ]
    np.testing.assert_allclose(model.score(TEXTS, partly), np.mean(right))
    np.testing.assert_allclose(model.history_["validation_metric"][-1], np.mean(right))


def test_codes_of_missing_labels_are_named(tmp_path):
    X = np.random.default_rng(0).standard_normal((2, 4))
    y = np.array([[0, 1, -1, -1], [1, 0, 1, -1]])
    with pytest.warns(UserWarning, match=r"label -1 is a class: set ignore_label=-1 if"):
        assert tagger(epochs=1).fit(X, y).classes_.tolist() == [-1, 0, 1]
    assert tagger(epochs=1).fit(X, y, classes=[-1, 0, 1]).classes_.tolist() == [-1, 0, 1]
    model = tagger(epochs=1, ignore_label=np.int64(-1)).fit(X, y)
    assert model.classes_.tolist() == [0, 1]
    model.save(tmp_path / "model")
    loaded = bptt.SequenceTagger.load(tmp_path / "model")
    assert loaded.score(X, y) == model.score(X, y)
    with pytest.raises(ValueError, match="y must have at least one label, got none"):
        model.fit(X, np.full((2, 4), -1))


# ---- labels that are not in the training data


@pytest.mark.parametrize("kind", ["classifier", "tagger"])
def test_unknown_labels_are_errors_that_do_not_stop(kind):
    if kind == "classifier":
        model, y, other = classifier(epochs=2), ["A", "B"] * 10, ["A", "C"] * 10
        known = (TEXTS[::2], other[::2])
    else:
        model, y = tagger(epochs=2), TAGS
        other = [tag if i % 2 == 0 else "C" * len(tag) for i, tag in enumerate(TAGS)]
        known = (TEXTS[::2], other[::2])
    message = (
        r"y has labels that were not in fit \('C'; \d+ in all\): they count as errors, and not "
    )
    with pytest.warns(UserWarning, match=message):
        model.fit(TEXTS, y, validation=(TEXTS, other))
    last = model.history_[-1]
    with pytest.warns(UserWarning, match=message):
        score = model.score(TEXTS, other)
    assert last.validation_metric == pytest.approx(score)
    among = model.score(*known)
    part = 0.5 if kind == "classifier" else 25 / 50
    assert score == pytest.approx(among * part)
    model.fit(TEXTS, y, validation=known)
    assert model.history_[-1].validation_loss == pytest.approx(last.validation_loss)
    with pytest.raises(ValueError, match="known labels"):  # of another type: a mistake
        model.score(TEXTS, [0, 1] * 10 if kind == "classifier" else [[0] * len(t) for t in TEXTS])
    with pytest.raises(ValueError, match="known labels"):
        model.partial_fit(TEXTS, other)


# ---- spans


def names(count, seed):
    """Words, of which names begin with B or C and go on with I."""
    random = np.random.default_rng(seed)
    X, y = [], []
    for _ in range(count):
        words, labels = [], []
        for kind in random.choice(
            ["O", "person", "place"], random.integers(2, 7), p=[0.6, 0.2, 0.2]
        ):
            if kind == "O":
                words, labels = [*words, random.choice(["the", "of"])], [*labels, "O"]
                continue
            more = int(random.integers(0, 3))
            words += [kind, *["thing"] * more]
            labels += [f"B-{kind}", *[f"I-{kind}"] * more]
        X.append(words)
        y.append(labels)
    return X, y


def test_span_f1_is_metric_score_and_stopping_rule():
    (X, y), (other, expected) = names(80, 0), names(40, 1)
    model = tagger(tokens=None, metric="span_f1", monitor="metric", patience=3, epochs=40)
    model.fit(X, y, validation=(other, expected))
    predicted = [metrics.spans(labels) for labels in model.predict(other)]
    f1 = metrics.span_f1(predicted, [metrics.spans(labels) for labels in expected])
    assert model.score(other, expected) == pytest.approx(f1)
    values = model.history_["validation_metric"]
    assert max(values) == pytest.approx(f1)
    assert values.index(max(values)) == len(values) - 4
    assert model.set_params(metric="accuracy").score(other, expected) > f1
    with pytest.raises(ValueError, match=r"labels with metric='span_f1' must be 'O', 'B-kind' or"):
        tagger(metric="span_f1").fit(TEXTS, TAGS)
    with pytest.raises(ValueError, match="metric must be one of 'accuracy', 'span_f1', got 'f1'"):
        tagger(metric="f1").fit(TEXTS, TAGS)


def test_unknown_spans_are_missed():
    X, y = names(20, 0)
    model = tagger(tokens=None, metric="span_f1").fit(X, y)
    new = [["B-new" if i == 0 else label for i, label in enumerate(row)] for row in y]
    with pytest.warns(UserWarning, match="'B-new'"):
        assert model.score(X, new) < model.score(X, y)


def test_viterbi_predicts_valid_sequences():
    X, y = names(30, 0)
    model = tagger(tokens=None, epochs=3).fit(X, y)
    probabilities = model.predict_proba(X)
    expected = [viterbi_decode(p, model.classes_).tolist() for p in probabilities]
    plain = [labels.tolist() for labels in model.predict(X)]
    found = model.set_params(viterbi=True).predict(X)
    assert [labels.tolist() for labels in found] == expected != plain
    assert model.predict([[]])[0].tolist() == []
    with pytest.raises(ValueError, match=r"labels with viterbi=True must be 'O', 'B-kind' or"):
        tagger(viterbi=True).fit(TEXTS, TAGS)
    with pytest.raises(ValueError, match="viterbi=True needs feedback=False"):
        tagger(viterbi=True, feedback=True).fit(TEXTS, TAGS)


# ---- sample weights


def test_sample_weight_of_a_tagger_repeats_sequences():
    one = {"dtype": "float64", "batch_size": 40, "epochs": 3}
    weights = np.array([1, 1, 2, 2] * 5)
    repeated = np.repeat(np.arange(20), weights)
    expected = tagger(**one).fit([TEXTS[i] for i in repeated], [TAGS[i] for i in repeated])
    found = tagger(**one).fit(TEXTS, TAGS, sample_weight=weights)
    same_predictions(found, expected)
    assert found.score(TEXTS, TAGS, sample_weight=weights) == pytest.approx(
        found.score([TEXTS[i] for i in repeated], [TAGS[i] for i in repeated])
    )
