"""Train a model on a file of sequences, evaluate it and save it.

The columns and the task are inferred from the file and printed; options override
them. Part of the sequences are held out for validation.
"""

from __future__ import annotations

import argparse
import warnings
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bptt.cli.baselines import fit_baseline, has_valid_spans
from bptt.cli.console import (
    describe_estimator,
    epochs_since_best,
    format_file_size,
    print_data_summary,
    print_next_commands,
    print_section,
)
from bptt.cli.errors import CommandError, check_output_path, require_packages
from bptt.cli.estimator_options import add_estimator_arguments, make_estimator
from bptt.cli.holdout import Dataset, describe_holdout, split_dataset
from bptt.cli.readers import FORMATS, read_table
from bptt.cli.schema import (
    CLASSIFICATION,
    LANGUAGE,
    REGRESSION,
    TAGGING,
    TASKS,
    Schema,
    extract_sequences,
    extract_targets,
    feature_means,
    fill_missing,
    group_rows,
    numbers_of,
    stack_targets,
)
from bptt.cli.schema_inference import SchemaOptions, has_targets_per_step, infer_schema, infer_task
from bptt.cli.tables import Table, is_number
from bptt.distributed import Communicator
from bptt.distributed._launcher import launched

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
  python -m bptt train walks.csv --sequence walk --target label --group person
  python -m bptt train months.csv --target next --time date --missing fill
  python -m bptt train tagged.tsv --validation more.tsv --epochs 20
  python -m bptt train book.txt --hidden-size 256"""

_MAX_LOOKAHEAD = 12  # steps


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
    data.add_argument(
        "--target",
        metavar="COLUMN",
        action="append",
        default=[],
        help="column of the targets; may be repeated for regression",
    )
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
    data.add_argument(
        "--categorical-features",
        metavar="COLUMN",
        action="append",
        default=[],
        help="column of categories beside columns of numbers; may be repeated",
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
    chosen = data.add_mutually_exclusive_group()
    chosen.add_argument(
        "--group",
        metavar="COLUMN",
        help="hold out whole groups, such as speakers, instead of random sequences",
    )
    chosen.add_argument(
        "--time", metavar="COLUMN", help="hold out the latest sequences, by numbers or dates"
    )
    data.add_argument(
        "--missing",
        choices=("error", "fill", "mask", "decay"),
        default="error",
        help="empty cells and NaN in the inputs: an error; the last number before; that, a mask "
        "and the time since; or that with a trained decay to the mean, and a mask "
        "(default: %(default)s)",
    )
    add_estimator_arguments(parser)


def run(arguments: argparse.Namespace) -> None:
    """Run the command, on all processes that mpiexec has started."""
    with ExitStack() as stack:
        try:
            ranks = stack.enter_context(launched())
        except (ImportError, RuntimeError) as error:
            raise CommandError(str(error)) from error
        _run(arguments, ranks)


def _run(arguments: argparse.Namespace, ranks: Communicator) -> None:
    name = "model" if str(arguments.file) == "-" else arguments.file.stem
    path = arguments.output or Path(f"{name}.safetensors")
    if str(path) == "-":
        raise CommandError("argument --output: must be a file, got -: a model is no text")
    table = ranks._first(lambda: _read(path, arguments))
    options = {name: getattr(arguments, name) for name in SchemaOptions._fields}
    schema, notes = infer_schema(table, SchemaOptions(**options))
    task, schema, data, reason = _make_dataset(table, schema, arguments.task)
    if schema.per_step and schema.content == "numbers" and arguments.bidirectional:
        _check_lookahead(table, schema, data)
    holdout = describe_holdout(table, schema, arguments)
    print_data_summary(table, schema, task, reason, [*notes, *filter(None, [holdout])], data.y)
    train, validation = split_dataset(data, table, task, schema, arguments)
    if schema.missing != "error" and schema.content == "numbers":
        schema = replace(schema, fill=feature_means(train.X, schema))
        train, validation = (
            part._replace(X=fill_missing(part.X, schema)) for part in (train, validation)
        )
    require_packages("tqdm", "safetensors.numpy", "sklearn.base")
    _fit(path, TrainingJob(table, task, schema, train, validation), arguments, ranks)


def _read(path: Path, arguments: argparse.Namespace) -> Table:
    """Return the file as a table, after a check that the model can be written."""
    check_output_path(path, arguments.file, overwrite=arguments.overwrite)
    return read_table(arguments.file, arguments.format)


def _make_dataset(
    table: Table, schema: Schema, task: str | None
) -> tuple[str, Schema, Dataset, str]:
    """Return the task, the schema for it, the dataset, and the reason if the task is inferred."""
    groups = group_rows(table, schema)
    reason = ""
    if task is None:
        task, reason = infer_task(table, schema, groups)
    if task == REGRESSION and has_targets_per_step(table, schema, groups):
        schema = replace(schema, per_step=True)
    X = extract_sequences(table, schema, groups)
    y = None if task == LANGUAGE else extract_targets(table, schema, groups, task)
    if task in (CLASSIFICATION, TAGGING):
        _check_classes(table, schema, task, y or [])
    if task == REGRESSION:
        _check_numbers(table, schema, y or [])
    return task, schema, Dataset(X, y), reason


def _check_lookahead(table: Table, schema: Schema, data: Dataset) -> None:
    """Check that no target is an input of a later step, which the reverse direction reads."""
    targets = [np.reshape(y, (len(y), -1)) for y in data.y or []]
    for lag in range(1, _MAX_LOOKAHEAD + 1):
        later = [x[lag:] for x in numbers_of(data.X, schema)]
        known = [y[:-lag] for y in targets]
        if not any(map(len, known)):
            return
        x, y = np.concatenate(later), np.concatenate(known)
        same = [
            (name, feature)
            for k, name in enumerate(schema.targets)
            for feature in range(x.shape[1])
            if np.array_equal(x[:, feature], y[:, k], equal_nan=True)
        ]
        for name, feature in same:
            of = f" of {schema.inputs[feature]!r}" if schema.layout == "rows" else ""
            raise CommandError(
                f"argument --bidirectional: target {name!r} is the input{of} {lag} "
                f"{'step' if lag == 1 else 'steps'} later in {table.name}, which the reverse "
                "direction reads"
            )


def _check_numbers(table: Table, schema: Schema, y: list[Any]) -> None:
    values = stack_targets(y, schema)
    for column, numbers in zip(schema.targets, values.T, strict=True):
        if len(values) > 1 and numbers.min() == numbers.max():
            raise CommandError(
                f"{table.name}: column {column!r} must have at least two values, got only "
                f"{numbers[0]:g}: use another column as --target"
            )


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
        texts = [label for label in y if not is_number(label)]
        if len(texts) < len(y) / 2:
            hint = f"for a regression, all must be numbers, got {texts[0]!r}" if texts else hint
        raise CommandError(
            f"{table.name}: column {schema.target!r} has {len(classes):,} distinct values in "
            f"{len(y):,} sequences, too many for classes: {hint}"
        )


def _fit(path: Path, job: TrainingJob, arguments: argparse.Namespace, ranks: Communicator) -> None:
    """Train a model, then evaluate and save it, also if training is interrupted."""
    from bptt.cli.training_progress import METRICS, EpochReporter

    task, validation = job.task, job.validation
    valid_spans = task == TAGGING and has_valid_spans(job.train.y or [])
    reporter = EpochReporter(task, metric="span F1" if valid_spans else METRICS[task])
    model = None
    try:
        model = make_estimator(task, job.schema, job.train.X, arguments)
        if isinstance(getattr(model, "class_weight", None), dict):
            _name_labels(model, task, job.train.y or [])
        if valid_spans:
            model.set_params(metric="span_f1", viterbi=True, monitor="metric")
        print_section("Model", describe_estimator(model))
        held_out = (validation.X,) if task == LANGUAGE else validation
        with warnings.catch_warnings():  # the printed summary has all labels, known or not
            for message in (".* labels that were not in fit", "label -.* is a class"):
                warnings.filterwarnings("ignore", message, UserWarning)
            model.set_params(callbacks=[reporter]).fit(
                *job.train, validation=held_out, communicator=ranks
            )
    except (TypeError, ValueError) as error:
        raise CommandError(str(error)) from error
    except OSError as error:  # of --embedding-vectors
        raise CommandError(f"cannot read {error.filename}: {error.strerror}") from error
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
    if not ranks.is_first:
        return
    try:
        _save_and_evaluate(path, job, model)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"interrupted, the model is in {path}") from None


def _name_labels(model: Any, task: str, y: list[Any]) -> None:
    """Replace the names of labels in the class weights by the labels, such as 1 for "1"."""
    labels = y if task == CLASSIFICATION else [label for row in y for label in row]
    named = {str(label): label for label in labels}
    weights = {named.get(name, name): weight for name, weight in model.class_weight.items()}
    model.set_params(class_weight=weights)


def _save_and_evaluate(path: Path, job: TrainingJob, model: Any) -> None:
    """Save and evaluate a trained model."""
    from bptt.cli.evaluation import compare_with_baselines, evaluate

    table, task, schema, train, validation = job
    baseline = {} if train.y is None else fit_baseline(task, schema, train.X, train.y)
    metadata: dict[str, Any] = {
        "task": task,
        "schema": schema.to_dict(),
        "file": table.name,
        "format": table.format,
        "baseline": baseline,
    }
    _save(model, path, metadata)  # before anything else can be interrupted
    evaluations = evaluate(model, task, train.X, validation, schema, baseline)
    _save(model, path, {**metadata, "validation": [one._asdict() for one in evaluations]})
    epochs = len(model.history_)
    best = epochs - epochs_since_best(model)
    print_section("\nResult", "\n".join(map(str, evaluations)))
    if comment := compare_with_baselines(evaluations):
        print_section("", comment)
    print_section("Saved", f"{path} ({format_file_size(path)}), best epoch {best} of {epochs}")
    print_next_commands(path, task, schema, table.name, validation.X[0])


def _save(model: Any, path: Path, metadata: dict[str, Any]) -> None:
    try:
        model.save(path, metadata)
    except OSError as error:
        raise CommandError(f"cannot save {path}: {error.strerror}") from error
