"""Streams: windows of iterators, arrays and files, and the places that errors name."""

from __future__ import annotations

import re

import numpy as np
import pytest

from bptt.data import SequenceEncoder, Standardizer, Stream, TargetEncoder
from bptt.data._moments import Moments

TEXTS = [chr(97 + i % 26) * (1 + i % 5) for i in range(2500)]
LABELS = [i % 3 for i in range(2500)]


def read(stream, size=None, start=0, keep=None):
    """All windows, with the places of their sequences."""
    size = stream.window if size is None else size
    found = list(stream._windows(size, start, keep))
    places = [window._place(i) for window in found for i in range(len(window.x))]
    x = [item for window in found for item in window.x]
    y = None if found[0].y is None else [item for window in found for item in window.y]
    return [len(window.x) for window in found], x, y, places


# ---- iterators


@pytest.mark.parametrize("size", [1, 100, 1024, 2499, 2500, 9000])
def test_windows_are_consecutive(size):
    sizes, x, y, places = read(Stream(lambda: zip(TEXTS, LABELS, strict=True), window=size))
    assert (x, y) == (TEXTS, LABELS)
    assert sizes == [size] * (2500 // size) + ([2500 % size] if 2500 % size else [])
    assert places == [f"sequence {i}" for i in range(2500)]


@pytest.mark.parametrize("start", [0, 1, 1023, 1024, 2400])
def test_windows_from_any_sequence_on(start):
    _, x, y, places = read(Stream(TEXTS), 300, start)
    assert x == TEXTS[start:]
    assert y is None
    assert places[0] == f"sequence {start}"


def test_windows_of_a_part():
    keep = lambda numbers: numbers % 7 == 3  # noqa: E731
    sizes, x, _, places = read(Stream(TEXTS), 100, 0, keep)
    assert x == TEXTS[3::7]
    assert sizes == [100, 100, 100, 57]
    assert places[:2] == ["sequence 3", "sequence 10"]


def test_public_windows():
    found = list(Stream(zip_of_lists(), window=2).windows())
    assert found == [(["a", "b"], [0, 1]), (["c"], [0])]


def zip_of_lists():
    return [("a", 0), ("b", 1), ("c", 0)]


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        (3, TypeError, "source must be a function that returns an iterator, got int"),
        ("abc", TypeError, "source must be a function that returns an iterator, got str"),
        (
            iter(["a"]),
            TypeError,
            "source must give its sequences in every epoch anew, got the iterator list_iterator: "
            "pass the function that makes it, or a list",
        ),
    ],
)
def test_wrong_source(source, error, message):
    with pytest.raises(error) as caught:
        Stream(source)
    assert str(caught.value) == message


def test_wrong_records():
    with pytest.raises(TypeError, match="source must return an iterator of sequences, got int"):
        list(Stream(lambda: 3).windows())
    with pytest.raises(ValueError, match=r"sequence 2 must be a pair \(x, y\), as before, got str"):
        list(Stream([("a", 0), ("b", 1), "c"]).windows())
    with pytest.raises(ValueError, match="sequence 1 must be a sequence, and no pair"):
        list(Stream(["a", ("b", 1)]).windows())
    with pytest.raises(ValueError, match="window must be an integer >= 1, got 0"):
        Stream([], window=0)


# ---- arrays


def test_padded_arrays(tmp_path):
    x = np.arange(2500 * 4, dtype=np.float32).reshape(2500, 4)
    lengths = np.arange(2500) % 5
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "y.npy", LABELS)
    stream = Stream.from_arrays(tmp_path / "x.npy", tmp_path / "y.npy", lengths=lengths)
    sizes, found, y, _ = read(stream, 1000)
    assert (sizes, y) == ([1000, 1000, 500], LABELS)
    for row, item, length in zip(x, found, lengths, strict=True):
        assert np.array_equal(row[:length], item)


