"""Diagnostics of fitted estimators."""

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError

import bptt
from bptt import diagnostics
from bptt.diagnostics import GradientFlowRecorder, estimator_flow, gate_trace, saliency
from derivatives import assert_gradient, differences

WORDS = ["abca", "cab", "bb", "acbca"]
TAGS = [list("xyxx"), list("xyx"), list("yy"), list("xxyxx")]
SMALL = {"hidden_size": 6, "epochs": 2, "random_state": 0, "dtype": "float64"}
VECTORS = [np.random.default_rng(i).standard_normal((n, 2)) for i, n in enumerate((4, 3, 2, 5))]

ESTIMATORS = {
    "classifier": (bptt.SequenceClassifier, {"pool": "mean"}, WORDS, list("abba")),
    "regressor": (bptt.SequenceRegressor, {"scale": True}, VECTORS, [10.0, 20.0, 30.0, 25.0]),
    "tagger": (bptt.SequenceTagger, {"bidirectional": True, "num_layers": 2}, WORDS, TAGS),
    "feedback": (bptt.SequenceTagger, {"feedback": True}, WORDS, TAGS),
    "feedback-vectors": (bptt.SequenceTagger, {"feedback": True}, VECTORS, TAGS),
    "skip": (bptt.SequenceTagger, {"skip_input": True, "embedding_size": 3}, WORDS, TAGS),
    "affixes": (
        bptt.SequenceTagger,
        {"affixes": 2, "embedding_size": 3, "tokens": None},
        [list(word) for word in WORDS],
        TAGS,
    ),
    "characters": (
        bptt.SequenceTagger,
        {"characters": 2, "embedding_size": 3, "tokens": None},
        [list(word) for word in WORDS],
        TAGS,
    ),
    "language": (bptt.LanguageModel, {"cell": "gru", "dropout": 0.4}, WORDS, None),
    "windows": (bptt.LanguageModel, {"truncate": (2, 3), "embedding_size": 4}, WORDS, None),
    "labels": (bptt.SequenceGenerator, {"cell": "rnn"}, list("wxyz"), WORDS),
    "features": (bptt.SequenceGenerator, {"num_layers": 2}, np.eye(4), WORDS),
    "translator": (bptt.EncoderDecoder, {}, WORDS, WORDS[::-1]),
    "attention": (
        bptt.EncoderDecoder,
        {"attention": "dot", "bidirectional": True, "dropout": 0.2, "scheduled_sampling": 0.5},
        WORDS,
        WORDS[::-1],
    ),
}
every_estimator = pytest.mark.parametrize("name", ESTIMATORS)


def fitted(name, **options):
    kind, own, X, y = ESTIMATORS[name]
    return kind(**{**SMALL, **own, **options}).fit(X, y), X, y


def modules(model):
    return model._task().modules.values()


# ---- gradient flow -------------------------------------------------------------------------------


@every_estimator
def test_flow_in_float32_and_float64_agree(name):
    model, X, y = fitted(name)
    found = estimator_flow(model, X, y)
    single = fitted(name, dtype="float32")[0]
    for mine, its in zip(modules(model), modules(single), strict=True):
        for parameter in mine:
            its[parameter] = mine[parameter].astype(np.float32)
    rounded = estimator_flow(single, X, y)
    assert found.names == rounded.names
    assert len(found.names) == len(found.norms) == len(found.remaining) == len(found.verdicts)
    for norms, others in zip(found.norms, rounded.norms, strict=True):
        assert norms.all()
        np.testing.assert_allclose(norms, others, rtol=1e-4)
    assert str(found.verdict).startswith(found.verdict.kind)


def test_the_flow_is_that_of_the_estimators_own_loss():
    model, X, y = fitted("classifier")
    found = estimator_flow(model, X, y)
    x, lengths = model.encoder_.transform(X).pad(np.arange(4))
    classes = np.array([0, 1, 1, 0])
    expected = diagnostics.gradient_flow(
        model.model_,
        x,
        lambda logits: bptt.softmax_cross_entropy(logits, classes, reduction="mean"),
        lengths=lengths,
    )
    np.testing.assert_allclose(found.norms[0], expected.norms[0], rtol=1e-12)


def test_the_flow_of_a_forecaster_is_that_of_its_windows():
    """The gradient enters at the last steps, which alone have targets."""
    series = [
        np.cumsum(values[:, 0]) for values in np.random.default_rng(0).normal(size=(3, 20, 1))
    ]
    recorder = GradientFlowRecorder(series)
    model = bptt.SequenceForecaster(horizon=3, lookback=8, callbacks=[recorder], **SMALL)
    found = estimator_flow(model.fit(series), series)
    assert found.names == ("layer 0",)
    assert len(found.norms[0]) == 8 - 1 + 3 - 1
    assert (found.norms[0] > 0).all()
    assert len(recorder.flows) == 2


def test_a_flow_is_that_of_central_differences_through_decoder_and_bridge():
    """What reaches the encoder's last state, where there is no attention."""
    model, X, y = fitted("translator", cell="gru")
    found = estimator_flow(model, X, y)
    assert found.names == ("encoder layer 0", "decoder layer 0")
    task = model._task()
    batch = model._dataset(X, y).batch(np.arange(4))
    state = task.network.encode(batch.x, batch.lengths).state
    targets = batch.targets

    def loss():
        logits, _ = task.network.decoder(targets.tokens, lengths=targets.lengths, state=state)
        return task.decoder_task.loss(logits, targets).value

    d_state = differences(loss, state)[0]
    longest = batch.lengths == batch.lengths.max()
    expected = np.linalg.norm(d_state[longest])
    assert found.norms[0][-1] == pytest.approx(expected, rel=1e-6)


