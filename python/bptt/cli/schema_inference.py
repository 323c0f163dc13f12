"""Inference of the schema and the task of a table from its columns and cells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from bptt.cli.column_kinds import column_cells, has_dates, has_groups, has_row_numbers, has_times
from bptt.cli.errors import CommandError
from bptt.cli.schema import CLASSIFICATION, LANGUAGE, REGRESSION, TAGGING, Schema, target_cells
from bptt.cli.tables import TEXT, Table, has_decimal_comma, is_missing, is_number, join_names

_TARGETS = ("target", "label", "labels", "class", "tag", "tags", "y")
_SEQUENCES = ("sequence", "sequence_id", "series", "series_id")
_TEXTS = (TEXT, "tokens", "words", "sentence", "review", "sequence", "x")
_PROSE = 60  # mean number of characters per line from which a text is prose, not a list
_MIN_LIST = 20  # lines of a list of names or words
_SERIES_HINT = (
    "to forecast a series, write a row of past values and the next one for every step, with "
    "columns such as x1, .., x12, target"
)
_MIN_COLUMNS = 4  # numbers and a label, from which the label is the target
_MAX_CLASSES = 20  # distinct integers; more are the target of a regression


class SchemaOptions(NamedTuple):
    """Roles of the columns as far as the user gives them."""

    target: Sequence[str] = ()
    sequence: str | None = None
    text: str | None = None
    ignore: Sequence[str] = ()
    categorical_features: Sequence[str] = ()
    group: str | None = None  # of the hold-out
    time: str | None = None  # of the hold-out
    missing: str = "error"
    task: str | None = None
    lines: bool | None = None  # plain text: one sequence per line


def infer_schema(table: Table, options: SchemaOptions) -> tuple[Schema, list[str]]:
    """Infer the schema of a table for training.

    Parameters
    ----------
    table : Table
    options : SchemaOptions

    Returns
    -------
    schema : Schema
    notes : list of str
        Description of the schema, for the user.

    Raises
    ------
    CommandError
        If a column does not exist, or the schema is ambiguous.
    """
    for option in ("sequence", "text", "group", "time"):
        column = getattr(options, option)
        if column is not None:
            table.column_index(column, f"--{option}")
    for option in ("target", "ignore"):
        for column in getattr(options, option):
            table.column_index(column, f"--{option}")
    for column in options.categorical_features:
        table.column_index(column, "--categorical-features")
    for column in options.target:
        others = {
            "--target": options.target.count(column) > 1,
            "--text": column == options.text,
            "--ignore": column in options.ignore,
            "--categorical-features": column in options.categorical_features,
            "--sequence": column == options.sequence,
            "--group": column == options.group,
        }
        for option, is_given in others.items():
            if is_given:
                raise CommandError(f"argument {option}: {column!r} is already the target")
    if len(options.target) > 1 and options.task not in (None, REGRESSION):
        raise CommandError(
            f"--task {options.task} takes one --target, got {len(options.target)}: several need "
            f"--task {REGRESSION}"
        )
    if options.lines is not None and table.format != "text":
        option = "lines" if options.lines else "running"
        raise CommandError(f"argument --{option}: needs plain text, got {table.format.upper()}")
    if table.format == "text":
        schema, notes = _infer_plain_text(table, options)
    elif table.sentence_ids is not None:
        schema, notes = _infer_sentences(table, options)
    else:
        schema, notes = _infer_columns(table, options)
    if options.categorical_features and not schema.categories:
        rule = "argument --categorical-features: needs columns of numbers, and --sequence"
        raise CommandError(f"{rule}, got sequences of {schema.content}")
    if options.missing != "error" and schema.content != "numbers":
        raise CommandError(f"argument --missing: needs numbers, got sequences of {schema.content}")
    return schema, notes


def infer_task(table: Table, schema: Schema, groups: Sequence[Sequence[int]]) -> tuple[str, str]:
    """Infer the task from the targets.

    Parameters
    ----------
    table : Table
    schema : Schema
    groups : sequence of sequences of int
        Rows of every sequence, as of `bptt.cli.schema.group_rows`.

    Returns
    -------
    task : str
        One of `bptt.cli.schema.TASKS`.
    reason : str

    Raises
    ------
    CommandError
        If the targets fit no task.
    """
    target = schema.target
    if target is None:
        return LANGUAGE, "no target"
    if len(schema.targets) > 1:
        return REGRESSION, f"{len(schema.targets)} targets"
    cells = target_cells(table, target)
    if isinstance(cells[0], list):
        steps = [value for cell in cells if isinstance(cell, list) for value in cell]
        if has_fractions(steps):
            return REGRESSION, f"{target!r} has one number per step"
        return TAGGING, f"{target!r} has one label per step"
    numeric = all(is_number(cell) for cell in cells)
    integral = numeric and not has_fractions(cells)
    if table.sentence_ids is not None or varies_within_sequences(cells, groups):
        if numeric and (not integral or len(set(cells)) > _MAX_CLASSES):
            return REGRESSION, "numbers vary within sequences"
        return TAGGING, "labels vary within sequences"
    distinct = len(set(cells))
    if numeric and (not integral or distinct > _MAX_CLASSES or 2 * distinct > len(groups)):
        return REGRESSION, f"{target!r} is numeric"
    if numeric:
        return CLASSIFICATION, f"{target!r} has only {distinct} distinct integers"
    return CLASSIFICATION, f"{target!r} is text"


def has_targets_per_step(table: Table, schema: Schema, groups: Sequence[Sequence[int]]) -> bool:
    """Return whether a target of regression varies within sequences, or is a list."""
    for column in schema.targets:
        index = table.columns.index(column)
        cells = [row[index] for row in table.rows]
        if isinstance(cells[0], list) or varies_within_sequences(cells, groups):
            return True
    return False


def varies_within_sequences(cells: Sequence[Any], groups: Sequence[Sequence[int]]) -> bool:
    """Return whether a sequence has rows with different cells."""
    return any(cells[row] != cells[group[0]] for group in groups for row in group)


def has_fractions(cells: Sequence[Any]) -> bool:
    """Return whether cells are numbers, and one is no integer."""
    return all(map(is_number, cells)) and any(float(cell) % 1 for cell in cells)


def _infer_plain_text(table: Table, options: SchemaOptions) -> tuple[Schema, list[str]]:
    if options.task not in (None, LANGUAGE) or options.target:
        raise CommandError(
            f"{table.name} is plain text, which has no targets: {options.task or 'a target'} needs "
            "CSV, TSV or JSON lines with a column of texts and one of targets"
        )
    lines = options.lines
    if lines is None:
        mean = sum(len(row[0]) for row in table.rows) / len(table.rows)
        gaps = table.lines[-1] - table.lines[0] >= len(table.rows)
        lines = len(table.rows) >= _MIN_LIST and mean < _PROSE and not gaps
    if lines:
        return Schema("texts", "cell", [TEXT]), ["one sequence per line (else use --running)"]
    return Schema("texts", "running", [TEXT]), ["one running text (else use --lines)"]


def _infer_sentences(table: Table, options: SchemaOptions) -> tuple[Schema, list[str]]:
    is_conllu = table.format == "conllu"
    token = options.text or table.columns[is_conllu or _is_numbered(table)]
    if options.task == LANGUAGE:
        return Schema("tokens", "rows", [token]), [f"tokens in column {token}"]
    if len(table.columns) < 2:
        raise table.row_error(0, "must be a token, a tab and a tag, got one cell")
    if len(options.target) > 1:
        raise CommandError(f"tagging takes one --target, got {len(options.target)}")
    tag = options.target[0] if options.target else "UPOS" if is_conllu else table.columns[-1]
    notes = [f"tokens in column {token}, tags in column {tag}"]
    if is_conllu and not options.target:
        notes.append("other tags with --target, such as XPOS")
    elif len(table.columns) > 2 and not options.target:
        notes.append(f"the last of {len(table.columns)} columns (else use --target)")
    return Schema("tokens", "rows", [token], [tag]), notes


def _is_numbered(table: Table) -> bool:
    """Return whether the first of at least three columns numbers the tokens of every sentence."""
    if len(table.columns) < 3 or table.sentence_ids is None:
        return False
    before, number = -1, 0
    for row, sentence in zip(table.rows, table.sentence_ids, strict=True):
        before, number = sentence, number + 1 if sentence == before else 1
        if row[0] != str(number):
            return False
    return True


def _infer_columns(table: Table, options: SchemaOptions) -> tuple[Schema, list[str]]:
    targets = list(options.target)
    if not targets and options.task != LANGUAGE:
        taken = (*options.ignore, options.text, options.sequence)
        targets = [name for name in [_find_column(table, _TARGETS, taken)] if name is not None]
    sequence = options.sequence
    if sequence is None and table.format != "jsonl":
        taken = (*targets, *options.ignore, options.text)
        sequence = _find_column(table, _SEQUENCES, taken)
    for name in targets:
        if has_dates(table, name):
            raise CommandError(
                f"{table.name}: column {name!r} has dates, which are neither classes nor numbers: "
                "use another column as --target"
            )
    categories = list(dict.fromkeys(options.categorical_features))
    used = {*targets, sequence, "", *options.ignore, *categories, options.group, options.time}
    candidates = [column for column in table.columns if column not in used]
    times = _time_columns(table, candidates, sequence)
    if options.text is None:
        candidates = [column for column in candidates if column not in times]
    notes = ["the column without a name is ignored"] if "" in table.columns else []
    notes += [f"{name!r} is a time, not an input" for name in times if name != options.text]
    if targets and options.text is None:
        names = [name for name in candidates if _is_named_group(table, name)]
        candidates = [column for column in candidates if column not in names]
        notes += [f"{name!r} is a group, not an input" for name in names]
    if not candidates:
        raise CommandError(f"{table.name}: there is no input column; {_input_hint(table, times)}")
    if not targets and options.text is None and options.task != LANGUAGE:
        targets = _only_labels(table, candidates)
        candidates = [column for column in candidates if column not in targets]
    if options.text is not None:
        content, inputs = _cell_content(_first_cell(table, options.text)), [options.text]
        content = "tokens" if sequence else "texts" if content == "number" else content
        if options.text in times:
            notes.append(f"the dates in {options.text!r} are read as texts, not as times")
    else:
        content, inputs = _infer_inputs(table, candidates, sequence, has_target=bool(targets))
    if not targets and options.task != LANGUAGE:
        targets = _infer_target(table, content, candidates, inputs)
    inputs = [name for name in inputs if name not in targets]
    targets = [] if options.task == LANGUAGE else targets
    unused = [name for name in candidates if name not in (*inputs, *targets)]
    notes += [f"not used: {join_names([repr(name) for name in unused], 4)}"] if unused else []
    layout = _infer_layout(table, content, inputs, sequence)
    schema = Schema(content, layout, inputs, targets, sequence, missing=options.missing)
    if content == "numbers" and layout == "rows":
        schema = replace(schema, inputs=[*inputs, *categories], categories=categories)
    return schema, [_describe_schema(schema), *notes]


def _time_columns(table: Table, candidates: list[str], sequence: str | None) -> list[str]:
    """Return the columns with dates, and with one sequence per row also those of years or times."""
    is_time = has_times if sequence is None else has_dates
    return [column for column in candidates if is_time(table, column)]


def _only_labels(table: Table, candidates: list[str]) -> list[str]:
    """Return the last of several columns if it has labels and all others have numbers."""
    others = [name for name in candidates if _cell_content(_first_cell(table, name)) != "number"]
    if len(candidates) < _MIN_COLUMNS or others != candidates[-1:]:
        return []
    is_text = isinstance(_first_cell(table, others[0]), str)
    return others if is_text and _has_targets(table, others[0]) else []


def _is_named_group(table: Table, column: str) -> bool:
    """Return whether a column has groups whose names are no numbers."""
    cells = column_cells(table, column)
    return has_groups(table, column) and not all(is_number(cell) for cell in cells)


def _input_hint(table: Table, times: list[str]) -> str:
    if times:
        return f"{times[0]!r} is a time, and {_SERIES_HINT}"
    return f"columns: {join_names(table.columns)}"


def _infer_target(
    table: Table, content: str, candidates: list[str], inputs: list[str]
) -> list[str]:
    """Return the only other column of labels or numbers; none if the input is a text alone."""
    if content == "numbers":
        if len(candidates) == 1:
            raise CommandError(
                f"{table.name}: {candidates[0]!r} is the only number; {_SERIES_HINT}"
            )
        raise CommandError(
            f"{table.name}: which column is the target? Use --target; "
            f"columns: {join_names(candidates)}"
        )
    others = [
        name
        for name in candidates
        if name != inputs[0] and not has_row_numbers(table, name) and _has_targets(table, name)
    ]
    if len(others) == 1:
        return others
    is_text_alone = len(candidates) == 1 or inputs[0].lower() in _TEXTS
    if others or not is_text_alone:
        raise CommandError(
            f"{table.name}: which column is the target? Use --target, or --task {LANGUAGE} to "
            f"learn the text alone; columns: {join_names(others or candidates)}"
        )
    return []


def _has_targets(table: Table, column: str) -> bool:
    """Return whether a column has numbers, or values that repeat as labels do."""
    cells = column_cells(table, column)
    if cells and all(is_number(cell) for cell in cells):
        return True
    return bool(cells) and 2 * len(set(map(str, cells))) <= len(cells)


def _find_column(
    table: Table, names: Sequence[str], taken: Sequence[str | None] = ()
) -> str | None:
    """Return the column with the first of these names, ignoring case, that is not taken."""
    columns = {column.lower(): column for column in table.columns if column not in taken}
    return next((columns[name] for name in names if name in columns), None)


def _first_cell(table: Table, column: str) -> Any:
    """Return the first non-empty cell of a column."""
    index = table.columns.index(column)
    return next((row[index] for row in table.rows if not is_missing(row[index])), "0")


def _cell_content(cell: Any) -> str:
    if isinstance(cell, list):
        return "tokens" if cell and isinstance(cell[0], str) else "numbers"
    # A decimal comma is an error of the cell, not a text.
    return "number" if is_number(cell) or has_decimal_comma(cell) else "texts"


def _infer_inputs(
    table: Table, candidates: list[str], sequence: str | None, *, has_target: bool
) -> tuple[str, list[str]]:
    """Return the content of the sequences and their columns."""
    contents = {column: _cell_content(_first_cell(table, column)) for column in candidates}
    others = [column for column, content in contents.items() if content != "number"]
    if not others:
        return "numbers", candidates
    preferred = [name for name in others if name.lower() in _TEXTS]
    if len(others) == 1 and (len(candidates) <= 3 or preferred):
        preferred = others
    if len(preferred) != 1:
        if len(others) < len(candidates) / 2:
            raise CommandError(_not_numeric(table, others[0], sequence, has_target=has_target))
        also = "" if has_target else ", and --target for the target"
        raise CommandError(
            f"{table.name}: which column is the text? Use --text{also}; "
            f"columns: {join_names(others)}"
        )
    column = preferred[0]
    return "tokens" if sequence else contents[column], [column]


def _not_numeric(table: Table, column: str, sequence: str | None, *, has_target: bool) -> str:
    """Return an error message for a column among numbers, with the options that use it."""
    options = [f"--text {column} if it is the text"]
    if not has_target:
        options.append(f"--target {column} if it is the target")
    if sequence is None and _has_targets(table, column):
        options.append(f"--sequence {column} if rows with the same value are one sequence")
    return (
        f"{table.name}: column {column!r} is not numeric: exclude it with --ignore {column}, or "
        f"use {' or '.join(options)}"
    )


def _infer_layout(table: Table, content: str, inputs: list[str], sequence: str | None) -> str:
    if sequence is not None:
        return "rows"
    if content != "numbers" or isinstance(_first_cell(table, inputs[0]), list):
        return "cell"
    if len(inputs) < 2:
        raise CommandError(
            f"{table.name}: a row has only one number, in {inputs[0]!r}: if a sequence spans "
            f"several rows, name the column of sequence ids with --sequence; {_SERIES_HINT}"
        )
    return "row"


def _describe_schema(schema: Schema) -> str:
    text = f"{schema.content} in {join_names([repr(name) for name in schema.inputs], 4)}"
    if schema.layout == "row":
        first, last = schema.inputs[0], schema.inputs[-1]
        count = len(schema.inputs)
        text = f"every row is a sequence of up to {count} numbers, {first!r} to {last!r}"
    if schema.layout == "rows":
        text = f"rows with the same {schema.sequence!r} are one sequence, {text}"
    if schema.categories:
        text += f", categories in {join_names([repr(name) for name in schema.categories], 4)}"
    if schema.missing == "fill":
        text += ", missing numbers filled"
    if schema.missing == "mask":
        text += ", missing numbers filled, with a mask and the steps since the last one"
    if schema.missing == "decay":
        text += ", missing numbers filled by a decay to the mean, with a mask"
    if not schema.targets:
        return text
    noun = "target" if len(schema.targets) == 1 else "targets"
    return f"{text}, {noun} in {join_names([repr(name) for name in schema.targets], 4)}"
