"""Compiled kernels: functions of arrays. `network` and `saved` are opaque capsules."""

from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from typing_extensions import disjoint_base

from bptt._core.kernel_types import CellInfo, LayerConfig

_F = TypeVar("_F", bound=np.floating[Any])
_Float = NDArray[np.floating[Any]]
_S = TypeVar("_S", bound=np.generic)
_Integer = NDArray[np.integer[Any]]

def config() -> dict[str, str]: ...
def thread_limit() -> int: ...
def set_thread_limit(threads: int) -> None: ...
def set_own_thread_limit(threads: int) -> int: ...
def set_core_quota(cores: int) -> None: ...
def thread_engines() -> list[str]: ...
def thread_engine() -> str: ...
def set_thread_engine(name: str) -> None: ...
def flushes_denormals() -> bool: ...
def set_flush_denormals(flush: bool) -> None: ...

# Recurrent layers. A state is an array, or a tuple of arrays: (h, c), or (h, c, n, m). `decay` has
# the factors (B, T, directions*P) of h in layer 0, for a network with a decay_size > 0.
def cell_table() -> dict[str, CellInfo]: ...
def parameter_count(config: LayerConfig) -> int: ...
def pack(
    config: LayerConfig,
    parameters: _Float,
    training: bool,
    storage: str | None = None,
    scales: _Float | None = None,
) -> object: ...
def infer(
    network: object,
    x: NDArray[Any],
    lengths: _Integer | None,
    state: _Float | tuple[_Float, ...] | None,
    decay: _Float | None = None,
) -> tuple[_Float, tuple[_Float, ...]]: ...
def forward(
    network: object,
    x: NDArray[Any],
    lengths: _Integer | None,
    state: _Float | tuple[_Float, ...] | None,
    dropout_key: int | None,
    recompute_every: int,
    decay: _Float | None = None,
) -> tuple[_Float, tuple[_Float, ...], object]: ...
def backward(
    network: object,
    saved: object,
    x: NDArray[Any],
    y: _Float,
    d_output: _Float | None,
    d_state: _Float | tuple[_Float, ...] | None,
    steps: bool,
    input: bool,
    decay: _Float | None = None,
) -> tuple[
    _Float | None, tuple[_Float, ...], _Float, _Float | None, _Float | None, _Float | None
]: ...
def step(
    network: object,
    x_t: NDArray[Any],
    state: _Float | tuple[_Float, ...] | None,
    out: tuple[_Float, _Float | tuple[_Float, ...]] | None,
    kind: type[tuple[Any, ...]],
    /,
) -> Any: ...

@disjoint_base
class Stepper:
    """Base class of `bptt.nn.Stepper`: its call, with pointers to the buffers `y` and `state`."""

    _layer: Any
    _y: _Float
    _buffers: Any
    def __init__(self, layer: Any, y: _Float, state: Any) -> None: ...
    def __call__(self, x_t: NDArray[Any]) -> _Float: ...
    def _bind(self, version: object, network: object, /) -> None: ...

def gates(
    network: object,
    saved: object,
    x: NDArray[Any],
    layer: int,
    reverse: bool,
    decay: _Float | None = None,
) -> _Float: ...
def cells(
    network: object,
    saved: object,
    x: NDArray[Any],
    layer: int,
    reverse: bool,
    decay: _Float | None = None,
) -> _Float: ...
def dropout_mask(network: object, saved: object, layer: int) -> _Float: ...
def recurrent_dropout_mask(network: object, saved: object, layer: int, reverse: bool) -> _Float: ...
def zoneout_mask(
    network: object, saved: object, layer: int, reverse: bool
) -> tuple[_Float, ...]: ...

# Minibatches, embeddings and dropout.
def pad(
    values: NDArray[_S],
    starts: NDArray[np.int64],
    lengths: NDArray[np.int64],
    indices: NDArray[np.int64],
) -> tuple[NDArray[_S], NDArray[np.int64]]: ...
def embedding_forward(
    weight: NDArray[Any],
    ids: _Integer,
    lengths: _Integer | None,
    bag: int = 1,
    scales: _Float | None = None,
) -> _Float: ...
def embedding_backward(
    ids: _Integer,
    lengths: _Integer | None,
    d_output: NDArray[_F],
    num_embeddings: int,
    bag: int = 1,
) -> tuple[NDArray[np.int32], NDArray[_F]]: ...
def dropout(x: NDArray[_F], rate: float, key: int) -> NDArray[_F]: ...

