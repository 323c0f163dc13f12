"""Lazy import of the estimators."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytest.importorskip("sklearn")

import bptt
from bptt import estimators

NAMES = [name for name in estimators.__all__ if name != "load_estimator"]
WITHOUT = """
import sys
sys.modules["sklearn"] = None
import bptt
for package, names in ((bptt.estimators, {names!r}), (bptt, {names!r}[1:])):
    for name in names:
        try:
            getattr(package, name)
        except ImportError as error:
            print(error)
"""


def test_estimators_are_the_same_in_both_packages():
    for name in set(NAMES) - {"SequenceEstimator"}:
        assert getattr(bptt, name) is getattr(estimators, name)
        online = name.startswith("Online")
        assert issubclass(getattr(bptt, name), estimators.SequenceEstimator) is not online
    with pytest.raises(AttributeError, match="no attribute 'Sequence'"):
        estimators.Sequence  # noqa: B018


def test_scikit_learn_is_imported_on_first_use():
    code = "import sys, bptt, bptt.estimators, bptt.training; assert 'sklearn' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_without_scikit_learn_the_error_names_it():
    names = ["SequenceEstimator", *sorted(set(NAMES) - {"SequenceEstimator"})]
    code = WITHOUT.format(names=names)
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    message = "estimators need scikit-learn: pip install 'bptt[train]'"
    assert done.stdout.splitlines() == [message] * (2 * len(names) - 1)
