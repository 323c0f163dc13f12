"""The public API: every public name exists and is documented, with the parameters it has."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import pytest

import bptt
from public_packages import PACKAGES

pytest.importorskip("sklearn")

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def public_objects() -> Iterator[tuple[str, Any]]:
    """Dotted name and value of every public class and function, each once."""
    seen = set()
    for package in PACKAGES:
        module = importlib.import_module(package)
        for name in module.__all__:
            value = getattr(module, name)
            if (inspect.isclass(value) or inspect.isfunction(value)) and value not in seen:
                seen.add(value)
                yield f"{value.__module__}.{value.__qualname__}", value


def methods(cls: type) -> Iterator[tuple[str, FunctionType]]:
    """Public methods of a class, with those that it inherits from the package."""
    for base in cls.__mro__:
        if base.__module__.startswith("bptt"):
            for name, value in vars(base).items():
                function = getattr(value, "__func__", value)  # of a class method
                is_public = not name.startswith("_") or name == "__call__"
                if isinstance(function, FunctionType) and is_public:
                    yield f"{base.__module__}.{function.__qualname__}", function


OBJECTS = dict(public_objects())
CLASSES = {name: value for name, value in OBJECTS.items() if inspect.isclass(value)}
FUNCTIONS = {name: value for name, value in OBJECTS.items() if not inspect.isclass(value)}
FUNCTIONS |= {name: f for cls in CLASSES.values() for name, f in methods(cls)}


# ---- numpydoc ------------------------------------------------------------------------------------


def sections(docstring: str) -> dict[str, str]:
    """Title -> text of the sections of a docstring in numpydoc's format."""
    parts = re.split(r"^([A-Z]\w+)\n-{3,}\n", inspect.cleandoc(docstring), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def documented_names(section: str) -> list[str]:
    """Names before the types of a section: "a, b : int" are two."""
    lines = [line for line in section.splitlines() if line and not line.startswith(" ")]
    assert all(" : " in line or line.startswith("*") for line in lines), "a type is missing"
    return [name.strip().lstrip("*") for line in lines for name in line.split(" : ")[0].split(",")]


def parameter_names(function: Any) -> list[str]:
    parameters = inspect.signature(function).parameters.values()
    return [p.name for p in parameters if p.name not in ("self", "cls")]


def returns_something(function: FunctionType) -> bool:
    return function.__annotations__.get("return") not in ("None", None)


def raises(function: FunctionType) -> bool:
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    return any(isinstance(node, ast.Raise) for node in ast.walk(tree))


# ---- tests ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("package", PACKAGES)
def test_every_name_of_all_exists(package: str) -> None:
    module = importlib.import_module(package)
    assert len(set(module.__all__)) == len(module.__all__)
    for name in module.__all__:
        assert hasattr(module, name)
    assert module.__doc__


@pytest.mark.parametrize("name", {**OBJECTS, **FUNCTIONS})
def test_docstring_has_a_summary(name: str) -> None:
    docstring = {**OBJECTS, **FUNCTIONS}[name].__doc__
    assert docstring, name
    summary = inspect.cleandoc(docstring).split("\n\n")[0]
    assert "\n" not in summary
    assert summary.endswith((".", ":"))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_function_documents_its_parameters(name: str) -> None:
    function = FUNCTIONS[name]
    found = sections(function.__doc__ or "")
    assert documented_names(found.get("Parameters", "")) == parameter_names(function)
    assert ("Returns" in found or "Yields" in found) == returns_something(function)
    if raises(function):
        assert "Raises" in found


@pytest.mark.parametrize("name", CLASSES)
def test_class_documents_its_parameters(name: str) -> None:
    """Parameters of the constructor, or attributes where users make no instances."""
    cls = CLASSES[name]
    found = sections(cls.__doc__ or "")
    if "Parameters" in found:
        assert documented_names(found["Parameters"]) == parameter_names(cls)
    elif "Attributes" not in found:
        source = inspect.getsource(cls)
        fields = getattr(cls, "_fields", None) or (
            [field.name for field in dataclasses.fields(cls) if not field.name.startswith("_")]
            if dataclasses.is_dataclass(cls)
            else []
        )
        own = [name for name in fields if re.search(rf"^    {name}: ", source, re.MULTILINE)]
        assert own or issubclass(cls, Exception) or getattr(cls, "_is_protocol", False), name
        for field in own:
            assert re.search(rf'^    {field}: [^\n]*\n    """', source, re.MULTILINE), field


def dotted_names() -> list[tuple[str, str]]:
    """Page and name of every dotted name that begins with the package."""
    found = {
        (page.name, name)
        for page in PAGES
        for name in re.findall(r"(?<![\w/.-])bptt(?:\.[A-Za-z_]\w*)+", page.read_text("utf-8"))
    }
    return sorted(found)


@pytest.mark.parametrize(("page", "name"), dotted_names())
def test_names_of_the_pages_resolve(page: str, name: str) -> None:
    """Every ``bptt.x.y`` of a page is there after ``import bptt``."""
    for library in ("jax", "torch"):
        if name.startswith(f"bptt.{library}"):
            pytest.importorskip(library)
    value: Any = bptt
    for part in name.split(".")[1:]:
        assert hasattr(value, part), name
        value = getattr(value, part)
    assert value is not None or isinstance(value, ModuleType)
