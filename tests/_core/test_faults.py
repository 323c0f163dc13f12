"""Faults of the system: threads that do not start, memory that runs out, exit in a call."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from bptt._core import loader
from child_process import check_done, compile_library, run_code

ENGINES = loader.kernels.thread_engines()
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="injects faults as Linux allows")

# pthread_create that allows so many threads at a time, and any number if that is negative.
SHIM = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

int allowed_threads = -1;

typedef void *(*body)(void *);
typedef int (*create)(pthread_t *, const pthread_attr_t *, body, void *);

struct task {
  body function;
  void *argument;
};

static int running;

static void *run(void *argument) {
  struct task task = *(struct task *)argument;
  free(argument);
  void *result = task.function(task.argument);
  __atomic_sub_fetch(&running, 1, __ATOMIC_SEQ_CST);
  return result;
}

int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, body function,
                   void *argument) {
  if (__atomic_add_fetch(&running, 1, __ATOMIC_SEQ_CST) > allowed_threads && allowed_threads >= 0) {
    __atomic_sub_fetch(&running, 1, __ATOMIC_SEQ_CST);
    return EAGAIN;
  }
  struct task *task = malloc(sizeof *task);
  task->function = function;
  task->argument = argument;
  create next = (create)dlsym(RTLD_NEXT, "pthread_create");
  return next(thread, attributes, run, task);
}
"""

THREADS = """
import ctypes, os, signal
import numpy as np
import bptt
from bptt._core.loader import kernels

allowed = ctypes.c_int.in_dll(ctypes.CDLL(None), "allowed_threads")
layer = bptt.LSTM(8, 256, seed=0)
x = np.random.default_rng(0).standard_normal((16, 50, 8)).astype(np.float32)
wide = bptt.LSTM(8, 700, seed=0)  # large enough for a step on several threads
x_t = x[:8, 0].copy()
with bptt.threads(1):
    expected, expected_step = layer(x)[0], wide.step(x_t)[0]

def check(started):
    for _ in range(3):
        kernels.set_thread_engine(kernels.thread_engine())  # forgets busy cores
        output, step = layer(x)[0], wide.step(x_t)[0]
        assert output.tobytes() == expected.tobytes()
        assert step.tobytes() == expected_step.tobytes()
        assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == set()
    assert len(os.listdir("/proc/self/task")) == alone + started
    assert kernels.thread_engine() == "pool"

alone = len(os.listdir("/proc/self/task"))
allowed.value = 0
check(0)
for allowed.value, started in ((1, 1), (-1, 3)):
    kernels.set_thread_engine("pool")  # forgets that cores were busy
    check(started)
print("done")
"""

MEMORY = """
import resource, sys, threading
import numpy as np
import bptt

def mapped():
    with open("/proc/self/statm") as pages:
        return int(pages.read().split()[0]) * resource.getpagesize()

kind, options, batch, hidden = getattr(bptt, sys.argv[1]), eval(sys.argv[2]), 64, 96
layer = kind(16, hidden, seed=0, **options)
x = np.random.default_rng(0).standard_normal((batch, 40, 16)).astype(np.float32)

def train(x):
    run = layer.forward(x)
    gradients = run.backward(np.ones_like(run.output), input=True)
    return run.output, gradients.input, gradients["weight_hh_l0"]

linear = bptt.Linear(300, 700, seed=0)
rows, d_rows = np.ones((500, 300), np.float32), np.ones((500, 700), np.float32)
linear_run = linear.forward(rows)
calls = [lambda: train(x), lambda: layer(x), lambda: linear(rows)]
calls.append(lambda: linear_run.backward(d_rows, input=True))
if not layer.bidirectional:
    calls.append(lambda: layer.step(x[:, 0]))
train(x[:2, :2])
failures = []

def limited(growth):
    resource.setrlimit(resource.RLIMIT_AS, (mapped() + growth, resource.RLIM_INFINITY))
    for call in calls:
        try:
            call()
        except MemoryError:
            failures.append(growth)
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

for growth in range(0, 24 << 20, 1 << 18):  # each in a thread of its own, whose arena is empty
    thread = threading.Thread(target=limited, args=(growth,))
    thread.start()
    thread.join()
assert failures
expected = kind(16, hidden, seed=0, **options)(x)[0]
for _ in range(2):
    assert train(x)[0].tobytes() == expected.tobytes()
print("done")
"""


# The growth of memory that is allowed is given, in MB.
TRAINING = """
import resource, sys
import numpy as np
import bptt

layer = bptt.GRU(64, 128, num_layers=2, seed=0)
x = np.random.default_rng(0).standard_normal((64, 200, 64)).astype(np.float32)

def train(x):
    run = layer.forward(x)
    return run.backward(np.ones_like(run.output))._flat.tobytes()

def limit(growth):
    with open("/proc/self/statm") as pages:
        used = int(pages.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + growth, resource.RLIM_INFINITY))

train(x[:2, :3])
failures = 0
for growth in range(0, 27 * 6, 6):
    limit(growth << 20)
    try:
        train(x)
    except MemoryError:
        failures += 1
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
assert failures
assert train(x) == train(x)
print("done")
"""

