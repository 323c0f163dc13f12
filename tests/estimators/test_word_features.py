"""Word features: affixes and shapes, EmbeddingBag, and the estimators that use them."""

from __future__ import annotations

import numpy as np
import pytest

import bptt
from bptt import EmbeddingBag, SequenceClassifier, SequenceRegressor, SequenceTagger
from bptt.data._word_features import word_features
from bptt.data.sequence_encoder import SequenceEncoder
from bptt.nn.cells import CELLS
from cases import DTYPES, dtype_id

N, E = 7, 5
WORDS = [["the", "Covid-19", "walked"], ["a"], ["walking", "the"]]


def shape_of(word):
    return word_features(word, 0)[0][1:]


def test_affixes():
    parts = [part.translate({2: "<", 3: ">"}) for part in word_features("Ran", 4)]
    expected = [">Aa", "<ran>", "<r", "<ra", "<ran", "<ran>", "n>", "an>", "ran>", "<ran>"]
    assert parts == expected
    assert len(word_features("", 3)) == len(word_features("unbelievable", 3)) == 2 + 2 * 3


@pytest.mark.parametrize(
    ("word", "shape"),
    [
        ("Covid-19", "Aa-0"),
        ("iPhone", "aAa"),
        ("U.S.", "A.A."),
        ("Ömer", "Aa"),
        ("カレーライス", "KATAKANA"),
        ("お茶", "HIRAGANACJK"),
        ("...", "."),
        ("", ""),
    ],
)
def test_shape(word, shape):
    assert shape_of(word) == shape


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("dtype", DTYPES, ids=dtype_id)
@pytest.mark.parametrize("shape", [(3,), (4, 1), (2, 3, 4), (2, 0, 3)])
def test_bag_adds_vectors(shape, dtype):
    rng = np.random.default_rng(0)
    module = EmbeddingBag(N, E, dtype=dtype, seed=0)
    ids = rng.integers(0, N, shape)
    d_output = rng.standard_normal((*shape[:-1], E)).astype(dtype)
    run = module.forward(ids)
    tolerance = np.finfo(dtype).eps * 50
    expected = module["weight"][ids].sum(axis=-2)
    np.testing.assert_allclose(run.output, expected, atol=tolerance)
    np.testing.assert_array_equal(module(ids), run.output)
    counts = (ids[..., np.newaxis] == np.arange(N)).sum(axis=-2).reshape(-1, N)
    found = run.backward(d_output)["weight"]
    np.testing.assert_allclose(found, counts.T @ d_output.reshape(-1, E), atol=tolerance)


def test_bag_does_not_read_padding():
    module = EmbeddingBag(N, E, dtype="float64", seed=0)
    rng = np.random.default_rng(0)
    ids, lengths = rng.integers(0, N, (3, 4, 2)), np.array([4, 0, 2])
    exists = (np.arange(4) < lengths[:, np.newaxis])[..., np.newaxis]
    d_output = rng.standard_normal((3, 4, E))
    run = module.forward(np.where(exists, ids, -1), lengths=lengths)
    np.testing.assert_array_equal(run.output, module(ids) * exists)
    clean = module.forward(ids).backward(d_output * exists)
    found = run.backward(np.where(exists, d_output, np.nan))
    np.testing.assert_allclose(found["weight"], clean["weight"], atol=1e-14)


@pytest.mark.parametrize(
    ("ids", "lengths", "error", "message"),
    [
        ([0], None, TypeError, "ids must be a NumPy array, got list"),
        (np.array(0), None, ValueError, r"ids must have shape \(..., F\), got \(\)"),
        (
            np.zeros((2, 3), int),
            np.array([1, 2]),
            ValueError,
            r"ids must have shape \(batch, steps, F\) with lengths, got \(2, 3\)",
        ),
        (
            np.zeros((1, 3, 2), int),
            np.array([4]),
            ValueError,
            r"lengths must lie in \[0, steps\] = \[0, 3\], got 4",
        ),
        (np.full((1, 3, 2), N), None, ValueError, f"got {N}"),
    ],
)
def test_bag_refuses_wrong_ids(ids, lengths, error, message):
    with pytest.raises(error, match=message):
        EmbeddingBag(N, E)(ids, lengths=lengths)


def test_bag_in_a_chain(tmp_path):
    bag, layer = EmbeddingBag(N, E, dtype="float64", seed=0), bptt.GRU(E, 4, dtype="float64")
    model = bptt.Sequential(bag, layer, bptt.Linear(4, 3, dtype="float64", seed=0))
    rng = np.random.default_rng(0)
    ids, lengths = rng.integers(0, N, (3, 4, 2)), np.array([4, 0, 2])
    y, _ = model(ids, lengths=lengths)
    plain = bptt.Sequential(*model.modules[1:])
    np.testing.assert_array_equal(y, plain(bag(ids, lengths=lengths), lengths=lengths)[0])
    y_0, _ = model.step(ids[:, 0])
    np.testing.assert_allclose(y_0[0], y[0, 0], atol=1e-14)
    path = tmp_path / "bag.safetensors"
    bptt.save_modules(path, {"bag": bag})
    loaded = bptt.load_modules(path)[0]["bag"]
    assert isinstance(loaded, EmbeddingBag)
    np.testing.assert_array_equal(loaded(ids), bag(ids))


