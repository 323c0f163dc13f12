"""Write text with a saved language model: at random, or the likeliest, or what comes next."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from bptt.cli.arguments import positive_integer, positive_number, seed
from bptt.cli.errors import CommandError
from bptt.cli.saved_models import load, warn_unknown_tokens
from bptt.data.vocabulary import START, UNKNOWN

NAME = "generate"
SUMMARY = "write text with a saved language model"
USAGE = "MODEL [options]"
EXAMPLES = """\
examples:
  python -m bptt generate names.safetensors --count 10
  python -m bptt generate book.safetensors --prompt 'It was' --max-length 500
  python -m bptt generate names.safetensors --prompt Jo --best
  python -m bptt generate names.safetensors --prompt Jo --next"""
_SHOWN = 10  # tokens
_BEAM = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command to its parser."""
    count: dict[str, Any] = {"type": positive_integer, "metavar": "N"}
    parser.add_argument("model", type=Path, metavar="MODEL", help="a file that train has saved")
    parser.add_argument("--prompt", default="", metavar="TEXT", help="how the text begins")
    parser.add_argument("--count", default=1, help="how many to write (default: 1)", **count)
    parser.add_argument(
        "--max-length",
        default=200,
        help="most characters, or words, behind the prompt (default: %(default)s)",
        **count,
    )
    parser.add_argument(
        "--temperature",
        type=positive_number,
        default=0.8,
        metavar="X",
        help="1: as varied as what was learned; less: likelier (default: %(default)s)",
    )
    parser.add_argument("--top-k", help="draw from the N likeliest only", **count)
    parser.add_argument("--seed", type=seed, metavar="N", help="the same seed, the same text")
    other = parser.add_mutually_exclusive_group()
    other.add_argument(
        "--best", action="store_true", help="nothing random: the likeliest text, by beam search"
    )
    other.add_argument(
        "--next", action="store_true", help="show how likely the next characters, or words, are"
    )


def run(arguments: argparse.Namespace) -> None:
    """Run the command."""
    model = load(arguments.model)
    estimator = model.estimator
    if not hasattr(estimator, "next_token_probabilities"):
        raise CommandError(
            f"{arguments.model} is a {type(estimator).__name__}, which writes no text: "
            f"python -m bptt predict {arguments.model}"
        )
    prompt: Any = arguments.prompt
    if model.form.content == "tokens":
        prompt = prompt.split()
    warn_unknown_tokens(model, [prompt])
    if arguments.next:
        _print_next_tokens(estimator.next_token_probabilities(prompt))
        return
    if arguments.best:
        options = {"beam": _BEAM, "max_length": arguments.max_length}
        texts = [estimator.complete(prompt, **options)]
    else:
        texts = estimator.sample(
            prompt,
            count=arguments.count,
            max_length=arguments.max_length,
            temperature=arguments.temperature,
            top_k=arguments.top_k,
            random_state=arguments.seed,
        )
    between = "\n\n" if model.form.shape == "running" else "\n"
    print(between.join(text if isinstance(text, str) else " ".join(text) for text in texts))


def _print_next_tokens(likely: Mapping[Any, float]) -> None:
    """Print the likeliest tokens among those that may be written."""
    possible = {token: p for token, p in likely.items() if token not in (START, UNKNOWN)}
    total = sum(possible.values())
    for token, p in islice(possible.items(), _SHOWN):
        print(f"{p / total:6.1%}  {token if str(token).strip() else repr(token)}")
