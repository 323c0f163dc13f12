"""Threads: their number, their engines and settings, and results that do not depend on them."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest

import bptt
from bptt._core import loader, threads
from cases import DTYPES, Case, dtype_id, every_cell, make, make_layer
from layer_results import results

COUNTS = (1, 2, 3, 8)  # all up to 16: test_every_number_of_threads
ENGINES = loader.kernels.thread_engines()
needs_openmp = pytest.mark.skipif("openmp" not in ENGINES, reason="built without OpenMP")

# Large enough to use threads with every cell.
ROWS = Case("lstm", steps=9, batch=21, input_size=19, hidden_size=67, state=True)
UNITS = Case("lstm", steps=30, batch=3, input_size=19, hidden_size=199, state=True)
LAYERS = replace(UNITS, steps=70, hidden_size=67, num_layers=2)  # a thread for each
CASES = {
    "rows": ROWS,
    "ragged rows": replace(ROWS, lengths="ragged", steps=25),
    "layers": replace(ROWS, num_layers=3, dropout=0.4),
    "directions": replace(ROWS, bidirectional=True, num_layers=2, lengths="ragged"),
    "merge": replace(ROWS, bidirectional=True, num_layers=2, merge="mul", lengths="short"),
    "ids": replace(ROWS, ids=True),
    "units": UNITS,
    "one row": replace(UNITS, batch=1, steps=80),
    "ragged units": replace(UNITS, lengths="ragged", num_layers=2),
    "directions of units": replace(UNITS, bidirectional=True),
    "ids of units": replace(UNITS, ids=True),
    "regularized units": replace(UNITS, zoneout=0.3, recurrent_dropout=0.2),
    "layers side by side": replace(LAYERS, steps=250, num_layers=3, dropout=0.4),
    "ragged layers side by side": replace(LAYERS, lengths="ragged", ids=True),
    "regularized layers side by side": replace(LAYERS, batch=1, zoneout=0.3, recurrent_dropout=0.2),
}
PROJECTED = {
    "rows": replace(ROWS, proj_size=35, num_layers=2, lengths="ragged"),
    "masks of rows": replace(ROWS, proj_size=66, zoneout=0.2, recurrent_dropout=0.3, dropout=0.1),
    "units": replace(UNITS, proj_size=101),
    "masks of units": replace(UNITS, proj_size=101, zoneout=0.2, recurrent_dropout=0.3),
    "one row": replace(UNITS, proj_size=198, batch=1, steps=80),
    "directions of units": replace(UNITS, proj_size=20, bidirectional=True, lengths="ragged"),
    "layers side by side": replace(LAYERS, proj_size=35),
}
# Weights beyond any L2 cache: the threads split the units of one direction, then of the other.
ONE_BY_ONE = replace(UNITS, bidirectional=True, steps=4, hidden_size=800, lengths="ragged")
OF_CELLS = {
    "directions one after the other": ONE_BY_ONE,
    **{f"projection of {name}": case for name, case in PROJECTED.items()},
    **{
        f"decay of {name}, {cell}": replace(case, cell=cell, proj_size=0, decay_size=3)
        for name, case in PROJECTED.items()
        for cell in ("gru", "gru_layer_norm")
    },
}


def assert_same_bits(actual, expected):
    assert actual.keys() == expected.keys()
    for name, value in expected.items():
        assert actual[name].tobytes() == value.tobytes(), name


@pytest.fixture(params=ENGINES)
def engine(request):
    before = loader.kernels.thread_engine()
    loader.kernels.set_thread_engine(request.param)
    yield request.param
    loader.kernels.set_thread_engine(before)


@contextmanager
def threads_of(engine, count):
    """Exactly `count` threads: another engine begins without a memory of busy or far cores."""
    kernels = loader.kernels
    before = kernels.thread_engine()
    kernels.set_thread_engine(engine)
    try:
        with bptt.threads(count):
            yield
    finally:
        kernels.set_thread_engine(before)


def run(case, dtype, count):
    problem = make(case, dtype)
    layer = make_layer(case, problem)  # a new layer, with the same dropout masks
    arguments = {"lengths": problem.lengths, "state": problem.state}
    with bptt.threads(count):
        return results(layer, problem.x, problem.d_output, problem.d_state, **arguments)


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("dtype", DTYPES, ids=dtype_id)
@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
@every_cell
def test_results_do_not_depend_on_threads(cell, case, dtype):
    case = replace(case, cell=cell)
    engine = loader.kernels.thread_engine()
    expected = run(case, dtype, 1)
    for count in COUNTS[1:]:
        with threads_of(engine, count):
            assert_same_bits(run(case, dtype, count), expected)


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("dtype", DTYPES, ids=dtype_id)
@pytest.mark.parametrize("case", OF_CELLS.values(), ids=OF_CELLS.keys())
def test_results_with_options_of_a_cell_do_not_depend_on_threads(case, dtype):
    engine = loader.kernels.thread_engine()
    expected = run(case, dtype, 1)
    for count in COUNTS[1:]:
        with threads_of(engine, count):
            assert_same_bits(run(case, dtype, count), expected)


@pytest.mark.parametrize("engine", ENGINES)
@every_cell
def test_every_number_of_threads(cell, engine):
    for case in (ROWS, UNITS, CASES["directions"]):
        case = replace(case, cell=cell)
        expected = run(case, np.float32, 1)
        for count in range(2, 17):
            with threads_of(engine, count):
                assert_same_bits(run(case, np.float32, count), expected)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_results_do_not_depend_on_the_engine(case):
    expected = run(case, np.float32, 1)
    for count, engine in product(COUNTS[1:], ENGINES):
        with threads_of(engine, count):
            assert_same_bits(run(case, np.float32, count), expected)


@pytest.mark.parametrize("case", [UNITS, replace(ROWS, cell="gru")], ids=["units", "rows"])
def test_results_do_not_depend_on_which_way_is_tried(case):
    problem = make(case, np.float32)
    layer = make_layer(case, problem)
    call = (layer, problem.x, problem.d_output, problem.d_state)
    with bptt.threads(1):
        expected = results(*call, state=problem.state)
    with threads_of(loader.kernels.thread_engine(), 2):
        for _ in range(100):  # one thread is tried after 20 calls
            assert_same_bits(results(*call, state=problem.state), expected)


# ---- around the layers: large enough for threads and for several blocks


def linear(kernels, rng, dtype, rows, features, outputs, bias):
    x = rng.standard_normal((rows, features)).astype(dtype)
    weight = rng.standard_normal((outputs, features)).astype(dtype)
    c = rng.standard_normal(outputs).astype(dtype) if bias else None
    d_y = rng.standard_normal((rows, outputs)).astype(dtype)
    d_weight, d_c = np.empty_like(weight), None if c is None else np.empty_like(c)
    found = {
        "y": kernels.linear_forward(x, weight, c),
        "y of rows": kernels.linear_rows(x, weight, c),
        "d_x": kernels.linear_backward(x, weight, d_y, d_weight, d_c, True),
        "d_weight": d_weight,
    }
    y = x @ weight.T + (0 if c is None else c)
    expected = {
        "y": y,
        "y of rows": y,
        "d_x": d_y @ weight,
        "d_weight": d_y.T @ x,
    }
    if bias:
        found["d_bias"], expected["d_bias"] = d_c, d_y.sum(0)
    scale = np.sqrt(np.finfo(dtype).eps * max(rows, features, outputs))
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=0.1 * scale, atol=0.1 * scale)
    return found


def cross_entropy(kernels, rng, dtype, batch, steps, classes):
    logits = rng.standard_normal((batch, steps, classes)).astype(dtype)
    targets = rng.integers(0, classes, (batch, steps))
    weights = rng.integers(0, 3, (batch, steps)).astype(np.float64)
    value, d_logits = kernels.softmax_cross_entropy(logits, targets, weights, 0.1, 7.0)
    return {"value": np.float64(value), "d_logits": d_logits}


def row_losses(kernels, rng, dtype, batch, steps, outputs):
    output = rng.standard_normal((batch, steps, outputs)).astype(dtype)
    targets = rng.dirichlet(np.ones(outputs), (batch, steps)).astype(dtype)
    weights = rng.integers(0, 3, (batch, steps)).astype(np.float64)
    found = {}
    for loss in ("squared_error", "binary_cross_entropy", "cross_entropy"):
        value, gradient, valid = kernels.row_loss(loss, output, targets, weights, 0.1, 7.0)
        assert valid
        found |= {f"{loss} value": np.float64(value), f"{loss} gradient": gradient}
    return found


def attention(kernels, rng, dtype, batch, queries, keys, size, additive):
    def make(*shape):
        return rng.standard_normal(shape).astype(dtype)

    q, k = make(batch, queries, size), make(batch, keys, size)
    values, score = (make(batch, keys, size + 3), make(size)) if additive else (k, None)
    given = q, k, values, score, rng.integers(0, keys + 1, batch)
    contexts, weights = kernels.attention_forward(*given)
    gradients = kernels.attention_backward(*given, weights, contexts)
    named = dict(zip(("d_q", "d_k", "d_values", "d_score"), gradients, strict=True))
    return {"contexts": contexts, "weights": weights} | {
        name: value for name, value in named.items() if value is not None
    }


def normalization(kernels, rng, dtype, rows, features):
    x, d_y = rng.standard_normal((2, rows, features)).astype(dtype)
    weight, bias = rng.standard_normal((2, features)).astype(dtype)
    y, z, scale = kernels.normalize_forward(x, weight, bias, 1e-5)
    d_x, d_weight, d_bias = kernels.normalize_backward(z, weight, scale, d_y, True)
    return {"y": y, "d_x": d_x, "d_weight": d_weight, "d_bias": d_bias}


def optimizers(kernels, rng, dtype, count):
    def make():
        return np.abs(rng.standard_normal(count)).astype(dtype)

    found = {}
    for momentum in (0.0, 0.9):
        p, g, v = make(), make(), make()
        kernels.sgd_step(p, g, v if momentum else None, 0.1, momentum, 0.01, bool(momentum))
        found |= {f"SGD {momentum} p": p, f"SGD {momentum} v": v}
        p, g, s, v = make(), make(), make(), make()
        kernels.rmsprop_step(p, g, s, v if momentum else None, 0.1, 0.9, 1e-8, momentum)
        found |= {f"RMSProp {momentum} {i}": a for i, a in enumerate((p, s, v))}
    p, g, m, v = make(), make(), make(), make()
    v[::7] *= np.finfo(dtype).tiny  # denormal moments are kept, on every thread
    kernels.adam_step(p, g * np.sqrt(v), m, v, 0.1, 0.9, 0.999, 1e-8, 0.01, 3)
    assert np.all(v > 0)
    squares = np.float64(kernels.sum_of_squares(g))
    np.testing.assert_allclose(squares, np.square(g.astype(np.float64)).sum(), rtol=1e-12)
    return found | {"Adam p": p, "Adam m": m, "Adam v": v, "squares": squares}


AROUND = {
    "wide linear": (linear, 400, 150, 530, True),
    "narrow linear": (linear, 700, 131, 33, True),
    "linear without bias": (linear, 163, 300, 1031, False),
    "cross-entropy": (cross_entropy, 5, 30, 2503),
    "losses of rows": (row_losses, 40, 60, 67),
    "attention": (attention, 9, 40, 60, 131, False),
    "additive attention": (attention, 9, 40, 60, 131, True),
    "normalization": (normalization, 3000, 257),
    "optimizers": (optimizers, 700_001),
}


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("dtype", DTYPES, ids=dtype_id)
@pytest.mark.parametrize("case", AROUND.values(), ids=AROUND.keys())
def test_kernels_around_layers_do_not_depend_on_threads(case, dtype):
    compute, *shape = case

    def run(count, engine=ENGINES[0]):
        with threads_of(engine, count):
            return compute(loader.kernels, np.random.default_rng(0), dtype, *shape)

    expected = run(1)
    for count, engine in product(COUNTS[1:], ENGINES):
        assert_same_bits(run(count, engine), expected)


def output(code, **environment):
    """What a new process prints."""
    child = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert child.returncode == 0, child.stderr
    return child.stdout


def started(code, engine):
    """Number of threads of a new process after a call, on a machine with any number of cores."""
    code = f"import numpy as np, bptt, os\n{code}\nprint(len(os.listdir('/proc/self/task')))"
    return int(output(code, BPTT_NUM_THREADS="3", BPTT_THREAD_ENGINE=engine))


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="counts threads as Linux does")
@pytest.mark.parametrize("engine", ENGINES)
def test_only_large_calls_start_threads(engine):
    layer = "layer = bptt.LSTM(8, 256, seed=0)\n"
    alone = started(layer, engine)
    assert started(layer + "layer(np.zeros((1, 50, 8), 'f'))", engine) == alone + 2
    assert started(layer + "layer(np.zeros((16, 50, 8), 'f'))", engine) == alone + 2
    serial = "with bptt.threads(1): layer(np.zeros((16, 50, 8), 'f'))"
    assert started(layer + serial, engine) == alone
    assert started(layer + "layer.step(np.zeros((1, 8), 'f'))", engine) == alone
    assert started("bptt.LSTM(8, 32)(np.zeros((1, 50, 8), 'f'))", engine) == alone


@pytest.mark.skipif(
    not hasattr(os, "sched_setaffinity") or len(os.sched_getaffinity(0)) < 2,
    reason="needs Linux and two cores",
)
def test_pool_runs_on_other_cores_than_the_caller():
    """Where Linux would wake its threads; they run on the other cores of its affinity mask."""
    own = os.sched_getaffinity(0)
    core = min(own)
    try:
        os.sched_setaffinity(0, {core, max(own)})
        os.sched_setaffinity(0, {core})  # moves the caller there at once
        os.sched_setaffinity(0, {core, max(own)})
        layer = bptt.LSTM(64, 256, seed=0)
        x = np.zeros((16, 200, 64), np.float32)
        with threads_of("pool", 2):
            layer(x)
        cores = [os.sched_getaffinity(int(task)) for task in os.listdir("/proc/self/task")]
        assert os.sched_getaffinity(0) == {core, max(own)}
        assert any(len(some) == 1 and some < {core, max(own)} for some in cores)
    finally:
        os.sched_setaffinity(0, own)


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="counts threads as Linux does")
@pytest.mark.parametrize("engine", ENGINES)
def test_calls_use_no_more_threads_than_cores(engine, monkeypatch):
    monkeypatch.setenv("BPTT_OVERSUBSCRIBE", "")
    code = "os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])\n"
    code += "layer = bptt.LSTM(8, 256, seed=0)\n"
    alone = started(code, engine)
    code += "with bptt.threads(8): layer(np.zeros((16, 50, 8), 'f'))\n"
    assert started(code, engine) == alone
    cores = len(os.sched_getaffinity(0))
    assert started(code.partition("\n")[2], engine) == alone + min(cores, 8) - 1


# ---- settings


def test_set_num_threads():
    before = bptt.get_num_threads()
    try:
        bptt.set_num_threads(5)
        assert bptt.get_num_threads() == 5
        with ThreadPoolExecutor(1) as pool:  # in the whole process
            assert pool.submit(bptt.get_num_threads).result() == 5
    finally:
        bptt.set_num_threads(None)
    assert bptt.get_num_threads() == before


def test_threads_context_nests_and_is_per_thread():
    before = bptt.get_num_threads()
    with bptt.threads(7):
        with bptt.threads(np.int64(3)):
            assert bptt.get_num_threads() == 3
        assert bptt.get_num_threads() == 7
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(bptt.get_num_threads).result() == before
        with pytest.raises(ZeroDivisionError), bptt.threads(2):
            raise ZeroDivisionError
        assert bptt.get_num_threads() == 7
    assert bptt.get_num_threads() == before


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, 0),
        ({"BPTT_NUM_THREADS": "3"}, 3),
        ({"BPTT_NUM_THREADS": "3", "OMP_NUM_THREADS": "5"}, 3),
        ({"BPTT_NUM_THREADS": "", "OMP_NUM_THREADS": "5"}, 5),
        ({"OMP_NUM_THREADS": "4,2"}, 4),
        ({"OMP_NUM_THREADS": "many"}, 0),
        ({"OMP_NUM_THREADS": "0"}, 0),
    ],
)
def test_environment_variables_set_the_default(environment, expected):
    assert threads._from_environment(environment) == expected


@pytest.mark.parametrize("value", ["0", "-1", "two", "1.5", "1025"])
def test_invalid_environment_variable(value):
    with pytest.raises(ImportError, match=rf"^BPTT_NUM_THREADS must be .*, got '{value}'$"):
        threads._from_environment({"BPTT_NUM_THREADS": value})


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity here")
def test_default_is_the_number_of_available_cores():
    code = "import os; os.sched_setaffinity(0, [min(os.sched_getaffinity(0))]); import bptt; "
    code += "print(bptt.get_num_threads())"
    names = ("BPTT_NUM_THREADS", "OMP_NUM_THREADS")
    environment = {name: value for name, value in os.environ.items() if name not in names}
    child = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert child.stdout == "1\n"


CGROUP_FILES = [
    ({"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/cpu.max": "150000 100000\n"}, 2),
    (
        {
            "proc/self/cgroup": "0::/a/b\n",
            "sys/fs/cgroup/a/cpu.max": "100000 100000\n",
            "sys/fs/cgroup/a/b/cpu.max": "max 100000\n",
        },
        1,
    ),
    ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "300000 100000\n"}, 3),
    ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "max 100000\n"}, 0),
    (
        {
            "proc/self/cgroup": "3:cpuset:/c\n2:cpu,cpuacct:/c:d\n0::/\n",
            "sys/fs/cgroup/cpu/c:d/cpu.cfs_quota_us": "50000\n",
            "sys/fs/cgroup/cpu/c:d/cpu.cfs_period_us": "100000\n",
        },
        1,
    ),
    (
        {
            "proc/self/cgroup": "2:cpu:/c\n",
            "sys/fs/cgroup/cpu/c/cpu.cfs_quota_us": "-1\n",
            "sys/fs/cgroup/cpu/c/cpu.cfs_period_us": "100000\n",
        },
        0,
    ),
    ({}, 0),
]


@pytest.mark.parametrize(("files", "cores"), CGROUP_FILES)
def test_quota_of_control_groups(files, cores, tmp_path):
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert threads._core_quota(tmp_path) == cores


def test_default_is_at_most_the_quota():
    code = "from bptt._core import loader; loader.kernels.set_core_quota(1)\n"
    code += "import bptt; print(bptt.get_num_threads())"
    assert output(code, BPTT_NUM_THREADS="", OMP_NUM_THREADS="") == "1\n"


# ---- engines


@pytest.mark.parametrize("engine", ENGINES)
def test_environment_variable_sets_the_engine(engine):
    code = "import bptt; from bptt._core.installation import config; "
    code += "print(config()['thread_engine'])"
    assert output(code, BPTT_THREAD_ENGINE=engine) == f"{engine}\n"
    assert output(code, BPTT_THREAD_ENGINE="") == f"{ENGINES[0]}\n"


def test_invalid_engine():
    with pytest.raises(
        ImportError, match=r"^BPTT_THREAD_ENGINE must be one of openmp, pool, got 'tbb'$"
    ):
        threads._engine_from_environment({"BPTT_THREAD_ENGINE": "tbb"}, ["openmp", "pool"])
    sentence = "BPTT_THREAD_ENGINE=openmp asks for an engine that was not built; "
    with pytest.raises(ImportError, match=f"^{sentence}this installation has pool$"):
        threads._engine_from_environment({"BPTT_THREAD_ENGINE": "openmp"}, ["pool"])
    with pytest.raises(ValueError, match=r"thread engine must be .*, got 'tbb'$"):
        loader.kernels.set_thread_engine("tbb")


@needs_openmp
def test_threadpoolctl_sees_and_limits():
    """It finds the OpenMP library, and its limit is that of our calls on the same thread."""
    threadpoolctl = pytest.importorskip("threadpoolctl")
    found = threadpoolctl.threadpool_info()
    library = loader.kernels.config()["openmp"]  # its full version may follow
    assert any(Path(item["filepath"]).name.startswith(library) for item in found)
    layer, x = bptt.LSTM(8, 256, seed=0), np.ones((16, 50, 8), np.float32)
    with bptt.threads(5):
        expected = layer(x)[0]
        for limit in (1, 3):
            with threadpoolctl.threadpool_limits(limit, user_api="openmp"):
                assert bptt.get_num_threads() == min(limit, 5)
                np.testing.assert_array_equal(layer(x)[0], expected)
                with ThreadPoolExecutor(1) as pool:  # this thread alone
                    assert pool.submit(bptt.get_num_threads).result() >= 1
        assert bptt.get_num_threads() == 5


@needs_openmp
@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="counts threads as Linux does")
def test_calls_limited_by_threadpoolctl_start_no_threads():
    pytest.importorskip("threadpoolctl")
    code = "import threadpoolctl\nlayer = bptt.LSTM(8, 256, seed=0)\n"
    alone = started(code, "openmp")
    code += "with threadpoolctl.threadpool_limits(1): layer(np.zeros((16, 50, 8), 'f'))"
    assert started(code, "openmp") == alone


SHARED = """
import sys
import numpy as np
import bptt
layer, x = bptt.LSTM(16, 128, seed=0), np.ones((32, 40, 16), np.float32)
with bptt.threads(1):
    expected = layer(x)[0]
