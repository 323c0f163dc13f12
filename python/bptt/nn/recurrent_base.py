"""Base class of the recurrent layers: whole sequences, training, and streaming.

Shapes: B batch, T steps, I input_size, H hidden_size, P size of h: proj_size of an LSTM that has
one, else H; D output_size: 2P for a bidirectional layer with merge="concat", else P. With
``time_major=True`` every (B, T, ..) below is (T, B, ..).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from functools import cached_property, partial
from typing import Any, ClassVar, Generic, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bptt._core import checks, loader
from bptt._core.checks import Dimension, FloatArray
from bptt._core.kernel_types import LayerConfig
from bptt._core.lengths import Lengths
from bptt.nn import initializers
from bptt.nn.activations import ACTIVATIONS, GATE_ACTIVATIONS
from bptt.nn.cells import Cell
from bptt.nn.module import Module, Shapes
from bptt.nn.recurrent_decay import Decayed, HiddenDecay
from bptt.nn.recurrent_order import ReverseOrder
from bptt.nn.recurrent_run import Run
from bptt.nn.state import (
    STATE_TYPES,
    StateT,
    are_shared,
    arrays_of,
    as_state,
    broadcast_state,
    state_of_mapped,
)
from bptt.nn.stepper import Stepper, make_stepper

_MAX_LAYERS = 10_000  # names and shapes of all parameters are listed when a layer is made


def _num_layers(name: str, value: Any) -> int:
    layers = checks.integer(name, value)
    if layers > _MAX_LAYERS:
        raise ValueError(f"{name} must be an integer <= {_MAX_LAYERS}, got {layers}")
    return layers


def _needs_of_layer_norm(variants: tuple[Cell, ...], arguments: Mapping[str, Any]) -> str:
    """Return the error of arguments with which layer normalization is not defined."""
    needs = next(dict(cell.options) for cell in variants if cell.options["layer_norm"])
    del needs["layer_norm"]
    rule = " and ".join(f"{name}={value}" for name, value in needs.items())
    got = ", ".join(f"{name}={arguments[name]}" for name in needs)
    return f"layer_norm=True needs {rule}, got {got}"


_CHECKS: dict[str, Callable[[str, Any], Any]] = {
    "input_size": checks.integer,
    "hidden_size": checks.integer,
    "proj_size": partial(checks.integer, minimum=0),
    "decay_size": partial(checks.integer, minimum=0),
    "num_heads": checks.integer,
    "num_layers": _num_layers,
    "bidirectional": checks.flag,
    "reverse": checks.flag,
    "merge": checks.one_of("concat", "sum", "mean", "mul"),
    "dropout": checks.fraction,
    "zoneout": checks.fraction,
    "recurrent_dropout": checks.fraction,
    "learn_initial_state": checks.flag,
    "peephole": checks.flag,
    "coupled": checks.flag,
    "reset_after": checks.flag,
    "layer_norm": checks.flag,
    "activation": checks.one_of(*ACTIVATIONS),
    "gate_activation": checks.one_of(*GATE_ACTIVATIONS),
    "time_major": checks.flag,
    "dtype": checks.dtype,
    "seed": checks.seed,
}


class _Packed(NamedTuple):
    """Parameters of one version, as calls use them."""

    version: object
    for_training: bool
    network: Any
    """Packed weights."""
    initial: tuple[FloatArray, ...]
    """Learned initial state, each array (num_layers*directions, H); () if it is zero."""
    decay: HiddenDecay | None
    """Parameters of the decay of h, if it decays."""


_NOTHING_PACKED = _Packed(None, False, None, (), None)


class Recurrent(Module, Generic[StateT]):
    """Base class of the recurrent layers: stacked cells in one or two directions.

    Parameters
    ----------
    **arguments
        Arguments of the subclass's constructor, which become attributes.

    Attributes
    ----------
    variants : tuple of Cell
        Cells of the class, of which the constructor's arguments select one.
    """

    variants: ClassVar[tuple[Cell, ...]]
    _compressible = ("weight_ih", "weight_hh", "weight_hr")
    _random_masks = True  # False in copies for diagnostics: the expected values, as in inference

    input_size: int
    hidden_size: int
    num_layers: int
    bidirectional: bool
    reverse: bool
    merge: str
    dropout: float
    zoneout: float
    recurrent_dropout: float
    learn_initial_state: bool
    activation: str
    time_major: bool

    def __init__(self, **arguments: Any) -> None:
        config = {name: _CHECKS[name](name, value) for name, value in arguments.items()}
        if not any(cell.options.items() <= config.items() for cell in self.variants):
            raise ValueError(_needs_of_layer_norm(self.variants, config))
        if config["reverse"] and config["bidirectional"]:
            raise ValueError("reverse=True needs bidirectional=False, got bidirectional=True")
        projected, hidden = config.get("proj_size", 0), config["hidden_size"]
        if projected >= hidden:
            rule = f"proj_size must be < hidden_size = {checks.shown(hidden)}"
            raise ValueError(f"{rule}, got {checks.shown(projected)}")
        times, inputs = config.get("decay_size", 0), config["input_size"]
        if times >= inputs:
            rule = f"decay_size must be < input_size = {checks.shown(inputs)}"
            raise ValueError(f"{rule}, got {checks.shown(times)}")
        heads = config.get("num_heads", 1)
        if hidden % heads:
            rule = f"num_heads must divide hidden_size = {checks.shown(hidden)}"
            raise ValueError(f"{rule}, got {checks.shown(heads)}")
        super().__init__(config)
        self._packed = _NOTHING_PACKED

    @property
    def cell(self) -> Cell:
        """The cell: its gates, states and parameters."""
        chosen = self._config.items()
        return next(cell for cell in self.variants if cell.options.items() <= chosen)

    @property
    def state_sizes(self) -> tuple[int, ...]:
        """Sizes of the last axes of the state: P of h, H of the other arrays."""
        h_size = self._config.get("proj_size", 0) or self.hidden_size
        return (h_size, *[self.hidden_size] * (len(self.cell.states) - 1))

    @property
    def output_size(self) -> int:
        """D, the size of the last axis of the output."""
        both = self.bidirectional and self.merge == "concat"
        return (1 + both) * self.state_sizes[0]

    def __call__(
        self,
        x: NDArray[Any],
        *,
        lengths: Lengths | None = None,
        state: StateT | None = None,
    ) -> tuple[FloatArray, StateT]:
        """Run over whole sequences: inference, without random masks, thread-safe.

        Parameters
        ----------
        x : array (B, T, input_size), or integer array (B, T), or (T,) for B = 1
            Input in the layer's dtype, with any strides; or token ids in [0, input_size), which
            stand for one-hot vectors. Padding is not read.
        lengths : integer array (B,), optional
            Number of steps of each sequence, in [0, T], in any order. T by default.
        state : array, LSTMState or SLSTMState, (num_layers*directions, B, hidden_size), optional
            Initial state; the first index is layer*directions + direction. Arrays with 1 in place
            of B are the state of all sequences. Zero by default, or the learned one with
            `learn_initial_state`. With `proj_size`, h is (num_layers*directions, B, proj_size),
            here and below.

        Returns
        -------
        y : array (B, T, output_size)
            Output of the last layer; 0 in the padding.
        state : array, LSTMState or SLSTMState, (num_layers*directions, B, hidden_size)
            Final state: after the last step of each sequence, in each direction.

        Raises
        ------
        TypeError
            If an argument is not an array or has the wrong dtype.
        ValueError
            If a shape does not fit, or a length or an id is out of its range.
        """
        order = None
        try:
            if self.reverse:
                x, order = self._reversed(x, lengths)
            packed = self._current(False)
            start = self._start(packed, x, state)
            decayed = packed.decay and self._decay(packed.decay, x, 3)
            y, last = loader.kernels.infer(
                packed.network, x, lengths, start, decayed and decayed.factors
            )
        except TypeError as error:
            raise checks.with_cure(error, "x") from None
        return y if order is None else order(y), as_state(*last)

    def forward(
        self,
        x: NDArray[Any],
        *,
        lengths: Lengths | None = None,
        state: StateT | None = None,
        recompute_every: int | None = None,
    ) -> Run[StateT]:
        """Run over whole sequences, ready for `Run.backward`: training, with dropout and zoneout.

        Parameters
        ----------
        x : array (B, T, input_size), or integer array (B, T), or (T,) for B = 1
            Input in the layer's dtype, with any strides; or token ids in [0, input_size), which
            stand for one-hot vectors. Padding is not read. It is kept, not copied: its values must
            not change before `Run.backward`.
        lengths : integer array (B,), optional
            Number of steps of each sequence, in [0, T], in any order. T by default.
        state : array, LSTMState or SLSTMState, (num_layers*directions, B, hidden_size), optional
            Initial state; the first index is layer*directions + direction. Arrays with 1 in place
            of B are the state of all sequences. Zero by default, or the learned one with
            `learn_initial_state`. With `proj_size`, h is (num_layers*directions, B, proj_size),
            here and below.
        recompute_every : int, optional
            k, for activation checkpointing: save the state of every k-th step only and recompute
            the steps between in `Run.backward`. Memory, apart from input and output, falls from T
            steps to T/k + k, smallest for k near √T, for the time of one more inference. Results
            are the same, bit for bit. k is rounded up to whole chunks of the backward pass, of some
            hundred rows of the batch. Not for bidirectional layers.

        Returns
        -------
        Run

        Raises
        ------
        TypeError
            If an argument is not an array or has the wrong dtype.
        ValueError
            If a shape does not fit, a length or an id is out of its range, or `recompute_every` is
            given to a bidirectional layer.
        """
        every = 0
        if recompute_every is not None:
            every = min(checks.integer("recompute_every", recompute_every), sys.maxsize)
            if self.bidirectional:
                rule = "recompute_every needs a layer with bidirectional=False"
                raise ValueError(f"{rule}, got bidirectional=True")
        self._check_trainable()
        packed = self._current(True)
        start = self._start(packed, x, state)
        drops = (self.dropout and self.num_layers > 1) or self.zoneout or self.recurrent_dropout
        key = int(self._random.integers(1 << 63)) if drops and self._random_masks else None
        order = None
        if self.reverse:
            x, order = self._reversed(x, lengths)
        decayed = packed.decay and self._decay(packed.decay, x, 3)
        try:
            y, last, saved = loader.kernels.forward(
                packed.network, x, lengths, start, key, every, decayed and decayed.factors
            )
        except TypeError as error:
            raise checks.with_cure(error, "x") from None
        if decayed is not None and lengths is not None:
            decayed.clear(lengths, time_major=self.time_major)
        return Run(
            self,
            (packed.network, saved, x.view()),
            y,
            as_state(*last),
            shared=are_shared(state),
            learned=state is None and self.learn_initial_state,
            decayed=decayed,
            order=order,
        )

    def step(
        self,
        x_t: NDArray[Any],
        state: StateT | None = None,
        *,
        out: tuple[FloatArray, StateT] | None = None,
    ) -> tuple[FloatArray, StateT]:
        """Run one time step, without random masks: streaming inference, in microseconds.

        Parameters
        ----------
        x_t : array (B, input_size), or integer array (B,)
            Input of the step, or token ids.
        state : array, LSTMState or SLSTMState, (num_layers, B, hidden_size), optional
            State after the previous step. By default the initial state: zero, or the learned one.
        out : tuple (y_t, state), optional
            Result of an earlier step, overwritten and returned: nothing is allocated. Its state may
            be the argument `state`. C-contiguous arrays that share no memory with each other.

        Returns
        -------
        y_t : array (B, output_size)
            Output of the last layer.
        state : array, LSTMState or SLSTMState, (num_layers, B, hidden_size)
            State after this step.

        Raises
        ------
        TypeError
            If an argument is not an array or has the wrong dtype.
        ValueError
            If a shape does not fit, an id is out of its range, `out` cannot be written to, or the
            layer is bidirectional or reverse, which needs whole sequences.
        """
        if option := self._needs_whole:
            raise ValueError(f"step needs a layer with {option}=False, got {option}=True")
        packed = self._packed
        if packed.version is not self._version:
            packed = self._current(False)
        if state is None and packed.initial:
            state = self._start(packed, x_t, None, steps=False)
        if packed.decay and state is not None:
            decayed = self._decay(packed.decay, x_t, 2)
            state = decayed.state(state) if decayed else state
        result: tuple[FloatArray, StateT]
        try:
            result = loader.kernels.step(packed.network, x_t, state, out, self._state_type)
        except TypeError as error:
            raise checks.with_cure(error, "x_t") from None
        return result

    def stepper(self, batch: int = 1) -> Stepper[StateT]:
        """Return a callable that runs one step of a stream after the other, faster than `step`.

        Parameters
        ----------
        batch : int
            B, the number of sequences that take each step.

        Returns
        -------
        Stepper
            It begins with the initial state: zero, or the learned one.

        Raises
        ------
        TypeError
            If `batch` is not an integer.
        ValueError
            If `batch` is not positive or too large, or the layer is bidirectional or reverse, which
            needs whole sequences.
        """
        size = checks.integer("batch", batch)
        if option := self._needs_whole:
            raise ValueError(f"stepper needs a layer with {option}=False, got {option}=True")
        stepper: Stepper[StateT] = make_stepper(self, size)
        return stepper

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_packed": _NOTHING_PACKED}

    def _current(self, training: bool) -> _Packed:
        """Return the packed weights; pack them if they changed or were not packed for training.

        Packed weights are immutable, and are replaced together with their version in one
        assignment: a call needs the lock only to pack, which waits for changes by other threads.
        The version is read first: a signal handler may change parameters in the meantime.
        """
        packed = self._packed
        if packed.version is self._version and packed.for_training >= training:
            return packed
        with self._lock:
            version = self._version
            packed = self._packed  # another thread may have packed them
            if packed.version is not version or packed.for_training < training:
                rows, units = self._decay_sizes
                end = self._layout.size - rows - units
                start = end - self._learned_size
                narrow = self._narrow
                flat = self._flat if narrow is None else narrow.flat()
                weights, learned = flat[:start], flat[start:end]
                weight, bias = flat[end : end + rows], flat[end + rows :]
                kind, scales = (None, None) if narrow is None else (narrow.kind, narrow.scales())
                network = loader.kernels.pack(self._kernel_config, weights, training, kind, scales)
                initial: tuple[FloatArray, ...] = ()
                if self.learn_initial_state:
                    parts = np.split(learned, np.cumsum(self._learned_sizes)[:-1])
                    pairs = zip(parts, self.state_sizes, strict=False)
                    mapped = [part.reshape(-1, size).copy() for part, size in pairs]
                    initial = arrays_of(state_of_mapped(mapped, len(self.cell.states)))
                decay = None
                if self._decay_size:
                    matrix = weight.reshape(-1, self._decay_size)
                    decay = HiddenDecay(-matrix, -bias)
                packed = _Packed(version, training, network, initial, decay)
                self._packed = packed
        return packed

    def _reversed(
        self, x: Any, lengths: Lengths | None
    ) -> tuple[NDArray[Any], ReverseOrder | None]:
        """Return `x` in the order in which it is read; what the kernels refuse as it is."""
        if not isinstance(x, np.ndarray):
            return x, None
        is_ids = x.dtype.kind in "iu"
        if is_ids and x.ndim == 1:
            x = x[:, np.newaxis] if self.time_major else x[np.newaxis]
        if x.ndim != (2 if is_ids else 3):
            return x, None
        order = ReverseOrder.of(x, lengths, time_major=self.time_major)
        return order(x), order

    def _start(self, packed: _Packed, x: Any, state: Any, *, steps: bool = True) -> Any:
        """Return the given state, or else the learned one, if there is one, for the rows of `x`."""
        if (state is None and not packed.initial) or not isinstance(x, np.ndarray):
            return state
        batch_size = 1  # of ids (T,), or of what the kernel refuses
        if x.ndim == steps + (1 if x.dtype.kind in "iu" else 2):
            batch_size = x.shape[1 if steps and self.time_major else 0]
        if state is None:
            return _repeated(packed.initial, batch_size)
        return broadcast_state(state, batch_size)

    def _initial_state(self, batch_size: int) -> Any:
        """Return the state in which sequences begin: zero, or the learned one."""
        rows = self.num_layers * (1 + self.bidirectional)
        zeros = (np.zeros((rows, size), self.dtype) for size in self.state_sizes)
        return _repeated(self._current(False).initial or tuple(zeros), batch_size)

    def _decay(self, decay: HiddenDecay, x: Any, axes: int) -> Decayed | None:
        """Return the factors that h of layer 0 decays with; none for what the kernels refuse."""
        fits = isinstance(x, np.ndarray) and x.ndim == axes and x.shape[-1] == self.input_size
        return decay.at(x) if fits and x.dtype == self.dtype else None

    @property
    def _learned_sizes(self) -> list[int]:
        """Number of elements of each part of the initial state that is learned."""
        rows = self.num_layers * (1 + self.bidirectional)
        return [rows * size for size in self.state_sizes[: len(self.cell.mapped_states)]]

    @property
    def _learned_size(self) -> int:
        """Number of elements of the learned initial states, the last ones of the parameters."""
        return sum(self._learned_sizes) if self.learn_initial_state else 0

    @property
    def _decay_size(self) -> int:
        """D, the number of times among the input features."""
        size: int = self._config.get("decay_size", 0)
        return size

    @property
    def _decay_sizes(self) -> tuple[int, int]:
        """Number of elements of V and of b of the decay, the last ones of the parameters."""
        rows = (1 + self.bidirectional) * self.hidden_size if self._decay_size else 0
        return rows * self._decay_size, rows

    @cached_property
    def _needs_whole(self) -> str:
        """The option with which a layer needs whole sequences; "" for none."""
        return "bidirectional" if self.bidirectional else "reverse" if self.reverse else ""

    @cached_property
    def _state_type(self) -> type[tuple[Any, ...]]:
        """The class of a state of several arrays."""
        return STATE_TYPES.get(len(self.cell.states), tuple)

    @property
    def _num_heads(self) -> int:
        heads: int = self._config.get("num_heads", 1)
        return heads

    @cached_property
    def _kernel_config(self) -> LayerConfig:
        return {
            "cell": self.cell.name,
            "activation": self.activation,
            "gate_activation": self._config.get("gate_activation", "sigmoid"),
            "input_size": self.input_size,
            "decay_size": self._decay_size,
            "hidden_size": self.hidden_size,
            "proj_size": self._config.get("proj_size", 0),
            "num_heads": self._num_heads,
            "num_layers": self.num_layers,
            "bidirectional": self.bidirectional,
            "merge": self.merge,
            "dropout": self.dropout,
            "zoneout": self.zoneout,
            "recurrent_dropout": self.recurrent_dropout,
            "time_major": self.time_major,
        }

    def _shapes(self) -> Shapes:
        gates, size = len(self.cell.gates), self.hidden_size
        rows = (f"{gates}*hidden_size" if gates > 1 else "hidden_size", gates * size)
        hidden = ("hidden_size", size)
        proj_size, heads = self._config.get("proj_size", 0), self._num_heads
        projected = ("proj_size", proj_size)
        state_dimensions = (projected if proj_size else hidden, hidden)
        head = ("hidden_size/num_heads", size // heads)
        times = self._decay_size
        columns = ("input_size", self.input_size)
        if times:
            columns = ("input_size-decay_size", self.input_size - times)
        shapes: dict[str, tuple[Dimension, ...]] = {}
        for layer in range(self.num_layers):
            for suffix in ("", "_reverse")[: 1 + self.bidirectional]:
                shapes[f"weight_ih_l{layer}{suffix}"] = (rows, columns)
                seen = head if heads > 1 else state_dimensions[0]
                shapes[f"weight_hh_l{layer}{suffix}"] = (rows, seen)
                shapes[f"bias_l{layer}{suffix}"] = (rows,)
                for name in self.cell.gate_parameters:
                    shapes[f"{name}_l{layer}{suffix}"] = (rows,)
                for name in self.cell.extra_parameters:
                    shapes[f"{name}_l{layer}{suffix}"] = (hidden,)
                if proj_size:
                    shapes[f"weight_hr_l{layer}{suffix}"] = (projected, hidden)
            columns = ("output_size", self.output_size)
        states = self.cell.mapped_states if self.learn_initial_state else ()
        for state, dimension in zip(states, state_dimensions, strict=False):
            for layer in range(self.num_layers):
                for suffix in ("", "_reverse")[: 1 + self.bidirectional]:
                    shapes[f"{state}0_l{layer}{suffix}"] = (dimension,)
        for name, dimensions in (
            ("weight_decay", (hidden, ("decay_size", times))),
            ("bias_decay", (hidden,)),
        ):
            for suffix in ("", "_reverse")[: times and 1 + self.bidirectional]:
                shapes[f"{name}_l0{suffix}"] = dimensions
        return shapes

    def _initialize(self, parameters: Mapping[str, FloatArray]) -> None:
        initializers.recurrent(
            parameters, self.cell, self.hidden_size, self._random, self._num_heads
        )


def _repeated(initial: tuple[FloatArray, ...], batch_size: int) -> Any:
    """Return the state in which every sequence has the parts `initial`."""
    return as_state(*(np.repeat(part[:, np.newaxis], batch_size, axis=1) for part in initial))
