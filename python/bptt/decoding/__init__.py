"""Decoding: beam search, sampling and greedy choice of tokens."""

from bptt.decoding.beam import Hypothesis, beam_search
from bptt.decoding.sampling import distribution, likeliest, sample

__all__ = ["Hypothesis", "beam_search", "distribution", "likeliest", "sample"]
