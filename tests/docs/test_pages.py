"""The pages of docs/: their code runs, and every `# ->` shows what comes out."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pictures import assert_texts_are_clear

pytest.importorskip("sklearn")
pytest.importorskip("safetensors")

DOCS = Path(__file__).parents[2] / "docs"
PAGES = sorted(page.name for page in DOCS.glob("*.md"))
BLOCK = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")


def run(code: str, names: dict[str, Any]) -> list[tuple[str, str]]:
    """Run a block; return what it says and what it gives at each line with `# ->`."""
    lines, pairs = code.splitlines(), []
    for statement in ast.parse(code).body:
        source = "\n".join(lines[statement.lineno - 1 : statement.end_lineno])
        *_, shown = source.rpartition("  # -> ")
        if shown == source:
            exec(compile(source, "<docs>", "exec"), names)
        else:
            assert isinstance(statement, ast.Expr), f"not an expression: {source}"
            value = eval(source, names)
            # np.True_ or True: it depends on the version of NumPy.
            pairs.append((shown, repr(value.item() if isinstance(value, np.generic) else value)))
    return pairs


def check_pictures(plt: Any) -> None:
    """Check the figures that a page has drawn."""
    for number in plt.get_fignums():
        assert_texts_are_clear(plt.figure(number))
    plt.close("all")
    plt.rcdefaults()


@pytest.mark.parametrize("name", PAGES)
def test_page_shows_what_comes_out(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocks = BLOCK.findall((DOCS / name).read_text("utf-8"))
    monkeypatch.chdir(tmp_path)  # pages write files
    monkeypatch.setenv("MPLBACKEND", "Agg")
    names: dict[str, Any] = {}
    for block in blocks:
        for shown, found in run(block, names):
            assert shown == found
    if "plt" in names:
        check_pictures(names["plt"])


@pytest.mark.parametrize("name", PAGES)
def test_links_lead_somewhere(name: str) -> None:
    for target in LINK.findall((DOCS / name).read_text("utf-8")):
        assert (DOCS / target).exists(), target


def test_index_lists_every_page() -> None:
    links = LINK.findall((DOCS / "README.md").read_text("utf-8"))
    assert set(PAGES) - {"README.md"} <= set(links)
