"""Sequences and targets in containers of pandas, Polars, Arrow and Hugging Face datasets."""

from __future__ import annotations

import re

import numpy as np
import pytest

pytest.importorskip("sklearn")

import bptt
from bptt.data import SequenceEncoder

SMALL = {"hidden_size": 2, "epochs": 1, "random_state": 0}
NUMBERS = [[1.0, 2.5], [3.0], [4.0, 5.0, 6.0]]
IDS = [[1, 2], [3], [4, 5, 6]]
FEATURES = [[[1.0, 2.0], [3.0, 4.0]], [[5.0, 6.0]], [[7.0, 8.0]]]
TEXTS = ["b a", "c", "a c b"]
TOKENS = [["b", "a"], ["c"], ["a", "c", "b"]]
GAPS = [[1.0, None], [3.0], [None, 5.0, 6.0]]


def pandas_column(rows):
    return pytest.importorskip("pandas").Series(rows, index=range(5, 5 + len(rows)))


def pandas_arrow_column(rows):
    pandas, arrow = pytest.importorskip("pandas"), pytest.importorskip("pyarrow")
    array = arrow.array(rows)
    return pandas.Series(array, dtype=pandas.ArrowDtype(array.type))


def pandas_table(rows):
    return pytest.importorskip("pandas").DataFrame({"x": rows})


def polars_column(rows):
    return pytest.importorskip("polars").Series(rows)


def polars_table(rows):
    return pytest.importorskip("polars").DataFrame({"x": rows})


def arrow_column(rows):
    return pytest.importorskip("pyarrow").array(rows)


def arrow_chunks(rows):
    return pytest.importorskip("pyarrow").chunked_array([rows[:1], rows[1:]])


def arrow_table(rows):
    return pytest.importorskip("pyarrow").table({"x": rows})


def dataset_column(rows):
    return pytest.importorskip("datasets").Dataset.from_dict({"x": rows})["x"]


def dataset_of_numpy(rows):
    dataset = pytest.importorskip("datasets").Dataset.from_dict({"x": [*rows[::-1], rows[0]]})
    return dataset.with_format("numpy").select(range(len(rows) - 1, -1, -1))["x"]


def dataset(rows):
    return pytest.importorskip("datasets").Dataset.from_dict({"x": rows})


COLUMNS = [
    pandas_column,
    pandas_arrow_column,
    polars_column,
    arrow_column,
    arrow_chunks,
    dataset_column,
    dataset_of_numpy,
    dataset,
]
TABLES = [pandas_table, polars_table, arrow_table]
every_column = pytest.mark.parametrize("column", COLUMNS)
every_container = pytest.mark.parametrize("column", COLUMNS + TABLES)


def encoded(X, **options):
    encoder = SequenceEncoder(dtype="float64", **options).fit(X)
    found = encoder.transform(X)
    return encoder.kind, encoder.size, [found[i].tolist() for i in range(len(found))]


# ---- columns


@every_container
@pytest.mark.parametrize("rows", [NUMBERS, IDS, FEATURES, TOKENS])
def test_columns_of_lists(column, rows):
    assert encoded(column(rows), tokens=None) == encoded(rows, tokens=None)


@every_container
@pytest.mark.parametrize("tokens", ["characters", "words"])
def test_columns_of_texts(column, tokens):
    assert encoded(column(TEXTS), tokens=tokens) == encoded(TEXTS, tokens=tokens)


@every_container
def test_missing_numbers_are_nan(column):
    expected = [[np.nan if x is None else x for x in row] for row in GAPS]
    assert encoded(column(GAPS), missing="mask") == encoded(expected, missing="mask")
    with pytest.raises(
        ValueError, match=r"^X\[0\] must be finite .*, got NaN at step 1, feature 0"
    ):
        encoded(column(GAPS))


@every_container
def test_missing_tokens_are_refused(column):
    for rows, step in (([["a", None], ["b"]], 1), ([["c"], [None, "a"]], 0)):
        message = rf"\] must not have missing tokens, got (None|nan|<NA>) at step {step}: fill them"
        with pytest.raises(TypeError, match=message):
            encoded(column(rows), tokens=None)


@every_column
def test_missing_sequences_are_refused(column):
    for rows in (["ab", None], [[1.0], None], [["a"], None]):
        with pytest.raises(TypeError, match=r"^X\[1\] must not be missing, got "):
            encoded(column(rows))


def test_fixed_sizes():
    polars, arrow = pytest.importorskip("polars"), pytest.importorskip("pyarrow")
    rows = [[1.0, 2.0], [3.0, 4.0]]
    for X in (
        polars.Series(rows, dtype=polars.Array(polars.Float32, 2)),
        arrow.array(rows, arrow.list_(arrow.float32(), 2)),
        arrow.array([[0.0], *rows], arrow.large_list(arrow.float64()))[1:],
    ):
        assert encoded(X) == encoded(rows)


def test_transformed_datasets():
    datasets = pytest.importorskip("datasets")
    doubled = datasets.Dataset.from_dict({"x": NUMBERS}).with_transform(
        lambda batch: {"x": [[2 * value for value in row] for row in batch["x"]]}
    )
    expected = [[2 * value for value in row] for row in NUMBERS]
    assert encoded(doubled["x"]) == encoded(expected)


