"""The embedding: a vector for every token, learnt like any other parameter."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from bptt._core import checks, loader
from bptt._core.checks import FloatArray
from bptt._core.lengths import Ids, Lengths, lengths_of
from bptt.nn.module import Gradients, Layout, Module, Shapes


class Embedding(Module):
    """A table of vectors, one for each token id.

    The same as a one-hot vector times ``weight``, without either: Y. Bengio et al. (2003), A neural
    probabilistic language model.

    Parameters
    ----------
    num_embeddings : int
        N, the number of ids.
    embedding_dim : int
        E, the size of each vector.
    dtype : float32 or float64
        Of parameter and output.
    seed : int, optional
        Seed of the initial weight, which is normal with standard deviation 1/√E: vectors of length
        about 1.

    Notes
    -----
    Parameter: ``weight`` (N, E).

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong kind, or has a value out of its range.
    """

    num_embeddings: int
    embedding_dim: int

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        *,
        dtype: DTypeLike = np.float32,
        seed: int | None = None,
    ) -> None:
        super().__init__(
            {
                "num_embeddings": checks.integer("num_embeddings", num_embeddings),
                "embedding_dim": checks.integer("embedding_dim", embedding_dim),
                "dtype": checks.dtype("dtype", dtype),
                "seed": checks.seed("seed", seed),
            }
        )

    def _shapes(self) -> Shapes:
        return {
            "weight": (
                ("num_embeddings", self.num_embeddings),
                ("embedding_dim", self.embedding_dim),
            )
        }

    def _initialize(self, parameters: Mapping[str, FloatArray]) -> None:
        weight = parameters["weight"]
        weight[...] = self._random.standard_normal(weight.shape) / math.sqrt(self.embedding_dim)

    def __call__(
        self,
        ids: Ids,
        *,
        lengths: Lengths | None = None,
    ) -> FloatArray:
        """Return the vectors of `ids`.

        Parameters
        ----------
        ids : integer array, of any shape
            In [0, num_embeddings).
        lengths : integer array (B,), optional
            If `ids` are (B, T): the number of steps of each sequence, in [0, T]. Padding is not
            read, and its vectors are 0.

        Returns
        -------
        array (..., embedding_dim)

        Raises
        ------
        TypeError
            If `ids` are not an array of integers.
        ValueError
            If an id or a length is out of its range, or there are `lengths` but no steps.
        """
        sequences = _as_sequences(ids, lengths)
        y: FloatArray = loader.kernels.embedding_forward(self["weight"], sequences, lengths)
        return y.reshape(*ids.shape, self.embedding_dim)

    def forward(
        self,
        ids: Ids,
        *,
        lengths: Lengths | None = None,
    ) -> EmbeddingRun:
        """Return the vectors of `ids` as an `EmbeddingRun`, which can go backward.

        Arguments and errors are those of calling the module.
        """
        return EmbeddingRun(self._layout, ids, lengths, self(ids, lengths=lengths))


class EmbeddingRun:
    """A forward pass of an `Embedding`, ready to go backward.

    It keeps `ids` and `lengths` themselves, which must not be changed before `backward`.

    Attributes
    ----------
    output : array (..., embedding_dim)
    """

    output: FloatArray

    def __init__(
        self,
        layout: Layout,
        ids: Ids,
        lengths: Lengths | None,
        output: FloatArray,
    ) -> None:
        self.output = output
        self._layout = layout
        self._ids = ids
        self._lengths = lengths

    def backward(self, d_output: FloatArray) -> Gradients:
        """Return the gradient, from the gradient of the output.

        dL/dweight[n] = Σ dL/dy over all places where the id is n, added in one fixed order.

        Parameters
        ----------
        d_output : array (..., embedding_dim)
            dL/dy, of the shape and dtype of `output`. What it says in the padding is not read.

        Returns
        -------
        Gradients
            ``["weight"]``; ``.input`` is None.

        Raises
        ------
        TypeError
            If `d_output` is not an array of the module's dtype.
        ValueError
            If its shape is not that of `output`.
        """
        checks.array("d_output", d_output, self._layout.dtype)
        checks.same_shape("d_output", d_output, "the output", self.output.shape)
        flat = np.empty(self._layout.size, self._layout.dtype)
        ids, lengths, d = self._in_steps(d_output)
        sequences = _as_sequences(ids, lengths)
        loader.kernels.embedding_backward(
            sequences,
            lengths,
            d.reshape(*sequences.shape, d.shape[-1]),
            self._layout.views(flat)["weight"],
        )
        return Gradients(self._layout, flat, None)

    def _in_steps(self, d_output: FloatArray) -> tuple[Any, Any, FloatArray]:
        """Return ids, lengths, and the gradient of each id's vector."""
        return self._ids, self._lengths, d_output


def _as_sequences(ids: object, lengths: object) -> NDArray[Any]:
    """Return `ids` as (batch, steps)."""
    if not isinstance(ids, np.ndarray):
        raise TypeError(f"ids must be a NumPy array, got {type(ids).__name__}")
    if lengths is None:
        return ids.reshape(1, -1)
    if ids.ndim != 2:
        raise ValueError(f"lengths needs ids of shape (batch, steps), got {ids.shape}")
    return ids


class EmbeddingBag(Embedding):
    """A table of vectors, of which every step adds up several: y = Σ_f weight[ids_f].

    So a word can have a vector of its own and those of its parts, which unknown words share: P.
    Bojanowski et al. (2017), Enriching word vectors with subword information.

    Parameters, errors and ``weight`` (num_embeddings, embedding_dim) are those of `Embedding`.
    """

    def __call__(
        self,
        ids: Ids,
        *,
        lengths: Lengths | None = None,
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
        ids: Ids,
        *,
        lengths: Lengths | None = None,
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
