"""Peak memory of calls, relative to the memory that they must save or return."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

MOST = 1.2  # times the unavoidable: input, output, saved gates and cells, gradients

# Prints the growth of the peak resident memory since the input was made, and its unavoidable part.
SCRIPT = """
import ctypes, json, sys
import numpy as np
import bptt

PR_SET_THP_DISABLE = 41  # a huge page that the kernel merges meanwhile would count with 2 MB
ctypes.CDLL(None).prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0)

cell, options, (steps, batch, inputs, hidden), training, every = json.loads(sys.argv[1])

def resident(peak):
    with open("/proc/self/status") as status:
        fields = dict(line.split(":") for line in status)
    return int(fields["VmHWM" if peak else "VmRSS"].split()[0]) * 1024

make = lambda size: np.ones((batch, steps, size), np.float32)
layer = getattr(bptt, cell)(inputs, hidden, seed=0, **options)
small = layer.forward(np.ones((batch, 2, inputs), np.float32))
small.backward(np.ones_like(small.output))  # packs the weights, and triggers lazy imports
x, d_output = make(inputs), make(layer.output_size)
before = resident(False)
if training:
    run = layer.forward(x, recompute_every=every)
    gradients = run.backward(d_output)
    directions = 2 if layer.bidirectional else 1
    saved = {"RNN": 0, "LSTM": 5, "GRU": 3}[cell] * layer.num_layers * directions
    output = run.output.nbytes * layer.num_layers
    weights = sum(p.nbytes for p in layer.parameters.values())
    between = run.output.nbytes * (layer.num_layers > 1)  # gradient of a layer's input
    kept = batch * (every or steps) * hidden * saved * 4
    if every:  # the output of one segment, and the initial states of all
        kept += batch * hidden * 4 * (every + 2 * steps // every)
    needed = output + kept + x.nbytes + between + weights
    given = x.nbytes + d_output.nbytes
else:
    output, state = layer(x)
    needed, given = output.nbytes, x.nbytes
print(json.dumps([resident(True) - before, needed, given]))
"""


def measure(*case: object, every: int | None = None) -> tuple[int, int, int]:
    """Return the growth of memory, its unavoidable part, and the size of the input."""
    command = [sys.executable, "-c", SCRIPT, json.dumps([*case, every])]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    grown, needed, given = json.loads(done.stdout)
    return grown, needed, given


@pytest.mark.parametrize(
    ("cell", "options"),
    [
        ("RNN", {}),
        ("LSTM", {}),
        ("GRU", {}),
        ("LSTM", {"bidirectional": True}),
        ("LSTM", {"num_layers": 2}),
        ("GRU", {"num_layers": 2, "bidirectional": True}),
    ],
    ids=str,
)
def test_peak_memory_of_training(cell, options):
    grown, needed, given = measure(cell, options, (600, 32, 64, 128), True)
    assert grown + given <= MOST * (needed + given)


@pytest.mark.parametrize("layers", [1, 3])
def test_peak_memory_of_inference_is_that_of_its_output(layers):
    more = []
    for steps in (600, 2400):
        grown, needed, _ = measure("LSTM", {"num_layers": layers}, (steps, 32, 64, 128), False)
        more.append(grown - needed)
    assert more[1] - more[0] <= 1 << 20


@pytest.mark.parametrize("every", [70, 140, 1000])
@pytest.mark.parametrize("steps", [5000, 20000])
def test_peak_memory_of_activation_checkpointing(steps, every):
    """Without recomputation it would be 10 kB per step: 50 or 200 MB."""
    grown, needed, _ = measure("LSTM", {}, (steps, 8, 64, 64), True, every=every)
    segment = 8 * 64 * 6 * 4 * every
    assert grown <= needed + segment + (2 << 20)
