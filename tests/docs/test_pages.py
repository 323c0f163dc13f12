"""The pages of docs/: their code runs, and every `# ->` shows the value of its line."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from figures import assert_texts_are_legible

pytest.importorskip("sklearn")
pytest.importorskip("safetensors")

DOCS = Path(__file__).parents[2] / "docs"
MORE = ("README.md", "CONTRIBUTING.md", "SECURITY.md", "benchmarks/README.md", "examples/README.md")
SECTIONS = ("guide.md", "theory.md", "development.md")  # tables of contents of the site
PAGES = sorted(page.name for page in DOCS.glob("*.md"))
BLOCK = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\(([^)#:]*)(?:#([^)]*))?\)")
HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)
ROOT = DOCS.parent
LINKED = [*(f"docs/{page}" for page in PAGES), *MORE]


def run(code: str, names: dict[str, Any]) -> list[tuple[str, str]]:
    """Run a block; return the shown and the computed value of each line with `# ->`."""
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
    """Check that no text of a page's figures is cut off or overlaps another."""
    for number in plt.get_fignums():
        assert_texts_are_legible(plt.figure(number))
    plt.close("all")
    plt.rcdefaults()


@pytest.mark.parametrize("name", PAGES)
def test_values_shown_are_those_computed(
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


def included(name: str) -> list[tuple[str, dict[str, str]]]:
    """Return path and options of a page's parts of source files."""
    found = re.findall(
        r"^```{literalinclude} (\S+)\n((?::[\w-]+: .*\n)*)", (DOCS / name).read_text("utf-8"), re.M
    )
    return [
        (path, dict(re.findall(r"^:([\w-]+): \"?(.*?)\"?$", options, re.M)))
        for path, options in found
    ]


@pytest.mark.parametrize("name", [name for name in PAGES if included(name)])
def test_included_code_exists(name: str) -> None:
    """Functions and marks of the code beside the equations are there."""
    for path, options in included(name):
        text = (DOCS / path).read_text("utf-8")
        if "pyobject" in options:
            assert f"\ndef {options['pyobject']}(" in text
        for key in ("start-at", "start-after"):
            if key in options:
                assert options[key] in text, options
                text = text.partition(options[key])[2]
        if "end-before" in options:
            assert options["end-before"] in text, options


# ---- pages for users of other libraries ----------------------------------------------------------

TORCH_BLOCK = re.compile(r"^```py\n(.*?)^```", re.DOTALL | re.MULTILINE)
HABIT = re.compile(r"^\| (`.*) \| (`.*) \| .*\|$", re.MULTILINE)


def habits(name: str, column: int) -> list[str]:
    """Return the code in a column of the tables "Habits side by side", in their order."""
    text = (DOCS / name).read_text("utf-8").partition("\n## Habits side by side\n")[2]
    cells = [row[column] for row in HABIT.findall(text.partition("\n## ")[0])]
    return [code for cell in cells for code in re.findall(r"`([^`]+)`", cell)]


def test_habits_of_numpy_run() -> None:
    """Both columns of the table, after the loops."""
    text = (DOCS / "coming-from-numpy.md").read_text("utf-8")
    names: dict[str, Any] = {}
    for block in BLOCK.findall(text):
        run(block, names)
    rows = HABIT.findall(text.partition("\n## Side by side\n")[2].partition("\n## ")[0])
    assert len(rows) > 10
    for row in rows:
        for cell in row:
            for code in re.findall(r"`([^`]+)`", cell):
                exec(compile(code, code, "exec"), names)


@pytest.mark.parametrize("name", ["coming-from-pytorch.md", "coming-from-keras.md"])
def test_habits_of_bptt_run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for block in BLOCK.findall((DOCS / name).read_text("utf-8").partition("\n## Habits")[0]):
        run(block, names)
    found = habits(name, 1)
    assert len(found) > 25
    for code in found:
        exec(compile(code, code, "exec"), names)


def test_code_of_pytorch_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other column, and the other loop, are true as well."""
    pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)
    name = "coming-from-pytorch.md"
    loop, *others = TORCH_BLOCK.findall((DOCS / name).read_text("utf-8"))
    names: dict[str, Any] = {}
    run(loop, names)
    assert names["loss"].item() < 0.5
    found = habits(name, 0)
    assert len(found) > 25
    for code in found:
        exec(compile(code, code, "exec"), names)
    for block in others:
        for shown, value in run(block, names):
            assert shown == value


def test_code_of_onnx_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    export, import_ = TORCH_BLOCK.findall((DOCS / "onnx.md").read_text("utf-8"))
    for shown, value in [*run(export, names), *run(import_, names)]:
        assert shown == value


@pytest.mark.parametrize(
    ("library", "page", "sizes"), [("torch", "pytorch", (3, 2)), ("jax", "jax", (3, 3))]
)
def test_code_inside_other_libraries_runs(library: str, page: str, sizes: tuple[int, int]) -> None:
    pytest.importorskip(library)
    names: dict[str, Any] = {}
    blocks = TORCH_BLOCK.findall((DOCS / f"inside-{page}.md").read_text("utf-8"))
    shown = [pair for block in blocks for pair in run(block, names)]
    assert (len(blocks), len(shown)) == sizes
    for text, value in shown:
        assert text == value


@pytest.mark.filterwarnings("ignore")  # sktime's own
def test_code_of_sktime_runs() -> None:
    pytest.importorskip("sktime")
    names: dict[str, Any] = {}
    blocks = TORCH_BLOCK.findall((DOCS / "sktime.md").read_text("utf-8"))
    shown = [pair for block in blocks for pair in run(block, names)]
    assert len(blocks) == 2
    assert len(shown) == 4
    for text, value in shown:
        assert text == value
    assert names["model"].score(names["X_test"], names["y_test"]) > 0.7


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    text = re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
    headings = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in HEADING.findall(text))
    return {heading.replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", LINKED)
def test_links_have_targets(name: str) -> None:
    page = ROOT / name
    for target, anchor in LINK.findall(page.read_text("utf-8")):
        path = page.parent / target if target else page
        assert path.exists(), target
        assert not anchor or anchor in anchors(path), f"{target}#{anchor}"


def test_index_lists_every_page() -> None:
    links = {target for target, _ in LINK.findall((DOCS / "index.md").read_text("utf-8"))}
    assert set(PAGES) - {"index.md", *SECTIONS} <= links


def test_architecture_lists_the_layers_in_order() -> None:
    """The order of the packages is that of import-linter's contract."""
    contract = (ROOT / "pyproject.toml").read_text("utf-8").partition("\nlayers = [")[2]
    layers = re.findall(r"\w+", contract.partition("]")[0])
    figure = (DOCS / "architecture.md").read_text("utf-8").partition("```text")[2]
    shown = [name for name in re.findall(r"\w+", figure.partition("```")[0]) if name in layers]
    assert list(dict.fromkeys(shown)) == layers


@pytest.mark.parametrize("name", ["docs/architecture.md", "CONTRIBUTING.md"])
def test_named_files_exist(name: str) -> None:
    """The files of the map and of the recipes, from the root or from the package."""
    found = re.findall(r"`([\w/]+\.(?:py|pyi|cpp|hpp|def))`", (ROOT / name).read_text("utf-8"))
    assert found
    for path in found:
        folders = [ROOT, ROOT / "python" / "bptt", *(ROOT / p.rpartition("/")[0] for p in found)]
        assert any((folder / path).exists() for folder in folders), path
