"""Recurrent networks on the CPU for NumPy: forward and exact backpropagation through time.

>>> import numpy as np, bptt
>>> lstm = bptt.LSTM(32, 64, seed=0)
>>> x = np.random.default_rng(0).standard_normal((8, 100, 32), dtype=np.float32)
>>> run = lstm.forward(x)
>>> gradients = run.backward(np.ones_like(run.output))
>>> gradients["weight_hh_l0"].shape
(256, 64)

`bptt.diagnostics` shows what a network does; `bptt.reference` is the same maths in readable NumPy.
"""

from importlib.metadata import version as _version
from typing import TYPE_CHECKING

from bptt import schedules
from bptt.attention import Attention
from bptt.clipping import clip_by_global_norm, clip_by_value
from bptt.config import config, show_config
from bptt.denormals import get_flush_denormals, set_flush_denormals
from bptt.dropout import Dropout
from bptt.embedding import Embedding
from bptt.embedding_bag import EmbeddingBag
from bptt.estimator_file import ESTIMATORS as _ESTIMATORS
from bptt.estimator_file import load_estimator
from bptt.linear import Linear
from bptt.losses import (
    binary_cross_entropy,
    mean_squared_error,
    sigmoid,
    softmax,
    softmax_cross_entropy,
)
from bptt.module import Gradients
from bptt.optimisers import SGD, Adam, AdamW, RMSProp
from bptt.parallel import get_num_threads, set_num_threads, threads
from bptt.recurrent import GRU, LSTM, RNN
from bptt.run import LSTMState, Run
from bptt.sequential import Sequential
from bptt.sequential_run import SequentialGradients, SequentialRun
from bptt.storage import load_modules, save_modules
from bptt.truncated import Window, truncated_bptt

if TYPE_CHECKING:
    from bptt import diagnostics, reference
    from bptt.encoder_decoder import EncoderDecoder
    from bptt.generator import SequenceGenerator
    from bptt.language_model import LanguageModel
    from bptt.many_to_one import SequenceClassifier, SequenceRegressor
    from bptt.tagger import SequenceTagger

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "SGD",
    "Adam",
    "AdamW",
    "Attention",
    "Dropout",
    "Embedding",
    "EmbeddingBag",
    "EncoderDecoder",
    "Gradients",
    "LSTMState",
    "LanguageModel",
    "Linear",
    "RMSProp",
    "Run",
    "SequenceClassifier",
    "SequenceGenerator",
    "SequenceRegressor",
    "SequenceTagger",
    "Sequential",
    "SequentialGradients",
    "SequentialRun",
    "Window",
    "binary_cross_entropy",
    "clip_by_global_norm",
    "clip_by_value",
    "config",
    "diagnostics",
    "get_flush_denormals",
    "get_num_threads",
    "load_estimator",
    "load_modules",
    "mean_squared_error",
    "reference",
    "save_modules",
    "schedules",
    "set_flush_denormals",
    "set_num_threads",
    "show_config",
    "sigmoid",
    "softmax",
    "softmax_cross_entropy",
    "threads",
    "truncated_bptt",
]

__version__ = _version("bptt")

# Imported when they are first asked for: layers need neither scikit-learn nor the reference.
if not TYPE_CHECKING:  # a type checker would take it to have every name

    def __getattr__(name: str) -> object:
        """Import the diagnostics, the reference, or an estimator."""
        from importlib import import_module

        if name in ("diagnostics", "reference"):
            return import_module(f"bptt.{name}")
        if name in _ESTIMATORS:
            return getattr(import_module(_ESTIMATORS[name]), name)
        raise AttributeError(f"module 'bptt' has no attribute {name!r}")
