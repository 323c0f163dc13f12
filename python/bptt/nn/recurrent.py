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
    reverse : bool, default False
        Whether sequences are read from their last step to their first, each by its own length. The
        output of a step stays at its place, the final state is that after step 0. Not with
        `bidirectional`.
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
    learn_initial_state : bool, default False
        Whether the initial state is a parameter, the same for all sequences, where none is given.
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
    (H, H); ``bias_l{l}`` (H,). With `learn_initial_state` also ``h0_l{l}`` (H,), after those of all
    layers. Initially weight_ih is Glorot uniform, weight_hh orthogonal and the
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
        reverse: bool = False,
        merge: str = "concat",
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        zoneout: float = 0.0,
        learn_initial_state: bool = False,
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
            reverse=reverse,
            merge=merge,
            dropout=dropout,
            recurrent_dropout=recurrent_dropout,
            zoneout=zoneout,
            learn_initial_state=learn_initial_state,
            activation=activation,
            time_major=time_major,
            dtype=dtype,
            seed=seed,
        )


class LSTM(Recurrent[LSTMState]):
    """Long short-term memory (LSTM), with forget gate, and its variants.

    With U = ``weight_ih``, W = ``weight_hh``, b = ``bias`` and one block of rows for each gate:

    - i, f, o = σ(U x_t + W h_{t-1} + b) and g = φ(U x_t + W h_{t-1} + b);
    - c_t = f⊙c_{t-1} + i⊙g;
    - h_t = o⊙φ(c_t);
    - with `peephole`, i and f see p⊙c_{t-1} beside x_t and h_{t-1}, and o sees p⊙c_t, each with its
      own p;
    - with `coupled`, i = 1−f;
    - with `proj_size`, h_t = W_hr (o⊙φ(c_t)), with W_hr = ``weight_hr``;
    - with `layer_norm`, i, f, o and g are of γ_ih⊙N(U x_t) + γ_hh⊙N(W h_{t-1}) + b, and
      h_t = o⊙φ(γ_c⊙N(c_t) + β_c), with gains γ = ``gain_ih``, ``gain_hh``, ``gain_cell``,
      β_c = ``bias_cell``, and N(a) = (a − mean)/√(variance + 10⁻⁵) over the 4H or H elements of a.

    S. Hochreiter and J. Schmidhuber (1997), Long short-term memory; forget gate: F. Gers,
    J. Schmidhuber and F. Cummins (2000), Learning to forget; peepholes: F. Gers and J. Schmidhuber
    (2000), Recurrent nets that time and count, in the form of A. Graves (2013), Generating
    sequences with recurrent neural networks; coupled gates: K. Greff et al. (2017), LSTM: a search
    space odyssey; projection: H. Sak, A. Senior and F. Beaufays (2014), Long short-term memory
    based recurrent neural network architectures for large vocabulary speech recognition; layer
    normalization: J. L. Ba, J. R. Kiros and G. E. Hinton (2016), Layer normalization, with one bias
    for both products, as in haste.

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
    reverse : bool, default False
        Whether sequences are read from their last step to their first, each by its own length. The
        output of a step stays at its place, the final state is that after step 0. Not with
        `bidirectional`.
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
    learn_initial_state : bool, default False
        Whether the initial state is a parameter, the same for all sequences, where none is given.
    peephole : bool, default False
        Whether the gates see the cell state, each unit its own. A gate can then count steps.
    coupled : bool, default False
        Whether the input gate is 1 − f instead of having its own weights: a quarter fewer.
    proj_size : int, default 0
        P, the number of units, fewer than H, to which h is projected: output, h and the next layer
        have P in place of H, c has H. The recurrent weights are fewer by P/H. 0 for none. Zoneout
        and recurrent dropout of h act on the P units.
    layer_norm : bool, default False
        Whether both products and the cell state are normalized. Without `peephole`, `coupled` and
        `proj_size`, for which it is not defined.
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
        If an argument is out of its range, or `layer_norm` is given with `peephole` or `coupled`.

    Notes
    -----
    Parameters of layer l, and again with the suffix ``_reverse`` if bidirectional:
    ``weight_ih_l{l}`` (4H, I), or (4H, D) above layer 0, with D = `output_size`;
    ``weight_hh_l{l}`` (4H, H); ``bias_l{l}`` (4H,). The blocks of rows are i, f, g, o. With
    `peephole` also ``peephole_input_l{l}``, ``peephole_forget_l{l}`` and ``peephole_output_l{l}``
    (H,). With `coupled` the three blocks are f, g, o, and there is no ``peephole_input_l{l}``. With
    `proj_size` weight_hh is (4H, P), and there is ``weight_hr_l{l}`` (P, H), as in PyTorch. With
    `layer_norm` also ``gain_ih_l{l}`` and ``gain_hh_l{l}`` (4H,), ``gain_cell_l{l}`` and
    ``bias_cell_l{l}`` (H,). With `learn_initial_state` also ``h0_l{l}`` (H,), or (P,), of all
    layers, then ``c0_l{l}`` (H,), after all others. Initially weight_ih and weight_hr are Glorot
    uniform, the columns of each gate's block of weight_hh orthonormal, the bias 1 for f and 0
    elsewhere, the peepholes and initial states are 0 and the gains 1.

    The state is an `LSTMState`; a plain tuple (h, c) is accepted as well.
    """

    variants = (
        cells.LSTM,
        cells.LSTM_PEEPHOLE,
        cells.LSTM_COUPLED,
        cells.LSTM_PEEPHOLE_COUPLED,
        cells.LSTM_LAYER_NORM,
    )

    peephole: bool
    coupled: bool
    proj_size: int
    layer_norm: bool
    gate_activation: str

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        num_layers: int = 1,
        bidirectional: bool = False,
        reverse: bool = False,
        merge: str = "concat",
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        zoneout: float = 0.0,
        learn_initial_state: bool = False,
        peephole: bool = False,
        coupled: bool = False,
        proj_size: int = 0,
        layer_norm: bool = False,
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
            reverse=reverse,
            merge=merge,
            dropout=dropout,
            recurrent_dropout=recurrent_dropout,
            zoneout=zoneout,
            learn_initial_state=learn_initial_state,
            peephole=peephole,
            coupled=coupled,
            proj_size=proj_size,
            layer_norm=layer_norm,
            activation=activation,
            gate_activation=gate_activation,
            time_major=time_major,
            dtype=dtype,
            seed=seed,
        )


