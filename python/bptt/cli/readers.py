"""Readers of CSV, TSV, tagged sentences (CoNLL), CoNLL-U, JSON lines and plain text.

All formats become a `Table`. In plain text, every line is a row with the column "text"; in tagged
sentences, every token is a row with the columns "1", "2", .., and blank lines separate sentences.
In CoNLL-U, every word is a row with the columns of `CONLLU_COLUMNS`.
"""

from __future__ import annotations

import csv
import io
import json
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from bptt.cli.errors import CommandError
from bptt.cli.tables import TEXT, Table, is_number

_FORMAT_OF_SUFFIX = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".conll": "tagged",
    ".conllu": "conllu",
    ".iob": "tagged",
    ".bio": "tagged",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".txt": "text",
}
_DELIMITERS = ",;\t"
CONLLU_COLUMNS = ["ID", "FORM", "LEMMA", "UPOS", "XPOS", "FEATS", "HEAD", "DEPREL", "DEPS", "MISC"]
_CONLLU_ID = re.compile(r"[0-9]+([-.][0-9]+)?")


def read_table(
    path: Path,
    format: str | None = None,
    *,
    default: str | None = None,
    tagged: bool = False,
    columns: Sequence[str] = (),
) -> Table:
    """Read a file.

    Parameters
    ----------
    path : Path
        "-" for standard input.
    format : one of `FORMATS`, optional
        By default inferred from the suffix, and for tab-separated files from blank lines.
    default : one of `FORMATS`, optional
        Format of files whose suffix is unknown, and of standard input unless its first line is
        clearly a text. By default inferred from the lines.
    tagged : bool
        Read a tab-separated file as tagged sentences even without blank lines.
    columns : sequence of str
        Input columns of a model. Standard input whose first line is one of them is a table.

    Returns
    -------
    Table

    Raises
    ------
    CommandError
        If the file cannot be read or parsed.
    """
    text = read_text(path)
    if format is None:
        is_known = path.suffix.lower() in _FORMAT_OF_SUFFIX
        is_text = str(path) == "-" and default is not None and _is_sentence(text, default)
        is_text = is_text and text.lstrip("\n").partition("\n")[0].strip() not in columns
        format = default
        if is_known or is_text or format is None:
            format = _detect_format(path, text)
        format = "tagged" if tagged and format == "tsv" else format
    name = "standard input" if str(path) == "-" else str(path)
    table = FORMATS[format].parse(name, text)
    if not table.rows:
        got = ", got the names of the columns" if table.columns else ""
        raise CommandError(f"{name} is empty: it must have at least one line of data{got}")
    return table


def read_text(path: Path) -> str:
    """Return the text of a UTF-8 file, with newlines as line endings.

    Parameters
    ----------
    path : Path
        "-" for standard input.

    Returns
    -------
    str

    Raises
    ------
    CommandError
        If the file cannot be read, is empty or not UTF-8.
    """
    name = "standard input" if str(path) == "-" else str(path)
    try:
        content = sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()
    except OSError as error:
        raise CommandError(f"cannot read {name}: {error.strerror}") from error
    for signature, hint in (
        (b"\x1f\x8b", "it is compressed: unpack it with gunzip"),
        (b"PK\x03\x04", "it is a zip archive or a spreadsheet: unpack it, or export it as CSV"),
        (b"\xff\xfe", "it is UTF-16: convert it with iconv -f utf-16 -t utf-8"),
        (b"\xfe\xff", "it is UTF-16: convert it with iconv -f utf-16 -t utf-8"),
    ):
        if content.startswith(signature):
            raise CommandError(f"cannot read {name}: {hint}")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise CommandError(
            f"{name}, line {line}: must be UTF-8, got the byte 0x{content[error.start]:02x}: "
            f"if it is Latin-1, convert it with iconv -f latin1 -t utf-8"
        ) from None
    if not text.strip():
        raise CommandError(f"{name} is empty: it must have at least one line of data")
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise CommandError(f"{name}, line {line}: must be text, got a null byte")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _detect_format(path: Path, text: str) -> str:
    """Return the format by the suffix; tab-separated text with blank lines is tagged sentences."""
    found = _FORMAT_OF_SUFFIX.get(path.suffix.lower(), "text")
    if found in ("tagged", "tsv", "text") and _is_conllu(text):
        return "conllu"
    lines = text.strip("\n").split("\n")
    if found == "tsv" and any(not line.strip() for line in lines):
        return "tagged"
    if found == "text" and len(lines) > 1 and all("\t" in line or not line for line in lines):
        return "tagged" if "" in lines else "tsv"
    return found


