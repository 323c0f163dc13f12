"""Attention: weighted means of a memory, by the similarity of queries and keys.

Shapes: B batch, S queries, T keys of each sequence; Q query_size, K key_size, A attention_size.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import DTypeLike

from bptt._core import checks, loader
from bptt._core.checks import FloatArray
from bptt._core.lengths import Lengths, padding_of, without_padding
from bptt.losses import Loss
from bptt.nn import initializers
from bptt.nn.module import Gradients, Layout, Module, Shapes, output_gradient

_Scored: TypeAlias = tuple[FloatArray, FloatArray, FloatArray, FloatArray | None, Lengths | None]


class Attention(Module):
    """Softmax attention over the outputs of an encoder, which are keys and values.

    context_s = Σ_t a_st k_t, where a_s is the softmax over t of score(q_s, k_t):

    - "dot": q·k, without parameters: M. Luong, H. Pham and C. Manning (2015), Effective approaches
      to attention-based neural machine translation;
    - "additive": v·tanh(W q + U k): D. Bahdanau, K. Cho and Y. Bengio (2015), Neural machine
      translation by jointly learning to align and translate.

    Parameters
    ----------
    query_size : int
        Q, the number of features of a query.
    key_size : int
        K, the number of features of a key; Q for "dot".
    kind : {"dot", "additive"}, default "dot"
        Score function.
    attention_size : int, optional
        A, the hidden size of "additive". `key_size` by default.
    dtype : float32 or float64, default float32
        Type of parameters, input and output.
    seed : int, optional
        Seed of the initial weights, which are Glorot uniform. Unpredictable by default.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or an invalid value.

    Notes
    -----
    Parameters of "additive": W = ``weight_query`` (A, Q), U = ``weight_key`` (A, K) and
    v = ``weight_score`` (A,). "dot" has none.
    """

    query_size: int
    key_size: int
    kind: str
    attention_size: int | None

    def __init__(
        self,
        query_size: int,
        key_size: int,
        *,
        kind: str = "dot",
        attention_size: int | None = None,
        dtype: DTypeLike = np.float32,
        seed: int | None = None,
    ) -> None:
        query_size = checks.integer("query_size", query_size)
        key_size = checks.integer("key_size", key_size)
        kind = checks.one_of("dot", "additive")("kind", kind)
        if kind == "additive":
            size = key_size if attention_size is None else attention_size
            attention_size = checks.integer("attention_size", size)
        elif attention_size is not None:
            raise ValueError(f"attention_size needs kind='additive', got kind={kind!r}")
        elif query_size != key_size:
            rule = f"kind='dot' needs key_size = query_size = {query_size}"
            raise ValueError(f"{rule}, got {key_size}")
        super().__init__(
            {
                "query_size": query_size,
                "key_size": key_size,
                "kind": kind,
                "attention_size": attention_size,
                "dtype": checks.dtype("dtype", dtype),
                "seed": checks.seed("seed", seed),
            }
        )

    def _shapes(self) -> Shapes:
        if self.attention_size is None:
            return {}
        rows = ("attention_size", self.attention_size)
        return {
            "weight_query": (rows, ("query_size", self.query_size)),
            "weight_key": (rows, ("key_size", self.key_size)),
            "weight_score": (rows,),
        }

    def _initialize(self, parameters: Mapping[str, FloatArray]) -> None:
        for parameter in parameters.values():
            rows, columns = np.atleast_2d(parameter).shape
            values = initializers.glorot_uniform(self._random, 1, rows, columns)
            parameter[...] = values.reshape(parameter.shape)

    def __call__(
        self,
        queries: FloatArray,
        keys: FloatArray,
        *,
        lengths: Lengths | None = None,
    ) -> tuple[FloatArray, FloatArray]:
        """Return the context of each query and its attention weights.

        Parameters
        ----------
        queries : array (B, S, query_size)
            Outputs of a decoder; S = 1 step by step.
        keys : array (B, T, key_size)
            Outputs of an encoder. Padding is not read.
        lengths : integer array (B,), optional
            Number of keys of each sequence, in [0, T]. T by default.

        Returns
        -------
        context : array (B, S, key_size)
            0 for a sequence without keys.
        weights : array (B, S, T)
            Attention weights: 0 in the padding, with a sum of 1 over the keys.

        Raises
        ------
        TypeError
            If an argument is not an array or has the wrong dtype.
        ValueError
            If a shape does not fit, or a length is out of its range.
        """
        run = self.forward(queries, keys, lengths=lengths)
        return run.output, run.weights

    def forward(
        self,
        queries: FloatArray,
        keys: FloatArray,
        *,
        lengths: Lengths | None = None,
    ) -> AttentionRun:
        """Return contexts and attention weights, ready for `AttentionRun.backward`.

        Parameters
        ----------
        queries : array (B, S, query_size)
            Outputs of a decoder.
        keys : array (B, T, key_size)
            Outputs of an encoder. Padding is not read.
        lengths : integer array (B,), optional
            Number of keys of each sequence, in [0, T]. T by default.

        Returns
        -------
        AttentionRun

        Raises
        ------
        TypeError
            If an argument is not an array or has the wrong dtype.
        ValueError
            If a shape does not fit, or a length is out of its range.
        """
        for name, array, size in (
            ("queries", queries, self.query_size),
            ("keys", keys, self.key_size),
        ):
            checks.array(name, array, self.dtype, layer=True)
            if array.ndim != 3 or array.shape[-1] != size:
                axis = "query_size" if name == "queries" else "key_size"
                rule = f"(batch, steps, {axis}) with {axis} = {size}"
                raise ValueError(f"{name} must have shape {rule}, got {array.shape}")
        if len(keys) != len(queries):
            rule = f"keys must have the batch of queries, {len(queries)}"
            raise ValueError(f"{rule}, got {len(keys)}")
        padding = padding_of(lengths, *keys.shape[:2])
        if padding is None:
            lengths = None
        return AttentionRun(self, queries, without_padding(keys, padding), lengths)


class AttentionRun:
    """Forward pass of an `Attention`, as `Attention.forward` returns it.

    It holds the queries and keys themselves, which must not change before `backward`, and the
    parameters, which are copied when they change.

    Attributes
    ----------
    output : array (B, S, key_size)
        Contexts.
    weights : array (B, S, T), read-only
        Attention weights.
    """

    output: FloatArray
    weights: FloatArray

    def __init__(
        self, module: Attention, queries: FloatArray, keys: FloatArray, lengths: Lengths | None
    ) -> None:
        self._layout = module._layout
        self._parameters = module._snapshot()
        self._queries, self._keys, self._lengths = queries, keys, lengths
        self._arguments = self._parameters.compute(self._scored)
        self.output, self.weights = loader.kernels.attention_forward(*self._arguments)
        self.weights.flags.writeable = False  # backward reads it again

    def _scored(self, parameters: Mapping[str, FloatArray]) -> _Scored:
        """Return queries and keys as they are compared, values, score vector and lengths."""
        queries, keys = self._queries, self._keys
        if not parameters:
            return queries, keys, keys, None, self._lengths
        return (
            _project(queries, parameters["weight_query"]),
            _project(keys, parameters["weight_key"]),
            keys,
            parameters["weight_score"].copy(),
            self._lengths,
        )

    def backward(self, d_output: FloatArray | Loss) -> AttentionGradients:
        """Return the gradients of parameters, queries and keys.

        Parameters
        ----------
        d_output : array (B, S, key_size), or Loss
            Gradient of the loss with respect to `output`.

        Returns
        -------
        AttentionGradients
            Gradients of the parameters by name; ``.input`` is the pair (queries, keys).

        Raises
        ------
        TypeError
            If `d_output` is not an array of the module's dtype.
        ValueError
            If its shape is not that of `output`.
        """
        d_output = checks.array("d_output", output_gradient(d_output), self._layout.dtype)
        checks.same_shape("d_output", d_output, "the output", self.output.shape)
        flat = np.empty(self._layout.size, self._layout.dtype)
        d = self._layout.views(flat)
        d_query, d_key, d_keys, d_score = loader.kernels.attention_backward(
            *self._arguments, self.weights, d_output
        )
        if d_key is None or d_score is None:
            return AttentionGradients(self._layout, flat, d_query, d_keys)
        d["weight_score"][...] = d_score

        def project_back(named: Mapping[str, FloatArray]) -> tuple[FloatArray, FloatArray]:
            return (
                _project_back(self._queries, d_query, named, d, "weight_query"),
                _project_back(self._keys, d_key, named, d, "weight_key"),
            )

        d_queries, by_score = self._parameters.compute(project_back)
        d_keys += by_score
        return AttentionGradients(self._layout, flat, d_queries, d_keys)


class AttentionGradients(Gradients):
    """Gradients of an `Attention`: those of the parameters by name.

    Attributes
    ----------
    input : tuple of two arrays
        Gradients of queries (B, S, query_size) and keys (B, T, key_size).
    """

    input: Any  # a pair of arrays

    def __init__(
        self, layout: Layout, flat: FloatArray, queries: FloatArray, keys: FloatArray
    ) -> None:
        super().__init__(layout, flat, None)
        self.input = queries, keys


def _project(x: FloatArray, weight: FloatArray) -> FloatArray:
    y: FloatArray = loader.kernels.linear_forward(x.reshape(-1, x.shape[-1]), weight, None)
    return y.reshape(*x.shape[:-1], len(weight))


def _project_back(
    x: FloatArray,
    d_projected: FloatArray,
    parameters: Mapping[str, FloatArray],
    d_parameters: Mapping[str, FloatArray],
    name: str,
) -> FloatArray:
    """Write the gradient of the weight `name`; return that of x."""
    rows, d_rows = (a.reshape(-1, a.shape[-1]) for a in (x, d_projected))
    weight, d_weight = parameters[name], d_parameters[name]
    d_x: Any = loader.kernels.linear_backward(rows, weight, d_rows, d_weight, None, True)
    return d_x.reshape(x.shape)  # type: ignore[no-any-return]
