"""Every defect that bad input has found: the call, and the error that it raises now."""

from __future__ import annotations

import datetime
import decimal
import fractions
import json
import math

import numpy as np
import pytest

import bptt
from bptt import data, decoding, diagnostics, importers, metrics, nn, training
from bptt._core import checks, threads
from bptt.cli.errors import CommandError
from bptt.cli.main import main
from bptt.cli.readers import read_table
from bptt.cli.schema_inference import SchemaOptions, infer_schema
from bptt.cli.tables import is_number
from bptt.optim import schedules
from tests.fuzz.values import ArrayLike, Index, Shrinking

pytest.importorskip("sklearn")
pytest.importorskip("safetensors")

HUGE = 10**5000
F8 = {"dtype": "float64", "seed": 0}
TEXTS, TAGS = ["ab", "ba"], [["x", "y"], ["y", "x"]]
OPTIONS = {"hidden_size": 3, "epochs": 1, "random_state": 0}
WEIGHTS = [np.ones((3, 16)), np.ones((4, 16)), np.ones(16)]
LOGITS = np.zeros((2, 3))
LABELS = {"steps": False, "ignore": None, "classes": ["a"], "dtype": "<U1"}
SEQUENCES = data.Sequences.from_arrays([np.arange(3), np.arange(2)])
MASKED = np.ma.masked_array(np.ones((2, 3)), [[True, False, False]] * 2)


def run():
    layer = bptt.LSTM(3, 4, num_layers=2, dropout=0.5, **F8)
    return layer.forward(np.ones((2, 5, 3)))


def classifier(**options):
    return bptt.SequenceClassifier(**OPTIONS, **options)


def decoder(**parts):
    given = {"recurrent": bptt.GRU(5, 4, **F8), "output": bptt.Linear(4, 5, **F8)}
    return nn.Decoder(**{**given, **parts})


def network():
    return nn.EncoderDecoderNetwork(bptt.Sequential(bptt.GRU(3, 4, **F8)), None, decoder())


def beam(step=None, **options):
    def flat(tokens, state):
        return np.log(np.full((len(tokens), 3), 1 / 3)), state

    given = {"state": None, "start": np.zeros(1, int), "stop": 2, "max_length": 2}
    return decoding.beam_search(step or flat, **{**given, **options})


def diverging(factor):
    model = classifier(schedule=lambda *_: factor)
    return model.fit(TEXTS, ["x", "y"])


def trained(**changed):
    """Train with a task whose steps have other results."""
    model = bptt.Sequential(bptt.RNN(1, 2, **F8), bptt.Linear(2, 1, **F8))

    class Task(training.SupervisedTask):
        def training_step(self, batch):
            return super().training_step(batch)._replace(**changed)

    def loss_fn(output, batch):
        return bptt.mean_squared_error(output, batch.y, lengths=batch.lengths)

    task = Task(model, loss_fn, lambda *_: 0.0, lambda batch: 1.0)
    sequences = data.Sequences.from_arrays([np.ones((3, 1)), np.ones((2, 1))])
    optimizer = training.make_optimizer("sgd", task.modules, 0.1)
    options = training.TrainingOptions(epochs=1)
    dataset = training.SequenceDataset(sequences, sequences)
    return training.train(task, dataset, options=options, optimizer=optimizer, seed=0)


class Ints(int):
    """An integer whose text says nothing."""


# An object whose integer is another one when it is asked again: read outside of the saved values,
# which ended the process.
CHANGING = [
    (lambda: run().gates(Index(0, 10**6)), None),
    (lambda: run().cells(Index(0, 10**6)), None),
    (lambda: run().dropout_mask(Index(0, 10**6)), None),
    (lambda: beam(beam=Index(2, 5), count=Index(1, 9)), None),
    (lambda: decoding.sampling_distribution(LOGITS, top_k=Index(2, -7)), None),
    (lambda: bptt.ctc_loss(np.zeros((2, 5, 3)), np.ones((2, 2), int), blank=Index(0, 10**6)), None),
    (lambda: decoding.ctc_greedy(np.zeros((2, 5, 3)), blank=Index(0, 10**6)), None),
    (lambda: training.TokenDataset(SEQUENCES, Index(3, 2**40), Index(4, HUGE)).batch([0, 1]), None),
]


@pytest.mark.parametrize("call", [call for call, _ in CHANGING])
def test_integers_that_change_are_read_once(call):
    call()