# Linear layer and loss. Large arrays of `new_array` are in memory that is reused when freed.
def new_array(size: int, dtype: np.dtype[Any]) -> _Float: ...
def linear_forward(
    x: NDArray[_F], weight: NDArray[_F], bias: NDArray[_F] | None
) -> NDArray[_F]: ...
def linear_rows(x: NDArray[_F], weight: NDArray[_F], bias: NDArray[_F] | None) -> NDArray[_F]: ...
def linear_compress(weight: _Float, storage: str, scales: _Float | None = None) -> object: ...
def linear_compressed_forward(layer: object, x: _Float, bias: _Float | None) -> _Float: ...
def linear_backward(
    x: NDArray[_F],
    weight: NDArray[_F],
    d_output: NDArray[_F],
    d_weight: NDArray[_F],
    d_bias: NDArray[_F] | None,
    input: bool,
) -> NDArray[_F] | None: ...
def softmax_cross_entropy(
    logits: NDArray[_F],
    targets: _Integer,
    weights: NDArray[np.float64] | None,
    label_smoothing: float,
    divisor: float,
) -> tuple[float, NDArray[_F]]: ...
def linear_cross_entropy(
    x: NDArray[_F],
    weight: NDArray[_F],
    bias: NDArray[_F] | None,
    targets: _Integer,
    weights: NDArray[np.float64] | None,
    label_smoothing: float,
    divisor: float,
    d_weight: NDArray[_F] | None,
    d_bias: NDArray[_F] | None,
) -> tuple[float, NDArray[np.float64], NDArray[_F] | None, NDArray[np.int32]]: ...
def ctc_loss(
    logits: NDArray[_F],
    targets: _Integer,
    lengths: _Integer | None,
    target_lengths: _Integer | None,
    blank: int,
    zero_infinity: bool,
    weights: NDArray[np.float64] | None,
    divisor: float,
) -> tuple[float, NDArray[_F]]: ...
def row_loss(
    loss: str,
    output: NDArray[_F],
    targets: NDArray[_F],
    weights: NDArray[np.float64] | None,
    label_smoothing: float,
    divisor: float,
) -> tuple[float, NDArray[_F], bool]: ...

# Conditional random fields and Viterbi decoding.
def crf_loss(
    emissions: NDArray[_F],
    transitions: NDArray[_F],
    start: NDArray[_F],
    end: NDArray[_F],
    lengths: _Integer | None,
    targets: _Integer,
    mask: NDArray[np.bool_] | None,
    weights: NDArray[np.float64] | None,
    divisor: float,
    d_transitions: NDArray[_F] | None,
    d_start: NDArray[_F] | None,
    d_end: NDArray[_F] | None,
) -> tuple[float, NDArray[np.float64], NDArray[_F] | None]: ...
def crf_marginals(
    emissions: NDArray[_F],
    transitions: NDArray[_F],
    start: NDArray[_F],
    end: NDArray[_F],
    lengths: _Integer | None,
) -> NDArray[_F]: ...
def crf_viterbi(
    emissions: NDArray[_F],
    transitions: NDArray[_F],
    start: NDArray[_F],
    end: NDArray[_F],
    lengths: _Integer | None,
) -> NDArray[np.int32]: ...

# Attention and layer normalization.
def attention_forward(
    queries: NDArray[_F],
    keys: NDArray[_F],
    values: NDArray[_F],
    weight_score: NDArray[_F] | None,
    lengths: _Integer | None,
) -> tuple[NDArray[_F], NDArray[_F]]: ...
def attention_backward(
    queries: NDArray[_F],
    keys: NDArray[_F],
    values: NDArray[_F],
    weight_score: NDArray[_F] | None,
    lengths: _Integer | None,
    weights: NDArray[_F],
    d_output: NDArray[_F],
) -> tuple[NDArray[_F], NDArray[_F] | None, NDArray[_F], NDArray[_F] | None]: ...
def normalize_forward(
    x: NDArray[_F], weight: NDArray[_F], bias: NDArray[_F], epsilon: float
) -> tuple[NDArray[_F], NDArray[_F], NDArray[_F]]: ...
def normalize_backward(
    normalized: NDArray[_F],
    weight: NDArray[_F],
    scale: NDArray[_F],
    d_output: NDArray[_F],
    input: bool,
) -> tuple[NDArray[_F] | None, NDArray[_F], NDArray[_F]]: ...

# Optimizers and gradient clipping, in place on flat arrays. With `rows`, gradients are those of
# these rows of a table, ascending, and 0 elsewhere.
def sgd_step(
    parameters: NDArray[_F],
    gradients: NDArray[_F],
    velocity: NDArray[_F] | None,
    learning_rate: float,
    momentum: float,
    weight_decay: float,
    nesterov: bool,
    rows: NDArray[np.int32] | None = None,
    gradient_scale: float = 1.0,
) -> None: ...
def rmsprop_step(
    parameters: NDArray[_F],
    gradients: NDArray[_F],
    mean_square: NDArray[_F],
    velocity: NDArray[_F] | None,
    learning_rate: float,
    decay: float,
    epsilon: float,
    momentum: float,
    rows: NDArray[np.int32] | None = None,
    gradient_scale: float = 1.0,
) -> None: ...
def adam_step(
    parameters: NDArray[_F],
    gradients: NDArray[_F],
    first_moment: NDArray[_F],
    second_moment: NDArray[_F],
    learning_rate: float,
    beta1: float,
    beta2: float,
    epsilon: float,
    weight_decay: float,
    step: int,
    rows: NDArray[np.int32] | None = None,
    gradient_scale: float = 1.0,
    lazy: bool = False,
) -> None: ...
def sum_of_squares(a: _Float, rows: NDArray[np.int32] | None = None, size: int = 0) -> float: ...
def clip(a: _Float, limit: float) -> None: ...
def scale(a: _Float, factor: float) -> None: ...

# Activation functions.
def activate(name: str, x: NDArray[_F]) -> NDArray[_F]: ...
