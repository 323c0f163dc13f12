"""Prediction intervals and missing values on real data, which the documentation quotes.

Needs `pip install vega-datasets sktime`, of which files of temperatures, spoken vowels and power
demand are read.
"""

from __future__ import annotations

import argparse
import csv
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import bptt

Array = NDArray[np.float32]


def folder(package: str) -> Path:
    """Return the folder of an installed package, which is not imported."""
    found = find_spec(package)
    if found is None or found.origin is None:
        raise SystemExit(f"pip install {package.replace('_', '-')}")
    return Path(found.origin).parent


# ---- prediction intervals ------------------------------------------------------------------------

WINDOW, AHEAD = 48, 6  # hours
LEVELS = (0.025, 0.1, 0.5, 0.9, 0.975)


def temperatures() -> tuple[Array, Array, Array, Array]:
    """Return windows and changes of the temperature, for training and, every fourth week, to test.

    Windows that share a value with one of a held-out week are in neither part.
    """
    parts: list[tuple[Array, Array, Array, Array]] = []
    for name in ("seattle-temps", "sf-temps"):
        with (folder("vega_datasets") / "_data" / f"{name}.csv").open(encoding="utf-8") as file:
            values = np.array([row["temp"] for row in csv.DictReader(file)], np.float32)
        windows = np.lib.stride_tricks.sliding_window_view(values, WINDOW + AHEAD)
        X, y = windows[:, :WINDOW], windows[:, -1] - windows[:, WINDOW - 1]
        week = (np.arange(len(X)) + WINDOW + AHEAD) // (24 * 7)
        held_out = week % 4 == 3
        near = np.convolve(held_out, np.ones(2 * (WINDOW + AHEAD) + 1), "same") > 0
        parts.append((X[~near], y[~near], X[held_out], y[held_out]))
    train_x, train_y, test_x, test_y = map(np.concatenate, zip(*parts, strict=True))
    return train_x, train_y, test_x, test_y


def intervals(seed: int) -> None:
    """Print the coverage of prediction intervals of 80 and 95 %."""
    X, y, test_x, test_y = temperatures()
    print(f"{len(X):,} windows for training, {len(test_x):,} held out")
    for loss in ("quantile", "gaussian"):
        model = bptt.SequenceRegressor(
            loss=loss,
            quantiles=LEVELS if loss == "quantile" else None,
            cell="gru",
            hidden_size=16,
            epochs=6,
            batch_size=64,
            learning_rate=0.005,
            schedule=bptt.schedules.CosineDecay(epochs=6),
            scale=True,
            random_state=seed,
        ).fit(X[..., np.newaxis], y)
        for coverage in (0.8, 0.95):
            lower, upper = model.predict_interval(test_x[..., np.newaxis], coverage=coverage)
            inside, width = np.mean((lower <= test_y) & (test_y <= upper)), np.mean(upper - lower)
            print(f"{loss}: {inside:.1%} in intervals of {coverage:.0%}, width {width:.2f}")


# ---- missing values ------------------------------------------------------------------------------

WAYS = ("mean", "last", "mask", "decay")
Sequences = list[Array]


def with_gaps(X: Sequences, random: np.random.Generator) -> Sequences:
    """Return sequences of which half the values are missing."""
    return [np.where(random.random(x.shape) < 0.5, np.nan, x).astype(np.float32) for x in X]


def filled(X: Sequences, way: str, mean: Array) -> Sequences:
    """Return sequences whose gaps are filled with the mean, with the last value, or not at all."""
    if way in ("mask", "decay"):
        return X
    found = [x.copy() for x in X]
    for x in found:
        before = mean
        for t in range(len(x)):
            x[t] = np.where(np.isnan(x[t]), before, x[t])
            before = x[t] if way == "last" else mean
    return found


def classified(name: str, part: str) -> tuple[Sequences, list[str]]:
    """Return sequences of a data set of sktime and their classes."""
    path = folder("sktime") / "datasets" / "data" / name / f"{name}_{part}.ts"
    rows = path.read_text("utf-8").partition("@data\n")[2].split()
    X, y = [], []
    for row in rows:
        *features, label = row.split(":")
        X.append(np.array([one.split(",") for one in features], np.float32).T)
        y.append(label)
    return X, y


