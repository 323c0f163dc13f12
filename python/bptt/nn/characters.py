"""Vectors of words from their characters."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from bptt._core import checks, loader
from bptt._core.checks import FloatArray
from bptt._core.lengths import Ids, Lengths, padding_of
from bptt.losses import Loss
from bptt.nn import initializers
from bptt.nn.cells import CELLS
from bptt.nn.module import Gradients, Layout, Module, Shapes, output_gradient
from bptt.nn.recurrent import LAYER_OF_CELL
from bptt.nn.recurrent_base import Recurrent
from bptt.nn.recurrent_run import Run
from bptt.nn.state import State, arrays_of, as_state


class CharacterEmbedding(Module):
    """Vectors of words from their characters, which unknown words have too.

    The characters of a word are embedded and read by a recurrent layer in both directions, whose
    final states are the vector of the word: W. Ling et al. (2015), Finding function in form:
    compositional character models for open vocabulary word representation; G. Lample et al. (2016),
    Neural architectures for named entity recognition. Each distinct word of a minibatch is read
    once.

    In a `Sequential` it is the first module, or follows an `Embedding` or `EmbeddingBag` of the
    words, beside whose vectors it puts its own. Every step of the input then has the ids for the
    embedding first, and the `word_length` ids of the characters last.

    Parameters
    ----------
    num_embeddings : int
        N, the number of ids of characters, with that of the end of a word, 0.
    embedding_dim : int
        E, the size of the vector of each character.
    hidden_size : int
        H, the number of hidden units per direction.
    word_length : int
        L, the number of ids of each word: those of its characters, then 0.
    cell : str, default "lstm"
        Type of the recurrent layer, a key of `bptt.nn.CELLS`.
    dtype : float32 or float64, default float32
        Type of parameters and output.
    seed : int, optional
        Seed of the initial weights. Unpredictable by default.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or an invalid value.

    Notes
    -----
    Parameters: ``weight`` (N, E), initially normal with standard deviation 1/√E, whose row 0 is
    never read; and those of a bidirectional layer of E input features, such as ``weight_ih_l0`` and
    ``weight_ih_l0_reverse``.
    """

    num_embeddings: int
    embedding_dim: int
    hidden_size: int
    word_length: int
    cell: str

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        hidden_size: int,
        word_length: int,
        *,
        cell: str = "lstm",
        dtype: DTypeLike = np.float32,
        seed: int | None = None,
    ) -> None:
        config: dict[str, Any] = {
            "num_embeddings": checks.integer("num_embeddings", num_embeddings),
            "embedding_dim": checks.integer("embedding_dim", embedding_dim),
            "hidden_size": checks.integer("hidden_size", hidden_size),
            "word_length": checks.integer("word_length", word_length),
            "cell": checks.one_of(*CELLS)("cell", cell),
            "dtype": checks.dtype("dtype", dtype),
            "seed": checks.seed("seed", seed),
        }
        super().__init__(config)
        self._packed: tuple[object, bool, Any] = (None, False, None)  # version, for training, ..

    @cached_property
    def _layer(self) -> Recurrent[Any]:
        """The bidirectional layer, without values: they are in the module's flat array."""
        options: dict[str, Any] = {
            "input_size": self.embedding_dim,
            "hidden_size": self.hidden_size,
            "bidirectional": True,
            "dtype": self.dtype,
            "seed": 0,
            **CELLS[self.cell].options,
        }
        return LAYER_OF_CELL[self.cell]._outline(options)

    @property
    def output_size(self) -> int:
        """2H, the size of the vector of a word."""
        return 2 * self.hidden_size

    def _shapes(self) -> Shapes:
        size = (("num_embeddings", self.num_embeddings), ("embedding_dim", self.embedding_dim))
        return {"weight": size, **self._layer._layout.shapes}

    def _initialize(self, parameters: Mapping[str, FloatArray]) -> None:
        layer = dict(parameters)
        weight = layer.pop("weight")
        weight[...] = self._random.standard_normal(weight.shape) / math.sqrt(self.embedding_dim)
        initializers.recurrent(layer, self._layer.cell, self.hidden_size, self._random)

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        state.pop("_layer", None)
        return {**state, "_packed": (None, False, None)}

    def __call__(self, ids: Ids, *, lengths: Lengths | None = None) -> FloatArray:
        """Return the vectors of words.

        Parameters
        ----------
        ids : integer array (..., word_length)
            Ids in [0, num_embeddings) of the characters of each word. Those after the first 0 do
            not count. A word without characters has the vector 0.
        lengths : integer array (B,), optional
            Number of steps of each sequence, in [0, T], for `ids` (B, T, word_length). Padding is
            not read, and its vectors are 0.

        Returns
        -------
        array (..., 2*hidden_size)

        Raises
        ------
        TypeError
            If `ids` is not an array of integers.
        ValueError
            If an id or a length is out of its range, or `ids` has another shape.
        """
        words = self._words(ids, lengths)

        def infer() -> State:
            x = loader.kernels.embedding_forward(self["weight"], words.ids, words.counts)
            _, last = loader.kernels.infer(self._network(False), x, words.counts, None)
            return as_state(*last)

        return words.spread(self._whole(infer))

    def forward(self, ids: Ids, *, lengths: Lengths | None = None) -> CharacterEmbeddingRun:
        """Return the vectors of words, ready for `CharacterEmbeddingRun.backward`.

        Parameters
        ----------
        ids : integer array (..., word_length)
            Ids in [0, num_embeddings) of the characters of each word. Those after the first 0 do
            not count. A word without characters has the vector 0.
        lengths : integer array (B,), optional
            Number of steps of each sequence, in [0, T], for `ids` (B, T, word_length). Kept, not
            copied. Padding is not read, and its vectors are 0.

        Returns
        -------
        CharacterEmbeddingRun

        Raises
        ------
        TypeError
            If `ids` is not an array of integers.
        ValueError
            If an id or a length is out of its range, or `ids` has another shape.
        """
        words = self._words(ids, lengths)

        def run() -> Run[Any]:
            x = loader.kernels.embedding_forward(self["weight"], words.ids, words.counts)
            network = self._network(True)
            y, last, saved = loader.kernels.forward(network, x, words.counts, None, None, 0)
            return Run(self._layer, (network, saved, x), y, as_state(*last))

        read = self._whole(run)
        return CharacterEmbeddingRun(self._layout, words, read, words.spread(read.state))

    def _words(self, ids: Any, lengths: Any) -> _Words:
        """Return the distinct words of `ids`, in the order of their first occurrence."""
        checks.numpy_array("ids", ids, layer=True)
        if ids.dtype.kind not in "iu":
            raise TypeError(f"ids must be integers, got dtype {ids.dtype}")
        size = self.word_length
        if ids.shape[-1:] != (size,) or (lengths is not None and ids.ndim != 3):
            axes = "(...," if lengths is None else "(batch, steps,"
            rule = f"{axes} word_length) = {axes} {size})"
            raise ValueError(f"ids must have shape {rule}, got {ids.shape}")
        rows = ids.reshape(-1, size)
        if lengths is not None:
            padding = padding_of(lengths, *ids.shape[:2])
            if padding is not None:
                rows = np.where(padding.reshape(-1, 1), rows.dtype.type(0), rows)
        ends = rows == 0
        counts = np.where(ends.any(1), ends.argmax(1), size)
        rows = np.where(np.arange(size) < counts[:, np.newaxis], rows, rows.dtype.type(0))
        rows = np.ascontiguousarray(rows)  # a key is the bytes of a row
        numbers: dict[bytes, int] = {}
        keys = rows.view(f"V{rows.itemsize * size}").reshape(-1).tolist()
        places = np.array([numbers.setdefault(key, len(numbers)) for key in keys], np.int64)
        first = np.unique(places, return_index=True)[1]
        counts = counts[first]
        longest = max(1, int(counts.max(initial=0)))
        shape = (1, -1) if lengths is None else ids.shape[:2]
        words = np.ascontiguousarray(rows[first, :longest])
        return _Words(words, counts, places.reshape(shape), lengths, ids.shape[:-1])

    def _network(self, training: bool) -> Any:
        """Return the packed weights, as `Recurrent._network`."""
        version, for_training, network = self._packed
        if version is self._version and for_training >= training:
            return network
        with self._lock:
            version, config = self._version, self._layer._kernel_config
            recurrent = self._flat[self.num_embeddings * self.embedding_dim :]
            network = loader.kernels.pack(config, recurrent, training)
            self._packed = (version, training, network)
        return network


