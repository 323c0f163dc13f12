"""Construction of the networks of estimators."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from bptt._core.checks import FloatArray
from bptt.data.sequence_encoder import SequenceEncoder
from bptt.data.vocabulary import Vocabulary
from bptt.data.word_vectors import read_word_vectors
from bptt.nn.characters import CharacterEmbedding
from bptt.nn.decay import InputDecay
from bptt.nn.dropout import Dropout
from bptt.nn.embedding import Embedding, EmbeddingBag
from bptt.nn.linear import Linear
from bptt.nn.module import Module
from bptt.nn.recurrent import GRU, LAYER_OF_CELL, make_recurrent
from bptt.nn.recurrent_base import Recurrent
from bptt.nn.sequential import Sequential

MAX_SEED = 2**31 - 1


class NetworkBuilder:
    """Parts of `SequenceEstimator` that make modules of its parameters."""

    cell: str
    hidden_size: int
    num_layers: int
    bidirectional: bool
    dropout: float
    recurrent_dropout: float
    zoneout: float
    learn_initial_state: bool
    embedding_size: int | None
    embedding_vectors: str | os.PathLike[str] | Mapping[str, FloatArray] | None
    freeze_embedding: bool
    missing: str
    dtype: str
    encoder_: SequenceEncoder
    _vectors_found: tuple[int, int, int] = (0, 0, 0)  # tokens with a vector, all, columns

    @property
    def _embeds(self) -> bool:
        """Whether tokens and ids have embeddings, and are not one-hot."""
        return self.embedding_size is not None or self.embedding_vectors is not None

    def _build_embedding(
        self,
        size: int,
        vocabulary: Vocabulary | None,
        seeds: np.random.Generator,
        *,
        default_size: int | None = None,
        bag: bool = False,
    ) -> Embedding | None:
        """Return the embedding of `size` ids, the first of which are those of the vocabulary.

        None if ids are one-hot.
        """
        dimension = self.embedding_size or default_size
        vectors = self.embedding_vectors
        tokens: tuple[str, ...] = ()
        self._vectors_found = (0, 0, 0)
        if vectors is not None:
            if vocabulary is None:
                raise ValueError("embedding_vectors needs strings or tokens, got integer ids")
            tokens = vocabulary.tokens
            if not isinstance(vectors, Mapping):
                words = {word for token in tokens for word in (token, token.lower())}
                vectors = read_word_vectors(vectors, words)
            dimension = self._columns(vectors)
        if dimension is None:
            return None
        kind = EmbeddingBag if bag else Embedding
        options = self._module_options(seeds)
        embedding = kind(size, dimension, frozen=self.freeze_embedding, **options)
        if vectors is not None:
            found = embedding.set_vectors(tokens, vectors)
            self._vectors_found = (int(found.sum()), len(found), dimension)
        return embedding

    def _words_with_vectors(self) -> list[str]:
        """Return all words of `embedding_vectors`."""
        vectors = self.embedding_vectors
        assert vectors is not None
        return list(vectors if isinstance(vectors, Mapping) else read_word_vectors(vectors))

    def _columns(self, vectors: Mapping[str, FloatArray]) -> int:
        """Return the size of the vectors of words, and check `embedding_size`."""
        first = next(iter(vectors.values()), None)
        if first is None:
            raise ValueError("embedding_vectors must have vectors of tokens of the data, got none")
        columns = int(np.size(first))
        if self.embedding_size not in (None, columns):
            rule = f"None or {columns}, the size of embedding_vectors"
            raise ValueError(f"embedding_size must be {rule}, got {self.embedding_size}")
        return columns

    def _describe_vectors(self) -> dict[str, str]:
        """Return how many tokens have a pretrained vector, for the log."""
        found, tokens, columns = self._vectors_found
        if not tokens:
            return {}
        share = f"{found:,} of {tokens:,} tokens ({found / tokens:.1%})"
        trained = "frozen" if self.freeze_embedding else "trained further"
        return {"embedding_vectors": f"{columns} numbers for {share}, {trained}"}

    def _build_recurrent(
        self, input_size: int, seeds: np.random.Generator, **options: Any
    ) -> Recurrent[Any]:
        """Return the recurrent layers."""
        arguments = {
            "num_layers": self.num_layers,
            "bidirectional": self.bidirectional,
            "dropout": self.dropout,
            "recurrent_dropout": self.recurrent_dropout,
            "zoneout": self.zoneout,
            "learn_initial_state": self.learn_initial_state,
            **self._module_options(seeds),
        }
        return make_recurrent(self.cell, input_size, self.hidden_size, **{**arguments, **options})

    def _build_model(
        self,
        outputs: int,
        seeds: np.random.Generator,
        *,
        pool: str | None = None,
        skip_input: bool = False,
        characters: CharacterEmbedding | None = None,
        embedding_dropout: float = 0.0,
    ) -> Sequential:
        """Return [embeddings] -> recurrent layers -> [Dropout] -> Linear, for the encoded input."""
        size = self.encoder_.size
        first: list[Module] = []
        if self.encoder_.kind == "ids":
            bag = self.encoder_.affixes is not None
            embedding = self._build_embedding(size, self.encoder_.vocabulary, seeds, bag=bag)
            if embedding is not None:
                first.append(embedding)
                size = embedding.embedding_dim
        if characters is not None:
            first.append(characters)
            size += characters.output_size
        if embedding_dropout:
            first.append(Dropout(embedding_dropout, **self._module_options(seeds)))
        chain = self._build_chain(size, outputs, seeds, skip_input=skip_input)
        return Sequential(*first, *chain, pool=pool, skip_input=skip_input)

    def _build_layers(
        self, size: int, seeds: np.random.Generator, **options: Any
    ) -> tuple[list[Module], Recurrent[Any]]:
        """Return [InputDecay], and recurrent layers, for `size` inputs, numbers first.

        The state of a GRU decays as well, by the times that the former passes on: GRU-D.
        """
        if self.missing != "decay":
            return [], self._build_recurrent(size, seeds, **options)
        encoder = self.encoder_
        numbers = (encoder.num_features or 0) - len(encoder.category_vocabularies)
        is_gru = LAYER_OF_CELL[self.cell] is GRU
        others = size - 3 * numbers
        decay = InputDecay(numbers, num_others=others, pass_times=is_gru, dtype=self.dtype)
        if is_gru:
            options["decay_size"] = numbers
        return [decay], self._build_recurrent(decay.output_size, seeds, **options)

    def _build_chain(
        self, size: int, outputs: int, seeds: np.random.Generator, *, skip_input: bool = False
    ) -> list[Module]:
        """Return [InputDecay] -> recurrent layers -> [Dropout] -> Linear."""
        first, recurrent = self._build_layers(size, seeds)
        chain: list[Module] = [*first, recurrent]
        if self.dropout:
            chain.append(Dropout(self.dropout, **self._module_options(seeds)))
        features = recurrent.output_size + (recurrent.input_size if skip_input else 0)
        return [*chain, Linear(features, outputs, **self._module_options(seeds))]

    def _module_options(self, seeds: np.random.Generator) -> dict[str, Any]:
        """Return the arguments that every module has."""
        return {"dtype": self.dtype, "seed": int(seeds.integers(MAX_SEED))}
