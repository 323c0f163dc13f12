"""Every allocation of the C++ core fails once: MemoryError, no leak, the layer still usable."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from child_process import check_done, compile_library, run_code

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="injects faults as Linux allows")

# Allocations by the kernels themselves, of which the one with the number `fault_at` fails.
SHIM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <malloc.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

int fault_at = 0, fault_calls = 0;

static int fails(void *caller) {
  Dl_info info;
  if (fault_at == 0) return 0;
  if (dladdr(caller, &info) == 0 || strstr(info.dli_fname, "_kernels_") == NULL) return 0;
  return __atomic_add_fetch(&fault_calls, 1, __ATOMIC_SEQ_CST) == fault_at;
}
#define FAILS fails(__builtin_return_address(0))
#define IMPOSSIBLE ((size_t)PTRDIFF_MAX / 2)

size_t bytes_in_use(void) {
  struct mallinfo2 info = mallinfo2();
  return info.uordblks + info.hblkhd;
}
int posix_memalign(void **memory, size_t alignment, size_t size) {
  int (*next)(void **, size_t, size_t) = dlsym(RTLD_NEXT, "posix_memalign");
  return FAILS ? ENOMEM : next(memory, alignment, size);
}
void *malloc(size_t size) {
  extern void *__libc_malloc(size_t);
  return FAILS ? NULL : __libc_malloc(size);
}
void *_Znwm(size_t size) {  /* operator new */
  void *(*next)(size_t) = dlsym(RTLD_NEXT, "_Znwm");
  return next(FAILS ? IMPOSSIBLE : size);
}
void *_Znam(size_t size) {  /* operator new[] */
  void *(*next)(size_t) = dlsym(RTLD_NEXT, "_Znam");
  return next(FAILS ? IMPOSSIBLE : size);
}
void *_ZnwmSt11align_val_t(size_t size, size_t alignment) {
  void *(*next)(size_t, size_t) = dlsym(RTLD_NEXT, "_ZnwmSt11align_val_t");
  return next(FAILS ? IMPOSSIBLE : size, alignment);
}
void *_ZnamSt11align_val_t(size_t size, size_t alignment) {
  void *(*next)(size_t, size_t) = dlsym(RTLD_NEXT, "_ZnamSt11align_val_t");
  return next(FAILS ? IMPOSSIBLE : size, alignment);
}
"""

CHILD = """
import ctypes, sys, threading
import numpy as np
import bptt

shim = ctypes.CDLL(None)
at, calls = (ctypes.c_int.in_dll(shim, "fault_" + name) for name in ("at", "calls"))
shim.bytes_in_use.restype = ctypes.c_size_t
random = np.random.default_rng(0)
x = random.standard_normal((24, 60, 32)).astype(np.float32)
lengths = random.integers(1, 61, 24)
ids = random.integers(0, 32, (24, 60))
kind = sys.argv[1]

def make():
    if kind == "GRU":
        return bptt.GRU(32, 64, num_layers=2, bidirectional=True, merge="sum", seed=0)
    return bptt.LSTM(32, 64, num_layers=2, dropout=0.5, seed=0)

def train(layer, x, **options):
    layer._random = np.random.default_rng(0)
    run = layer.forward(x, **options)
    found = run.backward(np.ones_like(run.output), steps=True)
    return run.output.tobytes(), found._flat.tobytes()

layer = make()
linear, embedding = bptt.Linear(32, 700, seed=0), bptt.Embedding(32, 16, seed=0)

def pack():
    layer["bias_l0"] = layer["bias_l0"].copy()
    return layer(x[:1, :2])[0].tobytes()

def output_layer():
    run = linear.forward(x)
    return run.output.tobytes(), run.backward(np.ones_like(run.output))._flat.tobytes()

def embed():
    run = embedding.forward(ids, lengths=lengths)
    return run.output.tobytes(), bytes(run.backward(np.ones_like(run.output))["weight"])

def loss():
    found = bptt.softmax_cross_entropy(x, ids, lengths=lengths)
    return found.value, found.gradient.tobytes()

def gates():
    run = layer.forward(x)
    return len(run.gates(1))

work = {
    "infer": lambda: layer(x, lengths=lengths)[0].tobytes(),
    "ids": lambda: layer(ids)[0].tobytes(),
    "train": lambda: train(layer, x, lengths=lengths),
    "pack": pack,
    "gates": gates,
    "linear": output_layer,
    "embedding": embed,
    "loss": loss,
}
if kind == "LSTM":
    work["recompute"] = lambda: train(layer, x, recompute_every=10)
    work["step"] = lambda: layer.step(x[:, 0])[0].tobytes()

def in_new_thread(call):
    \"\"\"The arena of a thread is empty at first.\"\"\"
    found = []

    def run():
        try:
            found.append(call())
        except MemoryError:
            found.append(MemoryError)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return found[0]

def every_allocation_fails(call, expected):
    count = failures = 0
    for number in range(1, 10_000):
        calls.value, at.value = 0, number
        found = in_new_thread(call)
        count, at.value = calls.value, 0
        assert found is MemoryError or found == expected, number
        failures += found is MemoryError
        if count < number:
            return count, failures
        if number % 10 == 1:
            assert call() == expected, number

with bptt.threads(int(sys.argv[2])):
    for name, call in work.items():
        expected = call()
        count, failures = every_allocation_fails(call, expected)
        grown = []
        for _ in range(4):  # large blocks are kept for reuse, up to a limit
            before = shim.bytes_in_use()
            every_allocation_fails(call, expected)
            grown.append(shim.bytes_in_use() - before)
        assert min(grown) < 10_000, (name, grown)
        print(f"{name}: {failures} of {count} allocations", file=sys.stderr)
        assert failures > 0, name
print("done")
"""


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compile SHIM to a library that can be preloaded."""
    return compile_library(SHIM, tmp_path_factory.mktemp("shim"), "-Wl,--no-as-needed", "-lstdc++")


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_every_allocation_fails_once(kind, threads, shim):
    check_done(run_code(CHILD, kind, threads, timeout=300, LD_PRELOAD=str(shim)))
