"""Calls of the kernels with tensors, which are read and made without copies.

The weights are PyTorch's: for each layer and direction weight_ih (G*H, I), weight_hh (G*H, P), two
biases (G*H,) if there are any, and weight_hr (P, H) if h is projected.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bptt._core import loader
from bptt._core.checks import FloatArray
from bptt._core.kernel_types import LayerConfig
from bptt._core.threads import threads
from bptt.nn.state import as_state

_CELLS = {
    "RNN_TANH": ("rnn", "tanh", 1),
    "RNN_RELU": ("rnn", "relu", 1),
    "LSTM": ("lstm", "tanh", 4),
    "GRU": ("gru_reset_after", "tanh", 3),
}  # by the mode of PyTorch's modules: cell, activation, gates
_DTYPES = (torch.float32, torch.float64)


class Options(NamedTuple):
    """What PyTorch's modules are made with, apart from the weights."""

    mode: str
    input_size: int
    hidden_size: int
    proj_size: int
    num_layers: int
    bias: bool
    bidirectional: bool
    batch_first: bool
    dropout: float

    @property
    def has_bias_hn(self) -> bool:
        """Whether the reset gate multiplies the second bias of the candidate."""
        return self.mode == "GRU"

    @property
    def kernel_config(self) -> LayerConfig:
        """The same as the kernels take it."""
        cell, activation, _ = _CELLS[self.mode]
        return {
            "cell": cell,
            "activation": activation,
            "gate_activation": "sigmoid",
            "input_size": self.input_size,
            "hidden_size": self.hidden_size,
            "proj_size": self.proj_size,
            "num_heads": 1,
            "num_layers": self.num_layers,
            "bidirectional": self.bidirectional,
            "merge": "concat",
            "dropout": self.dropout,
            "zoneout": 0.0,
            "recurrent_dropout": 0.0,
            "decay_size": 0,
            "time_major": not self.batch_first,
        }


class Packed(NamedTuple):
    """Packed weights, and copies of the tensors that they come from."""

    network: Any
    for_training: bool
    weights: tuple[Tensor, ...]

    def is_current(self, weights: Sequence[Tensor], training: bool) -> bool:
        """Whether these weights are packed here.

        Values are compared, as changes of ``weight.data`` do not count in a tensor's version.
        """
        return self.for_training >= training and all(map(torch.equal, weights, self.weights))


def supports(x: Tensor, weights: Sequence[Any], options: Options) -> bool:
    """Return whether the kernels can run this: dense float32 or float64 tensors on the CPU."""
    return (
        x.dtype in _DTYPES
        and options.dropout < 1.0
        and not torch.is_autocast_enabled("cpu")
        and all(
            isinstance(t, Tensor)
            and t.dtype == x.dtype
            and t.layout is torch.strided
            and t.device.type == "cpu"
            for t in (x, *weights)
        )
    )


def pack(weights: Sequence[Tensor], options: Options, training: bool) -> Packed:
    """Pack weights for inference, or for training as well."""
    with torch.no_grad():
        copies = tuple(weight.detach().clone() for weight in weights)
    flat = np.concatenate([part.ravel() for part in _parts(copies, options)])
    network = loader.kernels.pack(options.kernel_config, flat, training)
    return Packed(network, training, copies)


def _parts(weights: Sequence[Tensor], options: Options) -> list[FloatArray]:
    """Return the parameters in the kernels' order."""
    parts: list[FloatArray] = []
    hidden = options.hidden_size
    for ih, hh, *others in _by_direction(weights, options):
        rows = ih.shape[0]
        first, second = (b.numpy() for b in others[:2]) if options.bias else [_zeros(ih, rows)] * 2
        parts += [ih.numpy(), hh.numpy()]
        if options.has_bias_hn:
            shared = rows - hidden  # rows of the gates, whose biases are added up
            parts += [first[:shared] + second[:shared], first[shared:], second[shared:]]
        else:
            parts.append(first + second)
        if options.proj_size:
            parts.append(others[-1].numpy())
    return parts