def test_arrays_with_offsets():
    values = np.random.default_rng(0).normal(size=(1000, 3))
    offsets = np.array([0, 5, 5, 900, 1000])
    stream = Stream.from_arrays(values, np.arange(1000), offsets=offsets)
    _, x, y, _ = read(stream, 3)
    assert [len(item) for item in x] == [5, 0, 895, 100]
    assert np.array_equal(np.concatenate(x), values)
    assert np.array_equal(np.concatenate(y), np.arange(1000))
    _, _, y, _ = read(Stream.from_arrays(values, np.arange(4), offsets=offsets), 3)
    assert y == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"x": np.zeros(3)}, r"x must have shape (B, T) or (B, T, I) and hold numbers or strings"),
        ({"x": np.zeros((3, 2)), "y": np.zeros(2)}, "y must have a target for each of 3 sequences"),
        (
            {"x": np.zeros(3), "offsets": [0, 1], "lengths": [1]},
            "lengths and offsets cannot be combined",
        ),
        ({"x": np.zeros((2, 3)), "lengths": [1, 4]}, "lengths must lie in [0, steps] = [0, 3]"),
    ],
)
def test_wrong_arrays(arguments, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        Stream.from_arrays(**arguments)


def test_wrong_offsets_and_files(tmp_path):
    stream = Stream.from_arrays(np.zeros(3), offsets=[0, 2, 1, 3])
    with pytest.raises(ValueError, match=r"offsets must be in ascending order and in \[0, 3\]"):
        list(stream.windows())
    (tmp_path / "x.npy").write_text("no array")
    with pytest.raises(ValueError, match=r"x must be a .npy file, got .*x.npy"):
        Stream.from_arrays(tmp_path / "x.npy")
    with pytest.raises(FileNotFoundError):
        Stream.from_arrays(tmp_path / "y.npy")


# ---- files


@pytest.fixture
def arrow():
    return pytest.importorskip("pyarrow")


def write(arrow, path, columns, *, rows=None):
    """Write a table as the suffix says; `rows` of a group or batch."""
    table = arrow.table(columns)
    if path.suffix == ".parquet":
        parquet = pytest.importorskip("pyarrow.parquet")
        parquet.write_table(table, path, row_group_size=rows)
        return
    new = arrow.ipc.new_stream if path.suffix == ".arrow" else arrow.ipc.new_file
    with new(path, table.schema) as writer:
        writer.write_table(table, max_chunksize=rows)


@pytest.mark.parametrize("suffix", ["parquet", "arrow", "feather"])
def test_files_of_a_folder(arrow, tmp_path, suffix):
    (tmp_path / "b").mkdir()
    borders = [0, 700, 700, 1900, 2500]  # one is empty
    names = ["a1", "a2", "b/c", "d"]
    for name, first, last in zip(names, borders[:-1], borders[1:], strict=True):
        columns = {"other": np.zeros(last - first), "t": TEXTS[first:last], "n": LABELS[first:last]}
        columns["t"] = arrow.array(columns["t"], arrow.string())
        write(arrow, tmp_path / f"{name}.{suffix}", columns, rows=300)
    (tmp_path / f".hidden.{suffix}").write_bytes(b"")
    (tmp_path / "readme.txt").write_text("no data")
    stream = Stream.from_files(tmp_path, "t", "n", window=400)
    for start in (0, 1, 699, 700, 701, 1999, 2499):
        _, x, y, _ = read(stream, 400, start)
        assert (x, y) == (TEXTS[start:], LABELS[start:])
    name = tmp_path / "b" / f"c.{suffix}"
    assert read(stream)[3][1899] == f"{name}, row 1199"
    with_one = Stream.from_files([tmp_path / f"d.{suffix}"], "t")
    assert read(with_one)[1:3] == (TEXTS[1900:], None)


def test_columns_of_lists(arrow, tmp_path):
    rng = np.random.default_rng(0)
    tokens = [["a", "bc"], [], ["a"]]
    ids = [[0, 2], [1], []]
    features = [rng.normal(size=(n, 2)).tolist() for n in (1, 3, 2)]
    missing = [["x", None], ["y"], []]
    columns = {"tokens": tokens, "ids": ids, "features": features, "tags": missing}
    write(arrow, tmp_path / "x.parquet", columns)
    found = {name: read(Stream.from_files(tmp_path, name))[1] for name in columns}
    assert found["tokens"] == tokens
    assert found["tags"] == missing
    assert [item.tolist() for item in found["ids"]] == ids
    assert found["ids"][0].dtype.kind == "i"
    encoder = SequenceEncoder(dtype="float64").fit(found["features"])
    encoded = encoder.transform(found["features"])
    for i, rows in enumerate(features):
        assert encoded[i].tolist() == rows


def test_wrong_files(arrow, tmp_path):
    with pytest.raises(FileNotFoundError, match="path must be a folder or a file that exists"):
        Stream.from_files(tmp_path / "none", "t")
    with pytest.raises(ValueError, match=r"path must have at least one file \(.arrow, .feather"):
        Stream.from_files(tmp_path, "t")
    write(arrow, tmp_path / "a.parquet", {"t": ["a"]})
    with pytest.raises(ValueError, match=r"a.parquet must have the column 'u', has t"):
        Stream.from_files(tmp_path, "u")
    with pytest.raises(TypeError, match="y must be the name of a column, got int"):
        Stream.from_files(tmp_path, "t", 3)
    (tmp_path / "a.csv").write_text("t")
    with pytest.raises(ValueError, match="path must have one of the suffixes"):
        Stream.from_files(tmp_path / "a.csv", "t")
    (tmp_path / "b.parquet").write_bytes(b"broken")
    with pytest.raises(ValueError, match=r"cannot read .*b.parquet: "):
        Stream.from_files(tmp_path, "t")


def test_damaged_rows(arrow, tmp_path):
    path = tmp_path / "a.parquet"
    write(arrow, path, {"t": TEXTS}, rows=100)
    content = bytearray(path.read_bytes())
    stream = Stream.from_files(path, "t")
    content[40:400] = bytes(360)
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"cannot read .*a.parquet: "):
        list(stream.windows())


