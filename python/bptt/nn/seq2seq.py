"""Encoder-decoder networks: encoder, bridge and decoder.

I. Sutskever, O. Vinyals and Q. Le (2014), Sequence to sequence learning with neural networks.

Shapes: B batch, T steps of the source, S steps of the target, V tokens of the target.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bptt._core import checks
from bptt._core.checks import FloatArray
from bptt._core.lengths import Ids, Lengths
from bptt.losses import Loss
from bptt.nn.decoder import Decoder
from bptt.nn.decoder_run import DecoderRun
from bptt.nn.linear import Linear, LinearRun, OutputLoss
from bptt.nn.module import Gradients, Module
from bptt.nn.sequential import Sequential
from bptt.nn.sequential_run import SequentialRun
from bptt.nn.state import State, arrays_of, state_of_mapped

_DECODER_PARTS = ("embedding", "recurrent", "attention", "dropout", "output")


class Bridge:
    """Linear maps from the final state of an encoder to the initial state of a decoder.

    Each array of a state, (N, B, H), is reshaped to (B, N·H), so that every layer and direction of
    the encoder reaches every layer of the decoder, and mapped to (N', B, H'). Of an SLSTM, h and c
    are mapped; the decoder begins with n = 1 and m = 0, as if c were one input.

    Parameters
    ----------
    linears : sequence of Linear
        N·H → N'·H', one for h, and one for c if the cell has it.
    num_layers : int
        N', number of layers of the decoder.
    """

    def __init__(self, linears: Sequence[Linear], num_layers: int) -> None:
        if not isinstance(linears, Sequence):
            raise TypeError(f"linears must be a list of Linear, got {type(linears).__name__}")
        self.linears = tuple(
            checks.instance(f"linears[{i}]", linear, Linear) for i, linear in enumerate(linears)
        )
        self.num_layers = checks.integer("num_layers", num_layers)
        if not self.linears:
            raise ValueError("linears must have at least one layer, got none")
        for linear in self.linears:
            if linear.out_features % self.num_layers:
                rule = f"a multiple of num_layers = {self.num_layers} outputs"
                raise ValueError(f"linears must have {rule}, got {linear}")

    def __call__(self, state: State) -> State:
        """Return the initial state of the decoder: inference.

        Parameters
        ----------
        state : array, LSTMState or SLSTMState, (N, B, H)
            Final state of the encoder.

        Returns
        -------
        array, LSTMState or SLSTMState, (N', B, H')
        """
        pairs = zip(self.linears, self._parts(state), strict=True)
        mapped = [_split_layers(linear(_merge_layers(p)), self.num_layers) for linear, p in pairs]
        return state_of_mapped(mapped, len(arrays_of(state)))

    def forward(self, state: State) -> BridgeRun:
        """Return the initial state of the decoder, ready for ``BridgeRun.backward``.

        Parameters
        ----------
        state : array, LSTMState or SLSTMState, (N, B, H)
            Final state of the encoder.

        Returns
        -------
        BridgeRun
        """
        parts = self._parts(state)
        runs = [
            linear.forward(_merge_layers(part))
            for linear, part in zip(self.linears, parts, strict=True)
        ]
        return BridgeRun(
            state_of_mapped(
                [_split_layers(run.output, self.num_layers) for run in runs], len(arrays_of(state))
            ),
            runs,
            len(parts[0]),
        )

    def _parts(self, state: State) -> tuple[FloatArray, ...]:
        """Check the final state of an encoder and return the arrays that are mapped."""
        parts = arrays_of(state)[:2]
        if len(parts) != len(self.linears):
            rule = f"state must have {len(self.linears)} arrays, one for each linear layer"
            raise ValueError(f"{rule}, got {len(parts)}")
        for part, linear in zip(parts, self.linears, strict=True):
            checks.array("state", part, linear.dtype)
            units = part.shape[0] * part.shape[2] if part.ndim == 3 else -1
            if units != linear.in_features:
                rule = f"shape (N, batch, H) with N*H = {linear.in_features}"
                raise ValueError(f"state must have {rule}, got {part.shape}")
        return parts


@dataclass(frozen=True)
class BridgeRun:
    """Forward pass of a `Bridge`, as `Bridge.forward` returns it."""

    state: State
    """Initial state of the decoder, (N', B, H')."""
    _runs: list[LinearRun]
    _rows: int  # N

    def backward(self, d_state: State) -> tuple[list[Gradients], State]:
        """Return the gradients of the linear layers and of the encoder's final state.

        Parameters
        ----------
        d_state : array, LSTMState or SLSTMState, (N', B, H')
            Gradient of the loss with respect to `state`.

        Returns
        -------
        gradients : list of Gradients
            One for each linear layer.
        d_state : array, LSTMState or SLSTMState, (N, B, H)
        """
        parts = zip(self._runs, arrays_of(d_state)[:2], strict=True)
        gradients = [run.backward(_merge_layers(part)) for run, part in parts]
        d_inputs: list[Any] = [gradient.input for gradient in gradients]
        split = [_split_layers(d, self._rows) for d in d_inputs]
        return gradients, state_of_mapped(split, len(arrays_of(d_state)), 0.0)


def _merge_layers(part: FloatArray) -> FloatArray:
    """(N, B, H) -> (B, N*H)."""
    batch = part.shape[1]
    return np.ascontiguousarray(part.swapaxes(0, 1)).reshape(batch, part.shape[0] * part.shape[2])


def _split_layers(rows: FloatArray, count: int) -> FloatArray:
    """(B, N*H) -> (N, B, H)."""
    units = rows.shape[1] // count
    return np.ascontiguousarray(rows.reshape(len(rows), count, units).swapaxes(0, 1))


@dataclass(frozen=True)
class Memory:
    """Encoded sources: what a decoder is conditioned on."""

    state: State
    """Initial state of the decoder."""
    outputs: FloatArray | None
    """Outputs of the encoder, (B, T, K); None without attention."""
    lengths: Lengths | None
    """Lengths of the sources, (B,); None without attention."""

    def __len__(self) -> int:
        return int(arrays_of(self.state)[0].shape[1])

    def check_targets(self, tokens: Ids) -> None:
        """Check that there is one target (B, S) for each source."""
        checks.numpy_array("tokens", tokens)
        if tokens.ndim != 2 or len(tokens) != len(self):
            raise ValueError(
                f"tokens must have shape (B, S) with B = {len(self)}, got {tokens.shape}"
            )

    def decoder_arguments(self) -> dict[str, Any]:
        """Return the decoder's arguments ``memory`` and ``memory_lengths``, if it has attention."""
        if self.outputs is None:
            return {}
        return {"memory": self.outputs, "memory_lengths": self.lengths}


