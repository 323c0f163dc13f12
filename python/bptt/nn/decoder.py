"""Decoder: generation of tokens, each conditioned on those before it.

Shapes: B batch, S steps, V tokens, H hidden_size, T steps of the memory, M its features.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bptt._core import checks
from bptt._core.checks import FloatArray
from bptt._core.lengths import Ids, Lengths, padding_of
from bptt._core.memory import side_by_side
from bptt.decoding.beam import Hypothesis, beam_search
from bptt.decoding.sampling import most_likely, sample
from bptt.nn.attention import Attention
from bptt.nn.decoder_run import DecoderRun
from bptt.nn.dropout import Dropout
from bptt.nn.embedding import Embedding
from bptt.nn.linear import Linear
from bptt.nn.module import Module
from bptt.nn.recurrent_base import Recurrent
from bptt.nn.state import State


class TeacherForcing(NamedTuple):
    """Inputs and targets of a decoder that is trained with teacher forcing."""

    tokens: NDArray[np.int32]
    """(B, S): the start token and the sequence."""
    targets: NDArray[np.int32]
    """(B, S): the sequence and the stop token."""
    lengths: NDArray[np.int64]
    """(B,): lengths of the sequences, plus 1."""


def teacher_forcing(ids: Ids, lengths: Lengths, start: int, stop: int) -> TeacherForcing:
    """Return inputs with a start token first, and targets with a stop token last.

    Parameters
    ----------
    ids : integer array (B, S-1)
        Padded sequences.
    lengths : integer array (B,)
        Number of tokens of each sequence.
    start : int
        Id of the start token.
    stop : int
        Id of the stop token.

    Returns
    -------
    TeacherForcing
    """
    batch, steps = ids.shape
    tokens = np.zeros((batch, steps + 1), np.int32)
    tokens[:, 0] = start
    tokens[:, 1:] = ids
    targets = np.zeros((batch, steps + 1), np.int32)
    targets[:, :-1] = ids
    targets[np.arange(batch), lengths] = stop
    return TeacherForcing(tokens, targets, np.asarray(lengths, np.int64) + 1)


class Decoder:
    """Tokens -> [embedding] -> recurrent -> [attention] -> [dropout] -> logits of the next token.

    Without an embedding, tokens are one-hot. With attention, the output layer reads
    [h_t, context_t], where h_t is the query and the memory holds the keys: M. Luong, H. Pham and
    C. Manning (2015), Effective approaches to attention-based neural machine translation.

    Parameters
    ----------
    embedding : Embedding, optional
        Of the input tokens.
    recurrent : RNN, LSTM or GRU
        Unidirectional and batch-first.
    attention : Attention, optional
        With query_size H and key_size M.
    dropout : Dropout, optional
        Before the output layer.
    output : Linear
        From H features, with attention H + M, to V.

    Attributes
    ----------
    modules : mapping
        "embedding", "recurrent", "attention", "dropout", "output" -> module, for the modules that
        are given: ``Decoder(**decoder.modules)`` is the same decoder.

    Raises
    ------
    TypeError, ValueError
        If dtypes or sizes of the modules do not fit together.
    """

    modules: Mapping[str, Module]

    def __init__(
        self,
        *,
        embedding: Embedding | None = None,
        recurrent: Recurrent[Any],
        attention: Attention | None = None,
        dropout: Dropout | None = None,
        output: Linear,
    ) -> None:
        self.embedding, self.recurrent, self.attention = embedding, recurrent, attention
        self.dropout, self.output = dropout, output
        given = {
            "embedding": embedding,
            "recurrent": recurrent,
            "attention": attention,
            "dropout": dropout,
            "output": output,
        }
        self.modules = {name: module for name, module in given.items() if module is not None}
        self._check()

    def __repr__(self) -> str:
        return f"Decoder({', '.join(f'{name}={m}' for name, m in self.modules.items())})"

    def __call__(
        self,
        tokens: Ids,
        *,
        lengths: Lengths | None = None,
        state: State | None = None,
        memory: FloatArray | None = None,
        memory_lengths: Lengths | None = None,
    ) -> tuple[FloatArray, State]:
        """Run over given sequences: inference, without dropout.

        Parameters
        ----------
        tokens : integer array (B, S)
            Input tokens, the start token first.
        lengths : integer array (B,), optional
            Number of steps of each sequence, in [0, S]. S by default.
        state : array, LSTMState or SLSTMState, (num_layers, B, H), optional
            Initial state of the recurrent layers. Zero by default.
        memory : array (B, T, M), optional
            Memory of the attention; required with attention, and only allowed then.
        memory_lengths : integer array (B,), optional
            Number of steps of each memory, in [0, T]. T by default.

        Returns
        -------
        logits : array (B, S, V)
            Logits of the next token at every step.
        state : array, LSTMState or SLSTMState, (num_layers, B, H)
            Final state.

        Raises
        ------
        TypeError, ValueError
            If an argument has the wrong type or an invalid value.
        """
        h, final = self.features(
            tokens, lengths=lengths, state=state, memory=memory, memory_lengths=memory_lengths
        )
        return self.output(h), final

    def features(
        self,
        tokens: Ids,
        *,
        lengths: Lengths | None = None,
        state: State | None = None,
        memory: FloatArray | None = None,
        memory_lengths: Lengths | None = None,
    ) -> tuple[FloatArray, State]:
        """Return the input of the output layer and the final state: inference, without dropout.

        Parameters
        ----------
        tokens : integer array (B, S)
            Input tokens, the start token first.
        lengths : integer array (B,), optional
            Number of steps of each sequence, in [0, S]. S by default.
        state : array, LSTMState or SLSTMState, (num_layers, B, H), optional
            Initial state of the recurrent layers. Zero by default.
        memory : array (B, T, M), optional
            Memory of the attention; required with attention, and only allowed then.
        memory_lengths : integer array (B,), optional
            Number of steps of each memory, in [0, T]. T by default.

        Returns
        -------
        features : array (B, S, H), with attention (B, S, H + M)
            Input of `output`, for example for `Linear.cross_entropy`.
        state : array, LSTMState or SLSTMState, (num_layers, B, H)
            Final state.

        Raises
        ------
        TypeError, ValueError
            If an argument has the wrong type or an invalid value.
        """
        self._check_memory(memory)
        x = tokens if self.embedding is None else self.embedding(tokens, lengths=lengths)
        h, final = self.recurrent(x, lengths=lengths, state=state)
        if self.attention is not None and memory is not None:
            context, _ = self.attention(h, memory, lengths=memory_lengths)
            h = side_by_side(h, context)
        return h, final

    def forward(
        self,
        tokens: Ids,
        *,
        lengths: Lengths | None = None,
        state: State | None = None,
        memory: FloatArray | None = None,
        memory_lengths: Lengths | None = None,
        recompute_every: int | None = None,
    ) -> DecoderRun:
        """Run over given sequences, ready for `DecoderRun.backward`: training (teacher forcing).

        Parameters
        ----------
        tokens : integer array (B, S)
            Input tokens, the start token first.
        lengths : integer array (B,), optional
            Number of steps of each sequence, in [0, S]. S by default.
        state : array, LSTMState or SLSTMState, (num_layers, B, H), optional
            Initial state of the recurrent layers. Zero by default.
        memory : array (B, T, M), optional
            Memory of the attention; required with attention, and only allowed then.
        memory_lengths : integer array (B,), optional
            Number of steps of each memory, in [0, T]. T by default.
        recompute_every : int, optional
            Save the state of every k-th step only: see `Recurrent.forward`.

        Returns
        -------
        DecoderRun
            With the logits (B, S, V) as ``.output`` and the final state as ``.state``.

        Raises
        ------
        TypeError, ValueError
            If an argument has the wrong type or an invalid value.
        """
        self._check_memory(memory)
        runs: dict[str, Any] = {}
        x: Any = tokens
        if self.embedding is not None:
            runs["embedding"] = self.embedding.forward(tokens, lengths=lengths)
            x = runs["embedding"].output
        runs["recurrent"] = self.recurrent.forward(
            x, lengths=lengths, state=state, recompute_every=recompute_every
        )
        y = runs["recurrent"].output
        if self.attention is not None and memory is not None:
            runs["attention"] = self.attention.forward(y, memory, lengths=memory_lengths)
            y = side_by_side(y, runs["attention"].output)
        if self.dropout is not None:
            runs["dropout"] = self.dropout.forward(y)
            y = runs["dropout"].output
        runs["output"] = self.output._delayed(y)
        return DecoderRun(runs, padding_of(lengths, *tokens.shape), self.recurrent.output_size)

    def step(
        self,
        tokens: Ids,
        state: State | None = None,
        *,
        memory: FloatArray | None = None,
        memory_lengths: Lengths | None = None,
    ) -> tuple[FloatArray, State]:
        """Run one time step, without dropout.

        Parameters
        ----------
        tokens : integer array (B,)
            Input token of each sequence.
        state : array, LSTMState or SLSTMState, (num_layers, B, H), optional
            State after the previous step. Zero by default.
        memory : array (B, T, M), optional
            Memory of the attention; required with attention, and only allowed then.
        memory_lengths : integer array (B,), optional
            Number of steps of each memory, in [0, T]. T by default.

        Returns
        -------
        logits : array (B, V)
            Logits of the next token.
        state : array, LSTMState or SLSTMState, (num_layers, B, H)
            State after this step.

        Raises
        ------
        TypeError, ValueError
            If an argument has the wrong type or an invalid value.
        """
        self._check_memory(memory)
        x = tokens if self.embedding is None else self.embedding(tokens)
        h, state = self.recurrent.step(x, state)
        if self.attention is not None and memory is not None:
            context, _ = self.attention(h[:, np.newaxis], memory, lengths=memory_lengths)
            h = side_by_side(h, context[:, 0])
        return self.output(h), state

    def greedy_search(
        self,
        start: Ids,
        state: State | None = None,
        *,
        stop: int,
        max_length: int,
        forbidden: Sequence[int] = (),
        memory: FloatArray | None = None,
        memory_lengths: Lengths | None = None,
    ) -> list[NDArray[np.int64]]:
        """Generate sequences, choosing the most likely token at every step.

        Parameters
        ----------
        start : integer array (B,)
            Start tokens, or the last tokens of a prompt.
        state : array, LSTMState or SLSTMState, (num_layers, B, H), optional
            State before `start`. Zero by default.
        stop : int
            Id of the stop token.
        max_length : int
            Maximum number of tokens.
        forbidden : sequence of int
            Ids of tokens that are never generated.
        memory : array (B, T, M), optional
            Memory of the attention; required with attention.
        memory_lengths : integer array (B,), optional
            Number of steps of each memory, in [0, T]. All T by default.

        Returns
        -------
        list of B int64 arrays
            Token ids without the stop token.

        Raises
        ------
        TypeError, ValueError
            If an argument has the wrong type or an invalid value.
        """
        memories: dict[str, Any] = {"memory": memory, "memory_lengths": memory_lengths}
        return self._generate(most_likely, start, state, stop, max_length, forbidden, memories)

    def sample(
        self,
        start: Ids,
        state: State | None = None,
        *,
        random: np.random.Generator,
        stop: int,
        max_length: int,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        forbidden: Sequence[int] = (),
        memory: FloatArray | None = None,
        memory_lengths: Lengths | None = None,
    ) -> list[NDArray[np.int64]]:
        """Generate sequences, sampling every token.

        Parameters
        ----------
        start : integer array (B,)
            Start tokens, or the last tokens of a prompt.
        state : array, LSTMState or SLSTMState, (num_layers, B, H), optional
            State before `start`. Zero by default.
        random : numpy.random.Generator
            Source of randomness.
        stop : int
            Id of the stop token.
        max_length : int
            Maximum number of tokens.
        temperature : float
            Divisor of the logits, >= 0; 0 is greedy. See `bptt.decoding.sampling_distribution`.
        top_k : int, optional
            Number of most likely tokens to sample from. All by default.
        top_p : float, optional
            Probability of the nucleus to sample from, in (0, 1]. No restriction by default.
        forbidden : sequence of int
            Ids of tokens that are never generated.
        memory : array (B, T, M), optional
            Memory of the attention; required with attention.
        memory_lengths : integer array (B,), optional
            Number of steps of each memory, in [0, T]. All T by default.

        Returns
        -------
        list of B int64 arrays
            Token ids without the stop token.

        Raises
        ------
        TypeError, ValueError
            If an argument has the wrong type or an invalid value.
        """
        options: dict[str, Any] = {"temperature": temperature, "top_k": top_k, "top_p": top_p}
        memories: dict[str, Any] = {"memory": memory, "memory_lengths": memory_lengths}
        choose = partial(sample, random=random, **options)
        return self._generate(choose, start, state, stop, max_length, forbidden, memories)

    def beam_search(
        self,
        start: Ids,
        state: State | None = None,
        *,
        stop: int,
        max_length: int,
        beam: int = 5,
        count: int | None = None,
        length_penalty: float = 0.0,
        forbidden: Sequence[int] = (),
        memory: FloatArray | None = None,
        memory_lengths: Lengths | None = None,
    ) -> list[list[Hypothesis]]:
        """Search for the most likely sequences.

        Parameters
        ----------
        start : integer array (B,)
            Start tokens, or the last tokens of a prompt.
        state : array, LSTMState or SLSTMState, (num_layers, B, H), optional
            State before `start`. Zero by default.
        stop : int
            Id of the stop token.
        max_length : int
            Maximum number of tokens.
        beam : int
            Number of hypotheses per sequence; 1 is greedy.
        count : int, optional
            Number of hypotheses to return per sequence, in [1, beam]. All `beam` by default.
        length_penalty : float
            Exponent of the length penalty, >= 0; larger values favor longer sequences. See
            `bptt.decoding.beam_search`.
        forbidden : sequence of int
            Ids of tokens that are never generated.
        memory : array (B, T, M), optional
            Memory of the attention; required with attention.
        memory_lengths : integer array (B,), optional
            Number of steps of each memory, in [0, T]. All T by default.

        Returns
        -------
        list of B lists of Hypothesis
            The best first.

        Raises
        ------
        TypeError, ValueError
            If an argument has the wrong type or an invalid value.
        """
        beam = checks.integer("beam", beam)
        forbidden = self._forbidden(forbidden)
        if memory is not None:
            memory = np.repeat(checks.numpy_array("memory", memory), beam, axis=0)
        if memory_lengths is not None:
            given = checks.numpy_array("memory_lengths", memory_lengths)
            memory_lengths = np.repeat(given, beam)

        def step(tokens: Ids, state: State | None) -> tuple[FloatArray, State]:
            logits, state = self.step(tokens, state, memory=memory, memory_lengths=memory_lengths)
            return _log_softmax(_mask_forbidden(logits, forbidden)), state

        return beam_search(
            step,
            state,
            start,
            stop=stop,
            max_length=max_length,
            beam=beam,
            count=count,
            length_penalty=length_penalty,
        )

    def _generate(
        self,
        choose: Callable[[FloatArray], NDArray[np.int64]],
        start: Ids,
        state: State | None,
        stop: int,
        max_length: int,
        forbidden: Sequence[int],
        memory: dict[str, Any],
    ) -> list[NDArray[np.int64]]:
        """Generate step by step; `choose` picks tokens (B,) from logits (B, V)."""
        max_length = checks.integer("max_length", max_length)
        stop, forbidden = checks.integer("stop", stop, 0), self._forbidden(forbidden)
        tokens = checks.numpy_array("start", start)
        if tokens.ndim != 1:
            raise ValueError(f"start must have shape (batch,), got {tokens.shape}")
        generated: list[NDArray[np.int64]] = []  # of every step, (batch,); no more than there are
        alive = np.ones(len(tokens), np.bool_)
        for _ in range(max_length):
            logits, state = self.step(tokens, state, **memory)
            tokens = choose(_mask_forbidden(logits, forbidden))
            alive &= tokens != stop
            if not alive.any():
                break
            generated.append(np.where(alive, tokens, -1))
        rows = np.stack(generated, axis=1) if generated else np.empty((len(alive), 0), np.int64)
        return [row[row >= 0] for row in rows]

    def _forbidden(self, ids: Sequence[int]) -> tuple[int, ...]:
        """Check ids of tokens that are never generated."""
        return tuple(checks.indices("forbidden", ids, self.output.out_features).tolist())

    def _check(self) -> None:
        recurrent, embedding, attention = self.recurrent, self.embedding, self.attention
        checks.instance("recurrent", recurrent, Recurrent)
        checks.instance("output", self.output, Linear)
        optional = (
            ("embedding", embedding, Embedding),
            ("attention", attention, Attention),
            ("dropout", self.dropout, Dropout),
        )
        for name, module, kind in optional:
            if module is not None:
                checks.instance(name, module, kind)
        for option in ("bidirectional", "reverse", "time_major"):
            if getattr(recurrent, option):
                raise ValueError(f"recurrent must have {option}=False, got {recurrent}")
        if embedding is not None and embedding.embedding_dim != recurrent.input_size:
            rule = f"the embedding's {embedding.embedding_dim} features"
            raise ValueError(f"recurrent must take {rule}, got {recurrent}")
        features = recurrent.output_size
        if attention is not None:
            if attention.query_size != features:
                rule = f"query_size = output_size = {features}"
                raise ValueError(f"attention must have {rule}, got {attention}")
            features += attention.key_size
        if self.output.in_features != features:
            raise ValueError(f"output must take {features} features, got {self.output}")
        if len({module.dtype for module in self.modules.values()}) > 1:
            raise TypeError(f"modules must have one dtype, got {self}")

    def _check_memory(self, memory: FloatArray | None) -> None:
        if (memory is None) != (self.attention is None):
            raise ValueError(
                "memory needs a decoder with attention, got one without"
                if self.attention is None
                else "memory is required with attention, got None"
            )


def _mask_forbidden(logits: FloatArray, forbidden: Sequence[int]) -> FloatArray:
    if forbidden:
        logits[:, list(forbidden)] = -np.inf
    return logits


def _log_softmax(logits: FloatArray) -> NDArray[np.float64]:
    scores = logits.astype(np.float64)
    scores -= scores.max(axis=1, keepdims=True)
    log_p: NDArray[np.float64] = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))
    return log_p