def test_encoder():
    encoder = SequenceEncoder(tokens=None, affixes=2).fit(WORDS)
    sequences = encoder.transform([["the", "talked"], [], ["the"]])
    assert sequences.lengths.tolist() == [2, 0, 1]
    assert sequences.values.shape == (3, 1 + 2 + 2 * 2)
    assert encoder.size == len(encoder.vocabulary) + len(encoder.feature_vocabulary)
    the, talked = sequences[0]
    np.testing.assert_array_equal(the, sequences[2][0])
    (walked,) = encoder.transform([["walked"]]).values
    first = len(encoder.vocabulary)
    assert talked[0] == 0  # the unknown word
    assert (talked[1:] >= first).all()
    assert talked[2] == first  # an unknown form in lower case
    assert talked[1] == walked[1]  # of the same shape
    assert talked[-2:].tolist() == walked[-2:].tolist()  # d, ed
    again = SequenceEncoder.from_dict(encoder.to_dict()).transform(WORDS).values
    np.testing.assert_array_equal(again, encoder.transform(WORDS).values)


@pytest.mark.parametrize(
    ("options", "X", "error", "message"),
    [
        ({"affixes": -1, "tokens": None}, WORDS, ValueError, "affixes must be an integer >= 0"),
        ({"affixes": 2}, WORDS, ValueError, "affixes needs tokens='words'"),
        (
            {"affixes": 2, "tokens": None},
            [[0, 1]],
            TypeError,
            "affixes needs X to hold strings, got integer ids",
        ),
    ],
)
def test_wrong_options_of_the_encoder(options, X, error, message):
    with pytest.raises(error, match=message):
        SequenceEncoder(**options).fit(X)


def made_up(count, rng):
    """Return sentences of made-up words, whose last letters say what they are."""
    ends = {"NOUN": "tion", "VERB": "ify", "ADJ": "ous"}
    tags = [rng.choice(list(ends), 6).tolist() for _ in range(count)]
    stem = "".join
    return [
        [stem(rng.choice(list("abdegiklmnoprstu"), 5)) + ends[tag] for tag in row] for row in tags
    ], tags


def test_tagger_generalizes_to_unknown_words_by_suffix(tmp_path):
    rng = np.random.default_rng(0)
    learn, test = made_up(60, rng), made_up(30, rng)
    options = {
        "tokens": None,
        "hidden_size": 16,
        "embedding_size": 16,
        "epochs": 8,
        "learning_rate": 0.01,
        "random_state": 0,
    }
    assert SequenceTagger(**options).fit(*learn).score(*test) < 0.5
    model = SequenceTagger(**options, affixes=3, bidirectional=True).fit(*learn)
    assert model.score(*test) > 0.98
    model.save(tmp_path / "tagger.safetensors")
    loaded = SequenceTagger.load(tmp_path / "tagger.safetensors")
    for found, same in zip(model.predict(test[0]), loaded.predict(test[0]), strict=True):
        np.testing.assert_array_equal(found, same)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("more", [{}, {"affixes": 1, "crf": True, "skip_input": True}], ids=str)
def test_tagger_generalizes_to_unknown_words_by_their_characters(cell, more, tmp_path):
    rng = np.random.default_rng(0)
    learn, test = made_up(60, rng), made_up(30, rng)
    options = {"tokens": None, "hidden_size": 16, "embedding_size": 4, "characters": 16}
    options |= {"epochs": 12, "learning_rate": 0.01, "random_state": 0, "cell": cell, **more}
    model = SequenceTagger(**options).fit(*learn)
    assert model.score(*test) > 0.98
    model.save(tmp_path / "tagger.safetensors")
    loaded = SequenceTagger.load(tmp_path / "tagger.safetensors")
    assert repr(loaded.encoder_) == repr(model.encoder_)
    words = [
        *test[0],
        ["", "日本ify", "\N{GRINNING FACE}" * 100, "\0", "x" * 40 + "tion"],
        [""],
        [],
    ]
    for found, same in zip(model.predict_proba(words), loaded.predict_proba(words), strict=True):
        np.testing.assert_array_equal(found, same)
    model.partial_fit(*test)
    loaded.partial_fit(*test)
    for name, value in model.model_.parameters.items():
        np.testing.assert_array_equal(loaded.model_.parameters[name], value)


