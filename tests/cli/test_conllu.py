"""CoNLL-U: columns by name, multiword tokens, empty nodes, and predictions that are CoNLL-U."""

from __future__ import annotations

import pytest

pytest.importorskip("sklearn")
pytest.importorskip("safetensors")
pytest.importorskip("tqdm")

import bptt
from bptt.cli.readers import CONLLU_COLUMNS, read_table
from command_line import fails, run

SMALL = ("--hidden-size", "8", "--epochs", "3")
SENTENCE = """\
# sent_id = {0}
# text = le chat du roi
1\tle\tle\tDET\tRD\tDefinite=Def\t2\tdet\t_\t_
2\tchat\tchat\tNOUN\tS\t_\t0\troot\t_\t_
3-4\tdu\t_\t_\t_\t_\t_\t_\t_\tLang=fr
3\tde\tde\tADP\tE\t_\t5\tcase\t_\t_
4\tle\tle\tDET\tRD\tDefinite=Def\t5\tdet\t_\t_
4.1\telided\t_\t_\t_\t_\t_\t_\t_\t_
5\troi\troi\tNOUN\tS\t_\t2\tnmod\t_\tSpaceAfter=No
"""
FILE = "\n".join(SENTENCE.format(i) for i in range(20)) + "\n"


@pytest.fixture
def treebank(here):
    (here / "a.conllu").write_text(FILE)
    return here


def cells(text):
    return [line.split("\t") for line in text.splitlines() if line and line[0] != "#"]


@pytest.mark.parametrize("name", ["a.conllu", "a.conll", "a.txt", "a"])
def test_words_are_rows(name, here):
    (here / name).write_text(FILE)
    table = read_table(here / name)
    assert table.format == "conllu"
    assert table.columns == CONLLU_COLUMNS
    assert [row[1] for row in table.rows[:5]] == ["le", "chat", "de", "le", "roi"]
    assert table.lines[:5] == [3, 4, 6, 7, 9]
    assert table.sentence_ids == [i // 5 for i in range(100)]


def test_form_and_upos_are_the_default(treebank, capsys):
    shown, _ = run(capsys, "train", "a.conllu", *SMALL)
    assert "lines of CoNLL-U; tokens in column FORM, tags in column UPOS" in " ".join(shown.split())
    assert bptt.load_estimator("a.safetensors").classes_.tolist() == ["ADP", "DET", "NOUN"]


def test_other_columns_by_name(treebank, capsys):
    shown, _ = run(capsys, "train", "a.conllu", *SMALL, "--text", "LEMMA", "--target", "XPOS")
    assert "tokens in column LEMMA, tags in column XPOS Task" in " ".join(shown.split())
    assert bptt.load_estimator("a.safetensors").classes_.tolist() == ["E", "RD", "S"]
    message = fails(capsys, "train", "a.conllu", *SMALL, "--target", "xpos", "--overwrite")
    assert "there is no column 'xpos' (--target); did you mean 'XPOS'?" in message


@pytest.mark.parametrize("column", ["UPOS", "XPOS"])
def test_predictions_replace_the_target_column_alone(column, treebank, capsys):
    options = ("--learning-rate", "0.03", "--target", column)
    run(capsys, "train", "a.conllu", *SMALL, "--epochs", "12", *options)
    place = CONLLU_COLUMNS.index(column)
    blank = [
        "\t".join([*c[:place], "_", *c[place + 1 :]]) if len(c := line.split("\t")) == 10 else line
        for line in FILE.split("\n")
    ]
    (treebank / "blank.conllu").write_text("\n".join(blank))
    shown, messages = run(capsys, "predict", "a.safetensors", "blank.conllu")
    assert shown == FILE
    assert messages == ""  # nothing to evaluate
    _, messages = run(capsys, "predict", "a.safetensors", "a.conllu")
    assert "accuracy on 100 steps: 100.0%" in messages


def test_probabilities_stand_in_the_last_column(treebank, capsys):
    run(capsys, "train", "a.conllu", *SMALL)
    shown, _ = run(capsys, "predict", "a.safetensors", "a.conllu", "--probabilities")
    rows = cells(shown)
    assert {len(row) for row in rows} == {10}
    misc = [row[9] for row in rows[:7]]
    assert misc[2] == "Lang=fr"
    assert misc[5] == "_"
    assert misc[0].startswith("Prob=0.")
    assert misc[6].startswith("SpaceAfter=No|Prob=0.")
    (treebank / "b.conllu").write_text(shown)
    assert run(capsys, "predict", "a.safetensors", "b.conllu", "--probabilities")[0] == shown


def test_a_file_without_a_final_blank_line_ends_with_one(treebank, capsys):
    run(capsys, "train", "a.conllu", *SMALL)
    (treebank / "b.conllu").write_text(FILE.rstrip("\n"))
    assert run(capsys, "predict", "a.safetensors", "b.conllu")[0].endswith("SpaceAfter=No\n\n")


def test_tokens_one_per_line_can_be_tagged(treebank, capsys):
    run(capsys, "train", "a.conllu", *SMALL)
    (treebank / "tokens.conll").write_text("le\nroi\n\nle\n")
    shown, _ = run(capsys, "predict", "a.safetensors", "tokens.conll")
    assert [line.partition("\t")[0] for line in shown.splitlines()] == ["le", "roi", "", "le"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (FILE.replace("\tDET", "\tX").replace("\tNOUN", "\tX").replace("\tADP", "\tX"),
         "a.conllu: column 'UPOS' must have at least two labels, got only 'X': use another"),
        ("le\tDET\n\nroi\tNOUN\n",
         "a.conllu, line 1: must have the 10 columns of CoNLL-U, separated by tabs, got 2: if"),
        (FILE.replace("2\tchat", "two\tchat", 1),
         "a.conllu, line 4: must begin with the number of the word, 1, 1-2 or 1.1, got 'two'"),
    ],
)  # fmt: skip
def test_errors(content, message, here, capsys):
    (here / "a.conllu").write_text(content)
    assert fails(capsys, "train", "a.conllu", *SMALL).startswith(message)


def test_numbers_of_tokens_are_not_the_tokens(here, capsys):
    rows = "1\tthe\tDET\n2\tdog\tNOUN\n\n1\ta\tDET\n2\tcat\tNOUN\n\n" * 10
    (here / "a.tsv").write_text(rows)
    shown, _ = run(capsys, "train", "a.tsv", *SMALL)
    assert "tokens in column 2, tags in column 3" in " ".join(shown.split())
