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
#include <stdlib.h>
#include <string.h>

int fault_at = 0, fault_calls = 0;

static int fails(void *caller) {
  Dl_info info;
  if (fault_at == 0) return 0;
  const char *others = getenv("BPTT_FAULTS_IN");
  if (dladdr(caller, &info) == 0) return 0;
  if (strstr(info.dli_fname, "_kernels_") == NULL &&
      (others == NULL || strstr(info.dli_fname, others) == NULL)) return 0;
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
void *calloc(size_t count, size_t size) {
  extern void *__libc_calloc(size_t, size_t);
  return FAILS ? NULL : __libc_calloc(count, size);
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
import ctypes, os, sys, threading
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
    while os.path.exists(f"/proc/self/task/{thread.native_id}"):  # until its arena is freed
        pass
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
        # Large blocks are kept for reuse, up to a limit: some rounds need more memory.
        grown = []
        while min(grown, default=10_000) >= 10_000:
            assert len(grown) < 4, (name, grown)
            before = shim.bytes_in_use()
            every_allocation_fails(call, expected)
            grown.append(shim.bytes_in_use() - before)
        print(f"{name}: {failures} of {count} allocations", file=sys.stderr)
        assert failures > 0, name
print("done")
"""


# The functions of the bindings as they are, in turn. No result is unpacked into a tuple: Python
# 3.11 loses the result when it has no memory for that.
KERNELS = """
import ctypes, sys
import numpy as np
from bptt._core.loader import kernels
from bptt.nn.state import LSTMState

shim = ctypes.CDLL(None)
at, calls = (ctypes.c_int.in_dll(shim, "fault_" + name) for name in ("at", "calls"))
shim.bytes_in_use.restype = ctypes.c_size_t
random = np.random.default_rng(0)
dtype = np.dtype(sys.argv[1])

def normal(*shape):
    return random.standard_normal(shape).astype(dtype)

config = dict(cell="lstm", activation="tanh", gate_activation="sigmoid", input_size=12,
              hidden_size=40, proj_size=23, decay_size=0, num_heads=1, num_layers=2,
              bidirectional=False, merge="concat", dropout=0.5, zoneout=0.1,
              recurrent_dropout=0.2, time_major=False)
assert config["cell"] in kernels.cell_table(), list(kernels.cell_table())
x, lengths = normal(16, 40, 12), random.integers(1, 41, 16)
parameters = normal(kernels.parameter_count(config))
network = kernels.pack(config, parameters, True)
y, state, saved = kernels.forward(network, x, lengths, None, 7, 0)
decays = dict(config, cell="gru", proj_size=0, decay_size=5)
decaying = kernels.pack(decays, normal(kernels.parameter_count(decays)), True)
factors = normal(16, 40, 40)
h, _, kept = kernels.forward(decaying, x, lengths, None, 7, 0, factors)
ids, weight = random.integers(0, 300, (16, 40)), normal(300, 12)
rows, many, bias = normal(640, 12), normal(700, 12), normal(300)
targets, soft = ids, np.full((16, 40, 12), 1 / 12, dtype)
query, keys, score = normal(16, 9, 12), x, normal(12)
contexts, attended = kernels.attention_forward(query, keys, keys, None, lengths)
_, added = kernels.attention_forward(query, keys, keys, score, lengths)
normalized, z, scales = kernels.normalize_forward(rows, score, score, 1e-5)
some = np.arange(0, 300, 7, dtype=np.int32)
flat, gradient = normal(300 * 12), normal(some.size * 12)
strided = normal(16, 40, 24)[:, :, ::2]

small, narrow_rows = (a.astype(np.float32) for a in (weight, rows))  # compressed is float32 alone
compressed = kernels.linear_compress(small, "bfloat16", None)
ones_of_small = np.ones(300, np.float32)

few, labels = ids % 12, ids[:, :5] % 11 + 1  # NumPy may fail by itself without memory
d_logits, ones = np.ones((640, 300), dtype), np.ones(700, dtype)

zeros = np.zeros_like(flat)  # not below: CPython 3.10 fails in it by itself without memory

def moments():
    return flat.copy(), zeros.copy(), zeros.copy()

def sgd():
    p, v, _ = moments()
    kernels.sgd_step(p, gradient, v, 0.1, 0.9, 0.01, True, some, 0.5)
    return p, v

def rmsprop():
    p, s, v = moments()
    kernels.rmsprop_step(p, gradient, s, v, 0.1, 0.9, 1e-8, 0.9, some)
    return p, s, v

def adam():
    p, m, v = moments()
    kernels.adam_step(p, gradient, m, v, 0.1, 0.9, 0.99, 1e-8, 0.0, 1, some, 0.5, True)
    return p, m, v

def linear_backward():
    d_weight, d_bias = np.empty_like(weight), np.empty_like(bias)
    d_x = kernels.linear_backward(rows, weight, d_logits, d_weight, d_bias, True)
    return d_x, d_weight, d_bias

def cross_entropy(weight, x=x):
    d_weight, d_bias = np.empty_like(weight), np.empty(len(weight), dtype)
    found = kernels.linear_cross_entropy(x, weight, ones[: len(weight)], targets, None, 0.1, 9.0,
                                         d_weight, d_bias)
    return found, d_weight, d_bias

pairs = normal(12, 12)

def crf_loss():
    d = np.empty_like(pairs), np.empty_like(score), np.empty_like(score)
    found = kernels.crf_loss(x, pairs, score, score, lengths, few, None, None, 9.0, *d)
    return found, d

def clip(name, factor):
    a = flat.copy()
    getattr(kernels, name)(a, factor)
    return a

def pack(training):
    return kernels.infer(kernels.pack(config, parameters, training), x[:1, :1], None, None)

work = {
    "pack": lambda: pack(False),
    "pack training": lambda: pack(True),
    "infer": lambda: kernels.infer(network, x, lengths, state),
    "infer list": lambda: kernels.infer(network, x, lengths.tolist(), state),
    "infer strided": lambda: kernels.infer(network, strided, None, None),
    "infer ids": lambda: kernels.infer(network, few, lengths, None),
    "forward": lambda: kernels.forward(network, x, lengths, state, 7, 0)[:2],
    "forward recompute": lambda: kernels.forward(network, x, lengths, state, 7, 8)[:2],
    "backward": lambda: kernels.backward(network, saved, x, y, y, state, True, True),
    "infer decay": lambda: kernels.infer(decaying, x, lengths, None, factors),
    "forward decay": lambda: kernels.forward(decaying, x, lengths, None, 7, 8, factors)[:2],
    "backward decay": lambda: kernels.backward(
        decaying, kept, x, h, h, None, True, False, factors),
    "step": lambda: kernels.step(network, x[:, 0], None, None, LSTMState),
    "step dense": lambda: kernels.step(network, x[:, 0].copy(), state, None, LSTMState),
    "gates": lambda: kernels.gates(network, saved, x, 0, False),
    "gates decay": lambda: kernels.gates(decaying, kept, x, 0, False, factors),
    "cells": lambda: kernels.cells(network, saved, x, 1, False),
    "dropout_mask": lambda: kernels.dropout_mask(network, saved, 0),
    "recurrent_dropout_mask": lambda: kernels.recurrent_dropout_mask(network, saved, 0, False),
    "zoneout_mask": lambda: kernels.zoneout_mask(network, saved, 0, False),
    "embedding_forward": lambda: kernels.embedding_forward(weight, ids, lengths),
    "embedding_backward": lambda: kernels.embedding_backward(ids, lengths, x, 300),
    "dropout": lambda: kernels.dropout(x, 0.5, 3),
    "new_array": lambda: kernels.new_array(1 << 20, dtype).shape,
    "linear_forward": lambda: kernels.linear_forward(rows, weight, bias),
    "linear_rows": lambda: kernels.linear_rows(rows, weight, bias),
    "linear_backward": linear_backward,
    "linear_compress": lambda: kernels.linear_compressed_forward(
        kernels.linear_compress(small, "int8", ones_of_small), narrow_rows, None),
    "linear_compressed_forward": lambda: kernels.linear_compressed_forward(
        compressed, narrow_rows, ones_of_small),
    "softmax_cross_entropy": lambda: kernels.softmax_cross_entropy(x, few, None, 0.1, 9.0),
    "softmax_cross_entropy strided": lambda: kernels.softmax_cross_entropy(
        strided, few, None, 0.1, 9.0),
    "linear_cross_entropy": lambda: cross_entropy(weight),
    "linear_cross_entropy many": lambda: cross_entropy(many),
    "linear_cross_entropy strided": lambda: cross_entropy(weight, strided),
    **{f"row_loss {loss}": lambda loss=loss: kernels.row_loss(loss, x, soft, None, 0.0, 9.0)
       for loss in ("squared_error", "binary_cross_entropy", "cross_entropy")},
    "attention_forward": lambda: kernels.attention_forward(query, keys, keys, None, lengths),
    "attention_forward additive": lambda: kernels.attention_forward(
        query, keys, keys, score, lengths),
    "attention_backward": lambda: kernels.attention_backward(
        query, keys, keys, None, lengths, attended, contexts)[::2],
    "attention_backward additive": lambda: kernels.attention_backward(
        query, keys, keys, score, lengths, added, contexts),
    "normalize_forward": lambda: kernels.normalize_forward(rows, score, score, 1e-5),
    "normalize_backward": lambda: kernels.normalize_backward(z, score, scales, rows, True),
    "sgd_step": sgd,
    "rmsprop_step": rmsprop,
    "adam_step": adam,
    "sum_of_squares": lambda: kernels.sum_of_squares(gradient, some, flat.size),
    "clip": lambda: clip("clip", 0.5),
    "scale": lambda: clip("scale", 0.5),
    "activate": lambda: kernels.activate("tanh", x),
    "pad": lambda: kernels.pad(rows, np.arange(16), lengths, np.arange(9)),
    "crf_loss": crf_loss,
    "ctc_loss": lambda: kernels.ctc_loss(
        x, labels, lengths, None, 0, True, None, 9.0),
    "crf_marginals": lambda: kernels.crf_marginals(x, pairs, score, score, lengths),
    "crf_viterbi": lambda: kernels.crf_viterbi(x, pairs, score, score, lengths),
}
settings = {"Stepper", "config", "thread_limit", "thread_engines", "thread_engine",
            "flushes_denormals", "cell_table", "parameter_count"}
exported = {name for name in dir(kernels) if not name.startswith(("_", "set_"))} - settings
work = {name: call for name, call in work.items() if name.split()[0] in exported}
assert exported == {name.split()[0] for name in work}, exported - {name.split()[0] for name in work}

def content(value):
    if isinstance(value, np.ndarray):
        return value.shape, value.tobytes()
    if isinstance(value, tuple):
        return tuple(map(content, value))
    return value

class OfMalloc:
    \"\"\"Allocations of the core, of the bindings, and of NumPy for arrays.\"\"\"

    def fail(self, number):
        calls.value, at.value = 0, number

    def stop(self):
        at.value = 0
        return calls.value

class OfPython:
    \"\"\"Allocations of Python's objects.\"\"\"

    def fail(self, number):
        self.most = number <= 60  # no call has more, and there is no count of them
        _testcapi.set_nomemory(number, number + 1)

    def stop(self):
        _testcapi.remove_mem_hooks()
        return 10_000 if self.most else 60

if sys.argv[2] == "Python":
    import _testcapi
allocations = OfPython() if sys.argv[2] == "Python" else OfMalloc()

def attempt(call, number):
    allocations.fail(number)
    try:
        value = call()
    except MemoryError:
        return MemoryError, allocations.stop()
    finally:
        count = allocations.stop()
    return content(value), count

def every_allocation_fails(call, expected):
    failures = 0
    for number in range(1, 10_000):
        found, count = attempt(call, number)
        assert found is MemoryError or found == expected, number
        failures += found is MemoryError
        if count < number:
            return count, failures

for name, call in work.items():
    expected = content(call())
    count, failures = every_allocation_fails(call, expected)
    print(f"{name}: {failures} of {count} allocations", file=sys.stderr)
    # Large blocks are kept for reuse, up to a limit: some rounds need more memory.
    grown = []
    while min(grown, default=10_000) >= 10_000:
        assert len(grown) < 4, (name, grown)
        before = shim.bytes_in_use()
        every_allocation_fails(call, expected)
        grown.append(shim.bytes_in_use() - before)
    assert content(call()) == expected
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


@pytest.mark.parametrize("allocations", ["malloc", "Python"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_allocation_of_every_kernel_fails_once(dtype, allocations, shim):
    if allocations == "Python":
        pytest.importorskip("_testcapi", reason="needs the hooks of Python's own tests")
    child = run_code(
        KERNELS, dtype, allocations, timeout=300, LD_PRELOAD=str(shim), BPTT_FAULTS_IN="_multiarray"
    )
    check_done(child)
