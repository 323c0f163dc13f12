"""Training and held-out sequences: random, by group, by time, or from another file."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bptt.cli.column_kinds import has_groups, has_times, time_keys
from bptt.cli.console import print_section
from bptt.cli.errors import CommandError
from bptt.cli.readers import read_table
from bptt.cli.schema import (
    CLASSIFICATION,
    LANGUAGE,
    TAGGING,
    Schema,
    extract_sequences,
    extract_targets,
    group_rows,
    sequence_values,
)
from bptt.cli.tables import Table, is_missing

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


def split_dataset(
    data: Dataset, table: Table, task: str, schema: Schema, arguments: argparse.Namespace
) -> tuple[Dataset, Dataset]:
    """Return training and validation data.

    Parameters
    ----------
    data : Dataset
    table : Table
        The file of the data.
    task : str
    schema : Schema
    arguments : Namespace
        With `validation`, a fraction or a file, the columns `group` and `time`, and the seed.

    Raises
    ------
    CommandError
        If an option does not apply, or there are too few sequences.
    """
    chosen = "group" if arguments.group else "time" if arguments.time else None
    try:
        fraction = float(arguments.validation)
    except ValueError:
        _check_no_column(chosen, "a validation file")
        path = Path(arguments.validation)
        if path.resolve() == arguments.file.resolve():
            message = f"argument --validation: {path} is the training file"
            raise CommandError(message) from None
        validation = _read_validation_data(path, table.format, data, task, schema)
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
    if chosen is not None:
        column = getattr(arguments, chosen)
        if chosen == "group" and column in schema.targets:
            raise CommandError(f"argument --group: {column!r} is already the target")
        values = _column_values(table, schema, column, chosen)
        select = _hold_out_groups if chosen == "group" else _hold_out_latest
        is_held_out = select(table, column, values, held_out, arguments.random_state)
        train = data.take(np.flatnonzero(~is_held_out))
        validation = data.take(np.flatnonzero(is_held_out))
        return train, _note_unknown_labels(train, validation, task, f"{chosen} {column!r}")
    order = np.random.default_rng(arguments.random_state).permutation(count)
    train, validation = data.take(sorted(order[held_out:])), data.take(sorted(order[:held_out]))
    known = _has_known_labels(train, validation, task)
    moved = validation.take([i for i, is_known in enumerate(known) if not is_known])
    validation = validation.take([i for i, is_known in enumerate(known) if is_known])
    if not validation.X:
        raise CommandError(
            f"{arguments.file}: {count} sequences are too few for validation: every label needs "
            "one for training too; add data, or a file with --validation FILE"
        )
    y = None if train.y is None else train.y + (moved.y or [])
    return Dataset(train.X + moved.X, y), validation


def describe_holdout(table: Table, schema: Schema, arguments: argparse.Namespace) -> str:
    """Return how sequences are held out, if a column says how, or looks as if it should."""
    try:
        float(arguments.validation)
    except ValueError:
        return ""
    if arguments.group is not None:
        return f"held out: whole groups of {arguments.group!r}"
    if arguments.time is not None:
        return f"held out: the latest sequences by {arguments.time!r}"
    used = (*schema.targets, schema.sequence)
    if table.sentence_ids is None and schema.layout != "running":
        for column in table.columns:
            if column in used:
                continue
            kind, held_out = "group", "whole groups"
            if not has_groups(table, column):
                kind, held_out = "time", "the latest"
                if not has_times(table, column):
                    continue
            if _is_constant(table, schema, column):
                text = (
                    f"held out at random, although {column!r} looks like a {kind}: "
                    f"--{kind} {column} holds out {held_out}"
                )
                if kind == "group" and schema.layout == "row":
                    text += f", --sequence {column} makes one sequence of the rows of each"
                return text
    return ""


# ---- groups and times


def _column_values(table: Table, schema: Schema, column: str, option: str) -> list[Any]:
    """Return the value of a column for every sequence."""
    if table.sentence_ids is not None or table.format == "text":
        _check_no_column(option, "sentences and plain text")
    index = table.column_index(column, f"--{option}")
    cells = [row[index] for row in table.rows]
    for row, cell in enumerate(cells):
        if is_missing(cell):
            raise table.row_error(row, f"column {column!r} is empty: fill it in")
    groups = group_rows(table, schema)
    if option == "time":  # the last of every sequence
        return [cells[group[-1]] for group in groups]
    return sequence_values(table, column, groups, cells, ": a sequence belongs to one group")


def _hold_out_groups(
    table: Table, column: str, values: Sequence[Any], count: int, seed: int
) -> np.ndarray[Any, Any]:
    """Return whether each sequence is held out: random groups with about `count` sequences."""
    names = sorted(set(map(str, values)))
    if len(names) < 2:
        raise CommandError(
            f"{table.name}: column {column!r} must have at least two groups, got {len(names)}"
        )
    members = np.array(list(map(str, values)))
    is_held_out = np.zeros(len(members), bool)
    for i in np.random.default_rng(seed).permutation(len(names))[:-1]:
        if is_held_out.sum() >= count:
            break
        is_held_out |= members == names[i]
    return is_held_out


def _hold_out_latest(
    table: Table, column: str, values: Sequence[Any], count: int, seed: int
) -> np.ndarray[Any, Any]:
    """Return whether each sequence is held out: those of the latest times, about `count`."""
    keys = time_keys(values)
    if keys is None:
        raise CommandError(
            f"{table.name}: column {column!r} must have numbers, or dates with the year first such "
            f"as 2012-01-31, got {str(values[0])!r}"
        )
    ordered = sorted(keys)
    first = ordered[-count]
    if first == ordered[0]:  # all sequences of the same time stay on one side
        later = [key for key in ordered if key > first]
        if not later:
            raise CommandError(f"{table.name}: column {column!r} must have at least two times")
        first = later[0]
    return np.array([key >= first for key in keys])


def _is_constant(table: Table, schema: Schema, column: str) -> bool:
    """Return whether a column has one value for every sequence."""
    index = table.columns.index(column)
    return all(
        table.rows[row][index] == table.rows[group[0]][index]
        for group in group_rows(table, schema)
        for row in group
    )


def _check_no_column(option: str | None, what: str) -> None:
    if option is not None:
        raise CommandError(f"argument --{option}: does not apply to {what}")


# ---- labels unknown to the training data


def _read_validation_data(
    path: Path, format: str, train: Dataset, task: str, schema: Schema
) -> Dataset:
    """Return the sequences of a validation file."""
    table = read_table(path, default=format, tagged=schema.is_tagged)
    groups = group_rows(table, schema)
    y = None if task == LANGUAGE else extract_targets(table, schema, groups, task)
    data = Dataset(extract_sequences(table, schema, groups), y)
    return _note_unknown_labels(train, data, task, str(path))


def _note_unknown_labels(train: Dataset, data: Dataset, task: str, name: str) -> Dataset:
    """Return the held-out data, after a note on the labels that count as errors."""
    known = _has_known_labels(train, data, task)
    if not any(known):
        raise CommandError(f"{name}: has no sequence with labels of the training data")
    if not all(known):
        count = known.count(False)
        text = f"{name}: sequences with labels that are not in the training data: {count}"
        print_section("Data", f"{text}; these labels count as errors")
    return data


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
