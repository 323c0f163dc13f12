"""`SimpleRNN`, `LSTM` and `GRU` of Keras with another inner loop."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import keras
from keras import activations, ops

from bptt.keras._backend import kernels
from bptt.keras._backend import name as backend
from bptt.nn.recurrent import GRU as _GRU
from bptt.nn.recurrent import LSTM as _LSTM
from bptt.nn.recurrent import RNN as _RNN
from bptt.nn.recurrent_base import Recurrent

_ACTIVATIONS = {
    activations.tanh: "tanh",
    activations.sigmoid: "sigmoid",
    activations.relu: "relu",
    activations.linear: "identity",
}
_GATE_ACTIVATIONS = {activations.sigmoid: "sigmoid", activations.hard_sigmoid: "hard_sigmoid"}


class _OnKernels:
    """What the layers have in common."""

    _kind: type[Recurrent[Any]]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.use_cudnn = False  # so that Bidirectional calls two layers
        cell: Any = self.cell  # type: ignore[attr-defined]
        if cell.recurrent_dropout:
            raise ValueError(
                f"recurrent_dropout must be 0 for bptt.keras, got {cell.recurrent_dropout}"
            )
        if cell.dropout and getattr(cell, "implementation", 2) != 2:
            raise ValueError(
                f"implementation must be 2 with dropout for bptt.keras, got {cell.implementation}"
            )
        self._options = {"activation": _name("activation", cell.activation, _ACTIVATIONS)}
        if self._kind is not _RNN:
            value = cell.recurrent_activation
            self._options["gate_activation"] = _name(
                "recurrent_activation", value, _GATE_ACTIVATIONS
            )

    def inner_loop(
        self, sequences: Any, initial_state: Any, mask: Any, training: bool = False
    ) -> tuple[Any, Any, list[Any]]:
        """Run over all steps: last output, outputs, final state, as Keras' own loop.

        What the kernels do not have runs in Keras: other devices and dtypes.
        """
        layer: Any = self
        if not kernels.supports(sequences):
            found: tuple[Any, Any, list[Any]] = super().inner_loop(  # type: ignore[misc]
                sequences, initial_state, mask, training
            )
            return found
        x, states = sequences, keras.tree.flatten(initial_state)
        if training and 0 < layer.cell.dropout < 1:
            x = x * ops.expand_dims(layer.cell.get_dropout_mask(x[:, 0]), 1)
        mask = next(iter(keras.tree.flatten(mask)), None)
        if layer.go_backwards:
            x = ops.flip(x, 1)
            mask = None if mask is None else ops.flip(mask, 1)
        lengths = None
        if mask is not None:
            mask = ops.cast(mask, "bool")
            x, counts = _without_masked(x, mask)
            lengths = counts[:, -1]
        y, last = self._run(x, [ops.expand_dims(state, 0) for state in states], lengths)
        last = [ops.squeeze(state, 0) for state in last]
        output = last[0]
        if mask is not None:
            y, output = self._with_masked(y, output, mask, counts, states[0])
        return output, y, last

    def _run(self, x: Any, states: list[Any], lengths: Any) -> tuple[Any, list[Any]]:
        """Run the kernels over steps from the first one on."""
        params = self._params()
        kind: Any = self._kind
        outline = _outline(
            kind,
            input_size=params["weight_ih_l0"].shape[1],
            hidden_size=params["weight_hh_l0"].shape[1],
            dtype=keras.backend.standardize_dtype(x.dtype),
            **({"reset_after": "bias_hn_l0" in params} if self._kind is _GRU else {}),
            **self._options,
        )
        found: tuple[Any, list[Any]] = kernels.run(outline, params, x, states, lengths)
        return found

    def _params(self) -> dict[str, Any]:
        """Return bptt's parameters from those of Keras' cell: kernels (I, G*H), (H, G*H), bias."""
        cell: Any = self.cell  # type: ignore[attr-defined]
        kernel, recurrent = map(ops.convert_to_tensor, (cell.kernel, cell.recurrent_kernel))
        shape = (kernel.shape[1],)
        bias = (
            ops.zeros(shape, kernel.dtype)
            if cell.bias is None
            else ops.convert_to_tensor(cell.bias)
        )
        return {
            "weight_ih_l0": ops.transpose(kernel),
            "weight_hh_l0": ops.transpose(recurrent),
            "bias_l0": bias,
        }

    def _with_masked(
        self, y: Any, last: Any, mask: Any, counts: Any, initial: Any
    ) -> tuple[Any, Any]:
        """Return outputs with the masked steps, and the last one.

        A masked step has the output of the step before; the first ones have 0 in PyTorch, the
        initial h in JAX. With ``zero_output_for_mask`` all have 0.
        """
        layer: Any = self
        y = ops.take_along_axis(y, ops.expand_dims((counts - 1) % y.shape[1], 2), 1)
        shown = mask if layer.zero_output_for_mask else counts > 0
        fill = ops.zeros_like(initial)
        if backend == "jax" and not layer.zero_output_for_mask:
            fill = initial
        y = ops.where(ops.expand_dims(shown, 2), y, ops.expand_dims(fill, 1))
        return y, ops.where(shown[:, -1:], last, fill)


def _without_masked(x: Any, mask: Any) -> tuple[Any, Any]:
    """Return input with the masked steps at its end, and how many others there are up to each."""
    steps = ops.arange(x.shape[1], dtype="int32")
    order = ops.argsort(ops.where(mask, steps, steps + x.shape[1]), axis=1)
    x = ops.take_along_axis(x, ops.expand_dims(order, 2), 1)
    return x, ops.cumsum(ops.cast(mask, "int32"), axis=1)


def _name(argument: str, value: Any, known: dict[Any, str]) -> str:
    """Return bptt's name of an activation function."""
    if value not in known:
        names = ", ".join(repr(activations.serialize(function)) for function in known)
        got = getattr(value, "__name__", value)
        raise ValueError(f"{argument} must be one of {names} for bptt.keras, got {got!r}")
    return known[value]


