"""Language model: what comes next. Texts, melodies, moves, anything made of tokens."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bptt._core import checks
from bptt._core.checks import FloatArray
from bptt._core.lengths import Ids
from bptt.data.batching import sorted_batches
from bptt.data.target_encoder import TargetEncoder, Text
from bptt.decoding.beam import Hypothesis, reordered
from bptt.estimators._autoregressive import AutoregressiveEstimator, random_generator
from bptt.losses import softmax
from bptt.nn.decoder import Decoder
from bptt.nn.module import Module
from bptt.nn.state import State
from bptt.training.supervised import PREDICTION_BATCH_SIZE
from bptt.training.teacher_forcing import DecoderTask, TokenDataset
from bptt.training.truncated_bptt_task import TruncatedBPTTTask, WindowDataset


@dataclass(kw_only=True, repr=False, eq=False)
class LanguageModel(AutoregressiveEstimator):
    """Learns from sequences of tokens which token comes next, and so to write such sequences.

    Every sequence is read as "<start>", its tokens, "<stop>"; the likelihood of each, given those
    before, comes from recurrent layers, a linear layer and softmax. The loss is cross-entropy, its
    mean over all tokens and the "<stop>" of every sequence.

    Parameters
    ----------
    truncate : (k1, k2), optional
        For long texts: an update every k1 tokens, with gradients that go back k2 >= k1 tokens at
        most; all sequences are read side by side, and the state is carried on to the end (see
        `bptt.truncated_bptt`). `batch_size` then says how many windows are validated at once.
        By default every sequence is learned as a whole.
    label_smoothing : float
        Part, in [0, 1), of the target distribution that is spread over all tokens.
    and the others
        As for `SequenceEstimator`; `bidirectional` must be False.

    Attributes
    ----------
    tokens_ : list
        All tokens, in the order of their ids: "<unk>" (text only), "<start>" and "<stop>" are among
        them.
    history_ : History

    Notes
    -----
    `fit` takes X alone: texts, token lists or arrays of ids. What the methods take and return is
    of the same kind: a text where X was texts, a list of tokens, or an array of ids.

    Examples
    --------
    >>> from bptt import LanguageModel
    >>> model = LanguageModel(hidden_size=16, epochs=200, random_state=0).fit(["deep", "learn"])
    >>> model.complete("de")
    'deep'
    """

    truncate: tuple[int, int] | None = None

    # ---- what comes next

    def predict_proba(self, X: Any, lengths: Any = None) -> FloatArray:
        """Return the probability of every token to come next after each of the beginnings X.

        Returns
        -------
        array (B, V)
            In the order of `tokens_`.
        """
        data = self._whole(X, lengths)
        found = np.empty((len(data.lengths), self.target_encoder_.size), self.dtype)
        for indices in sorted_batches(data.lengths, PREDICTION_BATCH_SIZE):
            batch = data.batch(indices)
            logits = self._writer().logits(batch)
            found[indices] = logits[np.arange(len(indices)), batch.lengths - 1]
        return softmax(found)

    def next_token(self, prefix: Text = "") -> dict[str | int, float]:
        """Return token -> probability to come after a beginning, the likeliest first.

        "<stop>" stands for the end of the sequence.
        """
        p = self.predict_proba([prefix])[0]
        tokens = self.tokens_
        return {tokens[i]: float(p[i]) for i in np.argsort(-p, kind="stable")}

    # ---- writing

    def generate(
        self,
        prompt: Text = "",
        *,
        count: int = 1,
        max_length: int = 100,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        random_state: Any = None,
    ) -> list[Text]:
        """Write sequences at random, each token drawn by its probability.

        Parameters
        ----------
        prompt : text, list of tokens or of ids
            How they begin.
        count : int
            How many to write.
        max_length : int
            The most tokens to write behind the prompt.
        temperature : float
            Below 1 what is likely becomes likelier; 0: always the likeliest token.
        top_k : int, optional
            Draw from the so many likeliest tokens only.
        top_p : float, optional
            Draw from the fewest tokens only whose probabilities sum to so much.
        random_state : int, RandomState or None

        Returns
        -------
        list of `count` sequences
            With the prompt, without "<stop>".
        """
        checks.integer("count", count)
        tokens, state = self._read(prompt)
        written = self.decoder_.sample(
            np.repeat(tokens, count),
            reordered(state, np.zeros(count, np.int64)),
            random=random_generator(random_state),
            stop=self.target_encoder_.stop,
            forbidden=self.target_encoder_.forbidden,
            max_length=max_length,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
        )
        return [self.target_encoder_.write(ids, after=prompt) for ids in written]

    def complete(
        self,
        prompt: Text = "",
        *,
        beam: int = 5,
        max_length: int = 100,
        length_penalty: float = 0.0,
    ) -> Text:
        """Return the likeliest sequence that begins with the prompt, as far as a search finds it.

        Parameters
        ----------
        prompt : text, list of tokens or of ids
        beam : int
            How many candidates are followed; with 1 the likeliest token is taken every time.
        max_length : int
            The most tokens to write behind the prompt.
        length_penalty : float
            >= 0; more makes longer sequences. See `bptt.decoding.beam_search`.
        """
        found = self._search(
            prompt, beam=beam, max_length=max_length, length_penalty=length_penalty, count=1
        )
        return self.target_encoder_.write(found[0].tokens, after=prompt)

    def completions(
        self, prompt: Text = "", *, count: int = 5, beam: int = 20, max_length: int = 100
    ) -> list[tuple[Text, float]]:
        """Return the likeliest sequences that begin with the prompt, as far as a search finds them.

        Parameters
        ----------
        prompt : text, list of tokens or of ids
        count : int
            How many, `beam` at most.
        beam, max_length : int
            As for `complete`.

        Returns
        -------
        list of (sequence, probability)
            The likeliest first; the probability is that of all that comes after the prompt.
        """
        found = self._search(prompt, beam=beam, max_length=max_length, count=count)
        return [
            (self.target_encoder_.write(h.tokens, after=prompt), math.exp(h.log_probability))
            for h in found
        ]

    def _search(self, prompt: Text, **options: Any) -> list[Hypothesis]:
        tokens, state = self._read(prompt)
        encoder = self.target_encoder_
        return self.decoder_.beam_search(
            tokens, state, stop=encoder.stop, forbidden=encoder.forbidden, **options
        )[0]

    # ---- how good it is

    def score(self, X: Any, y: Any = None, lengths: Any = None, sample_weight: Any = None) -> float:
        """Return minus the cross-entropy, in bits per token: higher is better, 0 the best.

        The "<stop>" of every sequence counts as a token. `y` is not used.
        """
        data = self._whole(X, lengths, sample_weight)
        bits = [one.sum() for one in self._surprisal(self._writer(), data)]
        weights = np.ones(len(bits)) if data.weights is None else data.weights
        return -float(weights @ bits / (weights @ data.lengths))

    def perplexity(self, X: Any, lengths: Any = None) -> float:
        """Return 2 to the power of the bits per token: 1 at best, V if it knows nothing."""
        return float(2.0 ** -self.score(X, lengths=lengths))

    def surprisal(self, X: Any, lengths: Any = None) -> list[NDArray[np.float64]]:
        """Return how unexpected each token is: -log2 of its probability, given those before it.

        Returns
        -------
        list of float64 arrays (T + 1,), one a sequence
            Bits of its T tokens and of its "<stop>". 0 is what had to come; 10 is one in 1024.
        """
        return self._surprisal(self._writer(), self._whole(X, lengths))

    # ---- what `SequenceEstimator` builds on

    def _begin(self, X: Any, y: Any, lengths: Any, seeds: np.random.Generator) -> None:
        self._learn_tokens(X, lengths)
        self.decoder_ = self._make_decoder(self.target_encoder_.size, seeds)

    def _fitted_state(self) -> dict[str, Any]:
        return {"encoder": self.target_encoder_.to_dict()}

    def _restore(self, state: Mapping[str, Any], modules: Mapping[str, Module]) -> None:
        self.target_encoder_ = TargetEncoder.from_dict(state["encoder"])
        self.decoder_ = Decoder(**modules)  # type: ignore[arg-type]

    def _check_parameters(self) -> None:
        super()._check_parameters()
        pair: Any = self.truncate
        if pair is None:
            return
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            raise TypeError(f"truncate must be a pair (k1, k2), got {pair!r}")
        k1, k2 = pair
        if checks.integer("k2", k2) < checks.integer("k1", k1):
            raise ValueError(f"truncate must be (k1, k2) with k2 >= k1 = {k1}, got k2 = {k2}")
        for name in ("validation_fraction", "recompute_every"):
            if getattr(self, name):
                raise ValueError(f"truncate needs {name} to be left out, got {getattr(self, name)}")

    def _task(self) -> DecoderTask | TruncatedBPTTTask:
        if self.truncate is None:
            return self._writer()
        return TruncatedBPTTTask(self._writer(), *self.truncate)

    def _writer(self) -> DecoderTask:
        return DecoderTask(self.decoder_, None, self.label_smoothing, self.recompute_every)

    def _data(
        self, X: Any, y: Any = None, lengths: Any = None, sample_weight: Any = None
    ) -> TokenDataset | WindowDataset:
        data = self._whole(X, lengths, sample_weight)
        return data if self.truncate is None else WindowDataset(data, self.truncate[0])

    def _whole(self, X: Any, lengths: Any, sample_weight: Any = None) -> TokenDataset:
        sequences = self._sequences(X, lengths)
        weights = self._weights(sample_weight, len(sequences))
        return self._token_data(sequences, weights=weights)

    def _read(self, prompt: Text) -> tuple[Ids, State | None]:
        """The prompt's last token, (1,), and the state before it."""
        ids = self._sequences([prompt], None)[0]
        tokens = np.concatenate([[self.target_encoder_.start], ids])[np.newaxis]
        state = None if not len(ids) else self.decoder_(tokens[:, :-1])[1]
        return tokens[:, -1], state