def test_flow_depends_on_the_condition_and_covers_one_window():
    """With truncated BPTT, the first k2 steps."""
    model, X, y = fitted("labels")
    flows = [estimator_flow(model, [label], [y[0]]).norms[0] for label in X[:2]]
    assert not np.allclose(*flows)
    model, X, _ = fitted("windows")
    assert len(estimator_flow(model, X).norms[0]) == 3


def test_a_recorder_leaves_training_unchanged_and_records_every_epoch():
    kind, own, X, y = ESTIMATORS["attention"]
    record = GradientFlowRecorder(X[:2], y[:2])
    watched = kind(**{**SMALL, **own, "epochs": 3}, callbacks=[record]).fit(X, y)
    alone = kind(**{**SMALL, **own, "epochs": 3}).fit(X, y)
    assert len(record.flows) == 3
    for one, other in zip(modules(watched), modules(alone), strict=True):
        np.testing.assert_array_equal(one._flat, other._flat)
    last = estimator_flow(watched, X[:2], y[:2])
    np.testing.assert_array_equal(record.flows[-1].norms[0], last.norms[0])
    assert not np.array_equal(record.flows[0].norms[0], last.norms[0])
    watched.fit(X, y)
    assert len(record.flows) == 3


# ---- gates and saliency --------------------------------------------------------------------------


def segments(rng, count):
    """A bar, a letter, dots, and the letter again: dots must remember, bars may forget."""
    letters = rng.choice(list("abc"), count)
    return "".join(f"|{a}{'.' * rng.integers(2, 6)}{a}" for a in letters)


def test_gates_of_a_language_model_by_character():
    rng = np.random.default_rng(0)
    texts = [segments(rng, 6) for _ in range(200)]
    model = bptt.LanguageModel(hidden_size=16, epochs=25, learning_rate=0.02, random_state=1)
    found = gate_trace(model.fit(texts), segments(rng, 20))
    kept = found.by_token("forget")
    assert found.tokens[:2] == ("<start>", "|")
    assert len(found.tokens) == len(found.gates["forget"])
    assert set(kept) == {"<start>", *"|abc."}
    assert min(kept, key=kept.get) == "|"
    assert kept["."] > kept["|"] + 0.1


@every_estimator
def test_every_estimator_that_reads_sequences_shows_its_gates(name):
    model, X, _ = fitted(name, cell="lstm")
    if isinstance(model, bptt.SequenceGenerator):
        with pytest.raises(TypeError, match="model must read sequences, got SequenceGenerator"):
            gate_trace(model, X[0])
        return
    found = gate_trace(model, X[0])
    started = isinstance(model, bptt.LanguageModel)
    assert found.gates["forget"].shape == (4 + started, 6)
    expected = None if X is VECTORS else (*["<start>"] * started, *X[0])
    assert found.tokens == expected


@pytest.mark.parametrize(
    "name", ["classifier", "tagger", "skip", "affixes", "characters", "language", "feedback"]
)
def test_saliency_names_outputs_as_the_estimator_does(name):
    model, X, _ = fitted(name)
    outputs = model.tokens_ if name == "language" else list(model.classes_)
    word = X[0]
    for i, answer in enumerate(outputs):
        found = saliency(model, word, output=answer)
        assert found.output == answer
        assert len(found.norms) == len(found.tokens) == len(word) + (name == "language")
        if name == "classifier":
            one_hot = np.eye(model.encoder_.size)[model.encoder_.transform([word])[0]][np.newaxis]
            logit = lambda i=i, x=one_hot: model.model_(x)[0][0, i]  # noqa: E731
            assert_gradient(found.gradient, differences(logit, one_hot)[0])
    with pytest.raises(ValueError, match=r"output must be one of .*, got 'none'"):
        saliency(model, word, output="none")


def test_saliency_is_of_the_predicted_class_by_default():
    model, X, _ = fitted("classifier")
    for word in X:
        assert saliency(model, word).output == model.predict([word])[0]


# ---- wrong arguments -----------------------------------------------------------------------------


def test_errors_of_wrong_arguments():
    model, X, y = fitted("translator")
    with pytest.raises(TypeError, match="saliency does not support EncoderDecoder"):
        saliency(model, X[0])
    with pytest.raises(TypeError, match="estimator must be an estimator of bptt, got LSTM"):
        estimator_flow(bptt.LSTM(2, 3, seed=0), X, y)
    for look in (lambda m: estimator_flow(m, X, list("abba")), lambda m: gate_trace(m, X[0])):
        with pytest.raises(NotFittedError):
            look(bptt.SequenceClassifier())
    model, X, _ = fitted("classifier")
    with pytest.raises(ValueError, match="requires y to be passed"):
        estimator_flow(model, X)
    with pytest.raises(ValueError, match="x must have at least one step, got none"):
        gate_trace(model, "")
    with pytest.raises(
        TypeError, match="GradientFlowRecorder must be a callback of an estimator's fit"
    ):
        model.set_params(callbacks=[GradientFlowRecorder(X, list("abba"))]).partial_fit(
            X, list("abba")
        )