@lru_cache(maxsize=256)
def _outline(kind: Any, **config: Any) -> Recurrent[Any]:
    """Return a layer without values; equal ones are one object."""
    outline: Recurrent[Any] = kind._outline(config)
    return outline


class SimpleRNN(_OnKernels, keras.layers.SimpleRNN):  # type: ignore[misc]
    """Simple recurrent network: ``keras.layers.SimpleRNN`` on bptt's kernels.

    Arguments, calls, weights and files are those of Keras, also within ``Bidirectional``; so are
    outputs and gradients, with any mask, and the masks of `dropout`. Inputs of other dtypes than
    float32 and float64, and PyTorch's on other devices than the CPU, run in Keras. Under PyTorch
    `torch.get_num_threads` holds, under JAX `bptt.get_num_threads`.

    Parameters
    ----------
    units : int
        Number of hidden units.
    activation : {"tanh", "sigmoid", "relu", "linear"}, default "tanh"
        Activation φ.
    dropout : float, default 0
        Share of the input's features that a call in training drops, the same at all steps.
    **arguments
        All others of Keras, such as `return_sequences`, `go_backwards` or `stateful`; `unroll` and
        `use_cudnn` have no effect.

    Raises
    ------
    ValueError
        If Keras refuses an argument, the kernels do not have an activation, or there is
        `recurrent_dropout`, or ``implementation=1`` with `dropout`.
    """

    _kind = _RNN


class LSTM(_OnKernels, keras.layers.LSTM):  # type: ignore[misc]
    """Long short-term memory (LSTM): ``keras.layers.LSTM`` on bptt's kernels.

    Arguments, calls, weights and files are those of Keras, also within ``Bidirectional``; so are
    outputs and gradients, with any mask, and the masks of `dropout`. Inputs of other dtypes than
    float32 and float64, and PyTorch's on other devices than the CPU, run in Keras. Under PyTorch
    `torch.get_num_threads` holds, under JAX `bptt.get_num_threads`.

    Parameters
    ----------
    units : int
        Number of hidden units.
    activation : {"tanh", "sigmoid", "relu", "linear"}, default "tanh"
        Activation φ.
    recurrent_activation : {"sigmoid", "hard_sigmoid"}, default "sigmoid"
        Function σ of the gates.
    dropout : float, default 0
        Share of the input's features that a call in training drops, the same at all steps.
    **arguments
        All others of Keras, such as `return_sequences`, `go_backwards` or `stateful`; `unroll` and
        `use_cudnn` have no effect.

    Raises
    ------
    ValueError
        If Keras refuses an argument, the kernels do not have an activation, or there is
        `recurrent_dropout`, or ``implementation=1`` with `dropout`.
    """

    _kind = _LSTM


class GRU(_OnKernels, keras.layers.GRU):  # type: ignore[misc]
    """Gated recurrent unit (GRU): ``keras.layers.GRU`` on bptt's kernels.

    Arguments, calls, weights and files are those of Keras, also within ``Bidirectional``; so are
    outputs and gradients, with any mask, and the masks of `dropout`. Inputs of other dtypes than
    float32 and float64, and PyTorch's on other devices than the CPU, run in Keras. Under PyTorch
    `torch.get_num_threads` holds, under JAX `bptt.get_num_threads`.

    Parameters
    ----------
    units : int
        Number of hidden units.
    activation : {"tanh", "sigmoid", "relu", "linear"}, default "tanh"
        Activation φ.
    recurrent_activation : {"sigmoid", "hard_sigmoid"}, default "sigmoid"
        Function σ of the gates.
    reset_after : bool, default True
        Whether the reset gate acts after the product with the recurrent kernel.
    dropout : float, default 0
        Share of the input's features that a call in training drops, the same at all steps.
    **arguments
        All others of Keras, such as `return_sequences`, `go_backwards` or `stateful`; `unroll` and
        `use_cudnn` have no effect.

    Raises
    ------
    ValueError
        If Keras refuses an argument, the kernels do not have an activation, or there is
        `recurrent_dropout`, or ``implementation=1`` with `dropout`.
    """

    _kind = _GRU

    def _params(self) -> dict[str, Any]:
        params = super()._params()
        bias = params["bias_l0"]
        if self.cell.reset_after:
            if len(bias.shape) == 1:  # without biases
                bias = ops.stack([bias, bias])
            units = self.cell.units
            params["bias_hn_l0"] = bias[1, 2 * units :]
            rows = ops.concatenate([bias[1, : 2 * units], ops.zeros_like(bias[1, 2 * units :])])
            params["bias_l0"] = bias[0] + rows
        for name in ("weight_ih_l0", "weight_hh_l0", "bias_l0"):
            z, r, n = ops.split(params[name], 3)
            params[name] = ops.concatenate([r, z, n])
        return params


for _layer in (SimpleRNN, LSTM, GRU):
    keras.saving.register_keras_serializable("bptt")(_layer)
