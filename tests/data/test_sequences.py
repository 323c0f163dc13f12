"""Sequences in all forms that users pass, vocabularies and padding."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import bptt
from bptt.data._inputs import read_sequences
from bptt.data.sequence_encoder import SequenceEncoder
from bptt.data.sequences import Sequences
from bptt.data.vocabulary import START, STOP, UNKNOWN, Vocabulary


class Columnar:
    """An object with the array interface, as in libraries of tables."""

    def __init__(self, values):
        self.values = values

    def __array__(self, dtype=None, copy=None):
        return self.values


def objects(items):
    """An array of objects; the items stay as they are."""
    array = np.empty(len(items), object)
    array[:] = items
    return array


def encoded(X, lengths=None, **options):
    """Kind, size and the encoded sequences of X, as lists."""
    encoder = SequenceEncoder(**options).fit(X, lengths)
    sequences = encoder.transform(X, lengths)
    return encoder.kind, encoder.size, [values.tolist() for values in sequences]


# ---- forms -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("X", "options"),
    [
        (["bab", "a", "", "bc"], {}),
        (("bab", "a", "", "bc"), {}),
        (["b a\tb", "a", " ", "b  c"], {"tokens": "words"}),
        ([["b", "a", "b"], ["a"], [], ["b", "c"]], {"tokens": None}),
        ([("b", "a", "b"), "a", np.array([], "U1"), np.array(["b", "c"])], {}),
        (np.array(["bab", "a", "", "bc"]), {}),
        (np.array(["bab", "a", "", "bc"], object), {}),
        (Columnar(np.array(["bab", "a", "", "bc"], object)), {}),
        (objects([list("bab"), ["a"], [], Columnar(np.array(["b", "c"], object))]), {}),
    ],
)
def test_forms_of_strings(X, options):
    # b is the most frequent; id 0 is that of unknown tokens
    assert encoded(X, **options) == ("ids", 4, [[1, 2, 1], [2], [], [1, 3]])


@pytest.mark.parametrize(
    "X",
    [
        [[3, 0, 2], [1], [], [2, 2]],
        [np.array([3, 0, 2], np.uint8), range(1, 2), np.array([], int), np.array([2, 2])],
        objects([np.array([3, 0, 2]), np.array([1]), np.array([]), np.array([2, 2])]),
        [Columnar(np.array([3, 0, 2], object)), [1], (), [np.int32(2), 2]],
    ],
)
def test_forms_of_ids(X):
    assert encoded(X) == ("ids", 4, [[3, 0, 2], [1], [], [2, 2]])


@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.int64, np.uint64])
def test_padded_ids(dtype):
    X = np.array([[3, 0, 2], [1, 77, 88], [2, 2, 99]], dtype)  # padding is not read
    expected = ("ids", 4, [[3, 0, 2], [1], [2, 2]])
    assert encoded(X, [3, 1, 2]) == expected
    assert encoded(X.astype(object), np.array([3, 1, 2])) == expected
    assert encoded([list(map(int, row)) for row in X], [3, 1, 2]) == expected
    assert encoded(np.array([["a", "b"], ["b", "x"]]), [2, 1]) == ("ids", 3, [[2, 1], [1]])


@pytest.mark.parametrize(
    "X",
    [
        [[[1, 2.5]], [[3, 4], [5, 6]], []],
        [np.array([[1, 2.5]]), np.array([[3, 4], [5, 6]]), np.empty((0, 2))],
        [np.array([[1, 2.5]], np.float16), np.array([[3, 4], [5, 6]], np.int8), np.array([])],
        objects([np.array([[1, 2.5]], object), Columnar(np.array([[3, 4], [5, 6]])), []]),
    ],
)
def test_forms_of_features(X):
    assert encoded(X) == ("features", 2, [[[1, 2.5]], [[3, 4], [5, 6]], []])


def test_one_feature_per_step():
    expected = ("features", 1, [[[1], [0.5]], [[3]]])
    assert encoded([[1, 0.5], [3]]) == expected  # an integer among real numbers is one
    assert encoded([np.array([1, 0.5]), np.array([[3]])]) == expected
    assert encoded(np.array([[1, 0.5], [3, np.nan]]), [2, 1]) == expected
    assert encoded([np.array([True, False])]) == ("features", 1, [[[1], [0]]])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("given_dtype", ["float32", "float64", "int64", ">f8", "bool"])
@pytest.mark.parametrize("steps", ["forward", "every other"])
def test_padded_features(dtype, given_dtype, steps):
    x = np.random.default_rng(0).normal(size=(4, 10, 3)).astype(given_dtype)
    X = x if steps == "forward" else x[:, ::2]
    lengths = np.array([0, 5, 2, 4])
    encoder = SequenceEncoder(dtype=dtype).fit(X, lengths)
    sequences = encoder.transform(X, lengths)
    assert (encoder.kind, encoder.size, sequences.values.dtype) == ("features", 3, dtype)
    for i, values in enumerate(sequences):
        np.testing.assert_array_equal(values, X[i, : lengths[i]].astype(dtype))
    ragged = encoder.transform([row[:n] for row, n in zip(X, lengths, strict=True)])
    for values, others in zip(sequences, ragged, strict=True):
        np.testing.assert_array_equal(values, others)


def test_a_padded_array_of_the_right_dtype_is_not_copied():
    X = np.ones((3, 4, 2), np.float32)
    assert np.shares_memory(SequenceEncoder().fit(X).transform(X, [1, 2, 3]).values, X)


def test_tables():
    pandas = pytest.importorskip("pandas")
    texts = pandas.Series(["ab", "b"], index=[5, 7])
    assert encoded(texts) == ("ids", 3, [[2, 1], [1]])
    arrays = pandas.Series([np.array([1.5, 2.0]), np.array([3.0])], index=[5, 7])
    assert encoded(arrays) == ("features", 1, [[[1.5], [2]], [[3]]])
    assert encoded(pandas.DataFrame({"t0": [1.5, 2.0], "t1": [0.5, 3.0]}))[2] == [
        [[1.5], [0.5]],
        [[2.0], [3.0]],
    ]


@pytest.mark.parametrize("dtype", [object, str])
def test_a_column_of_strings_is_a_list_of_texts(dtype):
    column = np.array([["b a"], ["c"]], dtype)
    assert encoded(column, tokens="words") == encoded(["b a", "c"], tokens="words")
    assert encoded(column) == encoded(["b a", "c"])
    assert encoded(column, tokens=None) == encoded([["b a"], ["c"]], tokens=None)


# ---- fitted attributes -----------------------------------------------------------------------


def test_vocabulary_goes_by_frequency_then_alphabet():
    texts = [["b", "c", "b"], ["a", "é", "c"], [UNKNOWN] * 9]
    vocabulary = Vocabulary.from_sequences(texts, special=(UNKNOWN, START))
    assert vocabulary.tokens == (UNKNOWN, START, "b", "c", "a", "é")
    assert len(vocabulary) == 6
    assert "a" in vocabulary
    assert "z" not in vocabulary
    ids = vocabulary.encode(["é", "z", UNKNOWN, "b"])
    assert ids.tolist() == [5, 0, 0, 2]
    assert ids.dtype == np.int32
    assert vocabulary.decode(ids) == ["é", UNKNOWN, UNKNOWN, "b"]
    assert Vocabulary.from_sequences(["bcb", "ac"], min_count=2).tokens == ("b", "c")
    with pytest.raises(ValueError, match="tokens must be in the vocabulary, got 'z'"):
        Vocabulary(["a", "b"]).encode("az")
    with pytest.raises(ValueError, match="tokens must be distinct, got 'a' more than once"):
        Vocabulary("aba")


def test_unknown_tokens_are_one():
    encoder = SequenceEncoder(tokens="words", min_count=2, special=(STOP,))
    encoder.fit(["a b a", "b c <unk>"])
    assert encoder.vocabulary.tokens == (UNKNOWN, STOP, "a", "b")
    assert encoder.transform(["c b new", "<unk>"])[0].tolist() == [0, 3, 0]


def test_tokenize():
    characters, words = SequenceEncoder(), SequenceEncoder(tokens="words")
    assert characters.tokenize("a b") == ["a", " ", "b"]
    assert words.tokenize("a b") == words.tokenize(("a", "b")) == ["a", "b"]
    assert (
        words.tokenize("") == words.tokenize([]) == SequenceEncoder(tokens=None).tokenize("") == []
    )
    with pytest.raises(TypeError, match="text must be a string or a list of tokens, got integer"):
        words.tokenize([1, 2])


@given(
    st.lists(st.text("ab \té😀<", max_size=9), min_size=1, max_size=5),
    st.sampled_from(["characters", "words"]),
)
def test_ids_mean_the_tokens_that_were_read(texts, tokens):
    split = [text.split() if tokens == "words" else list(text) for text in texts]
    if not any(split):
        return
    encoder = SequenceEncoder(tokens=tokens).fit(texts)
    assert [encoder.vocabulary.decode(ids) for ids in encoder.transform(texts)] == split
    lists = SequenceEncoder(tokens=None).fit(split)
    assert lists.vocabulary.tokens == encoder.vocabulary.tokens
    assert [ids.tolist() for ids in lists.transform(split)] == [
        ids.tolist() for ids in encoder.transform(texts)
    ]


@pytest.mark.parametrize("X", [["ä b", "b"], [["x", "yy"]], [[4, 2]], [np.ones((2, 3))]])
def test_from_dict_is_the_inverse_of_to_dict(X):
    encoder = SequenceEncoder(tokens="words", special=(STOP,), dtype="float64").fit(X)
    again = SequenceEncoder.from_dict(json.loads(json.dumps(encoder.to_dict())))
    assert again.to_dict() == encoder.to_dict()
    one, other = encoder.transform(X), again.transform(X)
    np.testing.assert_array_equal(one.values, other.values)
    assert one.values.dtype == other.values.dtype


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "words"},
        {"size": 0},
        {"size": 9},
        {"vocabulary": []},
        {"vocabulary": ["a", "b", "a"]},
        {"vocabulary": [["a"], "b", "c"]},
        {"dtype": "int8"},
        {"min_count": "1"},
        {"are_strings": None},
    ],
)
def test_from_dict_checks_its_content(change):
    content = {**SequenceEncoder().fit(["ab"]).to_dict(), **change}
    with pytest.raises((TypeError, ValueError)):
        SequenceEncoder.from_dict(content)
    with pytest.raises(KeyError):
        SequenceEncoder.from_dict({})


def test_transform_requires_the_type_of_fit():
    strings, ids = SequenceEncoder().fit(["ab"]), SequenceEncoder().fit([[0, 1]])
    numbers = SequenceEncoder().fit([[0.5]])
    with pytest.raises(TypeError, match=r"must hold strings, as in fit, got integer ids$"):
        strings.transform([[1]])
    with pytest.raises(TypeError, match=r"must hold integer ids, as in fit, got numbers$"):
        ids.transform(np.ones((1, 2)))
    with pytest.raises(TypeError, match=r"must hold numbers, as in fit, got strings$"):
        numbers.transform(["a"])
    assert numbers.transform([[1, 2]])[0].tolist() == [[1.0], [2.0]]
    for encoder in (strings, ids, numbers):  # an empty sequence has no type
        assert encoder.transform([[], np.array([]), ""]).lengths.tolist() == [0, 0, 0]
        assert encoder.transform([[]]).values.ndim == (1 if encoder.kind == "ids" else 2)


def test_words_are_not_read_as_characters():
    lists, strings = SequenceEncoder().fit([["good", "film"]]), SequenceEncoder().fit(["good"])
    for encoder in (lists, SequenceEncoder.from_dict(lists.to_dict())):
        with pytest.raises(TypeError, match=r"^X must hold lists of tokens, as in fit, got str"):
            encoder.transform(["good film"])
    with pytest.raises(TypeError, match=r"^X\[0\] must be a string, .* got a list with 'film'$"):
        strings.transform([["g", "film"]])
    assert strings.transform([["g", "o"]])[0].tolist() == strings.transform(["go"])[0].tolist()
    words = SequenceEncoder(tokens="words").fit([["good", "film"]])
    assert (
        words.transform(["good film"])[0].tolist()
        == words.transform([["good", "film"]])[0].tolist()
    )


# ---- integers --------------------------------------------------------------------------------

PASSENGERS = [[112, 118, 132, 129], [121, 135, 148, 148]]


@pytest.mark.parametrize("options", [{"scale": True}, {"integers": "numbers"}])
@pytest.mark.parametrize("form", [list, np.array])
def test_integers_are_numbers_with_scale_or_by_option(options, form):
    encoder = SequenceEncoder(**options).fit(form(PASSENGERS))
    assert (encoder.kind, encoder.size) == ("features", 1)
    values = encoder.transform(form([[900, 1000]])).values
    assert values.shape == (2, 1)
    loaded = SequenceEncoder.from_dict(encoder.to_dict())
    np.testing.assert_array_equal(loaded.transform([[900, 1000]]).values, values)


def test_dense_ids_may_be_many():
    assert SequenceEncoder().fit([np.arange(999_999)]).size == 999_999
    assert SequenceEncoder().fit([[9_999]]).size == 10_000
    assert SequenceEncoder().fit([[*range(150), 14_999]]).size == 15_000


@pytest.mark.parametrize(
    ("X", "options", "expected"),
    [
        (PASSENGERS, {}, "integer ids in [0, 149)"),
        (PASSENGERS, {"scale": True}, "1 number per step, standardized"),
        (np.zeros((2, 3, 5)), {}, "5 numbers per step"),
        (["ab"], {}, "characters, a vocabulary of 3"),
        ([["ab"]], {"tokens": None}, "tokens, a vocabulary of 2"),
        ([["ab", "c"]], {}, "tokens, a vocabulary of 3"),
        (
            ["ab"],
            {"tokens": "words", "affixes": 1},
            "words, a vocabulary of 2, and 5 features of words",
        ),
        (
            ["ab"],
            {"tokens": "words", "affixes": 1, "characters": True},
            "words, a vocabulary of 2, 5 features of words, and 2 characters",
        ),
        (
            ["ab"],
            {"tokens": "words", "characters": True},
            "words, a vocabulary of 2, and 2 characters",
        ),
    ],
)
def test_representation_says_what_was_understood(X, options, expected):
    encoder = SequenceEncoder(**options)
    assert repr(encoder) == "<SequenceEncoder: not fitted>"
    assert repr(encoder.fit(X)) == f"<SequenceEncoder: {expected}>"


# ---- errors ----------------------------------------------------------------------------------

NAN = np.zeros((12, 2))
NAN[10, 0] = np.nan


@pytest.mark.parametrize(
    ("X", "error", "message"),
    [
        ([], ValueError, "X must have at least one sequence, got none"),
        (np.empty((0, 3)), ValueError, "X must have at least one sequence, got none"),
        ([[], ""], ValueError, "X must have at least one step, got none"),
        ("abc", TypeError, "X must be a list of texts, got one str"),
        ({"a": 1}, TypeError, "X must be a list of sequences or an array, got dict"),
        ({"ab"}, TypeError, "X must be a list of sequences or an array, got set"),
        (iter("ab"), TypeError, "X must be a list of sequences or an array, got str_"),
        (7, TypeError, "X must be a list of sequences or an array, got int"),
        (np.ones(7), ValueError, "X must have shape (B, T) or (B, T, I), got (7,). Reshape"),
        (np.ones((1, 1, 1, 1)), ValueError, "(B, T, I), got (1, 1, 1, 1)"),
        (np.ones((2, 3, 0)), ValueError, "(B, T, I) with I >= 1, got (2, 3, 0)"),
        (np.ones((2, 3), complex), ValueError, "Complex data not supported: X has dtype complex"),
        (np.ones((2, 3), "M8[s]"), TypeError, "all real numbers, got dtype datetime64[s]"),
        ([0.5, 1.5], TypeError, "X[0] must be a string, a list or an array, got float"),
        ([np.ones(2), np.float32(1)], ValueError, "X[1] must have shape (T,) or (T, I), got ()"),
        ([b"ab"], TypeError, "X[0] must be a string, a list or an array, got bytes"),
        (["ab", b"c"], TypeError, "X[1] must be a string, a list or an array, got bytes"),
        (["ab", None], TypeError, "X[1] must not be missing, got None: fill it"),
        ([np.ones((2, 2, 2))], ValueError, "X[0] must have shape (T,) or (T, I), got (2, 2, 2)"),
        ([[[1, 2], [3]]], ValueError, "X[0] must have the same number of features at every step"),
        ([["a", 1]], TypeError, "X[0] must hold only strings, got int at step 1"),
        (
            [[1, "a"]],
            TypeError,
            "X[0]: argument must be all strings or all real",
        ),
        (
            [[1], [{}]],
            TypeError,
            "X[1]: argument must be all strings or all real",
        ),
        ([[1.0], "ab"], TypeError, "got strings in X[1] and numbers in X[0]"),
        ([[1.0], [2j]], ValueError, "Complex data not supported: X[1] has dtype complex128"),
        ([np.ones((2, 5))] * 3 + [np.ones((7, 4))], ValueError, "(steps, 5), got (7, 4)"),
        ([np.ones((2, 5)), np.ones(3)], ValueError, "X[1] must have shape (steps, 5), got (3,)"),
        ([NAN] * 3, ValueError, "X[0] must be finite in float32, got NaN at step 10, feature 0"),
        (
            [[1.0], [2.0, -np.inf]],
            ValueError,
            "got -inf at step 1, feature 0",
        ),
        (
            [[0.0, 1e300]],
            ValueError,
            "got 1e+300 at step 1, feature 0",
        ),
        ([[0], [1, 2, -1]], ValueError, "X[1]: id -1 at step 2 is not in [0, 3)"),
        (np.array([[-3]]), ValueError, "X[0]: id -3 at step 0 is not in [0, 1)"),
        ([[2**40]], ValueError, "ids must be below 1,000,000, got 1,099,511,627,776. Pass floats"),
        ([[1_000_000]], ValueError, "ids must be below 1,000,000, got 1,000,000. Pass floats"),
        (
            np.arange(0, 40_000, 1000).reshape(10, 4),
            ValueError,
            "ids from 10,000 on must be at most 100 times the number of ids that occur, 40, "
            "got 39,000. Pass floats (X.astype(float)) or set scale=True",
        ),
    ],
)
def test_wrong_sequences(X, error, message):
    with pytest.raises(error) as caught:
        encoded(X)
    assert message in str(caught.value)


def test_iterators_are_refused():
    with pytest.raises(TypeError, match="X must be a list of sequences or an array, got generator"):
        encoded(text for text in "ab")


def test_wrong_sequences_for_a_fitted_encoder():
    numbers, ids = SequenceEncoder().fit([np.ones((2, 5))]), SequenceEncoder().fit([range(10)])
    with pytest.raises(ValueError, match=r"^X\[3\] must have shape \(steps, 5\), got \(7, 4\)$"):
        numbers.transform([np.ones((1, 5))] * 3 + [np.ones((7, 4))])
    with pytest.raises(ValueError, match=r"^X must have shape \(B, T, 5\), got \(2, 3\)$"):
        numbers.transform(np.ones((2, 3)))
    message = r"^X\[1\]: id 12 at step 4 is not in \[0, 10\), those in fit. Pass floats"
    with pytest.raises(ValueError, match=message):
        ids.transform([[], [0, 1, 2, 3, 12]])
    padded = np.array([[0, -1, -1, -1, 50], [0, 1, 2, 3, 12]])
    with pytest.raises(ValueError, match=message):
        ids.transform(padded, [1, 5])
    assert ids.transform(padded, [1, 4]).lengths.tolist() == [1, 4]


@pytest.mark.parametrize("X", [np.ones((3, 4)), [[1, 2, 3, 4]] * 3, ["abcd"] * 3])
@pytest.mark.parametrize(
    ("lengths", "error", "message"),
    [
        ([1, 5, 2], ValueError, r"lengths must lie in \[0, steps\] = \[0, 4\], got 5"),
        ([1, -1, 2], ValueError, r"lengths must lie in \[0, steps\] = \[0, 4\], got -1"),
        ([1, 2], ValueError, r"lengths must have shape \(batch,\) = \(3,\), got \(2,\)"),
        ([1.0, 2.0, 3.0], TypeError, "lengths must be integers, got dtype float64"),
        ([[1], [2, 3]], TypeError, "lengths must be an array of integers, got list"),
    ],
)
def test_wrong_lengths(X, lengths, error, message):
    with pytest.raises(error, match=f"^{message}$"):
        read_sequences(X, lengths, tokens="characters")


def test_strings_need_a_unit():
    with pytest.raises(
        TypeError, match=r"X\[0\] must be a list of tokens, got a string: set tokens="
    ):
        SequenceEncoder(tokens=None).fit(["ab"])


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"tokens": "letters"}, ValueError),
        ({"tokens": 1}, TypeError),
        ({"min_count": 0}, ValueError),
        ({"dtype": "int32"}, TypeError),
    ],
)
def test_wrong_options(options, error):
    with pytest.raises(error, match=next(iter(options))):
        SequenceEncoder(**options)


# ---- minibatches -----------------------------------------------------------------------------


@given(st.lists(st.integers(0, 5), min_size=1, max_size=9), st.data())
def test_padding(lengths, data):
    random = np.random.default_rng(len(lengths))
    arrays = [random.normal(size=(n, 2)) for n in lengths]
    indices = np.array(data.draw(st.lists(st.integers(0, len(lengths) - 1), max_size=9)), int)
    sequences = Sequences.from_arrays(arrays)
    assert len(sequences) == len(lengths)
    array, kept = sequences.pad(indices)
    np.testing.assert_array_equal(kept, np.array(lengths, int)[indices])
    expected = np.zeros((len(indices), max(kept, default=0), 2))
    for row, i in zip(expected, indices, strict=True):
        row[: lengths[i]] = arrays[i]
    np.testing.assert_array_equal(array, expected)
    taken = sequences.take(indices)
    np.testing.assert_array_equal(taken.pad(np.arange(len(indices)))[0], expected)
    for values, i in zip(taken, indices, strict=True):
        np.testing.assert_array_equal(values, arrays[i])


def test_a_minibatch_is_what_layers_take():
    encoder = SequenceEncoder().fit(["abc", "", "ca"])
    ids, lengths = encoder.transform(["abc", "", "ca"]).pad(np.array([2, 1, 0]))
    assert ids.dtype == np.int32
    y, _ = bptt.RNN(encoder.size, 2, seed=0)(ids, lengths=lengths)
    assert y.shape == (3, 3, 2)
    assert not y[0, 2].any()
    assert not y[1].any()


def test_padding_never_leaks():
    X = np.full((2, 3, 1), np.nan)
    X[0, 0] = X[1, :2] = 1.0
    sequences = SequenceEncoder(dtype="float64").fit(X, [1, 2]).transform(X, [1, 2])
    np.testing.assert_array_equal(sequences.pad(np.array([0, 1]))[0][..., 0], [[1, 0], [1, 1]])


# ---- scikit-learn ----------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["list", "objects", "padded", "strings", "series"])
def test_scikit_learn_splits_sequences(form):
    base = pytest.importorskip("sklearn.base")
    from sklearn.model_selection import GridSearchCV, cross_val_score, train_test_split

    class Nearest(base.ClassifierMixin, base.BaseEstimator):
        """The class whose sequences have the nearest mean."""

        def __init__(self, power=1):
            self.power = power

        def _means(self, X):
            sequences = self.encoder_.transform(X)
            return np.array([np.mean(values) ** self.power for values in sequences])

        def fit(self, X, y):
            self.encoder_ = SequenceEncoder(dtype="float64").fit(X)
            self.classes_ = np.unique(y)
            means = self._means(X)
            self.means_ = np.array([means[y == c].mean() for c in self.classes_])
            return self

        def predict(self, X):
            distance = np.abs(self._means(X)[:, np.newaxis] - self.means_)
            return self.classes_[distance.argmin(axis=1)]

    random = np.random.default_rng(0)
    y = np.arange(60) % 2
    steps = np.full(60, 6) if form == "padded" else random.integers(3, 9, 60)
    ragged = [random.normal(3 * c + 5, 0.5, (n, 2)) for c, n in zip(y, steps, strict=True)]
    X = {
        "list": lambda: ragged,
        "objects": lambda: objects(ragged),
        "padded": lambda: np.stack(ragged),
        "strings": lambda: ["ab"[c] * n for c, n in zip(y, steps, strict=True)],
        "series": lambda: pytest.importorskip("pandas").Series(ragged),
    }[form]()
    assert cross_val_score(Nearest(), X, y, cv=3).tolist() == [1.0, 1.0, 1.0]
    search = GridSearchCV(Nearest(), {"power": [1, 2]}, cv=3, error_score="raise").fit(X, y)
    assert search.best_score_ == 1.0
    train, test, y_train, y_test = train_test_split(X, y, random_state=0)
    assert Nearest().fit(train, y_train).score(test, y_test) == 1.0
