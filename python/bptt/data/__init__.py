"""Data: sequences, targets, vocabularies and minibatches."""

from bptt.data.batching import shuffled_batches, sorted_batches
from bptt.data.labels import LabelEncoder
from bptt.data.sequence_encoder import SequenceEncoder
from bptt.data.sequences import Sequences
from bptt.data.standardization import Standardizer
from bptt.data.stream import Stream
from bptt.data.target_encoder import TargetEncoder
from bptt.data.vocabulary import START, STOP, UNKNOWN, Vocabulary
from bptt.data.word_vectors import read_word_vectors

__all__ = [
    "START",
    "STOP",
    "UNKNOWN",
    "LabelEncoder",
    "SequenceEncoder",
    "Sequences",
    "Standardizer",
    "Stream",
    "TargetEncoder",
    "Vocabulary",
    "read_word_vectors",
    "shuffled_batches",
    "sorted_batches",
]
