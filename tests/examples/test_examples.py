"""The examples: every one runs with --quick on real data, and learns something.

What packages ship is downloaded once into a cache. BPTT_OFFLINE=1 leaves out what is not there yet.
"""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path

import matplotlib
import pytest

from examples.__main__ import NAMES
from examples._common import Example
from examples._data import MissingDataError

matplotlib.use("Agg")

EXAMPLES = Path(__file__).parents[2] / "examples"
# Example -> what a quick run reaches, with some room: at least, or at most where less is better.

QUICK: dict[str, float] = {
    "autocomplete": 3.35,
    "language_model": 2.9,
    "music": 2.9,
    "pos_tagging": 0.88,
    "named_entities": 0.58,
    "dna": 0.90,
    "speech": 0.95,
    "activity": 0.78,
    "forecasting": 3.2,
    "gradients": 0.02,
    "translation": 0.25,
    "captioning": 0.13,
    "sentiment": 0.69,
    # Milliseconds; they stop if they do not agree with the code they are compared with.
    "pretrained.g2p": 20,
    "pretrained.vad": 10,
    "pretrained.hindi": 300,
    "pretrained.textgen": 30,
}


@pytest.mark.parametrize("name", QUICK)
def test_quick_run_learns(name: str, tmp_path: Path) -> None:
    example: Example = import_module(f"examples.{name}").example
    options = example.parser().parse_args(["--quick", "--plot", str(tmp_path)])
    try:
        report, _ = example.report(options)
    except MissingDataError as error:
        # Not every system has Debian's packages; that pip can fetch is taken for granted.
        if os.environ.get("BPTT_OFFLINE") or "apt install" in str(error):
            pytest.skip(str(error))
        raise
    better = report.result - QUICK[name] if report.higher_is_better else QUICK[name] - report.result
    assert better >= 0, report
    assert (tmp_path / f"{name}.png").stat().st_size > 10_000


def test_scripts_are_listed() -> None:
    scripts = {
        ".".join(path.relative_to(EXAMPLES).with_suffix("").parts)
        for path in EXAMPLES.rglob("[!_]*.py")
    }
    assert scripts <= set(NAMES)
