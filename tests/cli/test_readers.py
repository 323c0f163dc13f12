"""Readers and schema inference, and errors that name file, line and fix."""

from __future__ import annotations

import json

import numpy as np
import pytest

from bptt.cli.errors import CommandError
from bptt.cli.readers import read_table
from bptt.cli.schema import extract_sequences, extract_targets, group_rows
from bptt.cli.schema_inference import SchemaOptions, infer_schema, infer_task


def read_dataset(path, **wanted):
    """Return the inferred task, the sequences as lists, the targets, and the notes."""
    table = read_table(path)
    schema, notes = infer_schema(table, SchemaOptions(**wanted))
    groups = group_rows(table, schema)
    task = wanted.get("task") or infer_task(table, schema, groups)[0]
    X = [
        x.tolist() if isinstance(x, np.ndarray) else x
        for x in extract_sequences(table, schema, groups)
    ]
    y = None if task == "language" else extract_targets(table, schema, groups, task)
    return task, X, y, notes


def write(folder, name, content):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


TEXTS = (["a b", "c, d"], ["x", "y"])


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.csv", 'text,label\na b,x\n"c, d",y\n', ("classification", *TEXTS)),
        ("a.csv", '\ufefftext; label\r\na b; x\r\n\r\n"c, d"; y\r\n', ("classification", *TEXTS)),
        ("a.tsv", "text\tlabel\na b\tx\nc, d\ty\n", ("classification", *TEXTS)),
        ("a.txt", "text\tlabel\na b\tx\nc, d\ty\n", ("classification", *TEXTS)),
        ("a.csv", 'Label,Review\nx,a b\ny,"c, d"', ("classification", *TEXTS)),
        ("a.csv", 'id,stars,text,label\n1,5,a b,x\n2,4,"c, d",y\n', ("classification", *TEXTS)),
        ("a.csv", "text,label\na,1\nb,2\n", ("regression", ["a", "b"], [1.0, 2.0])),
        (
            "a.csv",
            "text,label\na,1\nb,0\nc,1\nd,0\n",
            ("classification", list("abcd"), list("1010")),
        ),
        (
            "a.csv",
            "x1,x2,target\n1,2,a\n3,,b\n",
            ("classification", [[[1.0], [2.0]], [[3.0]]], ["a", "b"]),
        ),
        (
            "a.csv",
            ",x1,x2,y\n0,1,2,a\n1,3,4,b\n",
            ("classification", [[[1.0], [2.0]], [[3.0], [4.0]]], ["a", "b"]),
        ),
        (
            "a.csv",
            "sequence,x,y\ns,1,a\ns,2,a\nt,3,b\n",
            ("classification", [[[1.0], [2.0]], [[3.0]]], ["a", "b"]),
        ),
        (
            "a.csv",
            "sequence,x,y\ns,1,a\nt,3,b\ns,2,c\n",
            ("tagging", [[[1.0], [2.0]], [[3.0]]], [["a", "c"], ["b"]]),
        ),
        (
            "a.csv",
            "series,x,z,y\ns,1,5,2.5\ns,2,6,2.5\n",
            ("regression", [[[1.0, 5.0], [2.0, 6.0]]], [2.5]),
        ),
        ("a.csv", "sequence,word,tag\ns,the,D\ns,5,N\n", ("tagging", [["the", "5"]], [["D", "N"]])),
        (
            "a.tsv",
            "# c\nthe\tD\n#a\tN\n\n\n\nend\tN\n",
            ("tagging", [["the", "#a"], ["end"]], [["D", "N"], ["N"]]),
        ),
        ("a.conll", "EU NNP O\nsays VB B\n", ("tagging", [["EU", "says"]], [["O", "B"]])),
        (
            "a.jsonl",
            '{"text": "a", "label": true}\n\n{"label": false, "text": "b"}',
            ("classification", ["a", "b"], [True, False]),
        ),
        (
            "a.jsonl",
            '{"tokens": ["a", "b"], "tags": ["X", "Y"]}',
            ("tagging", [["a", "b"]], [["X", "Y"]]),
        ),
        (
            "a.jsonl",
            '{"x": [1, 2], "y": 0.5}\n{"x": [3], "y": 1}',
            ("regression", [[[1.0], [2.0]], [[3.0]]], [0.5, 1.0]),
        ),
        ("a.jsonl", '{"x": [[1, 2]], "y": "a"}', ("classification", [[[1.0, 2.0]]], ["a"])),
        ("a.jsonl", '{"text": "a"}\n{"text": "b"}', ("language", ["a", "b"], None)),
        ("a.txt", "one\n\n  two\n", ("language", ["one\n\n  two"], None)),
        ("a", "ab\n" * 20, ("language", ["ab"] * 20, None)),
        ("a.txt", "ab " * 30 + "\n" + "cd\n" * 25, ("language", ["ab " * 30, *["cd"] * 25], None)),
    ],
)
def test_schema_and_task_are_inferred(name, content, expected, tmp_path):
    assert read_dataset(write(tmp_path, name, content))[:3] == expected


