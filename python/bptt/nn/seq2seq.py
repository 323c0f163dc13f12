"""The network of an encoder-decoder: what reads, a bridge, and what writes.

I. Sutskever, O. Vinyals and Q. Le (2014), Sequence to sequence learning with neural networks.

Shapes: B batch, T steps of the source, S steps of the target, V tokens of the target.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bptt._core.checks import FloatArray
from bptt._core.lengths import Ids, Lengths
from bptt.nn.decoder import Decoder
from bptt.nn.decoder_run import DecoderRun
from bptt.nn.linear import Linear, LinearRun
from bptt.nn.module import Gradients, Module
from bptt.nn.sequential import Sequential
from bptt.nn.sequential_run import SequentialRun
from bptt.nn.state import State, arrays_of, as_state


class Bridge:
    """A `Linear` for h, and one for c of an LSTM, from a state of all layers to all layers'.

    The parts of a state, of all layers and directions side by side, (B, N*H), become (B, N'*H').

    Parameters
    ----------
    linears : sequence of Linear
        N*H -> N'*H'; one, or two for an LSTM.
    num_layers : int
        N'.
    """

    def __init__(self, linears: Sequence[Linear], num_layers: int) -> None:
        self.linears = tuple(linears)
        self.num_layers = num_layers

    def __call__(self, state: State) -> State:
        """Return the state on the other side, without keeping anything."""
        pairs = zip(self.linears, arrays_of(state), strict=True)
        return as_state(*(_apart(linear(_beside(p)), self.num_layers) for linear, p in pairs))

    def forward(self, state: State) -> BridgeRun:
        """Return the state on the other side as a `BridgeRun`, which can go backward."""
        parts = arrays_of(state)
        runs = [
            linear.forward(_beside(part)) for linear, part in zip(self.linears, parts, strict=True)
        ]
        return BridgeRun(
            as_state(*(_apart(run.output, self.num_layers) for run in runs)), runs, len(parts[0])
        )


@dataclass(frozen=True)
class BridgeRun:
    """A pass over a `Bridge`, ready to go backward."""

    state: State
    """(N', B, H')"""
    _runs: list[LinearRun]
    _rows: int  # N

    def backward(self, d_state: State) -> tuple[list[Gradients], State]:
        """Return the gradients of the linear layers, and that of the state before the bridge."""
        parts = zip(self._runs, arrays_of(d_state), strict=True)
        gradients = [run.backward(_beside(part)) for run, part in parts]
        d_inputs: list[Any] = [gradient.input for gradient in gradients]
        return gradients, as_state(*(_apart(d, self._rows) for d in d_inputs))


def _beside(part: FloatArray) -> FloatArray:
    """(N, B, H) -> (B, N*H)."""
    batch = part.shape[1]
    return np.ascontiguousarray(part.swapaxes(0, 1)).reshape(batch, -1)


def _apart(rows: FloatArray, count: int) -> FloatArray:
    """(B, N*H) -> (N, B, H)."""
    return np.ascontiguousarray(rows.reshape(len(rows), count, -1).swapaxes(0, 1))


@dataclass(frozen=True)
class Memory:
    """What has been read, as the decoder takes it."""

    state: State
    """Initial state of the decoder."""
    outputs: FloatArray | None
    """(B, T, K), of the encoder; None without attention."""
    lengths: Lengths | None
    """(B,), of the sources."""

    def __len__(self) -> int:
        return int(arrays_of(self.state)[0].shape[1])

    def of_decoder(self) -> dict[str, Any]:
        """What the decoder takes besides tokens and state."""
        if self.outputs is None:
            return {}
        return {"memory": self.outputs, "memory_lengths": self.lengths}


@dataclass(frozen=True)
class EncoderDecoderNetwork:
    """Encoder -> final state -> [bridge] -> initial state of the decoder, which writes tokens.

    With attention the decoder also looks at all outputs of the encoder.
    """

    encoder: Sequential
    """[Embedding] -> recurrent layers."""
    bridge: Bridge | None
    decoder: Decoder

    @classmethod
    def of(cls, modules: Mapping[str, Module]) -> EncoderDecoderNetwork:
        """Return the network whose `modules` these are."""
        parts: dict[str, dict[str, Any]] = {"encoder": {}, "bridge": {}, "decoder": {}}
        for name, module in modules.items():
            part, _, of_part = name.partition("-")
            parts[part][of_part] = module
        decoder = Decoder(**parts["decoder"])
        bridge = tuple(parts["bridge"].values())
        return cls(
            Sequential(*parts["encoder"].values()),
            Bridge(bridge, decoder.recurrent.num_layers) if bridge else None,
            decoder,
        )

    @property
    def modules(self) -> Mapping[str, Module]:
        """Name -> module, in the order of the gradients."""
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
        """Return the logits (B, S, V) with teacher forcing, and keep nothing: see `forward`."""
        memory = self.read(x, lengths)
        logits, _ = self.decoder(
            tokens, lengths=token_lengths, state=memory.state, **memory.of_decoder()
        )
        return logits

    def read(self, x: NDArray[Any], lengths: Lengths) -> Memory:
        """Read the sources and keep nothing else: inference."""
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
        """Read the sources and write every next token, given those before: training.

        Parameters
        ----------
        x : array (B, T, I), or integer array (B, T)
        lengths : integer array (B,)
        tokens : integer array (B, S)
            What goes into the decoder, "<start>" first.
        token_lengths : integer array (B,)
        forced : bool array (B, S), optional
            Which of the tokens go in; the others are replaced by what the network itself finds the
            likeliest there, given what went in before. The first always goes in. By default all
            do: teacher forcing.
        recompute_every : int, optional
            See `RNN.forward`.

        Returns
        -------
        EncoderDecoderRun
        """
        encoded = self.encoder.forward(x, lengths=lengths, recompute_every=recompute_every)
        (state,) = encoded.state
        crossed = None if self.bridge is None else self.bridge.forward(state)
        memory = self._memory(state if crossed is None else crossed.state, encoded.output, lengths)
        if forced is not None:
            tokens = self.mixed(memory, tokens, forced)
        decoded = self.decoder.forward(
            tokens,
            lengths=token_lengths,
            state=memory.state,
            recompute_every=recompute_every,
            **memory.of_decoder(),
        )
        return EncoderDecoderRun(encoded, crossed, decoded, tokens)

    def mixed(self, memory: Memory, tokens: Ids, forced: NDArray[np.bool_]) -> Ids:
        """Return the tokens, (B, S), with the network's own where they are not `forced`."""
        mixed: Ids = tokens.copy()
        state = memory.state
        for s in range(1, tokens.shape[1]):
            logits, state = self.decoder.step(mixed[:, s - 1], state, **memory.of_decoder())
            mixed[:, s] = np.where(forced[:, s], tokens[:, s], logits.argmax(1))
        return mixed

    def attention_weights(self, memory: Memory, tokens: Ids, lengths: Lengths) -> FloatArray:
        """Return the weights of the sources' steps when each next token is written, (B, S, T)."""
        decoder = self.decoder
        assert decoder.attention is not None
        assert memory.outputs is not None
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
    """A forward pass of an `EncoderDecoderNetwork`, ready to go backward."""

    _encoded: SequentialRun
    _crossed: BridgeRun | None
    _decoded: DecoderRun
    tokens: Ids
    """(B, S), what went into the decoder."""

    @property
    def output(self) -> FloatArray:
        """Logits of every next token, (B, S, V)."""
        return self._decoded.output

    def backward(self, d_output: FloatArray, *, steps: bool = False) -> list[Gradients]:
        """Return the gradients of all modules, in the order of the network's.

        With `steps`, those of the recurrent layers have ``.steps``.

        What the network chose itself has none: they are exact for the tokens that went in.
        """
        d = self._decoded.backward(d_output, steps=steps)
        bridge: list[Gradients] = []
        d_state = d.state
        if self._crossed is not None:
            bridge, d_state = self._crossed.backward(d_state)
        encoder = self._encoded.backward(d.memory, (d_state,), steps=steps)
        return [*encoder.modules, *bridge, *d.modules]