@pytest.mark.parametrize("characters", [None, 3])
def test_dropout_of_embeddings(characters, tmp_path):
    options = {"tokens": None, "embedding_size": 4, "hidden_size": 3, "random_state": 0}
    options |= {"characters": characters, "epochs": 2}
    model = SequenceTagger(**options, embedding_dropout=0.4).fit(WORDS, WORDS)
    place = 1 if characters is None else 2
    assert model.model_.modules[place].rate == 0.4
    other = SequenceTagger(**options).fit(WORDS, WORDS)
    assert len(other.model_.modules) == len(model.model_.modules) - 1
    assert model.history_["loss"] != other.history_["loss"]
    model.save(tmp_path / "tagger.safetensors")
    loaded = SequenceTagger.load(tmp_path / "tagger.safetensors")
    for found, same in zip(model.predict_proba(WORDS), loaded.predict_proba(WORDS), strict=True):
        np.testing.assert_array_equal(found, same)
    for wrong in ({"embedding_size": None}, {"feedback": True}):
        with pytest.raises(ValueError, match="embedding_dropout needs an embedding_size"):
            SequenceTagger(**{**options, "characters": None, **wrong}, embedding_dropout=0.4).fit(
                WORDS, WORDS
            )


def test_characters_of_words_have_ids_of_their_own():
    encoder = SequenceEncoder(tokens=None, characters=True, min_count=2).fit(
        [["ab", "ab", ""], ["c" * 5]]
    )
    assert encoder.character_vocabulary.tokens == ("", "<unk>", "c", "a", "b")
    assert (encoder.size, encoder.word_length) == (len(encoder.vocabulary), 5)
    a, b, c, unknown = 3, 4, 2, 1
    sequences = encoder.transform([["ba", "", "axc"], [], ["abcdefghc"]])
    assert sequences.values.dtype == np.int32
    assert sequences.values[:, 1:].tolist() == [
        [b, a, 0, 0, 0],
        [0, 0, 0, 0, 0],
        [a, unknown, c, 0, 0],
        [a, b, c, unknown, c],  # the middle is left out
    ]
    again = SequenceEncoder.from_dict(encoder.to_dict()).transform([["ba", "", "axc"]])
    np.testing.assert_array_equal(again.values, sequences.values[:3])
    before = encoder.to_dict()
    for name in ("characters", "character_vocabulary", "word_length"):
        del before[name]
    assert SequenceEncoder.from_dict(before).word_length is None  # a file of an older version


def test_words_have_at_most_32_characters():
    encoder = SequenceEncoder(tokens="words", characters=True).fit(["a" * 100])
    assert encoder.word_length == 32
    ids = encoder.transform(["a" * 16 + "b" * 50 + "a" * 16]).values
    assert ids[0, 1:].tolist() == [2] * 32


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"characters": 0}, "characters must be an integer >= 1, got 0"),
        ({"characters": True}, "characters must be an integer, got bool"),
        ({"embedding_size": None}, "characters needs an embedding_size, and feedback=False"),
        ({"feedback": True}, "characters needs an embedding_size, and feedback=False"),
        ({"tokens": "characters"}, "characters needs tokens='words' or tokens=None"),
    ],
)
def test_characters_of_a_tagger_need_words_and_an_embedding(options, message):
    model = SequenceTagger(**{"characters": 3, "tokens": None, "embedding_size": 4, **options})
    with pytest.raises((TypeError, ValueError), match=message):
        model.fit(WORDS, WORDS)


def test_characters_of_a_tagger_need_strings():
    model = SequenceTagger(characters=3, tokens=None, embedding_size=4)
    with pytest.raises(TypeError, match="characters needs X to hold strings, got integer ids"):
        model.fit([[0, 1]], [["A", "B"]])


@pytest.mark.parametrize("wrong", [{"embedding_size": None}, {"feedback": True}])
def test_affixes_of_a_tagger_need_an_embedding(wrong):
    model = SequenceTagger(**{"affixes": 3, "tokens": None, "embedding_size": 4, **wrong})
    with pytest.raises(ValueError, match="affixes needs an embedding_size, and feedback=False"):
        model.fit(WORDS, WORDS)


def test_classifier_generalizes_to_unknown_words_by_suffix(tmp_path):
    sentences, tags = made_up(200, np.random.default_rng(0))
    X, y = [row[:1] for row in sentences], [row[0] for row in tags]
    options = {
        "tokens": None,
        "hidden_size": 8,
        "embedding_size": 8,
        "epochs": 12,
        "learning_rate": 0.02,
        "random_state": 0,
    }
    assert SequenceClassifier(**options).fit(X[:150], y[:150]).score(X[150:], y[150:]) < 0.5
    model = SequenceClassifier(**options, affixes=3).fit(X[:150], y[:150])
    assert model.score(X[150:], y[150:]) > 0.98
    model.save(tmp_path / "classifier.safetensors")
    loaded = SequenceClassifier.load(tmp_path / "classifier.safetensors")
    np.testing.assert_array_equal(loaded.predict_proba(X), model.predict_proba(X))


def test_affixes_of_a_regressor_need_an_embedding():
    with pytest.raises(ValueError, match="affixes needs an embedding_size"):
        SequenceRegressor(affixes=3, tokens=None).fit(WORDS, [0.0, 1.0, 2.0])
