"""Sections of docstrings in numpydoc's format."""

from __future__ import annotations

import inspect
import re
from typing import Any


def sections(documented: Any) -> dict[str, dict[str, str]]:
    """Return section -> entry -> text; several names of one entry have the same text."""
    found: dict[str, dict[str, str]] = {}
    lines = inspect.cleandoc(documented.__doc__ or "").splitlines()
    entries: dict[str, str] = {}
    names: list[str] = []
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        if following and set(following) == {"-"} and len(following) == len(line):
            entries = found.setdefault(line, {})
            names = []
        elif line and not line.startswith((" ", "-")):
            names = re.split(r", (?=\w+(?:,|$| :))", line.partition(" :")[0])
            entries |= dict.fromkeys(names, line.partition(" :")[2].strip())
        elif line.strip():
            for name in names:
                entries[name] += f"\n{line.strip()}"
    return found


def parameters(documented: Any) -> list[str]:
    """Return the names in the section Parameters."""
    return list(sections(documented).get("Parameters", {}))


def signature(function: Any) -> list[str]:
    """Return the names of the parameters of a function, method or class."""
    return [name for name in inspect.signature(function).parameters if name not in ("self", "cls")]


def methods(kind: type) -> dict[str, Any]:
    """Return the public methods of a class that the package defines."""
    members = inspect.getmembers(kind, callable)
    return {
        name: member
        for name, member in members
        if not name.startswith("_") and str(getattr(member, "__module__", "")).startswith("bptt")
    }
