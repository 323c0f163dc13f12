"""Recurrent layers: RNN, LSTM, GRU, MGU and sLSTM."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from bptt._core.checks import FloatArray
from bptt.nn import cells
from bptt.nn.recurrent_base import Recurrent
from bptt.nn.state import LSTMState, SLSTMState

__all__ = ["GRU", "LSTM", "MGU", "RNN", "SLSTM"]


class RNN(Recurrent[FloatArray]):
    """Simple recurrent layer.

    h_t = φ(U x_t + W h_{t-1} + b), with U = ``weight_ih``, W = ``weight_hh``, b = ``bias``:
    J. Elman (1990), Finding structure in time.

    Parameters
    ----------
    input_size : int
        I, the number of input features.
    hidden_size : int
        H, the number of hidden units.
    num_layers : int, default 1
        Number of stacked layers; each reads the output of the layer below.
    bidirectional : bool, default False
        Whether every layer has a second direction, from the last step to the first, with its own
        parameters.
    merge : {"concat", "sum", "mean", "mul"}, default "concat"
        How the outputs of the two directions are combined, in every layer.
    dropout : float, default 0
        Probability, in [0, 1), with which `forward` zeroes an element of the output of every layer
        but the last; the other elements are scaled by 1/(1 − dropout). No effect with one layer.
    recurrent_dropout : float, default 0
        Probability, in [0, 1), with which `forward` zeroes an element of h_{t-1} where it enters
        products with W, the same at every step of a sequence; the other elements are scaled by
        1/(1 − recurrent_dropout). Y. Gal and Z. Ghahramani (2016), A theoretically grounded
        application of dropout in recurrent neural networks.
    zoneout : float, default 0
        Probability, in [0, 1), with which an element of h keeps its previous value at a step
        of `forward`; inference takes the expected value. D. Krueger et al. (2017), Zoneout:
        regularizing RNNs by randomly preserving hidden activations.
    activation : {"tanh", "sigmoid", "relu", "identity"}, default "tanh"
        φ.
    time_major : bool, default False
        Whether sequences are (T, B, ..) instead of (B, T, ..).
    dtype : float32 or float64, default float32
        Type of parameters, input and output; nothing is ever cast.
    seed : int, optional
        Seed of the initial weights, of dropout and of zoneout. Unpredictable by default.

    Raises
    ------
    TypeError
        If an argument has the wrong type.
    ValueError
        If an argument is out of its range.

    Notes
    -----
    Parameters of layer l, and again with the suffix ``_reverse`` if bidirectional:
    ``weight_ih_l{l}`` (H, I), or (H, D) above layer 0, with D = `output_size`; ``weight_hh_l{l}``
    (H, H); ``bias_l{l}`` (H,). Initially weight_ih is Glorot uniform, weight_hh orthogonal and the
    bias 0.
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
        recurrent_dropout: float = 0.0,
        zoneout: float = 0.0,
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
            recurrent_dropout=recurrent_dropout,
            zoneout=zoneout,
            activation=activation,
            time_major=time_major,
            dtype=dtype,
            seed=seed,
        )


