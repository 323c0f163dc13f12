"""Recurrent networks and backpropagation through time (BPTT) in plain NumPy.

The code follows the equations. The compiled layers are tested against this package, and this
package against central differences. It needs nothing but NumPy, and no layer or kernel uses it.

======================  ====================================================================
`activations`           φ, σ and their derivatives
`cells`                 one step of each cell, forward and backward side by side
`unroll`                the time loop and BPTT, for all cells
`merges`                combination of the two directions of a layer
`layers`                directions, dropout, stacked layers: `forward` and `backward`
`head`                  output layer and softmax cross-entropy
`crf`                   linear-chain conditional random field
`ctc`                   connectionist temporal classification
`normalization`         layer normalization
`decay`                 decay of last observations, and of the hidden state
`optimizers`            SGD, RMSProp, Adam, AdamW, LazyAdam, gradient clipping
======================  ====================================================================

Notation: B batch, T steps, I inputs, H hidden units, G gates; U = ``weight_ih`` (G*H, I),
W = ``weight_hh`` (G*H, H), b = ``bias`` (G*H,), and extra parameters (H,), such as
b_hn = ``bias_hn`` of the GRU with the reset gate after the product; W_hr = ``weight_hr`` (P, H) of
an LSTM whose h is projected to P units, with W (G*H, P); output layer V = ``weight`` (K, D),
c = ``bias`` (K,). φ is ``activation``, σ is ``gate_activation``, ⊙ the elementwise product. The
state s is h, or (h, c) for the LSTM.

Arguments and results have the batch first, (B, T, ...). Internally the steps come first,
(T, B, ...), so that each step is contiguous in memory.

Examples
--------
>>> import numpy as np
>>> from bptt import reference
>>> rng = np.random.default_rng(0)
>>> shapes = reference.parameter_shapes("lstm", input_size=3, hidden_size=5)
>>> parameters = {name: rng.normal(size=shape) for name, shape in shapes.items()}
>>> result = reference.forward("lstm", rng.normal(size=(2, 7, 3)), parameters)
>>> result.output.shape
(2, 7, 5)
>>> gradients = reference.backward(result, d_output=np.ones((2, 7, 5)))
>>> gradients.parameters["weight_hh_l0"].shape
(20, 5)
"""

from .activations import ACTIVATIONS, GATE_ACTIVATIONS, Activation, sigmoid
from .arguments import parameter_shapes
from .cells import CELLS
from .crf import CRFGradients, crf_loss, crf_marginals, crf_viterbi
from .ctc import ctc_loss
from .decay import hidden_decay, hidden_decay_backward, input_decay, input_decay_backward
from .head import linear, linear_backward, one_hot, softmax_cross_entropy
from .layers import Gradients, Result, backward, forward
from .merges import MERGES
from .normalization import layer_norm, layer_norm_backward
from .optimizers import (
    adam_step,
    adamw_step,
    clip_by_global_norm,
    clip_by_value,
    lazyadam_step,
    rmsprop_step,
    sgd_step,
)

__all__ = [
    "ACTIVATIONS",
    "CELLS",
    "GATE_ACTIVATIONS",
    "MERGES",
    "Activation",
    "CRFGradients",
    "Gradients",
    "Result",
    "adam_step",
    "adamw_step",
    "backward",
    "clip_by_global_norm",
    "clip_by_value",
    "crf_loss",
    "crf_marginals",
    "crf_viterbi",
    "ctc_loss",
    "forward",
    "hidden_decay",
    "hidden_decay_backward",
    "input_decay",
    "input_decay_backward",
    "layer_norm",
    "layer_norm_backward",
    "lazyadam_step",
    "linear",
    "linear_backward",
    "one_hot",
    "parameter_shapes",
    "rmsprop_step",
    "sgd_step",
    "sigmoid",
    "softmax_cross_entropy",
]
