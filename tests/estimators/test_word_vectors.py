"""Pretrained word vectors in estimators: `embedding_vectors` and `freeze_embedding`."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("sklearn")
pytest.importorskip("safetensors")

from sklearn.base import clone

import bptt
from bptt.data import SequenceEncoder

TEXTS = ["Good film", "a good one", "bad film", "a bad one"] * 3
MOODS = ["+", "+", "-", "-"] * 3
TAGS = [["X"] * len(text.split()) for text in TEXTS]
VECTORS = {word: np.full(5, i + 0.5, np.float32) for i, word in enumerate(("good", "bad", "other"))}
OPTIONS = {"hidden_size": 4, "epochs": 2, "tokens": "words", "random_state": 0}
CASES = {
    "SequenceClassifier": (TEXTS, MOODS),
    "SequenceRegressor": (TEXTS, np.arange(12.0)),
    "SequenceTagger": (TEXTS, TAGS),
    "LanguageModel": (TEXTS,),
    "SequenceGenerator": (MOODS, TEXTS),
    "EncoderDecoder": (TEXTS, TEXTS),
}


@pytest.fixture
def path(tmp_path):
    rows = [f"{word} {' '.join(map(str, vector))}" for word, vector in VECTORS.items()]
    file = tmp_path / "vectors.txt"
    file.write_text("\n".join(rows) + "\n", "utf-8")
    return file


def embedding(model):
    """Return the embedding of the input, and its tokens."""
    modules = model._task().modules
    encoder = getattr(model, "encoder_", None)
    tokens = ((encoder and encoder.vocabulary) or model.target_encoder_.vocabulary).tokens
    embeddings = [m for m in modules.values() if isinstance(m, bptt.Embedding)]
    return next(m for m in embeddings if m.num_embeddings >= len(tokens)), tokens


@pytest.mark.parametrize("kind", CASES)
def test_frozen_vectors_stay_in_every_estimator(kind, path, tmp_path, capsys):
    model = getattr(bptt, kind)(
        **OPTIONS, embedding_vectors=path, freeze_embedding=True, verbose=True
    ).fit(*CASES[kind])
    module, tokens = embedding(model)
    for word in ("good", "bad", "Good"):  # by the lower-case form
        np.testing.assert_array_equal(module["weight"][tokens.index(word)], VECTORS[word.lower()])
    share = f"3 of {len(tokens)} tokens ({3 / len(tokens):.1%})"
    assert f"embedding_vectors: 5 numbers for {share}, frozen" in capsys.readouterr().err
    model.save(tmp_path / "model")
    loaded = bptt.load_estimator(tmp_path / "model")
    assert loaded.embedding_vectors == str(path)
    assert embedding(loaded)[0].frozen
    loaded.partial_fit(*CASES[kind])
    np.testing.assert_array_equal(embedding(loaded)[0]["weight"], module["weight"])


def test_vectors_are_initial_values_and_other_words_random(path):
    trained = bptt.SequenceClassifier(**OPTIONS, embedding_vectors=path).fit(TEXTS, MOODS)
    module, tokens = embedding(trained)
    assert np.abs(module["weight"][tokens.index("good")] - VECTORS["good"]).max() < 0.1
    assert (module["weight"][tokens.index("good")] != VECTORS["good"]).all()
    plain = clone(trained).set_params(embedding_vectors=None, embedding_size=5, epochs=1)
    mapped = clone(trained).set_params(embedding_vectors=VECTORS, epochs=1, learning_rate=1e-9)
    plain.set_params(learning_rate=1e-9)
    for one in (plain, mapped):
        one.fit(TEXTS, MOODS)
    i = tokens.index("film")
    np.testing.assert_allclose(
        *(embedding(one)[0]["weight"][i] for one in (plain, mapped)), atol=1e-6
    )


def test_a_mapping_is_not_saved(tmp_path):
    model = bptt.SequenceClassifier(**OPTIONS, embedding_vectors=VECTORS, freeze_embedding=True)
    model.fit(TEXTS, MOODS).save(tmp_path / "model")
    loaded = bptt.load_estimator(tmp_path / "model")
    assert (loaded.embedding_vectors, loaded.embedding_size) == (None, 5)
    np.testing.assert_array_equal(loaded.predict_proba(TEXTS), model.predict_proba(TEXTS))
    loaded.save(tmp_path / "again")


def test_training_is_resumed_and_warm_started(path, tmp_path):
    options = {**OPTIONS, "freeze_embedding": True, "checkpoint_path": tmp_path / "checkpoint"}
    for vectors in (path, VECTORS):
        whole = bptt.SequenceClassifier(**OPTIONS, embedding_vectors=vectors, freeze_embedding=True)
        whole.fit(TEXTS, MOODS)
        half = bptt.SequenceClassifier(**{**options, "epochs": 1}, embedding_vectors=vectors)
        half.fit(TEXTS, MOODS)
        rest = bptt.SequenceClassifier(**options, embedding_vectors=vectors)
        rest.fit(TEXTS, MOODS, resume=True)
        np.testing.assert_array_equal(rest.predict_proba(TEXTS), whole.predict_proba(TEXTS))
        rest.set_params(warm_start=True, checkpoint_path=None).fit(TEXTS, MOODS)


def test_affixes_are_trained_beside_the_vectors(path):
    options = {**OPTIONS, "affixes": 2, "embedding_vectors": path}
    model = bptt.SequenceTagger(**{**options, "learning_rate": 1e-9}).fit(TEXTS, TAGS)
    module, tokens = embedding(model)
    np.testing.assert_allclose(module["weight"][tokens.index("bad")], VECTORS["bad"], atol=1e-6)
    with pytest.raises(ValueError, match="affixes needs freeze_embedding=False"):
        bptt.SequenceTagger(**options, freeze_embedding=True).fit(TEXTS, TAGS)
    with pytest.raises(ValueError, match="affixes needs freeze_embedding=False"):
        bptt.SequenceClassifier(**options, freeze_embedding=True).fit(TEXTS, MOODS)


@pytest.mark.parametrize(
    ("changes", "X", "error", "message"),
    [
        ({"tokens": "characters"}, TEXTS, ValueError, "needs tokens='words' or tokens=None"),
        ({"embedding_size": 4}, TEXTS, ValueError, "embedding_size must be None or 5"),
        ({"embedding_vectors": {}}, TEXTS, ValueError, "vectors of tokens of the data, got none"),
        ({"embedding_vectors": 3}, TEXTS, TypeError, "path must be a string or a path, got int"),
        ({"freeze_embedding": 1}, TEXTS, TypeError, "freeze_embedding must be True or False"),
        ({"tokens": None}, [[1, 2]] * 12, ValueError, "needs strings or tokens, got X that holds"),
        ({"embedding_vectors": "absent"}, TEXTS, FileNotFoundError, "absent"),
    ],
)
def test_errors(changes, X, error, message):
    model = bptt.SequenceClassifier(**{**OPTIONS, "embedding_vectors": VECTORS, **changes})
    with pytest.raises(error, match=message):
        model.fit(X, MOODS)


def test_words_without_any_vector_are_an_error(path):
    with pytest.raises(ValueError, match="must have vectors of tokens of the data, got none"):
        bptt.LanguageModel(**OPTIONS, embedding_vectors=path).fit(["x y", "z"])
    with pytest.raises(ValueError, match="needs strings or tokens, got integer ids"):
        bptt.LanguageModel(**OPTIONS, embedding_vectors=path).fit([[1, 2], [0, 1]])


SIDES = {"left": [-2.0, 0.5], "port": [-2.0, 0.5], "right": [2.0, 0.0], "starboard": [2.0, 0.0]}
SIDES_32 = {word: np.float32(vector) for word, vector in SIDES.items()}
WORDS = [["left", "right", "right", "left"], ["right", "left", "there"]] * 4
UNSEEN = {
    "tokens": None,
    "hidden_size": 4,
    "epochs": 3,
    "random_state": 0,
    "freeze_embedding": True,
    "unseen_words": True,
}


@pytest.mark.parametrize("more", [{}, {"crf": True, "min_count": 5}, {"feedback": True}], ids=str)
@pytest.mark.parametrize("is_file", [False, True])
def test_words_that_fit_has_not_seen_have_their_vectors(more, is_file, tmp_path):
    vectors = SIDES_32
    if is_file:
        rows = [f"{word} {first} {second}\n" for word, (first, second) in SIDES.items()]
        (tmp_path / "vectors.txt").write_text("".join(rows), "utf-8")
        vectors = tmp_path / "vectors.txt"
    model = bptt.SequenceTagger(**UNSEEN, **more, embedding_vectors=vectors).fit(WORDS, WORDS)
    seen, other = [["left", "right", "there"]], [["Port", "starboard", "elsewhere"]]
    if more.get("min_count"):
        seen[0][2] = "elsewhere"  # both are unknown
    else:
        other[0][2] = "there"
    (expected,) = model.predict_proba(seen)
    np.testing.assert_array_equal(model.predict_proba(other)[0], expected)
    assert not np.array_equal(model.predict_proba([["starboard", "port", "there"]])[0], expected)
    model.save(tmp_path / "model")
    loaded = bptt.load_estimator(tmp_path / "model")
    assert loaded.unseen_words is is_file  # a mapping is not saved
    np.testing.assert_array_equal(loaded.predict_proba(other)[0], expected)
    loaded.partial_fit(WORDS, WORDS).save(tmp_path / "again")
    assert loaded.encoder_.vocabulary.tokens == model.encoder_.vocabulary.tokens


def test_the_vocabulary_has_words_of_the_data_only_by_default():
    tagger = bptt.SequenceTagger(**{**UNSEEN, "unseen_words": False}, embedding_vectors=SIDES_32)
    assert "port" not in tagger.fit(WORDS, WORDS).encoder_.vocabulary
    assert "port" in tagger.set_params(unseen_words=True).fit(WORDS, WORDS).encoder_.vocabulary


@pytest.mark.parametrize(
    "changes", [{"embedding_vectors": None, "embedding_size": 2}, {"freeze_embedding": False}]
)
def test_unseen_words_need_frozen_vectors(changes):
    model = bptt.SequenceTagger(**{**UNSEEN, "embedding_vectors": SIDES_32, **changes})
    with pytest.raises(ValueError, match="needs embedding_vectors and freeze_embedding=True"):
        model.fit(WORDS, WORDS)


def test_an_encoder_knows_further_words():
    encoder = SequenceEncoder(tokens=None, words=["b", "a", "b", "<unk>"], characters=True)
    encoder.fit([["c", "a", "A"]])
    assert encoder.vocabulary.tokens == ("<unk>", "A", "a", "c", "b")
    ids = encoder.transform([["b", "B", "A", "a", "D"]]).values
    assert ids[:, 0].tolist() == [4, 4, 1, 2, 0]
    assert ids[:2, 1].tolist() == [1, 1]  # characters are those of fit
    content = encoder.to_dict()
    again = SequenceEncoder.from_dict(content)
    np.testing.assert_array_equal(again.transform([["b", "B", "A", "a", "D"]]).values, ids)
    del content["lower_case"]  # a file of an older version
    assert SequenceEncoder.from_dict(content).transform([["B"]]).values[0, 0] == 0
    with pytest.raises(TypeError, match="lower_case must be True or False"):
        SequenceEncoder.from_dict({**content, "lower_case": 1})
    with pytest.raises(TypeError, match="words must be"):
        SequenceEncoder(words=[1])