RAISED = [
    # integers of more than 4300 digits have no text in Python
    (lambda: bptt.LSTM(3, -HUGE), ValueError, "hidden_size must .* got a negative integer of"),
    (lambda: run().gates(HUGE), ValueError, r"layer must be in \[0, .* got an integer of 16610 b"),
    # numbers that no float can hold, and timedelta64, which NumPy calls an integer
    (lambda: bptt.Adam([bptt.RNN(1, 1)], 10**400), ValueError, "must fit into a float"),
    (lambda: bptt.Dropout(fractions.Fraction(HUGE)), ValueError, "rate must fit into a float"),
    (lambda: bptt.Dropout(np.timedelta64(3)), TypeError, "rate must be a real number, got timed"),
    (lambda: bptt.RNN(1, np.timedelta64(3, "s")), TypeError, "must be an integer, got timedelta64"),
    (lambda: bptt.RNN(1, 1, dtype="(2,"), TypeError, "dtype must be float32 or float64"),
    # names that cannot be looked up
    (lambda: bptt.RNN(1, 1)[np.ones(2)], KeyError, "has no parameter"),
    (lambda: bptt.RNN(1, 1).__setitem__([], 1), KeyError, "has no parameter"),
    # decoding
    (lambda: decoding.sample(LOGITS, 3), TypeError, "random must be of type Generator, got int"),
    (lambda: beam(3), TypeError, "step must be a function, got int"),
    (lambda: beam(lambda *_: 3), TypeError, "step must return log-probabilities and a state"),
    (lambda: beam(lambda t, s: (LOGITS[:, 0], s)), ValueError, "log-probabilities must have shape"),
    (lambda: beam(lambda t, s: (np.full((5, 3), np.nan), s)), ValueError, "must be numbers, got N"),
    (lambda: beam(start=3), TypeError, r"start must be an array \(B,\) of integers"),
    (lambda: beam(state=np.ones(3)), TypeError, "state must be arrays with the batch on axis 1"),
    (lambda: decoding.viterbi_decode(3, ["O"]), TypeError, "probabilities must be a NumPy array"),
    (lambda: decoding.viterbi_decode(LOGITS, 3), TypeError, "classes must be a list"),
    (lambda: decoding.viterbi_decode(LOGITS, [3, 4, 5]), TypeError, "classes must be strings"),
    (lambda: decoding.viterbi_decode(LOGITS - 1, ["O"] * 3), ValueError, "must be >= 0"),
    (lambda: decoding.viterbi_decode(LOGITS[:, :0], []), ValueError, "at least one label"),
    # metrics
    (lambda: metrics.edit_distance(3, "a"), TypeError, "a must be a list or an array, got int"),
    (lambda: metrics.error_rate([1], ["a"]), TypeError, r"predicted\[0\] must be a list"),
    (lambda: metrics.spans(3), TypeError, "labels must be a list"),
    (lambda: metrics.spans([3]), TypeError, "labels must be strings, got int"),
    (lambda: metrics.span_f1([{1}], [{1}]), TypeError, "sets of spans, got a set with int"),
    (lambda: metrics.span_f1(iter([]), []), TypeError, "predicted must be a list"),
    # importers
    (lambda: importers.from_torch(3, {}), TypeError, "kind must be a class such as LSTM, got int"),
    (lambda: importers.from_torch(bptt.LSTM, [3]), TypeError, "tensors must be a mapping"),
    (lambda: importers.from_torch(bptt.LSTM, {}), KeyError, "'weight_ih_l0' is missing in tensor"),
    (lambda: importers.from_torch(bptt.LSTM, {}, 3), TypeError, "prefix must be of type str"),
    (lambda: importers.from_keras(bptt.LSTM, 3), TypeError, "weights must be a list"),
    (lambda: importers.from_keras(bptt.LSTM, WEIGHTS, cudnn=3), TypeError, "cudnn must be True"),
    (
        lambda: importers.from_onnx(bptt.RNN, np.ones((1, 4, 3)), np.ones((2, 4, 4))),
        ValueError,
        "R must have shape",
    ),
    # schedules
    (lambda: schedules.StepDecay(2)(1.5, 2, []), TypeError, "update must be an integer"),
    (lambda: schedules.CosineDecay(2)(1, 0, []), ValueError, "updates_per_epoch must be an"),
    (lambda: schedules.Plateau()(1, 1, ["a"]), TypeError, r"losses\[0\] must be a real number"),
    (lambda: schedules.from_dict({}), KeyError, "'kind' is missing in schedule"),
    # a schedule that is no number destroyed the parameters, and then the training failed
    (lambda: diverging(math.nan), ValueError, "the factor of schedule must be in"),
    (lambda: diverging(math.inf), ValueError, "the factor of schedule must be in"),
    (lambda: diverging(None), TypeError, "the factor of schedule must be a real number"),
    (lambda: diverging(-1.0), ValueError, "the factor of schedule must be in"),
    # data
    (lambda: data.Vocabulary([3]), TypeError, "tokens must be strings, got int"),
    (lambda: data.Vocabulary(3), TypeError, "tokens must be strings, got int"),
    (lambda: data.Vocabulary.from_sequences(3), TypeError, "sequences must be token sequences"),
    (lambda: data.Vocabulary.from_sequences([[[]]]), TypeError, "must be sequences of strings"),
    (lambda: data.Vocabulary("ab").decode([-1]), ValueError, r"ids must lie in \[0, 2\), got -1"),
    (lambda: data.Vocabulary("ab").decode([0.0]), TypeError, "ids must be an array of integers"),
    (lambda: data.Vocabulary("ab").encode([[]]), TypeError, "tokens must be strings, got list"),
    (lambda: data.SequenceEncoder(special=3), TypeError, "special must be strings, got int"),
    (lambda: data.SequenceEncoder.from_dict([]), TypeError, "content must be a mapping, got list"),
    (lambda: data.SequenceEncoder.from_dict({}), KeyError, "'tokens' is missing in content"),
    (lambda: data.LabelEncoder.from_dict({}), KeyError, "'steps' is missing in content"),
    (
        lambda: data.LabelEncoder.from_dict(
            {"steps": False, "ignore": None, "classes": ["a"], "dtype": "١٢"}
        ),
        ValueError,
        "dtype must be one of labels",
    ),
    (
        lambda: data.LabelEncoder.from_dict({**LABELS, "classes": ["A", b"\xff"]}),
        TypeError,
        r"classes\[1\] must be a string or a number, got bytes",
    ),
    (
        lambda: data.LabelEncoder.from_dict(LABELS, steps=decimal.Decimal("sNaN")),
        TypeError,
        "steps must be True or False, got Decimal",
    ),
    (lambda: data.Standardizer.from_dict(3), TypeError, "content must be a mapping"),
    (lambda: data.Standardizer.from_values([3]), TypeError, "values must be a NumPy array"),
    (lambda: data.Standardizer.from_values(np.ones(3)), ValueError, "values must have shape"),
    (lambda: SEQUENCES[5], IndexError, r"index must be in \[0, 2\), got 5"),
    (lambda: SEQUENCES["a"], TypeError, "index must be an integer, got str"),
    (lambda: SEQUENCES.take([-1]), ValueError, r"indices must lie in \[0, 2\), got -1"),
    (lambda: SEQUENCES.pad(3), TypeError, "indices must be an array of integers, got int"),
    (lambda: data.Sequences.from_arrays([]), ValueError, "rows must have at least one array"),
    (
        lambda: data.sorted_batches(np.arange(3), 0),
        ValueError,
        "batch_size must be an integer >= 1",
    ),
    (lambda: data.shuffled_batches([1], 2, 0, 0), TypeError, "lengths must be a NumPy array"),
    (
        lambda: data.TargetEncoder().fit(TEXTS).decode(np.array([99])),
        ValueError,
        r"ids must lie in \[0, 5\), got 99",
    ),
    # labels that NumPy would shorten, or that cannot be looked up
    (lambda: classifier().fit(TEXTS, ["x", "x\0"]), ValueError, "not end with a null character"),
    (
        lambda: data.LabelEncoder().fit(["a"]).transform([("a", [])]),
        ValueError,
        "y must hold known labels",
    ),
    # networks
    (lambda: decoder(recurrent=3), TypeError, "recurrent must be of type Recurrent, got int"),
    (lambda: decoder(attention=len), TypeError, "attention must be of type Attention"),
    (lambda: nn.Bridge(3, 1), TypeError, "linears must be a list of Linear, got int"),
    (lambda: nn.Bridge([3], 1), TypeError, r"linears\[0\] must be of type Linear, got int"),
    (
        lambda: nn.Bridge([bptt.Linear(4, 4, **F8)], 1)(np.ones((3, 4))),
        ValueError,
        r"state must have shape \(N, batch, H\) with N\*H = 4",
    ),
    (lambda: nn.EncoderDecoderNetwork(1, None, 2), TypeError, "encoder must be of type Sequential"),
    (lambda: nn.EncoderDecoderNetwork.of({"a": 1}), ValueError, "names of modules must be as"),
    (lambda: nn.EncoderDecoderNetwork.of([]), TypeError, "modules must be a mapping"),
    (
        lambda: network().attention_weights(3, np.zeros((2, 2), int), np.ones(2, int)),
        TypeError,
        "memory must be of type Memory, got int",
    ),
    # training
    (lambda: training.History([3]), TypeError, "epochs must be of type Epoch, got int"),
    (lambda: training.History()[HUGE], IndexError, "got an integer of 16610 bits"),
    (lambda: training.History.from_dict({}), KeyError, "'number' is missing in columns"),
    (lambda: training.make_optimizer("adam", [], 0.1), TypeError, "modules must be a mapping"),
    (lambda: training.TrainingOptions(verbose=1.0), ValueError, "verbose must be False, True"),
    (
        lambda: training.SupervisedTask(bptt.Sequential(bptt.RNN(1, 1)), len, len, len).evaluate(3),
        TypeError,
        "batch must be of type SequenceBatch, got int",
    ),
    (
        lambda: training.DecoderTask(decoder()).surprisal(None),
        TypeError,
        "batch must be of type TokenBatch, got NoneType",
    ),
    (
        lambda: training.PairDataset(SEQUENCES, training.TokenDataset(SEQUENCES.take([0]), 3, 4)),
        ValueError,
        "targets must have 2 sequences, as sources, got 1",
    ),
    (lambda: training.TokenDataset(SEQUENCES, 2**31, 4), ValueError, "start must be an id <= 2147"),
    (
        lambda: trained(weight=fractions.Fraction(HUGE)),
        ValueError,
        "weight of a minibatch must fit",
    ),
    (lambda: trained(metric="a"), TypeError, "the metric of a minibatch must be a real number"),
    (lambda: trained(metric_weight=-1), ValueError, "metric_weight of a minibatch must be in"),
    (lambda: training.TruncatedBPTTTask(3, 1, 2), TypeError, "task must be of type DecoderTask"),
    (lambda: training.WindowDataset(3, 1), TypeError, "data must be of type TokenDataset, got int"),
    (lambda: training.SequenceDataset([1], [1]), TypeError, "sequences must be of type Sequences"),
    (lambda: data.Sequences([1], [1], [1]), TypeError, "values must be a NumPy array, got list"),
    (lambda: data.Standardizer([1.0], [1.0]), TypeError, "mean must be a NumPy array, got list"),
    # masked elements were used as if they were not masked
    (lambda: classifier().fit(MASKED, [0, 1]), ValueError, "X must not have masked elements"),
    (
        lambda: bptt.SequenceRegressor(**OPTIONS).fit(np.ones((2, 3)), MASKED[:, 0]),
        ValueError,
        "y must not have masked elements",
    ),
    (
        lambda: classifier().fit(np.ones((2, 3)), np.ma.masked_array([0, 1], [True, False])),
        ValueError,
        "y must not have masked elements",
    ),
    (
        lambda: classifier().fit(TEXTS, ["x", "y"], np.ma.masked_array([1, 2], [True, False])),
        ValueError,
        "lengths must not have masked elements",
    ),
    # values that split like a splitter, lists whose length is another one when it is asked again
    (lambda: classifier().fit(TEXTS, [0, 1], validation=b"a"), TypeError, "validation must be"),
    (
        lambda: bptt.Sequential(bptt.GRU(3, 4, **F8), bptt.GRU(4, 4, **F8))(
            np.ones((1, 1, 3)), state=Shrinking([None, None])
        ),
        ValueError,
        "state must be a tuple of states, one for each of 2 recurrent layers",
    ),
    (
        lambda: (
            classifier()
            .fit(TEXTS, ["x", "y"])
            .score(TEXTS, ["x", "y"], sample_weight=[1.0, fractions.Fraction(HUGE)])
        ),
        ValueError,
        "sample_weight must have shape .*, one number per sequence",
    ),
    # diagnostics
    (
        lambda: diagnostics.Verdict.from_log_factors(np.ones(0)),
        ValueError,
        r"logs must have shape \(n\+1,\), got \(0,\)",
    ),
]


