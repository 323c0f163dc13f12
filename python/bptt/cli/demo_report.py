"""Printed report of the demo: data, model, losses, completions, comparison with NumPy."""

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

from bptt.cli.baselines import ngram_bits
from bptt.cli.console import instruction_set_name, machine_name, pluralize, text_bar
from bptt.cli.corpus import MAX_WORD_LENGTH
from bptt.data.vocabulary import START, STOP, UNKNOWN

if TYPE_CHECKING:
    from bptt.cli.numpy_comparison import StepComparison
    from bptt.estimators.language_model import LanguageModel

_MAX_SHOWN = 5  # characters of a distribution, and completions
_MAX_STEPS = 16  # of a completion
_BEAM = 20


def print_data(source: str, train: Sequence[str], validation: Sequence[str]) -> None:
    """Print the number of words and letters."""
    known = set(train)
    new = sum(word not in known for word in validation) / len(validation)
    letters = set().union(*train, *validation)
    print(
        f"Data   {source}: {len(train) + len(validation):,} words, "
        f"{len(known.union(validation)):,} distinct, {len(letters)} letters\n"
        f"       validation: the last {len(validation):,} words, {new:.0%} not in the training data"
    )


def print_model(modules: Mapping[str, Any]) -> None:
    """Print the architecture and the number of parameters."""
    layer = modules["recurrent"]
    parameters = sum(p.size for module in modules.values() for p in module.parameters.values())
    print(
        f"Model  {type(layer).__name__}, {pluralize(layer.num_layers, 'layer')} "
        f"of {layer.hidden_size} hidden units, "
        f"{parameters:,} parameters\n"
        f"       {layer.dtype}, {instruction_set_name()} kernels"
    )


def print_losses(
    model: LanguageModel, epoch: int, train: Sequence[str], validation: Sequence[str]
) -> None:
    """Print the cross-entropies of the network and of n-gram counts."""
    parts, encoder = (train, validation), model.target_encoder_
    rows = {
        "unigram counts": [ngram_bits(encoder, train, part, n=1) for part in parts],
        "bigram counts": [ngram_bits(encoder, train, part, n=2) for part in parts],
        f"network, epoch {epoch}": [-model.score(part) for part in parts],
    }
    print(f"\n{'Bits per character':24}{'training':>10}{'validation':>12}")
    for name, (training_bits, validation_bits) in rows.items():
        print(f"{name:24}{training_bits:10.2f}{validation_bits:12.2f}")


def print_completion(model: LanguageModel, prompt: str) -> None:
    """Print the distribution of every next character of the greedy completion, and words."""
    print(f'\nPrompt {prompt}: distribution of the next character ("." ends the word)')
    word, probability, ended = prompt, 1.0, False
    while not ended and len(word) < len(prompt) + _MAX_STEPS:
        distribution = model.next_token_probabilities(word)
        print(f"{_abbreviate(word):11}{_format_distribution(distribution)}")
        symbol, p = next(iter(distribution.items()))
        probability *= p
        ended = symbol == STOP
        word += "" if ended else str(symbol)
    ending = "" if ended else "..."
    print(f'Greedy completion: "{word}{ending}", P = {_format_percent(probability)}')
    max_length = MAX_WORD_LENGTH - len(prompt)
    found = model.beam_search(prompt, beam=_BEAM, count=_MAX_SHOWN, max_length=max_length)
    words = ", ".join(f"{word} {_format_percent(math.exp(log_p))}" for word, log_p in found)
    title = "Most likely words: "
    indent = " " * len(title)
    print(textwrap.fill(title + words, 79, subsequent_indent=indent, break_long_words=False))


def print_comparison(comparison: StepComparison) -> None:
    """Print the times of a training step in C++ and in NumPy."""
    cpp, numpy = comparison.cpp * 1e3, comparison.numpy * 1e3
    print(
        f"\nOne training step: forward, loss, backward, clipping, Adam\n"
        f"C++    {cpp:8.2f} ms\n"
        f"NumPy  {numpy:8.2f} ms, {numpy / cpp:.1f} times as long\n"
        f"Both: {comparison.words} words of {comparison.length} letters (one-hot), same weights, "
        f"one thread, interleaved;\nmedians of {comparison.rounds} steps. Gradients differ by at "
        f"most {comparison.difference:.0e}, the largest is {comparison.largest:.0e}.\n"
        f"{machine_name()}; {instruction_set_name()} kernels, NumPy {np.__version__}"
    )


def print_usage(path: Path, prompt: str) -> None:
    """Print how to use the saved model."""
    print(f"""
Saved to {path}. To use the model:

  {Path(sys.executable).name} -m bptt demo --load {shlex.quote(str(path))} --prompt {prompt}

or in Python:

  from bptt import LanguageModel
  model = LanguageModel.load({str(path)!r})
  print(model.complete({prompt!r}), model.beam_search({prompt!r}))""")


def _format_distribution(probabilities: Mapping[str | int, float]) -> str:
    """Return the most likely characters with bars."""
    letters = (item for item in probabilities.items() if item[0] not in (START, UNKNOWN))
    columns = [
        f"{'.' if symbol == STOP else symbol} {text_bar(p)} {_format_percent(p):>4}"
        for symbol, p in islice(letters, _MAX_SHOWN)
    ]
    return "  ".join(columns).rstrip()


def _format_percent(fraction: float) -> str:
    return f"{fraction:.1%}" if fraction < 0.0995 else f"{fraction:.0%}"


def _abbreviate(word: str, width: int = 10) -> str:
    return word if len(word) <= width else ".." + word[2 - width :]
