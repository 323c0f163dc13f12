"""Files of sequences: CSV, TSV, tagged sentences, JSON lines, plain text.

A table has named columns and rows that know their line, whatever the file looked like. Of plain
text, every line is a row with the column "text"; of tagged sentences, every token is a row with
the columns "1", "2", .., and blank lines separate the sentences.
"""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bptt.cli.errors import CommandError
from bptt.cli.tables import TEXT, Table, is_number

FORMATS = ("csv", "tsv", "tagged", "jsonl", "text")
_FORMAT_OF_SUFFIX = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".conll": "tagged",
    ".conllu": "tagged",
    ".iob": "tagged",
    ".bio": "tagged",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
}
_DELIMITERS = ",;\t"


def read_table(path: Path, format: str | None = None, *, tagged: bool = False) -> Table:
    """Read a file; "-" is standard input.

    Parameters
    ----------
    path : Path
    format : one of `FORMATS`, optional
        By default what the name says, and of tab-separated files, whether there are blank lines.
    tagged : bool
        Whether a tab-separated file has tagged sentences, whatever its lines are like.

    Raises
    ------
    CommandError
        If it cannot be read, with its line and what to do.
    """
    text = read_text(path)
    if format is None:
        format = _detect_format(path, text)
        format = "tagged" if tagged and format == "tsv" else format
    name = "standard input" if str(path) == "-" else str(path)
    reader = {
        "csv": _parse_csv,
        "tsv": _parse_tsv,
        "tagged": _parse_tagged,
        "jsonl": _parse_jsonl,
        "text": _parse_text,
    }[format]
    table = reader(name, text)
    if not table.rows:
        raise CommandError(f"{name} is empty: there must be one line of data at least")
    return table


def read_text(path: Path) -> str:
    """Return the text of a UTF-8 file, with every line ended by a mere newline.

    Raises
    ------
    CommandError
        If it cannot be read, is empty, or no UTF-8.
    """
    name = "standard input" if str(path) == "-" else str(path)
    try:
        content = sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()
    except OSError as error:
        raise CommandError(f"cannot read {name}: {error.strerror}") from error
    for beginning, what in (
        (b"\x1f\x8b", "it is compressed: unpack it with gunzip"),
        (b"PK\x03\x04", "it is a zip archive or a spreadsheet: unpack it, or export it as CSV"),
        (b"\xff\xfe", "it is UTF-16: convert it with iconv -f utf-16 -t utf-8"),
        (b"\xfe\xff", "it is UTF-16: convert it with iconv -f utf-16 -t utf-8"),
    ):
        if content.startswith(beginning):
            raise CommandError(f"cannot read {name}: {what}")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise CommandError(
            f"{name}, line {line}: must be UTF-8, got the byte 0x{content[error.start]:02x}: "
            f"convert the file with iconv -f latin1 -t utf-8, if it is Latin-1"
        ) from None
    if not text.strip():
        raise CommandError(f"{name} is empty: there must be one line of data at least")
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise CommandError(f"{name}, line {line}: must be text, got a zero byte")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _detect_format(path: Path, text: str) -> str:
    """Tell the format by the name, and of what is tab-separated by blank lines."""
    suffix = path.suffix.lower()
    found = _FORMAT_OF_SUFFIX.get(suffix, "text")
    lines = text.strip("\n").split("\n")
    if found == "tsv" and any(not line.strip() for line in lines):
        return "tagged"
    if found == "text" and len(lines) > 1 and all("\t" in line or not line for line in lines):
        return "tagged" if "" in lines else "tsv"
    return found


def _parse_csv(name: str, text: str) -> Table:
    first = text.lstrip("\n").partition("\n")[0]
    delimiter = max(_DELIMITERS, key=first.count)
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True
    )
    return _make_table(name, "csv", _csv_rows(name, reader), delimiter)


