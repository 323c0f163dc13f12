"""The example of named entities with pretrained word vectors, on small files."""

from __future__ import annotations

import numpy as np
import pytest

from bptt.data import read_word_vectors
from examples._data import MissingDataError
from examples._glove import write_word2vec
from examples.named_entities import case_of, example, word_vectors

SENTENCE = [f"{word}\t{label}" for word, label in [("In", "O"), ("Paris", "B-place"), (".", "O")]]


def options(*arguments: str):
    return example.parser().parse_args(arguments)


def test_files_of_word2vec_are_read_again(tmp_path):
    vectors = np.random.default_rng(0).normal(size=(3, 50)).astype(np.float32)
    write_word2vec(tmp_path / "vectors.bin", ["the", "\N{WHITE SMILING FACE}", "2"], vectors)
    found = read_word_vectors(tmp_path / "vectors.bin")
    assert list(found) == ["the", "\N{WHITE SMILING FACE}", "2"]
    np.testing.assert_array_equal(list(found.values()), vectors)


def test_vectors_have_pretrained_numbers_and_the_case(tmp_path):
    (tmp_path / "vectors.txt").write_text("paris 1.0 -1.0\nin 3.0 -3.0\n", "utf-8")
    vectors = word_vectors(
        options("--vectors", str(tmp_path / "vectors.txt")), [["Paris", "x", "In"]]
    )
    assert vectors is not None
    assert sorted(vectors) == ["In", "Paris", "x"]
    scale = 0.3 / np.std([[1, -1], [3, -3]])
    np.testing.assert_allclose(vectors["Paris"], [scale, -scale, *case_of("Paris")], rtol=1e-6)
    np.testing.assert_allclose(vectors["x"], [0, 0, *case_of("x")])
    assert word_vectors(options(), [["Paris"]]) is None
    with pytest.raises(MissingDataError, match="it must have words of the training sentences"):
        word_vectors(options("--vectors", str(tmp_path / "vectors.txt")), [["x"]], [["Paris"]])


def test_words_of_one_lower_case_form_differ_in_their_case():
    forms = ["usa", "Usa", "USA", "uSa", "@usa", "#usa", "usa1", "...", "http://usa"]
    assert len({tuple(case_of(form)) for form in forms}) == len(forms)
    assert case_of("") == [0, 0, 0, 0, 0, 0, 0.5, 0, 0, 0]


def test_networks_learn_from_pretrained_vectors(tmp_path):
    pytest.importorskip("sklearn")
    for part in ("train", "dev", "test"):
        (tmp_path / f"{part}.conll").write_text("\n".join([*SENTENCE, ""] * 30), "utf-8")
    (tmp_path / "vectors.txt").write_text("paris 1.0 -1.0\nin 3.0 -3.0\n", "utf-8")
    chosen = options("--quick", "--data", str(tmp_path), "--vectors", str(tmp_path / "vectors.txt"))
    report, _ = example.report(chosen)
    assert report.result == 1.0
