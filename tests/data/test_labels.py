"""Labels of any type as ids."""

from __future__ import annotations

import json

import numpy as np
import pytest

from bptt.data.labels import LabelEncoder


def objects(items):
    array = np.empty(len(items), object)
    array[:] = items
    return array


@pytest.mark.parametrize(
    "y",
    [
        ["b", "a", "b"],
        np.array(["b", "a", "b"]),
        np.array(["b", "a", "b"], object),
        [3, -1, 3],
        (np.int8(3), np.int8(-1), np.int8(3)),
        np.array([3, -1, 3], np.int16),
        [2.0, 1.0, 2.0],
        [True, False, True],
        np.array([True, False, True]),
        np.array([["b"], ["a"], ["b"]]),
    ],
)
def test_classes_are_those_of_unique(y):
    encoder = LabelEncoder().fit(y)
    expected = np.unique(np.array(list(y)))
    given = np.ravel(y)
    np.testing.assert_array_equal(encoder.classes_, expected)
    assert encoder.classes_.dtype == (expected if isinstance(y, (list, tuple)) else y).dtype or (
        isinstance(y, np.ndarray) and y.dtype == object
    )
    ids = encoder.transform(y)
    assert ids.tolist() == [1, 0, 1]
    assert ids.dtype == np.int32
    np.testing.assert_array_equal(encoder.classes_[ids], given)
    again = LabelEncoder.from_dict(json.loads(json.dumps(encoder.to_dict())))
    assert again.classes_.dtype == encoder.classes_.dtype
    np.testing.assert_array_equal(again.classes_, encoder.classes_)
    assert again.transform(y).tolist() == [1, 0, 1]


@pytest.mark.parametrize(
    "y",
    [
        [["N", "V"], [], ["D"]],
        ["NV", "", "D"],
        [np.array(["N", "V"]), np.array([]), ("D",)],
        objects([["N", "V"], [], ["D"]]),
    ],
)
def test_labels_per_step(y):
    encoder = LabelEncoder(steps=True).fit(y)
    assert encoder.classes_.tolist() == ["D", "N", "V"]
    labels = encoder.transform(y, np.array([2, 0, 1]))
    assert [ids.tolist() for ids in labels] == [[1, 2], [], [0]]
    padded, lengths = labels.pad(np.arange(3))
    assert padded.tolist() == [[1, 2], [0, 0], [0, 0]]
    assert lengths.tolist() == [2, 0, 1]
    again = LabelEncoder.from_dict(encoder.to_dict())
    np.testing.assert_array_equal(again.transform(y).values, labels.values)


def test_padded_labels_per_step():
    y = np.array([[7, 5, 99], [5, -1, 7]])  # 99 and -1 are padding
    encoder = LabelEncoder(steps=True).fit(y, [2, 1])
    assert encoder.classes_.tolist() == [5, 7]
    assert encoder.classes_.dtype == y.dtype
    assert [ids.tolist() for ids in encoder.transform(y, [2, 1])] == [[1, 0], [0]]
    with pytest.raises(
        ValueError, match=r"^y\[0\] must hold known labels \(5, 7\), got 99; fit\(\.\., cl"
    ):
        encoder.transform(y, [3, 1])


def test_labels_are_encoded_by_classes_of_other_data():
    encoder = LabelEncoder(steps=True).fit([["a", "b", "c"]])
    assert encoder.transform(["ca"], [2])[0].tolist() == [2, 0]


@pytest.mark.parametrize(
    ("y", "error", "message"),
    [
        ([], ValueError, "y must have at least one label, got none"),
        ("ab", TypeError, "y must be a list or an array of labels, got str"),
        (None, TypeError, "y must be a list or an array of labels, got NoneType"),
        (np.ones((3, 2)), ValueError, "y must have shape (B,), got (3, 2)"),
        ([1, "a"], TypeError, "y must hold labels that can be sorted: '<' not supported"),
        ([[1], [2]], TypeError, "y must hold one label per sequence, single values, got a list"),
        ([{}, {}], TypeError, "y must hold one label per sequence, single values, got a dict"),
        ([(1, 2), (3, 4)], TypeError, "y must hold labels that are single values, got (1, 2)"),
        ([0.5, 1.0], ValueError, "Unknown label type: y must hold classes, got 0.5"),
        (np.array([1, np.nan]), ValueError, "Input y contains NaN or None: labels must not"),
        ([1.0, float("inf")], ValueError, "Input y contains NaN or infinity"),
    ],
)
def test_fit_refuses_invalid_labels(y, error, message):
    with pytest.raises(error) as caught:
        LabelEncoder().fit(y)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("y", "error", "message"),
    [
        (["NV", "D"], ValueError, "y must have 3 sequences, as X, got 2"),
        (
            ["NV", "D", "D"],
            ValueError,
            "y[1] must have a label for each of the 0 steps of X[1], got 1",
        ),
        (
            ["N", "", "D"],
            ValueError,
            "y[0] must have a label for each of the 2 steps of X[0], got 1",
        ),
        (["NX", "", "D"], ValueError, "y[0] must hold known labels ('D', 'N', 'V'), got 'X'"),
        (
            [["N", ["V"]], "", "D"],
            ValueError,
            "y[0] must hold known labels ('D', 'N', 'V'), got ['V']",
        ),
        ("NVD", TypeError, "y must be a list of sequences of labels, got str"),
        ([1, 2, 3], TypeError, "y[0] must be a list or an array of labels, got int"),
        (
            np.array([["N"]] * 3),
            ValueError,
            "y[0] must have a label for each of the 2 steps of X[0], got 1",
        ),
        (np.ones((3, 2, 1)), ValueError, "y[0] must have shape (T,), got (2, 1)"),
    ],
)
def test_transform_refuses_labels_that_do_not_match(y, error, message):
    encoder = LabelEncoder(steps=True).fit(["NV", "", "D"])
    with pytest.raises(error) as caught:
        encoder.transform(y, np.array([2, 0, 1]))
    assert message in str(caught.value)


def test_unknown_labels():
    encoder = LabelEncoder().fit(np.arange(100))
    rule = r"^y must hold known labels \(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, \.\.\.\), got 100; fit"
    with pytest.raises(ValueError, match=rule):
        encoder.transform([5, 100])
    with pytest.raises(ValueError, match="got 'a'"):
        encoder.transform(np.array(["a"]))
    with pytest.raises(ValueError, match=r"^X must hold known labels"):
        encoder.transform([-1], name="X")


@pytest.mark.parametrize("change", [{"steps": 1}, {"classes": [[1], [2, 3]]}, {"dtype": "x"}])
def test_from_dict_checks_its_content(change):
    content = {**LabelEncoder().fit([1, 2]).to_dict(), **change}
    with pytest.raises((TypeError, ValueError)):
        LabelEncoder.from_dict(content)
