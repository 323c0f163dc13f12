"""Recurrent layers: RNN, LSTM and GRU."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from bptt._core.checks import FloatArray
from bptt.nn import cells
from bptt.nn.recurrent_base import Recurrent
from bptt.nn.state import LSTMState

__all__ = ["GRU", "LSTM", "RNN"]


class RNN(Recurrent[FloatArray]):
    """Plain recurrent layer, after J. Elman (1990), Finding structure in time.

    h_t = φ(U x_t + W h_{t-1} + b), with U = ``weight_ih``, W = ``weight_hh``, b = ``bias``.

    Parameters
    ----------
    input_size, hidden_size : int
        I and H.
    num_layers : int
        Layers on top of each other, each with the output of the one below as its input.
    bidirectional : bool
        Whether each layer also runs from the end, with parameters of its own.
    merge : "concat", "sum", "mean" or "mul"
        How the two directions make one output, in every layer.
    dropout : float
        Probability, in [0, 1), that `forward` sets an element between two layers to 0; the others
        are scaled by 1/(1-dropout). With one layer there is no between, and no effect.
    activation : "tanh", "sigmoid", "relu" or "identity"
        φ.
    time_major : bool
        Whether sequences are (T, B, ..) instead of (B, T, ..).
    dtype : float32 or float64
        Of parameters, input and output; nothing is ever cast.
    seed : int, optional
        Seed of initial weights and dropout. Different ones every time by default.

    Notes
    -----
    Parameters, for every layer l, and again with the suffix ``_reverse`` if bidirectional:
    ``weight_ih_l{l}`` (H, I), or (H, D) above layer 0, ``weight_hh_l{l}`` (H, H) and
    ``bias_l{l}`` (H,). At first weight_ih is Glorot uniform, weight_hh orthogonal and the bias 0.

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong kind, or has a value out of its range.
    """

    variants = (cells.RNN,)

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        num_layers: int = 1,
        bidirectional: bool = False,
        merge: str = "concat",
        dropout: float = 0.0,
        activation: str = "tanh",
        time_major: bool = False,
        dtype: DTypeLike = np.float32,
        seed: int | None = None,
    ) -> None:
        super().__init__(
            input_size=input_size,
            hidden_size=hidden_size,
            num_layers=num_layers,
            bidirectional=bidirectional,
            merge=merge,
            dropout=dropout,
            activation=activation,
            time_major=time_major,
            dtype=dtype,
            seed=seed,
        )


class LSTM(Recurrent[LSTMState]):
    """Long short-term memory, with forget gate.

    i, f, o = σ(U x_t + W h_{t-1} + b) and g = φ(same), each with its block of rows;
    c_t = f⊙c_{t-1} + i⊙g; h_t = o⊙φ(c_t).

    S. Hochreiter and J. Schmidhuber (1997), Long short-term memory; forget gate of F. Gers,
    J. Schmidhuber and F. Cummins (2000), Learning to forget.

    Parameters
    ----------
    gate_activation : "sigmoid", "hard_sigmoid_keras2" or "hard_sigmoid"
        σ; the hard ones are x/5 + 1/2 (Keras before 3, ONNX) and x/6 + 1/2 (PyTorch, Keras 3),
        clipped to [0, 1].
    and the others
        As for `RNN`; φ is `activation`.

    Notes
    -----
    Parameters as for `RNN`, with 4H rows, in blocks i f g o. At first the bias of f is 1.
    The state is an `LSTMState`; a plain tuple (h, c) will do.

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong kind, or has a value out of its range.
    """

    variants = (cells.LSTM,)

    gate_activation: str

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        num_layers: int = 1,
        bidirectional: bool = False,
        merge: str = "concat",
        dropout: float = 0.0,
        activation: str = "tanh",
        gate_activation: str = "sigmoid",
        time_major: bool = False,
        dtype: DTypeLike = np.float32,
        seed: int | None = None,
    ) -> None:
        super().__init__(
            input_size=input_size,
            hidden_size=hidden_size,
            num_layers=num_layers,
            bidirectional=bidirectional,
            merge=merge,
            dropout=dropout,
            activation=activation,
            gate_activation=gate_activation,
            time_major=time_major,
            dtype=dtype,
            seed=seed,
        )


class GRU(Recurrent[FloatArray]):
    """Gated recurrent unit, in both forms of the reset.

    r, z = σ(U x_t + W h_{t-1} + b), each with its block of rows; h_t = (1−z)⊙n + z⊙h_{t-1}, where

    - reset before (default): n = φ(U_n x_t + W_n (r⊙h_{t-1}) + b_n);
    - reset after: n = φ(U_n x_t + b_n + r⊙(W_n h_{t-1} + b_hn)), the form of cuDNN and PyTorch.

    K. Cho et al. (2014), Learning phrase representations using RNN encoder-decoder for statistical
    machine translation.

    Parameters
    ----------
    reset_after : bool
        The form of the reset.
    gate_activation : "sigmoid", "hard_sigmoid_keras2" or "hard_sigmoid"
        σ, as for `LSTM`.
    and the others
        As for `RNN`; φ is `activation`.

    Notes
    -----
    Parameters as for `RNN`, with 3H rows, in blocks r z n. With `reset_after` there is
    ``bias_hn_l{l}`` (H,) besides, which starts at 0.

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong kind, or has a value out of its range.
    """

    variants = (cells.GRU, cells.GRU_RESET_AFTER)

    reset_after: bool
    gate_activation: str

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        num_layers: int = 1,
        bidirectional: bool = False,
        merge: str = "concat",
        dropout: float = 0.0,
        reset_after: bool = False,
        activation: str = "tanh",
        gate_activation: str = "sigmoid",
        time_major: bool = False,
        dtype: DTypeLike = np.float32,
        seed: int | None = None,
    ) -> None:
        super().__init__(
            input_size=input_size,
            hidden_size=hidden_size,
            num_layers=num_layers,
            bidirectional=bidirectional,
            merge=merge,
            dropout=dropout,
            reset_after=reset_after,
            activation=activation,
            gate_activation=gate_activation,
            time_major=time_major,
            dtype=dtype,
            seed=seed,
        )


LAYERS: tuple[type[Recurrent[Any]], ...] = tuple(Recurrent.__subclasses__())
"""Classes of the recurrent layers: all of the above."""

LAYER_OF_CELL: Mapping[str, type[Recurrent[Any]]] = {
    cell.name: layer for layer in LAYERS for cell in layer.variants
}
"""Name of a cell -> class of its layer, which takes the cell's `options`."""


def make_recurrent(cell: str, input_size: int, hidden_size: int, **options: Any) -> Recurrent[Any]:
    """Return a layer of the cell with this name.

    Parameters
    ----------
    cell : str
        One of `bptt.nn.cells.CELLS`.
    input_size, hidden_size : int
        Number of input features; number of hidden units.
    **options
        Further arguments of the layer's constructor.

    Returns
    -------
    Recurrent
    """
    chosen = cells.CELLS[cell].options
    return LAYER_OF_CELL[cell](input_size=input_size, hidden_size=hidden_size, **chosen, **options)
