"""Predict with a saved model, for a file or for texts on the command line.

The file may have any format that train reads, with or without targets. The output
has the format of the input and an additional column "prediction"; if the file has
targets, the accuracy or error is printed.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from bptt.cli.errors import CommandError, check_output_path
from bptt.cli.readers import FORMATS, read_table
from bptt.cli.saved_models import SavedModel, load_model, warn_unknown_tokens
from bptt.cli.schema import (
    TAGGING,
    Schema,
    adapt_schema,
    extract_sequences,
    extract_targets,
    fill_missing,
    group_rows,
)
from bptt.cli.tables import TEXT, Table, is_missing
from bptt.cli.writers import format_predictions

NAME = "predict"
SUMMARY = "predict with a saved model for a file or a text"
USAGE = "MODEL [FILE] [options]"
EXAMPLES = """\
examples:
  python -m bptt predict reviews.safetensors new.csv --output predicted.csv
  python -m bptt predict reviews.safetensors --text 'a good film'
  python -m bptt predict reviews.safetensors new.jsonl --probabilities
  python -m bptt predict tagged.safetensors sentences.txt
  python -m bptt predict reviews.safetensors - --format jsonl < new.jsonl"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    add_input_arguments(parser, 'sequences to predict for; "-" reads stdin')
    parser.add_argument(
        "--probabilities", action="store_true", help="write the class probabilities as well"
    )
    parser.add_argument(
        "--output", type=Path, metavar="FILE", help="write predictions to FILE (default: stdout)"
    )
    parser.add_argument("--overwrite", action="store_true", help="overwrite an existing FILE")


def add_input_arguments(parser: argparse.ArgumentParser, file_help: str) -> None:
    """Add the arguments of a model and of its input, a file or texts."""
    parser.add_argument("model", type=Path, metavar="MODEL", help="model file saved by train")
    parser.add_argument("file", type=Path, nargs="?", metavar="FILE", help=file_help)
    parser.add_argument(
        "--text", action="append", metavar="TEXT", help="input text, no FILE; may be repeated"
    )
    parser.add_argument(
        "--format", choices=FORMATS, help="format of FILE (default: inferred from its name)"
    )


def run(arguments: argparse.Namespace) -> None:
    """Run the command."""
    if (arguments.file is None) == (arguments.text is None):
        raise CommandError("needs either FILE or --text TEXT")
    if str(arguments.output) == "-":
        arguments.output = None
    if arguments.output is not None:
        check_output_path(arguments.output, arguments.file, overwrite=arguments.overwrite)
    model = load_model(arguments.model, predict_only=True)
    if not hasattr(model.estimator, "predict"):
        raise CommandError(
            f"{arguments.model} generates sequences and predicts no targets: "
            f"use python -m bptt generate {arguments.model}"
        )
    if arguments.probabilities and not hasattr(model.estimator, "predict_proba"):
        raise CommandError(f"{arguments.model} predicts numbers: remove --probabilities")
    table = read_input(arguments, model)
    model = model._replace(schema=adapt_schema(model.schema, table))
    groups = group_rows(table, model.schema)
    X = fill_missing(extract_sequences(table, model.schema, groups), model.schema)
    if arguments.text is not None:
        warn_unknown_tokens(model, X)
    try:
        predictions = _predict(model.estimator, X)
        probabilities = model.estimator.predict_proba(X) if arguments.probabilities else None
    except (TypeError, ValueError) as error:
        raise CommandError(f"{table.name}: {error}") from error
    classes = getattr(model.estimator, "classes_", ())
    text = format_predictions(table, model.schema, groups, X, predictions, probabilities, classes)
    if arguments.output is None:
        sys.stdout.write(text)
    else:
        try:  # a lone surrogate has no encoding; "?" stands for it, as in the terminal
            arguments.output.write_text(text, encoding="utf-8", errors="replace")
        except OSError as error:
            raise CommandError(f"cannot write {arguments.output}: {error.strerror}") from error
        print(f"{len(X):,} predictions written to {arguments.output}", file=sys.stderr)
    _print_evaluation(table, model, groups, X, predictions)


def _predict(estimator: Any, X: list[Any]) -> Any:
    """Return predictions; several classes of a sequence are one text, with commas between."""
    if not getattr(estimator, "multi_label", False):
        return estimator.predict(X)
    likely = estimator.predict_proba(X) > 0.5
    return [",".join(map(str, estimator.classes_[row].tolist())) for row in likely]


def read_input(arguments: argparse.Namespace, model: SavedModel) -> Table:
    """Return the input of a command as a table: its file or its texts.

    A file of unknown suffix, and standard input, have the format of the training data.
    """
    if arguments.text is None:
        table = read_table(
            arguments.file,
            arguments.format,
            default=model.metadata.get("format"),
            tagged=model.schema.is_tagged,
            columns=model.schema.inputs,
        )
        known = model.metadata.get("format", table.format)
        if str(arguments.file) == "-" and table.format != known:
            title = FORMATS[table.format].title
            print(f"{table.name} is read as {title} (else use --format)", file=sys.stderr)
        return table
    rows = [[text] for text in arguments.text]
    if not all(text.strip() for text in arguments.text):
        raise CommandError("argument --text: must not be empty")
    return Table("--text", "text", [TEXT], rows, list(range(1, len(rows) + 1)))


def _print_evaluation(
    table: Table, model: SavedModel, groups: list[list[int]], X: list[Any], predictions: Any
) -> None:
    """Evaluate the predictions if the table has all targets."""
    from bptt.cli.evaluation import evaluate_predictions

    schema, task = model.schema, model.task
    if task is None or not schema.targets or not set(schema.targets) <= set(table.columns):
        return
    try:
        y = extract_targets(table, schema, groups, task)
    except CommandError as error:
        if not _has_no_targets(table, schema):
            print(f"not evaluated: {error}", file=sys.stderr)
        return
    if table.format == "conllu" and {label for row in y for label in row} == {"_"}:
        return  # not annotated
    if task == TAGGING and any(len(row) != len(x) for row, x in zip(y, X, strict=True)):
        return
    baseline = model.metadata["baseline"]
    evaluations = evaluate_predictions(task, predictions, y, X, schema, baseline)
    print("\n".join(map(str, evaluations)), file=sys.stderr)
    if table.name == model.metadata["file"]:
        print("warning: the model was trained on this file", file=sys.stderr)


def _has_no_targets(table: Table, schema: Schema) -> bool:
    """Return whether all cells of the targets are empty."""
    indices = [table.columns.index(column) for column in schema.targets]
    return all(is_missing(row[index]) for row in table.rows for index in indices)
