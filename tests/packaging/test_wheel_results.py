"""The outcomes that `.ci/wheels --resume` keeps."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

REPORT = Path(__file__).parents[2] / ".ci" / "wheel_tools" / "report.py"

if not REPORT.exists():
    pytest.skip("the sdist has no .ci", allow_module_level=True)


@pytest.fixture
def report(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("wheel_report", REPORT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)  # dataclasses look there
    spec.loader.exec_module(module)
    return module


def test_what_has_passed_is_kept(report: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    results = report.Results(path, resume=True)
    outcome = {"passed": 3, "failed": 0}
    assert results.once("alone 3.12", "a", lambda: outcome) == outcome
    for resume in (True, False):
        results = report.Results(path, resume=resume)
        found = results.once("alone 3.12", "a", lambda: {"passed": 4})
        assert found == (outcome if resume else {"passed": 4})


@pytest.mark.parametrize("outcome", [{"failed": 1}, {"problems": ["the disk is full"]}])
def test_what_has_failed_runs_again(
    report: ModuleType, tmp_path: Path, outcome: dict[str, object]
) -> None:
    results = report.Results(tmp_path / "results.json", resume=True)
    results.once("musl", "a", lambda: outcome)
    assert results.once("musl", "a", lambda: {"passed": 1}) == {"passed": 1}


def test_another_input_runs_again(report: ModuleType, tmp_path: Path) -> None:
    results = report.Results(tmp_path / "results.json", resume=True)
    assert results.once("guard", "a", lambda: {"text": "first"}) == {"text": "first"}
    assert results.once("guard", "b", lambda: {"text": "second"}) == {"text": "second"}
