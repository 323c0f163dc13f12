"""Benchmark results as tables, and the bar while they are measured."""

from __future__ import annotations

import sys
from importlib.util import find_spec

import numpy as np

from bptt._core.installation import config
from bptt.cli.benchmark import Bench, Measurement
from bptt.cli.console import count, instruction_set_name, machine


class MeasurementBar:
    """A progress bar on standard error, where it can be seen and tqdm is installed."""

    def __init__(self, total: int) -> None:
        self._bar = None
        if sys.stderr.isatty() and find_spec("tqdm") is not None:
            from tqdm import tqdm

            self._bar = tqdm(
                total=total,
                dynamic_ncols=True,
                leave=False,
                bar_format="measuring {percentage:3.0f}%|{bar}| {remaining} left",
            )

    def __enter__(self) -> MeasurementBar:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def update(self) -> None:
        """Show that one of `total` is done."""
        if self._bar is not None:
            self._bar.update()


def bench(of: Bench) -> None:
    """Print how fast the layers are."""
    built = config()
    print(
        f"{machine()}, {instruction_set_name()} kernels\n"
        f"bptt {built['version']} ({built['compiler']}, Eigen {built['eigen']}), "
        f"NumPy {np.__version__}, Python {built['python']}"
    )
    products = [of.product(threads) for threads in of.threads]
    rates = " and ".join(
        f"{p.rate:.0f} GFLOP/s ±{p.spread:.0%} on {count(p.threads, 'thread')}" for p in products
    )
    size = products[0].task.size.hidden
    print(f"NumPy's product of two {size} x {size} matrices, {of.dtype}:\n  {rates}")
    _rates(of, "inference", "Inference")
    _rates(of, "training", "Training: forward and backward, all gradients")
    _steps(of)
    print(
        f"\nMedians of {count(of.rounds, 'turn')} of each. ±: half the distance between the "
        "quartiles.\nGFLOP/s: of matrix products alone; %: of the rate of NumPy's product on as "
        "many\nthreads; gain: the time on 1 thread over this one."
    )


def _rates(of: Bench, mode: str, title: str) -> None:
    """Print the table of one mode: a row a cell and size, side by side every number of threads."""
    several = len(of.threads) > 1
    heads = "".join(f"{'on ' + count(threads, 'thread'):^27}" for threads in of.threads)
    print(f"\n{title}\n{'(T, B, I, H)':20}{heads}".rstrip())
    columns = f"{'us':>10}{'±':>5}{'GFLOP/s':>8}{'%':>4}" * len(of.threads)
    print(f"{'':20}{columns}{'gain' if several else '':>6}".rstrip())
    for size in of.sizes:
        print(f"({', '.join(map(str, size))})")
        for cell in of.cells:
            found = [of.find(mode, cell, size, threads) for threads in of.threads]
            line = "".join(
                f"{_format_microseconds(m):>10}{m.spread:5.0%}{m.rate:8.1f}{100 * of.share(m):4.0f}"
                for m in found
            )
            gain = f"{found[0].median / found[-1].median:6.2f}" if several else ""
            print(f"  {found[0].task.title:18}{line}{gain}")


def _steps(of: Bench) -> None:
    """Print what one step of a stream takes."""
    found = {
        size[2:]: [of.find("step", cell, size, 1) for cell in of.cells] for size in of.step_sizes
    }
    titles = "".join(f"{m.task.title:>17}" for m in next(iter(found.values())))
    print(f"\nOne `step`, batch of 1, on 1 thread: us\n{'(I, H)':12}{titles}")
    for size, row in found.items():
        line = "".join(f"{_format_microseconds(m):>12}{f'±{m.spread:.0%}':>5}" for m in row)
        print(f"({', '.join(map(str, size))})".ljust(12) + line)


def _format_microseconds(of: Measurement) -> str:
    median = of.median * 1e6
    return f"{median:.2f}" if median < 100 else f"{median:,.0f}"
