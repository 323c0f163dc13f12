"""Files of pretrained word vectors: text and binary formats, and their errors."""

from __future__ import annotations

import gzip

import numpy as np
import pytest

from bptt.data import read_word_vectors

WORDS = ("the", "Straße", "cat", "a.b")
VECTORS = np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32)
EXACT = dict(zip(WORDS, VECTORS, strict=True))


def text(words=WORDS, vectors=VECTORS, header=False, end="\n"):
    """Return word2vec's text, or without a header GloVe's."""
    pairs = zip(words, vectors, strict=False)
    rows = [f"{w} {' '.join(repr(float(x)) for x in v)}" for w, v in pairs]
    first = [f"{len(rows)} {len(vectors[0])}"] if header else []
    return end.join([*first, *rows, ""]).encode()


def binary(words=WORDS, vectors=VECTORS, newline=b"\n", count=None):
    """Return word2vec's binary format, with or without the newlines of the original program."""
    pairs = zip(words, vectors, strict=False)
    rows = [w.encode() + b" " + v.astype("<f4").tobytes() + newline for w, v in pairs]
    return f"{count or len(rows)} {len(vectors[0])}\n".encode() + b"".join(rows)


FORMATS = {
    "glove": text(),
    "word2vec text": text(header=True),
    "windows": text(header=True, end="\r\n"),
    "fasttext": text(header=True, end=" \n"),
    "no last newline": text()[:-1],
    "binary": binary(),
    "binary of gensim": binary(newline=b""),
}


@pytest.fixture
def file(tmp_path):
    def write(content):
        path = tmp_path / "vectors"
        path.write_bytes(content)
        return path

    return write


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("name", FORMATS)
def test_formats(name, compressed, file):
    path = file(gzip.compress(FORMATS[name]) if compressed else FORMATS[name])
    for binary_ in (None, "binary" in name):
        found = read_word_vectors(path, binary=binary_)
        assert list(found) == list(WORDS)
        for word, vector in found.items():
            assert vector.dtype == np.float32
            np.testing.assert_array_equal(vector, EXACT[word])


@pytest.mark.parametrize("name", FORMATS)
def test_only_wanted_words_are_kept(name, file):
    found = read_word_vectors(file(FORMATS[name]), ["cat", "dog", "Straße"], dtype="float64")
    assert list(found) == ["Straße", "cat"]
    assert found["cat"].dtype == np.float64
    np.testing.assert_array_equal(found["cat"].astype(np.float32), EXACT["cat"])
    assert read_word_vectors(file(FORMATS[name]), []) == {}


def test_many_words_and_long_binary_rows(file):
    """Entries that lie across the borders of the chunks that are read."""
    vectors = np.random.default_rng(1).standard_normal((2000, 301)).astype(np.float32)
    words = [f"w{i}" for i in range(len(vectors))]
    for content in (binary(words, vectors), text(words[:50], vectors, header=True)):
        found = read_word_vectors(file(content))
        for word, vector in found.items():
            np.testing.assert_array_equal(vector, vectors[int(word[1:])])
    assert len(read_word_vectors(file(binary(words, vectors)), ["w1999"])) == 1


def test_words_with_spaces_and_separators_of_unicode(file):
    """As in GloVe 840B: ". . ." is a word, and U+0085 and U+00A0 are parts of words."""
    words = (",", ". . .", "at name@domain.com", "x\x85y", "a\xa0b", "5")
    found = read_word_vectors(file(text(words, np.resize(VECTORS, (6, 3)))))
    assert tuple(found) == words
    np.testing.assert_array_equal(found[". . ."], VECTORS[1])


ERRORS = {
    "a vector must have 3 columns, got 2 in line 2": b"a 1 2 3\nb 1 2\n",
    "a vector must have 3 columns, got 4 in line 2": b"a 1 2 3\nb 1.5 2 3 4\n",
    "a vector must have 3 columns, got 4 in line 3": b"2 3\na 1 2 3\nb 1.5 2 3 4\n",
    "could not convert string to float: b'x' in line 1": b"a 1 x 3\n",
    "vectors must be finite in float32, got NaN or infinity in line 1": b"a 1 nan 3\n",
    "vectors must be finite in float32, got NaN or infinity in line 2": b"a 1 2\nb 1e99 2\n",
    "the file must have 3 words, got 2": text(WORDS[:2], header=True).replace(b"2 3", b"3 3", 1),
    "the file must have 1 words, got 2": text(WORDS[:2], header=True).replace(b"2 3", b"1 3", 1),
    "the file is truncated at word 4 of 4": binary()[:-3],
    "the file is truncated at word 5 of 5": binary(count=5),
    "the file must end after 3 words, got more bytes": binary(count=3),
    "words must be UTF-8, got b'b\\xff' in line 2: set skip_invalid=True": b"a 1\nb\xff 2\n",
    "words must be distinct, got 'a' again in line 3": b"a 1 2\nb 1 2\na 3 4\n",
    "words must be distinct, got 'the' again at word 2 of 2": binary(("the", "the"), VECTORS),
    "the file must have at least one word, got none": b"",
    "a vector must have 0 columns, got 0 in line 1": b"word\n",
    "words must be >= 1, and columns in [1, 1,048,576], got 5 and 9,999,999": b"5 9999999\n",
    "words must be >= 1, and columns in [1, 1,048,576], got 0 and 5": b"0 5\n",
    "a word must have at most 65,536 bytes, at word 1 of 9": b"9 3\n" + b"\1" * 200_000,
}


@pytest.mark.parametrize("message", ERRORS)
def test_errors(message, file):
    path = file(ERRORS[message])
    with pytest.raises(ValueError, match="cannot read") as error:
        read_word_vectors(path)
    assert str(error.value) == f"cannot read {path}: {message}"


def test_broken_compression_and_wrong_formats(file):
    whole = gzip.compress(binary())
    for content in (whole[:-9], whole[:12] + b"xxxx" + whole[16:], whole[:2]):
        with pytest.raises(ValueError, match="the compressed file is broken"):
            read_word_vectors(file(content))
    with pytest.raises(ValueError, match="the first line must have two sizes"):
        read_word_vectors(file(text()), binary=True)
    with pytest.raises(FileNotFoundError):
        read_word_vectors(file(b"").parent / "other")


def test_repeated_words_that_are_not_wanted_are_not_kept(file):
    path = file(b"a 1 2\nb 1 2\na 3 4\n")
    assert list(read_word_vectors(path, ["b"])) == ["b"]


def test_skip_invalid(file):
    for content in (b"a 1 2\nb\xff 1 2\na 3 4\n", binary(("a", "b", "a"), VECTORS)):
        found = read_word_vectors(file(content), skip_invalid=True)
        assert found["a"][0] in (1.0, VECTORS[0, 0])


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"path": 3}, TypeError, "path must be a string or a path, got int"),
        ({"words": 3}, TypeError, "words must be strings, got int"),
        ({"words": [1]}, TypeError, "words must be strings, got int"),
        ({"binary": 1}, TypeError, "binary must be True or False, got int"),
        ({"skip_invalid": 1}, TypeError, "skip_invalid must be True or False, got int"),
        ({"dtype": "int8"}, TypeError, "dtype must be float32 or float64, got 'int8'"),
    ],
)
def test_wrong_arguments(arguments, error, message, file):
    with pytest.raises(error) as raised:
        read_word_vectors(**{"path": file(text()), **arguments})
    assert str(raised.value) == message
