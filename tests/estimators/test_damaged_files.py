"""Damaged files: errors that say so, in bounded time and memory, before anything has changed."""

from __future__ import annotations

import copy
import json
import random
import struct
import time
import tracemalloc
import warnings
from functools import partial

import numpy as np
import pytest

pytest.importorskip("sklearn")
pytest.importorskip("safetensors")

from safetensors.numpy import load_file, save_file

import bptt
import tensor_files
from bptt.optim import schedules
from bptt.training import Training, TrainingOptions, make_optimizer
from training_tasks import SEED, parity, tagger, weights

TEXTS = ["ab", "ba", "abab", "b"]
TAGS = [list(text.upper()) for text in TEXTS]
NUMBERS = [np.random.default_rng(i).normal(size=(4, 2)).astype("float32") for i in range(4)]
OPTIONS = {"hidden_size": 3, "epochs": 1, "random_state": 0}
MODELS = {
    "classifier": (
        bptt.SequenceClassifier(
            class_weight="balanced", schedule=schedules.WarmUp(3), scale=True, **OPTIONS
        ),
        (NUMBERS, [0, 1, 0, 1]),
    ),
    "word classifier": (
        bptt.SequenceClassifier(tokens="words", affixes=2, embedding_size=3, **OPTIONS),
        (["ab cd", "cd ef"], ["x", "y"]),
    ),
    "regressor": (bptt.SequenceRegressor(scale=True, **OPTIONS), (NUMBERS, [0.5, 1.0, 2.0, 0.0])),
    "forecaster": (
        bptt.SequenceForecaster(horizon=2, lookback=4, difference=2, **OPTIONS),
        (np.arange(20.0).reshape(2, 10),),
    ),
    "tagger": (bptt.SequenceTagger(dropout=0.1, **OPTIONS), (TEXTS, TAGS)),
    "tagger with characters": (
        bptt.SequenceTagger(tokens="words", characters=2, embedding_size=3, **OPTIONS),
        (["ab cd", "cd ef"], [["x", "y"], ["y", "y"]]),
    ),
    "tagger with feedback": (bptt.SequenceTagger(feedback=True, **OPTIONS), (TEXTS, TAGS)),
    "language model": (bptt.LanguageModel(**OPTIONS), (TEXTS,)),
    "generator": (bptt.SequenceGenerator(**OPTIONS), ([0, 1, 2, 3], TEXTS)),
    "encoder-decoder": (
        bptt.EncoderDecoder(bidirectional=True, attention="dot", **OPTIONS),
        (TEXTS, ["x", "y", "xy", "yx"]),
    ),
}
FILES = 250  # of each estimator
MISSING = object()
VALUES = (
    *(MISSING, None, True, 0, 1, -1, 2, 10**6, 2**31, 2**63, 10**400, -1.5, 0.5, 1e308),
    *(float("nan"), float("inf"), "", "a", "<unk>", "lstm", "../../etc/passwd", "<U1000000000"),
    *([], [1], ["a"], [[1]], ["a"] * 3, [None], {}, {"a": 1}),
)


def places(value, path=()):
    """Yield the places of all values in a header; of long lists those of the first ones."""
    if path:
        yield path
    if isinstance(value, dict):
        for key in value:
            yield from places(value[key], (*path, key))
    elif isinstance(value, list):
        for i in range(min(len(value), 3)):
            yield from places(value[i], (*path, i))


def replaced(header, place, value):
    """Return a copy of a header with another value at one place."""
    changed = copy.deepcopy(header)
    inner = changed
    for key in place[:-1]:
        inner = inner[key]
    if value is MISSING:
        del inner[place[-1]]
    else:
        inner[place[-1]] = value
    return changed


def changed_headers(header, count):
    """Yield a random choice of damaged headers, the same in every run."""
    changes = [(place, value) for place in places(header) for value in VALUES]
    for place, value in random.Random(SEED).sample(changes, min(count, len(changes))):
        yield place, value, replaced(header, place, value)


def outcome(call, *arguments, errors=(ValueError,)):
    """Return the result of a call and "", or None and the message of its error."""
    try:
        return call(*arguments), ""
    except errors as error:
        return None, str(error)


