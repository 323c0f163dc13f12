"""`torch.nn.RNN`, `LSTM` and `GRU` on bptt's kernels."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from bptt.nn.state import arrays_of
from bptt.torch import _kernels as kernels
from bptt.torch._autograd import Recurrence, recurrence
from bptt.torch._kernels import Options, Packed


class Recurrent(nn.RNNBase):  # type: ignore[misc]
    """What the modules have in common: those of ``torch.nn`` with another forward.

    They are subclasses of `torch.nn.RNNBase` alone: torch.compile does not take those of
    `torch.nn.RNN`, `LSTM` and `GRU`.
    """

    _original: type[nn.RNNBase]
    _wrong_rank: str

    def forward(self, input: Any, hx: Any = None) -> Any:
        """Run over sequences.

        Parameters
        ----------
        input : tensor (T, B, I), (B, T, I) with ``batch_first``, or (T, I); or PackedSequence
            Input of the dtype of the weights.
        hx : tensor (num_layers*directions, B, H), or for an LSTM a pair of such, optional
            Initial state, without B for an input (T, I). Zero by default.

        Returns
        -------
        output : tensor (T, B, D), (B, T, D) or (T, D); or PackedSequence
            Output of the last layer, D = directions*H, or directions*proj_size.
        hx : tensor, or for an LSTM a pair
            Final state, of the shape of the initial one.

        Raises
        ------
        RuntimeError, ValueError
            As of the class in ``torch.nn``. RuntimeError also within transforms of ``torch.func``.
        """
        self._update_flat_weights()
        data = input.data if isinstance(input, PackedSequence) else input
        options = self._options()
        if not kernels.supports(data, self._flat_weights, options):
            return self._original.forward(self, input, hx)
        if isinstance(input, PackedSequence):
            return self._forward_packed(input, hx, options)
        return self._forward_padded(input, hx, options)

    def _forward_padded(self, input: Tensor, hx: Any, options: Options) -> Any:
        if input.dim() not in (2, 3):
            raise ValueError(self._wrong_rank.format(input.dim()))
        batched = input.dim() == 3
        states = arrays_of(hx)
        if any(part.dim() != input.dim() for part in states):
            raise RuntimeError(self._dimensions(input.dim(), states))
        axis = 0 if self.batch_first else 1
        if not batched:
            input = input.unsqueeze(axis)
            states = tuple(part.unsqueeze(1) for part in states)
        self._check(input, states, None)
        y, last = self._run(input, states, None, options)
        if not batched:
            y, last = y.squeeze(axis), [part.squeeze(1) for part in last]
        return y, self._state_of(last)

    def _forward_packed(self, input: PackedSequence, hx: Any, options: Options) -> Any:
        """Run over the sequences of a batch, which are sorted by their lengths, as padded ones."""
        data, batch_sizes, order, inverse = input
        states = arrays_of(hx if hx is None else self.permute_hidden(hx, order))
        self._check(data, states, batch_sizes)
        sequences = PackedSequence(data, batch_sizes)
        x, lengths = pad_packed_sequence(sequences, batch_first=self.batch_first)
        y, last = self._run(x, states, lengths, options)
        output = pack_padded_sequence(y, lengths, batch_first=self.batch_first)
        state = self.permute_hidden(self._state_of(last), inverse)
        return PackedSequence(output.data, batch_sizes, order, inverse), state

    def _run(
        self, x: Tensor, states: tuple[Tensor, ...], lengths: Tensor | None, options: Options
    ) -> tuple[Tensor, list[Tensor]]:
        """Run the kernels, and have autograd run them backward where that is wanted."""
        _refuse_transforms()
        weights = self._flat_weights
        keep = torch.is_grad_enabled() and any(t.requires_grad for t in (x, *states, *weights))
        drops = self.training and options.dropout > 0 and options.num_layers > 1
        if torch.compiler.is_compiling():
            return self._run_operator(x, states, lengths, options, keep, drops)
        packed = self._packed_for(options, keep or drops)
        key = int(_new_key()) if drops else None
        if keep:
            shapes = [weight.shape for weight in weights]
            split = partial(kernels.gradients, shapes=shapes, options=options)
            arguments = (packed, split, lengths, key, len(states))
            y, *last = Recurrence.apply(*arguments, x, *states, *weights)
        else:
            y, last, _ = kernels.forward(packed, x, states, lengths, key, False)
        return y, last

    def _run_operator(
        self,
        x: Tensor,
        states: tuple[Tensor, ...],
        lengths: Tensor | None,
        options: Options,
        keep: bool,
        drops: bool,
    ) -> tuple[Tensor, list[Tensor]]:
        """Run the same as an operator of a compiled graph."""
        mode, *sizes, dropout = options
        key = _new_key() if drops else None
        weights = list(self._flat_weights)
        found = recurrence(
            x, list(states), weights, lengths, key, mode, list(map(int, sizes)), dropout, keep
        )
        y, h, c, _ = found
        return y, [h, c] if mode == "LSTM" else [h]

    def _packed_for(self, options: Options, training: bool) -> Packed:
        """Return the packed weights, which are kept until they change."""
        packed: Packed | None = self.__dict__.get("_bptt_packed")
        if packed is None or not packed.is_current(self._flat_weights, training):
            packed = kernels.pack(self._flat_weights, options, training)
            self.__dict__["_bptt_packed"] = packed
        return packed

    def _options(self) -> Options:
        return Options(
            self.mode,
            self.input_size,
            self.hidden_size,
            self.proj_size,
            self.num_layers,
            self.bias,
            self.bidirectional,
            self.batch_first,
            self.dropout,
        )

    def _check(self, input: Tensor, states: tuple[Tensor, ...], batch_sizes: Tensor | None) -> None:
        """Check shapes and dtypes, with the errors of ``torch.nn``."""
        if states:
            self.check_forward_args(input, self._state_of(states), batch_sizes)
        else:
            self.check_input(input, batch_sizes)
        for part in states:
            if part.dtype != input.dtype or part.device != input.device:
                rule = f"{input.dtype} on {input.device}, as the input"
                raise RuntimeError(f"hx must be {rule}, got {part.dtype} on {part.device}")
        if batch_sizes is None and not input.shape[1 if self.batch_first else 0]:
            raise RuntimeError("Expected sequence length to be larger than 0 in RNN")

    def _dimensions(self, expected: int, states: tuple[Tensor, ...]) -> str:
        batched = "batched 3-D" if expected == 3 else "unbatched 2-D"
        got = ", ".join(f"{part.dim()}-D" for part in states)
        if len(states) == 1:
            return f"For {batched} input, hx should also be {expected}-D but got {got} tensor"
        return f"For {batched} input, hx and cx should also be {expected}-D but got ({got}) tensors"

    def _state_of(self, parts: Sequence[Tensor]) -> Any:
        return tuple(parts) if self.mode == "LSTM" else parts[0]

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = super().__getstate__()
        state.pop("_bptt_packed", None)
        return state


def _new_key() -> Tensor:
    """Return the key of a call's dropout, from the generator of `torch.manual_seed`."""
    return torch.randint(1 << 62, ())


