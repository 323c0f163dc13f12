"""Recurrent networks on the CPU for NumPy: forward and exact backpropagation through time.

>>> import numpy as np, bptt
>>> lstm = bptt.LSTM(32, 64, seed=0)
>>> x = np.random.default_rng(0).standard_normal((8, 100, 32), dtype=np.float32)
>>> run = lstm.forward(x)
>>> gradients = run.backward(np.ones_like(run.output))
>>> gradients["weight_hh_l0"].shape
(256, 64)

====================  ==========================================================================
`bptt.nn`             layers, embeddings, attention and networks
`bptt.losses`         losses with their gradients
`bptt.metrics`        edit distance, error rate, F1 score of spans
`bptt.optim`          optimizers, learning-rate schedules, gradient clipping
`bptt.decoding`       sampling, beam search, Viterbi decoding
`bptt.data`           encoders of sequences and labels, minibatches
`bptt.training`       training loop, truncated backpropagation through time
`bptt.estimators`     estimators in scikit-learn's manner
`bptt.serving`        live streams, thousands at a time
`bptt.diagnostics`    gradient flow, gates, saliency, Jacobians
`bptt.exporters`      trained networks as C files and ONNX models, weights
`bptt.importers`      trained weights of PyTorch, Keras and ONNX
`bptt.torch`          PyTorch's recurrent modules on these kernels; needs PyTorch
`bptt.jax`            recurrent layers as functions for JAX; needs JAX
`bptt.keras`          Keras' recurrent layers on these kernels; needs Keras 3
`bptt.sktime`         the estimators as those of sktime, which it needs
`bptt.aeon`           the estimators as those of aeon, which it needs
`bptt.dask`           predictions for the bags and data frames of Dask, which it needs
`bptt.reference`      the same computations in plain NumPy
====================  ==========================================================================
"""

from typing import TYPE_CHECKING

from bptt._core.denormals import get_flush_denormals, set_flush_denormals
from bptt._core.installation import config, show_config
from bptt._core.threads import get_num_threads, set_num_threads, threads
from bptt.losses import (
    binary_cross_entropy,
    ctc_loss,
    gaussian_nll,
    linear_cross_entropy,
    mean_squared_error,
    ordinal_cross_entropy,
    pinball_loss,
    sigmoid,
    softmax,
    softmax_cross_entropy,
)
from bptt.nn import recurrent as _recurrent
from bptt.nn.attention import Attention
from bptt.nn.characters import CharacterEmbedding
from bptt.nn.compression_report import CompressionReport, compression_report
from bptt.nn.crf import CRF
from bptt.nn.decay import InputDecay
from bptt.nn.dropout import Dropout
from bptt.nn.elementwise import ReLU, Sigmoid, Tanh
from bptt.nn.embedding import Embedding, EmbeddingBag
from bptt.nn.linear import Linear
from bptt.nn.module import Gradients
from bptt.nn.normalization import LayerNorm
from bptt.nn.recurrent import *  # noqa: F403 - all layers
from bptt.nn.recurrent_run import Run
from bptt.nn.sequential import Sequential
from bptt.nn.sequential_run import SequentialGradients, SequentialRun
from bptt.nn.serialization import load_modules, save_modules
from bptt.nn.state import LSTMState, SLSTMState
from bptt.optim import optimizers as _optimizers
from bptt.optim import schedules
from bptt.optim.clipping import clip_by_global_norm, clip_by_value
from bptt.optim.optimizers import *  # noqa: F403 - all optimizers

if TYPE_CHECKING:
    from bptt import (
        data,
        decoding,
        diagnostics,
        estimators,
        exporters,
        importers,
        losses,
        metrics,
        nn,
        optim,
        reference,
        serving,
        training,
    )
    from bptt.estimators.classifier import SequenceClassifier
    from bptt.estimators.encoder_decoder import EncoderDecoder
    from bptt.estimators.forecaster import SequenceForecaster
    from bptt.estimators.generator import SequenceGenerator
    from bptt.estimators.language_model import LanguageModel
    from bptt.estimators.loading import load_estimator
    from bptt.estimators.online import OnlineClassifier, OnlineRegressor
    from bptt.estimators.regressor import SequenceRegressor
    from bptt.estimators.tagger import SequenceTagger
    from bptt.serving.sessions import Sessions
    from bptt.training.truncated_bptt import Window, truncated_bptt

    __version__: str

__all__ = [
    "CRF",
    "Attention",
    "CharacterEmbedding",
    "CompressionReport",
    "Dropout",
    "Embedding",
    "EmbeddingBag",
    "EncoderDecoder",
    "Gradients",
    "InputDecay",
    "LSTMState",
    "LanguageModel",
    "LayerNorm",
    "Linear",
    "OnlineClassifier",
    "OnlineRegressor",
    "ReLU",
    "Run",
    "SLSTMState",
    "SequenceClassifier",
    "SequenceForecaster",
    "SequenceGenerator",
    "SequenceRegressor",
    "SequenceTagger",
    "Sequential",
    "SequentialGradients",
    "SequentialRun",
    "Sessions",
    "Sigmoid",
    "Tanh",
    "Window",
    "binary_cross_entropy",
    "clip_by_global_norm",
    "clip_by_value",
    "compression_report",
    "config",
    "ctc_loss",
    "data",
    "decoding",
    "diagnostics",
    "estimators",
    "exporters",
    "gaussian_nll",
    "get_flush_denormals",
    "get_num_threads",
    "importers",
    "linear_cross_entropy",
    "load_estimator",
    "load_modules",
    "losses",
    "mean_squared_error",
    "metrics",
    "nn",
    "optim",
    "ordinal_cross_entropy",
    "pinball_loss",
    "reference",
    "save_modules",
    "schedules",
    "serving",
    "set_flush_denormals",
    "set_num_threads",
    "show_config",
    "sigmoid",
    "softmax",
    "softmax_cross_entropy",
    "threads",
    "training",
    "truncated_bptt",
]
__all__ += _recurrent.__all__
__all__ += _optimizers.__all__

# Imported at first use: layers need neither scikit-learn nor training nor the reference.
_LAZY_MODULES = (
    "aeon",
    "dask",
    "data",
    "decoding",
    "diagnostics",
    "distributed",
    "estimators",
    "exporters",
    "importers",
    "jax",
    "keras",
    "losses",
    "metrics",
    "nn",
    "optim",
    "reference",
    "serving",
    "sktime",
    "torch",
    "training",
)

_LAZY_NAMES = {  # name -> its package
    **dict.fromkeys(
        (
            "EncoderDecoder",
            "LanguageModel",
            "OnlineClassifier",
            "OnlineRegressor",
            "SequenceClassifier",
            "SequenceForecaster",
            "SequenceGenerator",
            "SequenceRegressor",
            "SequenceTagger",
            "load_estimator",
        ),
        "bptt.estimators",
    ),
    "Sessions": "bptt.serving",
    **dict.fromkeys(("Window", "truncated_bptt"), "bptt.training"),
}

if not TYPE_CHECKING:  # a type checker would take the module to have every name

    def __getattr__(name: str) -> object:
        """Import a package, or a name of one; read the version from the metadata."""
        from importlib import import_module

        if name == "__version__":  # importlib.metadata takes as long to import as the layers
            return import_module("importlib.metadata").version("bptt")
        if name in _LAZY_MODULES:
            return import_module(f"bptt.{name}")
        if name in _LAZY_NAMES:
            return getattr(import_module(_LAZY_NAMES[name]), name)
        raise AttributeError(f"module 'bptt' has no attribute {name!r}")