# A daemon thread is inside a kernel when the interpreter ends.
EXIT = """
import sys, threading
import numpy as np
import bptt

random = np.random.default_rng(0)
x = random.standard_normal((32, 200, 64)).astype(np.float32)
layer = bptt.GRU(64, 128, num_layers=2, seed=0)
wide = bptt.LSTM(8, 400, seed=0)
linear, embedding = bptt.Linear(512, 512, seed=0), bptt.Embedding(1000, 256, seed=0)
rows, ids = np.ones((4000, 512), np.float32), np.zeros((256, 400), np.int64)
logits, targets = np.ones((64, 100, 500), np.float32), np.zeros((64, 100), np.int64)
large = bptt.Linear(1000, 1000, seed=0)
run, linear_run, embedding_run = layer.forward(x), linear.forward(rows), embedding.forward(ids)

def pack():
    wide["bias_l0"] = wide["bias_l0"].copy()
    wide(x[:1, :1, :8])

sgd = bptt.SGD(large, learning_rate=0.1, momentum=0.9)
flat = np.ones((1, 1000), np.float32)
gradients = large.forward(flat).backward(flat)
calls = {
    "infer": lambda: layer(x),
    "forward": lambda: layer.forward(x),
    "backward": lambda: run.backward(np.ones_like(run.output), retain=True),
    "gates": lambda: run.gates(),
    "step": lambda: wide.step(x[:, 0, :8]),
    "pack": pack,
    "linear": lambda: linear(rows),
    "linear backward": lambda: linear_run.backward(linear_run.output),
    "embedding": lambda: embedding(ids),
    "embedding backward": lambda: embedding_run.backward(embedding_run.output),
    "loss": lambda: bptt.softmax_cross_entropy(logits, targets),
    "dropout": lambda: bptt.Dropout(0.5, seed=0).forward(rows),
    "optimizer": lambda: sgd.step(gradients),
}
entered = threading.Event()

def repeat(call):
    while True:
        call()
        entered.set()

for _ in range(2):
    threading.Thread(target=repeat, args=(calls[sys.argv[1]],), daemon=True).start()
entered.wait()
print("done")
"""
KERNELS = (
    *("infer", "forward", "backward", "gates", "step", "pack", "linear", "linear backward"),
    *("embedding", "embedding backward", "loss", "dropout", "optimizer"),
)


def run(code: str, *arguments: str, **environment: str) -> None:
    """Run code in a new process, which prints "done" at its end."""
    check_done(run_code(code, *arguments, **environment))


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compile SHIM to a library that can be preloaded."""
    return compile_library(SHIM, tmp_path_factory.mktemp("shim"))


@pytest.mark.parametrize("engine", ENGINES)
def test_calls_use_the_threads_that_the_system_starts(engine, shim):
    """Refused threads change neither results nor the signal mask, and are asked for again.

    OpenMP would end the process: the pool takes over before it asks for them.
    """
    run(THREADS, LD_PRELOAD=str(shim), BPTT_NUM_THREADS="4", BPTT_THREAD_ENGINE=engine)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("cell", "options"), [("LSTM", {}), ("GRU", {"bidirectional": True, "num_layers": 2})]
)
def test_out_of_memory_is_an_exception(cell, options, engine):
    # Large blocks come from the system, not from what malloc has kept.
    run(
        MEMORY,
        cell,
        repr(options),
        BPTT_NUM_THREADS="2",
        BPTT_THREAD_ENGINE=engine,
        MALLOC_ARENA_MAX="1",
        MALLOC_MMAP_THRESHOLD_="65536",
    )


def test_out_of_memory_in_training_of_stacked_layers():
    run(TRAINING, BPTT_NUM_THREADS="2")


def test_bindings_release_the_gil_in_one_way():
    """Others unwind through destructors when a daemon thread is inside at exit."""
    folder = Path(__file__).parents[2] / "cpp" / "bindings"
    if not folder.is_dir():
        pytest.skip("needs the sources")
    others = [path.name for path in folder.iterdir() if "gil_scoped_release" in path.read_text()]
    assert others == []


@pytest.mark.parametrize("kernel", KERNELS)
def test_exit_while_a_daemon_thread_is_in_a_kernel(kernel):
    """Every binding that releases the GIL: the thread never runs on without it."""
    # What a daemon thread holds is never freed: no leak, for a test under AddressSanitizer.
    options = os.environ.get("ASAN_OPTIONS", "") + ":detect_leaks=0"
    run(EXIT, kernel, ASAN_OPTIONS=options)