@pytest.mark.parametrize(("call", "error", "sentence"), RAISED)
@pytest.mark.filterwarnings("ignore")
def test_error(call, error, sentence):
    with pytest.raises(error, match=sentence) as raised:
        call()
    assert type(raised.value) is error


def test_schedule_that_fails_leaves_the_parameters(tmp_path):
    """The last weights are those of the last valid update."""
    task_model = bptt.Sequential(bptt.RNN(2, 3, **F8), bptt.Linear(3, 2, **F8))
    before = [module._flat.copy() for module in task_model.modules]
    dataset = training.SequenceDataset(SEQUENCES.take([1, 1]), SEQUENCES.take([1, 1]))

    def loss_fn(output, batch):
        return bptt.softmax_cross_entropy(output, batch.y, lengths=batch.lengths, reduction="mean")

    task = training.SupervisedTask(task_model, loss_fn, lambda *_: 0.0, lambda batch: 1.0)
    options = training.TrainingOptions(epochs=1, schedule=lambda *_: math.nan)
    optimizer = training.make_optimizer("adam", task.modules, 0.1)
    with pytest.raises(ValueError, match="the factor of schedule"):
        training.train(task, dataset, options=options, optimizer=optimizer, seed=0)
    for module, old in zip(task_model.modules, before, strict=True):
        np.testing.assert_array_equal(module._flat, old)