def test_containers_without_sequences():
    polars, datasets = pytest.importorskip("polars"), pytest.importorskip("datasets")
    several = datasets.Dataset.from_dict({"x": NUMBERS, "y": [0, 1, 0]})
    with pytest.raises(
        TypeError, match=r"one column, got \['x', 'y'\]: select one, as dataset\['x"
    ):
        encoded(several)
    with pytest.raises(TypeError, match=r"one column, got \[\]$"):
        encoded(datasets.Dataset.from_dict({}))
    with pytest.raises(TypeError, match=r"got IterableColumn: use list\(X\)$"):
        encoded(several.to_iterable_dataset()["x"])
    with pytest.raises(TypeError, match=r"in memory, got LazyFrame: use table.collect\(\)$"):
        encoded(polars.DataFrame({"x": NUMBERS}).lazy())


# ---- tables


@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow"])
def test_lists_of_tables(library):
    module = pytest.importorskip(library)
    make = module.table if library == "pyarrow" else module.DataFrame
    rows = [[[1.0, 3.0], [np.nan, 4.0]], [[5.0, 6.0]]]
    X = [make({"a": [1.0, None], "b": [3.0, 4.0]}), make({"a": [5.0], "b": [6.0]})]
    assert encoded(X, missing="mask") == encoded(rows, missing="mask")
    model = bptt.SequenceClassifier(missing="mask", **SMALL).fit(X, [0, 1])
    assert model.feature_names_in_.tolist() == ["a", "b"]
    with pytest.raises(ValueError, match="The feature names should match"):
        model.predict([make({"b": [3.0], "a": [1.0]})])
    with pytest.raises(
        ValueError, match=r"X\[1\] must have the columns of X\[0\].*\['a', 'b'\], g"
    ):
        model.fit([X[0], make({"a": [5.0]})], [0, 1])
    mixed = [make({"a": [1.0, 2.0], "day": ["mon", "tue"]}), make({"a": [0.0], "day": ["mon"]})]
    cells = [[[1.0, "mon"], [2.0, "tue"]], [[0.0, "mon"]]]
    for categories in (["day"], "from_dtype"):
        found = encoded(mixed, categorical_features=categories)
        assert found == encoded(cells, categorical_features=[1])
    with pytest.raises(TypeError, match="all columns must hold real numbers, got 'day' of"):
        encoded(mixed)


@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow"])
def test_long_tables_are_refused(library):
    module = pytest.importorskip(library)
    make = module.table if library == "pyarrow" else module.DataFrame
    message = r"a table of \['who', 'x'\]: select a column, or group the steps of every sequence, w"
    for values in ([1.0, 2.0, 3.0], NUMBERS):
        with pytest.raises(TypeError, match=message):
            encoded(make({"who": ["a", "a", "b"], "x": values}))


def test_nullable_columns():
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame(
        {"a": pandas.array([1, None], "Int64"), "b": pandas.array([0.5, None], "Float64")}
    )
    expected = encoded([[[1.0, 0.5], [np.nan, np.nan]]], missing="mask")
    assert encoded([table], missing="mask") == expected
    labels = pandas.array([3, 4], "Int64")
    assert bptt.SequenceClassifier(**SMALL).fit(["a", "b"], labels).classes_.tolist() == [3, 4]


def test_groups_of_polars():
    polars = pytest.importorskip("polars")
    table = polars.DataFrame({"who": list("yxyxy"), "a": np.arange(5.0), "b": np.ones(5)})
    parts = table.partition_by("who", include_key=False)
    for keys in ("who", polars.col("who")):
        groups = table.group_by(keys, maintain_order=True)
        assert encoded(groups) == encoded(parts)
        model = bptt.SequenceClassifier(**SMALL).fit(groups, [0, 1])
        assert model.feature_names_in_.tolist() == ["a", "b"]
    with pytest.raises(ValueError, match="groups must have a fixed order, got group_by"):
        encoded(table.group_by("who"))
    labels = table.group_by("who", maintain_order=True)
    tagger = bptt.SequenceTagger(**SMALL).fit(parts, [part["b"] for part in parts])
    assert [len(one) for one in tagger.predict(labels)] == [3, 2]


def test_a_table_of_steps_is_saved(tmp_path):
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("safetensors")
    X = pandas.DataFrame(np.random.default_rng(0).normal(size=(6, 4)), columns=list("abcd"))
    model = bptt.SequenceClassifier(**SMALL).fit(X, [0, 1] * 3)
    model.save(tmp_path / "model")
    again = bptt.load_estimator(tmp_path / "model")
    np.testing.assert_array_equal(again.predict_proba(X), model.predict_proba(X))


# ---- targets, weights and series


def same(first, second):
    if isinstance(first, (list, tuple)):
        return all(same(one, other) for one, other in zip(first, second, strict=True))
    np.testing.assert_array_equal(first, second)
    return True


