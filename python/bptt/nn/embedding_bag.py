"""The embedding of several tokens a step: a word, its affixes, whatever else is known of it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bptt._core.checks import FloatArray
from bptt._core.lengths import lengths_of
from bptt.nn.embedding import Embedding, EmbeddingRun


class EmbeddingBag(Embedding):
    """A table of vectors, of which every step adds up several: y = Σ_f weight[ids_f].

    So a word can have a vector of its own and those of its parts, which unknown words share: P.
    Bojanowski et al. (2017), Enriching word vectors with subword information.

    Parameters, errors and ``weight`` (num_embeddings, embedding_dim) are those of `Embedding`.
    """

    def __call__(
        self,
        ids: NDArray[np.integer[Any]],
        *,
        lengths: NDArray[np.integer[Any]] | None = None,
    ) -> FloatArray:
        """Return the sums of the vectors of `ids`.

        Parameters
        ----------
        ids : integer array (..., F)
            In [0, num_embeddings): F at every step.
        lengths : integer array (B,), optional
            If `ids` are (B, T, F): the number of steps of each sequence, in [0, T]. Padding is not
            read, and its vectors are 0.

        Returns
        -------
        array (..., embedding_dim)

        Raises
        ------
        TypeError
            If `ids` are not an array of integers.
        ValueError
            If an id or a length is out of its range, or `ids` lack an axis.
        """
        flat, counts = _one_a_step(ids, lengths)
        vectors = super().__call__(flat, lengths=counts)
        total: FloatArray = vectors.reshape(*ids.shape, self.embedding_dim).sum(axis=-2)
        return total

    def forward(
        self,
        ids: NDArray[np.integer[Any]],
        *,
        lengths: NDArray[np.integer[Any]] | None = None,
    ) -> EmbeddingBagRun:
        """Return the sums as an `EmbeddingBagRun`, which can go backward.

        Arguments and errors are those of calling the module.
        """
        return EmbeddingBagRun(self._layout, ids, lengths, self(ids, lengths=lengths))


class EmbeddingBagRun(EmbeddingRun):
    """A forward pass of an `EmbeddingBag`, ready to go backward, as an `EmbeddingRun` is."""

    def _in_steps(self, d_output: FloatArray) -> tuple[Any, Any, FloatArray]:
        flat, counts = _one_a_step(self._ids, self._lengths)
        each = np.repeat(d_output[..., np.newaxis, :], self._ids.shape[-1], axis=-2)
        return flat, counts, each


def _one_a_step(ids: Any, lengths: Any) -> tuple[Any, Any]:
    """Return ids (B, T, F) as (B, T * F), and lengths that fit; without lengths as they are."""
    if not isinstance(ids, np.ndarray):
        raise TypeError(f"ids must be a NumPy array, got {type(ids).__name__}")
    if ids.ndim != 3 if lengths is not None else ids.ndim == 0:
        rule = "(..., F)" if lengths is None else "(batch, steps, F) with lengths"
        raise ValueError(f"ids must have shape {rule}, got {ids.shape}")
    if lengths is None:
        return ids, None
    batch, steps, count = ids.shape
    return ids.reshape(batch, steps * count), lengths_of(lengths, batch, steps) * count
