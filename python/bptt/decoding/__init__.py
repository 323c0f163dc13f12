"""Decoding: greedy choice, sampling, beam search, and Viterbi decoding."""

from bptt.decoding.beam import Hypothesis, beam_search
from bptt.decoding.sampling import most_likely, sample, sampling_distribution
from bptt.decoding.viterbi import viterbi_decode

__all__ = [
    "Hypothesis",
    "beam_search",
    "most_likely",
    "sample",
    "sampling_distribution",
    "viterbi_decode",
]
