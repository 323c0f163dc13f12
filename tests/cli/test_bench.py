"""The command `bench`, its timing and worker processes, and benchmarks/guard.py."""

from __future__ import annotations

import importlib
import itertools
import json
import os
import re
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import bptt
from bptt._core import interleaved_timing
from bptt.cli import bench_layers, bench_update, worker_process
from bptt.cli.main import main
from bptt.nn.recurrent import make_recurrent
from cases import CELLS

SMALL = ("bench", "--size", "3,2,4,5", "--vocabulary", "20", "--rounds", "2")
GUARD = Path(__file__).parents[2] / "benchmarks" / "guard.py"


@pytest.fixture(autouse=True)
def _small_product(tmp_path, monkeypatch):
    """Multiply small matrices in all processes, in a temporary directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        bench_layers,
        "_PRODUCT",
        bench_layers.Task(bench_layers.PRODUCT, "", bench_layers.Size(1, 64, 64, 64)),
    )
    monkeypatch.setattr(bench_layers, "_COOL_DOWN", 0.0)


def command(*arguments):
    return [sys.executable, "-W", "error", "-m", "bptt", *map(str, arguments)]


# ---- the command


def test_tables_have_all_sizes_cells_and_modes(capsys):
    arguments = (*SMALL, "--size", "2,1,4,5", "--cell", "lstm", "--cell", "gru_reset_after")
    assert main(list(arguments)) == 0
    shown, errors = capsys.readouterr()
    assert errors == ""
    assert max(map(len, shown.splitlines())) <= 80
    assert re.search(r"NumPy's product of two 64 x 64 matrices, float32:\n +[\d.]+ GFLOP/s", shown)
    time, spread, rate, share = r" +[\d.,]+", r" +\d+%", r" +[\d.]+", r" +\d+"
    row = f"({time}{spread}{rate}{share})"
    many = rf"{row} +[\d.]+" if bptt.get_num_threads() > 1 else ""
    for mode in ("Inference", "Training"):
        table = re.search(rf"^{mode}.*?\n\n", shown, re.DOTALL | re.MULTILINE)[0]
        for size in ("(3, 2, 4, 5)", "(2, 1, 4, 5)"):
            cells = rf"  LSTM {row}{many}\n  GRU, reset after {row}{many}\n"
            assert re.search(rf"^{re.escape(size)}\n{cells}", table, re.MULTILINE)
    # Both sizes have the same step.
    assert re.search(r"^\(4, 5\)( +[\d.]+ +±\d+%){2}\n\nUpdate of", shown, re.MULTILINE)
    # The first cell at the first size.
    title = r"^Update of a language model, 20 tokens, \(3, 2, 4, 5\)\n"
    update = re.search(rf"{title}.*?\n\n", shown, re.DOTALL | re.MULTILINE)[0]
    several = bptt.get_num_threads() > 1
    part = r" +[\d.]+ +\d+ [█▏▎▍▌▋▊▉#]* *"
    row = part + (rf"{part} +[\d.]+" if several else "")
    for stage in ("embedding", "LSTM", "output layer, loss", "clipping, Adam"):
        assert re.search(rf"^{stage} {row}$", update, re.MULTILINE)
    assert re.search(r"^all +[\d.]+ 100 [█#]{12}", update, re.MULTILINE)
    assert shown.index("\n\nMedians of 2 rounds") > shown.index("\nall ")


def test_json_has_all_measurements(tmp_path):
    arguments = (*SMALL, "--cell", "rnn", "--dtype", "float64", "--json", "found.json")
    assert main(list(arguments)) == 0
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["dtype"] == "float64"
    assert found["machine"]["cores"] == worker_process.available_cores()
    counts = sorted({1, bptt.get_num_threads()})
    expected = {(m, n) for m in ("product", "inference", "training") for n in counts}
    results = {(result["mode"], result["threads"]): result for result in found["results"]}
    assert set(results) == expected | {("step", 1)}
    result = results["training", 1]
    assert (result["cell"], result["size"]) == (
        "rnn",
        {"steps": 3, "batch": 2, "inputs": 4, "hidden": 5},
    )
    assert result["median_seconds"] == pytest.approx(np.median(result["seconds"]))
    assert len(result["seconds"]) == 2
    operations = 3 * 2 * 1 * 5 * (4 + 5) * 2 * 3
    assert result["gflops"] == pytest.approx(operations / result["median_seconds"] / 1e9)
    share = result["gflops"] / results["product", 1]["gflops"]
    assert result["share_of_product"] == pytest.approx(share)
    update = found["update"]
    assert (update["cell"], update["vocabulary"]) == ("rnn", 20)
    assert update["size"] == result["size"]
    assert [result["threads"] for result in update["results"]] == counts
    for result in update["results"]:
        assert len(result["seconds"]) == 2
        assert result["median_seconds"] == pytest.approx(np.median(np.sum(result["seconds"], 1)))
        stages = result["median_seconds_of_stages"]
        assert list(stages) == ["embedding", "RNN", "output layer, loss", "clipping, Adam"]
        assert list(stages.values()) == pytest.approx(list(np.median(result["seconds"], 0)))


@pytest.mark.parametrize("cell", CELLS)
def test_stages_of_an_update_add_up(cell):
    model = bench_update.UpdateModel(cell, bench_update.Size(3, 2, 4, 5), 20)
    update = bench_update.make_update(model, "float64")
    start = time.perf_counter()
    stages = update()
    total = time.perf_counter() - start
    assert len(stages) == len(model.stages)
    assert all(seconds > 0 for seconds in stages)
    assert sum(stages) <= total


@pytest.mark.parametrize("cell", CELLS)
def test_operations_are_those_of_the_matrix_products(cell):
    size = bench_layers.Size(7, 3, 4, 5)
    layer = make_recurrent(cell, 4, 5)
    weights = layer["weight_ih_l0"].size + layer["weight_hh_l0"].size
    assert bench_layers.Task(bench_layers.INFERENCE, cell, size).operations == 2 * weights * 7 * 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--size", "1,2,3"], "argument --size: must be four integers >= 1, T,B,I,H, got '1,2,3'"),
        (["--size", "1,2,0,4"], "argument --size: must be four integers >= 1"),
        (["--size", "1,2,3,x"], "argument --size: must be four integers >= 1"),
        (["--size", "10000000,100000,1000,1000"], "out of memory: "),
        (["--cell", "transformer"], "argument --cell: invalid choice: 'transformer'"),
        (["--dtype", "float16"], "argument --dtype: invalid choice: 'float16'"),
        (["--vocabulary", "0"], "argument --vocabulary: must be an integer >= 1, got '0'"),
        (["--rounds", "0"], "argument --rounds: must be an integer >= 1, got '0'"),
        (["--json", "."], "argument --json: cannot write .: it is a directory"),
        (["--json", "no/file"], "argument --json: cannot write no/file: there is no directory no"),
    ],
)
def test_errors_of_use(options, message, capsys):
    try:
        code = main(["bench", *options])
    except SystemExit as stop:
        code = stop.code
    shown, errors = capsys.readouterr()
    assert (code, shown) == (2, "")
    assert message in errors


def test_help_shows_the_usage(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["bench", "--help"])
    assert stop.value.code == 0
    assert capsys.readouterr().out.startswith("usage: python -m bptt bench [options]")


def test_progress_bar_on_a_terminal():
    pty = pytest.importorskip("pty")
    fcntl = pytest.importorskip("fcntl")
    termios = pytest.importorskip("termios")
    ours, theirs = pty.openpty()
    fcntl.ioctl(ours, termios.TIOCSWINSZ, struct.pack("4H", 24, 80, 0, 0))
    child = subprocess.Popen(command("bench"), stdout=subprocess.PIPE, stderr=theirs)
    os.close(theirs)
    seen = b""
    while b"%|" not in seen:
        seen += os.read(ours, 1024)
    child.terminate()
    child.communicate()
    os.close(ours)
    assert b"measuring " in seen


@pytest.mark.timing  # the signal must come after Python has started
@pytest.mark.skipif(os.name != "posix", reason="sends a POSIX signal")
@pytest.mark.parametrize("delay", [1.0, 2.0])
def test_interrupt_ends_all_processes(delay):
    child = subprocess.Popen(
        command("bench", "--rounds", 1000),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        start_new_session=True,
        # Interrupted while it caches a module, Python prints a traceback.
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        # Background jobs may ignore the signal.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    time.sleep(delay)
    os.killpg(child.pid, signal.SIGINT)  # as a terminal does, to the workers as well
    shown, errors = child.communicate()
    assert (child.returncode, shown) == (130, "")
    assert errors == "\npython -m bptt bench: interrupted\n"
    with pytest.raises(ProcessLookupError):  # all processes have ended
        os.killpg(child.pid, 0)


# ---- timing and worker processes


def test_interleaving_skips_the_warm_up_round():
    clock = itertools.count()
    calls = []

    def measured(name):
        calls.append(name)
        return float(next(clock))

    ticks = []
    found = interleaved_timing.interleave(
        {name: lambda name=name: measured(name) for name in "ab"},
        2,
        on_measure=lambda: ticks.append(1),
    )
    assert "".join(calls) == "ababab"
    assert found == {"a": [2.0, 4.0], "b": [3.0, 5.0]}  # without the warm-up round
    assert len(ticks) == 6


class Clock:
    """A clock that only `wait` moves."""

    def __init__(self, monkeypatch):
        self.now = 0.0
        monkeypatch.setattr(interleaved_timing.time, "perf_counter", lambda: self.now)

    def wait(self, seconds):
        self.now += seconds
        return seconds


def test_interleaving_lasts_for_the_minimum_time(monkeypatch):
    clock = Clock(monkeypatch)
    found = interleaved_timing.interleave({"": lambda: clock.wait(0.25)}, 1, min_seconds=1.0)
    assert found == {"": [0.25] * 3}  # after the warm-up round


@pytest.mark.parametrize(("min_seconds", "calls"), [(0.0, 1), (0.25, 1), (1.0, 5)])
def test_seconds_per_call(min_seconds, calls, monkeypatch):
    clock = Clock(monkeypatch)
    made = []
    found = interleaved_timing.seconds_per_call(lambda: made.append(clock.wait(0.25)), min_seconds)
    assert found == 0.25
    assert len(made) == calls  # one call measures how many are needed


@pytest.mark.parametrize("threads", [1, 3])
def test_worker_environment_sets_the_number_of_threads(threads):
    names = ("BPTT_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    assert [worker_process.worker_environment(threads)[name] for name in names] == [
        str(threads)
    ] * 3


def test_an_error_in_the_worker_has_its_traceback():
    with (
        worker_process.WorkerProcess("bptt.cli.bench_layers", 1) as worker,
        pytest.raises(
            RuntimeError, match=r"(?s)bptt\.cli\.bench_layers failed:.*KeyError: 'no such cell'"
        ),
    ):
        worker.request(["inference", "no such cell", [1, 1, 1, 1], "float32"])


def test_a_missing_worker_module_is_an_error():
    with (
        worker_process.WorkerProcess("bptt.missing", 1) as worker,
        pytest.raises(RuntimeError, match=r"No module named bptt\.missing"),
    ):
        worker.request("what?")


@pytest.mark.skipif(os.name != "posix", reason="sends a POSIX signal")
def test_a_killed_worker_is_a_memory_error():
    with worker_process.WorkerProcess("bptt.cli.bench_layers", 1) as worker:
        os.kill(worker._process.pid, signal.SIGKILL)
        with pytest.raises(MemoryError, match=r"bptt\.cli\.bench_layers was killed by signal 9"):
            worker.request("what?")


@pytest.mark.skipif(os.name != "posix", reason="sends a POSIX signal")
def test_interrupt_while_a_worker_starts_leaves_no_process(monkeypatch):
    started = []

    def start(*arguments, **options):
        started.append(popen(*arguments, **options))
        os.kill(os.getpid(), signal.SIGINT)
        return started[0]

    popen = subprocess.Popen
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    monkeypatch.setattr(subprocess, "Popen", start)
    with pytest.raises(KeyboardInterrupt), worker_process.WorkerProcess("bptt.cli.bench_layers", 1):
        pytest.fail("it has not been interrupted")
    assert started[0].returncode is not None
    assert signal.signal(signal.SIGINT, before) is signal.default_int_handler


# ---- the guard


@pytest.fixture(scope="module")
def guard():
    """The module guard, which is in no package, as its neighbor around_layers."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(GUARD.parent)
        yield importlib.import_module("guard")
    for name in ("guard", "around_layers"):
        sys.modules.pop(name, None)


