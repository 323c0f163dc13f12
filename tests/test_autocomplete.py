"""The auto-completion model: what it learns, what it says, and what it leaves in files."""

from __future__ import annotations

import itertools
import math
import re

import numpy as np
import pytest

from bptt import GRU, LSTM, RNN, Adam, Linear, load_modules, save_modules
from bptt.autocomplete import Autocomplete
from bptt.comparison import NumpyTwin
from bptt.text import STOP, Vocabulary

WORDS = ["deep", "learning", "deed"] * 8
LAYERS = {
    "rnn": lambda size, **options: RNN(size, 24, **options),
    "lstm": lambda size, **options: LSTM(size, 24, **options),
    "gru": lambda size, **options: GRU(size, 24, **options),
    "stacked": lambda size, **options: GRU(size, 24, num_layers=2, reset_after=True, **options),
}


def new(words=WORDS, cell="lstm", seed=0, **options):
    vocabulary = Vocabulary.of(words)
    return Autocomplete(vocabulary, LAYERS[cell](len(vocabulary.characters), seed=seed, **options))


@pytest.fixture(scope="module")
def trained():
    model = new()
    model.fit(WORDS, epochs=8, batch_size=4, seed=0)
    return model


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("cell", LAYERS)
def test_learns_a_word_by_heart(cell, dtype):
    words = ["deep"] * 40
    model = new(words, cell, dtype=dtype)
    epochs = model.fit(words, epochs=30, batch_size=8, learning_rate=0.02, seed=0)
    assert [epoch.number for epoch in epochs] == list(range(1, 31))
    assert epochs[-1].loss < 0.05 < epochs[0].loss
    assert model.complete("d") == "deep"
    (best,) = model.completions("d", 1)
    assert best.word == "deep"
    assert 0.95 < best.probability <= 1.0


def test_next_character_is_a_distribution(trained):
    for prefix in ("d", "de", "learn", "gggg"):
        likely = trained.next_character(prefix)
        assert set(likely) == {*trained.vocabulary.characters, STOP}
        assert math.isclose(sum(likely.values()), 1.0, rel_tol=1e-12)
        assert list(likely.values()) == sorted(likely.values(), reverse=True)


def test_loss_is_what_the_distributions_say(trained):
    nats = characters = 0
    for word in ("deep", "lard"):
        for k, symbol in enumerate([*word[1:], STOP], 1):
            nats -= math.log(trained.next_character(word[:k])[symbol])
            characters += 1
    assert math.isclose(
        trained.loss(["deep", "lard"]), nats / math.log(2) / characters, rel_tol=1e-5
    )


def test_completions_are_the_likeliest_of_all():
    words = ["ab", "abba", "aab", "ba", "bab"] * 5
    model = new(words, "gru")
    model.fit(words, epochs=3, batch_size=4, seed=0)
    # A word of `max_length` characters would have to be followed up to find its stop.
    every = {}
    for length in range(4):
        for letters in itertools.product("ab", repeat=length):
            word, probability = "a", 1.0
            for letter in letters:
                probability *= model.next_character(word)[letter]
                word += letter
            every[word] = probability * model.next_character(word)[STOP]
    expected = sorted(every.items(), key=lambda item: -item[1])[:6]
    found = model.completions("a", 6, max_length=5)
    assert [word for word, _ in found] == [word for word, _ in expected]
    np.testing.assert_allclose([p for _, p in found], [p for _, p in expected], rtol=1e-5)


def test_completing_ends_without_a_stop():
    model = new(["ab"])
    model.output["bias"] = np.array([9, 0, -9], np.float32)  # always "a"
    assert model.complete("b", max_length=6) == "baaaaa"
    assert model.complete("b" * 9, max_length=6) == "b" * 9
    assert len(model.completions("b", 100)) < 100


@pytest.mark.parametrize("cell", LAYERS)
def test_training_step_is_that_of_the_numpy_reference(cell):
    model = new(cell=cell, dtype="float64")
    twin = NumpyTwin(model, 0.01)
    optimiser = Adam(list(model.modules.values()), learning_rate=0.01)
    batch = model.vocabulary.encode(["deep", "deed", "lean"])
    for _ in range(3):
        model.train_step(batch, optimiser)
        twin.train_step(batch)
    for part, module in model.modules.items():
        for name, value in module.parameters.items():
            np.testing.assert_allclose(twin.parameters[f"{part}/{name}"], value, atol=1e-9)


