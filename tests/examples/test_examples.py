"""The examples: a quick run of each on its real data learns.

The data are fetched once into a cache, so most of these tests have the marker ``network``.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import matplotlib
import pytest

from examples.__main__ import NAMES
from examples._common import Example, Report
from examples._data import MissingDataError

matplotlib.use("Agg")

EXAMPLES = Path(__file__).parents[2] / "examples"
# Example -> required result of a quick run: at least, or at most where less is better.
QUICK: dict[str, float] = {
    "autocomplete": 3.35,
    "language_model": 2.9,
    "music": 2.9,
    "pos_tagging": 0.88,
    "named_entities": 0.58,
    "dna": 0.90,
    "speech": 0.95,
    "speech_recognition": 0.1,
    "activity": 0.78,
    "forecasting": 0.75,
    "online": 110,
    "gradients": 0.02,
    "translation": 26,
    "transliteration": 0.25,
    "captioning": 0.05,
    "sentiment": 0.69,
}
LOCAL = ("language_model", "gradients")  # their data come with Python, or are sampled
PRETRAINED = [name for name in NAMES if name.startswith("pretrained.")]


def quick_report(name: str, folder: Path) -> Report:
    """Run an example on a part of its data, and check its picture."""
    example: Example = import_module(f"examples.{name}").example
    options = example.parser().parse_args(["--quick", "--plot", str(folder)])
    try:
        report, _ = example.report(options)
    except MissingDataError as error:
        if "apt install" in str(error):  # not every system has Debian's packages
            pytest.skip(str(error))
        raise
    assert (folder / f"{name}.png").stat().st_size > 10_000
    return report


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if name in LOCAL else pytest.mark.network) for name in QUICK],
)
def test_quick_run_reaches_its_result(name: str, tmp_path: Path) -> None:
    report = quick_report(name, tmp_path)
    better = report.result - QUICK[name] if report.higher_is_better else QUICK[name] - report.result
    assert better >= 0, report


@pytest.mark.network
@pytest.mark.parametrize("name", PRETRAINED)
def test_pretrained_network_agrees_with_its_original(name: str, tmp_path: Path) -> None:
    quick_report(name, tmp_path)  # raises where they differ


def test_every_example_is_tested() -> None:
    assert {*QUICK, *PRETRAINED} == set(NAMES)


def test_scripts_are_listed() -> None:
    scripts = {
        ".".join(path.relative_to(EXAMPLES).with_suffix("").parts)
        for path in EXAMPLES.rglob("[!_]*.py")
    }
    assert scripts <= set(NAMES)