def test_stop_token_that_is_no_int64():
    found = decoder().greedy_search(np.array([3, 3]), None, stop=HUGE, max_length=4)
    assert [len(tokens) for tokens in found] == [4, 4]


# Models that were trained and then could not be saved: NumPy's numbers are no JSON.
NUMPY_OPTIONS = [
    {"hidden_size": np.int64(3)},
    {"learning_rate": np.float32(0.25)},
    {"learning_rate": fractions.Fraction(1, 4)},
    {"bidirectional": np.bool_(True)},
    {"dtype": np.float32},
    {"dtype": np.dtype("float64")},
    {"batch_size": np.uint8(200), "accumulate": np.int16(1)},
    {"patience": np.int64(2), "validation_fraction": np.float64(0.5)},
    {"verbose": np.bool_(False)},
    {"schedule": schedules.CosineDecay(np.int64(3), np.float64(0.5))},
    {"schedule": schedules.WarmUp(np.int8(3), schedules.StepDecay(np.int32(2)))},
    {"tokens": "words", "affixes": np.int64(2), "embedding_size": np.int32(3)},
    {"class_weight": {"x": np.float32(1.0), "y": 2}},
]


@pytest.mark.parametrize("options", NUMPY_OPTIONS)
def test_numbers_of_numpy_are_saved(options, tmp_path):
    model = bptt.SequenceClassifier(**{**OPTIONS, **options}).fit(TEXTS * 2, ["x", "y"] * 2)
    model.save(tmp_path / "model")
    loaded = bptt.load_estimator(tmp_path / "model")
    np.testing.assert_array_equal(loaded.predict_proba(TEXTS), model.predict_proba(TEXTS))
    for name, value in options.items():
        if isinstance(value, (int, float, np.integer, np.floating, fractions.Fraction)):
            assert getattr(loaded, name) == value


