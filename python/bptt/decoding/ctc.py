"""Decoding for connectionist temporal classification (CTC): greedy, and prefix beam search."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from bptt._core import checks
from bptt._core.checks import FloatArray
from bptt._core.lengths import Lengths, steps_of
from bptt._loss_inputs import check_ctc_logits
from bptt.decoding.beam import Hypothesis

Prefix: TypeAlias = tuple[int, ...]
LogProbabilities: TypeAlias = Callable[[Prefix], FloatArray]  # (K,) of the next label


def ctc_greedy(
    logits: FloatArray, *, lengths: Lengths | None = None, blank: int = 0
) -> list[NDArray[np.int64]]:
    """Return the labels of the most likely path of each sequence.

    The most likely class of every step, without repetitions and then without blanks: A. Graves et
    al. (2006), Connectionist temporal classification, section 3.2.

    Parameters
    ----------
    logits : array (B, T, K)
        Logits, or log-probabilities, of the K classes; float32 or float64.
    lengths : integer array (B,), optional
        Number of steps of each sequence, in [0, T]. T by default.
    blank : int, default 0
        Class of the blank, in [0, K).

    Returns
    -------
    list of B int64 arrays
        Labels.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or an invalid value.
    """
    counts, blank = _check(logits, lengths, blank)
    paths = logits.argmax(axis=2)
    return [_labels(path[:n], blank) for path, n in zip(paths, counts, strict=True)]


def ctc_beam_search(
    logits: FloatArray,
    *,
    lengths: Lengths | None = None,
    blank: int = 0,
    beam: int = 10,
    count: int | None = None,
    language_model: LogProbabilities | None = None,
    weight: float = 1.0,
    bonus: float = 0.0,
) -> list[list[Hypothesis]]:
    """Search for the most likely label sequences: prefix beam search.

    Of the label sequences that paths up to a step have, the `beam` best are kept, each with the
    probabilities of its paths that end in a blank and in a label: A. Graves and N. Jaitly (2014),
    Towards end-to-end speech recognition; with a language model as A. Hannun et al. (2014),
    First-pass large vocabulary continuous speech recognition.

    Parameters
    ----------
    logits : array (B, T, K)
        Logits, or log-probabilities, of the K classes; float32 or float64.
    lengths : integer array (B,), optional
        Number of steps of each sequence, in [0, T]. T by default.
    blank : int, default 0
        Class of the blank, in [0, K).
    beam : int, default 10
        Number of label sequences that are kept at each step.
    count : int, optional
        Number of label sequences to return, in [1, beam]; fewer if fewer are found. All `beam` by
        default.
    language_model : function, optional
        Labels so far, a tuple of int -> log-probabilities (K,) of the next label, such as an
        `NGram`; that of the blank is not read. It is called once for each label sequence. If it has
        a method ``end``, that of a sequence's end after the labels counts, too.
    weight : float, default 1.0
        Factor of the log-probabilities of the language model, >= 0.
    bonus : float, default 0.0
        Score of each label, against the preference of a language model for short sequences.

    Returns
    -------
    list of B lists of Hypothesis
        In descending order of their scores. The log-probability is that of all paths that were
        followed to the labels; the score adds those of the language model and the bonus.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or an invalid value.
    """
    counts, blank = _check(logits, lengths, blank)
    count = checks.integer("beam", beam) if count is None else count
    if checks.integer("count", count) > beam:
        raise ValueError(f"count must be in [1, beam] = [1, {beam}], got {count}")
    if language_model is not None and not callable(language_model):
        kind = type(language_model).__name__
        raise TypeError(f"language_model must be a function, got {kind}")
    factor = checks.number("weight", weight, 0.0)
    each = checks.number("bonus", bonus)
    found = []
    for x, n in zip(logits, counts, strict=True):
        search = _Search(blank, beam, language_model, factor, each, x.shape[1])
        for row in x[:n].astype(np.float64):
            shifted = row - row.max()
            search.extend(shifted - math.log(np.exp(shifted).sum()))
        found.append(search.best(count))
    return found


class _Paths(NamedTuple):
    """Log-probabilities of the paths to a label sequence, by what they end in."""

    blank: float
    label: float

    @property
    def total(self) -> float:
        return _log_add(self.blank, self.label)


class _Search:
    """The best label sequences of the steps so far."""

    def __init__(
        self,
        blank: int,
        beam: int,
        language_model: LogProbabilities | None,
        weight: float,
        bonus: float,
        classes: int,
    ) -> None:
        self._blank, self._beam = blank, beam
        self._model, self._weight, self._bonus = language_model, weight, bonus
        self._classes = classes
        self._paths: dict[Prefix, _Paths] = {(): _Paths(0.0, -math.inf)}
        self._priors: dict[Prefix, float] = {(): 0.0}  # of the labels: model and bonus
        self._next: dict[Prefix, FloatArray] = {}  # log-probabilities by the language model

    def extend(self, log_p: NDArray[np.float64]) -> None:
        """Follow all paths by one step."""
        blanks: dict[Prefix, float] = {}
        labels: dict[Prefix, float] = {}
        probabilities = log_p.tolist()
        for prefix, paths in self._paths.items():
            _add(blanks, prefix, paths.total + probabilities[self._blank])
            last = prefix[-1] if prefix else None
            if last is not None:
                _add(labels, prefix, paths.label + probabilities[last])
            for label, p in enumerate(probabilities):
                if label != self._blank and p > -math.inf:
                    before = paths.blank if label == last else paths.total
                    if before > -math.inf:
                        _add(labels, (*prefix, label), before + p)
        everything = {
            prefix: _Paths(blanks.get(prefix, -math.inf), labels.get(prefix, -math.inf))
            for prefix in {**blanks, **labels}
        }
        kept = sorted(everything, key=lambda prefix: -self._score(prefix, everything[prefix]))
        self._paths = {prefix: everything[prefix] for prefix in kept[: self._beam]}
        self._priors = {prefix: self._prior(prefix) for prefix in self._paths}

    def best(self, count: int) -> list[Hypothesis]:
        """Return the best label sequences, and their scores."""
        result = []
        for prefix, paths in self._paths.items():
            if paths.total > -math.inf:
                score = self._score(prefix, paths) + self._end(prefix)
                result.append(Hypothesis(np.array(prefix, np.int64), paths.total, score))
        return sorted(result, key=lambda hypothesis: -hypothesis.score)[:count]

    def _score(self, prefix: Prefix, paths: _Paths) -> float:
        return paths.total + self._prior(prefix)

    def _end(self, prefix: Prefix) -> float:
        """Return the score of the end of a sequence, which only some language models have."""
        end = getattr(self._model, "end", None)
        if end is None or self._weight == 0.0:
            return 0.0
        return self._weight * checks.number("language_model.end's result", end(prefix), -math.inf)

    def _prior(self, prefix: Prefix) -> float:
        """Return the score of labels without their paths; that of all but the last is known."""
        if prefix in self._priors:
            return self._priors[prefix]
        before, label = prefix[:-1], prefix[-1]
        prior = self._prior(before) + self._bonus
        if self._model is not None and self._weight > 0.0:
            if before not in self._next:
                self._next[before] = checks.floats("language_model's result", self._model(before))
                shape = [("classes", self._classes)]
                checks.shape("language_model's result", self._next[before], shape)
            prior += self._weight * float(self._next[before][label])
        return prior


def _check(
    logits: FloatArray, lengths: Lengths | None, blank: int
) -> tuple[NDArray[np.int64], int]:
    """Check the arguments of both decoders; return the lengths and the blank."""
    blank = check_ctc_logits(logits, blank)
    return steps_of(lengths, *logits.shape[:2]), blank


def _labels(path: NDArray[np.int64], blank: int) -> NDArray[np.int64]:
    """Return a path without repetitions and then without blanks."""
    changes = np.ones(len(path), bool)
    changes[1:] = path[1:] != path[:-1]
    labels: NDArray[np.int64] = path[changes & (path != blank)]
    return labels


def _add(sums: dict[Prefix, float], prefix: Prefix, log_p: float) -> None:
    sums[prefix] = _log_add(sums.get(prefix, -math.inf), log_p)


def _log_add(a: float, b: float) -> float:
    high, low = max(a, b), min(a, b)
    return high if low == -math.inf else high + math.log1p(math.exp(low - high))
