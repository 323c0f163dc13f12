"""Many-to-many, unaligned: a sequence is read, and another one written. Translation, speech."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bptt._core import checks
from bptt._core.checks import FloatArray
from bptt.data.batching import sorted_batches
from bptt.data.sequences import SequenceEncoder, Sequences
from bptt.data.target_encoder import TargetEncoder, Text
from bptt.estimators._base import SequenceEstimator
from bptt.nn.attention import Attention
from bptt.nn.cells import CELLS
from bptt.nn.decoder import Decoder
from bptt.nn.dropout import Dropout
from bptt.nn.embedding import Embedding
from bptt.nn.linear import Linear
from bptt.nn.module import Module
from bptt.nn.seq2seq import Bridge, EncoderDecoderNetwork, Memory
from bptt.nn.sequential import Sequential
from bptt.training.sequence_to_sequence import PairDataset, SequenceToSequenceTask
from bptt.training.supervised import PREDICTION_BATCH_SIZE
from bptt.training.teacher_forcing import TokenDataset

_LONGER = 2  # what is written may be so many times as long as the longest target


@dataclass(kw_only=True, repr=False, eq=False)
class EncoderDecoder(SequenceEstimator):
    """Reads a sequence and writes another, of a length of its own: translation, for example.

    The final state of the encoder is the initial state of the decoder, which writes token after
    token, each given those before it, until it writes the stop token: I. Sutskever, O. Vinyals and
    Q. Le (2014), Sequence to sequence learning with neural networks. If the encoder is
    bidirectional, a linear layer makes of its states that of the decoder. In training the tokens
    before are the right ones (teacher forcing). The loss is cross-entropy, its mean over all tokens
    of the targets, the stop tokens among them.

    Parameters
    ----------
    attention : None, "dot" or "additive"
        Whether the decoder also sees a weighted mean of the outputs of the encoder, another one at
        every step; see `Attention`. With "dot" the outputs of a bidirectional encoder's directions
        are added, with "additive" they are side by side.
    scheduled_sampling : float
        Probability, in [0, 1], that in training a token before is not the right one, but the
        likeliest for the network as it is: S. Bengio et al. (2015), Scheduled sampling for sequence
        prediction with recurrent neural networks. This takes longer: it goes step by step.
    label_smoothing : float
        Part, in [0, 1), of the target distribution that is spread over all tokens.
    max_length : int, optional
        The most tokens that are written. By default twice those of the longest target.
    and the others
        As for `SequenceEstimator`; `bidirectional` is about the encoder, the other options
        of layers about both. The `metric` in `history_` is the share of right tokens, given the
        right ones before.

    Attributes
    ----------
    history_ : History

    Notes
    -----
    y is a list of strings, of token lists or of id arrays, and so is what is written. Strings are
    cut into `tokens`, those of X as those of y.

    Examples
    --------
    >>> from bptt import EncoderDecoder
    >>> words = ["abc", "ca", "bab", "cb"]
    >>> model = EncoderDecoder(attention="dot", epochs=100, random_state=0).fit(words, words)
    >>> model.predict(["ca"])
    ['ca']
    """

    attention: str | None = None
    scheduled_sampling: float = 0.0
    label_smoothing: float = 0.0
    max_length: int | None = None

    # ---- what is written

    def predict(self, X: Any, lengths: Any = None, *, beam: int = 1) -> list[Text]:
        """Write a sequence for every sequence.

        Parameters
        ----------
        X, lengths
            As for `fit`.
        beam : int
            How many beginnings are followed at a time; with 1, every token is the likeliest.

        Returns
        -------
        list of B strings, token lists or id arrays
        """
        if checks.integer("beam", beam) > 1:
            return [found[0][0] for found in self.predict_beams(X, beam, lengths=lengths)]
        return [
            self.target_encoder_.write(ids) for ids in self._greedy(self._sequences(X, lengths))
        ]

    def predict_beams(
        self,
        X: Any,
        beam: int = 5,
        count: int | None = None,
        *,
        lengths: Any = None,
        length_penalty: float = 0.0,
    ) -> list[list[tuple[Text, float]]]:
        """Write the likeliest sequences for every sequence, as far as a beam search finds them.

        Parameters
        ----------
        X, lengths
            As for `fit`.
        beam : int
            How many beginnings are followed at a time.
        count : int, optional
            How many sequences are returned, `beam` at most. All by default.
        length_penalty : float
            See `bptt.decoding.beam_search`.

        Returns
        -------
        list of B lists of pairs
            A string or token list and its log-probability (divided by the length penalty), the
            best first.
        """
        sequences = self._sequences(X, lengths)
        result: list[list[tuple[Text, float]]] = [[]] * len(sequences)
        for indices in _together(sequences):
            memory = self.network_.read(*sequences.pad(indices))
            found = self.network_.decoder.beam_search(
                beam=beam,
                count=beam if count is None else count,
                length_penalty=length_penalty,
                **self._how(memory),
            )
            for i, hypotheses in zip(indices, found, strict=True):
                result[i] = [
                    (self.target_encoder_.write(h.tokens), h.log_probability) for h in hypotheses
                ]
        return result

    def attention_weights(self, X: Any, y: Any = None, lengths: Any = None) -> list[FloatArray]:
        """Return what the decoder looks at when it writes each token.

        Parameters
        ----------
        X, lengths
            As for `fit`.
        y : list of strings or token lists, optional
            What is written. By default what `predict` writes.

        Returns
        -------
        list of B arrays (S+1, T)
            A row for each token, and the last one for the stop token; a column for each step of
            the source. Rows add up to 1.

        Raises
        ------
        ValueError
            If there is no attention.
        """
        if self.attention is None:
            raise ValueError("attention_weights needs attention='dot' or 'additive', got None")
        sequences = self._sequences(X, lengths)
        if y is None:
            targets = Sequences.of(self._greedy(sequences))
        else:
            targets = self._targets(y, len(sequences))
        data, task = self._pairs(sequences, targets), self._task()
        result: list[FloatArray] = [np.empty(0)] * len(sequences)
        for indices in _together(sequences):
            batch = data.batch(indices)
            weights = task.attention_weights(batch)
            sizes = zip(batch.targets.lengths, batch.lengths, strict=True)
            for i, row, (written, read) in zip(indices, weights, sizes, strict=True):
                result[i] = row[:written, :read]
        return result

    def score(self, X: Any, y: Any, lengths: Any = None, sample_weight: Any = None) -> float:
        """Return the share of the sequences for which exactly the right one is written."""
        found = self._greedy(self._sequences(X, lengths))
        wanted = self._targets(y, len(found))
        right = [np.array_equal(ids, wanted[i]) for i, ids in enumerate(found)]
        return float(np.average(right, weights=self._weights(sample_weight, len(right))))

    # ---- what the base class asks for

    def _check_parameters(self) -> None:
        super()._check_parameters()
        if self.attention is not None:
            checks.one_of("dot", "additive")("attention", self.attention)
        rate = checks.number("scheduled_sampling", self.scheduled_sampling)
        if not 0.0 <= rate <= 1.0:
            raise ValueError(f"scheduled_sampling must be in [0, 1], got {rate}")
        checks.fraction("label_smoothing", self.label_smoothing)
        if self.max_length is not None:
            checks.integer("max_length", self.max_length)

    def _begin(self, X: Any, y: Any, lengths: Any, seeds: np.random.Generator) -> None:
        self._learn_input(X, lengths)
        self.target_encoder_ = TargetEncoder(tokens=self.tokens, min_count=self.min_count).fit(y)
        self._longest = int(self.target_encoder_.transform(y).lengths.max())
        self.network_ = EncoderDecoderNetwork(*self._reader(seeds), self._writer(seeds))

    def _fitted_state(self) -> dict[str, Any]:
        return {
            "encoder": self.encoder_.to_dict(),
            "target_encoder": self.target_encoder_.to_dict(),
            "longest": self._longest,
        }

    def _restore(self, state: Mapping[str, Any], modules: Mapping[str, Module]) -> None:
        self.encoder_ = SequenceEncoder.from_dict(state["encoder"])
        self.target_encoder_ = TargetEncoder.from_dict(state["target_encoder"])
        self._longest = state["longest"]
        self.network_ = EncoderDecoderNetwork.of(modules)

    def _task(self) -> SequenceToSequenceTask:
        return SequenceToSequenceTask(
            self.network_, self.scheduled_sampling, self.label_smoothing, self.recompute_every
        )

    def _data(self, X: Any, y: Any, lengths: Any = None, sample_weight: Any = None) -> PairDataset:
        sources = self._sequences(X, lengths)
        weights = self._weights(sample_weight, len(sources))
        return self._pairs(sources, self._targets(y, len(sources)), weights)

    def _pairs(
        self,
        sources: Sequences,
        targets: Sequences,
        weights: NDArray[np.float64] | None = None,
    ) -> PairDataset:
        encoder = self.target_encoder_
        tokens = TokenDataset(targets, encoder.start, encoder.stop, weights=weights)
        return PairDataset(sources, tokens)

    def _targets(self, y: Any, count: int) -> Sequences:
        targets = self.target_encoder_.transform(y)
        if len(targets) != count:
            raise ValueError(f"y must have {count} sequences, as X, got {len(targets)}")
        return targets

    # ---- modules

    def _reader(self, seeds: np.random.Generator) -> tuple[Sequential, Bridge | None]:
        """The encoder, and what makes of its final state that of the decoder."""
        size, chain = self.encoder_.size, []
        if self.encoder_.kind == "ids" and self.embedding_size is not None:
            chain.append(Embedding(size, self.embedding_size, **self._common(seeds)))
            size = self.embedding_size
        merge = "sum" if self.attention == "dot" else "concat"
        encoder = Sequential(*chain, self._recurrent(size, seeds, merge=merge))
        if not self.bidirectional:
            return encoder, None
        units = self.num_layers * self.hidden_size
        linears = [Linear(2 * units, units, **self._common(seeds)) for _ in CELLS[self.cell].states]
        return encoder, Bridge(linears, self.num_layers)

    def _writer(self, seeds: np.random.Generator) -> Decoder:
        tokens, hidden = self.target_encoder_.size, self.hidden_size
        embedding, attention, size, features = None, None, tokens, hidden
        if self.embedding_size is not None:
            size = self.embedding_size
            embedding = Embedding(tokens, size, **self._common(seeds))
        recurrent = self._recurrent(size, seeds, bidirectional=False)
        if self.attention is not None:
            memory = hidden * (2 if self.bidirectional and self.attention == "additive" else 1)
            attention = Attention(hidden, memory, kind=self.attention, **self._common(seeds))
            features += memory
        return Decoder(
            embedding=embedding,
            recurrent=recurrent,
            attention=attention,
            dropout=Dropout(self.dropout, **self._common(seeds)) if self.dropout else None,
            output=Linear(features, tokens, **self._common(seeds)),
        )

    # ---- writing

    def _how(self, memory: Memory) -> dict[str, Any]:
        """What the decoder needs to know to write on its own."""
        encoder = self.target_encoder_
        return {
            "start": np.full(len(memory), encoder.start),
            "state": memory.state,
            "stop": encoder.stop,
            "forbidden": encoder.forbidden,
            "max_length": self.max_length or max(_LONGER * self._longest, 1),
            **memory.of_decoder(),
        }

    def _greedy(self, sequences: Sequences) -> list[NDArray[np.int64]]:
        """Write the likeliest token every time."""
        result: list[NDArray[np.int64]] = [np.empty(0, np.int64)] * len(sequences)
        for indices in _together(sequences):
            memory = self.network_.read(*sequences.pad(indices))
            written = self.network_.decoder.greedy_search(**self._how(memory))
            for i, ids in zip(indices, written, strict=True):
                result[i] = ids
        return result


def _together(sequences: Sequences) -> list[NDArray[np.int64]]:
    """Indices of sequences of about one length."""
    return sorted_batches(sequences.lengths, PREDICTION_BATCH_SIZE)