def test_resumed_with_numbers_of_numpy(tmp_path):
    """Options are compared by value, not by their text, which depends on the version of NumPy."""
    path = tmp_path / "checkpoint"
    common = {"hidden_size": 3, "random_state": 0, "checkpoint_path": path}
    bptt.SequenceClassifier(epochs=2, batch_size=2, **common).fit(TEXTS, ["x", "y"])
    other = bptt.SequenceClassifier(epochs=np.int64(3), batch_size=np.int64(2), **common)
    assert len(other.fit(TEXTS, ["x", "y"], resume=True).history_) == 3


def nested(depth):
    found = inner = {}
    for _ in range(depth):
        inner["a"] = {}
        inner = inner["a"]
    return found


@pytest.mark.parametrize("metadata", [nested(10**5), {"a": HUGE}, {1: 2, "1": 3}, {"a": {1}}])
def test_metadata_that_json_cannot_hold(metadata, tmp_path):
    model = classifier().fit(TEXTS, ["x", "y"])
    for save in (model.save, lambda p, m: bptt.save_modules(p, {"a": bptt.RNN(1, 1)}, m)):
        with pytest.raises(TypeError, match="metadata must be"):
            save(tmp_path / "model", metadata)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("path", ["\ud800", "a\0b"])
def test_names_that_no_file_can_have(path):
    with pytest.raises(ValueError, match="path must"):
        bptt.save_modules(path, {"a": bptt.RNN(1, 1)})
    with pytest.raises(ValueError, match="path must"):
        bptt.load_modules(path)
    with pytest.raises(ValueError, match="path must"):
        bptt.load_estimator(path)


