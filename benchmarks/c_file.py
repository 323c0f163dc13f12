"""Microseconds of a step: the C file of a layer, `step` from Python, and RTNeural.

`--rtneural DIR` names a checkout of RTNeural, whose layer of the same size, known at compile time,
computes with Eigen. C and C++ compute a sequence in one call, Python calls every step; all sides
are called in turns on one thread.
"""

from __future__ import annotations

import argparse
import ctypes
import statistics
import subprocess
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

import bptt
from bptt._core.interleaved_timing import interleave, seconds_per_call
from bptt.exporters import to_c

STEPS = 200
SIZES = {"GRU": ((40, 24), (16, 32), (64, 64)), "LSTM": ((8, 16), (16, 32), (64, 64), (128, 128))}
RTNEURAL = """
#include <RTNeural/RTNeural.h>
using Layer = RTNeural::{cell}LayerT<float, {inputs}, {units}>;
static Layer layer{{}};
extern "C" void prepare() {{
  using Row = std::vector<float>;
  auto fill = [](int rows, int columns) {{
    std::vector<Row> values(rows, Row(columns));
    for (auto& row : values)
      for (auto& value : row) value = 0.1f * (float(rand()) / RAND_MAX - 0.5f);
    return values;
  }};
  layer.setWVals(fill({inputs}, {gates} * {units}));
  layer.setUVals(fill({units}, {gates} * {units}));
  {bias}
  layer.reset();
}}
extern "C" void run(const float* x, long steps, float* y) {{
  Eigen::Matrix<float, {inputs}, 1> input;
  for (long t = 0; t < steps; ++t) {{
    input = Eigen::Map<const Eigen::Matrix<float, {inputs}, 1>>(x + t * {inputs});
    layer.forward(input);
    Eigen::Map<Eigen::Matrix<float, {units}, 1>>(y + t * {units}) = layer.outs;
  }}
}}
"""
# Weights are members: Eigen has a limit for those of 128 units, and alignment is a warning.
RTNEURAL_OPTIONS = (
    "-DRTNEURAL_USE_EIGEN=1 -DRTNEURAL_DEFAULT_ALIGNMENT=32 -DEIGEN_STACK_ALLOCATION_LIMIT=0"
)
BIAS = {
    "LSTM": "auto bias = fill(1, 4 * {units})[0]; layer.setBVals(bias);",
    "GRU": "auto bias = fill(2, 3 * {units}); layer.setBVals(bias);",
}


def machine() -> str:
    """Return the compiler's options for the instruction set in use."""
    narrower = {"base": "", "v3": "-mavx2 -mfma -mbmi -mbmi2"}
    return narrower.get(str(bptt.config()["isa"]), "-march=native")


def c_file(layer: bptt.RNN | bptt.LSTM | bptt.GRU, folder: Path) -> Callable[..., object]:
    """Return the function of the layer's C file that computes a sequence."""
    to_c(layer, folder / "net.c")
    flags = f"-std=c99 -O3 {machine()} -shared -fPIC"
    subprocess.run(f"cc {flags} net.c -o net.so -lm".split(), cwd=folder, check=True)
    run: Callable[..., object] = ctypes.CDLL(str(folder / "net.so")).net_run
    return run


def rtneural(cell: str, inputs: int, units: int, folder: Path, root: Path) -> Callable[..., object]:
    """Return the same of RTNeural, compiled as its own benchmark is, with fast mathematics."""
    gates = {"LSTM": 4, "GRU": 3}[cell]
    bias = BIAS[cell].format(units=units)
    source = RTNEURAL.format(cell=cell, inputs=inputs, units=units, gates=gates, bias=bias)
    (folder / "layer.cpp").write_text(source)
    flags = f"-std=c++17 -O3 {machine()} -ffast-math -DNDEBUG -shared -fPIC"
    paths = f"{RTNEURAL_OPTIONS} -I{root} -I{root}/modules/Eigen -I{root}/modules"
    command = f"c++ {flags} {paths} layer.cpp -o layer.so"
    subprocess.run(command.split(), cwd=folder, check=True)
    library = ctypes.CDLL(str(folder / "layer.so"))
    library.prepare()
    run: Callable[..., object] = library.run
    return run


def calls(
    cell: str, inputs: int, units: int, folder: Path, root: Path | None
) -> dict[str, Callable[[], object]]:
    """Return a call of each side, of STEPS steps."""
    layer = {"LSTM": bptt.LSTM, "GRU": bptt.GRU}[cell](inputs, units, seed=0)
    x = np.random.default_rng(0).standard_normal((STEPS, inputs)).astype(np.float32)
    y = np.empty((STEPS, units), np.float32)
    row, last = x[:1], layer.step(x[:1])

    def python() -> None:
        for _ in range(STEPS):
            layer.step(row, last[1], out=last)

    def compiled(run: Callable[..., object]) -> Callable[[], object]:
        source, result = (array.ctypes.data_as(ctypes.c_void_p) for array in (x, y))
        return lambda: run(source, ctypes.c_long(STEPS), result)

    found = {"step": python, "C file": compiled(c_file(layer, folder))}
    if root is not None:
        found["RTNeural"] = compiled(rtneural(cell, inputs, units, folder, root))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15, help="number of samples")
    parser.add_argument("--rtneural", type=Path, metavar="DIR", help="checkout of RTNeural")
    options = parser.parse_args()
    print(f"{bptt.config()['processor']}, {bptt.config()['isa']}; microseconds a step, one thread")
    with bptt.threads(1):
        for cell, sizes in SIZES.items():
            for inputs, units in sizes:
                with tempfile.TemporaryDirectory() as folder:
                    sides = calls(cell, inputs, units, Path(folder), options.rtneural)
                    measures = {name: partial(seconds_per_call, sides[name]) for name in sides}
                    samples = interleave(measures, options.rounds)
                times = ", ".join(
                    f"{name} {1e6 * statistics.median(row) / STEPS:.2f}"
                    for name, row in samples.items()
                )
                print(f"{cell}({inputs}, {units}): {times}", flush=True)


if __name__ == "__main__":
    main()