@pytest.mark.parametrize(
    ("name", "content", "wanted", "expected"),
    [
        ("a.csv", "u,v,w\na,1,b\nc,0,d\n", {"target": ["v"], "text": "w"}, ["b", "d"]),
        (
            "a.csv",
            "n,p,q,r\nAnn,1,2,b\nBen,3,4,d\n",
            {"target": ["r"], "ignore": ["n"]},
            [[[1.0], [2.0]], [[3.0], [4.0]]],
        ),
        ("a.csv", "w,p,r\n1,2,b\n1,4,b\n", {"target": ["r"], "sequence": "w"}, [[[2.0], [4.0]]]),
        ("a.txt", "a\n\nb\n", {"lines": True}, ["a", "b"]),
        ("a.txt", "ab\n" * 20, {"lines": False}, [("ab\n" * 20).rstrip()]),
        ("a.csv", "text,label\na,1\nb,2\n", {"task": "language"}, ["a", "b"]),
        ("a.conll", "1 the D x\n2 cat N y\n", {"text": "2", "target": "3"}, [["the", "cat"]]),
        ("a.tsv", "the\tD\n\ncat\tN\n", {"task": "language"}, [["the"], ["cat"]]),
    ],
)
def test_options_override_the_inference(name, content, wanted, expected, tmp_path):
    assert read_dataset(write(tmp_path, name, content), **wanted)[1] == expected


def test_the_only_other_column_is_the_target_if_its_values_repeat(tmp_path):
    rows = "".join(f"some words {i},{'+-'[i % 2]},\n" for i in range(6))
    found = read_dataset(write(tmp_path, "a.csv", f"text,mood,\n{rows}"))
    assert (found[0], found[2]) == ("classification", list("+-+-+-"))
    ids = "".join(f"some words,{i}\n" for i in range(6))
    assert read_dataset(write(tmp_path, "b.csv", f"text,number\n{ids}"))[0] == "language"


def test_labels_behind_numbers_are_the_target(tmp_path):
    rows = "".join(f"{i},2,3,{'pq'[i % 2]}\n" for i in range(6))
    found = read_dataset(write(tmp_path, "a.csv", f"a,b,c,kind\n{rows}"))
    assert (found[0], found[2]) == ("classification", list("pqpqpq"))
    with pytest.raises(CommandError) as raised:
        read_dataset(write(tmp_path, "c.csv", "a,kind,b,c\n1,p,2,3\n2,p,3,4\n"))
    assert str(raised.value).endswith(
        "c.csv: column 'kind' is not numeric: exclude it with --ignore kind, or use --text kind if "
        "it is the text or --target kind if it is the target or --sequence kind if rows with the "
        "same value are one sequence"
    )