def test_the_same_seed_gives_the_same_model():
    def learnt(seed):
        model = new(seed=seed)
        epochs = model.fit(WORDS, held_out=["deep"], epochs=2, batch_size=4, seed=seed)
        return epochs, model.next_character("d")

    assert learnt(1) == learnt(1)
    assert learnt(1) != learnt(2)


def test_interrupted_training_leaves_the_best_whole_epoch():
    model = new()
    kept = []

    def on_epoch(epoch):
        kept.append((epoch.score, model.next_character("d")))

    def on_batch(words, bits):
        assert words <= 4
        assert bits >= 0
        if len(kept) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        model.fit(
            WORDS,
            held_out=["lard"],  # which it will not learn: the first epochs are the best
            epochs=9,
            batch_size=4,
            learning_rate=0.1,
            seed=0,
            on_batch=on_batch,
            on_epoch=on_epoch,
        )
    assert model.next_character("d") == min(kept, key=lambda pair: pair[0])[1]
    assert len({score for score, _ in kept}) == 3


def test_save_and_load(trained, tmp_path):
    path = tmp_path / "model.safetensors"
    trained.about = {"text": "größe", "epochs": [1, 2]}
    trained.save(path)
    loaded = Autocomplete.load(path)
    assert loaded.about == trained.about
    assert loaded.vocabulary.characters == trained.vocabulary.characters
    assert loaded.next_character("le") == trained.next_character("le")
    assert loaded.completions("d") == trained.completions("d")
    first = path.read_bytes()
    loaded.save(path)
    assert path.read_bytes() == first


def metadata(**changes):
    return {"autocomplete": 1, "characters": "abc", "about": {}, **changes}


@pytest.mark.parametrize(
    ("modules", "described", "message"),
    [
        ({"recurrent": RNN(3, 4), "output": Linear(4, 4)}, {}, "no file of Autocomplete.save"),
        ({"recurrent": RNN(3, 4)}, metadata(), "no file of Autocomplete.save"),
        ({"recurrent": RNN(2, 4), "output": Linear(4, 4)}, metadata(), "input_size must be"),
        ({"recurrent": RNN(3, 4), "output": Linear(5, 4)}, metadata(), "weight must have shape"),
        ({"recurrent": Linear(3, 4), "output": Linear(4, 4)}, metadata(), "layer must be"),
        ({"recurrent": RNN(3, 4), "output": RNN(4, 4)}, metadata(), "has no parameter"),
        (
            {"recurrent": RNN(3, 4), "output": Linear(4, 4)},
            metadata(characters="aac"),
            "each once",
        ),
        ({"recurrent": RNN(3, 4), "output": Linear(4, 4)}, metadata(about=None), "not iterable"),
    ],
)
def test_foreign_files(modules, described, message, tmp_path):
    path = tmp_path / "model.safetensors"
    save_modules(path, modules, described)
    assert load_modules(path)
    with pytest.raises(ValueError, match=f"^cannot load {re.escape(str(path))}: .*{message}"):
        Autocomplete.load(path)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: Autocomplete(Vocabulary("ab"), Linear(2, 3)), TypeError, "layer must be an RNN"),
        (
            lambda: Autocomplete(Vocabulary("ab"), RNN(2, 3, bidirectional=True)),
            ValueError,
            "in one direction",
        ),
        (
            lambda: Autocomplete(Vocabulary("ab"), RNN(2, 3, time_major=True)),
            ValueError,
            "batch-first",
        ),
        (
            lambda: Autocomplete(Vocabulary("ab"), RNN(3, 3)),
            ValueError,
            r"input_size must be len\(vocabulary.characters\) = 2, got 3",
        ),
        (lambda: new().next_character(""), ValueError, "at least one character"),
        (lambda: new().complete("dx"), ValueError, "got 'x' in 'dx'"),
        (lambda: new().completions("x"), ValueError, "got 'x' in 'x'"),
        (lambda: new().loss([]), ValueError, "words must not be empty"),
        (lambda: new().fit([]), ValueError, "words must not be empty"),
        (lambda: new().fit(WORDS, epochs=0), ValueError, "epochs must be an integer >= 1"),
        (lambda: new().fit(WORDS, batch_size=2.5), TypeError, "batch_size must be an integer"),
        (lambda: new().fit(WORDS, learning_rate=-1), ValueError, "learning_rate must be in"),
        (
            lambda: new().fit(WORDS, epochs=4, batch_size=4, learning_rate=1e38),
            FloatingPointError,
            "loss is not finite",
        ),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()
