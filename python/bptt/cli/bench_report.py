"""Printed output of the command `bench`: tables, and the progress bar of the measurements."""

from __future__ import annotations

import sys
from importlib.util import find_spec

import numpy as np

from bptt._core.installation import config
from bptt.cli.bench_layers import INFERENCE, STEP, TRAINING, Benchmark, Measurement
from bptt.cli.bench_update import UpdateBenchmark
from bptt.cli.console import instruction_set_name, machine_name, pluralize, text_bar


class MeasurementBar:
    """Progress bar on standard error, if it is a terminal and tqdm is installed.

    Parameters
    ----------
    total : int
        Number of measurements.
    """

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
        """Advance by one measurement."""
        if self._bar is not None:
            self._bar.update()


def print_benchmark(benchmark: Benchmark, update: UpdateBenchmark) -> None:
    """Print the machine, the rate of NumPy's product, and all tables."""
    build = config()
    print(
        f"{machine_name()}, {instruction_set_name()} kernels\n"
        f"bptt {build['version']} ({build['compiler']}, Eigen {build['eigen']}), "
        f"NumPy {np.__version__}, Python {build['python']}"
    )
    products = [benchmark.product(threads) for threads in benchmark.threads]
    rates = ", ".join(
        f"{p.rate:.0f} GFLOP/s ±{p.spread:.0%} on {pluralize(p.threads, 'thread')}"
        for p in products
    )
    size = products[0].task.size.hidden
    print(f"NumPy's product of two {size} x {size} matrices, {benchmark.dtype}:\n  {rates}")
    _print_rates(benchmark, INFERENCE, "Inference")
    _print_rates(benchmark, TRAINING, "Training: forward and backward, all gradients")
    _print_steps(benchmark)
    _print_update(update)
    print(
        f"\nMedians of {pluralize(benchmark.rounds, 'round')}; ±: half the interquartile range.\n"
        "GFLOP/s: operations of the matrix products; %: of the rate of NumPy's product on\n"
        "the same number of threads; gain: speedup over 1 thread."
    )


def _print_rates(benchmark: Benchmark, mode: str, title: str) -> None:
    """Print the table of one mode: one row per size and cell, columns per number of threads."""
    several = len(benchmark.threads) > 1
    heads = "".join(f"{'on ' + pluralize(n, 'thread'):^27}" for n in benchmark.threads)
    print(f"\n{title}\n{'(T, B, I, H)':20}{heads}".rstrip())
    columns = f"{'us':>10}{'±':>5}{'GFLOP/s':>8}{'%':>4}" * len(benchmark.threads)
    print(f"{'':20}{columns}{'gain' if several else '':>6}".rstrip())
    for size in benchmark.sizes:
        print(f"({', '.join(map(str, size))})")
        for cell in benchmark.cells:
            found = [benchmark.find(mode, cell, size, threads) for threads in benchmark.threads]
            line = "".join(
                f"{_format_microseconds(m):>10}{m.spread:5.0%}{m.rate:8.1f}"
                f"{100 * benchmark.relative_rate(m):4.0f}"
                for m in found
            )
            gain = f"{found[0].median / found[-1].median:6.2f}" if several else ""
            print(f"  {found[0].task.title:18}{line}{gain}")


def _print_steps(benchmark: Benchmark) -> None:
    """Print the times of single steps."""
    rows = {
        size[2:]: [benchmark.find(STEP, cell, size, 1) for cell in benchmark.cells]
        for size in benchmark.step_sizes
    }
    titles = "".join(f"{m.task.title:>17}" for m in next(iter(rows.values())))
    print(f"\nOne `step`, batch of 1, on 1 thread: us\n{'(I, H)':12}{titles}")
    for size, row in rows.items():
        line = "".join(f"{_format_microseconds(m):>12}{f'±{m.spread:.0%}':>5}" for m in row)
        print(f"({', '.join(map(str, size))})".ljust(12) + line)


def _print_update(update: UpdateBenchmark) -> None:
    """Print where the time of an update goes: milliseconds, share and a bar for each stage."""
    model, width = update.model, 12
    size = f"({', '.join(map(str, model.size))})"
    several = len(update.threads) > 1
    heads = "".join(f"{'on ' + pluralize(n, 'thread'):^27}" for n in update.threads)
    columns = f"{'ms':>9}{'%':>4}{'':14}" * len(update.threads)
    print(f"\nUpdate of a language model, {model.vocabulary:,} tokens, {size}")
    print(f"{'':18}{heads}".rstrip())
    print(f"{'':18}{columns}{'gain' if several else ''}".rstrip())
    totals = [update.total(n) for n in update.threads]
    stages = zip(*(update.medians(n) for n in update.threads), strict=True)
    for title, times in (*zip(model.stages, stages, strict=True), ("all", totals)):
        cells = "".join(
            f"{1e3 * seconds:9.2f}{100 * seconds / total:4.0f} {text_bar(seconds / total, width)} "
            for seconds, total in zip(times, totals, strict=True)
        )
        gain = f"{times[0] / times[-1]:4.2f}" if several else ""
        print(f"{title:18}{cells}{gain}".rstrip())


def _format_microseconds(measurement: Measurement) -> str:
    median = measurement.median * 1e6
    return f"{median:.2f}" if median < 100 else f"{median:,.0f}"
