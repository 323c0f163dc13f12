"""What the commands print: for people, in 80 columns."""

from __future__ import annotations

import shlex
import sys
import textwrap
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bptt._core.config import config
from bptt.cli.corpus import LONGEST
from bptt.cli.evaluation import count_bits
from bptt.cli.messages import bar
from bptt.cli.timing import cores
from bptt.data.vocabulary import START, STOP, UNKNOWN

if TYPE_CHECKING:
    from bptt.cli.bench import Bench, Measured
    from bptt.cli.numpy_comparison import Comparison
    from bptt.estimators.language_model import LanguageModel

_SHOWN = 5  # characters of a distribution, and completions
_STEPS = 16  # of a completion
_INSTRUCTIONS = {"base": "baseline", "v3": "AVX2", "v4": "AVX-512"}


def data(source: str, learnt: Sequence[str], held_out: Sequence[str]) -> None:
    """Print what there is to learn."""
    known = set(learnt)
    new = sum(word not in known for word in held_out) / len(held_out)
    letters = set().union(*learnt, *held_out)
    print(
        f"Data   {source}: {len(learnt) + len(held_out):,} words, "
        f"{len(known.union(held_out)):,} distinct, {len(letters)} letters\n"
        f"       held out: the last {len(held_out):,} words, {new:.0%} of them not seen before"
    )


def model(modules: Mapping[str, Any]) -> None:
    """Print what learns."""
    layer = modules["recurrent"]
    parameters = sum(p.size for module in modules.values() for p in module.parameters.values())
    print(
        f"Model  {type(layer).__name__}, {_count(layer.num_layers, 'layer')} "
        f"of {layer.hidden_size} hidden units, "
        f"{parameters:,} parameters\n"
        f"       {layer.dtype}, {_instructions()} kernels"
    )


def losses(of: LanguageModel, epoch: int, learnt: Sequence[str], held_out: Sequence[str]) -> None:
    """Print how well the words are predicted, and how well mere counts predict them."""
    parts, encoder = (learnt, held_out), of.target_encoder_
    rows = {
        "letter frequencies": [count_bits(encoder, learnt, p, pairs=False) for p in parts],
        "letter pairs": [count_bits(encoder, learnt, p) for p in parts],
        f"the network, epoch {epoch}": [-of.score(part) for part in parts],
    }
    print(f"\n{'Bits per character':24}{'training':>10}{'held out':>10}")
    for name, (training, unseen) in rows.items():
        print(f"{name:24}{training:10.2f}{unseen:10.2f}")


def completion(of: LanguageModel, prompt: str) -> None:
    """Print the next character's distribution, step by step along the likeliest, and words."""
    print(f'\nPrompt {prompt}: the next character, step by step ("." ends the word)')
    word, probability, ended = prompt, 1.0, False
    while not ended and len(word) < len(prompt) + _STEPS:
        likely = of.next_token(word)
        print(f"{_shortened(word):11}{_distribution(likely)}")
        symbol, p = next(iter(likely.items()))
        probability *= p
        ended = symbol == STOP
        word += "" if ended else str(symbol)
    ending = "" if ended else "..."
    print(f'Always the likeliest character: "{word}{ending}", P = {_percent(probability)}')
    found = of.completions(prompt, count=_SHOWN, max_length=LONGEST - len(prompt))
    words = ", ".join(f"{word} {_percent(p)}" for word, p in found)
    print(
        textwrap.fill(
            f"Likeliest words: {words}", 79, subsequent_indent=" " * 17, break_long_words=False
        )
    )


def comparison(of: Comparison) -> None:
    """Print what a training step costs in C++ and in NumPy."""
    ours, theirs = of.compiled * 1e3, of.numpy * 1e3
    print(
        f"\nOne training step: forward, loss, backward, clipping, Adam\n"
        f"C++    {ours:8.2f} ms\n"
        f"NumPy  {theirs:8.2f} ms, {theirs / ours:.1f} times as long\n"
        f"Same {of.words} words of {of.length} letters (one-hot), same weights, one thread each, "
        f"in turn;\nmedians of {of.rounds} steps. "
        f"Gradients differ by {of.difference:.0e} at most, the largest is {of.largest:.0e}.\n"
        f"{_machine()}; {_instructions()} kernels, NumPy {np.__version__}"
    )


def use_again(path: Path, prompt: str) -> None:
    """Print how to use the saved model."""
    print(f"""
Saved in {path}. To use it again:

  {Path(sys.executable).name} -m bptt demo --load {shlex.quote(str(path))} --prompt {prompt}

or in Python:

  from bptt import LanguageModel
  model = LanguageModel.load({str(path)!r})
  print(model.complete({prompt!r}), model.completions({prompt!r}))""")


