"""Configuration of the tests: report header, Hypothesis profile, instruction sets."""

from __future__ import annotations

import os

# 2, 3 and 8 threads on every machine, here and in child processes; read when bptt is imported.
os.environ["BPTT_OVERSUBSCRIBE"] = "1"

import pytest
from hypothesis import settings

from bptt._core import loader
from bptt._core.installation import config
from layer_results import use_kernels

# The same examples in every run, on machines of any speed.
settings.register_profile("bptt", derandomize=True, database=None, deadline=None)
settings.load_profile("bptt")


def pytest_report_header() -> str:
    return "bptt: " + ", ".join(f"{name}={value}" for name, value in config().items())


@pytest.fixture(params=loader.available())
def isa(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run the test once with the kernels of every instruction set that this CPU can run."""
    use_kernels(request.param, monkeypatch)
    return str(request.param)
