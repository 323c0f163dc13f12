"""Time of `fit` on the examples' data, its share in the kernels, and the memory of an update.

    python benchmarks/fits.py --data DIR
    python benchmarks/fits.py --data DIR --other OTHER/python   # another version, in turns

DIR holds ud_english_ewt/train.tsv and tinyshakespeare/input.txt, as for the examples. Taggers and
encoder-decoder train for as many epochs as their examples, language models for one. Every fit runs
in a process of its own; times are medians. "Before" is what precedes the first update: reading the
data, vocabularies, initial weights. The memory is that of a word language model's update (30,000
tokens): the peak beyond the memory in use before the first update.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[1]
WORDS = 50_000  # of the word language model, about 10,000 distinct
MEMORY = "memory"
THREAD_VARIABLES = ("BPTT_NUM_THREADS", "OMP_NUM_THREADS")


def tagger(data: Path) -> Callable[[], Any]:
    """Part-of-speech tagger of examples/pos_tagging.py."""
    from bptt import SequenceTagger
    from examples._data import user_file
    from examples._tagged import read

    words, tags = read(user_file(data, "ud_english_ewt/train.tsv"), 0, 1)
    model = SequenceTagger(
        tokens=None,
        affixes=4,
        min_count=2,
        embedding_size=64,
        bidirectional=True,
        hidden_size=96,
        dropout=0.5,
        epochs=3,
        learning_rate=0.006,
        random_state=0,
    )
    return partial(model.fit, words, tags)


def large_tagger(data: Path) -> Callable[[], Any]:
    """The same without affixes: one embedding of 19,000 words."""
    fit: Any = tagger(data)
    fit.func.__self__.set_params(affixes=None, min_count=1)
    return partial(fit.func, *fit.args)


def character_lm(data: Path) -> Callable[[], Any]:
    """Language model of examples/language_model.py on 150,000 characters, one epoch."""
    from bptt import LanguageModel
    from examples._data import user_file
    from examples.language_model import parts

    model = LanguageModel(
        cell="gru_reset_after",
        embedding_size=64,
        hidden_size=512,
        dropout=0.25,
        truncate=(50, 50),
        learning_rate=0.005,
        epochs=1,
        random_state=0,
    )
    return partial(model.fit, parts(user_file(data, "tinyshakespeare/input.txt")[:150_000], 32))


def word_lm(data: Path) -> Callable[[], Any]:
    """Language model of words, 10,000 distinct: two layers of 200, one epoch."""
    from bptt import LanguageModel
    from examples._data import user_file

    words = user_file(data, "tinyshakespeare/input.txt").split()[:WORDS]
    size = -(-len(words) // 20)
    model = LanguageModel(
        tokens=None,
        embedding_size=200,
        hidden_size=200,
        num_layers=2,
        truncate=(35, 35),
        epochs=1,
        random_state=0,
    )
    return partial(model.fit, [words[i : i + size] for i in range(0, len(words), size)])


def encoder_decoder(data: Path) -> Callable[[], Any]:
    """Transliteration of examples/transliteration.py, 4,000 names."""
    from bptt import EncoderDecoder
    from examples.transliteration import names, split

    model = EncoderDecoder(
        cell="gru",
        bidirectional=True,
        attention="additive",
        hidden_size=128,
        tokens=None,
        epochs=16,
        batch_size=64,
        dropout=0.4,
        label_smoothing=0.1,
        random_state=0,
    )
    return partial(model.fit, *split(names("hi")[:4_000]))


FITS = {
    "tagger": tagger,
    "tagger, V 19,000": large_tagger,
    "character LM": character_lm,
    "word LM, V 10,000": word_lm,
    "encoder-decoder": encoder_decoder,
}


class Begin:
    """Callback that remembers when the training began."""

    time = 0.0

    def on_train_begin(self, training: object) -> None:
        """Remember the time."""
        self.time = time.perf_counter()


def run_fit(name: str, data: Path, epochs: int | None) -> dict[str, float]:
    """Return seconds of the fit, those before the first update, and those of the kernels."""
    from fit_profile import timed_kernels

    fit: Any = FITS[name](data)
    begin = Begin()
    chosen = {} if epochs is None else {"epochs": epochs}
    fit.func.__self__.set_params(callbacks=[begin], **chosen)
    with timed_kernels() as kernels:
        start = time.perf_counter()
        fit()
        seconds = time.perf_counter() - start
    return {"seconds": seconds, "before": begin.time - start, "kernels": sum(kernels.values())}


def run_update(name: str, data: Path, epochs: int | None) -> dict[str, float]:
    """Return the peak memory in bytes of updates of a word language model, beyond that in use."""
    from bptt.nn import GRU, Decoder, Embedding, Linear
    from bptt.optim import Adam, clip_by_global_norm
    from bptt.training import DecoderTask, TokenBatch

    B, T, V = 32, 35, 30_000
    task = DecoderTask(
        Decoder(
            embedding=Embedding(V, 128, seed=0),
            recurrent=GRU(128, 256, reset_after=True, seed=0),
            output=Linear(256, V, seed=0),
        )
    )
    text = np.random.default_rng(0).integers(V, size=(B, T + 1), dtype=np.int32)
    batch = TokenBatch(None, text[:, :-1], text[:, 1:], np.full(B, T), None)
    optimizer = Adam(list(task.modules.values()))
    before = reset_peak()
    for _ in range(3):
        step = task.training_step(batch)
        clip_by_global_norm(step.gradients, 1.0)
        optimizer.step(step.gradients)
        del step
    return {"bytes": peak() - before}


def reset_peak() -> float:
    """Set the peak memory of this process to its present one, where Linux can; return it."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        print("fits.py: the peak includes what has been freed before", file=sys.stderr)
    return peak()


