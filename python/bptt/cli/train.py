"""Train a model on a file of sequences, evaluate it and save it.

The columns and the task are inferred from the file and printed; options override
them. Part of the sequences are held out for validation.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bptt.cli.baselines import fit_baseline
from bptt.cli.console import (
    describe_estimator,
    format_file_size,
    print_data_summary,
    print_next_commands,
    print_section,
)
from bptt.cli.errors import CommandError, check_output_path, require_packages
from bptt.cli.estimator_options import add_estimator_arguments, make_estimator
from bptt.cli.readers import FORMATS, read_table
from bptt.cli.schema import (
    CLASSIFICATION,
    LANGUAGE,
    TAGGING,
    TASKS,
    Schema,
    extract_sequences,
    extract_targets,
    group_rows,
)
from bptt.cli.schema_inference import SchemaOptions, infer_schema, infer_task
from bptt.cli.tables import Table

NAME = "train"
SUMMARY = "train a model on a file of sequences"
USAGE = "FILE [options]"
EXAMPLES = """\
files and tasks:
  reviews.csv    columns text,label             one class per text
  reviews.jsonl  {"text": "..", "label": ".."}  one class per text
  waves.csv      columns x1,x2,x3,target        one class or number per row
  walks.csv      columns sequence,x,y,label     one class or number per sequence
                                                of rows, or one label per row
  tagged.tsv     dog<TAB>NOUN, a blank line     one tag per token
                 between sentences
  names.txt      one sequence per line          language model of the lines
  book.txt       one running text               language model of the text