def _csv_rows(name: str, reader: Any) -> Iterator[tuple[int, list[str]]]:
    line = 1
    try:
        for row in reader:
            if row:
                yield line, row
            line = reader.line_num + 1
    except csv.Error as error:
        reason = str(error)
        if "unexpected end" in reason:
            reason = "a quote is opened and never closed"
        hint = 'within a quoted cell, a quote is written twice, ""'
        raise CommandError(f"{name}, line {line}: {reason}: {hint}") from None


def _parse_tsv(name: str, text: str) -> Table:
    lines = enumerate(text.split("\n"), 1)
    return _make_table(
        name, "tsv", ((n, line.split("\t")) for n, line in lines if line.strip()), "\t"
    )


def _make_table(
    name: str, format: str, rows: Iterator[tuple[int, list[str]]], delimiter: str
) -> Table:
    """Make a table whose first row has the names of the columns."""
    first, header = next(rows)
    columns = [cell.strip() for cell in header]
    measured = any(is_number(cell) and not cell.lstrip("-").isdigit() for cell in columns)
    if measured or all(map(is_number, columns)):
        raise CommandError(
            f"{name}, line {first}: must name the columns, got numbers: "
            f"put a line before it, as {delimiter.join(_example_header(len(columns)))}"
        )
    twice = [column for i, column in enumerate(columns) if column in columns[:i]]
    if twice:
        raise CommandError(
            f"{name}, line {first}: every column must have a name of its own, "
            f"got {twice[0]!r} twice"
        )
    found, lines = [], []
    for line, row in rows:
        if len(row) != len(columns):
            raise CommandError(
                f"{name}, line {line}: must have {len(columns)} cells, as line {first}, "
                f"got {len(row)}: {_cell_count_hint(row, columns, delimiter)}"
            )
        found.append(row)
        lines.append(line)
    return Table(name, format, columns, found, lines, delimiter)


def _cell_count_hint(row: list[str], columns: list[str], delimiter: str) -> str:
    if len(row) < len(columns):
        return "leave cells empty at the end of a shorter sequence"
    return 'put a text that has a "," in quotes' if delimiter == "," else "remove what is too much"


def _example_header(count: int) -> list[str]:
    steps = [f"x{i}" for i in range(1, min(count, 4))]
    return [*steps, *([".."] if count > 4 else []), "target"]


def _parse_tagged(name: str, text: str) -> Table:
    separator = "\t" if "\t" in text else None
    rows: list[list[Any]] = []
    lines: list[int] = []
    sentences: list[int] = []
    sentence = 0
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            sentence += bool(sentences) and sentences[-1] == sentence
            continue
        if (line.startswith("#") and len(line.split(separator)) == 1) or line.startswith("# "):
            continue
        row = line.split(separator)
        if rows and len(row) != len(rows[0]):
            raise CommandError(
                f"{name}, line {number}: must have {len(rows[0])} cells, as line {lines[0]}, "
                f"got {len(row)}: every line is a token, a tab and its tag"
            )
        rows.append(row)
        lines.append(number)
        sentences.append(sentence)
    columns = [str(i) for i in range(1, len(rows[0]) + 1)] if rows else []
    return Table(name, "tagged", columns, rows, lines, "\t", sentences)


def _parse_jsonl(name: str, text: str) -> Table:
    objects: dict[int, dict[str, Any]] = {}
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except json.JSONDecodeError as error:
            fix = "every line must be one whole JSON object"
            raise CommandError(f"{name}, line {number}: {error.msg}: {fix}") from None
        if not isinstance(value, dict):
            raise CommandError(
                f'{name}, line {number}: must be a JSON object, as {{"text": .., "label": ..}}, '
                f"got {type(value).__name__}"
            )
        objects[number] = value
    columns = list(dict.fromkeys(key for value in objects.values() for key in value))
    rows = [[value.get(key) for key in columns] for value in objects.values()]
    return Table(name, "jsonl", columns, rows, list(objects))


def _parse_text(name: str, text: str) -> Table:
    kept = [(n, line) for n, line in enumerate(text.split("\n"), 1) if line.strip()]
    return Table(name, "text", [TEXT], [[line] for _, line in kept], [n for n, _ in kept])
