"""Keras 3's recurrent layers on bptt's kernels: `SimpleRNN`, `LSTM` and `GRU` for the CPU.

>>> import bptt.keras, keras
>>> model = keras.Sequential([bptt.keras.LSTM(64), keras.layers.Dense(1)])

Constructor, calls, weights and files are those of ``keras.layers``; the loop over the steps is
bptt's, forward and backward. Keras must run on PyTorch or JAX: the environment variable
``KERAS_BACKEND`` is "torch" or "jax" before Keras is imported. Keras is imported here alone.
"""

try:
    import keras  # noqa: F401
except ModuleNotFoundError as error:
    cure = "pip install 'bptt[keras3]', and KERAS_BACKEND=torch or jax in the environment"
    raise ModuleNotFoundError(f"bptt.keras needs Keras 3: {cure}; {error}") from error

from bptt.keras import _backend  # noqa: F401 - which checks Keras first
from bptt.keras._layers import GRU, LSTM, SimpleRNN

__all__ = ["GRU", "LSTM", "SimpleRNN"]