def test_names_of_modules_are_unicode(tmp_path):
    with pytest.raises(ValueError, match="names must be valid Unicode, got"):
        bptt.save_modules(tmp_path / "model", {"\ud800": bptt.RNN(1, 1)})


def test_lone_surrogates_are_characters(tmp_path):
    model = classifier().fit(["a\ud800b", "ba\0"], ["x\udfff", "y"])
    model.save(tmp_path / "model", {"a": "\ud800"})
    loaded = bptt.load_estimator(tmp_path / "model")
    assert loaded.metadata_ == {"a": "\ud800"}
    assert loaded.predict(["a\ud800b"]).tolist() == model.predict(["a\ud800b"]).tolist()


def test_factors_beyond_the_range_of_floats():
    assert schedules.StepDecay(1, 10.0)(10**6, 1, []) == math.inf
    assert schedules.CosineDecay(2)(HUGE, 1, []) == pytest.approx(0.0)
    assert schedules.WarmUp(2)(HUGE, 1, []) == 1.0
    assert beam(beam=2, length_penalty=1e308)[0][0].score == pytest.approx(0.0)


def test_checks_take_no_text_for_numbers():
    """What is not a number is named by its type."""
    for wrong in (datetime.date(2020, 1, 1), ArrayLike(3), b"1", json):
        with pytest.raises(TypeError, match="n must be an integer, got"):
            checks.integer("n", wrong)
        with pytest.raises(TypeError, match="n must be a real number, got"):
            checks.number("n", wrong)
    assert checks.integer("n", Ints(3)) == 3


# ---- command line


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ('{"a":' * 10**5, "line 2: is nested too deeply"),
        ('{"a": ' + "[" * 10**5, "line 2: is nested too deeply"),
        ('{"a": %s}' % ("1" * 5000), "line 2: has a number that is too long"),
    ],
)
def test_json_lines_that_python_cannot_read(line, sentence, tmp_path):
    path = tmp_path / "data.jsonl"
    path.write_text('{"a": 1}\n' + line)
    with pytest.raises(CommandError, match=sentence):
        read_table(path)


def test_integers_beyond_floats_are_no_numbers(tmp_path):
    path = tmp_path / "data.jsonl"
    path.write_text('{"x1": %s, "x2": 2, "target": 3}\n' % ("9" * 400))
    infer_schema(read_table(path), SchemaOptions(target=["target"]))  # raised OverflowError
    assert not is_number(10**400)
    assert is_number(10**300)


def test_predictions_of_lone_surrogates_are_written(tmp_path):
    """They ended with a traceback, and left an empty file."""
    lines = ['{"text": "a\\ud800b", "label": "x"}', '{"text": "ba", "label": "y"}']
    data, model, output = (str(tmp_path / name) for name in ("d.jsonl", "m.safetensors", "o.tsv"))
    (tmp_path / "d.jsonl").write_text("\n".join(lines * 4))
    assert main(["train", data, "--epochs", "1", "--output", model]) == 0
    assert main(["predict", model, data, "--output", output]) == 0
    assert (tmp_path / "o.tsv").read_text("utf-8").count("a?b") == 4


@pytest.mark.parametrize("name", ["BPTT_NUM_THREADS", "OMP_NUM_THREADS"])
def test_numbers_of_threads_with_thousands_of_digits(name):
    """An import of the package failed for a variable of another library."""
    environment = {name: "1" * 5000}
    if name == "OMP_NUM_THREADS":
        assert threads._from_environment(environment) == 1024
    else:
        with pytest.raises(ImportError, match=r"must be an integer in \[1, 1024\], got '1{40}..'"):
            threads._from_environment(environment)