examples:
  python -m bptt train reviews.csv
  python -m bptt train waves.csv --target speed --output speed.safetensors
  python -m bptt train walks.csv --sequence walk --target label --ignore time
  python -m bptt train tagged.tsv --validation more.tsv --epochs 20
  python -m bptt train book.txt --hidden-size 256"""
_MAX_CHUNKS = 32  # a running text is split into chunks, the rows of a minibatch
_MIN_CHUNK = 2000  # characters


class Dataset(NamedTuple):
    """Sequences and their targets; y is None for language models."""

    X: list[Any]
    y: list[Any] | None

    def take(self, indices: Any) -> Dataset:
        """Return some of the sequences."""
        y = None if self.y is None else [self.y[i] for i in indices]
        return Dataset([self.X[i] for i in indices], y)


class TrainingJob(NamedTuple):
    """Input of a training."""

    table: Table
    task: str
    schema: Schema
    train: Dataset
    validation: Dataset


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("file", type=Path, metavar="FILE", help='training data; "-" reads stdin')
    parser.add_argument(
        "--output",
        type=Path,
        metavar="MODEL",
        help="write the model to MODEL (default: FILE with the suffix .safetensors)",
    )
    parser.add_argument("--overwrite", action="store_true", help="overwrite an existing MODEL")
    data = parser.add_argument_group("data (inferred from the file by default)")
    data.add_argument("--format", choices=FORMATS, help="format of FILE")
    data.add_argument("--task", choices=TASKS, help="task to train for")
    data.add_argument("--target", metavar="COLUMN", help="column of the targets")
    data.add_argument("--text", metavar="COLUMN", help="column of the texts or tokens")
    data.add_argument(
        "--sequence",
        metavar="COLUMN",
        help="column of sequence ids; rows with the same id are one sequence",
    )
    data.add_argument(
        "--ignore",
        metavar="COLUMN",
        action="append",
        default=[],
        help="column to ignore; may be repeated",
    )
    lines = data.add_mutually_exclusive_group()
    lines.add_argument(
        "--lines",
        action="store_true",
        default=None,
        help="plain text: treat every line as a sequence",
    )
    lines.add_argument(
        "--running",
        action="store_false",
        dest="lines",
        default=None,
        help="plain text: treat the file as one running text",
    )
    data.add_argument(
        "--validation",
        default="0.1",
        metavar="X",
        help="fraction of the sequences held out for validation, or a validation file "
        "(default: %(default)s)",
    )
    add_estimator_arguments(parser)


def run(arguments: argparse.Namespace) -> None:
    """Run the command."""
    name = "model" if str(arguments.file) == "-" else arguments.file.stem
    path = arguments.output or Path(f"{name}.safetensors")
    check_output_path(path, arguments.file, overwrite=arguments.overwrite)
    table = read_table(arguments.file, arguments.format)
    options = {name: getattr(arguments, name) for name in SchemaOptions._fields}
    schema, notes = infer_schema(table, SchemaOptions(**options))
    task, data, reason = _make_dataset(table, schema, arguments.task)
    print_data_summary(table, task, reason, notes, data.y)
    train, validation = _split_dataset(data, task, schema, arguments)
    require_packages("tqdm", "safetensors.numpy", "sklearn.base")
    _fit(path, TrainingJob(table, task, schema, train, validation), arguments)


def _make_dataset(table: Table, schema: Schema, task: str | None) -> tuple[str, Dataset, str]:
    """Return the task, the dataset, and the reason for the task if it is inferred."""
    groups = group_rows(table, schema)
    reason = ""
    if task is None:
        task, reason = infer_task(table, schema, groups)
    X = extract_sequences(table, schema, groups)
    y = None if task == LANGUAGE else extract_targets(table, schema, groups, task)
    if task in (CLASSIFICATION, TAGGING):
        _check_classes(table, schema, task, y or [])
    return task, Dataset(X, y), reason


def _check_classes(table: Table, schema: Schema, task: str, y: list[Any]) -> None:
    y = [label for labels in y for label in labels] if task == TAGGING else y
    classes = set(y)
    hint = "use another column as --target"
    if len(classes) < 2:
        raise CommandError(
            f"{table.name}: column {schema.target!r} must have at least two labels, "
            f"got only {y[0]!r}: {hint}"
        )
    if task == TAGGING:
        return
    if len(classes) > len(y) // 2 and len(y) > 10:
        raise CommandError(
            f"{table.name}: column {schema.target!r} has {len(classes):,} distinct values in "
            f"{len(y):,} sequences, too many for classes: {hint}"
        )


def _split_dataset(
    data: Dataset, task: str, schema: Schema, arguments: argparse.Namespace
) -> tuple[Dataset, Dataset]:
    """Return training and validation data: a random split, the end of a text, or another file."""
    try:
        fraction = float(arguments.validation)
    except ValueError:
        validation = _read_validation_data(Path(arguments.validation), data, task, schema)
        return _split_running_text(data, schema), validation
    if not 0.0 < fraction < 1.0:
        raise CommandError(f"argument --validation: must be in (0, 1), or a file, got {fraction:g}")
    if schema.layout == "running":
        text = data.X[0]
        end = len(text) - max(1, round(len(text) * fraction))
        train = _split_running_text(Dataset([text[:end]], None), schema)
        return train, Dataset([text[end:]], None)
    count = len(data.X)
    held_out = max(1, round(count * fraction))
    if held_out >= count:
        raise CommandError(
            f"{arguments.file}: must have at least two sequences, one for training and one for "
            f"validation, got {count}"
        )
    order = np.random.default_rng(arguments.random_state).permutation(count)
    train, validation = data.take(sorted(order[held_out:])), data.take(sorted(order[:held_out]))
    known = _has_known_labels(train, validation, task)
    moved = validation.take([i for i, is_known in enumerate(known) if not is_known])
    validation = validation.take([i for i, is_known in enumerate(known) if is_known])
    if not validation.X:
        raise CommandError(f"{arguments.file}: {count} sequences are too few for validation")
    y = None if train.y is None else train.y + (moved.y or [])
    return Dataset(train.X + moved.X, y), validation


def _read_validation_data(path: Path, train: Dataset, task: str, schema: Schema) -> Dataset:
    """Return the sequences of a validation file without labels unknown to the training data."""
    table = read_table(path, tagged=schema.is_tagged)
    groups = group_rows(table, schema)
    y = None if task == LANGUAGE else extract_targets(table, schema, groups, task)
    data = Dataset(extract_sequences(table, schema, groups), y)
    known = _has_known_labels(train, data, task)
    if not any(known):
        raise CommandError(f"{path}: has no sequence with labels of the training data")
    if not all(known):
        ignored = known.count(False)
        print_section("Data", f"{path}: sequences with unknown labels, ignored: {ignored}")
    return data.take([i for i, is_known in enumerate(known) if is_known])


def _has_known_labels(train: Dataset, validation: Dataset, task: str) -> list[bool]:
    """Return for each validation sequence whether all its labels are in the training data."""
    if task not in (CLASSIFICATION, TAGGING) or train.y is None or validation.y is None:
        return [True] * len(validation.X)
    if task == CLASSIFICATION:
        labels = set(train.y)
        return [label in labels for label in validation.y]
    labels = {label for row in train.y for label in row}
    return [labels.issuperset(row) for row in validation.y]


def _split_running_text(data: Dataset, schema: Schema) -> Dataset:
    """Split a running text into chunks that are the rows of a minibatch."""
    if schema.layout != "running":
        return data
    text = data.X[0]
    size = -(-len(text) // max(1, min(_MAX_CHUNKS, len(text) // _MIN_CHUNK)))
    return Dataset([text[i : i + size] for i in range(0, len(text), size)], None)


def _fit(path: Path, job: TrainingJob, arguments: argparse.Namespace) -> None:
    """Train a model, then evaluate and save it, also if training is interrupted."""
    from bptt.cli.training_progress import EpochReporter

    task, validation = job.task, job.validation
    reporter = EpochReporter(task)
    model = None
    try:
        model = make_estimator(task, job.schema, job.train.X, arguments)
        print_section("Model", describe_estimator(model))
        held_out = (validation.X,) if task == LANGUAGE else validation
        model.set_params(callbacks=[reporter]).fit(*job.train, validation=held_out)
    except (TypeError, ValueError) as error:
        raise CommandError(str(error)) from error
    except FloatingPointError as error:
        raise CommandError(str(error).replace("learning_rate", "--learning-rate")) from error
    except KeyboardInterrupt:
        reporter.close()
        if not getattr(model, "history_", ()):
            raise KeyboardInterrupt("interrupted in the first epoch, no model saved") from None
        _save_and_evaluate(path, job, model)
        raise KeyboardInterrupt(f"interrupted, the best model so far is in {path}") from None
    finally:
        reporter.close()
    try:
        _save_and_evaluate(path, job, model)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"interrupted, the model is in {path}") from None


def _save_and_evaluate(path: Path, job: TrainingJob, model: Any) -> None:
    """Save and evaluate a trained model."""
    from bptt.cli.evaluation import evaluate

    table, task, schema, train, validation = job
    baseline = {} if train.y is None else fit_baseline(task, schema, train.X, train.y)
    metadata: dict[str, Any] = {
        "task": task,
        "schema": schema.to_dict(),
        "file": table.name,
        "format": table.format,
        "baseline": baseline.get("constant"),
    }
    _save(model, path, metadata)  # before anything else can be interrupted
    evaluation = evaluate(model, task, schema, train, validation)
    _save(model, path, {**metadata, "validation": evaluation._asdict()})
    epochs = len(model.history_)
    best = epochs - model.history_.epochs_since_best(model.min_delta)
    print_section("\nResult", str(evaluation))
    if not evaluation.is_better:
        print_section(
            "", "No better than the baseline: try more data, more --epochs or another model."
        )
    print_section("Saved", f"{path} ({format_file_size(path)}), best epoch {best} of {epochs}")
    print_next_commands(path, task, schema, table.name, validation.X[0])


def _save(model: Any, path: Path, metadata: dict[str, Any]) -> None:
    try:
        model.save(path, metadata)
    except OSError as error:
        raise CommandError(f"cannot save {path}: {error.strerror}") from error