def _is_sentence(text: str, format: str) -> bool:
    """Return whether the first line is a text, and not in the given format."""
    first = text.lstrip("\n").partition("\n")[0]
    if format in ("csv", "tsv"):
        return not any(delimiter in text for delimiter in _DELIMITERS)
    if format == "jsonl":
        return not first.lstrip().startswith("{")
    return "\t" not in text and " " in first.strip() and not first.startswith("#")


def _is_conllu(text: str) -> bool:
    """Return whether the first line that is no comment has the ten cells of CoNLL-U."""
    lines = text.lstrip("\n").split("\n")
    cells = next((line.split("\t") for line in lines if not line.startswith("#")), [])
    return len(cells) == len(CONLLU_COLUMNS) and _CONLLU_ID.fullmatch(cells[0]) is not None


def _parse_csv(name: str, text: str) -> Table:
    first = text.lstrip("\n").partition("\n")[0]
    delimiter = max(_DELIMITERS, key=first.count)
    csv.field_size_limit(max(csv.field_size_limit(), len(text)))  # a cell may be a whole book
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
            reason = "a quoted cell is not closed"
        hint = 'double a quote within a quoted cell, ""'
        raise CommandError(f"{name}, line {line}: {reason}: {hint}") from None


def _parse_tsv(name: str, text: str) -> Table:
    lines = enumerate(text.split("\n"), 1)
    header = text.lstrip("\n").partition("\n")[0]
    if "\t" not in header and any(delimiter in header for delimiter in _DELIMITERS):
        raise CommandError(
            f"{name}: must have columns separated by tabs, got {header[:40]!r}: use --format csv"
        )
    return _make_table(
        name, "tsv", ((n, line.split("\t")) for n, line in lines if line.strip()), "\t"
    )


def _make_table(
    name: str, format: str, rows: Iterator[tuple[int, list[str]]], delimiter: str
) -> Table:
    """Return a table; its first row has the names of the columns."""
    first, header = next(rows)
    columns = [cell.strip() for cell in header]
    has_numbers = any(is_number(cell) and not cell.lstrip("-").isdigit() for cell in columns)
    if has_numbers or all(map(is_number, columns)):
        raise CommandError(
            f"{name}, line {first}: must have the names of the columns, got numbers: "
            f"insert a header, such as {delimiter.join(_example_header(len(columns)))}"
        )
    duplicates = [column for i, column in enumerate(columns) if column in columns[:i]]
    if duplicates:
        raise CommandError(
            f"{name}, line {first}: the names of the columns must be unique, "
            f"got {duplicates[0]!r} twice"
        )
    found, lines = [], []
    for line, row in rows:
        if len(row) != len(columns):
            raise CommandError(
                f"{name}, line {line}: must have {len(columns)} cells like line {first}, "
                f"got {len(row)}: {_cell_count_hint(row, columns, delimiter)}"
            )
        if len(row) == 1 and len(row[0].split()) > 1 and all(map(is_number, row[0].split())):
            raise CommandError(
                f"{name}, line {line}: cells must be separated by commas, semicolons or tabs, got "
                f"spaces: {row[0][:40]!r}"
            )
        found.append(row)
        lines.append(line)
    return Table(name, format, columns, found, lines, delimiter)


def _cell_count_hint(row: list[str], columns: list[str], delimiter: str) -> str:
    if len(row) < len(columns):
        return "pad a shorter sequence with empty cells"
    return 'quote texts that contain ","' if delimiter == "," else "remove the extra cells"


def _example_header(count: int) -> list[str]:
    steps = [f"x{i}" for i in range(1, min(count, 4))]
    return [*steps, *([".."] if count > 4 else []), "target"]