def test_guard_counts_the_instructions_of_the_kernels(guard):
    profile = """\
# callgrind format
positions: line
ob=/lib/libc.so.6
fn=memcpy
10 1000
ob=/site-packages/bptt/_kernels_v3.cpython-311.so
fn=product
20 300
+3 40
cob=/lib/libc.so.6
cfn=memcpy
calls=1 10
* 1000
* 5
ob=/bin/python
fn=main
1 7
"""
    assert guard.instructions(profile.splitlines()) == 345


@pytest.mark.parametrize(
    ("measured", "passed", "message"),
    [
        ({"a": 100, "b": 109}, True, "+9.0%"),
        ({"a": 100, "b": 111}, False, "1 of 2 exceed 1.10 times the figure recorded"),
        ({"a": 80, "b": 100}, True, "1 of 2 are much faster"),
        ({"a": 100, "c": 1}, False, "not recorded"),
    ],
)
def test_guard_compares_with_the_recorded_figures(guard, measured, passed, message, capsys):
    assert guard.compare(measured, {"a": 100, "b": 100}, 1.10) is passed
    shown = capsys.readouterr().out
    assert message in shown
    assert passed or "python benchmarks/guard.py --update" in shown


def test_guard_passes_without_recorded_figures(guard, capsys):
    assert guard.check_instructions({}) is None
    assert guard.check_ratios({})
    assert "none are recorded" in capsys.readouterr().out


def test_every_call_of_the_guard_has_a_recorded_figure(guard):
    stored = json.loads(guard.STORED.read_text(encoding="utf-8"))
    counted = set(guard.counted_calls())
    timed = {guard.title(task) for task in guard.tasks([guard.TIMED_SIZE])}
    assert all(set(figures) == counted for figures in stored["instructions"].values())
    assert all(set(figures) == timed for figures in stored["ratios"].values())
