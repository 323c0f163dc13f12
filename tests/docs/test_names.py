"""docs/names.md: the defaults are those of the signatures, and no argument is missing."""

from __future__ import annotations

import inspect
import re
from functools import reduce
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

pytest.importorskip("sklearn")

import bptt
from numpydoc import signature

PAGE = (Path(__file__).parents[2] / "docs" / "names.md").read_text("utf-8")
SECTIONS = re.split(r"^Signatures: ", PAGE.partition("\n## Shapes")[0], flags=re.MULTILINE)[1:]


class Row(NamedTuple):
    name: str
    default: str


def callables(section: str) -> dict[str, Any]:
    names = re.findall(r"`([\w.]+)`", section.partition(".\n")[0].partition(". ")[0])
    return {name: reduce(getattr, name.split("."), bptt) for name in names}


def rows(section: str) -> list[Row]:
    cells = (line.split(" | ") for line in section.splitlines() if line.startswith("| `"))
    return [Row(line[0].strip("| `"), line[1]) for line in cells]


def shown(parameter: inspect.Parameter) -> str:
    """Return a default as the page writes it."""
    if parameter.kind == inspect.Parameter.VAR_POSITIONAL:
        return "none"
    default = parameter.default
    if default is inspect.Parameter.empty:
        return "required"
    if isinstance(default, type):
        default = np.dtype(default).name
    return f'`"{default}"`' if isinstance(default, str) else f"`{default!r}`"


def default_of(row: Row, name: str) -> str:
    """Return the default that a row states for one of its callables."""
    by_name = {
        one: value
        for value, names in re.findall(r"(`[^`]+`) \(([^)]*)\)", row.default)
        for one in re.findall(r"`([^`]+)`", names)
    }
    return by_name.get(name.rpartition(".")[2], row.default)


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.partition(".\n")[0][:40])
def test_defaults_are_those_of_the_signatures(section: str) -> None:
    functions, table = callables(section), rows(section)
    assert len({row.name for row in table}) == len(table)
    for row in table:
        found = {
            name: inspect.signature(function).parameters[row.name]
            for name, function in functions.items()
            if row.name in inspect.signature(function).parameters
        }
        assert found, row.name
        for name, parameter in found.items():
            assert default_of(row, name) == shown(parameter), f"{name}({row.name})"


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.partition(".\n")[0][:40])
def test_no_argument_is_missing(section: str) -> None:
    named = {row.name for row in rows(section)}
    for name, function in callables(section).items():
        assert set(signature(function)) <= named, name
