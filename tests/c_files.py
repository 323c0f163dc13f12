"""C files of networks: layers, and a compiler for them."""

from __future__ import annotations

import copy
import ctypes
import os
import shutil
import subprocess

import numpy as np
import pytest

import bptt
from bptt.exporters import to_c
from cases import trained

COMPILER = shutil.which("cc")
FLAGS = ["-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-Wconversion"]
needs_compiler = pytest.mark.skipif(COMPILER is None, reason="needs a C compiler")


class Compiled:
    """The functions of a C file."""

    def __init__(self, model, folder, name="net", *, compiler=COMPILER, flags=("-O2",), **options):
        self.source = to_c(model, folder / f"{name}.c", **options)
        library = folder / f"{name}.so"
        command = [compiler, *FLAGS, *flags, "-shared", "-fPIC", f"{name}.c", "-o", library, "-lm"]
        environment = {key: value for key, value in os.environ.items() if key != "LD_PRELOAD"}
        subprocess.run(command, cwd=folder, check=True, env=environment)
        self.library, self.name = ctypes.CDLL(str(library)), name

    def state(self):
        state = np.full(self.source.state_bytes // 4, np.nan, np.float32)
        self.call("reset", state)
        return state

    def call(self, function, *arguments):
        pointers = [
            a.ctypes.data_as(ctypes.c_void_p) if isinstance(a, np.ndarray) else int(a)
            for a in arguments
        ]
        getattr(self.library, f"{self.name}_{function}")(*pointers)

    def run(self, x, shape):
        y = np.full(shape, np.nan, np.float32)
        self.call("run", x, len(x), y)
        return y


def close(found, expected):
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=2e-6)


LAYERS = {
    "rnn": bptt.RNN(3, 5, seed=0),
    "rnn-relu": bptt.RNN(3, 5, activation="relu", seed=0),
    "lstm": bptt.LSTM(3, 5, seed=0),
    "lstm-identity": bptt.LSTM(3, 5, activation="identity", gate_activation="hard_sigmoid", seed=0),
    "lstm-keras": bptt.LSTM(
        3, 5, activation="sigmoid", gate_activation="hard_sigmoid_keras2", seed=0
    ),
    "lstm-peephole": bptt.LSTM(3, 5, peephole=True, seed=0),
    "lstm-coupled": bptt.LSTM(3, 5, coupled=True, seed=0),
    "lstm-peephole-coupled": bptt.LSTM(3, 5, peephole=True, coupled=True, seed=0),
    "lstm-projected": bptt.LSTM(3, 5, proj_size=2, num_layers=2, seed=0),
    "lstm-normalized": bptt.LSTM(3, 5, layer_norm=True, seed=0),
    "gru": bptt.GRU(3, 5, seed=0),
    "gru-after": bptt.GRU(3, 5, reset_after=True, seed=0),
    "gru-normalized": bptt.GRU(3, 5, reset_after=True, layer_norm=True, seed=0),
    "mgu": bptt.MGU(3, 5, seed=0),
    "slstm": bptt.SLSTM(3, 6, num_heads=2, seed=0),
    "stacked": bptt.GRU(3, 5, num_layers=3, dropout=0.5, seed=0),
    "zoneout": bptt.LSTM(3, 5, zoneout=0.3, proj_size=2, seed=0),
    "decay": bptt.GRU(3, 5, decay_size=2, num_layers=2, seed=0),
    "decay-after": bptt.GRU(3, 5, decay_size=1, reset_after=True, zoneout=0.2, seed=0),
    "learned": bptt.LSTM(3, 5, num_layers=2, learn_initial_state=True, seed=0),
    "learned-slstm": bptt.SLSTM(3, 4, learn_initial_state=True, seed=0),
    "float64": bptt.GRU(3, 5, dtype=np.float64, seed=0),
}


def trained_layer(name, seed=0):
    """A new layer of LAYERS."""
    return trained(copy.deepcopy(LAYERS[name]), seed)


def run_both(compiled, x, shape):
    work = np.full(1000 * len(x), np.nan, np.float32)
    y = np.full(shape, np.nan, np.float32)
    compiled.call("run", x, len(x), work, y)
    return y