class _Words(NamedTuple):
    """Distinct words, and where they occur."""

    ids: NDArray[Any]
    """(U, characters)"""
    counts: NDArray[np.int64]
    """Number of characters of each, (U,)."""
    places: NDArray[np.int64]
    """Index of the word of every step, (batch, steps)."""
    lengths: Any
    shape: tuple[int, ...]
    """Of the steps."""

    def spread(self, state: State) -> FloatArray:
        """Return the final states (2, U, H) of the words at the places where they occur."""
        hidden: FloatArray = arrays_of(state)[0]
        vectors = np.concatenate(list(hidden), axis=-1)
        y: FloatArray = loader.kernels.embedding_forward(vectors, self.places, self.lengths)
        return y.reshape(*self.shape, vectors.shape[-1])

    def gather(self, d_output: FloatArray) -> FloatArray:
        """Return the gradient of the final hidden state, (2, U, H), summed in a fixed order."""
        count, features = len(self.counts), d_output.shape[-1]
        d = d_output.reshape(*self.places.shape, features)
        places = (self.places, self.lengths)
        found, rows = loader.kernels.embedding_backward(*places, d, count)
        d_vectors = np.zeros((count, features), d.dtype)
        d_vectors[found] = rows
        return np.stack(np.split(d_vectors, 2, axis=-1))