def peak() -> float:
    """Return the peak memory of this process in bytes."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(s for s in status.read_text().splitlines() if s.startswith("VmHWM"))
        return 1024.0 * int(line.split()[1])
    scale = 1 if sys.platform == "darwin" else 1024
    return float(scale * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def in_process(
    source: Path, name: str, threads: int, arguments: argparse.Namespace
) -> dict[str, float]:
    """Run a fit in a process with the package in `source`."""
    paths = [str(source), str(ROOT)]
    # On a busy machine, OpenBLAS threads may wait for each other for seconds in the QR
    # decomposition of the initial weights.
    variables = {**dict.fromkeys(THREAD_VARIABLES, str(threads)), "OPENBLAS_NUM_THREADS": "1"}
    epochs = [] if arguments.epochs is None else ["--epochs", str(arguments.epochs)]
    done = subprocess.run(
        [sys.executable, __file__, "--data", str(arguments.data), "--run", name, *epochs],
        env={**os.environ, **variables, "PYTHONPATH": os.pathsep.join(paths)},
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def print_table(arguments: argparse.Namespace) -> None:
    """Measure all fits, in turns, and print a row for each number of threads and version."""
    sources = {"": ROOT / "python"}
    if arguments.other is not None:
        sources["other, "] = arguments.other
    kinds = [(source, n) for n in arguments.threads for source in sources]
    print("| fit | threads | s | in kernels | before, s | in kernels after |")
    print("|---|---|--:|--:|--:|--:|")
    for name in arguments.fits:
        samples: dict[Any, list[dict[str, float]]] = {kind: [] for kind in kinds}
        for _ in range(arguments.rounds):
            for source, n in kinds:
                found = in_process(sources[source], name, n, arguments)
                samples[source, n].append(found)
        for source, n in kinds:
            print(f"| {name} | {source}{n} | {row(samples[source, n])} |", flush=True)
    for source, path in sources.items():
        found = in_process(path, MEMORY, arguments.threads[-1], arguments)
        print(f"{source}peak memory of an update, V 30,000: {found['bytes'] / 1e6:.0f} MB")


def row(samples: list[dict[str, float]]) -> str:
    """Return medians: seconds, share of the kernels, and both before and after the beginning."""

    def median(value: Callable[[dict[str, float]], float]) -> float:
        return statistics.median(map(value, samples))

    seconds, before = median(lambda s: s["seconds"]), median(lambda s: s["before"])
    share = median(lambda s: s["kernels"] / s["seconds"])
    after = median(lambda s: s["kernels"] / (s["seconds"] - s["before"]))
    return f"{seconds:.2f} | {share:.1%} | {before:.2f} | {after:.1%}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--data", type=Path, required=True, metavar="DIR", help="folder with the data")
    add("--threads", type=int, nargs="+", default=[1, 2], help="numbers of threads")
    add("--fits", nargs="*", choices=FITS, default=list(FITS), help="fits (default: all)")
    add("--epochs", type=int, help="number of epochs of every fit (default: see above)")
    add("--rounds", type=int, default=3, help="number of fits of each kind")
    add("--other", type=Path, metavar="DIR", help="directory of another version's package")
    add("--run", choices=[*FITS, MEMORY], help=argparse.SUPPRESS)  # in the process of a fit
    arguments = parser.parse_args()
    if arguments.run is None:
        print_table(arguments)
    else:
        run = run_update if arguments.run == MEMORY else run_fit
        print(json.dumps(run(arguments.run, arguments.data, arguments.epochs)))


if __name__ == "__main__":
    main()
