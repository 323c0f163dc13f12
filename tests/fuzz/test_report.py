"""The table of results in the documentation is that of the files, and has no open failure."""

from __future__ import annotations

import pytest

from tests.fuzz import report, results


def test_page_has_the_table_of_the_files():
    assert report.main(["--check"]) == 0, "run python -m tests.fuzz.report"


def test_no_failure_is_open():
    found = report.read(results.RESULTS.glob("*.json"))
    assert found
    assert not sum(one["failures"] for one in found)


def test_results_are_written_and_shown(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "RESULTS", tmp_path)
    path = results.write("core", "fuzz 10", 12345, "inputs", 2, seconds=300.0, more=1)
    rows = report.table(report.read([path])).splitlines()
    assert rows[2].startswith("| inputs | 12,345 | 2 | `fuzz 10` | 5 min | 20")
    changed = report.page_with(f"a\n{report.START}\nold\n{report.END}\nb", "new")
    assert changed == f"a\n{report.START}\n\nnew\n\n{report.END}\nb"
    results.write("core", "fuzz 20", 5, "inputs", 0, seconds=60.0, add=True)
    assert (
        report.table(report.read([path]))
        .splitlines()[2]
        .startswith("| inputs | 12,350 | 0 | `fuzz 20` | 6 min | 20")
    )
    path.write_text("{}")
    with pytest.raises(ValueError, match="must have harness, command"):
        report.read([path])
