"""Viterbi decoding: the most likely consistent label sequence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bptt._core import checks


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
        Labels "B-kind", "I-kind" and "O", as `SequenceTagger.classes_`.

    Returns
    -------
    array (T,)

    Raises
    ------
    ValueError
        If the shape does not fit, or a class is not an IOB label.
    """
    names = np.asarray(classes)
    if np.ndim(probabilities) != 2 or probabilities.shape[1] != len(names):
        rule = f"(T, number of classes) = (T, {len(names)})"
        raise ValueError(f"probabilities must have shape {rule}, got {np.shape(probabilities)}")
    for label in names.tolist():
        checks.iob_label("classes", label)
    if not len(probabilities):
        return names[:0]
    can_begin = np.array([label[0] != "I" for label in names])
    same_kind = np.array([[a[1:] == b[1:] for b in names] for a in names])
    transitions = np.where(can_begin | same_kind, 0.0, -np.inf)  # log-weight, from row to column
    with np.errstate(divide="ignore"):
        log_p = np.log(probabilities)
    best = np.where(can_begin, log_p[0], -np.inf)  # of all paths to each label
    parents: list[NDArray[np.int64]] = []
    for step in log_p[1:]:
        paths = best[:, np.newaxis] + transitions
        parents.append(paths.argmax(axis=0))
        best = paths.max(axis=0) + step
    path = [int(best.argmax())]
    for parent in reversed(parents):
        path.append(int(parent[path[-1]]))
    return names[path[::-1]]
