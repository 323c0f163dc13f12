"""Hold-outs by group and by time, and notes on columns that look like one."""

from __future__ import annotations

import csv

import numpy as np
import pytest

pytest.importorskip("sklearn")
pytest.importorskip("safetensors")
pytest.importorskip("tqdm")

from bptt.cli.column_kinds import time_keys
from bptt.cli.holdout import Dataset, split_dataset
from bptt.cli.main import make_parser
from bptt.cli.readers import read_table
from bptt.cli.schema import extract_sequences, extract_targets, group_rows
from bptt.cli.schema_inference import SchemaOptions, infer_schema
from command_line import fails, run

SMALL = ("--hidden-size", "8", "--epochs", "2")


def write_recordings(path, count=40, steps=5):
    """Two numbers per step; the offset of x tells the speaker."""
    random = np.random.default_rng(0)
    rows = [["sequence", "speaker", "date", "x", "y", "label"]]
    for i in range(count):
        speaker, label = i % 8, ("left", "right")[i // 8 % 2]
        for x, y in random.normal((speaker, 0), 1.0, (steps, 2)):
            rows.append([i, f"s{speaker}", f"2012-{1 + i % 12:02}-01", x, y, label])
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows(rows)


def split(path, *options):
    """Return the training and validation sequences, and the columns of groups and dates of both."""
    arguments = make_parser().parse_args(["train", str(path), *options])
    table = read_table(path)
    schema, _ = infer_schema(
        table, SchemaOptions(**{name: getattr(arguments, name) for name in SchemaOptions._fields})
    )
    groups = group_rows(table, schema)
    X = extract_sequences(table, schema, groups)
    named = [(x, table.rows[group[0]][1:3]) for x, group in zip(X, groups, strict=True)]
    data = Dataset(named, extract_targets(table, schema, groups, "classification"))
    return [
        [name for _, name in part.X]
        for part in split_dataset(data, table, "classification", schema, arguments)
    ]


def test_whole_groups_are_held_out(here):
    write_recordings(here / "a.csv")
    seen = set()
    for seed in range(4):
        train, held_out = split(here / "a.csv", "--group", "speaker", "--seed", str(seed))
        assert len(held_out) == 5
        assert len(train) == 35
        assert {speaker for speaker, _ in train}.isdisjoint(speaker for speaker, _ in held_out)
        seen |= {speaker for speaker, _ in held_out}
    assert len(seen) > 1
    train, held_out = split(here / "a.csv", "--group", "speaker", "--validation", "0.4")
    assert len(held_out) == 20


def test_the_latest_sequences_are_held_out(here):
    write_recordings(here / "a.csv")
    train, held_out = split(here / "a.csv", "--time", "date", "--validation", "0.2")
    assert max(date for _, date in train) < min(date for _, date in held_out)
    assert len(held_out) == 9  # 8 and one more of the same date


def test_group_and_time_are_no_inputs(here, capsys):
    write_recordings(here / "a.csv")
    shown, _ = run(capsys, "train", "a.csv", *SMALL, "--group", "speaker")
    shown = " ".join(shown.split())
    assert "numbers in 'x', 'y', target in 'label'; 'date' is a time, not an input; " in shown
    assert "held out: whole groups of 'speaker'" in shown


def test_a_column_that_looks_like_a_group_or_a_time_is_noticed(here, capsys):
    write_recordings(here / "a.csv")
    shown = " ".join(run(capsys, "train", "a.csv", *SMALL)[0].split())
    assert "held out at random, although 'speaker' looks like a group: --group speaker" in shown
    shown = " ".join(
        run(capsys, "train", "a.csv", *SMALL, "--ignore", "speaker", "--overwrite")[0].split()
    )
    assert "--group speaker" in shown
    with open("b.csv", "w") as file:
        file.write(
            "year,a,b,y\n" + "".join(f"{i},{i % 3},{i % 5},{i / 7}\n" for i in range(1990, 2030))
        )
    shown = " ".join(run(capsys, "train", "b.csv", *SMALL)[0].split())
    assert (
        "up to 2 numbers, 'a' to 'b', target in 'y'; 'year' is a time, not an input; held out at "
        "random, although 'year' looks like a time: --time year holds out the latest"
    ) in shown
    shown, _ = run(capsys, "train", "b.csv", *SMALL, "--time", "year", "--overwrite")
    assert "looks like" not in shown


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--group", "speeker"], "a.csv: there is no column 'speeker' (--group); did you mean 'sp"),
        (["--group", "x"], "a.csv, line 3: column 'x' must be the same in all rows of a sequence"),
        (["--time", "speaker"], "a.csv: column 'speaker' must have numbers, or dates with the ye"),
        (["--group", "speaker", "--validation", "a.csv"], "argument --group: does not apply to a "),
        (["--group", "one"], "a.csv: column 'one' must have at least two groups, got 1"),
        (["--time", "one"], "a.csv: column 'one' must have at least two times"),
    ],
)  # fmt: skip
def test_errors(options, message, here, capsys):
    write_recordings(here / "a.csv")
    lines = (here / "a.csv").read_text().splitlines()
    (here / "a.csv").write_text("\n".join([lines[0] + ",one", *(f"{a},1" for a in lines[1:])]))
    given = ["--ignore", "speaker", "--ignore", "date", "--ignore", "one", *options]
    assert fails(capsys, "train", "a.csv", *SMALL, *given).startswith(message)


def test_sentences_have_no_groups(here, capsys):
    (here / "a.tsv").write_text("a\tX\nb\tY\n\n" * 20)
    message = fails(capsys, "train", "a.tsv", *SMALL, "--group", "1")
    assert message == "argument --group: does not apply to sentences and plain text"


def test_a_numbered_group_in_rows_may_be_the_sequences(here, capsys):
    with open("motions.csv", "w") as file:
        file.write("recording,ax,ay,az,activity\n")
        for i in range(60):
            activity = "run" if i % 2 else "walk"
            file.writelines(f"{i},{i % 2},{t % 3},{t},{activity}\n" for t in range(4))
    shown = " ".join(run(capsys, "train", "motions.csv", *SMALL)[0].split())
    assert "every row is a sequence of up to 4 numbers, 'recording' to 'az', target in" in shown
    assert "whole groups, --sequence recording makes one sequence of the rows of each" in shown
    chosen = ("--sequence", "recording", "--overwrite")
    shown = " ".join(run(capsys, "train", "motions.csv", *SMALL, *chosen)[0].split())
    assert "are one sequence, numbers in 'ax', 'ay', 'az', target in 'activity' Task" in shown


def test_the_target_is_no_group(here, capsys):
    write_recordings(here / "a.csv")
    message = fails(capsys, "train", "a.csv", *SMALL, "--target", "label", "--group", "label")
    assert message == "argument --group: 'label' is already the target"


def test_quarters_are_times(here, capsys):
    assert time_keys(["1970 Q1", "1969Q4"]) == [(1970, 1), (1969, 4)]
    with open("a.csv", "w") as file:
        file.write("Quarter,a,b,y\n")
        file.writelines(
            f"{1990 + i // 4} Q{i % 4 + 1},{i % 3},{i % 5},{i / 7}\n" for i in range(40)
        )
    shown = " ".join(run(capsys, "train", "a.csv", *SMALL)[0].split())
    assert "'Quarter' is a time, not an input; held out at random, although 'Quarter'" in shown
    shown = " ".join(
        run(capsys, "train", "a.csv", *SMALL, "--time", "Quarter", "--overwrite")[0].split()
    )
    assert "held out: the latest sequences by 'Quarter'" in shown
