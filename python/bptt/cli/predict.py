"""Predict with a saved model, for a file or for texts on the command line.

The file may be of any format that train reads, and needs no target. What is written looks like it,
with a column more: "prediction". If the targets are there, it is said how many are right.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from bptt.cli.errors import CommandError, check_output_path
from bptt.cli.readers import FORMATS, read_table
from bptt.cli.saved_models import Model, load, warn_unknown_tokens
from bptt.cli.schema import TAGGING, Schema, extract_sequences, extract_targets, group_rows
from bptt.cli.tables import TEXT, Table
from bptt.cli.writers import predictions

NAME = "predict"
SUMMARY = "predict with a saved model, for a file or a text"
USAGE = "MODEL [FILE] [options]"
EXAMPLES = """\
examples:
  python -m bptt predict reviews.safetensors new.csv --output predicted.csv
  python -m bptt predict reviews.safetensors --text 'a good film'
  python -m bptt predict reviews.safetensors new.jsonl --probabilities
  python -m bptt predict tagged.safetensors sentences.txt
  python -m bptt predict reviews.safetensors - --format jsonl < new.jsonl"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command to its parser."""
    parser.add_argument("model", type=Path, metavar="MODEL", help="a file that train has saved")
    parser.add_argument("file", type=Path, nargs="?", metavar="FILE", help='"-" reads a pipe')
    parser.add_argument(
        "--text", action="append", metavar="TEXT", help="instead of a file; may be repeated"
    )
    parser.add_argument("--format", choices=FORMATS, help="of the file, if its name does not say")
    parser.add_argument(
        "--probabilities", action="store_true", help="write the probability of every class, too"
    )
    parser.add_argument(
        "--output", type=Path, metavar="FILE", help="where to write (default: standard output)"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace a file that is there")


def run(arguments: argparse.Namespace) -> None:
    """Run the command."""
    if (arguments.file is None) == (arguments.text is None):
        raise CommandError("needs either a FILE or --text TEXT")
    if arguments.output is not None:
        check_output_path(arguments.output, arguments.file, overwrite=arguments.overwrite)
    model = load(arguments.model)
    if not hasattr(model.estimator, "predict"):
        raise CommandError(
            f"{arguments.model} writes sequences and predicts no targets: "
            f"python -m bptt generate {arguments.model}"
        )
    if arguments.probabilities and not hasattr(model.estimator, "predict_proba"):
        raise CommandError(f"{arguments.model} predicts numbers: leave --probabilities out")
    table = load_input(arguments, model.form)
    groups = group_rows(table, model.form)
    X = extract_sequences(table, model.form, groups)
    if arguments.text is not None:
        warn_unknown_tokens(model, X)
    try:
        found = model.estimator.predict(X)
        shares = model.estimator.predict_proba(X) if arguments.probabilities else None
    except (TypeError, ValueError) as error:
        raise CommandError(f"{table.name}: {error}") from error
    classes = getattr(model.estimator, "classes_", ())
    text = predictions(table, model.form, groups, X, found, shares, classes)
    if arguments.output is None:
        sys.stdout.write(text)
    else:
        arguments.output.write_text(text, encoding="utf-8")
        print(f"{len(X):,} predictions in {arguments.output}", file=sys.stderr)
    _print_evaluation(table, model, groups, X, found)


def load_input(arguments: argparse.Namespace, form: Schema) -> Table:
    """Return the file, or the texts, that a command was given."""
    if arguments.text is None:
        return read_table(arguments.file, arguments.format, tagged=form.tagged)
    rows = [[text] for text in arguments.text]
    if not all(text.strip() for text in arguments.text):
        raise CommandError("argument --text: must not be empty")
    return Table("--text", "text", [TEXT], rows, list(range(1, len(rows) + 1)))


def _print_evaluation(
    table: Table, model: Model, groups: list[list[int]], X: list[Any], found: Any
) -> None:
    """Compare with the targets, if the table has them all."""
    from bptt.cli.evaluation import compare

    form: Schema = model.form
    if form.target not in table.columns or model.task is None:
        return
    try:
        y = extract_targets(table, form, groups, model.task)
    except CommandError:
        return
    if model.task == TAGGING and any(len(row) != len(x) for row, x in zip(y, X, strict=True)):
        return
    figure = compare(model.task, found, y, X, {"always": model.metadata["always"]})
    print(figure, file=sys.stderr)
    if table.name == model.metadata["file"]:
        print("but the model has learned from this file: that is no test", file=sys.stderr)
