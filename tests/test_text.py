"""Words of a text, and their characters as numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest

from bptt.text import (
    LONGEST,
    Vocabulary,
    count_bits,
    normalise,
    python_documentation,
    read_text,
    words_of,
)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Deep learning,\n  deep!", ["deep", "learning", "deep"]),
        ("the 'quoted' and \"quoted\" word’s", ["the", "quoted", "and", "quoted"]),
        ("x don't self.x2 __init__ re.sub a_b 42nd", ["self", "re", "sub"]),
        ("Straße ÉTÉ e\u0301te\u0301 ŁÓDŹ", ["straße", "été", "été", "łódź"]),
        ("well-known, and/or", ["well", "known", "and", "or"]),
        (f"{'a' * LONGEST} {'b' * (LONGEST + 1)}", ["a" * LONGEST]),
        ("", []),
        ("1 2 3 ...", []),
    ],
)
def test_words(text, words):
    assert words_of(text) == words


def test_normalised_letters_are_single_characters():
    assert normalise("E\u0301") == "é"
    assert all(len(normalise(letter)) == 1 for letter in "ÀÉÎÕÜ")


def test_reading_a_file(tmp_path):
    path = tmp_path / "text.txt"
    path.write_bytes(b"\xef\xbb\xbf" + "größe".encode())  # with the mark of some editors
    assert read_text(path) == "größe"
    path.write_bytes(b"abc\xff")
    with pytest.raises(ValueError, match=r"^text must be UTF-8, got byte 0xff at 3$"):
        read_text(path)
    with pytest.raises(OSError, match="No such file"):
        read_text(tmp_path / "none")


def test_python_brings_enough_prose():
    words = words_of(python_documentation())
    assert len(words) > 20_000
    assert {"default", "dictionary", "return"} <= set(words)


def test_vocabulary():
    vocabulary = Vocabulary.of(["deep", "red"])
    assert vocabulary.characters == "depr"
    assert vocabulary.symbols == ("d", "e", "p", "r", "<stop>")
    assert vocabulary.stop == 4
    assert vocabulary.ids("deep") == [0, 1, 1, 2]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Vocabulary(""), "characters must be there, each once, got ''"),
        (lambda: Vocabulary("abca"), "characters must be there, each once, got 'abca'"),
        (lambda: Vocabulary.of([]), "characters must be there"),
        (lambda: Vocabulary("ab").ids("abc"), "must be among ab, got 'c' in 'abc'"),
        (lambda: Vocabulary("ab").ids(""), "must have at least one character"),
        (lambda: Vocabulary("ab").encode([]), "words must not be empty"),
        (lambda: Vocabulary("ab").encode(["ab", "x"]), "must be among ab, got 'x' in 'x'"),
    ],
)
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_words_as_arrays():
    batch = Vocabulary("dep").encode(["deep", "d", "ed"])
    np.testing.assert_array_equal(batch.lengths, [4, 1, 2])
    np.testing.assert_array_equal(batch.inputs, [[0, 1, 1, 2], [0, 0, 0, 0], [1, 0, 0, 0]])
    for row, length, targets in zip(
        batch.targets, batch.lengths, [[1, 1, 2, 3], [3], [0, 3]], strict=True
    ):
        assert row[:length].tolist() == targets
    some = batch.rows(np.array([2, 1]))
    assert some.inputs.shape == some.targets.shape == (2, 2)
    np.testing.assert_array_equal(some.lengths, [2, 1])


def test_batches_hold_every_word_once_and_words_of_like_length_together():
    random = np.random.default_rng(0)
    words = ["".join(random.choice(list("abc"), size)) for size in random.integers(1, 9, 100)]
    vocabulary = Vocabulary("abc")

    def read(batches):
        rows = [zip(batch.inputs, batch.lengths, strict=True) for batch in batches]
        return [
            "".join(vocabulary.characters[i] for i in ids[:length])
            for batch in rows
            for ids, length in batch
        ]

    batches = vocabulary.encode(words).shuffled(8, random)
    assert sorted(read(batches)) == sorted(words)
    assert [len(batch.lengths) for batch in batches].count(8) == 12
    assert sum(batch.inputs.size for batch in batches) < 1.2 * sum(map(len, words))
    again = vocabulary.encode(words).shuffled(8, random)
    assert read(again) != read(batches)


def test_counts():
    vocabulary = Vocabulary("ab")
    # After "a" came "b" twice, after "b" the stop twice; three symbols, each counted once more.
    pairs = count_bits(["ab", "ab"], ["ab"], vocabulary, pairs=True)
    assert math.isclose(pairs, -math.log2(3 / 5))
    alone = count_bits(["ab", "ab"], ["ba"], vocabulary, pairs=False)  # predicted: "a", the stop
    assert math.isclose(alone, -(math.log2(1 / 7) + math.log2(3 / 7)) / 2)