def use(model, X, *y):
    """Call what depends on the content of a file."""
    str(model.history_)
    if y or not hasattr(model, "score"):
        model.predict(X)
    if hasattr(model, "score"):
        model.score(X, *y)
    if hasattr(model, "sample"):
        model.sample(*([X] if y else []), max_length=3, random_state=0)
    model.partial_fit(X, *y)


def loadable(path):
    """Yield the estimators of changed headers that load, with their changes; the others say why."""
    header, tensors = tensor_files.read(path)
    refused = 0
    for place, value, changed in changed_headers(header, FILES):
        tensor_files.write(path, changed, tensors)
        loaded, message = outcome(bptt.load_estimator, path)
        if loaded is None:
            assert message.startswith(f"cannot load {path}: "), (place, value)
            refused += 1
        else:
            yield place, value, loaded
    assert refused > FILES // 3


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.filterwarnings("ignore")
def test_damaged_estimators(name, tmp_path):
    """They are refused, or were only changed into another valid estimator."""
    model, data = MODELS[name]
    path = tmp_path / "model"
    model.fit(*data).save(path)
    for place, value, loaded in loadable(path):
        errors = (TypeError, ValueError, FloatingPointError)
        _, message = outcome(use, loaded, *data, errors=errors)
        # Data that do not fit the estimator in the file; a sentence begins with an argument.
        beginnings = ("X", "y", "series", "text", "The feature", "the norm", "the loss", "Input")
        assert not message or message.startswith(beginnings), (place, value, message)


@pytest.mark.parametrize("gradient", ["bptt", "rtrl"])
@pytest.mark.parametrize("kind", [bptt.OnlineRegressor, bptt.OnlineClassifier])
@pytest.mark.filterwarnings("ignore")
def test_damaged_online_estimators(kind, gradient, tmp_path):
    model = kind(hidden_size=3, gradient=gradient, random_state=0)
    for y in (1, 2, 1):
        model.learn_one({"a": 1.0 + y, "b": 0.5}, y)
    path = tmp_path / "model"
    model.save(path)
    header, tensors = tensor_files.read(path)
    for _, _, loaded in loadable(path):
        first = dict.fromkeys(loaded._names, 1.0) if loaded._names else [1.0, 2.0]
        loaded.predict_one(first)
        loaded.learn_one(first, 2)
    for name, array in tensors.items():
        tensor_files.write(path, header, {**tensors, name: array[..., np.newaxis]})
        with pytest.raises(ValueError, match=r"^cannot load"):
            bptt.load_estimator(path)
        others = {key: value for key, value in tensors.items() if key != name}
        tensor_files.write(path, header, others)
        with pytest.raises(ValueError, match=r"^cannot load"):
            bptt.load_estimator(path)


def state_of(training):
    return (
        weights(training.task).tobytes(),
        [module._random.bit_generator.state for module in training.modules.values()],
        {name: array.tobytes() for name, array in training.optimizer.state().items()},
        {name: array.tobytes() for name, array in training.best.items()},
        (list(training.history), training.batch, training.updates, repr(training.totals)),
    )


def training_of(path, *, resume):
    task = tagger(np.float32)
    options = TrainingOptions(epochs=2, batch_size=8)
    optimizer = make_optimizer("adam", task.modules, 0.01)
    training = Training(task, parity(20), options, optimizer, SEED)
    if resume:
        return training
    training.enable_checkpoints(path, 1)
    training.run()
    return training


def test_damaged_checkpoints_change_nothing(tmp_path):
    path = tmp_path / "t"
    training_of(path, resume=False)
    header, tensors = tensor_files.read(path)
    training = training_of(path, resume=True)
    before = state_of(training)
    refused = 0
    sums = [("totals", key) for key in header["totals"]]
    changes = [(place, "a", replaced(header, place, "a")) for place in sums]
    for place, value, changed in [*changes, *changed_headers(header, 2 * FILES)]:
        tensor_files.write(path, changed, tensors)
        _, message = outcome(partial(training.enable_checkpoints, path, 1, resume=True))
        if message:
            assert message.startswith((f"cannot load {path}: ", f"cannot resume {path}: "))
            assert state_of(training) == before, (place, value)
            refused += 1
        else:
            training = training_of(path, resume=True)
    assert refused > FILES