if sys.argv[1] == "torch":
    import torch
    torch.set_num_threads(2)
    a = torch.ones(1200, 1200)
    other, right = lambda: torch.nn.functional.gelu(a).sum().item(), None
else:
    from sklearn.cluster import KMeans
    a = np.random.default_rng(0).random((3000, 8))
    other = lambda: KMeans(3, n_init=1, random_state=0).fit(a).inertia_
value = other()
for _ in range(20):
    assert layer(x)[0].tobytes() == expected.tobytes()
    np.testing.assert_allclose(other(), value, rtol=1e-6)
from bptt._core.installation import config
print(config()["thread_engine"])
"""


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("library", ["torch", "sklearn"])
def test_other_openmp_libraries_in_one_process(library, engine):
    pytest.importorskip(library)
    code = f"import sys; sys.argv = ['', {library!r}]\n{SHARED}"
    found = output(code, BPTT_THREAD_ENGINE=engine, BPTT_NUM_THREADS="2", OMP_NUM_THREADS="2")
    assert found == f"{engine}\n"


# ---- concurrency


def test_every_module_runs_without_the_global_lock():
    """Without the declaration, free-threaded Python would enable its lock at import."""
    sources = Path(__file__).parents[2] / "cpp" / "bindings"
    kernels = (sources / "module.cpp").read_text()
    assert "PYBIND11_MODULE(BPTT_MODULE_NAME, m, py::mod_gil_not_used())" in kernels
    assert "{Py_mod_gil, Py_MOD_GIL_NOT_USED}" in (sources / "cpu.cpp").read_text()
    others = {path.name for path in sources.glob("*.cpp")} - {"module.cpp", "cpu.cpp"}
    starts = ("PYBIND11_MODULE", "PyMODINIT_FUNC")
    assert not [name for name in others if any(s in (sources / name).read_text() for s in starts)]


@pytest.mark.skipif(not sysconfig.get_config_var("Py_GIL_DISABLED"), reason="Python has a lock")
def test_import_does_not_enable_the_global_lock():
    code = "import sys, bptt; bptt.LSTM(2, 3); sys.exit(sys._is_gil_enabled())"
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


@pytest.mark.usefixtures("engine")
def test_concurrent_calls():
    expected = [run(case, np.float32, 1) for case in (ROWS, UNITS)]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(5):
            found = pool.map(lambda i: run((ROWS, UNITS)[i % 2], np.float32, 3), range(8))
            for i, one in enumerate(found):
                assert_same_bits(one, expected[i % 2])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_forks_at_any_moment():
    """Other threads are inside calls; a child has the pool, with threads of its own."""
    command = [sys.executable, "-m", "tests.stress", "forks", "--times", "20"]
    root = Path(__file__).parents[2]
    child = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert child.returncode == 0, child.stdout + child.stderr


@pytest.mark.usefixtures("engine")
def test_results_on_busy_cores():
    """More threads than free cores: the results are the same bits."""
    expected = run(UNITS, np.float32, 1)
    code = "while True: pass"
    others = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(os.cpu_count() or 1)]
    try:
        for _ in range(10):
            assert_same_bits(run(UNITS, np.float32, 8), expected)
    finally:
        for other in others:
            other.kill()
            other.wait()


@pytest.mark.timing
@pytest.mark.skipif(
    not hasattr(os, "sched_setaffinity") or len(os.sched_getaffinity(0)) < 2,
    reason="needs Linux and two cores",
)
@pytest.mark.parametrize("shape", [(1, 100, 256), (16, 100, 64), (32, 100, 256)], ids=str)
@pytest.mark.parametrize("engine", ENGINES)
def test_busy_core_does_not_make_calls_slower_than_one_thread(engine, shape):
    """Calls use fewer threads for a while when one thread would have been faster."""
    code = "import os, sys; os.sched_setaffinity(0, {int(sys.argv[1])})\n"
    code += "print(flush=True)\nwhile True: pass"
    core = str(max(os.sched_getaffinity(0)))
    layer, x = bptt.LSTM(shape[2], shape[2], seed=0), np.ones(shape, np.float32)
    times = {1: [], 2: []}
    before = loader.kernels.thread_engine()
    with subprocess.Popen([sys.executable, "-c", code, core], stdout=subprocess.PIPE) as other:
        other.stdout.readline()  # it is busy from here on
        try:
            loader.kernels.set_thread_engine(engine)
            for _ in range(8):
                for count, found in times.items():
                    with bptt.threads(count):
                        for _ in range(25):
                            start = time.perf_counter()
                            layer(x)
                            found.append(time.perf_counter() - start)
        finally:
            other.kill()
            loader.kernels.set_thread_engine(before)
    assert np.median(times[2]) <= 1.3 * np.median(times[1])
