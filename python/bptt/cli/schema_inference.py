"""What a newcomer has not said about a file: which column is the target, what the sequences are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from bptt.cli.arguments import CommandError
from bptt.cli.readers import TEXT, Table, is_number, listed
from bptt.cli.schema import LANGUAGE, Form

_TARGETS = ("target", "label", "labels", "class", "tag", "tags", "y")
_SEQUENCES = ("sequence", "sequence_id", "series", "series_id")
_TEXTS = (TEXT, "tokens", "words", "sentence", "review", "sequence", "x")
_LONG = 60  # characters: lines of this length are prose, and no list of names or words
_FEW = 20  # lines


class Wanted(NamedTuple):
    """What the user has said."""

    target: str | None = None
    sequence: str | None = None
    text: str | None = None
    ignore: Sequence[str] = ()
    task: str | None = None
    lines: bool | None = None  # of plain text: whether every line is a sequence of its own


def guess_form(table: Table, wanted: Wanted) -> tuple[Form, list[str]]:
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
        return _of_text(table, wanted)
    if table.sentences is not None:
        return _of_sentences(table, wanted)
    return _of_columns(table, wanted)


def _of_text(table: Table, wanted: Wanted) -> tuple[Form, list[str]]:
    if wanted.task not in (None, LANGUAGE) or wanted.target is not None:
        raise CommandError(
            f"{table.name} is plain text, which has no targets: {wanted.task or 'a target'} needs "
            "CSV, TSV or JSON lines with a column of texts and one of targets"
        )
    lines = wanted.lines
    if lines is None:
        mean = sum(len(row[0]) for row in table.rows) / len(table.rows)
        gaps = table.lines[-1] - table.lines[0] >= len(table.rows)
        lines = len(table.rows) >= _FEW and mean < _LONG and not gaps
    if lines:
        return Form("texts", "cell", [TEXT]), ["every line is a sequence (--running if it is not)"]
    return Form("texts", "running", [TEXT]), ["one running text (--lines if it is a line each)"]


def _of_sentences(table: Table, wanted: Wanted) -> tuple[Form, list[str]]:
    token = wanted.text or table.columns[0]
    if wanted.task == LANGUAGE:
        return Form("tokens", "rows", [token]), [f"tokens in column {token}"]
    if len(table.columns) < 2:
        raise table.error(0, "must be a token, a tab and its tag, got one cell")
    tag = wanted.target or table.columns[-1]
    said = [f"tokens in column {token}, tags in column {tag}"]
    if len(table.columns) > 2 and wanted.target is None:
        said.append(f"there are {len(table.columns)} columns: --target 2 takes another one")
    return Form("tokens", "rows", [token], tag), said


def _of_columns(table: Table, wanted: Wanted) -> tuple[Form, list[str]]:
    target = wanted.target
    if target is None and wanted.task != LANGUAGE:
        target = _named(table, _TARGETS)
    sequence = wanted.sequence
    if sequence is None and table.format != "jsonl":
        sequence = _named(table, [name for name in _SEQUENCES if name != target])
    ignored = {target, sequence, "", *wanted.ignore}
    left = [column for column in table.columns if column not in ignored]
    said = ["the column without a name is left out"] if "" in table.columns else []
    if not left:
        raise CommandError(
            f"{table.name}: no column is left to learn from; it has {listed(table.columns)}"
        )
    if wanted.text is not None:
        holds, inputs = _holds(_first(table, wanted.text)), [wanted.text]
        holds = "tokens" if sequence else "texts" if holds == "number" else holds
    else:
        holds, inputs = _inputs(table, left, sequence)
    if target is None and wanted.task != LANGUAGE and holds != "numbers":
        target = _beside(table, [column for column in left if column != inputs[0]])
    if target is None and wanted.task != LANGUAGE and not _only_text(holds, left, inputs):
        raise CommandError(
            f"{table.name}: which column is the target? Say it with --target; it has {listed(left)}"
        )
    form = Form(holds, _shape(table, holds, inputs, sequence), inputs, target, sequence)
    return form, [*said, *_said(form)]


def _beside(table: Table, others: list[str]) -> str | None:
    """Return the only column beside the text, if its values come again and again."""
    if len(others) != 1:
        return None
    place = table.columns.index(others[0])
    values = {str(row[place]) for row in table.rows}
    return others[0] if 2 * len(values) <= len(table.rows) else None


def _only_text(holds: str, left: list[str], inputs: list[str]) -> bool:
    """Return whether a column is clearly a text, so that there need not be a target."""
    return holds != "numbers" and (len(left) == 1 or inputs[0].lower() in _TEXTS)


def _named(table: Table, names: Sequence[str]) -> str | None:
    """Return the column with one of these names, in any case."""
    columns = {column.lower(): column for column in table.columns}
    return next((columns[name] for name in names if name in columns), None)


def _first(table: Table, column: str) -> Any:
    """Return the first cell of a column that is not empty."""
    place = table.columns.index(column)
    return next((row[place] for row in table.rows if row[place] not in ("", None)), "0")


def _holds(cell: Any) -> str:
    if isinstance(cell, list):
        return "tokens" if cell and isinstance(cell[0], str) else "numbers"
    return "number" if is_number(cell) else "texts"


def _inputs(table: Table, left: list[str], sequence: str | None) -> tuple[str, list[str]]:
    """Return what the sequences are made of, and the columns."""
    kinds = {column: _holds(_first(table, column)) for column in left}
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
            f"it has {listed(others)}"
        )
    column = preferred[0]
    return "tokens" if sequence else kinds[column], [column]


def _shape(table: Table, holds: str, inputs: list[str], sequence: str | None) -> str:
    if sequence is not None:
        return "rows"
    if holds != "numbers" or isinstance(_first(table, inputs[0]), list):
        return "cell"
    if len(inputs) < 2:
        raise CommandError(
            f"{table.name}: a row has one number only, in {inputs[0]!r}: if several rows are a "
            "sequence, name the column that says which with --sequence"
        )
    return "row"


def _said(form: Form) -> list[str]:
    """Say how a table is read."""
    what = f"{form.holds} in {listed([repr(name) for name in form.inputs], 4)}"
    if form.shape == "row":
        what = f"every row is a sequence of up to {len(form.inputs)} numbers"
    if form.shape == "rows":
        what = f"rows with the same {form.sequence!r} are a sequence: {what}"
    return [what if form.target is None else f"{what}, target in {form.target!r}"]
