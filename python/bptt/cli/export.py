"""Export a saved model: one C file, for programs without Python."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from bptt.cli.errors import CommandError
from bptt.cli.saved_models import load_model

NAME = "export"
SUMMARY = "write a saved model as a C file"
USAGE = "MODEL --c FILE"
EXAMPLES = """\
examples:
  python -m bptt export moods.safetensors --c moods.c
  cc -std=c99 -O3 -c moods.c"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("model", type=Path, metavar="MODEL", help="model file saved by train")
    parser.add_argument(
        "--c",
        type=Path,
        required=True,
        metavar="FILE",
        help="C file to write, with a header of the same name beside it",
    )


def run(arguments: argparse.Namespace) -> None:
    """Run the command."""
    from bptt.exporters import to_c

    estimator = load_model(arguments.model, predict_only=True).estimator
    try:
        source = to_c(estimator, arguments.c)
    except OSError as error:
        raise CommandError(f"cannot write {arguments.c}: {error.strerror}") from error
    except (TypeError, ValueError) as error:
        raise CommandError(f"cannot export {arguments.model}: {error}") from error
    file = arguments.c.with_suffix(".c")
    rows = [
        ("files", f"{file}, {file.with_suffix('.h')}"),
        ("input", _input(estimator)),
        ("output", _output(estimator)),
        ("weights", f"{source.weight_bytes:,} bytes, constant"),
        ("state", f"{source.state_bytes:,} bytes a stream" if source.state_bytes else "none"),
        ("functions", ", ".join(f"{source.name}_{part}" for part in source.functions)),
    ]
    for name, value in rows:
        print(f"{name:11}{value}")


def _input(estimator: Any) -> str:
    """Return what a step of the input is."""
    encoder = estimator.encoder_
    if encoder.vocabulary is None:
        scaled = ", not standardized" if encoder.standardizer is not None else ""
        return f"{encoder.size} numbers a step{scaled}" if encoder.kind == "features" else "ids"
    return f"ids of tokens, in [0, {len(encoder.vocabulary)}): model.encoder_.transform(texts)"


def _output(estimator: Any) -> str:
    """Return what the output is."""
    classes = getattr(estimator, "classes_", None)
    if classes is not None:
        return f"logits of the classes {', '.join(map(str, classes))}"
    return "targets" if hasattr(estimator, "_standardizer") else "logits of the tokens"