def _parse_tagged(name: str, text: str) -> Table:
    separator = "\t" if "\t" in text else None
    rows: list[list[Any]] = []
    lines: list[int] = []
    sentence_ids: list[int] = []
    sentence = 0
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            sentence += bool(sentence_ids) and sentence_ids[-1] == sentence
            continue
        if (line.startswith("#") and len(line.split(separator)) == 1) or line.startswith("# "):
            continue
        row = line.split(separator)
        if rows and len(row) != len(rows[0]):
            raise CommandError(
                f"{name}, line {number}: must have {len(rows[0])} cells like line {lines[0]}, "
                f"got {len(row)}: every line must be a token, a tab and a tag"
            )
        rows.append(row)
        lines.append(number)
        sentence_ids.append(sentence)
    columns = [str(i) for i in range(1, len(rows[0]) + 1)] if rows else []
    return Table(name, "tagged", columns, rows, lines, "\t", sentence_ids, text.split("\n"))


def _parse_conllu(name: str, text: str) -> Table:
    """Return the words; multiword tokens (1-2) and empty nodes (1.1) are no rows of the table."""
    rows: list[list[Any]] = []
    lines: list[int] = []
    sentence_ids: list[int] = []
    sentence = 0
    source = text.split("\n")
    for number, line in enumerate(source, 1):
        if not line.strip():
            sentence += bool(sentence_ids) and sentence_ids[-1] == sentence
            continue
        if line.startswith("#"):
            continue
        row = line.split("\t")
        if len(row) != len(CONLLU_COLUMNS):
            raise CommandError(
                f"{name}, line {number}: must have the {len(CONLLU_COLUMNS)} columns of CoNLL-U, "
                f"separated by tabs, got {len(row)}: if lines are tokens and tags, use "
                "--format tagged"
            )
        if not _CONLLU_ID.fullmatch(row[0]):
            raise CommandError(
                f"{name}, line {number}: must begin with the number of the word, 1, 1-2 or 1.1, "
                f"got {row[0]!r}"
            )
        if row[0].isdigit():
            rows.append(row)
            lines.append(number)
            sentence_ids.append(sentence)
    return Table(name, "conllu", CONLLU_COLUMNS, rows, lines, "\t", sentence_ids, source)


def _parse_jsonl(name: str, text: str) -> Table:
    objects: dict[int, dict[str, Any]] = {}
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        if not objects and line.lstrip().startswith("["):
            raise CommandError(
                f"{name}, line {number}: must be an object, one per line, got an array: "
                f"convert it with jq -c '.[]'"
            )
        try:
            value = json.loads(line)
        except json.JSONDecodeError as error:
            fix = "every line must be a complete JSON object"
            raise CommandError(f"{name}, line {number}: {error.msg}: {fix}") from None
        except RecursionError:
            raise CommandError(f"{name}, line {number}: is nested too deeply") from None
        except ValueError:  # Python reads no integer of more than 4300 digits
            raise CommandError(f"{name}, line {number}: has a number that is too long") from None
        if not isinstance(value, dict):
            raise CommandError(
                f'{name}, line {number}: must be an object such as {{"text": .., "label": ..}}, '
                f"got {type(value).__name__}"
            )
        objects[number] = value
    columns = list(dict.fromkeys(key for value in objects.values() for key in value))
    rows = [[value.get(key) for key in columns] for value in objects.values()]
    return Table(name, "jsonl", columns, rows, list(objects))


def _parse_text(name: str, text: str) -> Table:
    kept = [(n, line) for n, line in enumerate(text.split("\n"), 1) if line.strip()]
    return Table(name, "text", [TEXT], [[line] for _, line in kept], [n for n, _ in kept])


class Format(NamedTuple):
    """A file format."""

    title: str
    parse: Callable[[str, str], Table]
    """Maps the name and the text of a file to a table."""


FORMATS = {
    "csv": Format("CSV", _parse_csv),
    "tsv": Format("TSV", _parse_tsv),
    "tagged": Format("tagged sentences", _parse_tagged),
    "conllu": Format("CoNLL-U", _parse_conllu),
    "jsonl": Format("JSON", _parse_jsonl),
    "text": Format("plain text", _parse_text),
}
