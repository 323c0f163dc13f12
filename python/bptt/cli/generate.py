"""Generate text with a saved language model: sample, search, or rank the next tokens."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from bptt.cli.arguments import positive_integer, positive_number, probability, seed
from bptt.cli.errors import CommandError
from bptt.cli.saved_models import load_model, warn_unknown_tokens
from bptt.data.vocabulary import START, UNKNOWN

NAME = "generate"
SUMMARY = "generate text with a saved language model"
USAGE = "MODEL [options]"
EXAMPLES = """\
examples:
  python -m bptt generate names.safetensors --count 10
  python -m bptt generate book.safetensors --prompt 'It was' --max-length 500
  python -m bptt generate names.safetensors --prompt Jo --beam 5
  python -m bptt generate names.safetensors --prompt Jo --next"""
_MAX_TOKENS = 10  # printed by --next


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    count: dict[str, Any] = {"type": positive_integer, "metavar": "N"}
    parser.add_argument("model", type=Path, metavar="MODEL", help="model file saved by train")
    parser.add_argument("--prompt", default="", metavar="TEXT", help="beginning of the text")
    parser.add_argument(
        "--count", default=1, help="number of texts (default: %(default)s)", **count
    )
    parser.add_argument(
        "--max-length",
        help="maximum number of tokens after the prompt (default: 100)",
        **count,
    )
    parser.add_argument(
        "--temperature",
        type=positive_number,
        default=1.0,
        metavar="T",
        help="sampling temperature; lower is less random (default: %(default)s)",
    )
    parser.add_argument("--top-k", help="sample from the N most likely tokens only", **count)
    parser.add_argument(
        "--top-p",
        type=probability,
        metavar="P",
        help="sample from the smallest set of most likely tokens with probability P only",
    )
    parser.add_argument("--seed", type=seed, metavar="N", help="random seed")
    other = parser.add_mutually_exclusive_group()
    other.add_argument(
        "--beam",
        help="print the most likely text, by beam search with N hypotheses, instead of sampling",
        **count,
    )
    other.add_argument(
        "--next", action="store_true", help="print the probabilities of the next token"
    )


def run(arguments: argparse.Namespace) -> None:
    """Run the command."""
    model = load_model(arguments.model, predict_only=True)
    estimator = model.estimator
    if not hasattr(estimator, "next_token_probabilities"):
        raise CommandError(
            f"{arguments.model} is a {type(estimator).__name__}, not a language model: "
            f"use python -m bptt predict {arguments.model}"
        )
    _check_options(arguments)
    prompt: Any = arguments.prompt
    if model.schema.content == "tokens":
        prompt = prompt.split()
    warn_unknown_tokens(model, [prompt])
    if arguments.next:
        _print_next_tokens(estimator.next_token_probabilities(prompt))
        return
    texts = _generate(estimator, prompt, arguments)
    separator = "\n\n" if model.schema.layout == "running" else "\n"
    print(separator.join(text if isinstance(text, str) else " ".join(text) for text in texts))


def _check_options(arguments: argparse.Namespace) -> None:
    """Check that no option of sampling is given for the most likely text or tokens."""
    chosen = "--beam" if arguments.beam is not None else "--next" if arguments.next else None
    if chosen is None:
        return
    defaults = {"count": 1, "temperature": 1.0, "top_k": None, "top_p": None, "seed": None}
    for name, default in defaults.items():
        if getattr(arguments, name) != default:
            option = name.replace("_", "-")
            raise CommandError(f"argument --{option}: applies to samples, remove it or {chosen}")


def _generate(estimator: Any, prompt: Any, arguments: argparse.Namespace) -> list[Any]:
    """Return the most likely text, or sampled ones."""
    if arguments.beam is not None:
        options = {"beam": arguments.beam, "max_length": arguments.max_length}
        return [estimator.complete(prompt, **options)]
    samples: list[Any] = estimator.sample(
        prompt,
        count=arguments.count,
        max_length=arguments.max_length,
        temperature=arguments.temperature,
        top_k=arguments.top_k,
        top_p=arguments.top_p,
        random_state=arguments.seed,
    )
    return samples


def _print_next_tokens(probabilities: Mapping[Any, float]) -> None:
    """Print the most likely tokens and their probabilities, without <start> and <unk>."""
    possible = {token: p for token, p in probabilities.items() if token not in (START, UNKNOWN)}
    total = sum(possible.values())
    for token, p in islice(possible.items(), _MAX_TOKENS):
        print(f"{p / total:6.1%}  {token if str(token).strip() else repr(token)}")