def _refuse_transforms() -> None:
    active = getattr(torch._C, "_are_functorch_transforms_active", None)
    if active is not None and active():
        raise RuntimeError(
            "bptt.torch does not work within transforms of torch.func (grad, vmap, jvp, ..): "
            "use torch.autograd, or bptt.torch.restore(model) for these calls"
        )


class RNN(Recurrent):
    """Simple recurrent network: `torch.nn.RNN` on bptt's kernels.

    Arguments, inputs, outputs and parameters are those of `torch.nn.RNN`. What the kernels do not
    have runs in PyTorch: other devices and dtypes than float32 and float64 on the CPU, autocast,
    and a dropout of 1. `torch.get_num_threads` holds; gradients of gradients are refused.

    Parameters
    ----------
    input_size, hidden_size : int
        Numbers of input features and of hidden units.
    num_layers : int, default 1
        Number of stacked layers.
    nonlinearity : {"tanh", "relu"}, default "tanh"
        Activation.
    bias : bool, default True
        Whether there are biases.
    batch_first : bool, default False
        Whether sequences are (B, T, ..) instead of (T, B, ..).
    dropout : float, default 0
        Dropout probability between the layers.
    bidirectional : bool, default False
        Whether every layer has a second direction.
    device, dtype : optional
        Of the parameters.

    Raises
    ------
    TypeError, ValueError
        As of `torch.nn.RNN`.
    """

    _original = nn.RNN
    _wrong_rank = "RNN: Expected input to be 2D or 3D, got {}D tensor instead"

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        if nonlinearity not in ("tanh", "relu"):
            rule = "Unknown nonlinearity '{}'. Select from 'tanh' or 'relu'."
            raise ValueError(rule.format(nonlinearity))
        super().__init__(
            f"RNN_{nonlinearity.upper()}",
            input_size,
            hidden_size,
            num_layers,
            bias,
            batch_first,
            dropout,
            bidirectional,
            device=device,
            dtype=dtype,
        )
        self.nonlinearity = nonlinearity


