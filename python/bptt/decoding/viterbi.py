"""Viterbi decoding: the most likely consistent label sequence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bptt._core import checks, loader
from bptt._core.checks import FloatArray


def viterbi_decode(
    probabilities: NDArray[np.floating[Any]], classes: Sequence[str]
) -> NDArray[np.str_]:
    """Return the most likely sequence of IOB labels in which "I-x" follows "B-x" or "I-x" only.

    Of all consistent sequences, the one with the largest product of probabilities: A. Viterbi
    (1967), Error bounds for convolutional codes and an asymptotically optimum decoding algorithm.

    Parameters
    ----------
    probabilities : array (T, K)
        Probability of every label at every step, as `SequenceTagger.predict_proba` returns them.
    classes : sequence of K str
        Labels "B-kind", "I-kind" and "O", as ``SequenceTagger.classes_``.

    Returns
    -------
    array (T,)

    Raises
    ------
    TypeError, ValueError
        If the dtype or shape does not fit, or a class is not an IOB label.
    """
    labels_given = checks.items("classes", classes)
    if not labels_given:
        raise ValueError("classes must have at least one label, got none")
    log_weights = iob_log_weights(labels_given)
    names = np.asarray(labels_given)
    checks.floats("probabilities", probabilities)
    if probabilities.ndim != 2 or probabilities.shape[1] != len(names):
        rule = f"(T, number of classes) = (T, {len(names)})"
        raise ValueError(f"probabilities must have shape {rule}, got {probabilities.shape}")
    if not (probabilities >= 0.0).all():
        raise ValueError("probabilities must be >= 0, got a negative number or NaN")
    with np.errstate(divide="ignore"):
        log_p = np.log(probabilities.astype(np.float64))
    path = viterbi_ids(log_p[np.newaxis], np.array([len(log_p)]), *log_weights)
    labels: NDArray[np.str_] = names[path[0]]
    return labels


def iob_log_weights(classes: Sequence[str]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the log-weights of first labels and of transitions: 0 if valid, else -inf.

    Parameters
    ----------
    classes : sequence of K str
        Labels "B-kind", "I-kind" and "O".

    Returns
    -------
    first : float64 array (K,)
        Log-weights of the first label.
    transitions : float64 array (K, K)
        Log-weights of label j after label i.

    Raises
    ------
    ValueError
        If a class is not an IOB label.
    """
    for label in classes:
        checks.iob_label("classes", label)
    can_begin = np.array([label[0] != "I" for label in classes])
    same_kind = np.array([[a[1:] == b[1:] for b in classes] for a in classes])
    return np.where(can_begin, 0.0, -np.inf), np.where(can_begin | same_kind, 0.0, -np.inf)


def viterbi_ids(
    scores: FloatArray,
    lengths: NDArray[np.integer[Any]],
    first: NDArray[np.floating[Any]],
    transitions: NDArray[np.floating[Any]],
    last: NDArray[np.floating[Any]] | None = None,
) -> NDArray[np.int32]:
    """Return the label sequences with the largest sum of scores and log-weights.

    Parameters
    ----------
    scores : array (B, T, K)
        Log-probability, or logit, of every label at every step; float32 or float64.
    lengths : integer array (B,)
        Number of steps of each sequence; later steps are not read.
    first : array (K,)
        Log-weights of the first label.
    transitions : array (K, K)
        Log-weights of label j after label i.
    last : array (K,), optional
        Log-weights of the last label. All 0 by default.

    Returns
    -------
    int32 array (B, T)
        Ids; 0 after the end of a sequence.
    """
    end = np.zeros_like(first) if last is None else last
    pairs, start, end = (part.astype(scores.dtype) for part in (transitions, first, end))
    return loader.kernels.crf_viterbi(scores, pairs, start, end, lengths)