@dataclass(frozen=True)
class EncoderDecoderNetwork:
    """Encoder -> final state -> [bridge] -> initial state of the decoder.

    With attention the decoder also reads all outputs of the encoder.
    """

    encoder: Sequential
    """[Embedding] -> recurrent layer."""
    bridge: Bridge | None
    """None if the encoder's final state is the decoder's initial state."""
    decoder: Decoder
    """Decoder of the target tokens."""

    def __post_init__(self) -> None:
        checks.instance("encoder", self.encoder, Sequential)
        checks.instance("decoder", self.decoder, Decoder)
        if self.bridge is not None:
            checks.instance("bridge", self.bridge, Bridge)

    @classmethod
    def of(cls, modules: Mapping[str, Module]) -> EncoderDecoderNetwork:
        """Return the network with these `modules`, named as in the property of that name.

        Parameters
        ----------
        modules : mapping of str to Module

        Returns
        -------
        EncoderDecoderNetwork

        Raises
        ------
        TypeError, ValueError
            If a name or a module is wrong, or the modules do not fit together.
        """
        parts: dict[str, dict[str, Any]] = {"encoder": {}, "bridge": {}, "decoder": {}}
        for name, module in checks.fields("modules", modules).items():
            part, _, of_part = str(name).partition("-")
            if part not in parts or (part == "decoder" and of_part not in _DECODER_PARTS):
                rule = "names of modules must be as those of `modules`, such as encoder-lstm"
                raise ValueError(f"{rule}, got {name!r}")
            parts[part][of_part] = module
        for name in ("recurrent", "output"):
            if name not in parts["decoder"]:
                raise ValueError(f"modules must have decoder-{name}, got {list(modules)}")
        decoder = Decoder(**parts["decoder"])
        bridge = tuple(parts["bridge"].values())
        return cls(
            Sequential(*parts["encoder"].values()),
            Bridge(bridge, decoder.recurrent.num_layers) if bridge else None,
            decoder,
        )

    @property
    def modules(self) -> Mapping[str, Module]:
        """Name -> module, in the order of the gradients; the names are such as "encoder-lstm"."""
        encoder = {f"encoder-{type(m).__name__.lower()}": m for m in self.encoder.modules}
        linears = () if self.bridge is None else self.bridge.linears
        bridge = {f"bridge-{part}": m for part, m in zip("hc", linears, strict=False)}
        decoder = {f"decoder-{name}": m for name, m in self.decoder.modules.items()}
        return {**encoder, **bridge, **decoder}

    def __call__(
        self,
        x: NDArray[Any],
        lengths: Lengths,
        tokens: Ids,
        token_lengths: Lengths,
    ) -> FloatArray:
        """Return the logits with teacher forcing: inference, without dropout.

        Parameters
        ----------
        x : array (B, T, I), or integer array (B, T)
            Source sequences.
        lengths : integer array (B,)
            Number of steps of each source.
        tokens : integer array (B, S)
            Input tokens of the decoder, the start token first.
        token_lengths : integer array (B,)
            Number of steps of each target.

        Returns
        -------
        array (B, S, V)
        """
        return self.decoder.output(self.features(x, lengths, tokens, token_lengths))

    def features(
        self,
        x: NDArray[Any],
        lengths: Lengths,
        tokens: Ids,
        token_lengths: Lengths,
    ) -> FloatArray:
        """Return the input of the decoder's output layer with teacher forcing: inference.

        Parameters
        ----------
        x : array (B, T, I), or integer array (B, T)
            Source sequences.
        lengths : integer array (B,)
            Number of steps of each source.
        tokens : integer array (B, S)
            Input tokens of the decoder, the start token first.
        token_lengths : integer array (B,)
            Number of steps of each target.

        Returns
        -------
        array (B, S, H), with attention (B, S, H + M)
        """
        memory = self.encode(x, lengths)
        memory.check_targets(tokens)
        features, _ = self.decoder.features(
            tokens, lengths=token_lengths, state=memory.state, **memory.decoder_arguments()
        )
        return features

    def encode(self, x: NDArray[Any], lengths: Lengths) -> Memory:
        """Run the encoder and the bridge: inference, without dropout.

        Parameters
        ----------
        x : array (B, T, I), or integer array (B, T)
            Source sequences.
        lengths : integer array (B,)
            Number of steps of each source.

        Returns
        -------
        Memory
        """
        outputs, (state,) = self.encoder(x, lengths=lengths)
        if self.bridge is not None:
            state = self.bridge(state)
        return self._memory(state, outputs, lengths)

    def forward(
        self,
        x: NDArray[Any],
        lengths: Lengths,
        tokens: Ids,
        token_lengths: Lengths,
        forced: NDArray[np.bool_] | None = None,
        *,
        recompute_every: int | None = None,
    ) -> EncoderDecoderRun:
        """Run encoder, bridge and decoder, ready for `EncoderDecoderRun.backward`: training.

        Parameters
        ----------
        x : array (B, T, I), or integer array (B, T)
            Source sequences.
        lengths : integer array (B,)
            Number of steps of each source.
        tokens : integer array (B, S)
            Input tokens of the decoder, the start token first.
        token_lengths : integer array (B,)
            Number of steps of each target.
        forced : bool array (B, S), optional
            True for input tokens that are kept; the others are replaced by the network's own most
            likely token at that step (scheduled sampling: S. Bengio et al., 2015, Scheduled
            sampling for sequence prediction with recurrent neural networks). The first token is
            always kept. By default all are: teacher forcing.
        recompute_every : int, optional
            Save the state of every k-th step only: see `Recurrent.forward`.

        Returns
        -------
        EncoderDecoderRun
        """
        encoded = self.encoder.forward(x, lengths=lengths, recompute_every=recompute_every)
        (state,) = encoded.state
        bridged = None if self.bridge is None else self.bridge.forward(state)
        memory = self._memory(state if bridged is None else bridged.state, encoded.output, lengths)
        memory.check_targets(tokens)
        if forced is not None:
            tokens = self.with_predictions(memory, tokens, forced)
        decoded = self.decoder.forward(
            tokens,
            lengths=token_lengths,
            state=memory.state,
            recompute_every=recompute_every,
            **memory.decoder_arguments(),
        )
        return EncoderDecoderRun(encoded, bridged, decoded, tokens)

    def with_predictions(self, memory: Memory, tokens: Ids, forced: NDArray[np.bool_]) -> Ids:
        """Return `tokens` with the network's own predictions where `forced` is False.

        Parameters
        ----------
        memory : Memory
            Encoded sources.
        tokens : integer array (B, S)
            Input tokens of the decoder, the start token first.
        forced : bool array (B, S)
            True for tokens that are kept; the first of each sequence always is.

        Returns
        -------
        integer array (B, S)

        Raises
        ------
        TypeError, ValueError
            If an argument has the wrong type or shape.
        """
        checks.instance("memory", memory, Memory)
        mixed: Ids = checks.numpy_array("tokens", tokens).copy()
        if tokens.ndim != 2 or tokens.dtype.kind not in "iu":
            got = f"{tokens.dtype} {tokens.shape}"
            raise ValueError(f"tokens must be integers of shape (B, S), got {got}")
        checks.array("forced", forced, np.dtype(np.bool_))
        checks.same_shape("forced", forced, "tokens", tokens.shape)
        state = memory.state
        for s in range(1, tokens.shape[1]):
            logits, state = self.decoder.step(mixed[:, s - 1], state, **memory.decoder_arguments())
            mixed[:, s] = np.where(forced[:, s], tokens[:, s], logits.argmax(1))
        return mixed

    def attention_weights(self, memory: Memory, tokens: Ids, lengths: Lengths) -> FloatArray:
        """Return the attention weights of all steps of the sources for every target step.

        Parameters
        ----------
        memory : Memory
            Encoded sources.
        tokens : integer array (B, S)
            Input tokens of the decoder, the start token first.
        lengths : integer array (B,)
            Number of steps of each target.

        Returns
        -------
        array (B, S, T)

        Raises
        ------
        TypeError, ValueError
            If an argument has the wrong type or shape, or there is no attention.
        """
        decoder = self.decoder
        checks.instance("memory", memory, Memory)
        if decoder.attention is None or memory.outputs is None:
            raise ValueError("attention_weights needs a decoder with attention, got one without")
        memory.check_targets(tokens)
        x = tokens if decoder.embedding is None else decoder.embedding(tokens, lengths=lengths)
        h, _ = decoder.recurrent(x, lengths=lengths, state=memory.state)
        _, weights = decoder.attention(h, memory.outputs, lengths=memory.lengths)
        return weights

    def _memory(self, state: State, outputs: FloatArray, lengths: Lengths) -> Memory:
        if self.decoder.attention is None:
            return Memory(state, None, None)
        return Memory(state, outputs, lengths)


