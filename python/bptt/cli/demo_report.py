"""Printed report of the demo."""

from __future__ import annotations

import math
import shlex
import sys
import textwrap
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bptt.cli.baselines import count_bits
from bptt.cli.console import bar, count, instruction_set_name, machine
from bptt.cli.corpus import MAX_WORD_LENGTH
from bptt.data.vocabulary import START, STOP, UNKNOWN

if TYPE_CHECKING:
    from bptt.cli.numpy_comparison import Comparison
    from bptt.estimators.language_model import LanguageModel

_SHOWN = 5  # characters of a distribution, and completions
_BEAM = 20
_STEPS = 16  # of a completion


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
        f"Model  {type(layer).__name__}, {count(layer.num_layers, 'layer')} "
        f"of {layer.hidden_size} hidden units, "
        f"{parameters:,} parameters\n"
        f"       {layer.dtype}, {instruction_set_name()} kernels"
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
        likely = of.next_token_probabilities(word)
        print(f"{_abbreviate(word):11}{_distribution(likely)}")
        symbol, p = next(iter(likely.items()))
        probability *= p
        ended = symbol == STOP
        word += "" if ended else str(symbol)
    ending = "" if ended else "..."
    print(f'Always the likeliest character: "{word}{ending}", P = {_format_percent(probability)}')
    max_length = MAX_WORD_LENGTH - len(prompt)
    found = of.beam_search(prompt, beam=_BEAM, count=_SHOWN, max_length=max_length)
    words = ", ".join(f"{word} {_format_percent(math.exp(log_p))}" for word, log_p in found)
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
        f"{machine()}; {instruction_set_name()} kernels, NumPy {np.__version__}"
    )


def use_again(path: Path, prompt: str) -> None:
    """Print how to use the saved model."""
    print(f"""
Saved in {path}. To use it again:

  {Path(sys.executable).name} -m bptt demo --load {shlex.quote(str(path))} --prompt {prompt}

or in Python:

  from bptt import LanguageModel
  model = LanguageModel.load({str(path)!r})
  print(model.complete({prompt!r}), model.beam_search({prompt!r}))""")


def _distribution(likely: Mapping[str | int, float]) -> str:
    """Write the likeliest characters with bars."""
    letters = ((symbol, p) for symbol, p in likely.items() if symbol not in (START, UNKNOWN))
    columns = [
        f"{'.' if symbol == STOP else symbol} {bar(p)} {_format_percent(p):>4}"
        for symbol, p in islice(letters, _SHOWN)
    ]
    return "  ".join(columns).rstrip()


def _format_percent(share: float) -> str:
    return f"{share:.1%}" if share < 0.0995 else f"{share:.0%}"


def _abbreviate(word: str, width: int = 10) -> str:
    return word if len(word) <= width else ".." + word[2 - width :]
