"""Evaluations: the same baselines in `train` and `predict`, spans, naive forecasts, divergence."""

from __future__ import annotations

import csv
import re

import numpy as np
import pytest

pytest.importorskip("sklearn")
pytest.importorskip("safetensors")
pytest.importorskip("tqdm")

import bptt
from bptt.cli.baselines import fit_baseline, has_valid_spans, is_iob
from bptt.cli.evaluation import Evaluation, compare_with_baselines, evaluate_predictions
from bptt.cli.schema import Schema
from command_line import fails, run

SMALL = ("--hidden-size", "8", "--epochs", "3")
TAGGED = Schema("tokens", "rows", ["1"], ["2"])
WINDOWS = Schema("numbers", "row", ["x1", "x2", "x3"], ["y"])


def write_entities(path, count=80):
    random = np.random.default_rng(0)
    names = {
        "Ann": ["B-person"],
        "New York": ["B-place", "I-place"],
        "Bob Ray": ["B-person", "I-person"],
    }
    with open(path, "w") as file:
        for _ in range(count):
            name = str(random.choice(list(names)))
            words = ["we", "saw", *name.split(), "in", str(random.choice(["May", "June"]))]
            labels = ["O", "O", *names[name], "O", "O"]
            file.writelines(f"{a}\t{b}\n" for a, b in zip(words, labels, strict=True))
            file.write("\n")


