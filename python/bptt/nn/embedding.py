"""Embeddings: a learned vector for every token id."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from bptt._core import checks, loader
from bptt._core.checks import FloatArray
from bptt._core.lengths import Ids, Lengths, lengths_of
from bptt.losses import Loss
from bptt.nn.compression import NarrowArray
from bptt.nn.module import Gradients, Layout, Module, Shapes, output_gradient
from bptt.nn.sparse_gradients import SparseGradients, no_gradient


class Embedding(Module):
    """Lookup table of vectors, one for each token id.

    Equivalent to the product of one-hot vectors with ``weight``: Y. Bengio et al. (2003), A neural
    probabilistic language model.

    Parameters
    ----------
    num_embeddings : int
        N, the number of ids.
    embedding_dim : int
        E, the size of each vector.
    frozen : bool, default False
        Whether the weight is never trained: its gradient is 0, and optimizers leave it as it is and
        hold no state for it. For pretrained vectors, see `set_vectors`.
    dtype : float32 or float64, default float32
        Type of parameter and output.
    seed : int, optional
        Seed of the initial weight. Unpredictable by default.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or an invalid value.

    Notes
    -----
    Parameter: ``weight`` (N, E), initially normal with standard deviation 1/√E, so that the vectors
    have norms of about 1.
    """

    num_embeddings: int
    embedding_dim: int
    _compressible = ("weight",)

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        *,
        frozen: bool = False,
        dtype: DTypeLike = np.float32,
        seed: int | None = None,
    ) -> None:
        super().__init__(
            {
                "num_embeddings": checks.integer("num_embeddings", num_embeddings),
                "embedding_dim": checks.integer("embedding_dim", embedding_dim),
                "frozen": checks.flag("frozen", frozen),
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

    def set_vectors(
        self, tokens: Sequence[str], vectors: Mapping[str, FloatArray]
    ) -> NDArray[np.bool_]:
        """Set the rows of the weight to the pretrained vectors of tokens.

        A token without a vector gets that of its lower-case form; without one, too, its row stays
        as it is.

        Parameters
        ----------
        tokens : sequence of str
            Tokens of the first rows, in the order of their ids: at most num_embeddings.
        vectors : mapping of str to array (embedding_dim,)
            Vectors of words, such as those of `bptt.data.read_word_vectors`, finite; other words
            are ignored.

        Returns
        -------
        bool array (number of tokens,)
            Whether there was a vector.

        Raises
        ------
        TypeError, ValueError
            If an argument has the wrong type, there are too many tokens, or a vector has the wrong
            shape or is not finite. No row has changed then.
        """
        if isinstance(tokens, str) or not isinstance(tokens, Sequence):
            raise TypeError(f"tokens must be a sequence of str, got {type(tokens).__name__}")
        if not isinstance(vectors, Mapping):
            raise TypeError(f"vectors must be a mapping, got {type(vectors).__name__}")
        given = list(tokens)
        if len(given) > self.num_embeddings:
            rule = f"at most num_embeddings = {self.num_embeddings}"
            raise ValueError(f"tokens must be {rule}, got {len(given)}")
        found: dict[int, FloatArray] = {}
        for i, token in enumerate(given):
            if not isinstance(token, str):
                raise TypeError(f"tokens must be strings, got {type(token).__name__}")
            for word in (token, token.lower()):
                if word in vectors:
                    found[i] = self._vector(word, vectors[word])
                    break
        known = np.zeros(len(given), bool)
        if found:
            rows = np.array(list(found))
            known[rows] = True
            with self._changing() as flat:
                self._layout.views(flat)["weight"][rows] = np.stack(list(found.values()))
        return known

    def _vector(self, word: str, vector: Any) -> FloatArray:
        """Check a pretrained vector; return it in the dtype of the weight."""
        given = checks.array_of(f"vectors[{word!r}]", vector, "f", 1)
        checks.shape(f"vectors[{word!r}]", given, [("embedding_dim", self.embedding_dim)])
        with np.errstate(over="ignore"):
            numbers: FloatArray = given.astype(self.dtype)
        if not np.isfinite(numbers).all():
            raise ValueError(
                f"vectors must be finite in {self.dtype}, got NaN or infinity: {word!r}"
            )
        return numbers

    def __call__(
        self,
        ids: Ids,
        *,
        lengths: Lengths | None = None,
    ) -> FloatArray:
        """Return the vectors of `ids`.

        Parameters
        ----------
        ids : integer array of any shape
            Ids in [0, num_embeddings).
        lengths : integer array (B,), optional
            Number of steps of each sequence, in [0, T], for `ids` (B, T). Padding is not read, and
            its vectors are 0.

        Returns
        -------
        array (..., embedding_dim)

        Raises
        ------
        TypeError
            If `ids` is not an array of integers.
        ValueError
            If an id or a length is out of its range, or `lengths` is given and `ids` is not (B, T).
        """
        y = self._rows(_as_sequences(ids, lengths), lengths, 1)
        return y.reshape(*ids.shape, self.embedding_dim)

    def _rows(self, sequences: Ids, lengths: Lengths | None, bag: int) -> FloatArray:
        """Return the sums of the vectors of every `bag` consecutive ids (batch, steps)."""
        arguments = (sequences, lengths, bag)
        narrow = None if self._narrow is None else self._narrow.arrays["weight"]
        if isinstance(narrow, NarrowArray):
            compressed: FloatArray = loader.kernels.embedding_forward(
                narrow.values, *arguments, narrow.scales
            )
            return compressed
        y: FloatArray = self._whole(loader.kernels.embedding_forward, self["weight"], *arguments)
        return y

    def forward(
        self,
        ids: Ids,
        *,
        lengths: Lengths | None = None,
    ) -> EmbeddingRun:
        """Return the vectors of `ids`, ready for `EmbeddingRun.backward`.

        Parameters
        ----------
        ids : integer array of any shape
            Ids in [0, num_embeddings). Kept, not copied.
        lengths : integer array (B,), optional
            Number of steps of each sequence, in [0, T], for `ids` (B, T). Kept, not copied. Padding
            is not read, and its vectors are 0.

        Returns
        -------
        EmbeddingRun

        Raises
        ------
        TypeError
            If `ids` is not an array of integers.
        ValueError
            If an id or a length is out of its range, or `lengths` is given and `ids` is not (B, T).
        """
        self._check_trainable()
        output = self(ids, lengths=lengths)
        return EmbeddingRun(self._layout, ids, lengths, output, frozen=self.frozen)


class EmbeddingRun:
    """Forward pass of an `Embedding`, as `Embedding.forward` returns it.

    It holds `ids` and `lengths` themselves, which must not change before `backward`.

    Attributes
    ----------
    output : array (..., embedding_dim)
        Vectors of the ids.
    """

    output: FloatArray

    def __init__(
        self,
        layout: Layout,
        ids: Ids,
        lengths: Lengths | None,
        output: FloatArray,
        *,
        frozen: bool = False,
    ) -> None:
        self.output = output
        self._frozen = frozen
        self._layout = layout
        self._ids = ids
        self._lengths = lengths

    def backward(self, d_output: FloatArray | Loss) -> Gradients:
        """Return the gradient of the weight.

        dL/dweight[n] = Σ dL/dy over all occurrences of id n, summed in a fixed order. Only the rows
        of ids that occurred are computed and stored; reading ``["weight"]`` makes the dense array.
        It is 0 if the embedding is frozen.

        Parameters
        ----------
        d_output : array (..., embedding_dim), or Loss
            dL/dy. Padding is not read.

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
        d_output = checks.array("d_output", output_gradient(d_output), self._layout.dtype)
        checks.same_shape("d_output", d_output, "the output", self.output.shape)
        if self._frozen:
            return no_gradient(self._layout)
        sequences, lengths, bag = self._bags()
        (_, count), (_, features) = self._layout.shapes["weight"]
        batch, steps = sequences.shape
        d = d_output.reshape(batch, steps // bag, features)
        ids, rows = loader.kernels.embedding_backward(sequences, lengths, d, count, bag)
        return SparseGradients(self._layout, ids, rows)

    def _bags(self) -> tuple[NDArray[Any], Any, int]:
        """Return ids (batch, steps), lengths, and how many consecutive ids have one vector."""
        return _as_sequences(self._ids, self._lengths), self._lengths, 1


def _as_sequences(ids: object, lengths: object) -> NDArray[Any]:
    """Return `ids` as (batch, steps)."""
    given = checks.numpy_array("ids", ids, layer=True)
    if lengths is None:
        return given.reshape(1, -1)
    if given.ndim != 2:
        raise ValueError(f"lengths needs ids of shape (batch, steps), got {given.shape}")
    return given


class EmbeddingBag(Embedding):
    """Lookup table of vectors that are summed at every step: y = Σ_f weight[ids_f].

    For words with subwords, whose vectors unknown words share with known ones: P. Bojanowski et al.
    (2017), Enriching word vectors with subword information.

    Parameters
    ----------
    num_embeddings : int
        N, the number of ids.
    embedding_dim : int
        E, the size of each vector.
    frozen : bool, default False
        Whether the weight is never trained: its gradient is 0, and optimizers leave it as it is and
        hold no state for it. For pretrained vectors, see `set_vectors`.
    dtype : float32 or float64, default float32
        Type of parameter and output.
    seed : int, optional
        Seed of the initial weight. Unpredictable by default.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or an invalid value.

    Notes
    -----
    Parameter: ``weight`` (N, E), initially normal with standard deviation 1/√E.
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
            F ids in [0, num_embeddings) at every step.
        lengths : integer array (B,), optional
            Number of steps of each sequence, in [0, T], for `ids` (B, T, F). Padding is not read,
            and its vectors are 0.

        Returns
        -------
        array (..., embedding_dim)

        Raises
        ------
        TypeError
            If `ids` is not an array of integers.
        ValueError
            If an id or a length is out of its range, or `ids` has too few axes.
        """
        y = self._rows(*_as_bags(ids, lengths))
        return y.reshape(*ids.shape[:-1], self.embedding_dim)

    def forward(
        self,
        ids: Ids,
        *,
        lengths: Lengths | None = None,
    ) -> EmbeddingBagRun:
        """Return the sums of the vectors of `ids`, ready for `EmbeddingBagRun.backward`.

        Parameters
        ----------
        ids : integer array (..., F)
            F ids in [0, num_embeddings) at every step. Kept, not copied.
        lengths : integer array (B,), optional
            Number of steps of each sequence, in [0, T], for `ids` (B, T, F). Kept, not copied.
            Padding is not read, and its vectors are 0.

        Returns
        -------
        EmbeddingBagRun

        Raises
        ------
        TypeError
            If `ids` is not an array of integers.
        ValueError
            If an id or a length is out of its range, or `ids` has too few axes.
        """
        self._check_trainable()
        output = self(ids, lengths=lengths)
        return EmbeddingBagRun(self._layout, ids, lengths, output, frozen=self.frozen)


class EmbeddingBagRun(EmbeddingRun):
    """Forward pass of an `EmbeddingBag`, as `EmbeddingBag.forward` returns it.

    It holds `ids` and `lengths` themselves, which must not change before `backward`.

    Attributes
    ----------
    output : array (..., embedding_dim)
        Sums of the vectors.
    """

    def _bags(self) -> tuple[NDArray[Any], Any, int]:
        return _as_bags(self._ids, self._lengths)


def _as_bags(ids: Any, lengths: Any) -> tuple[NDArray[Any], Any, int]:
    """Return ids (..., F) as (batch, steps*F), with their lengths in steps, and F."""
    checks.numpy_array("ids", ids, layer=True)
    if ids.ndim != 3 if lengths is not None else ids.ndim == 0:
        rule = "(..., F)" if lengths is None else "(batch, steps, F) with lengths"
        raise ValueError(f"ids must have shape {rule}, got {ids.shape}")
    bag = ids.shape[-1]
    if not bag:  # vectors of 0, as in padding
        if lengths is not None:
            lengths_of(lengths, *ids.shape[:2])
        return np.zeros((1, math.prod(ids.shape[:-1])), ids.dtype), np.zeros(1, np.int64), 1
    shape = (1, ids.size) if lengths is None else (len(ids), math.prod(ids.shape[1:]))
    return ids.reshape(shape), lengths, bag
