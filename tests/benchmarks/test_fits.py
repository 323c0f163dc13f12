"""benchmarks/fits.py and benchmarks/fit_profile.py on a few sequences."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BENCHMARKS = ROOT / "benchmarks"
pytestmark = pytest.mark.skipif(not BENCHMARKS.is_dir(), reason="needs the repository")


@pytest.fixture
def data(tmp_path):
    """A folder with a few sentences."""
    for name, text in (
        ("ud_english_ewt/train.tsv", "the\tDET\ncat\tNOUN\n\nit\tPRON\nsleeps\tVERB\n\n" * 4),
        ("tinyshakespeare/input.txt", "to be or not to be, that is the question " * 30),
    ):
        path = tmp_path / name
        path.parent.mkdir()
        path.write_text(text, encoding="utf-8")
    return tmp_path


def run(*arguments):
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        capture_output=True,
        encoding="utf-8",
        env={**os.environ, "PYTHONPATH": path, "PYTHONUTF8": "1"},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "name", ["tagger", "tagger, V 19,000", "character LM", "word LM, V 10,000"]
)
def test_a_fit_tells_seconds_and_those_in_kernels(name, data):
    options = ("--data", data, "--run", name, "--epochs", 1)
    found = json.loads(run(BENCHMARKS / "fits.py", *options))
    assert 0 < found["kernels"] < found["seconds"]
    assert 0 < found["before"] < found["seconds"]


def test_profile_of_a_fit_names_kernels_and_other_functions():
    text = run(
        *(BENCHMARKS / "fit_profile.py", "--fits", "tagger of words, V 20,000"),
        *("--threads", "1", "--epochs", "1"),
    )
    assert "tagger of words, V 20,000, 1 thread" in text
    assert "%  embedding_backward" in text
    assert "in the kernels; other functions:" in text
