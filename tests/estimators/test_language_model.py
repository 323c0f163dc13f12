"""LanguageModel: memorized texts, known distributions, decoding and files."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

pytest.importorskip("sklearn")

from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from bptt import LanguageModel, load_estimator
from bptt.data.target_encoder import TargetEncoder
from cases import CELLS

WORDS = ["deep", "learn", "dog", "nets"]


def memorizing(**parameters):
    return LanguageModel(
        **{
            "hidden_size": 16,
            "epochs": 150,
            "learning_rate": 0.02,
            "random_state": 0,
            **parameters,
        }
    )


@pytest.fixture(scope="module")
def words():
    return memorizing().fit(WORDS)


@pytest.mark.parametrize("cell", CELLS)
def test_one_word_is_memorized(cell):
    model = memorizing(cell=cell).fit(["deep"])
    for prefix, token in (("", "d"), ("d", "e"), ("de", "e"), ("dee", "p"), ("deep", "<stop>")):
        p = model.next_token_probabilities(prefix)
        assert next(iter(p)) == token, f"P(next | {prefix!r}) = {p}"
        assert p[token] > 0.98, f"P(next | {prefix!r}) = {p}"
        assert sum(p.values()) == pytest.approx(1, abs=1e-5)
        assert list(p.values()) == sorted(p.values(), reverse=True)
    assert model.complete("d") == "deep"
    assert model.sample(temperature=0.0) == ["deep"]
    assert model.perplexity(["deep"]) < 1.02
    assert model.history_["metric"][-1] == 1.0


def test_the_distribution_of_the_data_is_learned():
    """Three of four texts begin with "a": the best that can be known is their entropy."""
    X = ["ab"] * 3 + ["b"]
    model = memorizing(epochs=200).fit(X)
    p = model.next_token_probabilities()
    assert (p["a"], p["b"]) == (pytest.approx(0.75, abs=0.02), pytest.approx(0.25, abs=0.02))
    entropy = -(0.75 * np.log2(0.75) + 0.25 * np.log2(0.25))  # a text; 11 tokens in 4 texts
    assert model.score(X) == pytest.approx(-entropy * 4 / 11, rel=0.02)
    assert model.perplexity(X) == pytest.approx(2 ** (entropy * 4 / 11), rel=0.01)
    texts = model.sample(count=2000, random_state=0)
    assert set(texts) >= {"ab", "b"}
    assert texts.count("ab") / 2000 == pytest.approx(0.75, abs=0.04)


def test_score_is_the_mean_over_all_tokens(words):
    """Of texts of different lengths together, from the probabilities of each token alone."""
    X = ["deep", "do", "", "nn"]
    bits = []
    for text in X:
        for t, token in enumerate([*text, "<stop>"]):
            bits.append(-np.log2(words.next_token_probabilities(text[:t])[token]))
    assert words.score(X) == pytest.approx(-np.mean(bits), rel=1e-4)
    found = words.surprisal(X)
    assert [len(one) for one in found] == [5, 3, 1, 3]
    np.testing.assert_allclose(np.concatenate(found), bits, rtol=1e-4, atol=1e-5)
    weighted = words.score(X, sample_weight=[0, 0, 0, 2])
    assert weighted == pytest.approx(-np.mean(bits[-3:]), rel=1e-4)


def test_probabilities_are_in_the_order_of_the_tokens(words):
    prefixes = ["de", "", "lear", "dog"]
    p = words.predict_proba(prefixes)
    assert p.shape == (4, len(words.tokens_))
    np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-5)
    assert [words.tokens_[i] for i in p[[0, 2, 3]].argmax(axis=1)] == ["e", "n", "<stop>"]
    for prefix, row in zip(prefixes, p, strict=True):
        one = words.next_token_probabilities(prefix)
        np.testing.assert_allclose([one[t] for t in words.tokens_], row, rtol=1e-4, atol=1e-7)


def test_completions_and_samples(words):
    assert [words.complete(text) for text in ("l", "dee", "do", "nets")] == [
        "learn",
        "deep",
        "dog",
        "nets",
    ]
    assert set(words.sample(count=200, top_p=0.9, random_state=1)) == set(WORDS)
    short = words.sample("d", count=3, max_length=1, top_k=1)
    assert short in (["de"] * 3, ["do"] * 3)
    assert words.complete("de", max_length=1) == "dee"
    for text in words.sample(count=100, temperature=5.0, random_state=2):
        assert "<" not in text


def test_completion_keeps_an_unknown_prompt(words):
    assert words.complete("Xe", max_length=5).startswith("Xe")


def test_samples_are_reproducible(words):
    one, same, other = (words.sample(count=30, random_state=seed) for seed in (3, 3, 4))
    assert one == same != other


@pytest.mark.parametrize(
    ("X", "parameters", "prompt"),
    [
        (["the cat sat", "a dog ran off"], {"tokens": "words"}, "a dog"),
        ([["the", "cat", "sat"], ["a", "dog", "ran", "off"]], {"tokens": None}, ["a", "dog"]),
        ([np.array([3, 1, 4]), np.array([2, 7, 1, 8])], {}, [2, 7]),
        ([np.array([3, 1, 4]), np.array([2, 7, 1, 8])], {}, np.array([2, 7])),
    ],
)
def test_words_token_lists_and_ids(X, parameters, prompt):
    model = memorizing(**parameters).fit(X)
    found = model.complete(prompt)
    assert type(found) is type(X[1])
    assert list(found) == list(X[1])
    assert set(map(tuple, model.sample(count=50, top_p=0.9, random_state=0))) == set(map(tuple, X))
    assert model.perplexity(X) < 1.2
    empty = "" if isinstance(prompt, str) else []
    p = model.predict_proba([empty, prompt])
    assert list(model.next_token_probabilities(prompt).values()) == pytest.approx(
        sorted(p[1])[::-1], rel=1e-4
    )
    assert set(model.next_token_probabilities()) == set(model.tokens_)


def test_padded_ids():
    X, lengths = np.array([[3, 1, 4, 0], [2, 7, 1, 8]]), np.array([3, 4])
    ragged = [X[0, :3], X[1]]
    model = memorizing(epochs=3)
    expected = model.fit(ragged).predict_proba(ragged)
    found = clone(model).fit(X, lengths=lengths).predict_proba(X, lengths=lengths)
    np.testing.assert_array_equal(found, expected)


def test_layers_dropout_embedding_and_weights():
    model = memorizing(num_layers=2, dropout=0.1, embedding_size=6, hidden_size=24, epochs=200)
    model.fit(["ab", "cd"], sample_weight=[9, 1])
    p = model.next_token_probabilities()
    assert p["a"] == pytest.approx(0.9, abs=0.05)
    assert model.complete("a") == "ab"


def test_label_smoothing():
    model = memorizing(label_smoothing=0.2, epochs=200).fit(["ab"])
    p = model.next_token_probabilities("a")
    assert p["b"] == pytest.approx(0.8 + 0.2 / len(p), abs=0.03)


def test_rare_tokens_are_unknown():
    model = memorizing(min_count=2, epochs=1).fit(["aab", "aac"])
    assert model.tokens_ == ["<unk>", "<start>", "<stop>", "a"]
    assert np.isfinite(model.score(["xyz"]))


def test_training_is_reproducible_and_partial_fit_continues():
    models = [memorizing(epochs=2, dropout=0.2).fit(WORDS) for _ in range(2)]
    one, other = (model.predict_proba(WORDS) for model in models)
    np.testing.assert_array_equal(one, other)
    model = memorizing().partial_fit(WORDS)
    for _ in range(60):
        model.partial_fit(WORDS * 5)
    assert model.complete("l") == "learn"


@pytest.mark.parametrize("X", [WORDS, [list(word) for word in WORDS], [[3, 1, 2], [2, 0]]])
def test_loaded_estimator_is_identical(X, tmp_path):
    pytest.importorskip("safetensors")
    model = memorizing(dropout=0.1, embedding_size=5, epochs=5).fit(X)
    model.save(tmp_path / "model")
    loaded = LanguageModel.load(tmp_path / "model")
    np.testing.assert_array_equal(loaded.predict_proba(X), model.predict_proba(X))
    one, other = (list(m.sample(random_state=1)[0]) for m in (model, loaded))
    assert one == other
    one, other = (m.partial_fit(X).predict_proba(X) for m in (model, loaded))
    np.testing.assert_array_equal(one, other)


LONG = ["abcdefgh" * 30, "hgfedcba" * 23]


def test_truncated_bptt_learns_long_texts():
    model = memorizing(truncate=(10, 20), epochs=10).fit(LONG)
    assert model.perplexity(LONG) < 1.1
    assert len(model.history_) == 10
    assert model.complete("abcdefgha", max_length=6) == "abcdefghabcdefg"
    assert model.partial_fit(LONG).score(LONG) > -0.2


def test_truncated_bptt_is_resumed_exactly(tmp_path):
    class Interrupt:
        def on_batch_end(self, training):
            if len(training.history) == 2:
                raise KeyboardInterrupt

    expected = memorizing(truncate=(10, 20), epochs=4).fit(LONG)
    file = {"checkpoint_path": tmp_path / "c.safetensors", "save_every": 3}
    with pytest.raises(KeyboardInterrupt):
        memorizing(truncate=(10, 20), epochs=4, callbacks=[Interrupt()], **file).fit(LONG)
    found = memorizing(truncate=(10, 20), epochs=4, **file).fit(LONG, resume=True)
    np.testing.assert_array_equal(found.predict_proba(LONG), expected.predict_proba(LONG))


def test_one_window_for_the_whole_text_equals_full_bptt():
    own = {"epochs": 3, "dtype": "float64", "embedding_size": 4, "num_layers": 2}
    whole = memorizing(**own).fit(LONG, sample_weight=[1, 3])
    window = memorizing(truncate=(500, 500), **own).fit(LONG, sample_weight=[1, 3])
    np.testing.assert_allclose(window.history_["loss"], whole.history_["loss"], rtol=1e-10)
    np.testing.assert_allclose(window.predict_proba(LONG), whole.predict_proba(LONG), rtol=1e-8)


@pytest.mark.parametrize("truncate", [None, (7, 7), (30, 70)])
def test_score_of_long_texts_does_not_depend_on_the_window(truncate, monkeypatch):
    model = memorizing(truncate=truncate, epochs=2, batch_size=3, dtype="float64")
    model.fit(LONG, validation=(LONG[:1],))
    score = model.score(LONG[:1])
    assert model.history_["validation_loss"][-1] == pytest.approx(-score * np.log(2), rel=1e-10)
    both = model.score(LONG)
    monkeypatch.setattr("bptt.training.teacher_forcing._SURPRISAL_STEPS", 9)
    assert model.score(LONG) == pytest.approx(both, rel=1e-10)


def test_recompute_every_does_not_change_results():
    one, other = (
        memorizing(epochs=2, recompute_every=every).fit(LONG).predict_proba(LONG)
        for every in (None, 50)
    )
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("parameters", "kind", "message"),
    [
        ({"truncate": 5}, TypeError, r"truncate must be a pair \(k1, k2\), got 5"),
        ({"truncate": (5, 4)}, ValueError, "truncate must be .* k2 >= k1 = 5, got k2 = 4"),
        (
            {"truncate": (5, 5), "validation_fraction": 0.5},
            ValueError,
            "truncate cannot be combined with validation_fraction, got 0.5",
        ),
    ],
)
def test_wrong_truncate(parameters, kind, message):
    with pytest.raises(kind, match=message):
        memorizing(**parameters).fit(LONG)


def test_validation_loss_is_recorded():
    model = memorizing(epochs=4).fit(WORDS, validation=(["deep", "net"],))
    assert np.isfinite(model.history_["validation_loss"]).all()
    model = memorizing(epochs=2, validation_fraction=0.5).fit(WORDS)
    assert len(model.history_["validation_loss"]) == 2


def test_errors(words):
    with pytest.raises(NotFittedError):
        LanguageModel().complete("a")
    with pytest.raises(NotFittedError):
        LanguageModel().score(["a"])
    with pytest.raises(ValueError, match="LanguageModel needs bidirectional=False"):
        memorizing(bidirectional=True).fit(WORDS)
    with pytest.raises(ValueError, match="label_smoothing must be in"):
        memorizing(label_smoothing=1.0).fit(WORDS)
    with pytest.raises(TypeError, match="target sequences must hold tokens or integer ids"):
        memorizing().fit([np.zeros((3, 2))])
    with pytest.raises(TypeError, match="X must be a list of texts, got one str"):
        words.predict_proba("deep")
    with pytest.raises(ValueError, match="count must be an integer >= 1, got 0"):
        words.sample(count=0)
    with pytest.raises(ValueError, match="temperature must be in"):
        words.sample(temperature=-1.0)


def test_special_tokens_are_forbidden():
    text = TargetEncoder().fit(["ab"])
    assert [text.tokens[i] for i in text.forbidden] == ["<unk>", "<start>"]
    ids = TargetEncoder().fit([[0, 2]])
    assert (ids.size, ids.start, ids.stop, ids.forbidden) == (5, 3, 4, (3,))
    assert ids.tokens == [0, 1, 2, "<start>", "<stop>"]


def test_beam_search_finds_the_most_likely_of_all():
    model = LanguageModel(hidden_size=8, epochs=3, random_state=0, dtype="float64")
    model.fit(["ab", "abba", "aab", "ba", "bab"] * 5)
    every = {}
    for length in range(4):
        for letters in itertools.product("ab", repeat=length):
            word, probability = "a", 1.0
            for letter in (*letters, "<stop>"):
                shares = model.next_token_probabilities(word)
                allowed = 1.0 - shares["<unk>"] - shares["<start>"]
                probability *= shares[letter] / allowed
                word += letter if letter != "<stop>" else ""
            every[word] = probability
    expected = sorted(every.items(), key=lambda item: -item[1])[:4]
    found = model.beam_search("a", beam=40, count=4)
    assert [word for word, _ in found] == [word for word, _ in expected]
    log_p = [np.log(p) for _, p in expected]
    np.testing.assert_allclose([found_log_p for _, found_log_p in found], log_p, rtol=1e-9)
    assert model.complete("a", beam=40) == expected[0][0]
    with pytest.raises(ValueError, match=r"count must be in \[1, beam\] = \[1, 3\], got 5"):
        model.beam_search("a", beam=3, count=5)


@pytest.mark.parametrize("truncate", [None, (5, 5)])
def test_sampled_softmax(truncate, tmp_path):
    """A sample of half of the tokens teaches the same; validation and score use all."""
    texts = ["abcdefgh" * 4] * 8
    options = {"hidden_size": 16, "epochs": 60, "batch_size": 2, "learning_rate": 0.02}
    options["random_state"] = 0
    model = LanguageModel(num_sampled=5, truncate=truncate, **options).fit(texts)
    assert model.decoder_.output.out_features == 11
    assert model.perplexity(texts) < 1.2
    whole = LanguageModel(num_sampled=11, truncate=truncate, **{**options, "epochs": 2}).fit(texts)
    full = LanguageModel(truncate=truncate, **{**options, "epochs": 2}).fit(texts)
    np.testing.assert_allclose(whole.history_["loss"], full.history_["loss"], rtol=1e-4)
    model.save(tmp_path / "model")
    assert load_estimator(tmp_path / "model").num_sampled == 5


def test_sampled_softmax_has_no_label_smoothing():
    with pytest.raises(ValueError, match="num_sampled needs label_smoothing=0, got"):
        LanguageModel(num_sampled=2, label_smoothing=0.1).fit(["ab"])
    with pytest.raises(ValueError, match="num_sampled must be an integer <= the number of"):
        LanguageModel(num_sampled=100).fit(["ab"])