@dataclass(frozen=True)
class EncoderDecoderRun:
    """Forward pass of an `EncoderDecoderNetwork`, as its `forward` returns it."""

    _encoded: SequentialRun
    _bridged: BridgeRun | None
    _decoded: DecoderRun
    tokens: Ids
    """Input tokens of the decoder, (B, S)."""

    @property
    def output(self) -> FloatArray:
        """Logits of the next token at every step, (B, S, V)."""
        return self._decoded.output

    @property
    def decoded(self) -> DecoderRun:
        """Forward pass of the decoder."""
        return self._decoded

    def backward(
        self, d_output: FloatArray | Loss | OutputLoss, *, steps: bool = False
    ) -> list[Gradients]:
        """Backpropagate through all modules and through time, exactly.

        The network's own predictions among the input tokens are constants.

        Parameters
        ----------
        d_output : array (B, S, V), Loss, or OutputLoss
            Gradient of the loss with respect to `output`, or the loss with its gradient, or what
            `DecoderRun.cross_entropy` returned.
        steps : bool, default False
            Whether to return the gradients of the recurrent states at every step as well.

        Returns
        -------
        list of Gradients
            In the order of `EncoderDecoderNetwork.modules`.
        """
        d = self._decoded.backward(d_output, steps=steps)
        bridge: list[Gradients] = []
        d_state = d.state
        if self._bridged is not None:
            bridge, d_state = self._bridged.backward(d_state)
        encoder = self._encoded.backward(d.memory, (d_state,), steps=steps)
        return [*encoder.modules, *bridge, *d.modules]
