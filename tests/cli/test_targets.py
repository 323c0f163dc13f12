"""Targets: numbers next to a text, several columns, dates; missing numbers of the inputs."""

from __future__ import annotations

import csv
import io
import json
import re

import numpy as np
import pytest

pytest.importorskip("sklearn")
pytest.importorskip("safetensors")
pytest.importorskip("tqdm")

import bptt
from bptt.cli.schema import Schema, feature_means, fill_missing, filled_numbers
from command_line import fails, run

SMALL = ("--hidden-size", "8", "--epochs", "3")
PRICES = {"garage": 150, "flat": 800, "house": 2500, "villa": 6000}


def write_ads(path, **columns):
    """Texts, their price, and other columns: name -> function of the number of the row."""
    random = np.random.default_rng(0)
    with open(path, "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["text", "price", *columns])
        for i in range(200):
            kind = str(random.choice(list(PRICES)))
            price = round(PRICES[kind] * random.uniform(0.9, 1.1))
            rows.writerow([f"a {kind} to let", price, *(make(i) for make in columns.values())])


def write_windows(path, gaps=False, count=60):
    """Six values of a sine, and the two next ones."""
    random = np.random.default_rng(0)
    with open(path, "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["a", "b", "c", "d", "e", "f", "next", "later"])
        for i in range(count):
            x = [f"{1000 + 100 * np.sin(0.5 * (i + t)):.1f}" for t in range(8)]
            if gaps and i % 3 == 0:
                x[int(random.integers(0, 5))] = str(random.choice(["", "NaN", "n/a"]))
            rows.writerow(x)


# ---- numbers next to a text


def test_a_number_next_to_a_text_is_the_target_and_is_scaled(here, capsys):
    write_ads(here / "a.csv", id=lambda i: 1000 + 7 * i)
    shown, _ = run(capsys, "train", "a.csv", "--epochs", "30")
    assert "regression, one number per sequence ('price' is numeric)" in shown
    model = bptt.load_estimator("a.safetensors")
    assert model.scale
    assert model.metadata_["validation"][0]["value"] < 200  # the standard deviation is 2,300
    assert abs(float(model.predict(["a villa to let"])[0]) - 6000) < 600


def test_two_numbers_next_to_a_text_are_a_question(here, capsys):
    write_ads(here / "a.csv", rooms=lambda i: i % 5)
    message = fails(capsys, "train", "a.csv", *SMALL)
    assert message == (
        "a.csv: which column is the target? Use --target, or --task language to learn the text "
        "alone; columns: price, rooms"
    )
    shown, _ = run(capsys, "train", "a.csv", *SMALL, "--task", "language")
    assert "language modeling" in shown


# ---- several targets


def test_several_targets(here, capsys):
    write_windows(here / "a.csv")
    options = ("--target", "next", "--target", "later", "--learning-rate", "0.03")
    shown, _ = run(capsys, "train", "a.csv", "--epochs", "40", *options)
    assert "targets in 'next', 'later'" in shown
    assert "(2 targets)" in shown
    assert "mean absolute error of 'next' on 6 sequences: " in shown
    assert "mean absolute error of 'later' on 6 sequences: " in shown
    predicted, evaluation = run(capsys, "predict", "a.safetensors", "a.csv")
    rows = list(csv.DictReader(io.StringIO(predicted)))
    assert list(rows[0])[-3:] == ["later", "prediction_next", "prediction_later"]
    for name in ("next", "later"):
        errors = [abs(float(row[name]) - float(row[f"prediction_{name}"])) for row in rows]
        assert np.mean(errors) < 30
    assert "mean absolute error of 'later' on 60 sequences: " in evaluation
    shown, _ = run(capsys, "inspect", "a.safetensors", "a.csv")
    assert "target in 'next', 'later'" in " ".join(shown.split())
    assert re.search("saliency of the output '(next|later)'", shown)
    (here / "p.csv").write_text(predicted)
    assert run(capsys, "predict", "a.safetensors", "p.csv")[0] == predicted


def test_several_targets_in_json_lines(here, capsys):
    rows = [{"x": [i, i + 1], "y": i / 2, "z": -i} for i in range(30)]
    (here / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    run(capsys, "train", "a.jsonl", *SMALL, "--target", "y", "--target", "z")
    shown, _ = run(capsys, "predict", "a.safetensors", "a.jsonl")
    assert list(json.loads(shown.splitlines()[0])["prediction"]) == ["y", "z"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--task", "classification"], "--task classification takes one --target, got 2: several"),
        ([], "a.csv, line 2: column 'text' must be a finite number, got 'a garage to let"),
    ],
)
def test_several_targets_need_numbers(options, message, here, capsys):
    write_ads(here / "a.csv", rooms=lambda i: i, doors=lambda i: i % 2)
    given = ("--target", "rooms", "--target", "text", *options)
    assert fails(capsys, "train", "a.csv", *SMALL, *given)[:40] == message[:40]


def test_columns_may_be_swapped_at_predict_but_not_missing(here, capsys):
    write_windows(here / "a.csv")
    run(capsys, "train", "a.csv", *SMALL, "--target", "next", "--ignore", "later")
    known, _ = run(capsys, "predict", "a.safetensors", "a.csv")
    rows = list(csv.reader(io.StringIO((here / "a.csv").read_text())))
    with open("b.csv", "w", newline="") as file:
        csv.writer(file).writerows([row[::-1] for row in rows])
    swapped, _ = run(capsys, "predict", "a.safetensors", "b.csv")
    last = [[line.rpartition(",")[2] for line in text.splitlines()] for text in (known, swapped)]
    assert last[0] == last[1]
    with open("c.csv", "w", newline="") as file:
        csv.writer(file).writerows([row[1:] for row in rows])
    message = fails(capsys, "predict", "a.safetensors", "c.csv")
    assert message.startswith("c.csv: there is no column 'a' (input of the model)")


def test_a_list_of_targets_is_a_repeated_option(here, capsys):
    write_windows(here / "a.csv")
    message = fails(capsys, "train", "a.csv", *SMALL, "--target", "next,later")
    assert (
        "there is no column 'next,later' (--target); repeat --target for each of next and"
        in message
    )


def test_a_target_with_one_value_is_an_error(here, capsys):
    (here / "a.csv").write_text("a,b,y\n" + "".join(f"{i},{i % 3},2.5\n" for i in range(30)))
    message = fails(capsys, "train", "a.csv", *SMALL)
    assert message.startswith("a.csv: column 'y' must have at least two values, got only 2.5: use")


def test_decimal_commas_are_an_error(here, capsys):
    (here / "a.csv").write_text("a;b;y\n" + "".join(f"{i},5;{i % 3},1;{i},5\n" for i in range(30)))
    message = fails(capsys, "train", "a.csv", *SMALL)
    assert message == (
        "a.csv, line 2: column 'a' must be a finite number, got '0,5': replace the decimal comma "
        "by a point"
    )


# ---- numbers at every step


def write_series(path, count=20, steps=15):
    """A value at every step, and the next two."""
    random = np.random.default_rng(0)
    with open(path, "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["series", "value", "next", "later"])
        for i in range(count):
            x = 50 + 10 * np.sin(0.7 * np.arange(steps + 2) + random.uniform(0, 6))
            rows.writerows([i, *x[t : t + 3].round(3)] for t in range(steps))


def test_numbers_that_vary_within_a_sequence_are_targets_of_its_steps(here, capsys):
    write_series(here / "a.csv")
    options = ("--target", "next", "--ignore", "later", "--learning-rate", "0.03")
    shown, _ = run(capsys, "train", "a.csv", "--epochs", "30", *options)
    assert "regression, one number per step (numbers vary within sequences)" in shown
    assert "Result   mean absolute error on 30 steps: " in shown
    assert "baseline, naive forecast, last value of 'value': " in shown
    model = bptt.load_estimator("a.safetensors")
    assert (model.pool, model.scale, model.bidirectional) == (None, True, False)
    shown, evaluation = run(capsys, "predict", "a.safetensors", "a.csv")
    rows = list(csv.DictReader(io.StringIO(shown)))
    assert len(rows) == 300
    assert np.mean([abs(float(row["next"]) - float(row["prediction"])) for row in rows]) < 2
    assert evaluation.startswith("mean absolute error on 300 steps: ")
    shown, _ = run(capsys, "inspect", "a.safetensors", "a.csv", "--step", 3)
    assert "Task     regression, one number per step" in shown


@pytest.mark.parametrize(("target", "lag"), [("next", "1 step later"), ("later", "2 steps later")])
def test_no_direction_reads_the_targets(target, lag, here, capsys):
    write_series(here / "a.csv")
    other = {"next": "later", "later": "next"}[target]
    given = ("--target", target, "--ignore", other, "--bidirectional")
    message = fails(capsys, "train", "a.csv", *SMALL, *given)
    assert message == (
        f"argument --bidirectional: target {target!r} is the input of 'value' {lag} in a.csv, "
        "which the reverse direction reads"
    )
    run(
        capsys,
        "train",
        "a.csv",
        *SMALL,
        "--target",
        "value",
        "--ignore",
        "later",
        "--bidirectional",
    )


def test_several_numbers_at_every_step(here, capsys):
    write_series(here / "a.csv")
    options = ("--target", "next", "--target", "later", "--time", "series")
    shown, _ = run(capsys, "train", "a.csv", *SMALL, *options)
    assert "mean absolute error of 'later' on 30 steps: " in shown
    shown, _ = run(capsys, "predict", "a.safetensors", "a.csv")
    assert shown.startswith("series,value,next,later,prediction_next,prediction_later\n")
    message = fails(capsys, "train", "a.csv", *SMALL, *options, "--pool", "mean", "--overwrite")
    assert message == "argument --pool: does not apply to regression with a number per step"


def test_lists_of_numbers_are_targets_of_steps(here, capsys):
    rows = [
        {"x": [i, i + 1, i + 2], "y": [i / 2, i / 3, 0.5], "z": [i, 2 * i, 0.1]} for i in range(30)
    ]
    (here / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    shown, _ = run(capsys, "train", "a.jsonl", *SMALL, "--text", "x")
    assert "regression, one number per step ('y' has one number per step)" in shown
    shown, evaluation = run(capsys, "predict", "a.safetensors", "a.jsonl")
    assert len(json.loads(shown.splitlines()[0])["prediction"]) == 3
    assert "on 90 steps" in evaluation
    both = ("--target", "y", "--target", "z", "--overwrite")
    run(capsys, "train", "a.jsonl", *SMALL, *both)
    shown, _ = run(capsys, "predict", "a.safetensors", "a.jsonl")
    found = json.loads(shown.splitlines()[0])["prediction"]
    assert {name: len(numbers) for name, numbers in found.items()} == {"y": 3, "z": 3}


# ---- dates


@pytest.mark.parametrize(
    "dates",
    [
        [f"{1990 + i // 12}-{1 + i % 12:02}-01" for i in range(40)],
        [f"{1 + i % 28}.{1 + i % 12}.1990" for i in range(40)],
        [f"1990{1 + i % 12:02}{1 + i % 28:02}" for i in range(40)],
        [f"Jan {1 + i % 28} 1990" for i in range(40)],
    ],
)
def test_dates_are_not_read_as_texts_or_numbers(dates, here, capsys):
    with open("a.csv", "w", newline="") as file:
        csv.writer(file).writerows([["date", "value"], *zip(dates, range(40), strict=True)])
    cure = "to forecast a series, write a row of past values and the next one for every step, with"
    message = fails(capsys, "train", "a.csv", *SMALL)
    assert message.startswith(f"a.csv: 'value' is the only number; {cure}")
    message = fails(capsys, "train", "a.csv", *SMALL, "--target", "value")
    assert message.startswith(f"a.csv: there is no input column; 'date' is a time, and {cure}")
    message = fails(capsys, "train", "a.csv", *SMALL, "--target", "date")
    assert message.startswith("a.csv: column 'date' has dates, which are neither classes nor")
    options = ("--target", "value", "--text", "date", "--hidden-size", "4", "--epochs", "1")
    shown = " ".join(run(capsys, "train", "a.csv", *options)[0].split())
    assert "the dates in 'date' are read as texts, not as times" in shown


# ---- missing numbers


def test_missing_numbers_are_an_error_by_default(here, capsys):
    write_windows(here / "a.csv", gaps=True)
    message = fails(capsys, "train", "a.csv", *SMALL, "--target", "next", "--ignore", "later")
    assert message.startswith("a.csv, line 2: column '")
    assert message.endswith(": fill it in, or train with --missing fill")


@pytest.mark.parametrize("missing", ["fill", "mask", "decay"])
def test_missing_numbers(missing, here, capsys):
    write_windows(here / "a.csv", gaps=True)
    options = ("--target", "next", "--ignore", "later", "--missing", missing)
    shown, _ = run(capsys, "train", "a.csv", *SMALL, *options)
    assert "missing numbers filled" in " ".join(shown.split())
    model = bptt.load_estimator("a.safetensors")
    assert model.n_features_in_ == 1
    assert model.missing == ("error" if missing == "fill" else missing)
    assert abs(model.metadata_["schema"]["fill"][0] - 1000) < 20
    shown, evaluation = run(capsys, "predict", "a.safetensors", "a.csv")
    assert "nan" not in shown.rpartition(",")[2]
    assert "mean absolute error on 60 sequences" in evaluation
    run(capsys, "inspect", "a.safetensors", "a.csv")


def test_missing_steps_of_rows_and_lists(here, capsys):
    rows = [f"{i // 5},{i % 5},{'' if i % 7 == 0 else i},{i // 5 % 2}" for i in range(100)]
    (here / "a.csv").write_text("\n".join(["sequence,a,b,y", *rows]))
    run(capsys, "train", "a.csv", *SMALL, "--missing", "mask")
    assert bptt.load_estimator("a.safetensors").n_features_in_ == 2
    lists = [{"x": [i, None, 3], "y": "ab"[i % 2]} for i in range(20)]
    (here / "b.jsonl").write_text("".join(json.dumps(row) + "\n" for row in lists))
    assert "must be a list of numbers" in fails(capsys, "train", "b.jsonl", *SMALL)
    run(capsys, "train", "b.jsonl", *SMALL, "--missing", "fill")


def test_missing_needs_numbers(here, capsys):
    write_ads(here / "a.csv")
    message = fails(capsys, "train", "a.csv", *SMALL, "--missing", "fill")
    assert message == "argument --missing: needs numbers, got sequences of texts"


def test_a_missing_target_is_an_error(here, capsys):
    write_windows(here / "a.csv")
    text = (here / "a.csv").read_text().splitlines()
    text[3] = text[3].rpartition(",")[0] + ",NaN"
    (here / "a.csv").write_text("\n".join(text))
    given = ("--target", "later", "--ignore", "next", "--missing", "fill")
    message = fails(capsys, "train", "a.csv", *SMALL, *given)
    assert message == "a.csv, line 4: column 'later' has no number: remove the line"


def test_filled_numbers():
    nan = np.nan
    X = [np.array([[nan, 1.0], [2.0, nan], [nan, nan]]), np.array([[4.0, 3.0]])]
    schema = Schema("numbers", "rows", ["a", "b"], missing="fill", fill=[3.0, 2.0])
    assert feature_means(X, schema) == [3.0, 2.0]
    filled = fill_missing(X, schema)
    np.testing.assert_array_equal(filled[0], [[3.0, 1.0], [2.0, 1.0], [2.0, 1.0]])
    np.testing.assert_array_equal(filled[1], X[1])
    marked = Schema("numbers", "rows", ["a", "b"], missing="mask", fill=[3.0, 2.0])
    np.testing.assert_array_equal(fill_missing(X, marked)[0], X[0])  # the estimator reads NaN
    np.testing.assert_array_equal(filled_numbers(X, marked)[0], filled[0])


# ---- categories


@pytest.mark.parametrize("missing", ["error", "fill", "decay"])
def test_categories_beside_numbers(missing, here, capsys):
    """The category of a step decides the target; the numbers tell nothing."""
    rows = []
    for i in range(60):
        for t in range(4):
            number = "" if missing != "error" and (i + t) % 5 == 0 else (i * t) % 7
            kind = ("", "up", "down")[(i + t) % 3 if t else i % 2 + 1]
            rows.append(f"{i},{number},{kind},{'+' if i % 2 == 0 else '-'}")
    (here / "a.csv").write_text("\n".join(["sequence,x,kind,label", *rows]))
    given = ("--categorical-features", "kind", "--missing", missing, *SMALL)
    shown, _ = run(capsys, "train", "a.csv", *given)
    assert "categories in 'kind'" in " ".join(shown.split())
    model = bptt.load_estimator("a.safetensors")
    assert (model.n_features_in_, model.categorical_features) == (2, [1])
    _, evaluation = run(capsys, "predict", "a.safetensors", "a.csv")
    assert "60 sequences" in evaluation


def test_categories_need_rows_of_numbers(here, capsys):
    write_ads(here / "a.csv")
    columns = (here / "a.csv").read_text().splitlines()[0].split(",")
    message = fails(capsys, "train", "a.csv", *SMALL, "--categorical-features", "none")
    assert "--categorical-features" in message
    text = next(name for name in columns if name not in ("label", "target"))
    message = fails(capsys, "train", "a.csv", *SMALL, "--categorical-features", text)
    assert "a.csv" in message or "--categorical-features" in message
