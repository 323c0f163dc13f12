"""Peak memory of `fit` and `predict` on one thread: that of the formulas in docs/training.md."""

from __future__ import annotations

import json
import sys

import pytest

from child_process import run_code

pytest.importorskip("sklearn")
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

TOLERANCE = 0.25
SAVED = {"rnn": 0, "lstm": 5, "gru": 3}

SCRIPT = """
import json, sys
import numpy as np
import bptt

method, options, (batch, steps, inputs) = json.loads(sys.argv[1])

def resident(peak):
    with open("/proc/self/status") as status:
        fields = dict(line.split(":") for line in status)
    return int(fields["VmHWM" if peak else "VmRSS"].split()[0]) * 1024

X = np.ones((2 * batch, steps, inputs), np.float32)
y = np.arange(len(X)) % 2
model = bptt.SequenceClassifier(batch_size=batch, epochs=1, random_state=0, **options)
model.fit(X[:4, :3], y[:4]).predict(X[:4, :3])  # triggers lazy imports
before = resident(False)
model.fit(X, y) if method == "fit" else model.predict(X)
print(json.dumps([resident(True) - before, sum(m._flat.nbytes for m in model.model_.modules)]))
"""


def formula(method, options, shape, parameters):
    """Bytes of `fit` or `predict`: see docs/training.md."""
    batch, steps, inputs = shape
    layers, size = options["num_layers"], options["hidden_size"]
    directions = 2 if options["bidirectional"] else 1
    stacked = layers > 1
    if method == "predict":
        outputs = 2 if stacked and directions == 2 else 1
        return 4 * 64 * steps * (inputs + outputs * directions * size)
    kept = layers * directions * size * (SAVED[options["cell"]] + 1)
    between = 2 * directions * size * stacked
    return 4 * batch * steps * (inputs + kept + between) + 5 * parameters


@pytest.mark.parametrize("method", ["fit", "predict"])
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("cell", SAVED)
def test_peak_memory(cell, bidirectional, layers, method):
    shape = (32, 600, 16) if method == "fit" else (64, 900, 16)
    options = {"cell": cell, "hidden_size": 128, "num_layers": layers}
    options["bidirectional"] = bidirectional
    child = run_code(SCRIPT, json.dumps([method, options, shape]), BPTT_NUM_THREADS="1")
    assert child.returncode == 0, child.stderr
    grown, parameters = json.loads(child.stdout)
    expected = formula(method, options, shape, parameters)
    assert grown == pytest.approx(expected, rel=TOLERANCE), (grown >> 20, expected >> 20)
