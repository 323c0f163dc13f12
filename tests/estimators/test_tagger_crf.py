"""SequenceTagger with a conditional random field."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("sklearn")

import bptt
from bptt import SequenceTagger
from bptt._core import loader
from bptt.decoding import viterbi_decode

OPTIONS = {"hidden_size": 6, "epochs": 3, "crf": True, "random_state": 0}
KINDS = np.array(["O", "B-x", "I-x", "B-y", "I-y"])


def data(count=40, seed=0):
    """Lists of tokens, labelled by spans."""
    random = np.random.default_rng(seed)
    X, y = [], []
    for n in random.integers(1, 10, count):
        tokens, labels = random.integers(0, 6, n), []
        for token in tokens.tolist():
            kind = "xy"[token % 2]
            inside = labels and labels[-1] in (f"B-{kind}", f"I-{kind}")
            labels.append("O" if token < 2 else ("I-" if inside else "B-") + kind)
        X.append([str(token) for token in tokens])
        y.append(labels)
    return X, y


def tagger(**options):
    return SequenceTagger(tokens=None, **{**OPTIONS, **options})


def test_labels_that_only_neighbors_tell_are_learned():
    random = np.random.default_rng(0)
    y = [list(random.choice(["ABABABAB", "BABABABA"])) for _ in range(60)]
    X = [np.zeros((8, 1)) for _ in y]
    model = SequenceTagger(hidden_size=4, crf=True, learning_rate=0.03, random_state=0).fit(X, y)
    assert "".join(model.predict(X[:1])[0]) in ("ABABABAB", "BABABABA")
    np.testing.assert_allclose(model.predict_proba(X[:1])[0], 0.5, atol=0.1)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"embedding_size": 4, "skip_input": True},
        {"bidirectional": True, "dropout": 0.2, "dtype": "float64"},
        {"embedding_size": 4, "affixes": 2, "viterbi": True, "metric": "span_f1"},
    ],
)
def test_predictions_are_those_of_the_module(options, tmp_path):
    X, y = data()
    model = tagger(**options).fit(X, y)
    crf = model.model_.modules[-1]
    assert isinstance(crf, bptt.CRF)
    assert crf["transitions"].any()
    assert crf.dtype == model.dtype
    probabilities, found = model.predict_proba(X), model.predict(X)
    for x, p, log_p, labels in zip(
        X, probabilities, model.predict_log_proba(X), found, strict=True
    ):
        emissions = model._logits([x], None)[0][np.newaxis]
        np.testing.assert_allclose(p, crf.marginals(emissions)[0], rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(np.exp(log_p), p, rtol=1e-5)
        np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-5)
        if not model.viterbi:
            assert labels.tolist() == model.classes_[crf.decode(emissions)[0]].tolist()
    model.save(tmp_path / "model.safetensors")
    loaded = SequenceTagger.load(tmp_path / "model.safetensors")
    assert loaded.crf
    for before, after in zip(found, loaded.predict(X), strict=True):
        np.testing.assert_array_equal(before, after)
    for before, after in zip(probabilities, loaded.predict_proba(X), strict=True):
        np.testing.assert_array_equal(before, after)


def test_viterbi_forbids_invalid_sequences():
    random = np.random.default_rng(0)
    X = [random.standard_normal((9, 2)) for _ in range(20)]
    y = [random.choice(KINDS, 9).tolist() for _ in X]  # without any rule
    model = SequenceTagger(**OPTIONS, scale=False).fit(X, y)
    free = model.predict(X)
    valid = model.set_params(viterbi=True).predict(X)
    assert any((a != b).any() for a, b in zip(free, valid, strict=True))
    for labels in valid:
        certain = np.where(labels[:, np.newaxis] == model.classes_, 0.9, 0.01)
        assert viterbi_decode(certain, model.classes_).tolist() == labels.tolist()


@pytest.mark.parametrize("viterbi", [False, True])
def test_loss_is_the_mean_over_steps_and_the_metric_that_of_predict(viterbi):
    X, y = data()
    model = tagger(viterbi=viterbi, batch_size=64, epochs=1, learning_rate=0.0, dtype="float64")
    history = model.fit(X, y, validation=(X, y)).history_
    n = sum(map(len, y))
    assert history["loss"][0] == pytest.approx(np.log(5), rel=0.2)  # of one step
    assert history["validation_loss"][0] == pytest.approx(history["loss"][0], rel=1e-9)
    total = 0.0
    for x, labels in zip(X, y, strict=True):
        emissions = model._logits([x], None)[0][np.newaxis]
        ids = np.searchsorted(model.classes_, labels)[np.newaxis]
        total += model.model_.modules[-1].cross_entropy(emissions, ids).value
    assert history["loss"][0] == pytest.approx(total / n, rel=1e-9)
    assert history["metric"][0] == pytest.approx(model.score(X, y))


def test_missing_labels_are_summed_over():
    X, y = data(80)
    random = np.random.default_rng(1)
    partly = [[label if random.random() < 0.6 else None for label in row] for row in y]
    options = {"epochs": 40, "learning_rate": 0.02, "hidden_size": 12}
    model = tagger(**options).fit(X, partly)
    assert model.score(X, y) > 0.95
    nothing = [[None] * len(row) for row in y[:1]] + y[1:]
    assert np.isfinite(tagger().fit(X, nothing).history_["loss"]).all()
    unknown = [["Z"] * len(row) for row in y]
    with pytest.warns(UserWarning, match="labels that were not in fit"):
        tagger().fit(X, y, validation=(X, unknown))


def test_sample_weight_weights_sequences():
    _, y = data(20)
    random = np.random.default_rng(0)
    X = [random.standard_normal((len(labels), 2)) for labels in y]
    weights = np.array([2.0] * 10 + [1.0] * 10)
    twice = tagger(batch_size=64, epochs=4, dtype="float64").fit(X[:10] + X, y[:10] + y)
    weighted = tagger(batch_size=64, epochs=4, dtype="float64").fit(X, y, sample_weight=weights)
    np.testing.assert_allclose(weighted.history_["loss"], twice.history_["loss"], rtol=1e-9)


def test_labels_are_decoded_once(monkeypatch):
    X, y = data()
    decoded = []
    viterbi = loader.kernels.crf_viterbi
    monkeypatch.setattr(
        loader.kernels, "crf_viterbi", lambda x, *more: decoded.append(len(x)) or viterbi(x, *more)
    )
    for options in ({}, {"viterbi": True, "metric": "span_f1"}):
        model = tagger(epochs=1, batch_size=len(X), **options).fit(X, y, validation=(X, y))
        assert decoded == [len(X)] * 2  # in training and in validation
        model.score(X, y)
        assert decoded == [len(X)] * 3
        decoded.clear()
        model.predict_proba(X)
        assert decoded == []


def test_resumed_training_has_the_same_bits(tmp_path):
    X, y = data()
    whole = tagger(epochs=4).fit(X, y)
    path = tmp_path / "checkpoint"
    tagger(epochs=2, checkpoint_path=path).fit(X, y)
    resumed = tagger(epochs=4, checkpoint_path=path).fit(X, y, resume=True)
    for name, value in whole.model_.parameters.items():
        np.testing.assert_array_equal(resumed.model_.parameters[name], value)


def test_partial_fit_and_warm_start():
    X, y = data()
    model = tagger().partial_fit(X, y, classes=KINDS.tolist()).partial_fit(X, y)
    assert model.model_.modules[-1].num_labels == 5
    tagger(warm_start=True).fit(X, y).fit(X, y)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"feedback": True}, "crf=True needs feedback=False"),
        ({"class_weight": "balanced"}, "crf=True needs class_weight=None and label_smoothing=0"),
        ({"label_smoothing": 0.1}, "crf=True needs class_weight=None and label_smoothing=0"),
    ],
)
def test_options_that_do_not_fit(options, message):
    with pytest.raises(ValueError, match=message):
        tagger(**options).fit(*data(4))
    with pytest.raises(TypeError, match="crf must be True or False"):
        tagger(crf=1).fit(*data(4))


def test_a_file_without_its_field_is_refused(tmp_path):
    X, y = data()
    model = tagger(crf=False).fit(X, y)
    model.crf = True
    model.save(tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match="the last module must be a CRF"):
        SequenceTagger.load(tmp_path / "model.safetensors")
