"""Measure how fast the layers are on this machine, next to NumPy's matrix product.

A rate counts the operations of a layer's matrix products alone, and is shown as a share of the rate
at which NumPy multiplies two large matrices on as many threads: on one, and on as many as a layer
may use (``BPTT_NUM_THREADS`` limits them). All that is measured takes turns.
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
from bptt.cli import benchmark_report
from bptt.cli.arguments import positive_integer
from bptt.cli.benchmark import PRODUCT_SIZE, SIZES, Bench, Size, measure
from bptt.cli.errors import CommandError
from bptt.cli.worker_process import available_cores
from bptt.nn.cells import CELLS

NAME = "bench"
SUMMARY = "measure how fast the layers are on this machine"
USAGE = "[options]"
EXAMPLES = """\
examples:
  python -m bptt bench
  python -m bptt bench --json rates.json"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command to its parser."""
    parser.add_argument(
        "--size",
        action="append",
        type=_size,
        metavar="T,B,I,H",
        help="steps, batch, input features and hidden units; may be repeated (default: "
        + " ".join(",".join(map(str, size)) for size in SIZES)
        + ")",
    )
    parser.add_argument(
        "--cell",
        action="append",
        choices=CELLS,
        metavar="CELL",
        help=f"{', '.join(CELLS)}; may be repeated (default: all)",
    )
    parser.add_argument(
        "--dtype",
        default="float32",
        choices=("float32", "float64"),
        metavar="TYPE",
        help="float32 or float64 (default: %(default)s)",
    )
    parser.add_argument(
        "--rounds",
        default=11,
        type=positive_integer,
        metavar="N",
        help="how often each takes its turn (default: %(default)s)",
    )
    parser.add_argument(
        "--json", type=_output, metavar="FILE", help="write all that was measured to this file"
    )


def run(arguments: argparse.Namespace) -> None:
    """Run the command."""
    sizes = list(dict.fromkeys(arguments.size or SIZES))
    cells = list(dict.fromkeys(arguments.cell or CELLS))
    found = Bench(
        arguments.dtype, arguments.rounds, sorted({1, get_num_threads()}), sizes, cells, {}
    )
    calls = (found.rounds + 1) * len(found.jobs())
    with benchmark_report.MeasurementBar(calls) as progress:
        measure(found, progress.update)
    benchmark_report.bench(found)
    if arguments.json is not None:
        text = json.dumps(_report(found), indent=1)
        try:
            arguments.json.write_text(text + "\n", encoding="utf-8")
        except OSError as error:
            raise CommandError(f"cannot write {arguments.json}: {error.strerror}") from error


def _report(found: Bench) -> dict[str, Any]:
    """Return all that was found, fit for JSON."""
    return {
        "when": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "machine": {**config(), "cores": available_cores()},
        "dtype": found.dtype,
        "rounds": found.rounds,
        "product_size": PRODUCT_SIZE,
        "results": [
            {
                "mode": of.task.mode,
                "cell": of.task.cell or None,
                "size": of.task.size._asdict() if of.task.cell else None,
                "threads": of.threads,
                "median_seconds": of.median,
                "quartiles_seconds": [of.quartiles[0], of.quartiles[2]],
                "gflops": of.rate,
                "share_of_product": found.share(of),
                "seconds": of.samples,
            }
            for of in found.measured.values()
        ],
    }


def _size(text: str) -> Size:
    """Read T,B,I,H."""
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


def _output(text: str) -> Path:
    """Read the name of a file that can be written, so that nothing is measured in vain."""
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
