"""Measure the speed of layers and of a training update on this machine.

Rates count the operations of the matrix products of a layer, and are shown relative
to the rate of NumPy's product of two large matrices on the same number of threads:
one, and the maximum of a layer (limited by BPTT_NUM_THREADS). The update is that of a
language model: embedding, the first chosen cell at the first chosen size, output layer
with loss, clipping and Adam. Measurements are interleaved.
"""

from __future__ import annotations

import argparse
import json
import os
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from bptt._core.installation import config
from bptt._core.threads import get_num_threads
from bptt.cli.arguments import positive_integer
from bptt.cli.bench_layers import PRODUCT_SIZE, SIZES, Benchmark, Size, run_benchmark
from bptt.cli.bench_report import MeasurementBar, print_benchmark
from bptt.cli.bench_update import (
    SIZE,
    VOCABULARY,
    UpdateBenchmark,
    UpdateModel,
    run_update_benchmark,
)
from bptt.cli.errors import CommandError
from bptt.cli.worker_process import available_cores
from bptt.nn.cells import CELLS

NAME = "bench"
SUMMARY = "measure the speed of layers and of a training update on this machine"
USAGE = "[options]"
EXAMPLES = """\
examples:
  python -m bptt bench
  python -m bptt bench --json rates.json"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    sizes = " ".join(",".join(map(str, size)) for size in SIZES)
    parser.add_argument(
        "--size",
        action="append",
        type=_size,
        metavar="T,B,I,H",
        help="numbers of steps, sequences, input features and hidden units; may be repeated "
        f"(default: {sizes})",
    )
    parser.add_argument(
        "--cell",
        action="append",
        choices=tuple(CELLS),
        metavar="CELL",
        help=f"{', '.join(CELLS)}; may be repeated (default: all)",
    )
    parser.add_argument(
        "--vocabulary",
        default=VOCABULARY,
        type=positive_integer,
        metavar="V",
        help="number of tokens of the language model (default: %(default)s)",
    )
    parser.add_argument(
        "--dtype",
        default="float32",
        choices=("float32", "float64"),
        metavar="DTYPE",
        help="float32 or float64 (default: %(default)s)",
    )
    parser.add_argument(
        "--rounds",
        default=11,
        type=positive_integer,
        metavar="N",
        help="number of measurements of each task (default: %(default)s)",
    )
    parser.add_argument(
        "--json", type=_output_path, metavar="FILE", help="write all measurements to FILE"
    )


def run(arguments: argparse.Namespace) -> None:
    """Run the command."""
    sizes = list(dict.fromkeys(arguments.size or SIZES))
    cells = list(dict.fromkeys(arguments.cell or CELLS))
    threads = sorted({1, get_num_threads()})
    benchmark = Benchmark(arguments.dtype, arguments.rounds, threads, sizes, cells, {})
    cell, size = (arguments.cell or ["lstm"])[0], (arguments.size or [SIZE])[0]
    model = UpdateModel(cell, size, arguments.vocabulary)
    update = UpdateBenchmark(model, arguments.dtype, arguments.rounds, threads, {})
    total = (benchmark.rounds + 1) * (len(benchmark.jobs()) + len(threads))
    with MeasurementBar(total) as bar:
        run_benchmark(benchmark, bar.update)
        run_update_benchmark(update, bar.update)
    print_benchmark(benchmark, update)
    if arguments.json is not None:
        text = json.dumps(_to_json(benchmark, update), indent=1)
        try:
            arguments.json.write_text(text + "\n", encoding="utf-8")
        except OSError as error:
            raise CommandError(f"cannot write {arguments.json}: {error.strerror}") from error


def _to_json(benchmark: Benchmark, update: UpdateBenchmark) -> dict[str, Any]:
    """Return settings and measurements for JSON."""
    return {
        "when": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "machine": {**config(), "cores": available_cores()},
        "dtype": benchmark.dtype,
        "rounds": benchmark.rounds,
        "product_size": PRODUCT_SIZE,
        "results": [
            {
                "mode": m.task.mode,
                "cell": m.task.cell or None,
                "size": m.task.size._asdict() if m.task.cell else None,
                "threads": m.threads,
                "median_seconds": m.median,
                "quartiles_seconds": [m.quartiles[0], m.quartiles[2]],
                "gflops": m.rate,
                "share_of_product": benchmark.relative_rate(m),
                "seconds": m.samples,
            }
            for m in benchmark.measurements.values()
        ],
        "update": {
            "cell": update.model.cell,
            "size": update.model.size._asdict(),
            "vocabulary": update.model.vocabulary,
            "results": [
                {
                    "threads": threads,
                    "median_seconds": update.total(threads),
                    "median_seconds_of_stages": dict(
                        zip(update.model.stages, update.medians(threads), strict=True)
                    ),
                    "seconds": update.samples[threads],
                }
                for threads in update.threads
            ],
        },
    }


def _size(text: str) -> Size:
    """Parse T,B,I,H."""
    parts = text.split(",")
    try:
        if len(parts) != len(Size._fields):
            raise ValueError
        size = Size(*map(int, parts))
        if min(size) < 1:
            raise ValueError
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"must be four integers >= 1, T,B,I,H, got {text!r}"
        ) from None
    return size


def _output_path(text: str) -> Path:
    """Parse the name of a file, and check before the measurements that it can be written."""
    path = Path(text)
    reason = None
    if path.is_dir():
        reason = "it is a directory"
    elif not path.parent.is_dir():
        reason = f"there is no directory {path.parent}"
    elif not os.access(path if path.exists() else path.parent, os.W_OK):
        reason = "it is write-protected"
    if reason is not None:
        raise argparse.ArgumentTypeError(f"cannot write {text}: {reason}")
    return path
