"""Character-level text generation: the pretrained LSTMs of textgenrnn.

Task: the next character after the previous 40.
Shape: many-to-one for every character: the window moves on, the state starts anew.
Network: an embedding of 100, two stacked LSTMs of 128 units; embedding and both outputs,
concatenated, are averaged over the window with attention weights; softmax.
Weights: textgenrnn 2.0.0, MIT, trained by its author on Reddit titles; HDF5, in the layout of
Keras' CuDNNLSTM.
Reference: textgenrnn's own model.py and utils.py, on TensorFlow with Keras 2 (tf_keras); without
them, texts they have generated.
Time: 36 seconds, mostly for the reference.
Result on one core: identical texts, probabilities within 2e-6, 11 times as fast (a TensorFlow call
has a large overhead).
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray

import bptt
from bptt.importers import read_file
from examples._common import Example, Options, Report
from examples._data import MissingDataError, package_file
from examples._pictures import draw_map
from examples.pretrained import _comparison

PACKAGE, START, WINDOW = "textgenrnn==2.0.0", "<s>", 40
TEMPERATURES = (1.0, 0.5, 0.2, 0.2)  # of the package, in turn
# Greedy outputs of the original code.
ORIGINAL_TEXTS = {
    "The ": "The state of the state of the state of the state of the sta",
    "I have ": "I have a strange of the state of the state of the state of ",
    "What is ": "What is the best state of the state of the state of the sta",
    "My ": "My friend is a bad day of the same to the state of the stat",
    "How to ": "How to see the state of the state of the state of the state",
    "When you ": "When you have a strange of the state of the state of the st",
}


class Network:
    """The network, built from layers of bptt."""

    def __init__(self, path: Path, characters: dict[str, int]) -> None:
        file, self.ids = read_file(path), characters
        self.characters = {i: character for character, i in characters.items()}
        self.embedding = file["embedding"].build()
        self.lstms = [file[name].build() for name in ("rnn_1", "rnn_2")]
        self.query = file.tensors["attention/attention/attention_W:0"].reshape(1, 1, -1)
        self.attention = bptt.Attention(self.query.size, self.query.size)
        self.output = file["output"].build()

    def window(self, text: list[str]) -> NDArray[Any]:
        """Return the last characters (1, 40), padded with 0 on the left."""
        ids = [self.ids.get(character, 0) for character in text[-WINDOW:]]
        return np.array([[0] * (WINDOW - len(ids)) + ids])

    def predict(self, ids: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return probabilities (B, 465) of the next character, and the attention (B, 40)."""
        x = self.embedding(ids)
        first, _ = self.lstms[0](x)
        second, _ = self.lstms[1](first)
        keys = np.concatenate([x, first, second], axis=2)
        context, weights = self.attention(np.repeat(self.query, len(ids), axis=0), keys)
        return bptt.softmax(self.output(context[:, 0])), weights[:, 0]

    def generate(self, prompt: str, length: int, random: np.random.Generator | None = None) -> str:
        """Continue a text: greedily or, with `random`, by sampling."""
        text = [START, *prompt]
        while len(text) < length and (len(text) == 1 or text[-1] != START):
            p = self.predict(self.window(text))[0][0]
            i = p.argmax()
            if random is not None:
                p = p.astype(float) ** (1 / TEMPERATURES[(len(text) - 1) % len(TEMPERATURES)])
                i = random.choice(len(p), p=p / p.sum())
            text.append(self.characters.get(int(i), ""))
        return "".join(text[1:]).removesuffix(START)


class Original:
    """The original code of textgenrnn: model and generation, without parts that fail to import."""

    def __init__(self, folder: Path, characters: dict[str, int]) -> None:
        os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        import tensorflow

        tensorflow.config.threading.set_intra_op_parallelism_threads(1)
        package = ModuleType("textgenrnn")
        package.__path__ = [str(folder)]
        with patch.dict(sys.modules, {"textgenrnn": package}):
            build = import_module("textgenrnn.model").textgenrnn_model
            self._generate = import_module("textgenrnn.utils").textgenrnn_generate
        settings = {
            "rnn_layers": 2,
            "rnn_size": 128,
            "rnn_bidirectional": False,
            "max_length": WINDOW,
            "dim_embeddings": 100,
        }
        path = str(folder / "textgenrnn_weights.hdf5")
        self.model = build(len(characters) + 1, cfg=settings, weights_path=path)
        self.characters = characters

    def generate(self, prompt: str, length: int) -> str:
        """Continue a text greedily."""
        names = {i: character for character, i in self.characters.items()}
        with contextlib.redirect_stdout(io.StringIO()):  # a progress bar for every character
            text, _ = self._generate(
                self.model, self.characters, names, 0.0, prefix=prompt, max_gen_length=length
            )
        return str(text)


@_comparison.one_thread()
def run(options: Options) -> Report:
    folder = package_file(PACKAGE, "textgenrnn/textgenrnn_weights.hdf5", sdist=True).parent
    characters = json.loads((folder / "textgenrnn_vocab.json").read_text("utf-8"))
    try:
        network = Network(folder / "textgenrnn_weights.hdf5", characters)
    except ImportError as error:
        raise MissingDataError(str(error)) from None
    prompts, length = list(ORIGINAL_TEXTS)[: 2 if options.quick else None], 60
    try:
        original = Original(folder, characters)
    except ImportError:
        original = None
        print("To compare with textgenrnn's own code: pip install tensorflow-cpu tf_keras")
    ours = {prompt: network.generate(prompt, length) for prompt in prompts}
    theirs = (
        {b: original.generate(b, length) for b in prompts}
        if original
        else {b: ORIGINAL_TEXTS[b] for b in prompts}
    )
    windows = [
        network.window([START, *text[:stop]]) for text in ours.values() for stop in range(len(text))
    ]
    runs, difference = {"ours": network.predict}, None
    if original:
        runs["theirs"] = original.model.predict_on_batch
        every = np.concatenate(windows)
        difference = float(
            np.abs(network.predict(every)[0] - original.model.predict_on_batch(every)).max()
        )
    times = _comparison.milliseconds(runs, windows[: 20 if options.quick else 200], 1)
    random = np.random.default_rng(options.seed)
    for prompt in prompts:
        print(f"greedy:  {ours[prompt]}\nsampled: {network.generate(prompt, 80, random)}")
    if options.plot is not None:
        draw(network, ours[prompts[0]], options.plot / "pretrained.textgen.png")
    return _comparison.report(
        data=f"{len(prompts)} texts of {length} characters",
        each="character",
        original="textgenrnn's TensorFlow model" if original else "its texts (no TensorFlow)",
        ours=times["ours"],
        theirs=times.get("theirs"),
        difference=difference,
        same=(sum(ours[b] == text for b, text in theirs.items()), len(theirs)),
        also={},
    )


def draw(network: Network, text: str, path: Path) -> None:
    """Plot the attention for every character at the start of a text."""
    size = min(len(text), 24)
    attention = [
        network.predict(network.window([START, *text[:stop]]))[1][0] for stop in range(1, size)
    ]
    rows = [
        np.append(look[WINDOW - stop - 1 :], np.zeros(size - 1 - stop))
        for stop, look in enumerate(attention, start=1)
    ]
    shown = [character.replace(" ", "␣") for character in text[:size]]
    draw_map(
        np.stack(rows),
        path,
        rows=shown[1:],
        columns=[START, *shown[: size - 1]],
        title="Attention of textgenrnn",
        x="previous character",
        y="next character, from top to bottom",
        color="attention",
    )


example = Example(__doc__, run, pretrained=True)

if __name__ == "__main__":
    example.main()
