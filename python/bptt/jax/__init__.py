"""Recurrent layers as functions for JAX: `rnn`, `lstm` and `gru` on bptt's kernels, on the CPU.

>>> import bptt, bptt.jax, jax
>>> params = bptt.jax.params_of(bptt.LSTM(32, 64, seed=0))
>>> x = jax.random.normal(jax.random.key(0), (8, 100, 32))
>>> y, state = jax.jit(bptt.jax.lstm)(params, x)
>>> gradients = jax.grad(lambda params: bptt.jax.lstm(params, x)[0].sum())(params)

Parameters are a dict of arrays, with the names of the layers. JAX is imported here alone.
"""

try:
    import jax  # noqa: F401
except ModuleNotFoundError as error:
    raise ModuleNotFoundError("bptt.jax needs JAX: pip install 'bptt[jax]'") from error

from bptt.jax._functions import gru, lstm, rnn
from bptt.jax._parameters import from_params, params_of

__all__ = ["from_params", "gru", "lstm", "params_of", "rnn"]
