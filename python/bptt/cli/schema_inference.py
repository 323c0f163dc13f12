"""What a newcomer has not said about a file: which column is the target, what the sequences are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from bptt.cli.errors import CommandError
from bptt.cli.schema import CLASSIFICATION, LANGUAGE, REGRESSION, TAGGING, Schema, target_cells
from bptt.cli.tables import TEXT, Table, is_number, join_names

_TARGETS = ("target", "label", "labels", "class", "tag", "tags", "y")
_SEQUENCES = ("sequence", "sequence_id", "series", "series_id")
_TEXTS = (TEXT, "tokens", "words", "sentence", "review", "sequence", "x")
_LONG_SEQUENCE = 60  # characters: lines of this length are prose, and no list of names or words
_FEW = 20  # lines


class SchemaOptions(NamedTuple):
    """What the user has said."""

    target: str | None = None
    sequence: str | None = None
    text: str | None = None
    ignore: Sequence[str] = ()
    task: str | None = None
    lines: bool | None = None  # of plain text: whether every line is a sequence of its own


def infer_schema(table: Table, wanted: SchemaOptions) -> tuple[Schema, list[str]]:
    """Return how to read a table to learn from, and sentences that say so.

    Raises
    ------
    CommandError
        If a column that was named is missing, or it cannot be guessed which is which.
    """
    for option in ("target", "sequence", "text"):
        column = getattr(wanted, option)
        if column is not None:
            table.index(column, f"--{option}")
    for column in wanted.ignore:
        table.index(column, "--ignore")
    if table.format == "text":
        return _infer_plain_text(table, wanted)
    if table.sentences is not None:
        return _infer_sentences(table, wanted)
    return _infer_columns(table, wanted)


def _infer_plain_text(table: Table, wanted: SchemaOptions) -> tuple[Schema, list[str]]:
    if wanted.task not in (None, LANGUAGE) or wanted.target is not None:
        raise CommandError(
            f"{table.name} is plain text, which has no targets: {wanted.task or 'a target'} needs "
            "CSV, TSV or JSON lines with a column of texts and one of targets"
        )
    lines = wanted.lines
    if lines is None:
        mean = sum(len(row[0]) for row in table.rows) / len(table.rows)
        gaps = table.lines[-1] - table.lines[0] >= len(table.rows)
        lines = len(table.rows) >= _FEW and mean < _LONG_SEQUENCE and not gaps
    if lines:
        return Schema("texts", "cell", [TEXT]), [
            "every line is a sequence (--running if it is not)"
        ]
    return Schema("texts", "running", [TEXT]), ["one running text (--lines if it is a line each)"]


def _infer_sentences(table: Table, wanted: SchemaOptions) -> tuple[Schema, list[str]]:
    token = wanted.text or table.columns[0]
    if wanted.task == LANGUAGE:
        return Schema("tokens", "rows", [token]), [f"tokens in column {token}"]
    if len(table.columns) < 2:
        raise table.error(0, "must be a token, a tab and its tag, got one cell")
    tag = wanted.target or table.columns[-1]
    said = [f"tokens in column {token}, tags in column {tag}"]
    if len(table.columns) > 2 and wanted.target is None:
        said.append(f"there are {len(table.columns)} columns: --target 2 takes another one")
    return Schema("tokens", "rows", [token], tag), said


def _infer_columns(table: Table, wanted: SchemaOptions) -> tuple[Schema, list[str]]:
    target = wanted.target
    if target is None and wanted.task != LANGUAGE:
        target = _find_column(table, _TARGETS)
    sequence = wanted.sequence
    if sequence is None and table.format != "jsonl":
        sequence = _find_column(table, [name for name in _SEQUENCES if name != target])
    ignored = {target, sequence, "", *wanted.ignore}
    left = [column for column in table.columns if column not in ignored]
    said = ["the column without a name is left out"] if "" in table.columns else []
    if not left:
        raise CommandError(
            f"{table.name}: no column is left to learn from; it has {join_names(table.columns)}"
        )
    if wanted.text is not None:
        content, inputs = _cell_content(_first_cell(table, wanted.text)), [wanted.text]
        content = "tokens" if sequence else "texts" if content == "number" else content
    else:
        content, inputs = _input_columns(table, left, sequence)
    if target is None and wanted.task != LANGUAGE and content != "numbers":
        target = _target_beside_text(table, [column for column in left if column != inputs[0]])
    if target is None and wanted.task != LANGUAGE and not _is_text_alone(content, left, inputs):
        raise CommandError(
            f"{table.name}: which column is the target? Say it with --target; "
            f"it has {join_names(left)}"
        )
    form = Schema(
        content, _infer_layout(table, content, inputs, sequence), inputs, target, sequence
    )
    return form, [*said, *_describe_schema(form)]


def _target_beside_text(table: Table, others: list[str]) -> str | None:
    """Return the only column beside the text, if its values come again and again."""
    if len(others) != 1:
        return None
    place = table.columns.index(others[0])
    values = {str(row[place]) for row in table.rows}
    return others[0] if 2 * len(values) <= len(table.rows) else None


def _is_text_alone(content: str, left: list[str], inputs: list[str]) -> bool:
    """Return whether a column is clearly a text, so that there need not be a target."""
    return content != "numbers" and (len(left) == 1 or inputs[0].lower() in _TEXTS)


def _find_column(table: Table, names: Sequence[str]) -> str | None:
    """Return the column with one of these names, in any case."""
    columns = {column.lower(): column for column in table.columns}
    return next((columns[name] for name in names if name in columns), None)


def _first_cell(table: Table, column: str) -> Any:
    """Return the first cell of a column that is not empty."""
    place = table.columns.index(column)
    return next((row[place] for row in table.rows if row[place] not in ("", None)), "0")


def _cell_content(cell: Any) -> str:
    if isinstance(cell, list):
        return "tokens" if cell and isinstance(cell[0], str) else "numbers"
    return "number" if is_number(cell) else "texts"


def _input_columns(table: Table, left: list[str], sequence: str | None) -> tuple[str, list[str]]:
    """Return what the sequences are made of, and the columns."""
    kinds = {column: _cell_content(_first_cell(table, column)) for column in left}
    others = [column for column, kind in kinds.items() if kind != "number"]
    if not others:
        return "numbers", left
    preferred = [name for name in others if name.lower() in _TEXTS]
    if len(others) == 1 and (len(left) <= 3 or preferred):
        preferred = others
    if len(preferred) != 1:
        if len(others) < len(left) / 2:
            raise CommandError(
                f"{table.name}: column {others[0]!r} holds no numbers: leave it out with "
                f"--ignore {others[0]}, or if it is the text, say --text {others[0]}"
            )
        raise CommandError(
            f"{table.name}: which column holds the text? Say it with --text; "
            f"it has {join_names(others)}"
        )
    column = preferred[0]
    return "tokens" if sequence else kinds[column], [column]


def _infer_layout(table: Table, content: str, inputs: list[str], sequence: str | None) -> str:
    if sequence is not None:
        return "rows"
    if content != "numbers" or isinstance(_first_cell(table, inputs[0]), list):
        return "cell"
    if len(inputs) < 2:
        raise CommandError(
            f"{table.name}: a row has one number only, in {inputs[0]!r}: if several rows are a "
            "sequence, name the column that says which with --sequence"
        )
    return "row"


def _describe_schema(form: Schema) -> list[str]:
    """Say how a table is read."""
    what = f"{form.content} in {join_names([repr(name) for name in form.inputs], 4)}"
    if form.shape == "row":
        what = f"every row is a sequence of up to {len(form.inputs)} numbers"
    if form.shape == "rows":
        what = f"rows with the same {form.sequence!r} are a sequence: {what}"
    return [what if form.target is None else f"{what}, target in {form.target!r}"]


def infer_task(table: Table, form: Schema, groups: Sequence[Sequence[int]]) -> tuple[str, str]:
    """Return what the targets ask for, and why.

    Raises
    ------
    CommandError
        If it is nothing that can be learned.
    """
    if form.target is None:
        return LANGUAGE, "as there is no target"
    cells = target_cells(table, form)
    if isinstance(cells[0], list):
        return TAGGING, f"as {form.target!r} has a label for every step"
    measured = all(is_number(cell) for cell in cells)
    whole = measured and all(float(cell) % 1 == 0 for cell in cells)
    if table.sentences is not None or any(
        cells[row] != cells[group[0]] for group in groups for row in group
    ):
        if measured and not whole:
            raise CommandError(
                f"{table.name}: column {form.target!r} has numbers that differ within a sequence: "
                "a number can be learned for a whole sequence only"
            )
        return TAGGING, "as every step has a target of its own"
    different = len(set(cells))
    if measured and (not whole or different > 20 or 2 * different > len(groups)):
        return REGRESSION, f"as {form.target!r} is a number"
    if measured:
        return CLASSIFICATION, f"as {form.target!r} has {different} different whole numbers only"
    return CLASSIFICATION, f"as {form.target!r} is a word"