class _Gated(Recurrent):
    """What `LSTM` and `GRU` have in common: their constructor."""

    _mode: str

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        if proj_size and self._mode != "LSTM":
            raise ValueError("proj_size argument is only supported for LSTM, not RNN or GRU")
        super().__init__(
            self._mode,
            input_size,
            hidden_size,
            num_layers,
            bias,
            batch_first,
            dropout,
            bidirectional,
            proj_size,
            device,
            dtype,
        )


class LSTM(_Gated):
    """Long short-term memory (LSTM): `torch.nn.LSTM` on bptt's kernels.

    Arguments, inputs, outputs and parameters are those of `torch.nn.LSTM`. What the kernels do not
    have runs in PyTorch: other devices and dtypes than float32 and float64 on the CPU, autocast,
    and a dropout of 1. `torch.get_num_threads` holds; gradients of gradients are refused.

    Parameters
    ----------
    input_size, hidden_size : int
        Numbers of input features and of hidden units.
    num_layers : int, default 1
        Number of stacked layers.
    bias : bool, default True
        Whether there are biases.
    batch_first : bool, default False
        Whether sequences are (B, T, ..) instead of (T, B, ..).
    dropout : float, default 0
        Dropout probability between the layers.
    bidirectional : bool, default False
        Whether every layer has a second direction.
    proj_size : int, default 0
        Number of units to which h is projected; 0 for none.
    device, dtype : optional
        Of the parameters.

    Raises
    ------
    TypeError, ValueError
        As of `torch.nn.LSTM`.
    """

    _mode = "LSTM"
    _original = nn.LSTM
    _wrong_rank = "LSTM: Expected input to be 2D or 3D, got {}D instead"
    get_expected_cell_size = nn.LSTM.get_expected_cell_size
    check_forward_args = nn.LSTM.check_forward_args
    permute_hidden = nn.LSTM.permute_hidden


class GRU(_Gated):
    """Gated recurrent unit (GRU): `torch.nn.GRU` on bptt's kernels.

    Arguments, inputs, outputs and parameters are those of `torch.nn.GRU`. What the kernels do not
    have runs in PyTorch: other devices and dtypes than float32 and float64 on the CPU, autocast,
    and a dropout of 1. `torch.get_num_threads` holds; gradients of gradients are refused.

    Parameters
    ----------
    input_size, hidden_size : int
        Numbers of input features and of hidden units.
    num_layers : int, default 1
        Number of stacked layers.
    bias : bool, default True
        Whether there are biases.
    batch_first : bool, default False
        Whether sequences are (B, T, ..) instead of (T, B, ..).
    dropout : float, default 0
        Dropout probability between the layers.
    bidirectional : bool, default False
        Whether every layer has a second direction.
    device, dtype : optional
        Of the parameters.

    Raises
    ------
    TypeError, ValueError
        As of `torch.nn.GRU`.
    """

    _mode = "GRU"
    _original = nn.GRU
    _wrong_rank = "GRU: Expected input to be 2D or 3D, got {}D instead"
