"""Training: the loop with its options, callbacks and history, datasets, and tasks to train."""

from bptt.training.history import Epoch, History
from bptt.training.label_feedback import LabelFeedbackTask
from bptt.training.loop import Training, train
from bptt.training.options import OptimizerSpec, TrainingOptions, make_optimizer
from bptt.training.protocols import (
    Dataset,
    Evaluation,
    OrderedDataset,
    TrainingStep,
    TrainingTask,
)
from bptt.training.sequence_to_sequence import PairBatch, PairDataset, SequenceToSequenceTask
from bptt.training.supervised import SequenceBatch, SequenceDataset, SupervisedTask, WeightedMean
from bptt.training.teacher_forcing import DecoderTask, TokenBatch, TokenDataset
from bptt.training.truncated_bptt import Window, truncated_bptt
from bptt.training.truncated_bptt_task import TruncatedBPTTTask, WindowBatch, WindowDataset
from bptt.training.windowed import WindowedDataset

__all__ = [
    "Dataset",
    "DecoderTask",
    "Epoch",
    "Evaluation",
    "History",
    "LabelFeedbackTask",
    "OptimizerSpec",
    "OrderedDataset",
    "PairBatch",
    "PairDataset",
    "SequenceBatch",
    "SequenceDataset",
    "SequenceToSequenceTask",
    "SupervisedTask",
    "TokenBatch",
    "TokenDataset",
    "Training",
    "TrainingOptions",
    "TrainingStep",
    "TrainingTask",
    "TruncatedBPTTTask",
    "WeightedMean",
    "Window",
    "WindowBatch",
    "WindowDataset",
    "WindowedDataset",
    "make_optimizer",
    "train",
    "truncated_bptt",
]
