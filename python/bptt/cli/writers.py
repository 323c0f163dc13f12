"""Predictions in the format of the file they are for."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from bptt.cli.schema import Schema
from bptt.cli.tables import Table

COLUMN = "prediction"


def predictions(
    table: Table,
    form: Schema,
    groups: Sequence[Sequence[int]],
    X: Sequence[Any],
    found: Sequence[Any],
    probabilities: Sequence[Any] | None,
    classes: Iterable[Any],
) -> str:
    """Return the content of the file to write.

    Parameters
    ----------
    table, form, groups, X
        What was read.
    found : array (B,), or sequence of B arrays (T,)
        The prediction for every sequence, or for each of its steps.
    probabilities : array (B, K), or sequence of B arrays (T, K), optional
        Of the K `classes`.
    classes : array (K,)
    """
    shares = [f"P({label})" for label in classes] if probabilities is not None else []
    steps = np.ndim(found[0]) == 1 and not isinstance(found[0], str)
    cells = [_cells(found[i], probabilities, i, steps) for i in range(len(found))]
    if table.format == "jsonl":
        return _format_jsonl(table, groups, found, probabilities, classes, steps)
    head = "# behind the prediction: " + " ".join(shares) + "\n" if shares else ""
    if table.format == "text":
        if steps:
            return head + _format_sentences([[[t] for t in x] for x in X], cells)
        rows = [[row[0].replace("\t", " "), *cells[i][0]] for i, row in enumerate(table.rows)]
        return _format_table("\t", [[*table.columns, COLUMN, *shares], *rows])
    if table.format == "tagged":
        return head + _format_sentences(
            [[table.rows[row] for row in group] for group in groups], cells
        )
    if form.shape == "rows" and not steps:
        place = table.columns.index(str(form.sequence))
        rows = [[table.rows[g[0]][place], *cells[i][0]] for i, g in enumerate(groups)]
        return _format_table(table.delimiter, [[str(form.sequence), COLUMN, *shares], *rows])
    kept = [i for i, name in enumerate(table.columns) if name not in (COLUMN, *shares)]
    rows = [[row[i] for i in kept] for row in table.rows]
    for i, group in enumerate(groups):
        for t, row in enumerate(group):
            rows[row] += cells[i][t]
    header = [*(table.columns[i] for i in kept), COLUMN, *shares]
    return _format_table(table.delimiter, [header, *rows])


def _cells(
    prediction: Any, probabilities: Sequence[Any] | None, index: int, steps: bool
) -> list[list[str]]:
    """Return what is written for a sequence: one list of cells, or one for every step."""
    rows = [[_format_value(label)] for label in (prediction if steps else [prediction])]
    if probabilities is not None:
        shares = probabilities[index] if steps else [probabilities[index]]
        for row, values in zip(rows, shares, strict=True):
            row += [f"{value:.4f}" for value in values]
    return rows


def _format_value(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, np.floating) else str(value)


def _format_table(delimiter: str, rows: Iterable[Sequence[str]]) -> str:
    if delimiter == "\t":
        return "".join("\t".join(row) + "\n" for row in rows)
    content = io.StringIO()
    csv.writer(content, delimiter=delimiter, lineterminator="\n").writerows(rows)
    return content.getvalue()


def _format_sentences(
    tokens: Sequence[Sequence[list[str]]], cells: Sequence[list[list[str]]]
) -> str:
    blocks = [
        "".join("\t".join([*row, *added]) + "\n" for row, added in zip(rows, more, strict=True))
        for rows, more in zip(tokens, cells, strict=True)
    ]
    return "\n".join(blocks)


def _format_jsonl(
    table: Table,
    groups: Sequence[Sequence[int]],
    found: Sequence[Any],
    probabilities: Sequence[Any] | None,
    classes: Iterable[Any],
    steps: bool,
) -> str:
    names = [str(label) for label in classes]
    lines = []
    for i, group in enumerate(groups):
        value = dict(zip(table.columns, table.rows[group[0]], strict=True))
        value[COLUMN] = np.asarray(found[i]).tolist()
        if probabilities is not None:
            shares = np.round(np.asarray(probabilities[i], np.float64), 4).tolist()
            rows = [dict(zip(names, row, strict=True)) for row in (shares if steps else [shares])]
            value["probabilities"] = rows if steps else rows[0]
        lines.append(json.dumps(value, ensure_ascii=False) + "\n")
    return "".join(lines)
