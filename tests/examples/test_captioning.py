"""The example of captioning: the split by groups of variants, features, choice of a name."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("sklearn")
pytest.importorskip("PIL")

from examples import _emoji
from examples._codebook import CELLS, SCALES, cells
from examples.captioning import CELLS as SPLIT_CELLS
from examples.captioning import consensus, nearest_names, quarters, ridge_words, word_f1

NAMES = {
    "\U0001f468\u200d\u2708": "man pilot",
    "\U0001f469\u200d\u2708": "woman pilot",
    "\U0001f9d1\u200d\u2708": "pilot",
    "\u2708": "airplane",
    "\U0001f468": "man",
    "\U0001f469": "woman",
    "\U0001f3c3": "person running",
    "\U0001f3c3\u200d\u2640": "woman running",
    "\U0001f57a": "man dancing",
    "\U0001f483": "woman dancing",
    "\U0001f408": "cat",
    "\U0001f408\u200d\u2b1b": "black cat",
    "\u2b1b": "black large square",
    "\u231a": "watch",
}


def test_variants_are_in_one_group():
    groups = dict(zip(NAMES.values(), _emoji.groups([*NAMES], [*NAMES.values()]), strict=True))
    together = [
        {"man pilot", "woman pilot", "pilot", "airplane"},
        {"man", "woman"},
        {"person running", "woman running"},
        {"man dancing", "woman dancing"},  # two characters; one name but for the person
        {"cat", "black cat", "black large square"},
        {"watch"},
    ]
    found: dict[int, set[str]] = {}
    for name, group in groups.items():
        found.setdefault(group, set()).add(name)
    assert [*found.values()] == together


def test_split_tears_no_group_apart():
    groups = np.repeat(np.arange(30), 3)
    train, test = _emoji.split(groups, 10, seed=0)
    assert sorted([*train, *test]) == list(range(90))
    assert len(test) == 30
    assert not {*groups[train]} & {*groups[test]}


def test_left_out_are_skin_tones_regions_and_keycaps():
    for one in ("\U0001f44b\U0001f3fd", "\U0001f1ee\U0001f1f3", "1\u20e3"):
        assert _emoji.LEFT_OUT.search(one)
    assert not _emoji.LEFT_OUT.search("\U0001f3f3\u200d\U0001f308")  # the rainbow flag


def test_quarters_add_up_to_the_principal_components():
    pixels = np.random.default_rng(0).integers(0, 256, (40, 72, 72, 3), np.uint8)
    train = np.arange(30)
    features = cells(pixels, train, codes=5)
    assert features.shape == (40, CELLS * CELLS, 5 * len(SCALES))
    np.testing.assert_allclose((features**2).sum(axis=(1, 2)), 1, rtol=1e-4)
    parts = quarters(features, train, 3)
    assert parts.shape == (40, 4, 3)
    assert SPLIT_CELLS == CELLS
    # A change in the last cell changes the last quarter alone.
    changed = features.copy()
    changed[35, -1] += 1
    differs = np.abs(quarters(changed, train, 3) - parts).max(axis=-1) > 1e-6
    assert np.argwhere(differs).tolist() == [[35, 3]]
    flat = features.reshape(40, -1) - features[train].reshape(30, -1).mean(axis=0)
    whole = parts.sum(axis=1)
    variances = np.linalg.svd(flat[train], compute_uv=False)[:3] ** 2
    np.testing.assert_allclose(
        (whole[train] ** 2).sum(axis=0) / (whole[train] ** 2).sum(),
        variances / variances.sum(),
        rtol=0.05,
    )


def test_choice_of_a_name():
    assert consensus(["red heart", "red heart", "blue heart", "", ""]) == "red heart"
    assert consensus(["", ""]) == ""
    assert word_f1(["red heart"], ["heart on fire"]) == pytest.approx(2 / 5)


def test_baselines():
    X = np.eye(3, dtype=np.float32)
    names = ["red heart", "blue heart", "cat"]
    assert nearest_names(X, 2 * X[[2, 0]], names) == ["cat", "red heart"]
    assert ridge_words(X, X[[2]], names) == ["cat"]
