"""Time of steps and sequences with weights of 32, 16 and 8 bits, beside other libraries.

Prints the median and the fastest tenth of every side in microseconds, and how many times as fast as
float32 of the same library each is. All sides are called in turns in one process, on one thread; a
sequence is of B = 1. The other sides are those that are installed: PyTorch in float32 and with
`quantize_dynamic`, ONNX Runtime in float32 and with its dynamic quantization, of LSTMs alone.
PyTorch and ONNX Runtime round inputs to 8 bits as well.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import warnings
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

import bptt
from bptt._core.interleaved_timing import interleave, seconds_per_call

Call = Callable[[], object]

SIZES = (256, 512, 1024)
STEPS = 50
CELLS: dict[str, tuple[type, dict[str, Any]]] = {
    "LSTM": (bptt.LSTM, {}),
    "GRU": (bptt.GRU, {"reset_after": True}),
}


def data(steps: int, size: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(0).standard_normal((1, steps, size), np.float32)


def ours(cell: str, inputs: int, size: int, steps: int) -> dict[str, Call]:
    """Return the calls of bptt, by name of the side."""
    kind, options = CELLS[cell]
    layer = kind(inputs, size, seed=0, **options)
    forms = {"float32": layer, **{k: layer.compressed(k) for k in ("bfloat16", "int8")}}
    x = data(steps, inputs)
    if steps > 1:
        return {f"bptt {name}": partial(form, x) for name, form in forms.items()}

    def stepping(form: Any) -> Call:
        x_t = x[:, 0]
        out = form.step(x_t)
        return lambda: form.step(x_t, out[1], out=out)

    return {f"bptt {name}": stepping(form) for name, form in forms.items()}


def of_torch(cell: str, inputs: int, size: int, steps: int) -> dict[str, Call]:
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(0)
    layer = getattr(torch.nn, cell)(inputs, size, batch_first=True).eval()
    chain = torch.nn.Sequential(layer)
    quantize = torch.ao.quantization.quantize_dynamic
    forms = {"float32": layer}
    for name, dtype in (("float16", torch.float16), ("int8", torch.qint8)):
        forms[name] = quantize(chain, {type(layer)}, dtype=dtype)[0]
    x = torch.from_numpy(data(steps, inputs))

    def stepping(form: Any) -> Call:
        state = form(x)[1]

        def call() -> object:
            nonlocal state
            with torch.inference_mode():
                y, state = form(x, state)
            return y

        return call

    return {f"torch {name}": stepping(form) for name, form in forms.items()}


def of_onnxruntime(cell: str, inputs: int, size: int, steps: int) -> dict[str, Call]:
    import onnxruntime
    from onnxruntime.quantization import QuantType, quantize_dynamic

    from bptt.exporters import to_onnx

    kind, arguments = CELLS[cell]
    layer = kind(inputs, size, seed=0, **arguments)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    x = data(steps, inputs)
    calls: dict[str, Call] = {}
    with tempfile.TemporaryDirectory() as directory:
        paths = {"float32": Path(directory, "float32.onnx")}
        to_onnx(layer, paths["float32"], lengths=False, state=True)
        if cell == "LSTM":
            paths["int8"] = Path(directory, "int8.onnx")
            quantize_dynamic(
                paths["float32"],
                paths["int8"],
                weight_type=QuantType.QInt8,
                op_types_to_quantize=["LSTM"],
            )
        for name, path in paths.items():
            session = onnxruntime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
            given = {}
            for one in session.get_inputs():
                shape = [1 if not isinstance(n, int) else n for n in one.shape]
                is_x = one.name == session.get_inputs()[0].name
                given[one.name] = x if is_x else np.zeros(shape, np.float32)
            calls[f"onnxruntime {name}"] = partial(session.run, None, given)
    return calls


SIDES = {"torch": of_torch, "onnxruntime": of_onnxruntime}


def row(cell: str, inputs: int, size: int, steps: int, rounds: int) -> None:
    calls = ours(cell, inputs, size, steps)
    for name, make in SIDES.items():
        if find_spec(name):
            calls |= make(cell, inputs, size, steps)
    with bptt.threads(1):
        times = interleave({n: partial(seconds_per_call, c) for n, c in calls.items()}, rounds)
    medians = {name: statistics.median(values) for name, values in times.items()}
    for name, values in times.items():
        fastest = sorted(values)[: max(1, len(values) // 10)]
        full = f"{name.split()[0]} float32"
        ratios = medians[full] / medians[name], medians[name] / medians["bptt int8"]
        task = "step" if steps == 1 else f"T = {steps}"
        cells = [cell, task, f"{inputs}, {size}", name, f"{1e6 * medians[name]:.1f}"]
        cells += [f"{1e6 * statistics.mean(fastest):.1f}", *(f"{ratio:.2f}" for ratio in ratios)]
        print(f"| {' | '.join(cells)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=31, help="number of samples")
    parser.add_argument("--cells", nargs="+", default=list(CELLS), choices=list(CELLS))
    parser.add_argument("--sizes", nargs="+", type=int, default=list(SIZES), help="hidden units")
    parser.add_argument("--inputs", type=int, help="input features; by default the hidden units")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")  # of deprecated quantization
    columns = "cell", "task", "I, H", "side", "median, µs", "fastest tenth, µs"
    print(f"| {' | '.join(columns)} | × its float32 | ÷ bptt int8 |")
    print("|---|---|---|---|--:|--:|--:|--:|")
    for cell in options.cells:
        for size in options.sizes:
            for steps in (1, STEPS):
                row(cell, options.inputs or size, size, steps, options.rounds)


if __name__ == "__main__":
    main()
