"""Decoding: greedy choice and sampling of tokens, and beam search."""

from bptt.decoding.beam import Hypothesis, beam_search
from bptt.decoding.sampling import most_likely, sample, sampling_distribution

__all__ = ["Hypothesis", "beam_search", "most_likely", "sample", "sampling_distribution"]
