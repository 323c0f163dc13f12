"""Libraries that the site is built without."""

# Large ones; a mock can be no object of JAX, as its primitives are, and has no version of Keras.
MOCKED = [
    *("aeon", "bptt.jax._primitives", "bptt.keras._backend", "dask", "jax", "keras"),
    *("pandas", "sktime", "torch"),
]
