"""Learn from a file of sequences, and save the model.

What there is to learn is guessed from the file and said aloud; options say otherwise.
A part of the file is held out, to say how good the model is on what it has not seen.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

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
SUMMARY = "learn from a file: classes, numbers, tags or text"
USAGE = "FILE [options]"
EXAMPLES = """\
files, and what is learned from them:
  reviews.csv    columns text,label             a class for each text
  reviews.jsonl  {"text": "..", "label": ".."}  the same
  waves.csv      columns x1,x2,x3,target        a class or number for each row
  walks.csv      columns sequence,x,y,label     the same for each sequence of
                                                rows, or a label for each row
  tagged.tsv     dog<TAB>NOUN, a blank line     a tag for each token
                 between sentences
  names.txt      a line is a sequence           what comes next: more such lines
  book.txt       one running text               what comes next: more such text

examples:
  python -m bptt train reviews.csv
  python -m bptt train waves.csv --target speed --output speed.safetensors
  python -m bptt train walks.csv --sequence walk --target label --ignore time
  python -m bptt train tagged.tsv --validation more.tsv --epochs 20
  python -m bptt train book.txt --hidden-size 256"""
_ROWS, _PART = 32, 2000  # a running text is read in so many parts side by side, if they are so long


class Data(NamedTuple):
    """Sequences, with targets if the task has any."""

    X: list[Any]
    y: list[Any] | None

    def take(self, indices: Any) -> Data:
        """Return some of them."""
        y = None if self.y is None else [self.y[i] for i in indices]
        return Data([self.X[i] for i in indices], y)


class TrainingJob(NamedTuple):
    """What is learned."""

    table: Table
    task: str
    form: Schema
    learned: Data
    held_out: Data


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command to its parser."""
    parser.add_argument("file", type=Path, metavar="FILE", help='what to learn; "-" reads a pipe')
    parser.add_argument(
        "--output", type=Path, metavar="MODEL", help="where to save (default: FILE's name)"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace a model that is there")
    data = parser.add_argument_group("file (all is guessed and said)")
    data.add_argument("--format", choices=FORMATS, help="of the file, if its name does not say")
    data.add_argument("--task", choices=TASKS, help="what to learn")
    data.add_argument("--target", metavar="COLUMN", help="the column to predict")
    data.add_argument("--text", metavar="COLUMN", help="the column of the texts, or tokens")
    data.add_argument("--sequence", metavar="COLUMN", help="rows with the same are one sequence")
    data.add_argument(
        "--ignore", metavar="COLUMN", action="append", default=[], help="a column to leave out"
    )
    lines = data.add_mutually_exclusive_group()
    lines.add_argument(
        "--lines", action="store_true", default=None, help="of plain text: a line is a sequence"
    )
    lines.add_argument(
        "--running",
        action="store_false",
        dest="lines",
        default=None,
        help="of plain text: all of it is one sequence",
    )
    data.add_argument(
        "--validation",
        default="0.1",
        metavar="X",
        help="the part of the file that is held out, or another file (default: %(default)s)",
    )
    add_estimator_arguments(parser)


def run(arguments: argparse.Namespace) -> None:
    """Run the command."""
    name = "model" if str(arguments.file) == "-" else arguments.file.stem
    path = arguments.output or Path(f"{name}.safetensors")
    check_output_path(path, arguments.file, overwrite=arguments.overwrite)
    table = read_table(arguments.file, arguments.format)
    wanted = SchemaOptions(**{name: getattr(arguments, name) for name in SchemaOptions._fields})
    form, said = infer_schema(table, wanted)
    task, data, why = _make_dataset(table, form, arguments.task)
    print_data_summary(table, task, why, said, data.y)
    learned, held_out = _split_dataset(data, task, form, arguments)
    require_packages("tqdm", "safetensors.numpy", "sklearn.base")
    _fit(path, TrainingJob(table, task, form, learned, held_out), arguments)


def _make_dataset(table: Table, form: Schema, task: str | None) -> tuple[str, Data, str]:
    """Return the task, sequences and targets, and why it is this task."""
    groups = group_rows(table, form)
    why = ""
    if task is None:
        task, why = infer_task(table, form, groups)
    X = extract_sequences(table, form, groups)
    y = None if task == LANGUAGE else extract_targets(table, form, groups, task)
    if task == CLASSIFICATION:
        _check_classes(table, form, y or [])
    return task, Data(X, y), why


def _check_classes(table: Table, form: Schema, y: list[Any]) -> None:
    classes = set(y)
    fix = "name another column with --target"
    if len(classes) < 2:
        raise CommandError(
            f"{table.name}: column {form.target!r} must have two classes at least, "
            f"got {y[0]!r} alone: {fix}"
        )
    if len(classes) > len(y) // 2 and len(y) > 10:
        raise CommandError(
            f"{table.name}: column {form.target!r} has {len(classes):,} different values in "
            f"{len(y):,} sequences, which is no class: {fix}"
        )


def _split_dataset(
    data: Data, task: str, form: Schema, arguments: argparse.Namespace
) -> tuple[Data, Data]:
    """Return what is learned and what is held out: a part at random, the end, or another file."""
    try:
        part = float(arguments.validation)
    except ValueError:
        return _split_running_text(data, form), _read_validation_data(
            Path(arguments.validation), data, task, form
        )
    if not 0.0 < part < 1.0:
        raise CommandError(f"argument --validation: must be in (0, 1), or a file, got {part:g}")
    if form.shape == "running":
        text = data.X[0]
        end = len(text) - max(1, round(len(text) * part))
        return _split_running_text(Data([text[:end]], None), form), Data([text[end:]], None)
    count = len(data.X)
    held = max(1, round(count * part))
    if held >= count:
        raise CommandError(
            f"{arguments.file}: must have two sequences at least, one to learn and one to "
            f"validate, got {count}"
        )
    order = np.random.default_rng(arguments.seed).permutation(count)
    learned, held_out = data.take(sorted(order[held:])), data.take(sorted(order[:held]))
    known = _has_known_labels(learned, held_out, task)
    back = held_out.take([i for i, is_known in enumerate(known) if not is_known])
    held_out = held_out.take([i for i, is_known in enumerate(known) if is_known])
    if not held_out.X:
        raise CommandError(f"{arguments.file}: {count} sequences are too few to hold some out")
    y = None if learned.y is None else learned.y + (back.y or [])
    return Data(learned.X + back.X, y), held_out


def _read_validation_data(path: Path, data: Data, task: str, form: Schema) -> Data:
    """Return the sequences of another file, without those whose labels were not learned."""
    table = read_table(path, tagged=form.tagged)
    groups = group_rows(table, form)
    y = None if task == LANGUAGE else extract_targets(table, form, groups, task)
    found = Data(extract_sequences(table, form, groups), y)
    known = _has_known_labels(data, found, task)
    if not any(known):
        raise CommandError(f"{path}: holds no label that is in the file to learn from")
    if not all(known):
        print_section(
            "Data", f"{path}: left out, as their labels are unknown: {known.count(False)}"
        )
    return found.take([i for i, is_known in enumerate(known) if is_known])


def _has_known_labels(learned: Data, held_out: Data, task: str) -> list[bool]:
    """Return for each sequence held out whether all its labels can be learned."""
    if task not in (CLASSIFICATION, TAGGING) or learned.y is None or held_out.y is None:
        return [True] * len(held_out.X)
    if task == CLASSIFICATION:
        labels = set(learned.y)
        return [label in labels for label in held_out.y]
    labels = {label for row in learned.y for label in row}
    return [labels.issuperset(row) for row in held_out.y]


def _split_running_text(data: Data, form: Schema) -> Data:
    """Cut a running text into parts that are read side by side."""
    if form.shape != "running":
        return data
    text = data.X[0]
    size = -(-len(text) // max(1, min(_ROWS, len(text) // _PART)))
    return Data([text[i : i + size] for i in range(0, len(text), size)], None)


def _fit(path: Path, lesson: TrainingJob, arguments: argparse.Namespace) -> None:
    """Train, save what was reached, and say how good it is."""
    from bptt.cli.training_progress import EpochReporter

    task, learned, held_out = lesson.task, lesson.learned, lesson.held_out
    shown = EpochReporter(task)
    model = None
    try:
        model = make_estimator(task, lesson.form, learned.X, arguments)
        print_section("Model", describe_estimator(model))
        validation = (held_out.X,) if task == LANGUAGE else held_out
        model.set_params(callbacks=[shown]).fit(*learned, validation=validation)
    except (TypeError, ValueError) as error:
        raise CommandError(str(error)) from error
    except FloatingPointError as error:
        raise CommandError(str(error).replace("learning_rate", "--learning-rate")) from error
    except KeyboardInterrupt:
        shown.close()
        if not getattr(model, "history_", ()):
            raise KeyboardInterrupt("interrupted in the first epoch, nothing is saved") from None
        _save_and_evaluate(path, lesson, model)
        raise KeyboardInterrupt(f"interrupted, the best model so far is in {path}") from None
    finally:
        shown.close()
    try:
        _save_and_evaluate(path, lesson, model)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"interrupted, the model is in {path}") from None


def _save_and_evaluate(path: Path, lesson: TrainingJob, model: Any) -> None:
    """Save and judge a trained model."""
    from bptt.cli.baselines import fit_baseline
    from bptt.cli.evaluation import judge

    table, task, form, learned, held_out = lesson
    always = {} if learned.y is None else fit_baseline(task, form, learned.X, learned.y)
    about: dict[str, Any] = {
        "task": task,
        "form": form.to_dict(),
        "file": table.name,
        "format": table.format,
        "always": always.get("always"),
    }
    _save(model, path, about)  # before anything else can be interrupted
    figure = judge(model, task, form, learned, held_out)
    _save(model, path, {**about, "validation": figure._asdict()})
    history = model.history_
    best = len(history) - history.epochs_since_best(model.min_delta)
    print_section("\nResult", str(figure))
    if not figure.is_better:
        print_section(
            "", "That is no better than the baseline: more data, more --epochs, or another model."
        )
    print_section(
        "Saved",
        f"{path} ({format_file_size(path)}): the model of epoch {best}, the best of {len(history)}",
    )
    print_next_commands(path, task, form, table.name, held_out.X[0])


def _save(model: Any, path: Path, about: dict[str, Any]) -> None:
    try:
        model.save(path, about)
    except OSError as error:
        raise CommandError(f"cannot save {path}: {error.strerror}") from error
