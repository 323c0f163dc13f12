"""Error messages that the pages list: each is raised as it is written, but for its numbers."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import bptt
from bptt.cli.main import main

pytest.importorskip("sklearn")
pytest.importorskip("safetensors")
pytest.importorskip("tqdm")

DOCS = Path(__file__).parents[2] / "docs"
TABLE = re.compile(r"^\| error \| remedy \|\n\|---\|---\|\n((?:\|.*\n)+)", re.MULTILINE)
SMALL = {"hidden_size": 4, "epochs": 1, "random_state": 0}
X = [np.ones((5, 2)) for _ in range(4)]
TEXTS = ["aa", "bb", "ab", "ba"]


def listed(page: str) -> list[str]:
    """Return the messages in the table of a page."""
    (rows,) = TABLE.findall((DOCS / page).read_text("utf-8"))
    return re.findall(r"^\| `(.*?)` \|", rows, re.MULTILINE)


def pattern(message: str) -> str:
    """Return the regular expression of a message: any numbers, and any text for ``..``."""
    parts = re.split(r"…|\.\.", message)
    escaped = (re.sub(r"\d[\d,.]*", r"[\\d,.]+", re.escape(part)) for part in parts)
    return "^" + ".*".join(escaped)


def classifier(**options):
    return bptt.SequenceClassifier(**SMALL, **options)


def fitted():
    return classifier().fit(X, ["good", "bad", "good", "bad"])


def tagger(**options):
    return bptt.SequenceTagger(**SMALL, **options)


def language_model(**options):
    return bptt.LanguageModel(**SMALL, **options)


def vectors(content, **options):
    Path("vectors.txt").write_text(content)
    options = {"tokens": "words", "embedding_vectors": "vectors.txt", **options}
    return classifier(**options).fit(["a", "b"], ["x", "y"])


def without_attention():
    model = bptt.EncoderDecoder(attention=None, **SMALL)
    return model.fit(TEXTS, TEXTS)


def with_a_nan():
    x = np.ones((5, 2))
    x[2, 0] = np.nan
    return [x]


def diverging():
    """Return a classifier whose loss overflows after a few minibatches, and its data."""
    numbers = np.random.default_rng(0).standard_normal((40, 5, 2))
    return classifier(learning_rate=1e38, clip_norm=None, batch_size=4), numbers


def fit_diverging():
    model, numbers = diverging()
    with np.errstate(all="ignore"):
        model.fit(numbers, [0, 1] * 20)


# Page -> calls that raise the messages of its table, in the same order.
CALLS = {
    "many-to-one.md": [
        lambda: vectors("a 1\na 2 3\n"),
        lambda: vectors("a 1\n", tokens="characters"),
        lambda: vectors("a 1\n", embedding_size=64),
        lambda: classifier().fit("aa", ["good"]),
        lambda: fitted().predict([*X[:3], np.ones((40, 3))]),
        lambda: fitted().predict(with_a_nan()),
        lambda: fitted().partial_fit(X, ["good", "bad", "fair", "bad"]),
        fit_diverging,
    ],
    "tagging.md": [
        lambda: tagger().fit(X, [[0] * 5, [1] * 5, [0] * 4, [1] * 5]),
        lambda: tagger().fit(X, [["A"] * 5] * 4).partial_fit(X, [["X"] * 5] * 4),
        lambda: tagger(feedback=True, bidirectional=True).fit(X, [[0] * 5] * 4),
        lambda: tagger(crf=True, class_weight="balanced").fit(X, [[0] * 5] * 4),
        lambda: tagger(affixes=4, tokens=None).fit([["a"]] * 4, [["A"]] * 4),
        lambda: tagger(characters=4, tokens=None).fit([["a"]] * 4, [["A"]] * 4),
        lambda: tagger(skip_input=True).fit(TEXTS, ["AA"] * 4),
    ],
    "language-model.md": [
        lambda: language_model(truncate=(50, 25)).fit(TEXTS),
        lambda: language_model(truncate=(2, 4), validation_fraction=0.1).fit(TEXTS),
        lambda: language_model().fit("aa"),
    ],
    "encoder-decoder.md": [
        lambda: bptt.EncoderDecoder(**SMALL).fit(TEXTS, TEXTS[:3]),
        lambda: without_attention().attention_weights(TEXTS),
    ],
    "training.md": [
        fit_diverging,
        lambda: classifier(learning_rate=1e30, batch_size=2).fit(X, [0, 1] * 2),
        lambda: bptt.SequenceClassifier(checkpoint_path="a").fit(X, [0, 1] * 2),
        lambda: classifier(validation_fraction=0.1).fit(X, [0, 1] * 2),
        lambda: (
            classifier(optimizer=lambda m: bptt.SGD(m, learning_rate=0.1))
            .fit(X, [0, 1] * 2)
            .save("a")
        ),
    ],
}
# What is in a.csv, and the options of the command.
FILES = {
    "cells": ("text,label\na,b\nc,d,e\n", ()),
    "columns": ("1,2\n3,4\n", ()),
    "number": ("x1,x2,y\n1,2,0.5\n,2,1.5\n1,2,2.5\n", ("--target", "y")),
    "array": ('[\n{"text": "good", "label": "a"}\n]', ()),
    "UTF-8": ("text,label\n\u00e9,a\n", ()),
    "target": ("a,b,c\n1,2,3\n4,5,6\n", ()),
    "series": ("date,value\n1990-01-01,1\n1990-02-01,2\n", ()),
    "values": ("text,label\n" + "".join(f"word{i},word{i}\n" for i in range(40)), ()),
    "divergence": (
        "x1,x2,y\n" + "".join(f"{i % 7},{i % 5},{i / 3}\n" for i in range(200)),
        ("--learning-rate", "1", "--target", "y", "--cell", "rnn", "--no-bidirectional"),
    ),
    "exists": ("text,label\n" + "good,a\nbad,b\n" * 10, ()),
}


@pytest.mark.parametrize(
    ("page", "number"), [(page, i) for page, calls in CALLS.items() for i in range(len(calls))]
)
def test_message_is_raised(page, number, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        (ValueError, TypeError, FloatingPointError), match=pattern(listed(page)[number])
    ):
        CALLS[page][number]()


@pytest.mark.parametrize("page", CALLS)
def test_every_message_has_a_call(page):
    assert len(listed(page)) == len(CALLS[page])


@pytest.mark.parametrize("number", range(len(FILES)))
def test_message_of_the_command_line(number, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    messages = listed("command-line.md")
    assert len(messages) == len(FILES)
    text, options = list(FILES.values())[number]
    name = "a.json" if messages[number].startswith("a.json") else "a.csv"
    (tmp_path / name).write_text(text, encoding="latin-1")
    (tmp_path / "a.safetensors").touch()
    if number < len(FILES) - 1:
        options = ("--overwrite", *options)
    assert main(["train", name, *options]) == 2
    shown = " ".join(capsys.readouterr().err.split()).partition("error: ")[2]
    assert re.match(pattern(messages[number]), shown), shown


def test_every_table_is_tested():
    pages = {page.name for page in DOCS.glob("*.md") if TABLE.search(page.read_text("utf-8"))}
    assert pages == {*CALLS, "command-line.md"}