class LSTM(Recurrent[LSTMState]):
    """Long short-term memory (LSTM) with forget gate, peepholes and coupled gates.

    With U = ``weight_ih``, W = ``weight_hh``, b = ``bias`` and one block of rows for each gate:

    - i, f, o = σ(U x_t + W h_{t-1} + b) and g = φ(U x_t + W h_{t-1} + b);
    - c_t = f⊙c_{t-1} + i⊙g;
    - h_t = o⊙φ(c_t);
    - with `peephole`, i and f see p⊙c_{t-1} beside x_t and h_{t-1}, and o sees p⊙c_t, each with its
      own p;
    - with `coupled`, i = 1−f.

    S. Hochreiter and J. Schmidhuber (1997), Long short-term memory; forget gate: F. Gers,
    J. Schmidhuber and F. Cummins (2000), Learning to forget; peepholes: F. Gers and J. Schmidhuber
    (2000), Recurrent nets that time and count, in the form of A. Graves (2013), Generating
    sequences with recurrent neural networks; coupled gates: K. Greff et al. (2017), LSTM: a search
    space odyssey.

    Parameters
    ----------
    input_size : int
        I, the number of input features.
    hidden_size : int
        H, the number of hidden units.
    num_layers : int, default 1
        Number of stacked layers; each reads the output of the layer below.
    bidirectional : bool, default False
        Whether every layer has a second direction, from the last step to the first, with its own
        parameters.
    merge : {"concat", "sum", "mean", "mul"}, default "concat"
        How the outputs of the two directions are combined, in every layer.
    dropout : float, default 0
        Probability, in [0, 1), with which `forward` zeroes an element of the output of every layer
        but the last; the other elements are scaled by 1/(1 − dropout). No effect with one layer.
    recurrent_dropout : float, default 0
        Probability, in [0, 1), with which `forward` zeroes an element of h_{t-1} where it enters
        products with W, the same at every step of a sequence; the other elements are scaled by
        1/(1 − recurrent_dropout). Y. Gal and Z. Ghahramani (2016), A theoretically grounded
        application of dropout in recurrent neural networks.
    zoneout : float, default 0
        Probability, in [0, 1), with which an element of h, and of c, keeps its previous value at a
        step of `forward`; inference takes the expected value. D. Krueger et al. (2017), Zoneout:
        regularizing RNNs by randomly preserving hidden activations.
    peephole : bool, default False
        Whether the gates see the cell state, each unit its own. A gate can then count steps.
    coupled : bool, default False
        Whether the input gate is 1 − f instead of having its own weights: a quarter fewer.
    activation : {"tanh", "sigmoid", "relu", "identity"}, default "tanh"
        φ, of the cell input g and of the cell state.
    gate_activation : {"sigmoid", "hard_sigmoid", "hard_sigmoid_keras2"}, default "sigmoid"
        σ, of the gates: "hard_sigmoid" is x/6 + 1/2 clipped to [0, 1] (PyTorch, Keras 3),
        "hard_sigmoid_keras2" is x/5 + 1/2 clipped (Keras before 3, ONNX).
    time_major : bool, default False
        Whether sequences are (T, B, ..) instead of (B, T, ..).
    dtype : float32 or float64, default float32
        Type of parameters, input and output; nothing is ever cast.
    seed : int, optional
        Seed of the initial weights, of dropout and of zoneout. Unpredictable by default.

    Raises
    ------
    TypeError
        If an argument has the wrong type.
    ValueError
        If an argument is out of its range.

    Notes
    -----
    Parameters of layer l, and again with the suffix ``_reverse`` if bidirectional:
    ``weight_ih_l{l}`` (4H, I), or (4H, D) above layer 0, with D = `output_size`;
    ``weight_hh_l{l}`` (4H, H); ``bias_l{l}`` (4H,). The blocks of rows are i, f, g, o. With
    `peephole` also ``peephole_input_l{l}``, ``peephole_forget_l{l}`` and ``peephole_output_l{l}``
    (H,). With `coupled` the three blocks are f, g, o, and there is no ``peephole_input_l{l}``.
    Initially weight_ih is Glorot uniform, weight_hh orthogonal, the bias 1 for f and 0 elsewhere,
    and the peepholes are 0.

    The state is an `LSTMState`; a plain tuple (h, c) is accepted as well.
    """

    variants = (
        cells.LSTM,
        cells.LSTM_PEEPHOLE,
        cells.LSTM_COUPLED,
        cells.LSTM_PEEPHOLE_COUPLED,
    )

    peephole: bool
    coupled: bool
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
        recurrent_dropout: float = 0.0,
        zoneout: float = 0.0,
        peephole: bool = False,
        coupled: bool = False,
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
            recurrent_dropout=recurrent_dropout,
            zoneout=zoneout,
            peephole=peephole,
            coupled=coupled,
            activation=activation,
            gate_activation=gate_activation,
            time_major=time_major,
            dtype=dtype,
            seed=seed,
        )


