"""`bptt.keras`: the tests of on_backend.py, in a process for each of Keras' backends."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from child_process import run_code

RUN = "import pytest, sys; sys.exit(pytest.main(['-n0', '-q', sys.argv[1]]))"
IMPORT = """
import sys, types
keras = types.ModuleType("keras")
keras.__version__, keras.config = {version!r}, types.SimpleNamespace(backend=lambda: {backend!r})
sys.modules["keras"] = {module}
try:
    import bptt.keras
except ImportError as error:
    print(error)
"""


@pytest.mark.parametrize("backend", ["torch", "jax"])
def test_on_backend(backend):
    for library in ("keras", backend):
        if importlib.util.find_spec(library) is None:
            pytest.skip(f"needs {library}")
    tests = Path(__file__).with_name("on_backend.py")
    child = run_code(RUN, tests, timeout=1800, KERAS_BACKEND=backend)
    assert child.returncode == 0, child.stdout[-5000:] + child.stderr


@pytest.mark.parametrize(
    ("version", "backend", "module", "message"),
    [
        (
            "3.6.0",
            "tensorflow",
            "keras",
            "Keras' backend must be torch or jax for bptt.keras, got te",
        ),
        ("2.15.0", "tensorflow", "keras", "bptt.keras needs Keras 3, got 2.15.0"),
        (
            "",
            "",
            "None",
            "bptt.keras needs Keras 3: pip install 'bptt[keras3]', and KERAS_BACKEND=",
        ),
    ],
)
def test_other_backends_are_refused(version, backend, module, message):
    child = run_code(IMPORT.format(version=version, backend=backend, module=module))
    assert child.stdout.startswith(message), child.stderr
