"""See what a recurrent network does: gradients over time, Jacobians, gates, saliency.

=======================  ==================================================================
`gradient_flow`          ‖∂L/∂h_t‖ at every step and layer; `estimator_flow`, `GradientFlowRecorder`
`jacobian_products`      ∂s_t/∂s_k, its norm and the bound (γλ)^(t−k)
`contributions`          how much the loss at step t teaches the state at step k
`gate_trace`             gates and cells over a sequence, and which tokens open them
`saliency`               ‖∂y/∂x_t‖: which steps an answer hangs on
`plots`                  pictures of all these, and of a training's history
=======================  ==================================================================

All of it is about the network as it is in use, without dropout, and computed in float64, whatever
the network's dtype: products of many steps leave the range of float32. Results are plain arrays,
which need NumPy alone; their method `plot` needs matplotlib (``pip install 'bptt[plot]'``).
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