def write_windows(path, series, steps=12):
    with open(path, "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow([*(f"x{i}" for i in range(steps)), "target"])
        rows.writerows(series[i : i + steps + 1] for i in range(len(series) - steps))


# ---- the same baselines


def test_train_and_predict_report_the_same_baselines(here, capsys):
    write_entities(here / "a.tsv")
    write_entities(here / "b.tsv", count=20)
    trained, _ = run(capsys, "train", "a.tsv", *SMALL, "--validation", "b.tsv")
    _, evaluated = run(capsys, "predict", "a.safetensors", "b.tsv")
    reported = re.search(r"Result   (.*?)\nSaved", trained, re.S)[1]
    lines = [line.strip() for line in reported.splitlines() if "No better" not in line]
    assert [line for line in lines if line][: len(evaluated.splitlines())] == evaluated.splitlines()
    assert evaluated.count("baseline, most frequent label of every token: ") == 2


def test_an_evaluation_that_is_not_possible_says_why(here, capsys):
    write_windows(here / "a.csv", list(range(60)))
    run(capsys, "train", "a.csv", *SMALL)
    (here / "b.csv").write_text((here / "a.csv").read_text().replace(",13\n", ",?\n", 1))
    _, messages = run(capsys, "predict", "a.safetensors", "b.csv")
    assert messages.startswith("not evaluated: b.csv, line 3: column 'target' must be a finite")


# ---- spans


def test_spans_are_noticed(here, capsys):
    write_entities(here / "a.tsv")
    options = ("--learning-rate", "0.03", "--hidden-size", "16", "--epochs", "10")
    shown, progress = run(capsys, "train", "a.tsv", *options)
    assert "Result   span F1 on 8 spans: 100.0%\n         baseline, most frequent label" in shown
    assert "\n         accuracy on " in shown
    model = bptt.load_estimator("a.safetensors")
    assert [one["metric"] for one in model.metadata_["validation"]] == ["span F1", "accuracy"]
    assert (model.metric, model.monitor, model.viterbi) == ("span_f1", "metric", True)
    assert "  span F1 " in progress
    assert max(model.history_["validation_metric"]) == 1.0


def test_characters_of_words(here, capsys):
    write_entities(here / "a.tsv")
    run(capsys, "train", "a.tsv", *SMALL, "--characters", "4")
    model = bptt.load_estimator("a.safetensors")
    assert isinstance(model.model_.modules[1], bptt.CharacterEmbedding)
    assert model.model_.modules[1].hidden_size == 4
    run(capsys, "predict", "a.safetensors", "a.tsv")
    shown, _ = run(capsys, "inspect", "a.safetensors")
    assert "characters 4" in shown


def test_conditional_random_field(here, capsys):
    write_entities(here / "a.tsv")
    shown, _ = run(capsys, "train", "a.tsv", *SMALL, "--crf")
    model = bptt.load_estimator("a.safetensors")
    assert (model.crf, model.viterbi) == (True, True)
    assert isinstance(model.model_.modules[-1], bptt.CRF)
    run(capsys, "predict", "a.safetensors", "a.tsv", "--probabilities")
    shown, _ = run(capsys, "inspect", "a.safetensors")
    assert "CRF" in shown
    options = ("--overwrite", "--crf", "--class-weight", "O=0.2")
    message = fails(capsys, "train", "a.tsv", *SMALL, *options)
    assert "crf=True needs class_weight=None" in message


def test_predicted_labels_fit_together(here, capsys):
    write_entities(here / "a.tsv")
    run(capsys, "train", "a.tsv", *SMALL, "--epochs", "1")
    shown, _ = run(capsys, "predict", "a.safetensors", "a.tsv")
    labels = [[line.split("\t")[2] for line in block.splitlines()] for block in shown.split("\n\n")]
    assert has_valid_spans(labels) or not is_iob(labels)
    for row in labels:
        for before, label in zip(["O", *row[:-1]], row, strict=True):
            assert label[0] != "I" or before[1:] == label[1:]


@pytest.mark.parametrize(
    ("labels", "iob", "valid"),
    [
        ([["O", "B-x", "I-x"]], True, True),
        ([["O", "I-x", "B-x"]], True, False),  # IOB1
        ([["O", "B-x", "I-y"]], True, False),
        ([["O", "B-x", "S-y"]], False, False),
        ([["O", "I-x"]], False, False),
        ([["NOUN"]], False, False),
        ([[1, 2]], False, False),
    ],
)
def test_schemes_of_labels(labels, iob, valid):
    assert is_iob(labels) == iob
    assert has_valid_spans(labels) == valid


def test_span_f1_by_hand():
    X, y = [["a", "b", "c"]], [["B-x", "I-x", "O"]]
    baseline = {"constant": "O", "by_token": {"a": "B-x"}}
    predictions = [["B-x", "I-x", "B-x"]]
    f1, accuracy = evaluate_predictions("tagging", predictions, y, X, TAGGED, baseline)
    assert f1.value == pytest.approx(2 / 3)
    assert (f1.size, f1.unit, f1.baselines[0][1]) == (1, "spans", 0.0)
    assert accuracy.value == pytest.approx(2 / 3)
    assert accuracy.baselines == [("most frequent label of every token", pytest.approx(2 / 3))]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("balanced", "balanced"),
        ("O=0.2", {"O": 0.2}),
        ("O=0.2,B-place=3", {"O": 0.2, "B-place": 3.0}),
    ],
)
def test_class_weights(given, expected, here, capsys):
    write_entities(here / "a.tsv")
    run(capsys, "train", "a.tsv", *SMALL, "--class-weight", given)
    assert bptt.load_estimator("a.safetensors").class_weight == expected


def test_class_weights_of_integers(here, capsys):
    rows = [f'{{"text": "{"ab"[i % 2]}", "label": {i % 2}}}\n' for i in range(40)]
    (here / "a.jsonl").write_text("".join(rows))
    run(capsys, "train", "a.jsonl", *SMALL, "--class-weight", "1=5")
    assert bptt.load_estimator("a.safetensors").classes_.tolist() == [0, 1]


def test_a_label_of_minus_one_is_shown(here, capsys):
    rows = [f'{{"tokens": ["a", "b"], "tags": [{-(i % 2)}, 1]}}\n' for i in range(40)]
    (here / "a.jsonl").write_text("".join(rows))
    shown, _ = run(capsys, "train", "a.jsonl", *SMALL)
    assert "3 labels: 1 50%, 0 25%, -1 25%" in shown