class MeasuringProgress:
    """A progress bar on standard error, where it can be seen and tqdm is installed."""

    def __init__(self, total: int) -> None:
        self._bar = None
        if sys.stderr.isatty() and find_spec("tqdm") is not None:
            from tqdm import tqdm

            self._bar = tqdm(
                total=total,
                dynamic_ncols=True,
                leave=False,
                bar_format="measuring {percentage:3.0f}%|{bar}| {remaining} left",
            )

    def __enter__(self) -> MeasuringProgress:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def update(self) -> None:
        """Show that one of `total` is done."""
        if self._bar is not None:
            self._bar.update()


def bench(of: Bench) -> None:
    """Print how fast the layers are."""
    built = config()
    print(
        f"{_machine()}, {_instructions()} kernels\n"
        f"bptt {built['version']} ({built['compiler']}, Eigen {built['eigen']}), "
        f"NumPy {np.__version__}, Python {built['python']}"
    )
    products = [of.product(threads) for threads in of.threads]
    rates = " and ".join(
        f"{p.rate:.0f} GFLOP/s ±{p.spread:.0%} on {_count(p.threads, 'thread')}" for p in products
    )
    size = products[0].task.size.hidden
    print(f"NumPy's product of two {size} x {size} matrices, {of.dtype}:\n  {rates}")
    _rates(of, "inference", "Inference")
    _rates(of, "training", "Training: forward and backward, all gradients")
    _steps(of)
    print(
        f"\nMedians of {_count(of.rounds, 'turn')} of each. ±: half the distance between the "
        "quartiles.\nGFLOP/s: of matrix products alone; %: of the rate of NumPy's product on as "
        "many\nthreads; gain: the time on 1 thread over this one."
    )


def _rates(of: Bench, mode: str, title: str) -> None:
    """Print the table of one mode: a row a cell and size, side by side every number of threads."""
    several = len(of.threads) > 1
    heads = "".join(f"{'on ' + _count(threads, 'thread'):^27}" for threads in of.threads)
    print(f"\n{title}\n{'(T, B, I, H)':20}{heads}".rstrip())
    columns = f"{'us':>10}{'±':>5}{'GFLOP/s':>8}{'%':>4}" * len(of.threads)
    print(f"{'':20}{columns}{'gain' if several else '':>6}".rstrip())
    for size in of.sizes:
        print(f"({', '.join(map(str, size))})")
        for cell in of.cells:
            found = [of.find(mode, cell, size, threads) for threads in of.threads]
            line = "".join(
                f"{_microseconds(m):>10}{m.spread:5.0%}{m.rate:8.1f}{100 * of.share(m):4.0f}"
                for m in found
            )
            gain = f"{found[0].median / found[-1].median:6.2f}" if several else ""
            print(f"  {found[0].task.title:18}{line}{gain}")


def _steps(of: Bench) -> None:
    """Print what one step of a stream takes."""
    found = {
        size[2:]: [of.find("step", cell, size, 1) for cell in of.cells] for size in of.step_sizes
    }
    titles = "".join(f"{m.task.title:>17}" for m in next(iter(found.values())))
    print(f"\nOne `step`, batch of 1, on 1 thread: us\n{'(I, H)':12}{titles}")
    for size, row in found.items():
        line = "".join(f"{_microseconds(m):>12}{f'±{m.spread:.0%}':>5}" for m in row)
        print(f"({', '.join(map(str, size))})".ljust(12) + line)


def _microseconds(of: Measured) -> str:
    median = of.median * 1e6
    return f"{median:.2f}" if median < 100 else f"{median:,.0f}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _distribution(likely: Mapping[str | int, float]) -> str:
    """Write the likeliest characters with bars."""
    letters = ((symbol, p) for symbol, p in likely.items() if symbol not in (START, UNKNOWN))
    columns = [
        f"{'.' if symbol == STOP else symbol} {bar(p)} {_percent(p):>4}"
        for symbol, p in islice(letters, _SHOWN)
    ]
    return "  ".join(columns).rstrip()


def _percent(share: float) -> str:
    return f"{share:.1%}" if share < 0.0995 else f"{share:.0%}"


def _shortened(word: str, width: int = 10) -> str:
    return word if len(word) <= width else ".." + word[2 - width :]


def _instructions() -> str:
    isa = str(config()["isa"])
    return _INSTRUCTIONS.get(isa, isa)


def _machine() -> str:
    """Return the name of the processor and how many cores of it this process may use."""
    return f"{config()['processor']}, {_count(cores(), 'core')}"
