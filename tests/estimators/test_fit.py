"""Arguments of `fit`: validation data, groups, classes; warm start and monitored values."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("sklearn")

from sklearn.model_selection import GroupKFold, KFold, StratifiedShuffleSplit, TimeSeriesSplit

import bptt

SMALL = {"hidden_size": 4, "epochs": 2, "random_state": 0}
RANDOM = np.random.default_rng(0)
X = [RANDOM.standard_normal((n, 2)) for n in RANDOM.integers(2, 6, 40)]
Y = np.array(["a", "b"] * 20)
NUMBERED = [np.full((2, 1), float(i)) for i in range(40)]


def classifier(**options):
    return bptt.SequenceClassifier(**{**SMALL, **options})


def held_out(model, **arguments):
    """Return the numbers of the sequences that `fit` held out."""
    found = {}

    def look(training):
        found["validation"] = training.validation

    model.set_params(callbacks=[look]).fit(NUMBERED, Y, **arguments)
    validation = found["validation"]
    return [int(validation.sequences[i][0, 0]) for i in range(len(validation.lengths))]


# ---- validation


def test_a_fraction_is_validation_data():
    by_parameter = classifier(validation_fraction=0.25).fit(X, Y).history_
    assert classifier().fit(X, Y, validation=0.25).history_["loss"] == by_parameter["loss"]
    assert len(held_out(classifier(), validation=0.25)) == 10
    assert len(held_out(classifier(validation_fraction=0.5), validation=0.25)) == 10


@pytest.mark.parametrize(
    "model",
    [
        bptt.SequenceRegressor(**SMALL),
        bptt.SequenceTagger(**SMALL),
        bptt.EncoderDecoder(**SMALL),
        bptt.LanguageModel(**SMALL),
        bptt.SequenceGenerator(**SMALL),
    ],
    ids=lambda model: type(model).__name__,
)
def test_every_estimator_takes_a_fraction_and_a_splitter(model):
    targets = {"SequenceRegressor": np.arange(40.0), "SequenceGenerator": ["ab"] * 40}
    texts = ["ab", "ba"] * 20
    inputs = np.eye(40) if isinstance(model, bptt.SequenceGenerator) else texts
    for validation in (0.25, KFold(4)):
        model.fit(inputs, targets.get(type(model).__name__, texts), validation=validation)
        assert None not in model.history_["validation_loss"]


def test_a_language_model_is_validated_on_texts():
    model = bptt.LanguageModel(**SMALL)
    texts, others = ["ab", "ba", "aab"], ["aa", "bb"]
    losses = [
        model.fit(texts, validation=validation).history_["validation_loss"]
        for validation in (others, (others,))
    ]
    assert losses[0] == losses[1]
    model = bptt.LanguageModel(truncate=(2, 4), **SMALL).fit(texts, validation=others)
    assert None not in model.history_["validation_loss"]
    with pytest.raises(
        ValueError, match=r"truncate cannot be combined with a validation split, got"
    ):
        model.fit(texts, validation=0.5)


def test_groups_are_held_out_as_a_whole():
    speakers = np.repeat(np.arange(8), 5)
    numbers = held_out(classifier(), validation=0.25, groups=speakers)
    assert len(numbers) == 10
    assert len(set(speakers[numbers])) == 2
    numbers = held_out(classifier(), validation=GroupKFold(4), groups=speakers)
    assert len(numbers) == 10
    assert len(set(speakers[numbers])) == 2


def test_the_last_split_of_a_splitter_is_used():
    assert held_out(classifier(), validation=TimeSeriesSplit(4)) == list(range(32, 40))
    assert held_out(classifier(), validation=KFold(5)) == list(range(32, 40))
    stratified = held_out(classifier(), validation=StratifiedShuffleSplit(1, test_size=10))
    assert sorted(Y[stratified]) == ["a"] * 5 + ["b"] * 5


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (
            {"validation": 0.001},
            ValueError,
            r"^validation = 0.001 of 40 sequences leaves 40 for tr",
        ),
        (
            {"validation": 1.5},
            ValueError,
            r"^validation must be a fraction in \[0, 1\), data \(X, y\), or a splitter .*, got 1.5",
        ),
        ({"validation": 3}, ValueError, r"^validation must be a fraction in \[0, 1\), .*, got 3"),
        (
            {"validation": 0.1, "groups": [0] * 40},
            ValueError,
            r"^validation = 0.1 of 1 groups leav",
        ),
        (
            {"validation": 0.1, "groups": [0, 1]},
            ValueError,
            r"^groups must have shape \(B,\) = \(40",
        ),
        (
            {"groups": [0, 1] * 20},
            ValueError,
            r"^groups needs validation to be a fraction or a spl",
        ),
        ({"validation": "0.1"}, TypeError, r"^validation must be a tuple \(X, y\) or .*, got str"),
        ({"validation": X}, TypeError, r"^validation must be a tuple \(X, y\) or .*, got list"),
        ({"validation": True}, TypeError, r"^validation must be a tuple .*, got bool"),
    ],
)
def test_wrong_validation(arguments, error, message):
    with pytest.raises(error, match=message):
        classifier().fit(X, Y, **arguments)


# ---- classes


def test_classes_of_fit(tmp_path):
    model = classifier().fit(X, Y, classes=["c", "b", "a"])
    assert model.classes_.tolist() == ["a", "b", "c"]
    assert model.predict_proba(X).shape == (40, 3)
    model.partial_fit(X, ["c"] * 40)
    tagger = bptt.SequenceTagger(**SMALL).fit(["ab"], ["xy"], classes=["x", "y", "z"])
    assert tagger.classes_.tolist() == ["x", "y", "z"]
    with pytest.raises(TypeError, match="classes must be None for a SequenceRegressor"):
        bptt.SequenceRegressor(**SMALL).fit(X, np.ones(40), classes=[1])


# ---- warm start, monitor, verbose


def test_warm_start_continues(tmp_path):
    model = classifier(warm_start=True).fit(X, Y)
    first = model.history_["loss"]
    model.save(tmp_path / "model")
    for one in (model, bptt.SequenceClassifier.load(tmp_path / "model")):
        one.set_params(epochs=3, learning_rate=0.01, batch_size=8).fit(X, Y)
        assert one.history_["loss"][:2] == first
        assert one.history_["number"] == [1, 2, 3, 4, 5]
        assert one.n_iter_ == 5
        assert one.history_["learning_rate"] == [0.003] * 2 + [0.01] * 3
        assert one.history_["loss"][2] < first[0]
        with pytest.raises(
            ValueError, match=r"warm_start=True needs hidden_size unchanged, 4, got 8"
        ):
            one.set_params(hidden_size=8).fit(X, Y)
    with pytest.raises(ValueError, match="must hold known labels"):
        model.set_params(hidden_size=4).fit(X, ["c"] * 40)
    assert len(model.set_params(warm_start=False, hidden_size=8).fit(X, Y).history_) == 3


def test_an_interrupted_warm_start_keeps_the_history():
    def interrupt(training):
        raise KeyboardInterrupt

    model = classifier(warm_start=True).fit(X, Y)
    with pytest.raises(KeyboardInterrupt):
        model.set_params(callbacks=[interrupt]).fit(X, Y)
    assert len(model.history_) == 3


@pytest.mark.parametrize(
    ("model", "y", "best"),
    [(classifier(), Y, max), (bptt.SequenceRegressor(**SMALL), np.arange(40.0) / 20, min)],
)
def test_the_metric_is_monitored(model, y, best):
    model.set_params(epochs=30, patience=5, monitor="metric", learning_rate=0.05)
    model.fit(X, y, validation=0.25)
    metrics = model.history_["validation_metric"]
    assert len(metrics) < 30
    assert metrics.index(best(metrics)) == len(metrics) - 6


def test_verbose_2_shows_lines(capfd):
    classifier(verbose=2).fit(X, Y)
    assert capfd.readouterr().err.splitlines()[2].startswith("epoch 1/2: loss 0.")
