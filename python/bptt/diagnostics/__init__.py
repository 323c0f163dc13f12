"""Diagnostics of recurrent networks: gradient flow, Jacobians, gates and saliency.

==========================  ======================================================================
`gradient_flow`             norm of ∂L/∂h_t at every step and layer of a network
`estimator_flow`            the same for the loss of a fitted estimator
`GradientFlowRecorder`      callback that records the gradient flow after every epoch
`jacobian_products`         ∂s_t/∂s_k, its norm and the bound (γλ)^(t−k)
`contributions`             terms (t, k) of the gradient of the recurrent weights
`gate_trace`                gate activations and cell states at every step of a sequence
`saliency`                  ∂y/∂x_t, the sensitivity of an output to the input of every step
`plots`                     plots of all of these, and of the training history
==========================  ======================================================================

All quantities are those of the network in inference mode, without dropout, and are computed in
float64 whatever the dtype of the network: products over many steps leave the range of float32.
Results are plain NumPy arrays; their method `plot` needs matplotlib (``pip install 'bptt[plot]'``).
"""

from bptt.diagnostics import plots
from bptt.diagnostics.contributions import Contributions, contributions
from bptt.diagnostics.estimator_flow import GradientFlowRecorder, estimator_flow
from bptt.diagnostics.flow import GradientFlow, gradient_flow
from bptt.diagnostics.gates import GateTrace, gate_trace
from bptt.diagnostics.jacobians import JacobianProducts, jacobian_products
from bptt.diagnostics.saliency import Saliency, saliency
from bptt.diagnostics.verdict import Verdict

__all__ = [
    "Contributions",
    "GateTrace",
    "GradientFlow",
    "GradientFlowRecorder",
    "JacobianProducts",
    "Saliency",
    "Verdict",
    "contributions",
    "estimator_flow",
    "gate_trace",
    "gradient_flow",
    "jacobian_products",
    "plots",
    "saliency",
]
