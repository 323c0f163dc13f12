"""Libraries that the site is built without."""

# Large ones; the primitives of JAX are objects of it that a mock cannot be.
MOCKED = ["aeon", "bptt.jax._primitives", "dask", "jax", "pandas", "sktime", "torch"]
