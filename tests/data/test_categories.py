"""Tables of numbers and categories."""

from __future__ import annotations

import json

import numpy as np
import pytest

from bptt.data import SequenceEncoder
from tables import Table

ROWS = [
    [[1.0, "mon", 20, True], [2.0, "tue", 21, False]],
    [[5.0, "sun", 20, True]],
    [[0.0, "mon", 30, False], [1.0, None, 30, True], [2.0, "tue", float("nan"), True]],
]
NAMES = ["x", "day", "shop", "open"]
TABLES = [Table(np.array(rows, object), NAMES) for rows in ROWS]


def encoded(X, **options):
    encoder = SequenceEncoder(dtype="float64", **options).fit(X)
    return encoder, [np.array(encoder.transform(X)[i]) for i in range(len(X))]


@pytest.mark.parametrize("columns", [[1, 2], ["day", "shop"], ("shop", -3), np.array([1, 2])])
def test_one_hot_columns_after_the_numbers(columns):
    encoder, found = encoded(TABLES, categorical_features=columns)
    # x, open; mon, sun, tue; 20, 21, 30
    expected = [
        [[1, 1, 1, 0, 0, 1, 0, 0], [2, 0, 0, 0, 1, 0, 1, 0]],
        [[5, 1, 0, 1, 0, 1, 0, 0]],
        [[0, 0, 1, 0, 0, 0, 0, 1], [1, 1, 0, 0, 0, 0, 0, 1], [2, 1, 0, 0, 1, 0, 0, 0]],
    ]
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)
    assert (encoder.kind, encoder.size, encoder.num_features) == ("features", 8, 4)
    assert encoder.feature_names == tuple(NAMES)
    assert encoder.describe() == "2 numbers per step and 2 categorical features (3, 3 categories)"


def test_rows_without_names_and_lengths():
    encoder, found = encoded(ROWS, categorical_features=[1, 2])
    expected = encoded(TABLES, categorical_features=[1, 2])[1]
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)
    cut = encoder.transform(ROWS, [1, 0, 2])
    assert cut.lengths.tolist() == [1, 0, 2]
    np.testing.assert_array_equal(cut[2], expected[2][:2])
    with pytest.raises(ValueError, match=r"lengths must lie in \[0, steps\] = \[0, 1\], got 2"):
        encoder.transform(ROWS, [1, 2, 2])


def test_a_padded_array_of_numbers_with_codes():
    X = np.array([[[0.5, 3.0], [1.5, 7.0]], [[2.5, 3.0], [np.inf, 99.0]]])
    encoder = SequenceEncoder(categorical_features=[1]).fit(X, [2, 1])
    found = encoder.transform(X, [2, 1])
    np.testing.assert_array_equal(found[0], [[0.5, 1, 0], [1.5, 0, 1]])
    np.testing.assert_array_equal(found[1], [[2.5, 1, 0]])
    assert encoder.category_vocabularies[0].tokens == ("<unk>", "3", "7")


def test_from_dtype():
    encoder, found = encoded(TABLES[:2], categorical_features="from_dtype")
    assert encoder._places == (1,)  # a table holds one value of another type in "shop"
    assert found[0].shape == (2, 6)
    with pytest.raises(TypeError, match="needs tables with named columns"):
        encoded(ROWS, categorical_features="from_dtype")


def test_pandas():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(
        {
            "id": [1, 1, 2, 2, 2],
            "x": [1.0, 2.0, 3.0, None, 5.0],
            "day": ["mon", "tue", "mon", "sun", None],
            "grade": pandas.Categorical([3, 1, 3, 3, 1]),
            "n": pandas.array([1, None, 3, 4, 5], dtype="Int64"),
        }
    )
    options = {"categorical_features": "from_dtype", "missing": "mask", "scale": True}
    groups = frame.groupby("id")
    encoder = SequenceEncoder(**options).fit(groups)
    assert encoder.feature_names == ("x", "day", "grade", "n")
    assert [one.tokens[1:] for one in encoder.category_vocabularies] == [
        ("mon", "sun", "tue"),
        ("1", "3"),
    ]
    assert encoder.size == 3 * 2 + 3 + 2
    found = encoder.transform(groups)
    assert np.isfinite(found.values).all()
    np.testing.assert_array_equal(found[1][:, 6:9], [[1, 0, 0], [0, 1, 0], [0, 0, 0]])
    np.testing.assert_array_equal(found[1][:, 2:4], [[1, 1], [0, 1], [1, 1]])