def test_the_last_column_has_the_tags(tmp_path):
    path = write(tmp_path, "a.tsv", "the\tDET\tDT\n\ncat\tNOUN\tNN\n")
    task, _, y, notes = read_dataset(path)
    assert (task, y) == ("tagging", [["DT"], ["NN"]])
    assert notes[-1] == "the last of 3 columns (else use --target)"
    assert read_dataset(path, target=["2"])[2] == [["DET"], ["NOUN"]]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        # files
        ("a.csv", "", " is empty: it must have at least one line of data"),
        ("a.csv", " \n", " is empty: "),
        (
            "a.csv",
            "text,label\n",
            " is empty: it must have at least one line of data, got the names of the columns",
        ),
        (
            "a.tsv",
            "text,label\na,p\n",
            ": must have columns separated by tabs, got 'text,label': use --format csv",
        ),
        ("a.tsv", "# only\n\n# comments", " is empty: "),
        (
            "a.csv",
            b"text,label\ncaf\xe9,x\n",
            ", line 2: must be UTF-8, got the byte 0xe9: if it",
        ),
        ("a.csv", "text".encode("utf-16"), ": it is UTF-16: convert it with iconv -f utf-16"),
        ("a.csv", b"\x1f\x8b..", ": it is compressed: unpack it with gunzip"),
        ("a.csv", b"PK\x03\x04..", ": it is a zip archive or a spreadsheet: unpack it, or export"),
        ("a.txt", "a\nb\0", ", line 2: must be text, got a null byte"),
        # tables
        (
            "a.csv",
            "x,y\n1,2\n1,2,3\n",
            ", line 3: must have 2 cells like line 1, got 3: quote",
        ),
        ("a.csv", "x,y\n\n1\n", ", line 3: must have 2 cells like line 1, got 1: pad a shorter"),
        (
            "a.csv",
            "1.5,2,b\n3,4,c\n",
            ", line 1: must have the names of the columns, got numbers: ",
        ),
        ("a.csv", "date,value\n1 May,2\n", ": 'value' is the only number; to forecast a series"),
        (
            "a.csv",
            "1,2\n3,4\n",
            ", line 1: must have the names of the columns, got numbers: ",
        ),
        (
            "a.csv",
            "x,x\n1,2\n",
            ", line 1: the names of the columns must be unique, got 'x' twice",
        ),
        ("a.csv", 'text,y\n"ab\nc,d\n', ", line 2: a quoted cell is not closed: double a quote"),
        ("a.csv", 'text,y\n"a"b,d\n', ", line 2: ',' expected after '\"': double a quote within"),
        ("a.conll", "the D\ncat\n", ", line 2: must have 2 cells like line 1, got 1: every line"),
        ("a.conll", "the\ncat\n", ", line 1: must be a token, a tab and a tag, got one cell"),
        (
            "a.jsonl",
            '{"text": "a"}\n{"text": ',
            ", line 2: Expecting value: every line must be a",
        ),
        (
            "a.jsonl",
            '{"text": "a"}\n5',
            ', line 2: must be an object such as {"text": .., "label":',
        ),
        (
            "a.jsonl",
            '{"text": "a", "label": {"b": 1}}\n{"text": "b", "label": {"b": 2}}',
            ", line 1: column 'label' must be a label or number, got an object: {'b': 1}",
        ),
        (
            "a.csv",
            "a b\n0.5 2\n",
            ", line 2: cells must be separated by commas, semicolons or tabs, got spaces: '0.5 2'",
        ),
        ("a.csv", "-1.5 2\n0.5 2\n", ", line 2: cells must be separated by commas, semicolons or"),
        (
            "a.json",
            '[\n  {"text": "a"}\n]',
            ", line 1: must be an object, one per line, got an array: convert it with jq -c '.[]'",
        ),
        # columns
        ("a.csv", "a,b\n1,2\n", ": which column is the target? Use --target; columns: a, b"),
        ("a.csv", "x,y\n1,a\n2,b\n", ": a row has only one number, in 'x': if a sequence spans"),
        ("a.csv", "y\n1\n", ": there is no input column; columns: y"),
        (
            "a.csv",
            "a,b,c,y\np,q,r,s\n",
            ": which column is the text? Use --text; columns: a",
        ),
        (
            "a.csv",
            "a,b,c,d,y\n1,2,3,p,s\n",
            ": column 'd' is not numeric: exclude it with --ignore d, or use --text d if it is the",
        ),
        # cells
        (
            "a.csv",
            "a,b,y\n1,2,p\n3,x,q\n",
            ", line 3: column 'b' must be a finite number, got 'x': ",
        ),
        (
            "a.csv",
            "a,b,y\n1,2,p\n3,nan,q\n",
            ", line 3: column 'b' must be a number, got 'nan': fill it in, or train",
        ),
        (
            "a.csv",
            'a,b,y\n1,2,p\n"3,5",4,q\n',
            ", line 3: column 'a' must be a finite number, got '3,5'"
            ": replace the decimal comma by a point",
        ),
        (
            "a.csv",
            'a,b,y\n"1,234",2,0.5\n',
            ", line 2: column 'a' must be a finite number, got '1,234'"
            ": replace the decimal comma by a point, or remove the comma of thousands",
        ),
        (
            "a.csv",
            "a,b,c,y\n1,2,3,p\n3,,4,q\n",
            ", line 3: column 'b' must be a number, got an empty cell: ",
        ),
        (
            "a.csv",
            "a,b,y\n1,2,p\n,,q\n",
            ", line 3: must have at least one number: remove the line",
        ),
        (
            "a.csv",
            "sequence,a,b,y\ns,1,2,p\ns,1,,p\n",
            ", line 3: column 'b' must be a number, got an ",
        ),
        ("a.csv", "a,b,y\n1,2,p\n3,4, \n", ", line 3: column 'y' is empty: fill it in, or remove"),
        (
            "a.csv",
            "text,label\na,p\n,q\n",
            ", line 3: column 'text' must be a text, got an empty cell: ",
        ),
        (
            "a.jsonl",
            '{"text": "a", "label": "p"}\n{"text": 5, "label": "q"}',
            ", line 2: column 'text' must be a text, got 5",
        ),
        (
            "a.jsonl",
            '{"text": "a", "label": "p"}\n{"text": "b"}',
            ", line 2: column 'label' is empty",
        ),
        (
            "a.jsonl",
            '{"text": "a", "label": "p"}\n{"text": "b", "label": 3}',
            ", line 2: column 'label' must be a str as in line 1, got 3",
        ),
        (
            "a.jsonl",
            '{"x": [1], "y": "p"}\n{"x": [1, null], "y": "q"}',
            ", line 2: column 'x' must be a list of numbers, or of lists of numbers, got [1, None]",
        ),
        (
            "a.jsonl",
            '{"x": ["a"], "y": ["p"]}\n{"x": ["b"], "y": []}',
            ", line 2: column 'y' must be a list of 1 labels, one per step, got 0",
        ),
    ],
)
def test_errors_name_file_line_and_fix(name, content, message, tmp_path):
    path = write(tmp_path, name, content)
    with pytest.raises(CommandError) as raised:
        read_dataset(path)
    assert f"{path}{message}" in str(raised.value)


