"""PyTorch's recurrent modules on bptt's kernels: `RNN`, `LSTM` and `GRU` for the CPU.

>>> import torch, bptt.torch
>>> lstm = bptt.torch.LSTM(32, 64, num_layers=2, batch_first=True)  # as torch.nn.LSTM
>>> y, (h, c) = lstm(torch.randn(8, 100, 32))
>>> y.sum().backward()

Constructor, forward, parameters and ``state_dict`` are those of ``torch.nn``. `accelerate` turns
the recurrent layers of any model into these, in place, and `restore` turns them back. PyTorch is
imported here alone.
"""

from bptt.torch._accelerate import AcceleratedLayer, Acceleration, accelerate, restore
from bptt.torch._layers import GRU, LSTM, RNN

__all__ = ["GRU", "LSTM", "RNN", "AcceleratedLayer", "Acceleration", "accelerate", "restore"]