def missing(seed: int) -> None:
    """Print the error with half of the values missing: filled in, with a mask, and with decay."""
    random = np.random.default_rng(seed)
    x, y, test_x, test_y = temperatures()
    y, test_y = y + x[:, -1], test_y + test_x[:, -1]  # the last value may be missing
    X = with_gaps(list(x[..., np.newaxis]), random)
    test_X = with_gaps(list(test_x[..., np.newaxis]), random)
    mean = np.nanmean(np.concatenate(X), axis=0)
    for way in WAYS:
        model = bptt.SequenceRegressor(
            hidden_size=32,
            epochs=8,
            batch_size=64,
            learning_rate=0.005,
            schedule=bptt.schedules.CosineDecay(epochs=8),
            missing=way if way in ("mask", "decay") else "error",
            cell="gru",
            scale=True,
            random_state=seed,
        ).fit(filled(X, way, mean), y)
        error = np.abs(model.predict(filled(test_X, way, mean)) - test_y).mean()
        print(f"temperatures, {way}: error {error:.3f}", flush=True)
    classify("JapaneseVowels", seed, hidden_size=64, epochs=40, pool="mean")
    classify("ItalyPowerDemand", seed, hidden_size=32, epochs=80, pool="last")


def classify(name: str, seed: int, **options: Any) -> None:
    """Print the accuracy on a data set of sktime with half of the values missing."""
    random = np.random.default_rng(seed)
    (X, y), (test_X, test_y) = classified(name, "TRAIN"), classified(name, "TEST")
    X, test_X = with_gaps(X, random), with_gaps(test_X, random)
    mean = np.nanmean(np.concatenate(X), axis=0)
    for way in WAYS:
        model = bptt.SequenceClassifier(
            cell="gru",
            scale=True,
            missing=way if way in ("mask", "decay") else "error",
            random_state=seed,
            **options,
        ).fit(filled(X, way, mean), y)
        score = model.score(filled(test_X, way, mean), test_y)
        print(f"{name}, {way}: {score:.1%} right", flush=True)


MEMORY = np.array([0.5, 0.7, 0.9, 0.97])  # of each feature: correlation of neighboring steps


def patterns(count: int, random: np.random.Generator) -> tuple[Sequences, NDArray[np.bool_]]:
    """Return sequences of 24 steps and their classes, with half of the values missing.

    The class tells whether the sum of the last values, measured or not, is positive; and the first
    feature is measured more often in one of both classes.
    """
    x = np.zeros((count, 24, len(MEMORY)))
    x[:, 0] = random.standard_normal(x[:, 0].shape)
    noise = np.sqrt(1 - MEMORY**2)
    for t in range(1, x.shape[1]):
        x[:, t] = MEMORY * x[:, t - 1] + noise * random.standard_normal(x[:, 0].shape)
    y = x[:, -1].sum(axis=1) > 0
    rate = np.full(x.shape, 0.5)
    rate[:, :, 0] += np.where(y, 0.07, -0.07)[:, np.newaxis]
    return list(np.where(random.random(x.shape) < rate, x + 2, np.nan).astype(np.float32)), y


def synthetic(seed: int) -> None:
    """Print the accuracy on sequences whose class depends on values and on what is missing."""
    random = np.random.default_rng(seed)
    (X, y), (test_X, test_y) = patterns(1000, random), patterns(4000, random)
    mean = np.nanmean(np.concatenate(X), axis=0)
    for way in WAYS:
        model = bptt.SequenceClassifier(
            cell="gru",
            hidden_size=16,
            epochs=20,
            learning_rate=0.01,
            schedule=bptt.schedules.CosineDecay(epochs=20),
            scale=True,
            missing=way if way in ("mask", "decay") else "error",
            random_state=seed,
        ).fit(filled(X, way, mean), y)
        score = model.score(filled(test_X, way, mean), test_y)
        print(f"synthetic, {way}: {score:.1%} right", flush=True)


MEASUREMENTS = {"intervals": intervals, "missing": missing, "synthetic": synthetic}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=MEASUREMENTS)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    MEASUREMENTS[arguments.what](arguments.seed)


if __name__ == "__main__":
    main()
