"""Keras' backend, and the module that runs the kernels within it."""

import keras

__all__ = ["kernels", "name"]

if int(keras.__version__.partition(".")[0]) < 3:
    raise ImportError(f"bptt.keras needs Keras 3, got {keras.__version__}")

name = keras.config.backend()
if name == "torch":
    from bptt.keras import _torch as kernels
elif name == "jax":
    from bptt.keras import _jax as kernels  # type: ignore[no-redef]
else:
    raise ImportError(
        f"Keras' backend must be torch or jax for bptt.keras, got {name}: "
        'set os.environ["KERAS_BACKEND"] before Keras is imported'
    )