# ---- checksum


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "model"
    modules = {"a": bptt.LSTM(2, 3, seed=0), "b": bptt.Linear(3, 1, seed=1)}
    bptt.save_modules(path, modules, {"vocabulary": ["a", "ä"]})
    return path, modules


def test_no_flipped_bit_changes_a_module(saved):
    path, modules = saved
    content = path.read_bytes()
    expected = {name: dict(module.parameters) for name, module in modules.items()}
    for i in range(len(content)):
        flipped = bytearray(content)
        flipped[i] ^= 1 << i % 8
        path.write_bytes(flipped)
        result, message = outcome(bptt.load_modules, path)
        if result is None:
            assert message.startswith(f"cannot load {path}: ")
            continue
        loaded, metadata = result
        assert metadata == {"vocabulary": ["a", "ä"]}
        assert list(loaded) == list(modules)
        for name, module in loaded.items():
            assert repr(module) == repr(modules[name])
            for key, value in module.parameters.items():
                assert value.tobytes() == expected[name][key].tobytes()


def test_flipped_bit_of_a_weight_is_named(saved):
    path, _ = saved
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match="its checksum is wrong: the file is damaged or was chan"):
        bptt.load_modules(path)


def test_truncated_at_every_length(saved):
    path, _ = saved
    content = path.read_bytes()
    for length in range(len(content)):
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match=r"^cannot load "):
            bptt.load_modules(path)


def test_other_readers_and_files_without_a_checksum(saved):
    path, modules = saved
    tensors = load_file(path)
    assert tensors["b/weight"].tobytes() == modules["b"]["weight"].tobytes()
    header, tensors = tensor_files.read(path)
    tensor_files.write(path, header, tensors)
    loaded, metadata = bptt.load_modules(path)
    assert metadata == {"vocabulary": ["a", "ä"]}
    assert loaded["a"]["weight_hh_l0"].tobytes() == modules["a"]["weight_hh_l0"].tobytes()


def test_formats_of_other_versions_are_named(saved):
    path, _ = saved
    header, tensors = tensor_files.read(path)
    tensor_files.write(path, header | {"format": 2}, tensors)
    with pytest.raises(ValueError, match="has format 2, of another version of bptt"):
        bptt.load_modules(path)
    tensor_files.write(path, header | {"format": "estimator 7"}, tensors)
    with pytest.raises(ValueError, match="has format 7, of another version of bptt"):
        bptt.load_estimator(path)


def test_names_that_a_header_has_twice(saved):
    """JSON readers keep the last one, other software perhaps the first."""
    path, _ = saved
    header, tensors = tensor_files.read(path)
    text = json.dumps(header)
    for twice in ('"format": 1', '"metadata": {}'):
        save_file(tensors, path, {"bptt": f"{text[:-1]}, {twice}}}"})
        name = twice.split('"')[1]
        with pytest.raises(ValueError, match=f"^cannot load .*: its header has '{name}' twice$"):
            bptt.load_modules(path)


@pytest.mark.parametrize("value", [np.nan, -np.nan])
def test_weights_that_are_nan(saved, value):
    """They are neither loaded nor saved; infinite ones are, such as those of forbidden labels."""
    path, modules = saved
    header, tensors = tensor_files.read(path)
    content = path.read_bytes()
    weight = modules["b"]["weight"].copy()
    weight[0, 1] = value
    tensor_files.write(path, header, tensors | {"b/weight": weight})
    with pytest.raises(ValueError, match=r"^cannot load .*: the tensor b/weight has NaN$"):
        bptt.load_modules(path)
    path.write_bytes(content)
    modules["b"]["weight"] = weight
    with pytest.raises(ValueError, match=r"^the tensor b/weight has NaN$"):
        bptt.save_modules(path, modules)
    assert path.read_bytes() == content
    modules["b"]["weight"] = np.full_like(weight, -np.inf)
    bptt.save_modules(path, modules)
    assert np.isinf(bptt.load_modules(path)[0]["b"]["weight"]).all()