@pytest.mark.parametrize(
    ("name", "content", "wanted", "message"),
    [
        (
            "a.csv",
            "text,label\na,p\n",
            {"target": ["lable"]},
            ": there is no column 'lable' (--target); did you mean 'label'? columns: text",
        ),
        ("a.csv", "text,label\na,p\n", {"ignore": ["b"]}, ": there is no column 'b' (--ignore)"),
        ("a.txt", "a\n", {"target": ["b"]}, ": there is no column 'b' (--target); columns: text"),
        (
            "a.txt",
            "a\n",
            {"task": "tagging"},
            " is plain text, which has no targets: tagging needs",
        ),
        (
            "a.csv",
            "text,label\na,p\n",
            {"task": "regression"},
            ", line 2: column 'label' must be a fi",
        ),
        (
            "a.csv",
            "text,label\na,p\n",
            {"task": "tagging"},
            ", line 2: column 'label' must be a list ",
        ),
        (
            "a.csv",
            "sequence,x,y\ns,1,p\ns,2,q\n",
            {"task": "classification"},
            ", line 3: column 'y' "
            "must be the same in all rows of a sequence, 'p' as in line 2, got 'q'; for one label "
            "per step use --task tagging",
        ),
    ],
)
def test_errors_of_options(name, content, wanted, message, tmp_path):
    path = write(tmp_path, name, content)
    with pytest.raises(CommandError) as raised:
        read_dataset(path, **wanted)
    assert f"{path}{message}" in str(raised.value)


def test_errors_of_unreadable_files(tmp_path):
    with pytest.raises(CommandError, match=r"cannot read .*none\.csv: No such file"):
        read_table(tmp_path / "none.csv")
    with pytest.raises(CommandError, match=r"cannot read .*: Is a directory"):
        read_table(tmp_path)


def test_line_numbers_count_lines_within_quoted_cells(tmp_path):
    rows = 'text,label\n"one\ntwo",x\nthree,y,z\n'
    with pytest.raises(CommandError, match="line 4: must have 2 cells"):
        read_table(write(tmp_path, "a.csv", rows))


def test_long_lists_of_columns_are_abbreviated(tmp_path):
    header = ",".join(f"x{i}" for i in range(100))
    path = write(tmp_path, "a.csv", f"{header}\n{'1,' * 99}1\n")
    with pytest.raises(CommandError, match=r"columns: x0, .*, x6, \.\., x99 \(100 in total\)$"):
        read_dataset(path)


def test_json_values_keep_their_types(tmp_path):
    row = {"text": "ä", "label": 3, "other": {"a": [1, None]}}
    table = read_table(write(tmp_path, "a.ndjson", json.dumps(row)))
    assert table.rows == [["ä", 3, {"a": [1, None]}]]
