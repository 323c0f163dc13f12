"""Online learning: base class of the estimators with river's methods."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from bptt._core import checks
from bptt._core.checks import FloatArray
from bptt.estimators._network import MAX_SEED
from bptt.estimators._online_files import restored, write_online
from bptt.estimators._persistence import only, read_estimator
from bptt.estimators._running import RunningStandardizer
from bptt.estimators._sklearn import BaseEstimator, check_random_state
from bptt.losses import Loss
from bptt.nn.cells import CELLS
from bptt.nn.linear import Linear
from bptt.nn.module import Module
from bptt.nn.recurrent import make_recurrent
from bptt.nn.recurrent_base import Recurrent
from bptt.nn.rtrl import RTRL
from bptt.nn.sequential import Sequential
from bptt.optim.clipping import clipping_factor, global_norm
from bptt.optim.optimizers import Optimizer
from bptt.training._windowed_bptt import WindowedBPTT
from bptt.training.options import make_optimizer

LARGEST = float(np.finfo(np.float32).max)

_Self = TypeVar("_Self", bound="OnlineEstimator")


@dataclass(kw_only=True, repr=False, eq=False)
class OnlineEstimator(BaseEstimator):  # type: ignore[misc]
    """Base class: a recurrent layer and a linear one, whose state runs along a stream.

    The parameters are those of the subclasses.
    """

    cell: str = "lstm"
    hidden_size: int = 32
    num_layers: int = 1
    gradient: str = "bptt"
    window: int = 20
    scale: bool = True
    optimizer: str | Callable[[list[Module]], Optimizer] = "adam"
    learning_rate: float = 0.001
    clip_norm: float | None = 1.0
    dtype: str = "float32"
    random_state: Any = None

    _supervised = True  # river asks for it

    def _learn(self, values: NDArray[np.float64], loss_of: Callable[[FloatArray], Loss]) -> None:
        """Update the network once, by the loss of its output (1, K) for the features of a step."""
        if self._standardizer is not None:
            self._standardizer.update(values)
        run = self._head.forward(self._recurrence.step(self._encoded(values)))
        d_head = run.backward(loss_of(run.output))
        assert d_head.input is not None
        gradients = [self._recurrence.gradients(d_head.input), d_head]
        norm = global_norm(gradients)
        if not math.isfinite(norm):
            raise FloatingPointError(
                f"the gradient of sample {self.n_samples_seen_ + 1} is not finite, and the "
                "parameters are as before: reduce learning_rate"
            )
        limit = self.clip_norm
        factor = 1.0 if limit is None else clipping_factor(norm, limit)
        self._optimizer.step(gradients, gradient_scale=factor)
        self.n_samples_seen_ += 1

    def _predict(self, x: Any) -> FloatArray:
        """Return the output (K,) at the step of `x`, which follows the last one learned."""
        values, layer = self._values(x), self._layer
        layer._current(True)  # packed for `step`, and for the forward pass of the next update
        hidden, _ = layer.step(self._encoded(values), self._recurrence.state)
        output: FloatArray = self._head(hidden)[0]
        return output

    # ---- the features

    def _values(self, x: Any) -> NDArray[np.float64]:
        """Return the features of a step (I,), NaN where one is absent."""
        if not hasattr(self, "_names"):
            return _numbers(x if isinstance(x, Mapping) else None, x)
        names = self._names
        if names is None:
            values = _numbers(None, x)
            checks.shape("x", values, [("features of the first call", self.n_features_in_)])
            return values
        checks.instance("x", x, Mapping)
        if unknown := x.keys() - names.keys():
            known, others = (", ".join(map(str, sorted(k, key=str))) for k in (names, unknown))
            raise ValueError(f"x must have features of the first call, {known}, got {others}")
        return _numbers(names, x)

    def _encoded(self, values: NDArray[np.float64]) -> FloatArray:
        """Return the input (1, I) of the layer: standardized, 0 where a feature is absent."""
        if self._standardizer is not None:
            values = self._standardizer.transform(values)
        if math.isnan(values @ values):  # faster than to ask every element
            values = np.where(np.isnan(values), 0.0, values)
        return values.astype(self._layer.dtype)[np.newaxis]

    # ---- the network

    def _start(self, x: Any, size: int, outputs: int) -> None:
        """Check the parameters, and make the network."""
        gradient = checks.one_of("bptt", "rtrl", "rtrl_diagonal")("gradient", self.gradient)
        window, scale = checks.integer("window", self.window), checks.flag("scale", self.scale)
        if self.clip_norm is not None:
            checks.positive("clip_norm", self.clip_norm)
        state = check_random_state(self.random_state)
        self._seeds = np.random.default_rng(state.randint(MAX_SEED, size=4))
        layer: Recurrent[Any] = make_recurrent(
            checks.one_of(*CELLS)("cell", self.cell),
            size,
            self.hidden_size,
            num_layers=self.num_layers,
            dtype=self.dtype,
            seed=self._seed(),
        )
        recurrence: WindowedBPTT | RTRL
        if gradient == "bptt":
            recurrence = WindowedBPTT(layer, window)
        else:
            approximation = "diagonal" if gradient == "rtrl_diagonal" else None
            recurrence = RTRL(layer, approximation=approximation)
        head = self._new_head(layer, outputs)
        modules = {"recurrent": layer, "head": head}
        self._optimizer = make_optimizer(self.optimizer, modules, self.learning_rate)
        self._layer, self._recurrence, self._head = layer, recurrence, head
        self._standardizer = RunningStandardizer(size) if scale else None
        self._names = dict.fromkeys(x) if isinstance(x, Mapping) else None
        self.n_features_in_, self.n_samples_seen_ = size, 0

    def _new_head(self, layer: Recurrent[Any], outputs: int) -> Linear:
        """Return an output layer of zeros: all that it knows is learned from the stream."""
        head = Linear(layer.output_size, outputs, dtype=layer.dtype, seed=self._seed())
        head["weight"] = np.zeros_like(head["weight"])
        return head

    def _seed(self) -> int:
        return int(self._seeds.integers(MAX_SEED))

    @property
    def model_(self) -> Sequential:
        """The network, trained so far."""
        return Sequential(self._layer, self._head)

    # ---- files

    def save(self, path: str | os.PathLike[str], metadata: Mapping[str, Any] | None = None) -> None:
        """Save the estimator to a safetensors file, atomically.

        The file contains all that later calls depend on, so that they give the same results.

        Parameters
        ----------
        path : path
            The file.
        metadata : mapping of str to object, optional
            Further data of the user, in JSON types; the attribute `metadata_` after loading.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If `learn_one` has not been called.
        TypeError
            If something cannot be stored in JSON: an optimizer that is a function, a name of a
            feature that is not a string, or a class that is no string, number or bool.
        ImportError
            If safetensors is not installed.
        """
        if not hasattr(self, "_head"):
            from sklearn.exceptions import NotFittedError

            raise NotFittedError("save needs what learn_one has learned: call it first")
        write_online(self, path, metadata)

    @classmethod
    def load(cls: type[_Self], path: str | os.PathLike[str]) -> _Self:
        """Load an estimator of this class; `bptt.load_estimator` loads any class.

        Parameters
        ----------
        path : path
            A file written by `save`.

        Returns
        -------
        estimator
            The estimator, which goes on where it was saved.

        Raises
        ------
        FileNotFoundError
            If the file does not exist.
        ValueError
            If the file is broken, or holds an estimator of another class.
        ImportError
            If safetensors is not installed.
        """
        return read_estimator(path, only(cls))

    @classmethod
    def _from_file(cls, tensors: dict[str, NDArray[Any]], header: Mapping[str, Any]) -> Any:
        return restored(cls, tensors, header)

    def _outputs(self) -> Any:
        """Return, in JSON types, what the outputs are."""
        return None

    def _restore_outputs(self, outputs: Any) -> int:
        """Restore what `_outputs` returned; return the number of outputs."""
        return 1

    def _standardizers(self) -> dict[str, RunningStandardizer]:
        """Return the running moments by name."""
        return {} if self._standardizer is None else {"features": self._standardizer}


def _numbers(names: Iterable[Any] | None, x: Any) -> NDArray[np.float64]:
    """Return the features of these names, or of an array, as float64: NaN for an absent one."""
    if names is None:
        given = x if isinstance(x, np.ndarray) and x.ndim == 1 else checks.items("x", x)
    else:
        given = [x.get(name) for name in names]
    if not len(given):
        raise ValueError("x must have at least one feature, got none")
    try:
        array = np.array(given)
    except ValueError:  # ragged
        array = np.array(0)
    if array.ndim != 1 or array.dtype.kind not in "fiub":
        places = range(len(given)) if names is None else names
        array = np.array([_number(f"x[{i!r}]", v) for i, v in zip(places, given, strict=True)])
    values: NDArray[np.float64] = array.astype(np.float64, copy=False)
    if (np.abs(values) > LARGEST).any():
        raise ValueError(f"x must have features that are finite in float32, got {x}")
    return values


def _number(name: str, value: Any) -> float:
    if value is None:
        return math.nan
    return float(value) if isinstance(value, (bool, np.bool_)) else checks.real(name, value)