def test_without_pyarrow(monkeypatch, tmp_path):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(ImportError, match=r"needs pyarrow: pip install 'bptt\[arrow\]'"):
        Stream.from_files(tmp_path, "t")


# ---- what is learned in parts


def in_parts(make, X, parts):
    encoder = make()
    encoder._begin()
    for part in parts:
        encoder._learn(X[part], check=True)
    return encoder._finish()


PARTS = [slice(0, 7), slice(7, 8), slice(8, 30)]


@pytest.mark.parametrize(
    "make",
    [
        lambda: SequenceEncoder(min_count=2),
        lambda: SequenceEncoder(tokens="words", affixes=2, characters=True),
        lambda: TargetEncoder(),
    ],
)
def test_vocabulary_in_parts(make):
    rng = np.random.default_rng(0)
    texts = ["".join(rng.choice(list("abcdefgh "), rng.integers(0, 12))) for _ in range(30)]
    assert in_parts(make, texts, PARTS).to_dict() == make().fit(texts).to_dict()


def test_ids_in_parts():
    ids = [np.array([i, 5]) for i in range(29)] + [np.array([200_000])]
    dense = in_parts(SequenceEncoder, ids[:29], [slice(0, 10), slice(10, 29)])
    assert dense.size == 29
    with pytest.raises(ValueError, match=r"ids from 10,000 on must be at most 100 times.*30, got"):
        SequenceEncoder().fit(ids)
    with pytest.raises(ValueError, match=r"ids from 10,000 on must be at most 100 times.*, 30"):
        in_parts(SequenceEncoder, ids, PARTS)
    with pytest.raises(TypeError, match="X must hold integer ids, as before, got numbers"):
        in_parts(SequenceEncoder, [*ids[:2], np.array([0.5])], [slice(0, 2), slice(2, 3)])


@pytest.mark.parametrize("missing", ["error", "mask", "decay"])
@pytest.mark.parametrize("scale", [False, True])
def test_scaling_in_parts(missing, scale):
    rng = np.random.default_rng(0)
    X = [rng.normal(size=(rng.integers(1, 9), 3)) * [1, 100, 0] + [5, 0, 7] for _ in range(30)]
    if missing != "error":
        for x in X:
            x[rng.random(x.shape) < 0.3] = np.nan
        X[7][:] = np.nan  # a part without any observation

    def make():
        return SequenceEncoder(scale=scale, missing=missing, dtype="float64")

    whole, found = make().fit(X), in_parts(make, X, PARTS)
    assert found.size == whole.size
    if whole.standardizer is None:
        assert found.standardizer is None
        return
    np.testing.assert_allclose(found.standardizer.mean, whole.standardizer.mean, rtol=1e-12)
    np.testing.assert_allclose(found.standardizer.std, whole.standardizer.std, rtol=1e-12)


def test_moments():
    values = np.random.default_rng(0).normal(5.0, 3.0, (1000, 2))
    parts = Moments.of_none(2)
    for part in np.split(values, [1, 10, 700]):
        parts = parts + Moments.of(part)
    assert parts.count.tolist() == [1000, 1000]
    np.testing.assert_allclose(parts.mean, values.mean(axis=0), rtol=1e-14)
    np.testing.assert_allclose(parts.variance, values.var(axis=0), rtol=1e-13)
    one = Standardizer.from_values(values)
    assert np.array_equal(one.std, values.std(axis=0))
