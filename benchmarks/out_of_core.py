"""Peak memory of `fit` against the size of the data: from a stream, and from a list.

    python benchmarks/out_of_core.py                # the plot: docs/pictures/out-of-core.png
    python benchmarks/out_of_core.py --steps 1e8    # one language model of 100 million characters

Every fit runs in a process of its own. The text is made while it is read, from a seed: words of a
Zipf distribution, in sequences of 1,000 characters. Memory is the largest resident set of the
process, imports with it.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[1]
PICTURE = ROOT / "docs" / "pictures" / "out-of-core.png"
LENGTH = 1000  # characters of a sequence
SIZES = (100_000, 300_000, 1_000_000, 3_000_000, 10_000_000, 30_000_000)  # steps
WINDOW = 1000  # sequences
LIMIT = 1e9  # bytes for 10^8 steps


def texts(steps: int) -> Iterator[str]:
    """Sequences of words, the same ones in every pass."""
    random = np.random.default_rng(0)
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz"))
    words = np.array(["".join(random.choice(letters, n)) for n in random.integers(2, 9, 5000)])
    block = 1000
    for first in range(0, steps // LENGTH, block):
        ids = random.zipf(1.3, (min(block, steps // LENGTH - first), 400)) % len(words)
        for row in words[ids]:
            yield " ".join(row)[:LENGTH]


def measure(steps: int, window: int) -> dict[str, Any]:
    """Fit in this process, from a list if the window is 0; return memory, time and loss."""
    import bptt
    from bptt.data import Stream

    model = bptt.LanguageModel(hidden_size=32, epochs=1, batch_size=64, random_state=0)
    start = time.perf_counter()
    model.fit(Stream(lambda: texts(steps), window=window) if window else list(texts(steps)))
    unit = 1 if sys.platform == "darwin" else 1024
    return {
        "steps": steps,
        "window": window,
        "bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit,
        "seconds": round(time.perf_counter() - start, 1),
        "loss": model.history_[-1].loss,
    }


def measured(steps: int, window: int) -> dict[str, Any]:
    """The same in a process of its own."""
    command = [sys.executable, __file__, "--child", str(steps), str(window)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "python"), *sys.path])}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    kind = f"windows of {window:,}" if window else "a list"
    text = f"{found['bytes'] / 1e6:6.0f} MB, {found['seconds']:7.1f} s, loss {found['loss']:.4f}"
    print(f"{steps:12,} steps, {kind}: {text}", flush=True)
    return found


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Draw memory against steps."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    with plt.rc_context({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False}):
        figure, axes = plt.subplots(figsize=(6.0, 3.2), layout="constrained")
        looks = {0: ("from a list", "#D55E00", "s"), WINDOW: ("from a stream", "#0072B2", "o")}
        for window, (label, color, marker) in looks.items():
            chosen = [row for row in rows if row["window"] == window]
            steps = [row["steps"] for row in chosen]
            memory = [row["bytes"] / 1e6 for row in chosen]
            axes.plot(steps, memory, color=color, marker=marker, label=label)
        axes.set(xscale="log", xlabel="characters of text", ylabel="peak memory, MB")
        axes.set_ylim(0, 1.2e-6 * max(row["bytes"] for row in rows))
        axes.legend(frameon=False, loc="lower right")
        axes.set_title(f"fit of a LanguageModel, windows of {WINDOW:,} sequences", loc="left")
        figure.savefig(path, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--steps", type=float, help="one fit of this many steps, instead of all")
    parser.add_argument("--window", type=int, default=WINDOW, help="sequences in memory at a time")
    parser.add_argument("--largest", type=float, default=SIZES[-1], help="steps of the largest")
    parser.add_argument("--picture", type=Path, default=PICTURE, help="file of the plot")
    parser.add_argument("--child", nargs=2, type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(measure(*arguments.child)))
    elif arguments.steps:
        found = measured(int(arguments.steps), arguments.window)
        if found["steps"] >= 10**8 and found["bytes"] >= LIMIT:
            raise SystemExit(f"more than {LIMIT / 1e6:.0f} MB")
    else:
        sizes = [steps for steps in SIZES if steps <= arguments.largest]
        rows = [measured(steps, window) for steps in sizes for window in (WINDOW, 0)]
        draw(rows, arguments.picture)


if __name__ == "__main__":
    main()