class GRU(Recurrent[FloatArray]):
    """Gated recurrent unit (GRU) in both of its forms, with layer normalization, and with decay.

    With U = ``weight_ih``, W = ``weight_hh``, b = ``bias`` and one block of rows for each gate:

    - r, z = σ(U x_t + W h_{t-1} + b);
    - n = φ(U_n x_t + W_n (r⊙h_{t-1}) + b_n), or with `reset_after`
      n = φ(U_n x_t + b_n + r⊙(W_n h_{t-1} + b_hn)), with b_hn = ``bias_hn``;
    - h_t = (1−z)⊙n + z⊙h_{t-1};
    - with `layer_norm`, γ_ih⊙N(U x_t) takes the place of U x_t and γ_hh⊙N(W h_{t-1}) that of
      W h_{t-1}, with gains γ = ``gain_ih``, ``gain_hh`` and N(a) = (a − mean)/√(variance + 10⁻⁵)
      over all 3H elements of a;
    - with `decay_size`, in layer 0, γ_t⊙h_{t-1} takes the place of h_{t-1}, with
      γ_t = exp(−max(0, V δ_t + b_γ)), where δ_t are the last features of x_t, which U does not see,
      V = ``weight_decay`` and b_γ = ``bias_decay``.

    K. Cho et al. (2014), Learning phrase representations using RNN encoder-decoder for statistical
    machine translation; layer normalization: J. L. Ba, J. R. Kiros and G. E. Hinton (2016), Layer
    normalization, in the form of haste; decay: Z. Che, S. Purushotham, K. Cho, D. Sontag and Y. Liu
    (2018), Recurrent neural networks for multivariate time series with missing values (GRU-D,
    together with `InputDecay`).

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
    reverse : bool, default False
        Whether sequences are read from their last step to their first, each by its own length. The
        output of a step stays at its place, the final state is that after step 0. Not with
        `bidirectional`.
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
    learn_initial_state : bool, default False
        Whether the initial state is a parameter, the same for all sequences, where none is given.
    reset_after : bool, default False
        Where the reset gate acts. False: on h_{t-1}, before the product with W_n, as in the
        paper. True: on W_n h_{t-1} + b_hn, after the product, as in PyTorch and cuDNN, whose
        weights need this form.
    layer_norm : bool, default False
        Whether both products are normalized, each over its three blocks of rows. With
        `reset_after` alone, since r would stand inside one of them.
    decay_size : int, default 0
        D, the number of the last input features, fewer than I, that are times: the longer they are,
        the more of h decays before the step. A second direction has its own V and b_γ and decays by
        the same δ_t at step t. Zoneout keeps γ_t⊙h_{t-1}. 0 for none.
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
        If an argument is out of its range, or `layer_norm` is given without `reset_after`.

    Notes
    -----
    Parameters of layer l, and again with the suffix ``_reverse`` if bidirectional:
    ``weight_ih_l{l}`` (3H, I), or (3H, D) above layer 0, with D = `output_size`;
    ``weight_hh_l{l}`` (3H, H); ``bias_l{l}`` (3H,); with `reset_after` also ``bias_hn_l{l}`` (H,);
    with `layer_norm` also ``gain_ih_l{l}`` and ``gain_hh_l{l}`` (3H,). The blocks of rows are
    r, z, n. With `learn_initial_state` also ``h0_l{l}`` (H,), after those of all layers. With
    `decay_size` ``weight_ih_l0`` is (3H, I−D), and the last parameters are ``weight_decay_l0``
    (H, D) and ``bias_decay_l0`` (H,). Initially weight_ih is Glorot uniform, weight_hh orthogonal,
    every bias and initial state 0, every gain 1 and weight_decay 0.1/D.
    """

    variants = (cells.GRU, cells.GRU_RESET_AFTER, cells.GRU_LAYER_NORM)

    reset_after: bool
    layer_norm: bool
    decay_size: int
    gate_activation: str

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        num_layers: int = 1,
        bidirectional: bool = False,
        reverse: bool = False,
        merge: str = "concat",
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        zoneout: float = 0.0,
        learn_initial_state: bool = False,
        reset_after: bool = False,
        layer_norm: bool = False,
        decay_size: int = 0,
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
            reverse=reverse,
            merge=merge,
            dropout=dropout,
            recurrent_dropout=recurrent_dropout,
            zoneout=zoneout,
            learn_initial_state=learn_initial_state,
            reset_after=reset_after,
            layer_norm=layer_norm,
            decay_size=decay_size,
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
    reverse : bool, default False
        Whether sequences are read from their last step to their first, each by its own length. The
        output of a step stays at its place, the final state is that after step 0. Not with
        `bidirectional`.
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
    learn_initial_state : bool, default False
        Whether the initial state is a parameter, the same for all sequences, where none is given.
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
    ``weight_hh_l{l}`` (2H, H); ``bias_l{l}`` (2H,). The blocks of rows are f, n. With
    `learn_initial_state` also ``h0_l{l}`` (H,), after those of all layers. Initially weight_ih is
    Glorot uniform, weight_hh orthogonal, and the bias and the initial state 0.
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
        reverse: bool = False,
        merge: str = "concat",
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        zoneout: float = 0.0,
        learn_initial_state: bool = False,
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
            reverse=reverse,
            merge=merge,
            dropout=dropout,
            recurrent_dropout=recurrent_dropout,
            zoneout=zoneout,
            learn_initial_state=learn_initial_state,
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
    reverse : bool, default False
        Whether sequences are read from their last step to their first, each by its own length. The
        output of a step stays at its place, the final state is that after step 0. Not with
        `bidirectional`.
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
    learn_initial_state : bool, default False
        Whether h and c of the initial state are parameters, the same for all sequences, where none
        is given. n is then 1 and m is 0: it begins as if c were one input.
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
    belongs to. With `learn_initial_state` also ``h0_l{l}`` (H,) of all layers, then ``c0_l{l}``
    (H,), after all others. Initially weight_ih is Glorot uniform, the blocks of weight_hh are
    orthogonal, the bias is 1 for f and 0 elsewhere, and h0 and c0 are 0. NX-AI's implementation
    begins with weight_hh = 0, and with a different bias of f for every unit of a head.

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
        reverse: bool = False,
        merge: str = "concat",
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        zoneout: float = 0.0,
        learn_initial_state: bool = False,
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
            reverse=reverse,
            merge=merge,
            dropout=dropout,
            recurrent_dropout=recurrent_dropout,
            zoneout=zoneout,
            learn_initial_state=learn_initial_state,
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
