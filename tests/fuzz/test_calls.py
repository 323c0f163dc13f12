"""Every public callable has a target, and calls with bad input have an allowed outcome."""

from __future__ import annotations

import random
import resource

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("sklearn")
pytest.importorskip("safetensors")
pytest.importorskip("matplotlib")

from tests.fuzz import judge
from tests.fuzz.__main__ import limit_memory, main
from tests.fuzz.targets import public_callables, targets, without_target

GIGABYTE = 1 << 30
CALLS = 6  # of each callable, by Hypothesis; the harness makes a million


@pytest.fixture(autouse=True)
def bounded(tmp_path, monkeypatch):
    """Layers of gigabytes are refused, not made; files of any name lie in a folder of their own."""
    monkeypatch.chdir(tmp_path)
    before = limit_memory(2 * GIGABYTE)
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


def test_every_public_callable_has_a_target():
    """A new public name needs a valid call in `targets.py`, or a reason why it has none."""
    assert not without_target()
    assert set(targets()) <= set(public_callables())


@pytest.mark.parametrize("name", targets())
@pytest.mark.filterwarnings("ignore")
def test_valid_calls(name):
    target = targets()[name]()
    before = judge.snapshot(target.watched)
    outcome = judge.valid(target)
    # Modules without parameters, and a recorder outside of a training.
    assert not outcome or "has no parameter" in outcome or "must be a callback" in outcome
    if not target.changes:
        assert judge.snapshot(target.watched) == before


@pytest.mark.parametrize("name", targets())
@settings(max_examples=CALLS)
@given(random_source=st.randoms(use_true_random=False))
@pytest.mark.filterwarnings("ignore")
def test_bad_input(name, random_source):
    outcome, arguments = judge.call(name, targets()[name], random_source)
    assert not outcome.failure, (outcome, arguments)


def test_harness_counts(capsys):
    """The harness in worker processes, for a moment."""
    assert main(["--calls", "300", "--only", "losses.", "--workers", "1"]) == 0
    callables = sum(name.startswith("losses.") for name in targets())
    assert f"calls of {callables} callables" in capsys.readouterr().out


def test_the_same_seed_gives_the_same_call():
    name = "nn.LSTM.forward"
    first, second = (judge.fill(random.Random("0/a/3"), targets()[name]())[1] for _ in range(2))
    assert first.split("at 0x")[0] == second.split("at 0x")[0]
