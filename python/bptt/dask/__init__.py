"""Predictions for the bags and data frames of Dask.

>>> import bptt, bptt.dask
>>> import dask.bag
>>> moods = bptt.dask.predict(model, dask.bag.read_text("reviews/*.txt"))  # doctest: +SKIP

Dask is imported here alone.
"""

try:
    from bptt.dask._predict import predict
except ModuleNotFoundError as error:
    if str(error.name).partition(".")[0] == "dask":
        cure = "bptt.dask needs Dask: pip install 'bptt[dask]'"
        raise ModuleNotFoundError(cure, name="dask") from error
    raise

__all__ = ["predict"]
