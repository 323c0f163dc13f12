"""Users' sequences in the form that layers take.

`SequenceEncoder` learns the type of the training data, a vocabulary or the number of features, and
turns strings, token lists, id arrays, float arrays and padded arrays into `Sequences`.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bptt._core import checks
from bptt._core.checks import FloatArray
from bptt._core.lengths import lengths_of
from bptt.data._categories import (
    as_json,
    check_categorical,
    one_hot,
    read_columns,
    vocabularies,
)
from bptt.data._containers import column_names, unpacked
from bptt.data._inputs import (
    KINDS,
    RawSequences,
    count_features,
    flat_features,
    flat_ids,
    read_sequences,
)
from bptt.data._learned import MAX_IDS, Learned
from bptt.data._missing import MISSING, moments_of_decay, moments_with_mask, with_mask
from bptt.data._moments import Moments, sum_of
from bptt.data._word_features import (
    character_ids,
    count_characters,
    count_features_of_words,
    distinct,
    feature_ids,
)
from bptt.data.sequences import Sequences
from bptt.data.standardization import Standardizer
from bptt.data.vocabulary import UNKNOWN, Vocabulary, strings
from bptt.distributed._pooling import pooled_sum

_MAX_AFFIXES = 1000
_MAX_WORD_LENGTH = 32
_CHARACTERS = ("", UNKNOWN)  # the end of a word has the id 0


class SequenceEncoder:
    """Encodes users' sequences as ids or features.

    Sequences are a list, or a one-dimensional array of objects, of

    - strings, which are split into `tokens`, or lists of strings, which are tokens;
    - integer arrays or lists (T,), which are ids or numbers, see below;
    - other arrays or lists of numbers, (T, I), or (T,) for one feature per step;

    or a column of these in pandas, Polars, Arrow or a dataset of Hugging Face; or a groupby object
    of pandas or Polars, whose groups are the sequences, without the columns that they are grouped
    by; or one array of strings (B,) or (B, T), of integers (B, T), or of other numbers
    (B, T) or (B, T, I), padded if `lengths` are given; or a table of one of these. The columns of
    tables must have the same names and order as in `fit`.

    **Integers (T,) or (B, T) are ids; with `scale` or ``integers="numbers"`` (regressors) they are
    numbers.** Ids must be below 1,000,000 and, from 10,000 on, at most 100 times the number of ids
    that occur. The representation of a fitted encoder says what was understood.

    Parameters
    ----------
    tokens : {"characters", "words"}, optional
        Unit into which strings are split; words are separated by white space. With None,
        sequences are lists of tokens.
    min_count : int
        Minimum frequency; rarer tokens map to ``<unk>``.
    special : sequence of str
        Further special tokens, such as "<start>"; "<unk>" always is one.
    dtype : {"float32", "float64"}
        Precision of features.
    scale : bool
        Standardize features: zero mean and unit variance over the sequences in `fit`.
    integers : {"ids", "numbers"}
        Meaning of integers (T,) or (B, T). With `scale` they are numbers.
    affixes : int, optional
        Maximum length of prefixes and suffixes. Tokens must be words; every step then has several
        ids, that of the word and those of its shape, lower-case form, prefixes and suffixes, which
        have a vocabulary of their own, with the ids after those of words.
    characters : bool
        Also encode the characters of words, as `bptt.CharacterEmbedding` reads them. Tokens must be
        words; every step then ends with the ids of its characters, which have a vocabulary of their
        own, with ids from 0, that of the end of the word. There are as many as the longest word in
        `fit` has characters, at most 32; of longer words the middle is left out.
    missing : {"error", "mask", "decay"}
        Treatment of NaN in features. "mask": a feature becomes three, the last observed value
        (before the first one 0, with `scale` the mean); 1 if it was observed at this step, else 0;
        and the number of steps since the observation before: Z. Che et al. (2018), Recurrent neural
        networks for multivariate time series with missing values. `scale` also standardizes the
        latter. "decay": the same for `bptt.InputDecay`, with the mean of values always at 0, and
        the number of steps as it is.
    categorical_features : sequence of str or int, or "from_dtype", optional
        Names or indices of columns of categories, in a list of tables or of arrays (T, columns);
        or, in tables, all that do not hold numbers. Every category becomes a column of its own, 1
        at the steps that have it (one-hot), and so has its own input weights, its embedding. A
        category that `fit` has not seen, or that is missing, is 0 in all of them.
    words : iterable of str
        Further tokens of the vocabulary, whether `fit` sees them or not, such as all that have
        pretrained vectors. A token that is in neither is then read as its lower-case form.

    Attributes
    ----------
    kind : {"ids", "features"}
        Type of the encoded sequences.
    size : int
        Number of ids, or of features: three for each column of numbers unless ``missing="error"``,
        and one for each category.
    vocabulary : Vocabulary or None
        Vocabulary of text; None for ids and features.
    standardizer : Standardizer or None
        Mean and standard deviation of features; None without `scale`, unless ``missing="decay"``.
    feature_vocabulary : Vocabulary or None
        Vocabulary of shapes, lower-case forms, prefixes and suffixes; None without `affixes`.
    character_vocabulary : Vocabulary or None
        Vocabulary of characters, "" the first of them; None without `characters`.
    word_length : int or None
        Number of ids of the characters of a word; None without `characters`.
    category_vocabularies : tuple of Vocabulary
        Categories of each of the categorical features, after "<unk>".
    feature_names : tuple of str or None
        Names of the columns, if the sequences in `fit` were tables (or one table).
    are_strings : bool
        The sequences in `fit` were strings, not lists of tokens.
    tokens : str or None
        The parameter.
    affixes : int or None
        The parameter.
    characters : bool
        The parameter.
    """

    kind: str
    size: int
    vocabulary: Vocabulary | None
    standardizer: Standardizer | None
    feature_vocabulary: Vocabulary | None
    character_vocabulary: Vocabulary | None
    word_length: int | None
    category_vocabularies: tuple[Vocabulary, ...]
    feature_names: tuple[str, ...] | None
    are_strings: bool

    def __init__(
        self,
        *,
        tokens: str | None = "characters",
        min_count: int = 1,
        special: Sequence[str] = (),
        dtype: str = "float32",
        scale: bool = False,
        integers: str = "ids",
        affixes: int | None = None,
        characters: bool = False,
        missing: str = "error",
        categorical_features: Sequence[str | int] | str | None = None,
        words: Iterable[str] = (),
    ) -> None:
        if tokens is not None:
            checks.one_of("characters", "words")("tokens", tokens)
        self.tokens = tokens
        self._min_count = checks.integer("min_count", min_count)
        self._special = strings("special", special)
        self._dtype = checks.dtype("dtype", dtype)
        self._scale = checks.flag("scale", scale)
        self._integers = checks.one_of("ids", "numbers")("integers", integers)
        self._missing = checks.one_of(*MISSING)("missing", missing)
        self._categorical = check_categorical(categorical_features)
        self._places: tuple[int, ...] | None = None  # of the columns of categories
        self._words = strings("words", words)
        self._lower_case = bool(self._words)  # of unknown tokens
        self.affixes = None if affixes is None else checks.integer("affixes", affixes, 0)
        if self.affixes is not None and self.affixes > _MAX_AFFIXES:
            raise ValueError(f"affixes must be an integer <= {_MAX_AFFIXES}, got {affixes}")
        if affixes is not None and tokens == "characters":
            raise ValueError("affixes needs tokens='words' or tokens=None, got tokens='characters'")
        self.characters = checks.flag("characters", characters)
        if self.characters and tokens == "characters":
            rule = "characters needs tokens='words' or tokens=None"
            raise ValueError(f"{rule}, got tokens='characters'")

    def fit(self, X: Any, lengths: Any = None, *, name: str = "X") -> SequenceEncoder:
        """Learn the type of the sequences, and their vocabulary or number of features.

        Parameters
        ----------
        X : list or array
            Sequences, at least one with a step.
        lengths : integer array (B,), optional
            Number of steps of each sequence, in [0, T]; later steps are not read. All by default.
        name : str
            Name of `X` in error messages.

        Returns
        -------
        self

        Raises
        ------
        TypeError, ValueError
            If X has another type, or its sequences are of different types. The values of ids and
            features are checked in `transform`.
        """
        self._begin()
        self._learn(X, lengths, name=name)
        return self._finish(name=name)

    def _begin(self) -> None:
        """Forget what was learned, before the first call of `_learn`."""
        self._places = None
        self._learned = Learned()

    def _learn(self, X: Any, lengths: Any = None, *, name: str = "X", check: bool = False) -> None:
        """Learn from further sequences; with `check`, also check their values."""
        raw, learned = self._read(X, lengths, name), self._learned
        if not learned.start(raw):
            return
        if raw.kind == "tokens":
            learned.counts.update(chain.from_iterable(raw.items))
        elif raw.kind == "ids":
            learned.ids.add(raw)
            if check:
                flat_ids(raw, MAX_IDS)
        else:
            learned.columns = learned.columns or count_features(raw)
            if check or self._centers:
                options = {"allow_nan": self._has_masks}
                flat, starts = flat_features(raw, learned.columns, self._dtype, **options)
                if self._centers:
                    found = self._moments(flat, starts, raw.lengths)
                    learned.moments = sum_of(learned.moments, found)
        if self._places is not None:
            learned.add_categories(raw.categories, self._places)

    def _finish(self, *, name: str = "X") -> SequenceEncoder:
        """Set the attributes from what was learned, on all ranks."""
        learned = pooled_sum(self._learned)
        del self._learned
        if learned.kind is None:
            # scikit-learn's estimator checks require these words
            raise ValueError(
                f"{name} must have at least one step, got none: "
                f"0 feature(s) (shape=({learned.sequences}, 0)) while a minimum of 1 is required."
            )
        for name, given in (("affixes", self.affixes is not None), ("characters", self.characters)):
            if given and learned.kind != "tokens":
                raise TypeError(f"{name} needs X to hold strings, got {KINDS[learned.kind]}")
        self.vocabulary = self.feature_vocabulary = self.character_vocabulary = None
        self.word_length, self.category_vocabularies, self.standardizer = None, (), None
        self.kind = "features" if learned.kind == "features" else "ids"
        self.feature_names, self.are_strings = learned.names, learned.are_strings
        self._longest, self._places = learned.longest, learned.places
        if learned.kind == "tokens":
            self.size = self._set_vocabularies(learned.counts)
        elif learned.kind == "ids":
            self.size = learned.ids.checked(name)
        else:
            self.size = learned.columns * (3 if self._has_masks else 1)
        if self._places is not None:
            known = vocabularies(learned.labels, learned.names, self._places)
            self.category_vocabularies = known
            self.size += sum(map(len, known)) - len(known)
        if learned.moments is not None:
            self.standardizer = Standardizer._from_moments(learned.moments)
            if not self._scale:
                mean = self.standardizer.mean
                self.standardizer = Standardizer(mean, np.ones_like(mean))
        return self

    def _set_vocabularies(self, counts: Mapping[str, int]) -> int:
        """Set the vocabularies of tokens with these frequencies; return the number of ids."""
        special = (UNKNOWN, *self._special)
        self.vocabulary = Vocabulary._from_counts(counts, special, self._min_count)
        if self._words:
            known = dict.fromkeys((*self.vocabulary.tokens, *self._words))
            self.vocabulary = Vocabulary(list(known))
        size = len(self.vocabulary)
        if self.affixes is not None:
            self.feature_vocabulary = Vocabulary._from_counts(
                count_features_of_words(counts, self.affixes), (UNKNOWN,), self._min_count
            )
            size += len(self.feature_vocabulary)
        if self.characters:
            self.character_vocabulary = Vocabulary._from_counts(
                count_characters(counts), _CHARACTERS, self._min_count
            )
            self.word_length = max(1, min(max(map(len, counts)), _MAX_WORD_LENGTH))
        return size

    def _moments(
        self, flat: FloatArray, starts: NDArray[np.int64], lengths: NDArray[np.int64]
    ) -> Moments:
        """Return the moments of the columns of sequences, for standardization."""
        sequences = Sequences(flat, starts, lengths)
        values = np.concatenate([sequences[i] for i in range(len(sequences))])
        if self._missing == "error":
            return Moments.of(values)
        if self._missing == "decay":
            return moments_of_decay(values)
        return moments_with_mask(values, with_mask(flat, starts, lengths)[0])

    @property
    def _centers(self) -> bool:
        """Whether features have a standardizer."""
        return self._scale or self._missing == "decay"

    @property
    def _has_masks(self) -> bool:
        """Whether a column of numbers becomes three."""
        return self._missing != "error"

    def _flat_features(self, raw: RawSequences) -> tuple[FloatArray, NDArray[np.int64]]:
        """Return the columns of all sequences, with NaN if that is allowed, and their starts."""
        return flat_features(raw, self._num_numbers, self._dtype, allow_nan=self._has_masks)

    @property
    def _num_numbers(self) -> int:
        """Number of columns of numbers."""
        inputs = self.size - sum(len(one) - 1 for one in self.category_vocabularies)
        return inputs // 3 if self._has_masks else inputs

    @property
    def num_features(self) -> int | None:
        """Number of columns of features, numbers and categories; None for ids."""
        return None if self.kind == "ids" else self._num_numbers + len(self.category_vocabularies)

    def _read(self, X: Any, lengths: Any, name: str = "X") -> RawSequences:
        if self._categorical is not None:
            columns = read_columns(X, self._categorical, self._places, name)
            self._places = columns.places
            counts = np.fromiter(map(len, columns.numbers), np.int64, len(columns.numbers))
            live = counts if lengths is None else lengths_of(lengths, len(counts), counts)
            items = [rows[:n] for rows, n in zip(columns.numbers, live, strict=True)]
            categories = [rows[:n] for rows, n in zip(columns.categories, live, strict=True)]
            kind = "features" if live.any() else None
            return RawSequences(kind, items, live, columns.names, False, name, categories)
        raw = read_sequences(X, lengths, tokens=self.tokens, argument=name)
        if raw.kind == "ids" and (self._scale or self._integers == "numbers"):
            return raw._replace(kind="features")
        return raw

    def _check_names(self, names: tuple[str, ...] | None) -> None:
        """Check that the columns are those in `fit`, as scikit-learn does."""
        expected = self.feature_names
        if names == expected:
            return
        if names is None:
            warnings.warn(
                "X does not have valid feature names, but the estimator was fitted with feature "
                f"names: {list(expected or ())}",
                UserWarning,
                stacklevel=4,
            )
        elif expected is None:
            warnings.warn(
                "X has feature names, but the estimator was fitted without feature names: their "
                "order is not checked",
                UserWarning,
                stacklevel=4,
            )
        else:
            raise ValueError(
                "The feature names should match those that were passed during fit, in the same "
                f"order: {list(expected)}, got {list(names)}"
            )

    def describe(self) -> str:
        """Return what the sequences in `fit` were understood as.

        Returns
        -------
        str
            Such as "integer ids in [0, 136)" or "2 numbers per step, standardized".

        Raises
        ------
        AttributeError
            If the encoder is not fitted.
        """
        if self.vocabulary is not None:
            unit = self.tokens if self.are_strings else "tokens"
            known = f"{unit}, a vocabulary of {len(self.vocabulary):,}"
            features, letters = self.feature_vocabulary, self.character_vocabulary
            parts = [known]
            parts += [] if features is None else [f"{len(features):,} features of words"]
            parts += [] if letters is None else [f"{len(letters) - 2:,} characters"]
            return ", and ".join(filter(None, [", ".join(parts[:-1]), parts[-1]]))
        if self.kind == "ids":
            return f"integer ids in [0, {self.size:,})"
        count = self._num_numbers
        numbers = "1 number per step" if count == 1 else f"{count:,} numbers per step"
        if self.category_vocabularies:
            sizes = [f"{len(tokens) - 1:,}" for tokens in self.category_vocabularies]
            plural, of_each = "s" if len(sizes) > 1 else "", ", ".join(sizes)
            numbers += f" and {len(sizes)} categorical feature{plural} ({of_each} categories)"
        scaled = f"{numbers}, standardized" if self._scale else numbers
        return f"{scaled}, with masks" if self._has_masks else scaled

    def __repr__(self) -> str:
        name = type(self).__name__
        return f"<{name}: {self.describe()}>" if hasattr(self, "kind") else f"<{name}: not fitted>"

    def transform(self, X: Any, lengths: Any = None, *, name: str = "X") -> Sequences:
        """Return the sequences as ids or features; they may share memory with X.

        Parameters
        ----------
        X : list or array
            Sequences of the type in `fit`.
        lengths : integer array (B,), optional
            Number of steps of each sequence, in [0, T]; later steps are not read. All by default.
        name : str
            Name of `X` in error messages.

        Returns
        -------
        Sequences

        Raises
        ------
        TypeError, ValueError
            If the sequences are not of the type and size in `fit`, an id is not in [0, size), or a
            feature is not finite.
        """
        if self._categorical is not None:  # before the columns are read
            self._check_names(column_names(unpacked(X), name))
        raw = self._read(X, lengths, name)
        self._check_names(raw.names)
        learned = "tokens" if self.vocabulary is not None else self.kind
        integers = raw.kind == "ids" and learned == "features"  # integers are valid features
        if raw.kind not in (learned, None) and not integers:
            raise TypeError(f"{name} must hold {KINDS[learned]}, as in fit, got {KINDS[raw.kind]}")
        if self.vocabulary is not None:
            self._check_unit(raw)
            return Sequences.from_lengths(self._ids(raw.items), raw.lengths)
        if self.kind == "ids":
            return Sequences(*flat_ids(raw, self.size), raw.lengths)
        flat, starts = self._flat_features(raw)
        if self._has_masks:
            flat, starts = with_mask(flat, starts, raw.lengths)
        if self.standardizer is not None:
            flat = self.standardizer.transform(flat)
        if self._has_masks:  # before the first observation
            flat = np.nan_to_num(flat, copy=False)
        if self.category_vocabularies:
            parts = flat, one_hot(raw.categories, self.category_vocabularies, self._dtype)
            flat = np.concatenate(parts, axis=1)
        return Sequences(flat, starts, raw.lengths)

    def _check_unit(self, raw: RawSequences) -> None:
        """Check that words are not read as characters, or characters as words.

        All of them would be unknown tokens. Lists of words and strings of words may be mixed.
        """
        if self.tokens != "characters" or raw.are_strings == self.are_strings or raw.kind is None:
            return
        if raw.are_strings:
            raise TypeError(
                f"{raw.name} must hold lists of tokens, as in fit, got strings: split them, "
                "or fit with tokens='words'"
            )
        assert self.vocabulary is not None
        for i, words in enumerate(raw.items):
            for word in words:
                if len(word) > 1 and word not in self.vocabulary:
                    raise TypeError(
                        f"{raw.name}[{i}] must be a string, as in fit, or a list of characters, "
                        f"got a list with {word!r}"
                    )

    def _ids(self, sequences: Iterable[Iterable[str]]) -> NDArray[np.int32]:
        """Return the ids of all tokens, (N,), or (N, 1 + word features + characters)."""
        assert self.vocabulary is not None
        tokens = chain.from_iterable(sequences)
        if self.feature_vocabulary is None and self.character_vocabulary is None:
            return self.vocabulary.encode(self._known(tokens))
        words, places = distinct(tokens)  # words are repeated
        parts = [self.vocabulary.encode(self._known(words))[:, np.newaxis]]
        if self.feature_vocabulary is not None:
            features = feature_ids(words, self.affixes or 0, self.feature_vocabulary)
            parts.append(features + np.int32(len(self.vocabulary)))
        if self.character_vocabulary is not None:
            length = self.word_length or 0
            parts.append(character_ids(words, length, self.character_vocabulary))
        return np.concatenate(parts, axis=1)[places]

    def _known(self, tokens: Iterable[str]) -> Iterable[str]:
        """Return the tokens, unknown ones in lower case if that is how they are read."""
        known = self.vocabulary
        if not self._lower_case or known is None:
            return tokens
        return [token if token in known else token.lower() for token in tokens]

    def tokenize(self, text: Any) -> list[str]:
        """Return the tokens of a string or a token list.

        Parameters
        ----------
        text : string or token list
            One sequence.

        Returns
        -------
        list of str
            Its tokens.

        Raises
        ------
        TypeError
            If it is neither.
        """
        raw = read_sequences([text], tokens=self.tokens)
        if raw.kind not in ("tokens", None):
            raise TypeError(f"text must be a string or a list of tokens, got {KINDS[raw.kind]}")
        return list(raw.items[0])

    def to_dict(self) -> dict[str, Any]:
        """Return parameters and fitted attributes in JSON types.

        Returns
        -------
        dict
        """
        standardizer, features = self.standardizer, self.feature_vocabulary
        characters = self.character_vocabulary
        return {
            "tokens": self.tokens,
            "min_count": self._min_count,
            "special": list(self._special),
            "dtype": self._dtype.name,
            "scale": self._scale,
            "integers": self._integers,
            "kind": self.kind,
            "size": self.size,
            "vocabulary": None if self.vocabulary is None else list(self.vocabulary.tokens),
            "standardizer": None if standardizer is None else standardizer.to_dict(),
            "affixes": self.affixes,
            "missing": self._missing,
            "categorical_features": as_json(self._categorical),
            "categorical_places": None if self._places is None else list(self._places),
            "categories": [list(one.tokens) for one in self.category_vocabularies],
            "feature_names": None if self.feature_names is None else list(self.feature_names),
            "are_strings": self.are_strings,
            "feature_vocabulary": None if features is None else list(features.tokens),
            "characters": self.characters,
            "character_vocabulary": None if characters is None else list(characters.tokens),
            "word_length": self.word_length,
            "lower_case": self._lower_case,
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> SequenceEncoder:
        """Return the encoder that `to_dict` described.

        Parameters
        ----------
        content : mapping
            Result of `to_dict`.

        Returns
        -------
        SequenceEncoder

        Raises
        ------
        KeyError, TypeError, ValueError
            If the content is incomplete or invalid.
        """
        options = ("tokens", "min_count", "special", "dtype", "scale", "integers", "affixes")
        fitted = ("kind", "size", "standardizer", "vocabulary", "feature_vocabulary")
        checks.fields("content", content, *options, *fitted, "feature_names", "are_strings")
        chosen = {name: content[name] for name in options}
        # Options that old files do not have.
        later = {"characters": False, "missing": "error", "categorical_features": None}
        chosen |= {name: content.get(name, default) for name, default in later.items()}
        encoder = cls(**chosen)
        encoder.kind = checks.one_of("ids", "features")("kind", content["kind"])
        encoder.size = checks.integer("size", content["size"])
        standardizer = content["standardizer"]
        encoder.standardizer = (
            None if standardizer is None else Standardizer.from_dict(standardizer)
        )
        encoder.vocabulary = _vocabulary("vocabulary", content, (UNKNOWN, *encoder._special))
        encoder.feature_vocabulary = _vocabulary("feature_vocabulary", content, (UNKNOWN,))
        encoder.character_vocabulary = encoder.word_length = None
        if encoder.characters:
            checks.fields("content", content, "character_vocabulary", "word_length")
            letters = _vocabulary("character_vocabulary", content, _CHARACTERS)
            encoder.character_vocabulary = letters
            encoder.word_length = checks.integer("word_length", content["word_length"])
        encoder._lower_case = checks.flag("lower_case", content.get("lower_case", False))
        encoder._restore_categories(content)
        names = _strings("feature_names", content)
        encoder.feature_names = None if names is None else tuple(names)
        encoder.are_strings = checks.flag("are_strings", content["are_strings"])
        encoder._check_consistent()
        return encoder

    def _restore_categories(self, content: Mapping[str, Any]) -> None:
        """Restore the categories of the categorical features."""
        self.category_vocabularies = ()
        if self._categorical is None:
            return
        checks.fields("content", content, "categorical_places", "categories")
        places = checks.items("categorical_places", content["categorical_places"])
        self._places = tuple(checks.integer("categorical_places", one, 0) for one in places)
        known = []
        for i, tokens in enumerate(checks.items("categories", content["categories"])):
            vocabulary = _vocabulary(f"categories[{i}]", {f"categories[{i}]": tokens}, (UNKNOWN,))
            if vocabulary is None:
                raise TypeError(f"categories[{i}] must be a list of strings, got None")
            known.append(vocabulary)
        self.category_vocabularies = tuple(known)
        if self.kind != "features" or len(known) != len(self._places):
            raise ValueError(f"categories must be those of features {places}, got {len(known)}")

    def _check_consistent(self) -> None:
        """Check that the fitted attributes fit together."""
        tokens, features, scaled = self.vocabulary, self.feature_vocabulary, self.standardizer
        count = len(tokens or ()) + len(features or ())
        if tokens is not None and self.size != count:
            raise ValueError(f"size must be the number of tokens, {count}, got {self.size}")
        if self.kind == "features" and tokens is not None:
            raise ValueError("vocabulary must be None for features")
        if (features is None) != (self.affixes is None) or (features and tokens is None):
            raise ValueError("feature_vocabulary must be that of the affixes of words")
        if self.characters and (tokens is None or self.character_vocabulary is None):
            raise ValueError("character_vocabulary must be that of the characters of words")
        if self.word_length is not None and self.word_length > _MAX_WORD_LENGTH:
            raise ValueError(f"word_length must be <= {_MAX_WORD_LENGTH}, got {self.word_length}")
        if (scaled is None) == (self._centers and self.kind == "features"):
            raise ValueError("standardizer must be that of features with scale=True")
        categories = sum(len(one) - 1 for one in self.category_vocabularies)
        if scaled is not None and len(scaled.mean) != self.size - categories:
            rule = f"{self.size - categories} columns"
            raise ValueError(f"mean must have {rule}, got {len(scaled.mean)}")
        names = self.feature_names
        columns = self.num_features
        inputs = self.size - categories
        if self.kind == "features" and (inputs < 0 or (self._has_masks and inputs % 3)):
            raise ValueError(f"size must be 3 for each feature, got {self.size}")
        of_steps = columns == 1  # of one table, whose rows are sequences
        if names is not None and not of_steps and columns not in (None, len(names)):
            raise ValueError(f"feature_names must be {columns} names, got {len(names)}")


def _strings(name: str, content: Mapping[str, Any]) -> list[str] | None:
    """Return the field `name`, which is a list of strings or None."""
    values = content[name]
    if values is None:
        return None
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise TypeError(f"{name} must be a list of strings, got {type(values).__name__}")
    return values


def _vocabulary(
    name: str, content: Mapping[str, Any], special: tuple[str, ...]
) -> Vocabulary | None:
    """Return the vocabulary in the field `name`, which begins with the special tokens."""
    tokens = _strings(name, content)
    if tokens is None:
        return None
    if tuple(tokens[: len(special)]) != special:
        raise ValueError(f"{name} must begin with {', '.join(special)}, got {tokens[:3]}")
    return Vocabulary(tokens)
