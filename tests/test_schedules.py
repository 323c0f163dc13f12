"""What the learning rate is multiplied with."""

from __future__ import annotations

import math

import pytest

from bptt.schedules import CosineDecay, Plateau, StepDecay, WarmUp


def test_step_decay():
    schedule = StepDecay(2, 0.5)
    assert [schedule(u, 3, []) for u in (0, 5, 6, 11, 12)] == [1, 1, 0.5, 0.5, 0.25]


def test_cosine_decay():
    schedule = CosineDecay(4, floor=0.2)
    expected = [1.0, 0.2 + 0.8 * (1 + math.cos(math.pi / 4)) / 2, 0.6, 0.2, 0.2]
    found = [schedule(u, 10, []) for u in (0, 10, 20, 40, 99)]
    assert found == pytest.approx(expected, rel=1e-12)


def test_plateau():
    schedule = Plateau(2, 0.1, floor=0.005)
    losses = [3.0, 2.0, 2.5, 2.0, 1.0, 1.5, 1.0, 1.0, 1.0]
    factors = [schedule(0, 1, losses[:n]) for n in range(len(losses) + 1)]
    assert factors == pytest.approx([1, 1, 1, 1, 0.1, 0.1, 0.1, 0.01, 0.01, 0.005], rel=1e-12)


def test_warm_up():
    assert [WarmUp(4)(u, 10, []) for u in (0, 1, 3, 9)] == [0.25, 0.5, 1, 1]
    assert WarmUp(4, StepDecay(1, 0.5))(1, 1, []) == 0.25


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: StepDecay(0), "every must be an integer >= 1, got 0"),
        (lambda: StepDecay(1, 0.0), "factor must be > 0, got 0.0"),
        (lambda: CosineDecay(3, floor=1.0), r"floor must be in \[0, 1\), got 1.0"),
        (lambda: Plateau(factor=1.0), r"factor must be in \[0, 1\), got 1.0"),
        (lambda: WarmUp(-1), "updates must be an integer >= 1, got -1"),
    ],
)
def test_wrong_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()
