"""n-gram language models in the ARPA format, for `ctc_beam_search`."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from bptt._core import checks
from bptt._core.tensor_files import as_path

_START, _STOP, _UNKNOWN = "<s>", "</s>", "<unk>"
_SECTION = re.compile(r"\\(\d{1,3})-grams:")
_TEN = math.log(10.0)  # files have logarithms to the base of 10

Tokens: TypeAlias = tuple[int, ...]


class _Entry(NamedTuple):
    """A line of an ARPA file, with natural logarithms."""

    log_p: float
    words: tuple[str, ...]
    back_off: float


class NGram:
    """n-gram language model with back-off, as `read_arpa` returns it.

    The probability of a label is that of the longest n-gram in the model that ends with it, times
    the back-off weights of the longer contexts: S. Katz (1987), Estimation of probabilities from
    sparse data for the language model component of a speech recognizer. A sequence begins with
    "<s>" and ends with "</s>".

    Attributes
    ----------
    order : int
        n, the number of words of the longest n-grams.
    """

    order: int

    def __init__(self, entries: Iterable[_Entry], labels: Sequence[str | None]) -> None:
        names = [name for name in labels if name is not None]
        ids = {name: k for k, name in enumerate(labels) if name is not None}
        self._count = len(labels)
        self._stop, self._unknown, self._start = range(self._count, self._count + 3)
        ids |= {_STOP: self._stop, _UNKNOWN: self._unknown, _START: self._start}
        self.order = 1
        self._back_off: dict[Tokens, float] = {}
        after: dict[Tokens, dict[int, float]] = {(): {}}
        for log_p, words, back_off in entries:
            self.order = max(self.order, len(words))
            if all(word in ids for word in words):
                tokens = tuple(ids[word] for word in words)
                after.setdefault(tokens[:-1], {})[tokens[-1]] = log_p
                self._back_off[tokens] = back_off
        known = after[()]
        if self._unknown not in known:
            for name in names:
                if ids[name] not in known:
                    rule = "labels must be words of the model, which has no <unk>"
                    raise ValueError(f"{rule}, got {name!r}")
        self._after = {
            context: (np.array(list(one)), np.array(list(one.values())))
            for context, one in after.items()
        }
        # The token of each label: its own, or that of unknown words.
        self._token = np.array([k if k in known else self._unknown for k in range(self._count)])

    def __call__(self, prefix: Tokens) -> NDArray[np.float64]:
        """Return the log-probabilities of the label after `prefix`.

        Parameters
        ----------
        prefix : tuple of int
            Labels from the beginning of the sequence, in [0, K).

        Returns
        -------
        float64 array (K,)
            Natural logarithms.

        Raises
        ------
        TypeError, ValueError
            If the labels are no integers, or out of their range.
        """
        found: NDArray[np.float64] = self._log_probabilities(prefix)[self._token]
        return found

    def end(self, prefix: Tokens) -> float:
        """Return the log-probability that a sequence ends after `prefix`.

        Parameters
        ----------
        prefix : tuple of int
            Labels from the beginning of the sequence, in [0, K).

        Returns
        -------
        float
            Natural logarithm; 0 if the model has no "</s>".

        Raises
        ------
        TypeError, ValueError
            If the labels are no integers, or out of their range.
        """
        found = self._log_probabilities(prefix)[self._stop]
        return float(found) if np.isfinite(found) else 0.0

    def _log_probabilities(self, prefix: Tokens) -> NDArray[np.float64]:
        """Return those of all tokens, -inf if they are not in the model."""
        given = checks.items("prefix", prefix)
        last = given[max(0, len(given) - self.order + 1) :]
        labels = np.array(last, None if last else np.int64)
        context = tuple(self._token[checks.indices("prefix", labels, self._count)].tolist())
        if len(given) < self.order - 1:
            context = (self._start, *context)
        result = np.full(self._count + 3, -math.inf)
        for n in range(len(context) + 1):
            words = context[len(context) - n :]
            if n:
                result += self._back_off.get(words, 0.0)
            if words in self._after:
                tokens, log_p = self._after[words]
                result[tokens] = log_p
        return result


def read_arpa(path: str | os.PathLike[str], labels: Sequence[str | None]) -> NGram:
    r"""Read an n-gram language model from a text file in the ARPA format.

    The format of SRILM and KenLM: sections ``\1-grams:``, ``\2-grams:``, …, whose lines have a
    logarithm to the base of 10, n words, and perhaps that of a back-off weight.

    Parameters
    ----------
    path : path
        The file, in UTF-8.
    labels : sequence of K str or None
        The word of each class; None for the blank. n-grams with other words are left out. A label
        that is not in the model has the probability of "<unk>".

    Returns
    -------
    NGram
        For `ctc_beam_search`.

    Raises
    ------
    TypeError
        If an argument has the wrong type.
    FileNotFoundError
        If the file does not exist.
    ValueError
        If the file is of another format, a label occurs twice, or it is not in the model, which has
        no "<unk>".
    """
    file = as_path(path)
    names = checks.items("labels", labels)
    for i, name in enumerate(names):
        if name is not None and not isinstance(name, str):
            raise TypeError(f"labels[{i}] must be a string, or None, got {type(name).__name__}")
    strings = [name for name in names if name is not None]
    if not strings or len(set(strings)) < len(strings):
        raise ValueError(f"labels must be at least one string, and distinct, got {strings[:20]}")
    for name in (_START, _STOP, _UNKNOWN):
        if name in strings:
            raise ValueError(f"labels must not have {name!r}, which is a word of every model")
    try:
        with file.open(encoding="utf-8") as lines:
            return NGram(_entries(lines), names)
    except ValueError as error:
        raise ValueError(f"cannot read {path}: {error}") from None


def _entries(lines: Iterable[str]) -> Iterator[_Entry]:
    """Yield the n-grams of all sections."""
    order: int | None = None
    found = False
    for number, text in enumerate(lines, 1):
        line = text.strip()
        section = _SECTION.fullmatch(line)
        if section is not None:
            order = int(section.group(1))
        elif line == "\\end\\":
            break
        elif line and order is not None:
            found = True
            yield _entry(line, number, order)
    if not found:
        raise ValueError("it must have a section \\1-grams: with an n-gram, got none")


def _entry(line: str, number: int, order: int) -> _Entry:
    """Return the n-gram of a line."""
    log_p, *words = line.split()
    back_off = words.pop() if len(words) == order + 1 else "0"
    try:
        value, weight = float(log_p) * _TEN, float(back_off) * _TEN
    except ValueError:
        value = weight = math.nan
    if order < 1 or len(words) != order or not (value <= 0.0 and math.isfinite(value + weight)):
        rule = f"a logarithm <= 0, {order} words and perhaps that of a back-off weight"
        raise ValueError(f"line {number} must have {rule}, got {line[:60]!r}")
    return _Entry(value, tuple(words), weight)