def test_class_weights_of_unknown_labels(here, capsys):
    write_entities(here / "a.tsv")
    message = fails(capsys, "train", "a.tsv", *SMALL, "--class-weight", "o=0.2")
    assert "'o'" in message
    with pytest.raises(SystemExit):
        run(capsys, "train", "a.tsv", "--class-weight", "heavy")
    assert "must be balanced, or LABEL=WEIGHT,.., got 'heavy'" in capsys.readouterr().err
    (here / "a.csv").write_text("a,b,y\n" + "".join(f"{i},{i % 3},{i / 7}\n" for i in range(40)))
    message = fails(capsys, "train", "a.csv", *SMALL, "--class-weight", "balanced")
    assert message == "argument --class-weight: does not apply to regression"


# ---- naive forecasts


def test_last_value_of_a_random_walk_wins(here, capsys):
    walk = np.random.default_rng(0).normal(size=300).cumsum().round(3).tolist()
    write_windows(here / "a.csv", walk)
    shown = " ".join(run(capsys, "train", "a.csv", *SMALL, "--epochs", "1")[0].split())
    assert re.search(
        r"baseline, training mean \S+: \S+ baseline, naive forecast, last value: ", shown
    )
    assert "The naive forecast, last value, wins: forecast with it, or try more data, more" in shown


def test_seasonal_naive_forecast():
    random = np.random.default_rng(0)
    season = np.tile([0.0, 5.0, -3.0, 9.0], 60) + random.normal(scale=0.1, size=240)
    X = [season[i : i + 8, np.newaxis] for i in range(200)]
    y = [season[i + 8] for i in range(200)]
    baseline = fit_baseline("regression", WINDOWS, X, y)
    assert [lag for lag, _ in baseline["naive"][0]] in ([4], [8])
    (found,) = evaluate_predictions("regression", y, y, X, WINDOWS, baseline)
    name, error = found.baselines[1]
    assert name.startswith("naive forecast, value ")
    assert name.endswith(" from the end")
    assert error < 0.3 < found.baselines[0][1]


def test_no_naive_forecast_of_another_quantity(here, capsys):
    random = np.random.default_rng(0)
    X = [random.normal(size=(6, 1)) for _ in range(100)]
    y = [50 + float(x.mean()) for x in X]
    assert fit_baseline("regression", WINDOWS, X, y)["naive"] == [[]]
    tagged = fit_baseline("regression", TAGGED, [["a"], ["b"]], [1.0, 2.0])
    assert tagged == {"constant": [1.5], "naive": [[]]}


def test_a_sentence_compares_with_the_best_baseline():
    lower = Evaluation(
        "error", 2.0, [("mean", 3.0), ("naive forecast, last value", 1.5)], 9, "sequences", False
    )
    assert not lower.is_better
    assert compare_with_baselines([lower]).startswith("The naive forecast, last value, wins: ")
    assert compare_with_baselines([lower._replace(value=1.0)]) == ""
    one_of_two = [lower._replace(metric="error of 'a'"), lower._replace(value=1.0)]
    assert compare_with_baselines(one_of_two).startswith(
        "The naive forecast, last value, wins in the error of 'a': forecast with it, or try more"
    )
    accuracy = Evaluation("accuracy", 0.5, [("always 'a'", 0.5)], 9, "steps")
    assert compare_with_baselines([accuracy]).startswith("No better than the baseline: try more")


# ---- divergence


@pytest.mark.parametrize("rate", ["1e30", "0", "-1", "1.5", "nan"])
def test_learning_rates_out_of_range_are_refused(rate, here, capsys):
    with pytest.raises(SystemExit):
        run(capsys, "train", "a.csv", "--learning-rate", rate)
    assert "argument --learning-rate: must be a number in (0, 1]" in capsys.readouterr().err


def test_training_stops_when_the_loss_explodes(here, capsys):
    random = np.random.default_rng(0)
    rows = [[*random.normal(size=10).round(3).tolist(), i / 7] for i in range(200)]
    with open("a.csv", "w", newline="") as file:
        csv.writer(file).writerows([[*"abcdefghij", "target"], *rows])
    options = ("--learning-rate", "1", "--no-bidirectional", "--epochs", "20", "--cell", "rnn")
    message = fails(capsys, "train", "a.csv", *options)
    assert re.fullmatch(
        r"training diverges in epoch \d+: the loss rose from [\d.]+ to [\d.e+]+; try a smaller "
        r"--learning-rate, 1 now",
        message,
    )