class GRU(Recurrent[FloatArray]):
    """Gated recurrent unit (GRU) in both of its forms.

    With U = ``weight_ih``, W = ``weight_hh``, b = ``bias`` and one block of rows for each gate:

    - r, z = σ(U x_t + W h_{t-1} + b);
    - n = φ(U_n x_t + W_n (r⊙h_{t-1}) + b_n), or with `reset_after`
      n = φ(U_n x_t + b_n + r⊙(W_n h_{t-1} + b_hn)), with b_hn = ``bias_hn``;
    - h_t = (1−z)⊙n + z⊙h_{t-1}.

    K. Cho et al. (2014), Learning phrase representations using RNN encoder-decoder for statistical
    machine translation.

    Parameters
    ----------
    input_size : int
        I, the number of input features.
    hidden_size : int
        H, the number of hidden units.
    num_layers : int, default 1
        Number of stacked layers; each reads the output of the layer below.
    bidirectional : bool, default False
        Whether every layer has a second direction, from the last step to the first, with its own
        parameters.
    merge : {"concat", "sum", "mean", "mul"}, default "concat"
        How the outputs of the two directions are combined, in every layer.
    dropout : float, default 0
        Probability, in [0, 1), with which `forward` zeroes an element of the output of every layer
        but the last; the other elements are scaled by 1/(1 − dropout). No effect with one layer.
    recurrent_dropout : float, default 0
        Probability, in [0, 1), with which `forward` zeroes an element of h_{t-1} where it enters
        products with W, the same at every step of a sequence; the other elements are scaled by
        1/(1 − recurrent_dropout). Y. Gal and Z. Ghahramani (2016), A theoretically grounded
        application of dropout in recurrent neural networks.
    zoneout : float, default 0
        Probability, in [0, 1), with which an element of h keeps its previous value at a step
        of `forward`; inference takes the expected value. D. Krueger et al. (2017), Zoneout:
        regularizing RNNs by randomly preserving hidden activations.
    reset_after : bool, default False
        Where the reset gate acts. False: on h_{t-1}, before the product with W_n, as in the
        paper. True: on W_n h_{t-1} + b_hn, after the product, as in PyTorch and cuDNN, whose
        weights need this form.
    activation : {"tanh", "sigmoid", "relu", "identity"}, default "tanh"
        φ, of the candidate n.
    gate_activation : {"sigmoid", "hard_sigmoid", "hard_sigmoid_keras2"}, default "sigmoid"
        σ, of the gates: "hard_sigmoid" is x/6 + 1/2 clipped to [0, 1] (PyTorch, Keras 3),
        "hard_sigmoid_keras2" is x/5 + 1/2 clipped (Keras before 3, ONNX).
    time_major : bool, default False
        Whether sequences are (T, B, ..) instead of (B, T, ..).
    dtype : float32 or float64, default float32
        Type of parameters, input and output; nothing is ever cast.
    seed : int, optional
        Seed of the initial weights, of dropout and of zoneout. Unpredictable by default.

    Raises
    ------
    TypeError
        If an argument has the wrong type.
    ValueError
        If an argument is out of its range.

    Notes
    -----
    Parameters of layer l, and again with the suffix ``_reverse`` if bidirectional:
    ``weight_ih_l{l}`` (3H, I), or (3H, D) above layer 0, with D = `output_size`;
    ``weight_hh_l{l}`` (3H, H); ``bias_l{l}`` (3H,); with `reset_after` also ``bias_hn_l{l}`` (H,).
    The blocks of rows are r, z, n. Initially weight_ih is Glorot uniform, weight_hh orthogonal and
    every bias 0.
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
        recurrent_dropout: float = 0.0,
        zoneout: float = 0.0,
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
            recurrent_dropout=recurrent_dropout,
            zoneout=zoneout,
            reset_after=reset_after,
            activation=activation,
            gate_activation=gate_activation,
            time_major=time_major,
            dtype=dtype,
            seed=seed,
        )


class MGU(Recurrent[FloatArray]):
    """Minimal gated unit (MGU): a gated recurrent unit with one gate.

    With U = ``weight_ih``, W = ``weight_hh``, b = ``bias`` and one block of rows for each gate:

    - f = σ(U x_t + W h_{t-1} + b);
    - n = φ(U_n x_t + W_n (f⊙h_{t-1}) + b_n);
    - h_t = (1−f)⊙h_{t-1} + f⊙n.

    G.-B. Zhou, J. Wu, C.-L. Zhang and Z.-H. Zhou (2016), Minimal gated unit for recurrent neural
    networks. It has half of the weights of an LSTM, and two thirds of those of a GRU.

    Parameters
    ----------
    input_size : int
        I, the number of input features.
    hidden_size : int
        H, the number of hidden units.
    num_layers : int, default 1
        Number of stacked layers; each reads the output of the layer below.
    bidirectional : bool, default False
        Whether every layer has a second direction, from the last step to the first, with its own
        parameters.
    merge : {"concat", "sum", "mean", "mul"}, default "concat"
        How the outputs of the two directions are combined, in every layer.
    dropout : float, default 0
        Probability, in [0, 1), with which `forward` zeroes an element of the output of every layer
        but the last; the other elements are scaled by 1/(1 − dropout). No effect with one layer.
    recurrent_dropout : float, default 0
        Probability, in [0, 1), with which `forward` zeroes an element of h_{t-1} where it enters
        products with W, the same at every step of a sequence; the other elements are scaled by
        1/(1 − recurrent_dropout). Y. Gal and Z. Ghahramani (2016), A theoretically grounded
        application of dropout in recurrent neural networks.
    zoneout : float, default 0
        Probability, in [0, 1), with which an element of h keeps its previous value at a step
        of `forward`; inference takes the expected value. D. Krueger et al. (2017), Zoneout:
        regularizing RNNs by randomly preserving hidden activations.
    activation : {"tanh", "sigmoid", "relu", "identity"}, default "tanh"
        φ, of the candidate n.
    gate_activation : {"sigmoid", "hard_sigmoid", "hard_sigmoid_keras2"}, default "sigmoid"
        σ, of the gate: "hard_sigmoid" is x/6 + 1/2 clipped to [0, 1] (PyTorch, Keras 3),
        "hard_sigmoid_keras2" is x/5 + 1/2 clipped (Keras before 3, ONNX).
    time_major : bool, default False
        Whether sequences are (T, B, ..) instead of (B, T, ..).
    dtype : float32 or float64, default float32
        Type of parameters, input and output; nothing is ever cast.
    seed : int, optional
        Seed of the initial weights, of dropout and of zoneout. Unpredictable by default.

    Raises
    ------
    TypeError
        If an argument has the wrong type.
    ValueError
        If an argument is out of its range.

    Notes
    -----
    Parameters of layer l, and again with the suffix ``_reverse`` if bidirectional:
    ``weight_ih_l{l}`` (2H, I), or (2H, D) above layer 0, with D = `output_size`;
    ``weight_hh_l{l}`` (2H, H); ``bias_l{l}`` (2H,). The blocks of rows are f, n. Initially
    weight_ih is Glorot uniform, weight_hh orthogonal and the bias 0.
    """

    variants = (cells.MGU,)

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
        recurrent_dropout: float = 0.0,
        zoneout: float = 0.0,
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
            recurrent_dropout=recurrent_dropout,
            zoneout=zoneout,
            activation=activation,
            gate_activation=gate_activation,
            time_major=time_major,
            dtype=dtype,
            seed=seed,
        )


class SLSTM(Recurrent[SLSTMState]):
    """LSTM with exponential input gates (sLSTM), and recurrent weights in heads.

    With U = ``weight_ih``, W = ``weight_hh``, b = ``bias`` and one block of rows for each gate:

    - ĩ, f̃, z̃, õ = U x_t + W h_{t-1} + b;
    - i = exp(ĩ), f = σ(f̃), z = φ(z̃), o = σ(õ);
    - C_t = f⊙C_{t-1} + i⊙z and N_t = f⊙N_{t-1} + i;
    - h_t = o⊙C_t/N_t: a mean of z over all steps, each with the weight that its input gate gave it.

    σ is the logistic function. The state holds c = C·exp(−m) and n = N·exp(−m) with the stabilizer
    m_t = max(log f + m_{t-1}, ĩ), in which no exponential overflows. It has no influence on h.

    M. Beck et al. (2024), xLSTM: extended long short-term memory; gates, states and their order are
    those of NX-AI's implementation, which has f = σ(f̃), of the two that the paper names.

    Parameters
    ----------
    input_size : int
        I, the number of input features.
    hidden_size : int
        H, the number of hidden units.
    num_heads : int, default 1
        Number of heads, which must divide H: W consists of as many blocks on its diagonal, and a
        unit sees h_{t-1} of the units of its own head only.
    num_layers : int, default 1
        Number of stacked layers; each reads the output of the layer below.
    bidirectional : bool, default False
        Whether every layer has a second direction, from the last step to the first, with its own
        parameters.
    merge : {"concat", "sum", "mean", "mul"}, default "concat"
        How the outputs of the two directions are combined, in every layer.
    dropout : float, default 0
        Probability, in [0, 1), with which `forward` zeroes an element of the output of every layer
        but the last; the other elements are scaled by 1/(1 − dropout). No effect with one layer.
    recurrent_dropout : float, default 0
        Probability, in [0, 1), with which `forward` zeroes an element of h_{t-1} where it enters
        products with W, the same at every step of a sequence; the other elements are scaled by
        1/(1 − recurrent_dropout). Y. Gal and Z. Ghahramani (2016), A theoretically grounded
        application of dropout in recurrent neural networks.
    zoneout : float, default 0
        Probability, in [0, 1), with which an element of h, and of c, n and m together, keeps its
        previous value at a step of `forward`; inference takes the expected value of each.
        D. Krueger et al. (2017), Zoneout: regularizing RNNs by randomly preserving hidden
        activations.
    activation : {"tanh", "sigmoid", "relu", "identity"}, default "tanh"
        φ, of the cell input z.
    time_major : bool, default False
        Whether sequences are (T, B, ..) instead of (B, T, ..).
    dtype : float32 or float64, default float32
        Type of parameters, input and output; nothing is ever cast.
    seed : int, optional
        Seed of the initial weights, of dropout and of zoneout. Unpredictable by default.

    Raises
    ------
    TypeError
        If an argument has the wrong type.
    ValueError
        If an argument is out of its range.

    Notes
    -----
    Parameters of layer l, and again with the suffix ``_reverse`` if bidirectional:
    ``weight_ih_l{l}`` (4H, I), or (4H, D) above layer 0, with D = `output_size`;
    ``weight_hh_l{l}`` (4H, H/num_heads); ``bias_l{l}`` (4H,). The blocks of rows are i, f, z, o.
    Row k of a block of ``weight_hh`` multiplies h_{t-1} of the units of the head that unit k
    belongs to. Initially weight_ih is Glorot uniform, the blocks of weight_hh are orthogonal, and
    the bias is 1 for f and 0 elsewhere. NX-AI's implementation begins with weight_hh = 0, and with
    a different bias of f for every unit of a head.

    The state is an `SLSTMState`; a plain tuple (h, c, n, m) is accepted as well.
    """

    variants = (cells.SLSTM,)

    num_heads: int

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        num_heads: int = 1,
        num_layers: int = 1,
        bidirectional: bool = False,
        merge: str = "concat",
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        zoneout: float = 0.0,
        activation: str = "tanh",
        time_major: bool = False,
        dtype: DTypeLike = np.float32,
        seed: int | None = None,
    ) -> None:
        super().__init__(
            input_size=input_size,
            hidden_size=hidden_size,
            num_heads=num_heads,
            num_layers=num_layers,
            bidirectional=bidirectional,
            merge=merge,
            dropout=dropout,
            recurrent_dropout=recurrent_dropout,
            zoneout=zoneout,
            activation=activation,
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
    """Return a recurrent layer of the named cell.

    Parameters
    ----------
    cell : str
        A key of `bptt.nn.cells.CELLS`.
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
