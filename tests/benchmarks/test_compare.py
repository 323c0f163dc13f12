"""benchmarks/compare.py at tiny sizes, with NumPy as the only peer."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
pytestmark = pytest.mark.skipif(not BENCHMARKS.is_dir(), reason="needs the repository")
pytest.importorskip("tqdm")


def compare(output, *more):
    command = [sys.executable, str(BENCHMARKS / "compare.py"), "--peers", "numpy", "--rounds", "2"]
    command += ["--threads", "1", "--no-plots", "--output", str(output), *more]
    return subprocess.run(
        command, capture_output=True, encoding="utf-8", env={**os.environ, "PYTHONUTF8": "1"}
    )


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Results of every cell, mode and dtype at one size, after a second run with --resume."""
    output = tmp_path_factory.mktemp("results")
    for more in ((), ("--resume",)):
        done = compare(output, "--size", "4", "1", "3", "5", *more)
        assert done.returncode == 0, done.stderr
    return output


def test_every_row_is_measured_once(results):
    content = json.loads((results / "results.json").read_text())
    rows = {tuple(map(entry["row"].get, ("cell", "mode", "dtype"))) for entry in content["rows"]}
    assert len(rows) == len(content["rows"])  # none twice
    cells, dtypes = ("rnn", "lstm", "gru", "bilstm"), ("float32", "float64")
    modes = ("inference", "training")
    assert rows == {(c, m, d) for c in cells for m in modes for d in dtypes} | {
        (c, "step", "float32") for c in cells[:3]
    }
    for entry in content["rows"]:
        assert set(entry["peers"]) == {"bptt", "numpy"}
        assert not entry["failed"]
        assert entry["gemm"]["numpy"] > 0
        for times in entry["peers"].values():
            assert 0 < times["low"] <= times["median"] <= times["high"]
            assert times["samples"] == 2


def test_tables_have_means_rows_and_the_command(results):
    text = (results / "results.md").read_text(encoding="utf-8")
    assert "| training, float64, 1 thread | 4 |" in text
    assert "| bilstm (4, 1, 3, 5) |" in text
    assert "compare.py --peers numpy" in text


@pytest.fixture
def modules(monkeypatch):
    """The modules grid and worker, which are no package; removed afterwards."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    before = set(sys.modules)
    yield importlib.import_module("grid"), importlib.import_module("worker")
    for name in set(sys.modules) - before:
        if str(BENCHMARKS) in (getattr(sys.modules[name], "__file__", None) or ""):
            del sys.modules[name]


def test_stacks_ragged_batches_and_the_lecture_loop_agree_with_the_reference(modules):
    grid, worker = modules
    settings = {"threads": 1, "rounds": 1, "budget": 0, "peers": ["numpy"], "rows": []}
    measure = worker.Worker(settings, sys.stderr)._prepare
    rows = [
        grid.Row("grid", "bilstm", "training", 4, 2, 3, 5, num_layers=2),
        grid.Row("ragged", "gru", "training", 4, 3, 3, 5, ragged=True),
        *(grid.Row("lecture", cell, "training", 4, 1, 3, 5) for cell in ("rnn", "lstm")),
    ]
    names = []
    for row in rows:
        failed = {}
        names.append(set(measure(row, grid.make_problem(row), failed)))
        assert not failed
    assert names == [{"bptt", "numpy"}, {"bptt"}, *[{"bptt", "numpy loop"}] * 2]


def test_wrong_results_are_an_error(modules):
    grid, worker = modules
    row = grid.Row("grid", "lstm", "inference", 4, 2, 3, 5)
    right = {"output": np.ones((4, 2, 5), np.float32)}
    worker.compare(row, "somebody", right, right)
    with pytest.raises(worker.MismatchError, match=r"lstm \(4, 2, 3, 5\).*output of somebody"):
        worker.compare(row, "somebody", {"output": right["output"] * np.float32(1.01)}, right)


def test_the_full_comparison_has_every_cell_and_size_once(modules):
    grid, _ = modules
    rows = grid.all_rows()
    assert len(set(rows)) == len(rows)
    assert {(r.cell, r.size, r.mode) for r in rows if r.group == "grid" and r.num_layers == 1} >= {
        (cell, size, mode)
        for cell in grid.CELLS
        for size in grid.SIZES
        for mode in ("inference", "training")
    }
    assert set(grid.quick_rows()) <= set(rows) | {
        grid.Row("ragged", "lstm", mode, *grid.SIZES[6], ragged=True) for mode in grid.MODES
    }


def test_numbers_of_threads_are_checked(tmp_path):
    done = compare(tmp_path, "--threads", "0")
    assert done.returncode == 2
    assert "--threads must be in [1, cores]" in done.stderr