def classes(y):
    model = bptt.SequenceClassifier(**SMALL).fit(NUMBERS, y)
    return [model.classes_, model.predict_proba(NUMBERS), model.score(NUMBERS, y)]


def several_classes(y):
    model = bptt.SequenceClassifier(multi_label=True, **SMALL).fit(NUMBERS, y)
    return [model.classes_, model.predict_proba(NUMBERS), model.score(NUMBERS, y)]


def numbers(y):
    model = bptt.SequenceRegressor(dtype="float64", **SMALL).fit(NUMBERS, y)
    return [model.predict(NUMBERS), round(model.score(NUMBERS, y), 12)]


def numbers_of_steps(y):
    model = bptt.SequenceRegressor(pool=None, **SMALL).fit(NUMBERS, y)
    return [*model.predict(NUMBERS), model.score(NUMBERS, y)]


def labels(y):
    model = bptt.SequenceTagger(**SMALL).fit(NUMBERS, y)
    return [model.classes_, *model.predict_proba(NUMBERS), model.score(NUMBERS, y)]


def translations(y):
    return bptt.EncoderDecoder(**SMALL).fit(NUMBERS, y).predict(NUMBERS)


def likelihood(X):
    model = bptt.LanguageModel(**SMALL).fit(X)
    return [model.predict_proba(X), model.score(X)]


def captions(X):
    return bptt.SequenceGenerator(**SMALL).fit(X, TEXTS).predict(X)


def weights(w):
    return bptt.SequenceRegressor(**SMALL).fit(NUMBERS, [1.0, 2.0, 3.0], None, w).predict(NUMBERS)


def weights_of_steps(w):
    model = bptt.SequenceRegressor(pool=None, **SMALL).fit(NUMBERS, NUMBERS, None, w)
    return model.predict(NUMBERS)


def forecasts(series):
    model = bptt.SequenceForecaster(lookback=3, missing="mask", **SMALL).fit(series)
    known = [float(i) for i in range(5)]
    return [model.history_["loss"], model.predict(known)]


SERIES = [[float(i % 5) for i in range(12)], [2.0 * i for i in range(9)]]


@every_column
@pytest.mark.parametrize(
    ("function", "values"),
    [
        (classes, ["a", "b", "a"]),
        (classes, [3, 1, 3]),
        (several_classes, [["a", "b"], [], ["b"]]),
        (numbers, [1.0, 2.0, 0.5]),
        (numbers, [[1.0, 2.0], [0.5, 1.0], [0.0, 1.0]]),
        (numbers_of_steps, NUMBERS),
        (numbers_of_steps, GAPS),
        (labels, TOKENS),
        (labels, IDS),
        (labels, [["a", None], ["b"], ["b", "b", "a"]]),
        (translations, TEXTS),
        (translations, IDS),
        (likelihood, TEXTS),
        (likelihood, IDS),
        (captions, ["x", "y", "z"]),
        (captions, [[1.0, 2.0], [0.5, 1.0], [0.0, 1.0]]),
        (weights, [1.0, 2.0, 0.5]),
        (weights_of_steps, NUMBERS),
        (forecasts, SERIES),
        (forecasts, [[*SERIES[0][:4], None, *SERIES[0]], SERIES[1]]),
        (forecasts, SERIES[0]),
        (forecasts, [*SERIES[0][:4], None, *SERIES[0]]),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_targets(column, function, values):
    assert same(function(column(values)), function(values))


@pytest.mark.parametrize("column", [polars_column, arrow_column, dataset_column])
def test_integer_labels_beside_missing_ones_stay_integers(column):
    model = bptt.SequenceTagger(**SMALL).fit(NUMBERS, column([[1, None], [1], [0, 1, 0]]))
    assert model.classes_.tolist() == [0, 1]
    assert model.classes_.dtype.kind == "i"


@pytest.mark.parametrize("column", TABLES)
def test_tables_of_one_column_of_targets(column):
    assert same(labels(column(TOKENS)), labels(TOKENS))
    assert same(numbers_of_steps(column(NUMBERS)), numbers_of_steps(NUMBERS))
    assert same(several_classes(column(TOKENS)), several_classes(TOKENS))


@every_column
def test_missing_labels_are_refused(column):
    for values in (["a", None, "a"], [1, None, 0]):
        message = r"labels must not be missing, got (None|nan|<NA>) in y\[1\]$"
        with pytest.raises(ValueError, match=message):
            classes(column(values))


@pytest.mark.parametrize("column", TABLES)
def test_tables_are_no_series(column):
    message = re.escape("series must be an array or a list of arrays, got a table: use [table]")
    with pytest.raises(TypeError, match=message):
        forecasts(column(SERIES[0]))


@pytest.mark.parametrize("column", COLUMNS[:-1])  # rows of a dataset are dicts
def test_cross_validation(column):
    from sklearn.model_selection import cross_val_score

    X = column([[float(i % 2)] * (1 + i % 3) for i in range(12)])
    y = np.arange(12) % 2
    model = bptt.SequenceClassifier(**{**SMALL, "epochs": 60, "learning_rate": 0.05})
    assert cross_val_score(model, X, y, cv=3, error_score="raise").tolist() == [1.0, 1.0, 1.0]
