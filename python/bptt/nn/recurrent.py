"""The recurrent layers: RNN, LSTM and GRU, over whole sequences, backward, and step by step.

Shapes: B batch, T steps, I input_size, H hidden_size, D output_size: 2H for a bidirectional layer
with merge="concat", else H. With ``time_major=True`` every (B, T, ..) below is (T, B, ..).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any, Generic

import numpy as np
from numpy.typing import DTypeLike, NDArray

from bptt._core import checks, loader
from bptt._core.checks import Dimension, FloatArray
from bptt._core.lengths import Lengths
from bptt.nn import initializers as initializers
from bptt.nn.module import Module, Shapes
from bptt.nn.run import Run
from bptt.nn.state import LSTMState, StateT, as_state

_CHECKS: dict[str, Callable[[str, Any], Any]] = {
    "input_size": checks.integer,
    "hidden_size": checks.integer,
    "num_layers": checks.integer,
    "bidirectional": checks.flag,
    "merge": checks.one_of("concat", "sum", "mean", "mul"),
    "dropout": checks.fraction,
    "reset_after": checks.flag,
    "activation": checks.one_of("tanh", "sigmoid", "relu", "identity"),
    "gate_activation": checks.one_of("sigmoid", "hard_sigmoid_fifth", "hard_sigmoid_sixth"),
    "time_major": checks.flag,
    "dtype": checks.dtype,
    "seed": checks.seed,
}


class Recurrent(Module, Generic[StateT]):
    """Base class of the recurrent layers: stacked cells in one or two directions."""

    _cell: str  # the kernels' name of the equations
    _gates: tuple[str, ...]  # the blocks of rows of weight_ih, weight_hh and bias, in order

    input_size: int
    hidden_size: int
    num_layers: int
    bidirectional: bool
    merge: str
    dropout: float
    activation: str
    time_major: bool

    def __init__(self, **arguments: Any) -> None:
        super().__init__({name: _CHECKS[name](name, value) for name, value in arguments.items()})
        self._packed: tuple[int, bool, Any] = (0, False, None)  # version, for training, network

    @property
    def output_size(self) -> int:
        """D, the size of the last axis of the output."""
        both = self.bidirectional and self.merge == "concat"
        return 2 * self.hidden_size if both else self.hidden_size

    def __call__(
        self,
        x: NDArray[Any],
        *,
        lengths: Lengths | None = None,
        state: StateT | None = None,
    ) -> tuple[FloatArray, StateT]:
        """Run over whole sequences and keep nothing: inference, without dropout, thread-safe.

        Parameters
        ----------
        x : array (B, T, input_size), or integer array (B, T), or (T,) for B = 1
            Input of the layer's dtype, read in place whatever its strides; or token ids in
            [0, input_size), which stand for one-hot vectors. Padding is not read.
        lengths : integer array (B,), optional
            Number of steps of each sequence, in any order, in [0, T]. All T by default.
        state : array, or LSTMState, (num_layers*directions, B, hidden_size), optional
            Initial state, at index layer*directions + direction. Zero by default.

        Returns
        -------
        y : array (B, T, output_size)
            Output of the last layer; 0 beyond a sequence's length.
        state : array, or LSTMState, (num_layers*directions, B, hidden_size)
            State after each sequence's own last step, in both directions.

        Raises
        ------
        TypeError
            If an argument is not an array, or not of a right dtype.
        ValueError
            If a shape does not fit, or a length or an id is out of its range.
        """
        y, h, c, _ = loader.kernels.forward(self._network(False), x, lengths, state, False, 0, 0)
        return y, as_state(h, c)

    def forward(
        self,
        x: NDArray[Any],
        *,
        lengths: Lengths | None = None,
        state: StateT | None = None,
        recompute_every: int | None = None,
    ) -> Run[StateT]:
        """Run over whole sequences and keep what `Run.backward` needs: training, with dropout.

        The other arguments and errors are those of calling the layer. `x` is kept, not copied: its
        values must not change before `Run.backward`.

        Parameters
        ----------
        recompute_every : int, optional
            k: keep the states of every k-th step only; `Run.backward` computes again what lies
            between. Beside input and output, memory is then that of T/k + k steps instead of T,
            least with k near √T, for the time of one more inference. All results are the same, bit
            by bit. k is rounded up to whole chunks of backward, of some hundred rows of the batch.

        Raises
        ------
        ValueError
            If a bidirectional layer is to have checkpoints: its second direction begins at the end.
        """
        every = 0
        if recompute_every is not None:
            every = min(checks.integer("recompute_every", recompute_every), sys.maxsize)
            if self.bidirectional:
                rule = "recompute_every needs a layer with bidirectional=False"
                raise ValueError(f"{rule}, got bidirectional=True")
        network = self._network(True)
        drops = self.dropout and self.num_layers > 1
        key = int(self._random.integers(1 << 63)) if drops else 0
        y, h, c, saved = loader.kernels.forward(network, x, lengths, state, True, key, every)
        return Run(self, (network, saved, x.view()), y, as_state(h, c))

    def step(
        self,
        x_t: NDArray[Any],
        state: StateT | None = None,
        *,
        out: tuple[FloatArray, StateT] | None = None,
    ) -> tuple[FloatArray, StateT]:
        """Run one time step, without dropout: for streams, in microseconds.

        Parameters
        ----------
        x_t : array (B, input_size), or integer array (B,)
            Input of the step, or token ids.
        state : array, or LSTMState, (num_layers, B, hidden_size), optional
            What the step before returned. Zero by default.
        out : tuple (y_t, state), optional
            What an earlier step returned, to write the results into and return: nothing is
            allocated then. It may be the very `state` that is given. C-contiguous arrays that
            share no memory with each other.

        Returns
        -------
        y_t : array (B, output_size)
        state : array, or LSTMState, (num_layers, B, hidden_size)

        Raises
        ------
        TypeError
            If an argument is not an array, or not of a right dtype.
        ValueError
            If a shape does not fit, an id is out of range, `out` cannot be written to, or the
            layer is bidirectional: its second direction starts at the end, which has not come yet.
        """
        if self.bidirectional:
            raise ValueError("step needs a layer with bidirectional=False, got bidirectional=True")
        version, _, network = self._packed
        if version != self._version:
            network = self._network(False)
        result: tuple[FloatArray, StateT] = loader.kernels.step(network, x_t, state, out, LSTMState)
        return result

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_packed": (0, False, None)}

    def _network(self, training: bool) -> Any:
        """Return the packed weights; pack them if they changed, or never were packed for training.

        No lock: packs are immutable and come and go with their version in one assignment.
        """
        version, for_training, network = self._packed
        if version == self._version and for_training >= training:
            return network
        version = self._version  # read before the parameters: see Module._changing
        network = loader.kernels.pack(
            self._cell,
            self.activation,
            self._config.get("gate_activation", "sigmoid"),
            self.input_size,
            self.hidden_size,
            self.num_layers,
            self.bidirectional,
            self.merge,
            self.dropout,
            self.time_major,
            self._flat,
            training,
        )
        self._packed = (version, training, network)
        return network

    def _shapes(self) -> Shapes:
        gates, size = len(self._gates), self.hidden_size
        rows = (f"{gates}*hidden_size" if gates > 1 else "hidden_size", gates * size)
        hidden = ("hidden_size", size)
        columns = ("input_size", self.input_size)
        shapes: dict[str, tuple[Dimension, ...]] = {}
        for layer in range(self.num_layers):
            for suffix in ("", "_reverse")[: 1 + self.bidirectional]:
                shapes[f"weight_ih_l{layer}{suffix}"] = (rows, columns)
                shapes[f"weight_hh_l{layer}{suffix}"] = (rows, hidden)
                shapes[f"bias_l{layer}{suffix}"] = (rows,)
                if self._cell == "gru_reset_after":
                    shapes[f"bias_hn_l{layer}{suffix}"] = (hidden,)
            columns = ("output_size", self.output_size)
        return shapes

    def _initialize(self, parameters: Mapping[str, FloatArray]) -> None:
        initializers.recurrent(parameters, self._gates, self.hidden_size, self._random)


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

    _cell = "rnn"
    _gates = ("hidden",)

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
    gate_activation : "sigmoid", "hard_sigmoid_fifth" or "hard_sigmoid_sixth"
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

    _cell = "lstm"
    _gates = ("input", "forget", "cell", "output")

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
    gate_activation : "sigmoid", "hard_sigmoid_fifth" or "hard_sigmoid_sixth"
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

    _gates = ("reset", "update", "candidate")

    reset_after: bool
    gate_activation: str

    @property
    def _cell(self) -> str:  # type: ignore[override]
        return "gru_reset_after" if self.reset_after else "gru"

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
