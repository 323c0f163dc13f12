"""Decoding: greedy choice, sampling, beam search, Viterbi decoding, and paths of CTC."""

from bptt.decoding.beam import Hypothesis, beam_search
from bptt.decoding.ctc import ctc_beam_search, ctc_greedy
from bptt.decoding.ngram import NGram, read_arpa
from bptt.decoding.sampling import most_likely, sample, sampling_distribution
from bptt.decoding.viterbi import viterbi_decode

__all__ = [
    "Hypothesis",
    "NGram",
    "beam_search",
    "ctc_beam_search",
    "ctc_greedy",
    "most_likely",
    "read_arpa",
    "sample",
    "sampling_distribution",
    "viterbi_decode",
]