def _zeros(like: Tensor, size: int) -> FloatArray:
    array: FloatArray = np.zeros(size, like.numpy().dtype)
    return array


def _by_direction(weights: Sequence[Any], options: Options) -> list[Sequence[Any]]:
    """Return the weights of each layer and direction."""
    count = 2 + 2 * options.bias + (options.proj_size > 0)
    return [weights[i : i + count] for i in range(0, len(weights), count)]


def gradients(flat: FloatArray, shapes: Sequence[Any], options: Options) -> list[Tensor]:
    """Return the gradients of the weights from those in the kernels' order."""
    found: list[Tensor] = []
    start = 0

    def take(*shape: int) -> Tensor:
        nonlocal start
        first, start = start, start + int(np.prod(shape))
        return torch.from_numpy(flat[first:start].reshape(shape))

    for ih, hh, *others in _by_direction(shapes, options):
        found += [take(*ih), take(*hh)]
        bias = take(ih[0])
        second = bias.clone()  # of its own memory, as optimizers may change gradients in place
        if options.has_bias_hn:
            second[-options.hidden_size :] = take(options.hidden_size)
        if options.bias:
            found += [bias, second]
        if options.proj_size:
            found.append(take(*others[-1]))
    return found


def forward(
    packed: Packed,
    x: Tensor,
    hx: Sequence[Tensor],
    lengths: Tensor | None,
    key: int | None,
    keep: bool,
) -> tuple[Tensor, list[Tensor], Any]:
    """Run over whole sequences.

    Parameters
    ----------
    packed : Packed
        Weights; for training if `keep`, or if there is a `key`.
    x : tensor (T, B, I), or (B, T, I)
        Input, with any strides.
    hx : sequence of tensors (num_layers*directions, B, P or H)
        Initial state: none for zero.
    lengths : integer tensor (B,), optional
        Numbers of steps.
    key : int, optional
        Key of the dropout between layers.
    keep : bool
        Whether to keep what `backward` needs.

    Returns
    -------
    y : tensor (T, B, D), or (B, T, D)
    last : list of tensors
        Final state.
    saved : object or None
        What `backward` needs.
    """
    state = as_state(*map(array_of, hx)) if hx else None
    steps = None if lengths is None else lengths.numpy()
    with threads(torch.get_num_threads()):
        if keep or key is not None:
            y, last, saved = loader.kernels.forward(
                packed.network, array_of(x), steps, state, key, 0
            )
        else:
            y, last = loader.kernels.infer(packed.network, array_of(x), steps, state)
            saved = None
    return torch.from_numpy(y), list(map(torch.from_numpy, last)), saved if keep else None


def backward(
    packed: Packed,
    saved: Any,
    x: Tensor,
    y: Tensor,
    d_y: Tensor | None,
    d_last: Sequence[Tensor | None],
    wants_input: bool,
) -> tuple[Tensor | None, list[Tensor], FloatArray]:
    """Return the gradients of input, initial state and weights, these in the kernels' order."""
    d_state = None
    if any(part is not None for part in d_last):
        d_state = as_state(*(None if part is None else array_of(part) for part in d_last))
    with threads(torch.get_num_threads()):
        d_x, d_initial, flat, *_ = loader.kernels.backward(
            packed.network,
            saved,
            array_of(x),
            array_of(y),
            None if d_y is None else array_of(d_y),
            d_state,
            False,
            wants_input,
        )
    d_input = None if d_x is None else torch.from_numpy(d_x)
    return d_input, list(map(torch.from_numpy, d_initial)), flat


def array_of(tensor: Tensor) -> NDArray[Any]:
    """Return a tensor as an array that shares its memory."""
    array: NDArray[Any] = tensor.detach().resolve_neg().numpy()
    return array
