"""Baselines of the evaluation."""

from __future__ import annotations

import math

import pytest

pytest.importorskip("sklearn")

from bptt.cli.baselines import ngram_bits
from bptt.data.target_encoder import TargetEncoder


def test_ngram_bits_with_add_one_smoothing():
    encoder = TargetEncoder().fit(["ab"])  # a, b, <unk>, <start>, <stop>
    # After "a" came "b" twice, and so for every pair; five tokens, each counted once more.
    pairs = ngram_bits(encoder, ["ab", "ab"], ["ab"])
    assert math.isclose(pairs, -math.log2(3 / 7))
    alone = ngram_bits(encoder, ["ab", "ab"], ["aa"], n=1)  # "a" twice, and the stop
    assert math.isclose(alone, -math.log2(3 / 11))