def test_estimators_and_trainings_with_nan_are_refused(tmp_path):
    model, data = MODELS["tagger"]
    path = tmp_path / "model"
    model.fit(*data).save(path)
    training_of(tmp_path / "training", resume=False)
    for load, file in (
        (bptt.load_estimator, path),
        (
            partial(training_of(path, resume=True).enable_checkpoints, save_every=1, resume=True),
            tmp_path / "training",
        ),
    ):
        header, tensors = tensor_files.read(file)
        name = next(name for name in tensors if name.endswith("bias"))
        tensor_files.write(file, header, tensors | {name: np.full_like(tensors[name], np.nan)})
        with pytest.raises(ValueError, match=f"^cannot load .*: the tensor {name} has NaN$"):
            load(file)


# ---- sizes

HUGE = [
    ("LSTM", {"input_size": 3, "hidden_size": 6000}),
    ("LSTM", {"input_size": 3, "hidden_size": 10**9}),
    ("LSTM", {"input_size": 3, "hidden_size": 10**30}),
    ("LSTM", {"input_size": 3, "hidden_size": 4, "num_layers": 10_000}),
    ("LSTM", {"input_size": 3, "hidden_size": 4, "num_layers": 10**20}),
    ("GRU", {"input_size": 10**12, "hidden_size": 4, "bidirectional": True}),
    ("Linear", {"in_features": 10**5, "out_features": 10**5}),
    ("Embedding", {"num_embeddings": 10**10, "embedding_dim": 10}),
    ("Attention", {"query_size": 10**5, "key_size": 10**5, "kind": "additive"}),
    ("LayerNorm", {"num_features": 10**12}),
]


@pytest.mark.parametrize(("kind", "config"), HUGE)
def test_sizes_are_bounded_by_the_file(kind, config, tmp_path):
    """A file of 300 bytes describes a module of gigabytes."""
    path = tmp_path / "model"
    header = {
        "format": 1,
        "modules": {"m": {"class": kind, "config": config}},
        "metadata": {},
    }
    tensor_files.write(path, header, {"m/weight": np.zeros((2, 2), np.float32)})
    model, data = MODELS["tagger"]
    model.fit(*data).save(tmp_path / "estimator")
    estimator, tensors = tensor_files.read(tmp_path / "estimator")
    name = next(iter(estimator["modules"]))
    estimator["modules"][name] = header["modules"]["m"]
    tensor_files.write(tmp_path / "estimator", estimator, tensors)
    for load, file in ((bptt.load_modules, path), (bptt.load_estimator, tmp_path / "estimator")):
        tracemalloc.start()
        start = time.perf_counter()
        try:
            with pytest.raises(ValueError, match=r"^cannot load "):
                load(file)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < 20 << 20
        assert time.perf_counter() - start < 5.0


def test_lies_about_the_size_of_a_tensor(saved):
    path, _ = saved
    content = path.read_bytes()
    for size in (2**62, 2**64 - 1, 10**8 + 1):
        path.write_bytes(struct.pack("<Q", size) + content[8:])
        with pytest.raises(ValueError, match=r"^cannot load "):
            bptt.load_modules(path)


def test_loaded_modules_are_not_initialized(saved, monkeypatch):
    def refuse(*_):
        raise AssertionError("initialized")

    path, modules = saved
    monkeypatch.setattr(bptt.LSTM, "_initialize", refuse)
    monkeypatch.setattr(bptt.Linear, "_initialize", refuse)
    loaded, _ = bptt.load_modules(path)
    assert loaded["a"]["bias_l0"].tobytes() == modules["a"]["bias_l0"].tobytes()


def test_layers_and_parameters_have_limits():
    with pytest.raises(ValueError, match="num_layers must be an integer <= 10000, got 1000000000"):
        bptt.LSTM(3, 4, num_layers=10**20)
    with pytest.raises(ValueError, match=r"parameters must fit into memory, got \d"):
        bptt.LSTM(3, 10**18)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert bptt.RNN(1, 1, num_layers=50).num_layers == 50
