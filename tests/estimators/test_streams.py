"""`fit` from streams: as from data in memory, resumed at any minibatch, in little memory."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

pytest.importorskip("sklearn")

import bptt
from bptt.data import Stream
from bptt.estimators._streams import _uniform

RNG = np.random.default_rng(0)
COUNT = 90
TEXTS = ["".join(RNG.choice(list("abcd "), RNG.integers(1, 15))) for _ in range(COUNT)]
LABELS = ["many" if text.count("a") > 2 else "few" for text in TEXTS]
TAGS = [["vowel" if c == "a" else "other" for c in text] for text in TEXTS]
SERIES = [RNG.normal(size=(RNG.integers(1, 9), 2)) * 50 + 9 for _ in range(COUNT)]
SUMS = [float(one.sum()) for one in SERIES]
STEPS = [one.sum(axis=1) for one in SERIES]
SMALL = {"hidden_size": 4, "epochs": 2, "batch_size": 8, "dropout": 0.2, "random_state": 0}

CASES = {
    "classifier": (bptt.SequenceClassifier(**SMALL), TEXTS, LABELS),
    "balanced": (bptt.SequenceClassifier(class_weight="balanced", **SMALL), TEXTS, LABELS),
    "ordinal": (bptt.SequenceClassifier(ordinal=["few", "many"], **SMALL), TEXTS, LABELS),
    "ids": (bptt.SequenceClassifier(**SMALL), [np.arange(len(t)) for t in TEXTS], LABELS),
    "regressor": (bptt.SequenceRegressor(scale=True, **SMALL), SERIES, SUMS),
    "masked": (bptt.SequenceRegressor(scale=True, missing="mask", **SMALL), SERIES, SUMS),
    "steps": (bptt.SequenceRegressor(scale=True, pool=None, **SMALL), SERIES, STEPS),
    "tagger": (bptt.SequenceTagger(class_weight="balanced", **SMALL), TEXTS, TAGS),
    "crf": (bptt.SequenceTagger(crf=True, **SMALL), TEXTS, TAGS),
    "language model": (bptt.LanguageModel(**SMALL), TEXTS, None),
    "generator": (bptt.SequenceGenerator(**SMALL), LABELS, TEXTS),
    "generator of features": (bptt.SequenceGenerator(**SMALL), np.eye(5)[np.arange(90) % 5], TEXTS),
    "encoder-decoder": (bptt.EncoderDecoder(tokens="words", **SMALL), TEXTS, TEXTS[::-1]),
}


def clone(model, **changed):
    return type(model)(**{**model.get_params(), **changed})


def stream(X, y, window=COUNT):
    if y is None:
        return Stream(lambda: iter(X), window=window)
    return Stream(lambda: zip(X, y, strict=True), window=window)


def weights(model):
    return [module._flat.copy() for module in model._task().modules.values()]


def check_equal(model, other):
    assert all(map(np.array_equal, weights(model), weights(other)))
    epochs, others = model.history_, other.history_
    assert [e._replace(seconds=0) for e in epochs] == [e._replace(seconds=0) for e in others]
    assert model._fitted_state() == other._fitted_state()


@pytest.mark.parametrize("name", CASES)
def test_one_window_has_the_bits_of_data_in_memory(name):
    model, X, y = CASES[name]
    validation = (X[:20], None if y is None else y[:20])
    expected = clone(model).fit(X, y, validation=X[:20] if y is None else validation)
    found = clone(model).fit(stream(X, y), validation=stream(X[:20], validation[1]))
    check_equal(found, expected)


@pytest.mark.parametrize("name", CASES)
def test_small_windows_learn_the_same_encoders(name):
    model, X, y = CASES[name]
    expected = clone(model, epochs=1).fit(X, y)
    found = clone(model, epochs=1).fit(stream(X, y, 16))
    if not model.scale:
        assert found._fitted_state() == expected._fitted_state()
    else:
        scales = [one.encoder_.standardizer for one in (found, expected)]
        scales += [one._standardizer for one in (found, expected)]
        for one, other in zip(scales[::2], scales[1::2], strict=True):
            np.testing.assert_allclose(one.mean, other.mean, rtol=1e-6)
            np.testing.assert_allclose(one.std, other.std, rtol=1e-6)
    assert [len(w) for w in weights(found)] == [len(w) for w in weights(expected)]
    assert found.history_[0].loss == pytest.approx(expected.history_[0].loss, rel=0.2)


def test_files_and_arrays(tmp_path):
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")

    for i in range(3):
        part = slice(30 * i, 30 * i + 30)
        table = arrow.table({"text": TEXTS[part], "label": LABELS[part]})
        parquet.write_table(table, tmp_path / f"{i}.parquet", row_group_size=7)
    model = bptt.SequenceClassifier(**SMALL)
    files = Stream.from_files(tmp_path, "text", "label", window=COUNT)
    check_equal(clone(model).fit(files), clone(model).fit(TEXTS, LABELS))

    offsets = np.cumsum([0, *map(len, SERIES)])
    np.save(tmp_path / "x.npy", np.concatenate(SERIES))
    np.save(tmp_path / "sums.npy", SUMS)
    np.save(tmp_path / "steps.npy", np.concatenate(STEPS))
    for y, name, pool in ((SUMS, "sums", "last"), (STEPS, "steps", None)):
        model = bptt.SequenceRegressor(pool=pool, scale=True, **SMALL)
        files = [tmp_path / "x.npy", tmp_path / f"{name}.npy"]
        arrays = Stream.from_arrays(*files, offsets=offsets, window=COUNT)
        check_equal(clone(model).fit(arrays), clone(model).fit(SERIES, y))


# ---- resumed


class Interrupt:
    def __init__(self, after):
        self.after = after

    def on_batch_end(self, training):
        if training.updates == self.after:
            raise KeyboardInterrupt


@pytest.mark.parametrize("after", [1, 2, 3, 12, 13, 23])
@pytest.mark.parametrize("name", ["classifier", "language model"])
def test_resumed_at_any_minibatch(name, after, tmp_path):
    model, X, y = CASES[name]  # 12 minibatches an epoch, windows of 2 of them
    data = stream(X, y, 16)
    expected = clone(model).fit(data, validation=data)
    path = tmp_path / "checkpoint.safetensors"
    options = {"checkpoint_path": path, "save_every": 1}
    interrupted = clone(model, callbacks=[Interrupt(after)], **options)
    with pytest.raises(KeyboardInterrupt):
        interrupted.fit(data, validation=data)
    resumed = clone(model, **options).fit(data, validation=data, resume=True)
    check_equal(resumed, expected)


def test_resumed_with_accumulation_and_validation_fraction(tmp_path):
    options = {"accumulate": 3, "validation_fraction": 0.25}
    model = clone(CASES["classifier"][0], **options)
    data = stream(TEXTS, LABELS, 16)
    expected = clone(model).fit(data)
    files = {"checkpoint_path": tmp_path / "checkpoint.safetensors", "save_every": 1}
    with pytest.raises(KeyboardInterrupt):
        clone(model, callbacks=[Interrupt(5)], **files).fit(data)
    check_equal(clone(model, **files).fit(data, resume=True), expected)


def test_not_resumed_with_other_data_or_windows(tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    model = clone(CASES["language model"][0], checkpoint_path=path)
    clone(model, epochs=1).fit(stream(TEXTS, None, 16))
    for data in (stream(TEXTS, None, 24), stream(TEXTS[1:], None, 16)):
        with pytest.raises(ValueError, match="data must be unchanged, 90 sequences with lengths"):
            clone(model).fit(data, resume=True)
    clone(model).fit(stream(TEXTS, None, 9), resume=True)  # rounded up to 16


def test_warm_start():
    model = clone(CASES["classifier"][0], warm_start=True, epochs=1)
    expected = clone(model).fit(TEXTS, LABELS).fit(TEXTS, LABELS)
    data = stream(TEXTS, LABELS)
    check_equal(clone(model).fit(data).fit(data), expected)


# ---- validation


def test_validation_by_hash():
    seen = {"training": [], "validation": []}
    numbers = [np.full(1 + i % 3, i) for i in range(COUNT)]

    class Watch:
        def on_epoch_end(self, training):
            for name, data in (("training", training.data), ("validation", training.validation)):
                parts = [part.sequences for part in data.windows()]
                seen[name].append([int(p[i][0]) for p in parts for i in range(len(p))])

    model = bptt.SequenceClassifier(callbacks=[Watch()], **SMALL)
    model.fit(stream(numbers, LABELS, 16), validation=0.2)
    for name, found in seen.items():
        assert len(set(map(tuple, found))) == 1, name  # in every epoch the same
    training, held_out = seen["training"][0], seen["validation"][0]
    assert sorted(training + held_out) == list(range(COUNT))
    assert 8 <= len(held_out) <= 28


def test_hash_is_uniform():
    found = _uniform(np.arange(100_000), 3)
    counts, _ = np.histogram(found, 10, (0.0, 1.0))
    assert abs(counts - 10_000).max() < 500
    assert not np.array_equal(found, _uniform(np.arange(100_000), 4))


def test_validation_in_memory_of_a_stream_and_the_reverse():
    model = CASES["classifier"][0]
    expected = clone(model).fit(TEXTS, LABELS, validation=(TEXTS[:9], LABELS[:9]))
    check_equal(
        clone(model).fit(stream(TEXTS, LABELS), validation=(TEXTS[:9], LABELS[:9])), expected
    )
    check_equal(clone(model).fit(TEXTS, LABELS, validation=stream(TEXTS[:9], LABELS[:9])), expected)


# ---- errors


def test_malformed_records_are_located(tmp_path):
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")

    labels = list(LABELS)
    for i in range(3):
        columns = {"x": [one.tolist() for one in SERIES[30 * i : 30 * i + 30]], "y": SUMS[:30]}
        if i == 1:
            columns["x"][17][0][1] = float("nan")
        parquet.write_table(arrow.table(columns), tmp_path / f"{i}.parquet")
    files = Stream.from_files(tmp_path, "x", "y", window=40)
    rule = r"1.parquet, row 17: X must be finite in float32, got NaN at step 0, feature 1: fill"
    with pytest.raises(ValueError, match=rule):
        bptt.SequenceRegressor(**SMALL).fit(files)
    labels[50] = None
    with pytest.raises(ValueError, match=r"sequence 50: Input y contains NaN or None: .* in y$"):
        bptt.SequenceClassifier(**SMALL).fit(stream(TEXTS, labels, 16))
    texts = [*TEXTS[:70], 3, *TEXTS[71:]]
    with pytest.raises(TypeError, match="sequence 70: X must be a string, a list or an array, got"):
        bptt.LanguageModel(**SMALL).fit(stream(texts, None, 16))
    tags = [*TAGS[:40], TAGS[40][1:], *TAGS[41:]]
    rule = rf"sequence 40: y must have a label for each of the {len(TEXTS[40])} steps of X, got"
    with pytest.raises(ValueError, match=rule):
        bptt.SequenceTagger(**SMALL).fit(stream(TEXTS, tags, 16))
    mixed = [*SUMS[:60], [1.0, 2.0], *SUMS[61:]]
    with pytest.raises(ValueError, match="sequence 48 to sequence 63: y must hold one number"):
        bptt.SequenceRegressor(**SMALL).fit(stream(SERIES, mixed, 16))


def test_source_that_changes():
    passes = []

    def source():
        passes.append(1)
        return iter(TEXTS if len(passes) < 2 else TEXTS[:50])

    with pytest.raises(ValueError, match="the source must yield the same sequences in every pass"):
        bptt.LanguageModel(**SMALL).fit(Stream(source, window=16))


@pytest.mark.parametrize(
    ("model", "arguments", "message"),
    [
        ("classifier", {"y": LABELS}, "y must be None with a stream, got list: the stream yields"),
        ("classifier", {"sample_weight": [1]}, "sample_weight must be None with a stream"),
        ("classifier", {"groups": [1]}, "groups must be None with a stream"),
        ("classifier", {"X": Stream(TEXTS)}, "requires y to be passed: the stream must yield"),
        (
            "classifier",
            {"X": Stream([])},
            "X must have at least one sequence, got a stream of none",
        ),
        ("classifier", {"validation": 1.5}, r"validation must be a fraction in \(0, 1\), got 1.5"),
        ("classifier", {"validation": 0.001}, "validation = 0.001 of 90 sequences leaves none for"),
        ("language model", {"X": Stream(["", ""])}, "X must have at least one step, got none"),
    ],
)
def test_wrong_arguments(model, arguments, message):
    with pytest.raises((TypeError, ValueError), match=message):
        clone(CASES[model][0]).fit(**{"X": stream(TEXTS, LABELS), **arguments})


def test_what_needs_data_in_memory():
    from sklearn.model_selection import KFold

    data = stream(TEXTS, LABELS)
    with pytest.raises(ValueError, match="truncate must be None with a Stream"):
        bptt.LanguageModel(truncate=(5, 5), **SMALL).fit(Stream(TEXTS))
    with pytest.raises(ValueError, match="multi_label=True needs sequences in memory, got a Str"):
        bptt.SequenceClassifier(multi_label=True, **SMALL).fit(data)
    with pytest.raises(ValueError, match="must be a fraction or another stream, got a splitter"):
        bptt.SequenceClassifier(**SMALL).fit(data, validation=KFold(3))
    with pytest.raises(TypeError, match="got Stream"):
        bptt.SequenceForecaster(horizon=2, random_state=0).fit(data)
    model = bptt.SequenceClassifier(**SMALL).fit(data)
    for call in (model.predict, lambda X: model.partial_fit(X, LABELS)):
        with pytest.raises(TypeError, match="got Stream: use its windows, as in `for x, y in"):
            call(data)
    assert np.concatenate([model.predict(x) for x, _ in data.windows()]).shape == (COUNT,)


# ---- memory


def peak(count, window):
    """Peak of the memory of a fit to random sequences, without that of the modules."""

    def source():
        random = np.random.default_rng(0)
        for _ in range(count):
            yield random.integers(0, 20, 200)

    model = bptt.LanguageModel(hidden_size=2, epochs=1, batch_size=8, random_state=0)
    data = Stream(source, window=window)
    tracemalloc.start()
    try:
        model.fit(data)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_is_that_of_a_window():
    peak(16, 16)  # imports
    few, many, wide = peak(128, 32), peak(768, 32), peak(768, 768)
    further = (768 - 128) * 200 * 8  # bytes of the sequences that only the second one reads
    assert many - few < 0.05 * further
    assert wide - many > further
