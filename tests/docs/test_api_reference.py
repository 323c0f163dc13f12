"""docs/api: every public name has an entry in its package, and one page."""

from __future__ import annotations

import importlib
import inspect
import re
from collections import Counter
from pathlib import Path

import pytest

pytest.importorskip("sklearn")

from public_packages import PACKAGES

API = Path(__file__).parents[2] / "docs" / "api"
ENTRY = re.compile(r"^   (?:~bptt\.)?(\w+)$|^\.\. py:data:: (\w+)$", re.MULTILINE)
GENERATED = re.compile(r"   :toctree: generated\n\n((?:   \w+\n)+)")


def text_of(package: str) -> str:
    return (API / f"{package}.rst").read_text("utf-8") + "\n"


def test_every_package_has_a_page() -> None:
    pages = {path.stem for path in API.glob("*.rst")}
    assert pages == {*PACKAGES, "bptt.diagnostics.plots", "bptt.jax", "bptt.torch"}
    index = (API / "index.md").read_text("utf-8")
    for page in pages:
        assert f"({page}.rst)" in index
        assert f"\n{page}\n" in index  # the tree of contents


@pytest.mark.parametrize("package", [*PACKAGES, "bptt.diagnostics.plots"])
def test_package_lists_its_public_names(package: str) -> None:
    module = importlib.import_module(package)
    listed = ["".join(found) for found in ENTRY.findall(text_of(package))]
    assert len(set(listed)) == len(listed)
    modules = {name for name in module.__all__ if inspect.ismodule(getattr(module, name))}
    assert set(listed) == {*module.__all__} - modules
    for name in modules:
        value = getattr(module, name)
        assert (API / f"{value.__name__}.rst").exists()


def test_every_class_and_function_has_one_page() -> None:
    pages = Counter(
        getattr(importlib.import_module(package), name)
        for package in [*PACKAGES, "bptt.diagnostics.plots"]
        for names in GENERATED.findall(text_of(package))
        for name in names.split()
    )
    assert {value.__name__: count for value, count in pages.items() if count > 1} == {}
    public = {
        getattr(importlib.import_module(package), name)
        for package in PACKAGES
        for name in importlib.import_module(package).__all__
        if inspect.isclass(getattr(importlib.import_module(package), name))
        or inspect.isfunction(getattr(importlib.import_module(package), name))
    }
    assert public <= {*pages}
