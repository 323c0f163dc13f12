"""The README: its examples run, its output and its table of speed are true."""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from typing import Any

import pytest

import bptt

README = Path(__file__).parents[2] / "README.md"
# Column of the table of speed -> folder of its results.
PROCESSORS = {
    "AMD, AVX-512": "",
    "AMD, AVX2": "avx2",
    "Intel, AVX-512": "intel",
    "Intel, AVX2": "intel-avx2",
}


CODE = re.findall(r"^```python\n(.*?)^```", README.read_text("utf-8"), re.DOTALL | re.MULTILINE)


@pytest.fixture
def example() -> str:
    return CODE[0]


def test_example_runs(example: str) -> None:
    names: dict[str, Any] = {}
    exec(compile(example, "README.md", "exec"), names)
    assert names["y"].shape == (8, 100, 128)
    assert not names["y"][2].any()


def test_example_shows_what_comes_out(example: str) -> None:
    (line,) = [line for line in example.splitlines() if ".shape, " in line]
    code, comment = line.split("#")
    names: dict[str, Any] = {}
    exec(compile(example[: example.index(line)], "README.md", "exec"), names)
    assert str(eval(code, names)) == f"({comment.strip()})"


def test_estimator_predicts_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"bptt": bptt}
    (line,) = [line for line in CODE[1].splitlines() if "predict" in line]
    code, comment = line.split("  # ")
    exec(compile(CODE[1], "README.md", "exec"), names)
    assert repr(eval(code, names)) == comment
    assert (tmp_path / "moods.safetensors").exists()
    assert len(CODE) == 2


def test_table_of_speed_is_that_of_the_results() -> None:
    """The figures of each processor are those of its stored summary."""
    results = README.parent / "benchmarks" / "results"
    stored: dict[str, dict[str, tuple[str, ...]]] = {}
    for name, folder in PROCESSORS.items():
        for line in (results / folder / "results.md").read_text("utf-8").splitlines():
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            if len(cells) == 7 and re.fullmatch(
                r"(inference|training), float32, \d threads?", cells[0]
            ):
                rows, best, torch, below, worst = cells[1:6]
                figures = (f"{best} ×", f"{torch} ×", f"{below} of {rows}, worst {worst} ×")
                stored.setdefault(cells[0].replace(" float32,", ""), {})[name] = figures
    table = README.read_text("utf-8").split("| times as fast as |")[1].split("\n\n")[0]
    head, _, *lines = [
        [cell.strip() for cell in line.strip(" |").split("|")] for line in table.splitlines()
    ]
    assert head == list(PROCESSORS)
    assert len(lines) == 3 * len(stored) == 12
    for first, *rest in zip(lines[::3], lines[1::3], lines[2::3], strict=True):
        found = stored[first[0].removeprefix("the fastest library, ")]
        shown = zip(first[1:], *(line[1:] for line in rest), strict=True)
        assert dict(zip(PROCESSORS, shown, strict=True)) == found


# ---- the README of the package index ----

ADDRESS = "https://example.org/bptt"
SCRIPT = README.parent / ".ci" / "index_readme.py"
OF_INDEX = runpy.run_path(str(SCRIPT)) if SCRIPT.exists() else {}
in_repository = pytest.mark.skipif(not OF_INDEX, reason="a source distribution has no .ci")


@in_repository
def test_readme_of_the_index_is_up_to_date() -> None:
    address = OF_INDEX["repository"]((README.parent / "pyproject.toml").read_text("utf-8"))
    expected = OF_INDEX["for_index"](README.read_text("utf-8"), address)
    assert OF_INDEX["TARGET"].read_text("utf-8") == expected, "run python .ci/index_readme.py"


@in_repository
def test_readme_of_the_index_has_absolute_links() -> None:
    text = OF_INDEX["for_index"](README.read_text("utf-8"), ADDRESS)
    found = re.findall(r"\]\(([^)]+)\)", text)
    assert len(found) > 15
    for link in found:
        assert link.startswith("https://"), link
        path = re.sub(rf"^{ADDRESS}/(?:blob|raw)/HEAD/|#.*$", "", link)
        assert (README.parent / path).exists(), link
    assert "![Time of PyTorch" in text
    assert "src=" not in text


@in_repository
def test_readme_of_the_index_without_an_address_has_no_relative_link() -> None:
    text = OF_INDEX["for_index"](README.read_text("utf-8"), None)
    assert not re.search(r"\]\((?!https?:)|src=", text)
    assert "docs/training.md" not in text


@in_repository
def test_address_is_that_of_pyproject() -> None:
    pyproject = f'[project]\nname = "x"\n\n[project.urls]\nRepository = "{ADDRESS}/"\n\n[tool.x]\n'
    assert OF_INDEX["repository"](pyproject) == ADDRESS
    assert OF_INDEX["repository"]('[project]\nname = "x"\n') is None
