"""Calls of the kernels within Keras' backend PyTorch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bptt._core import loader
from bptt._core.checks import FloatArray
from bptt.nn.recurrent_base import Recurrent
from bptt.torch import _kernels as kernels
from bptt.torch._autograd import Recurrence


def supports(x: Tensor) -> bool:
    """Return whether the kernels can run: float32 or float64 on the CPU.

    Shapes are inferred with tensors on the device "meta".
    """
    return x.device.type == "cpu" and x.dtype in (torch.float32, torch.float64)


@torch.compiler.disable  # type: ignore[untyped-decorator]
def run(
    layer: Recurrent[Any],
    params: Mapping[str, Tensor],
    x: Tensor,
    states: Sequence[Tensor],
    lengths: Tensor | None,
) -> tuple[Tensor, list[Tensor]]:
    """Run over whole sequences; autograd runs backward.

    Parameters
    ----------
    layer : Recurrent
        Outline of the layer.
    params : mapping of str to tensor
        Its parameters.
    x : tensor (B, T, I)
    states : sequence of tensors (1, B, H)
        Initial state.
    lengths : integer tensor (B,), optional

    Returns
    -------
    y : tensor (B, T, H)
    last : list of tensors (1, B, H)
        Final state.
    """
    weights = [params[name] for name in layer._layout.shapes]
    keep = torch.is_grad_enabled() and any(t.requires_grad for t in (x, *states, *weights))
    flat = np.concatenate([kernels.array_of(weight).ravel() for weight in weights])
    packed = kernels.Packed(loader.kernels.pack(layer._kernel_config, flat, keep), keep, ())
    if not keep:
        y, last, _ = kernels.forward(packed, x, states, lengths, None, False)
        return y, last

    def split(gradients: FloatArray) -> list[Tensor]:
        return list(map(torch.from_numpy, layer._layout.views(gradients).values()))

    y, *last = Recurrence.apply(packed, split, lengths, None, len(states), x, *states, *weights)
    return y, last
