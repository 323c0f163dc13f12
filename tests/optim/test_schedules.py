"""Learning-rate schedules by hand and against PyTorch."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import bptt
from bptt.optim.schedules import CosineDecay, Plateau, StepDecay, WarmUp, from_dict, to_dict

SCHEDULES = [
    StepDecay(2, 0.5),
    CosineDecay(4, floor=0.2),
    Plateau(2, 0.1, floor=0.005),
    WarmUp(4),
    WarmUp(7, StepDecay(1, 0.5)),
    WarmUp(3, WarmUp(5, CosineDecay(2))),
]
every_schedule = pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)


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


def test_nan_loss_is_no_improvement():
    schedule = Plateau(2, 0.5)
    assert [schedule(0, 1, [1.0, *[np.nan] * n]) for n in range(5)] == [1, 1, 0.5, 0.5, 0.25]


@every_schedule
@settings(max_examples=50, deadline=None, derandomize=True, database=None)
@given(
    updates_per_epoch=st.integers(1, 20),
    losses=st.lists(st.floats(0, 1), max_size=20),
)
def test_factors_lie_in_0_to_1(schedule, updates_per_epoch, losses):
    factors = [schedule(u, updates_per_epoch, losses) for u in range(0, 200, 7)]
    assert all(0 <= factor <= 1 for factor in factors)
    if not isinstance(schedule, WarmUp):
        assert factors == sorted(factors, reverse=True)


@every_schedule
def test_json_round_trip(schedule):
    other = from_dict(json.loads(json.dumps(to_dict(schedule))))
    assert other == schedule
    assert type(other) is type(schedule)


def test_same_as_pytorch():
    """PyTorch's schedulers count epochs."""
    torch = pytest.importorskip("torch")
    schedulers = torch.optim.lr_scheduler
    losses = [3.0, 2.0, 2.5, 2.0, 1.0, 1.5, 1.0, 1.0, 1.0, 1.0]
    for schedule, kind, options in [
        (StepDecay(3, 0.5), schedulers.StepLR, {"step_size": 3, "gamma": 0.5}),
        (CosineDecay(10, 0.2), schedulers.CosineAnnealingLR, {"T_max": 10, "eta_min": 0.2}),
        (WarmUp(4), schedulers.LinearLR, {"start_factor": 0.25, "total_iters": 3}),
        # PyTorch's patience of n reduces after n + 1 epochs
        (
            Plateau(3, 0.1, floor=0.005),
            schedulers.ReduceLROnPlateau,
            {"patience": 2, "factor": 0.1, "min_lr": 0.005, "threshold": 0},
        ),
    ]:
        optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
        scheduler = kind(optimizer, **options)
        for epoch in range(10):
            rate = optimizer.param_groups[0]["lr"]
            assert schedule(epoch, 1, losses[:epoch]) == pytest.approx(rate, rel=1e-9)
            optimizer.step()
            scheduler.step(*([losses[epoch]] if kind is schedulers.ReduceLROnPlateau else []))


def test_training_loop_with_a_schedule():
    """A loop of one's own needs a schedule and an optimizer only."""
    module = bptt.Linear(3, 1, dtype=np.float64, seed=0)
    optimizer = bptt.SGD(module, learning_rate=0.5)
    schedule = StepDecay(1, 0.1)
    run = module.forward(np.ones((1, 3)))
    for update in range(3):
        optimizer.learning_rate = 0.5 * schedule(update, 2, [])
        before = module["bias"].copy()
        optimizer.step(run.backward(np.ones((1, 1))))
        assert before - module["bias"] == pytest.approx([0.5, 0.5, 0.05][update])


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


def test_wrong_kinds():
    with pytest.raises(TypeError, match="then must be None or a schedule, got dict"):
        WarmUp(3, {"epochs": 4})
    with pytest.raises(TypeError, match="every must be an integer, got float"):
        StepDecay(1.5)
    with pytest.raises(TypeError, match="must be one of StepDecay, CosineDecay, Plateau, WarmUp, "):
        to_dict(lambda update, updates_per_epoch, losses: 1.0)
