"""n-gram language models in ARPA files: probabilities, and CTC with them by enumeration."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

import bptt
from bptt.decoding import ctc_beam_search, read_arpa

ARPA = """\
made by hand

\\data\\
ngram 1=5
ngram 2=4
ngram 3=2

\\1-grams:
-0.5\t</s>
-99\t<s>\t-0.2
-0.4\ta\t-0.3
-0.7\tb
-1.5\t<unk>\t-0.1

\\2-grams:
-0.3\t<s> a\t-0.25
-0.2\ta b\t-0.15
-0.6\tb </s>
-0.9\tb zebra

\\3-grams:
-0.1\t<s> a b
-0.05\ta b b

\\end\\
"""
LABELS = [None, "a", "b", "c"]
TEN = math.log(10)


@pytest.fixture
def arpa(tmp_path):
    path = tmp_path / "model.arpa"
    path.write_text(ARPA, encoding="utf-8")
    return path


def tables():
    """(log10 p, log10 back-off weight) of every n-gram of the file."""
    found = {}
    for line in ARPA.splitlines():
        fields = line.split("\t")
        if len(fields) > 1:
            back_off = float(fields[2]) if len(fields) == 3 else 0.0
            found[tuple(fields[1].split())] = (float(fields[0]), back_off)
    return found


def katz(word, context, known):
    """log10 p by the definition, recursively."""
    if (*context, word) in known:
        return known[(*context, word)][0]
    if not context:
        return -math.inf
    return known.get(context, (0.0, 0.0))[1] + katz(word, context[1:], known)


def log_p(word, labels):
    known, names = tables(), ["<unk>" if k == 3 else LABELS[k] for k in labels]
    return TEN * katz(word, tuple(["<s>", *names][-2:]), known)


@pytest.mark.parametrize("length", range(4))
def test_back_off(arpa, length):
    model = read_arpa(arpa, LABELS)
    assert model.order == 3
    for prefix in itertools.product((1, 2, 3), repeat=length):
        found = model(prefix)
        assert (found.shape, found.dtype) == ((4,), np.float64)
        expected = [log_p(word, prefix) for word in ("a", "b", "<unk>")]
        np.testing.assert_allclose(found[1:], expected, rtol=1e-12)
        assert model.end(prefix) == pytest.approx(log_p("</s>", prefix))


def all_paths(log_q, blank):
    """Label sequence -> probability, by all paths."""
    found = {}
    for path in itertools.product(range(log_q.shape[1]), repeat=len(log_q)):
        labels = tuple(k for k, _ in itertools.groupby(path) if k != blank)
        p = math.exp(sum(log_q[t, k] for t, k in enumerate(path)))
        found[labels] = found.get(labels, 0.0) + p
    return found


@pytest.mark.parametrize(("weight", "bonus"), [(1.0, 0.0), (0.6, 0.8), (0.0, 0.3)])
def test_ctc_by_exhaustive_enumeration(arpa, weight, bonus):
    model = read_arpa(arpa, LABELS)
    logits = np.random.default_rng(0).normal(size=(2, 4, 4))
    found = ctc_beam_search(logits, beam=1000, language_model=model, weight=weight, bonus=bonus)
    for x, hypotheses in zip(logits, found, strict=True):
        log_q = np.log(bptt.softmax(x))
        expected = {}
        for labels, p in all_paths(log_q, 0).items():
            prior = sum(
                log_p("<unk>" if k == 3 else LABELS[k], labels[:i]) for i, k in enumerate(labels)
            )
            prior = weight * (prior + log_p("</s>", labels)) + bonus * len(labels)
            expected[labels] = math.log(p) + prior
        assert len(hypotheses) == len(expected)
        ranked = sorted(expected, key=lambda labels: -expected[labels])
        for one, labels in zip(hypotheses, ranked, strict=True):
            assert tuple(one.tokens.tolist()) == labels
            assert one.score == pytest.approx(expected[labels])


def test_a_model_of_single_words_without_end(tmp_path):
    path = tmp_path / "a"
    path.write_text("\\data\\\n\\1-grams:\n-0.3 a\n-0.4 b\n\\end\\\n", encoding="utf-8")
    model = read_arpa(path, ["b", "a", None])
    np.testing.assert_allclose(model((0, 1, 1))[:2], [-0.4 * TEN, -0.3 * TEN])
    assert model.end(()) == 0.0
    with pytest.raises(ValueError, match="must be words of the model, which has no <unk>, got 'c'"):
        read_arpa(path, ["a", "c"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must have a section"),
        ("\\1-grams:\n-1 a b c\n", "line 2 must have a logarithm <= 0, 1 words and perhaps"),
        ("\\1-grams:\n-x a\n", "line 2 must have"),
        ("\\1-grams:\n0.5 a\n", "line 2 must have"),
        ("\\1-grams:\nnan a\n", "line 2 must have"),
        ("\\1-grams:\n-1 a inf\n", "line 2 must have"),
        ("\\0-grams:\n-1\n", "line 2 must have"),
        ("\\1-grams:\n-1 a\n\\2-grams:\n-1 a\n", "line 4 must have a logarithm <= 0, 2 words"),
    ],
)
def test_broken_files(tmp_path, text, message):
    path = tmp_path / "a.arpa"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=f"cannot read .*a.arpa: .*{message}"):
        read_arpa(path, ["a"])


def test_wrong_arguments(arpa, tmp_path):
    with pytest.raises(FileNotFoundError):
        read_arpa(tmp_path / "none", ["a"])
    (tmp_path / "latin").write_bytes(b"\\1-grams:\n-1 \xe9\n")
    with pytest.raises(ValueError, match="cannot read"):
        read_arpa(tmp_path / "latin", ["a"])
    with pytest.raises(ValueError, match="at least one string, and distinct"):
        read_arpa(arpa, ["a", "a"])
    with pytest.raises(TypeError, match=r"labels\[0\] must be a string, or None, got int"):
        read_arpa(arpa, [1])
    with pytest.raises(ValueError, match="labels must not have '<s>'"):
        read_arpa(arpa, ["a", "<s>"])
    model = read_arpa(arpa, LABELS)
    with pytest.raises(ValueError, match=r"prefix must lie in \[0, 4\), got 4"):
        model((4,))
    with pytest.raises(TypeError, match="prefix must be an array of integers, got dtype float64"):
        model.end((1.5,))
