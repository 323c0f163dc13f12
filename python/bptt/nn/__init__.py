"""Modules: recurrent layers, embeddings, attention, other layers, and networks of them."""

from bptt.nn import recurrent as _recurrent
from bptt.nn.attention import Attention, AttentionGradients, AttentionRun
from bptt.nn.cells import CELLS, Cell
from bptt.nn.characters import CharacterEmbedding, CharacterEmbeddingRun
from bptt.nn.compression_report import CompressionReport, compression_report
from bptt.nn.crf import CRF, CRFRun
from bptt.nn.decay import InputDecay, InputDecayRun
from bptt.nn.decoder import Decoder
from bptt.nn.decoder_run import DecoderGradients, DecoderRun
from bptt.nn.dropout import Dropout, DropoutRun
from bptt.nn.elementwise import ElementwiseRun, ReLU, Sigmoid, Tanh
from bptt.nn.embedding import Embedding, EmbeddingBag, EmbeddingBagRun, EmbeddingRun
from bptt.nn.linear import Linear, LinearRun, OutputLoss
from bptt.nn.module import Gradients, Module, StepGradients
from bptt.nn.normalization import LayerNorm, LayerNormRun
from bptt.nn.recurrent import *  # noqa: F403 - all layers
from bptt.nn.recurrent_base import Recurrent
from bptt.nn.recurrent_run import Run
from bptt.nn.rtrl import RTRL
from bptt.nn.seq2seq import Bridge, EncoderDecoderNetwork, EncoderDecoderRun
from bptt.nn.sequential import Sequential
from bptt.nn.sequential_run import SequentialGradients, SequentialRun
from bptt.nn.serialization import load_modules, save_modules
from bptt.nn.state import LSTMState, SLSTMState
from bptt.nn.stepper import SequentialStepper, Stepper

__all__ = [
    "CELLS",
    "CRF",
    "RTRL",
    "Attention",
    "AttentionGradients",
    "AttentionRun",
    "Bridge",
    "CRFRun",
    "Cell",
    "CharacterEmbedding",
    "CharacterEmbeddingRun",
    "CompressionReport",
    "Decoder",
    "DecoderGradients",
    "DecoderRun",
    "Dropout",
    "DropoutRun",
    "ElementwiseRun",
    "Embedding",
    "EmbeddingBag",
    "EmbeddingBagRun",
    "EmbeddingRun",
    "EncoderDecoderNetwork",
    "EncoderDecoderRun",
    "Gradients",
    "InputDecay",
    "InputDecayRun",
    "LSTMState",
    "LayerNorm",
    "LayerNormRun",
    "Linear",
    "LinearRun",
    "Module",
    "OutputLoss",
    "ReLU",
    "Recurrent",
    "Run",
    "SLSTMState",
    "Sequential",
    "SequentialGradients",
    "SequentialRun",
    "SequentialStepper",
    "Sigmoid",
    "StepGradients",
    "Stepper",
    "Tanh",
    "compression_report",
    "load_modules",
    "save_modules",
]
__all__ += _recurrent.__all__
