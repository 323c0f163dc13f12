"""n-gram models with Kneser-Ney smoothing."""

from __future__ import annotations

import numpy as np
import pytest

from examples._ngram import NGram

WORDS = ["abracadabra", "abba", "cab", "a", ""]


@pytest.mark.parametrize("order", [1, 2, 3, 5])
@pytest.mark.parametrize("context", ["", "a", "ab", "zz", "abrac", "cabba"])
def test_probabilities_sum_to_one(order, context):
    model = NGram(order, WORDS)
    after = [model.bits([context + token])[0][len(context)] for token in "abcdr?"]
    stop = model.bits([context])[0][-1]
    assert np.sum(2.0 ** -np.array([*after, stop])) == pytest.approx(1, abs=1e-12)


def test_entropy_of_a_markov_chain():
    """A bigram model attains the entropy of a first-order Markov chain; a unigram model cannot."""
    random = np.random.default_rng(0)
    text = "".join("ab"[i] for i in np.cumsum(random.random(20_000) < 0.1) % 2)
    entropy = -(0.1 * np.log2(0.1) + 0.9 * np.log2(0.9))
    train, test = text[:15_000], text[15_000:]
    for order, expected in ((1, 1.0), (2, entropy), (4, entropy)):
        assert NGram(order, [train]).bits([test])[0][:-1].mean() == pytest.approx(
            expected, abs=0.03
        )