def test_only_categories():
    _, found = encoded([[["a"], ["b"]], [["c"]]], categorical_features=[0])
    np.testing.assert_array_equal(found[0], [[1, 0, 0], [0, 1, 0]])
    _, found = encoded([[["a"], ["b"]], [["c"]]], categorical_features=[0], scale=True)
    np.testing.assert_array_equal(found[1], [[0, 0, 1]])


def test_files():
    encoder = SequenceEncoder(categorical_features=["day", 2], scale=True).fit(TABLES[:2])
    content = json.loads(json.dumps(encoder.to_dict()))
    again = SequenceEncoder.from_dict(content)
    assert again.describe() == encoder.describe()
    for i in range(2):
        np.testing.assert_array_equal(
            again.transform(TABLES[:2])[i], encoder.transform(TABLES[:2])[i]
        )
    for changes in (
        {"categories": [["<unk>", "a"]]},
        {"categories": [None, ["<unk>"]]},
        {"categories": [["a"], ["<unk>"]]},
        {"categorical_places": ["a", 1]},
        {"size": 3},
        {"kind": "ids"},
    ):
        with pytest.raises((TypeError, ValueError)):
            SequenceEncoder.from_dict({**content, **changes})


@pytest.mark.parametrize(
    ("columns", "error", "message"),
    [
        ("day", ValueError, r"got 'day': use \['day'\] for one column"),
        (3, TypeError, "names or indices of columns, got int"),
        ([], ValueError, "at least one, and distinct"),
        ([1, 1], ValueError, "at least one, and distinct"),
        ([1.5], TypeError, "names or indices of columns, got float"),
        (["date"], ValueError, "must be columns of X, .*, got 'date'"),
        ([4], ValueError, r"must be in \[-4, 4\), got 4"),
    ],
)
def test_wrong_columns(columns, error, message):
    with pytest.raises(error, match=message):
        SequenceEncoder(categorical_features=columns).fit(TABLES)


def test_errors():
    mixed = {"categorical_features": [1]}
    with pytest.raises(TypeError, match="categorical_features, got 'mon' at step 0"):
        SequenceEncoder(categorical_features=[2]).fit(TABLES)
    with pytest.raises(TypeError, match="must be a list of tables with categorical_features"):
        SequenceEncoder(**mixed).fit(TABLES[0])
    with pytest.raises(ValueError, match=r"X\[0\] must be a table of shape \(T, columns\)"):
        SequenceEncoder(**mixed).fit([[1.0, 2.0]])
    with pytest.raises(ValueError, match=r"X\[1\] must have 4 columns, as X\[0\], got 2"):
        SequenceEncoder(**mixed).fit([ROWS[0], [[1.0, "a"]]])
    with pytest.raises(ValueError, match="at least one sequence, got none"):
        SequenceEncoder(**mixed).fit([])
    with pytest.raises(ValueError, match="at least one step, got none"):
        SequenceEncoder(**mixed).fit([np.empty((0, 4), object)])
    many = [[[0.0, f"c{i}"] for i in range(1001)]]
    with pytest.raises(ValueError, match="column 1 must have at most 1,000 categories"):
        SequenceEncoder(**mixed).fit(many)
    with pytest.raises(ValueError, match="got NaN at step 2, feature 1: fill it in, or"):
        SequenceEncoder(**mixed).fit(TABLES).transform(TABLES)
    encoder = SequenceEncoder(categorical_features=["day"], missing="mask").fit(TABLES)
    other = [Table(np.array(rows, object)[:, ::-1], NAMES[::-1]) for rows in ROWS]
    with pytest.raises(ValueError, match="The feature names should match"):
        encoder.transform(other)
    with pytest.raises(TypeError, match="select the columns to learn from, or name it in categor"):
        SequenceEncoder().fit(TABLES)