class CharacterEmbeddingRun:
    """Forward pass of a `CharacterEmbedding`, as `CharacterEmbedding.forward` returns it.

    Attributes
    ----------
    output : array (..., 2*hidden_size)
        Vectors of the words.
    """

    output: FloatArray

    def __init__(self, layout: Layout, words: _Words, run: Run[Any], output: FloatArray) -> None:
        self.output = output
        self._layout = layout
        self._words = words
        self._run = run

    def backward(self, d_output: FloatArray | Loss, *, retain: bool = False) -> Gradients:
        """Return the gradients of all parameters, exactly.

        Those of a word that occurs several times are summed before they flow through its
        characters.

        Parameters
        ----------
        d_output : array (..., 2*hidden_size), or Loss
            dL/dy. Padding is not read.
        retain : bool, default False
            Whether to keep the saved values, so that `backward` can be called again.

        Returns
        -------
        Gradients
            Gradients of the parameters by name; ``.input`` is None.

        Raises
        ------
        TypeError
            If `d_output` is not an array of the module's dtype.
        ValueError
            If its shape is not that of `output`.
        RuntimeError
            If the saved values have been released.
        """
        retain = checks.flag("retain", retain)
        d_output = checks.array("d_output", output_gradient(d_output), self._layout.dtype)
        checks.same_shape("d_output", d_output, "the output", self.output.shape)
        d_hidden = self._words.gather(d_output)
        d_cell = map(np.zeros_like, arrays_of(self._run.state)[1:])
        read = self._run.backward(d_state=as_state(d_hidden, *d_cell), retain=retain)
        (_, count), (_, features) = self._layout.shapes["weight"]
        d_weight = np.zeros((count, features), d_output.dtype)
        words, d_x = (self._words.ids, self._words.counts), read.input
        assert d_x is not None
        found, rows = loader.kernels.embedding_backward(*words, d_x, count)
        d_weight[found] = rows
        return Gradients(self._layout, np.concatenate([d_weight.reshape(-1), read._flat]), None)
