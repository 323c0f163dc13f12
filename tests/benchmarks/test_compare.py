"""benchmarks/compare.py at tiny sizes, with NumPy as the only peer."""

from __future__ import annotations

import dataclasses
import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from child_process import run_code

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
    """Results of every cell, mode and dtype at one size, of two runs, the second with --resume."""
    output = tmp_path_factory.mktemp("results")
    for more in (("--dtypes", "float64"), ("--resume",)):
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
    first = "python benchmarks/compare.py --peers numpy --rounds 2 --threads 1 --size 4 1 3 5"
    assert f"`{first} --dtypes float64 && {first}`" in text


@pytest.fixture
def modules(monkeypatch):
    """The modules grid, worker and models, which are no package; removed afterwards."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    before = set(sys.modules)
    yield tuple(importlib.import_module(name) for name in ("grid", "worker", "models"))
    for name in set(sys.modules) - before:
        if str(BENCHMARKS) in (getattr(sys.modules[name], "__file__", None) or ""):
            del sys.modules[name]


def test_stacks_ragged_batches_and_the_lecture_loop_agree_with_the_reference(modules):
    grid, worker, _ = modules
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
    grid, worker, _ = modules
    row = grid.Row("grid", "lstm", "inference", 4, 2, 3, 5)
    right = {"output": np.ones((4, 2, 5), np.float32)}
    worker.compare(row, "somebody", right, right)
    with pytest.raises(worker.MismatchError, match=r"lstm \(4, 2, 3, 5\).*output of somebody"):
        worker.compare(row, "somebody", {"output": right["output"] * np.float32(1.01)}, right)


def test_the_full_comparison_has_every_cell_and_size_once(modules):
    grid, *_ = modules
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


def tiny(model, mode, dtype):
    """The model at a tiny size."""
    outputs = 23 if model.outputs == model.vocabulary else model.outputs
    sizes = {"steps": 7, "batch": 5, "vocabulary": 23, "embedding_size": 6, "hidden_size": 8}
    shortest = min(model.shortest, 2)
    return dataclasses.replace(
        model, mode=mode, dtype=dtype, outputs=outputs, shortest=shortest, **sizes
    )


def test_random_sizes_are_those_of_the_seed(modules):
    grid, *_ = modules
    rows = grid.random_rows(30, seed=3)
    assert rows == grid.random_rows(30, seed=3) != grid.random_rows(30, seed=4)
    assert len(rows) == 60  # inference and training
    for row in rows:
        sizes = (row.steps, row.batch, row.input_size, row.hidden_size)
        assert all(a <= n <= b for n, (a, b) in zip(sizes, grid.RANDOM_SIZES, strict=True))


@pytest.mark.parametrize(
    ("library", "dtype", "cells"),
    [
        ("torch", "float32", ("lstm", "gru", "bilstm", "bigru")),
        ("torch", "float64", ("lstm", "gru", "bilstm", "bigru")),
        ("jax", "float32", ("gru", "bigru")),  # compiles every row
    ],
)
def test_whole_models_agree_with_other_libraries(modules, library, dtype, cells):
    pytest.importorskip(library)
    _, worker, models = modules
    chosen = [model for model in models.MODELS if model.cell in cells]
    rows = [tiny(m, mode, dtype) for m in chosen for mode in ("inference", "training")]
    settings = {"threads": 1, "rounds": 1, "budget": 0, "peers": [library]}
    measuring = worker.Worker({**settings, "rows": [row.to_json() for row in rows]}, sys.stderr)
    assert measuring.rows == rows
    for row in rows:
        failed = {}
        timed = measuring._prepare(row, models.make_model_problem(row), failed)
        assert not failed
        expected = library == "torch" or row.task in ("language model", "tagger")
        assert (library in timed) == expected


def test_operations_of_a_model_are_those_of_its_parameters(modules):
    _, _, models = modules
    for model in models.MODELS:
        row = tiny(model, "inference", "float32")
        weights = sum(
            array.size * (row.output_rows if part.endswith("output") else row.sequence_steps)
            for part, arrays in models.shapes(row).items()
            for name, array in arrays.items()
            if not part.endswith("embedding") and "bias" not in name
        )
        assert row.flops == 2 * weights
        assert dataclasses.replace(row, mode="training").flops == 3 * row.flops


def test_measurements_of_models_have_a_table(modules, tmp_path):
    _, worker, models = modules
    rows = [tiny(models.MODELS[0], mode, "float32") for mode in ("inference", "training")]
    settings = {"threads": 1, "rounds": 1, "budget": 0, "peers": []}
    measuring = worker.Worker({**settings, "rows": [row.to_json() for row in rows]}, sys.stderr)
    entries = [json.loads(json.dumps(measuring.measure(row))) for row in rows]
    entries += [{**entry, "threads": 2} for entry in entries]
    report = importlib.import_module("report")
    text = "\n".join(report.models(report.read({"rows": entries})))
    assert text.count("| lstm language model V 23 (7, 5, 6, 8) |") == 2
    assert text.count("| 1.00 |") == 2  # gain
    assert "× torch, 1 thr" in text


def test_disturbed_rows_are_measured_again(results):
    path = results / "results.json"
    content = json.loads(path.read_text())
    for entry in content["rows"]:
        entry["waited"] = 0.0
    content["rows"][0]["waited"] = 0.5
    path.write_text(json.dumps(content))
    size = ("--size", "4", "1", "3", "5", "--resume")
    (other,) = {"float32", "float64"} - {content["rows"][0]["row"]["dtype"]}
    done = compare(results, *size, "--dtypes", other)  # without that row, which is not lost
    assert done.returncode == 0, done.stderr
    assert json.loads(path.read_text())["rows"] == content["rows"]
    done = compare(results, *size)
    assert done.returncode == 0, done.stderr
    again = json.loads(path.read_text())["rows"]
    assert again[:-1] == content["rows"][1:]
    assert again[-1]["row"] == content["rows"][0]["row"]


def test_numbers_of_threads_are_checked(tmp_path):
    done = compare(tmp_path, "--threads", "0")
    assert done.returncode == 2
    assert "--threads must be in [1, cores]" in done.stderr


def instructions_module(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    instructions = importlib.import_module("instructions")
    assert instructions.restrictions(None) == {}
    if not instructions.hides_avx512("avx2"):
        pytest.skip("needs Linux on x86-64 with AVX-512, a C compiler and objdump")
    return instructions


def instruction_sets(**environment):
    """Return what the processor itself has told a process."""
    child = run_code("from bptt._core import _cpu; print(*_cpu.supported())", **environment)
    return (child.stdout or child.stderr).split()


def test_avx2_is_for_all_libraries(monkeypatch, tmp_path):
    """A copy of a package without CPUID sees AVX2 at most, and so does a comparison."""
    instructions = instructions_module(monkeypatch)
    instructions.copy_without_cpuid("bptt", tmp_path)
    variables = instructions.restrictions("avx2")
    variables["PYTHONPATH"] = f"{tmp_path}{os.pathsep}{variables['PYTHONPATH']}"
    assert instruction_sets(**variables) == instruction_sets()[:2]  # base and v3
    done = compare(tmp_path, "--size", "4", "1", "3", "5", "--isa", "avx2")
    assert done.returncode == 0, done.stderr
    assert "AVX-512 hidden from all libraries" in (tmp_path / "results.md").read_text("utf-8")


def test_a_processor_with_cpuid_faulting_needs_no_copies(monkeypatch):
    instructions = instructions_module(monkeypatch)
    if "cpuid_fault" not in Path("/proc/cpuinfo").read_text("utf-8").split():
        pytest.skip("needs a processor with CPUID faulting")
    assert instruction_sets(**instructions.restrictions("avx2")) == instruction_sets()[:2]
