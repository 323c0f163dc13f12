"""Microseconds of a step of a stream: from Python, in blocks, the kernel alone, and others.

`layer.step` with buffers, `layer.stepper()`, and blocks of a stream by `layer(x, state=state)`;
with `--kernel FILE` the kernel without Python, called from C++; the C file of the layer; and with
`--rtneural DIR` the layer of a checkout of RTNeural, whose size is known at compile time. C and C++
compute many steps in one call; all sides are called in turns, on one thread. `BPTT_ISA` chooses the
instructions, for what is compiled here as well. The kernel alone is built by

    cmake --preset release -DBPTT_ISAS=v3 -DBPTT_STEP_BENCHMARK=ON
    cmake --build build/release --target step_kernel
"""

from __future__ import annotations

import argparse
import ctypes
import statistics
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

import bptt
from bptt._core.interleaved_timing import interleave, seconds_per_call
from c_file import c_file, machine, rtneural

STEPS = 192  # a multiple of all blocks
BLOCKS = (4, 16, 64)
LAYERS: dict[str, Callable[..., bptt.nn.Recurrent]] = {
    "LSTM": bptt.LSTM,
    "GRU": partial(bptt.GRU, reset_after=True),
    "RNN": bptt.RNN,
}
Call = Callable[[], object]


def from_python(layer: bptt.nn.Recurrent, x: np.ndarray) -> dict[str, Call]:
    """Return calls of STEPS steps from Python."""
    rows = list(x[:, np.newaxis])
    out = layer.step(rows[0])
    stepper = layer.stepper()

    def steps() -> None:
        step = layer.step
        for row in rows:
            step(row, out[1], out=out)

    def stepper_steps() -> None:
        for row in rows:
            stepper(row)

    def blocks(size: int) -> None:
        state = out[1]
        for first in range(0, STEPS, size):
            _, state = layer(x[np.newaxis, first : first + size], state=state)

    of_blocks = {f"blocks of {size}": partial(blocks, size) for size in BLOCKS}
    return {"step": steps, "stepper": stepper_steps, **of_blocks}


def kernel(library: Path, cell: str, inputs: int, units: int) -> Callable[..., object]:
    """Return the function of a stream's block of steps, without Python."""
    functions = ctypes.CDLL(str(library))
    functions.step_kernel_make.restype = ctypes.c_void_p
    name = ctypes.c_char_p(cell.encode())
    stream = functions.step_kernel_make(name, ctypes.c_long(inputs), ctypes.c_long(units))
    return partial(functions.step_kernel_run, ctypes.c_void_p(stream))


def calls(
    name: str, inputs: int, units: int, folder: Path, options: argparse.Namespace
) -> dict[str, Call]:
    """Return a call of each side, of STEPS steps."""
    layer = LAYERS[name](inputs, units, seed=0)
    x = np.random.default_rng(0).standard_normal((STEPS, inputs)).astype(np.float32)
    y = np.empty((STEPS, units), np.float32)
    source, result = (array.ctypes.data_as(ctypes.c_void_p) for array in (x, y))

    def compiled(run: Callable[..., object]) -> Call:
        return lambda: run(source, ctypes.c_long(STEPS), result)

    found = from_python(layer, x)
    if options.kernel is not None:
        run = kernel(options.kernel.resolve(), layer.cell.name, inputs, units)
        found["kernel"] = compiled(run)
    found["C file"] = compiled(c_file(layer, folder))
    if options.rtneural is not None and name != "RNN":
        found["RTNeural"] = compiled(rtneural(name, inputs, units, folder, options.rtneural))
    return found


def tenth(samples: list[float]) -> float:
    """Return the median of the fastest tenth."""
    return statistics.median(sorted(samples)[: max(1, len(samples) // 10)])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=101, help="number of samples")
    parser.add_argument("--layers", nargs="+", default=list(LAYERS), choices=list(LAYERS))
    parser.add_argument("--sizes", nargs="+", type=int, default=[16, 32, 64, 128, 256])
    parser.add_argument("--kernel", type=Path, metavar="FILE", help="libstep_kernel.so")
    parser.add_argument("--rtneural", type=Path, metavar="DIR", help="checkout of RTNeural")
    options = parser.parse_args()
    print(f"{bptt.config()['processor']}, {bptt.config()['isa']} ({machine()}), one thread")
    print("microseconds a step: median (fastest tenth)")
    with bptt.threads(1):
        for name in options.layers:
            for units in options.sizes:
                with tempfile.TemporaryDirectory() as folder:
                    sides = calls(name, units, units, Path(folder), options)
                    measures = {side: partial(seconds_per_call, sides[side]) for side in sides}
                    samples = interleave(measures, options.rounds)
                times = ", ".join(
                    f"{side} {1e6 * statistics.median(row) / STEPS:.3f} "
                    f"({1e6 * tenth(row) / STEPS:.3f})"
                    for side, row in samples.items()
                )
                print(f"{name}({units}, {units}): {times}", flush=True)


if __name__ == "__main__":
    main()
