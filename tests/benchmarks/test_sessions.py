"""benchmarks/sessions.py on a few small streams: every table is printed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "sessions.py"
pytestmark = pytest.mark.skipif(not SCRIPT.exists(), reason="needs the repository")


def test_tables() -> None:
    short = ["--seconds", "0.02", "--minutes", "0.003", "--busy", "0.3"]
    small = ["--sessions", "40", "--hidden", "4", "--features", "2"]
    done = subprocess.run(
        [sys.executable, SCRIPT, *short, *small], capture_output=True, text=True, check=True
    )
    assert "bytes of the state of a session: 32\n" in done.stdout
    assert "\n| 32 | " in done.stdout
    assert "| minute | steps/s | busy | p50, ms |" in done.stdout
    assert "\n| 1 | " in done.stdout.partition("| minute")[2]
