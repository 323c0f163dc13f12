"""Online regression and classification: one sample of a stream after another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from bptt._core import checks
from bptt.estimators._online import LARGEST, OnlineEstimator
from bptt.estimators._persistence import plain
from bptt.estimators._running import RunningStandardizer
from bptt.losses import mean_squared_error, softmax, softmax_cross_entropy
from bptt.nn.linear import Linear
from bptt.training.options import make_optimizer


@dataclass(kw_only=True, repr=False, eq=False)
class OnlineRegressor(OnlineEstimator):
    """Predicts a number at every step of a stream, and learns from it when it is known.

    The features of the step and the state, in which the network keeps what it needs of the past, go
    through recurrent layers and a linear layer. `learn_one` goes one step on in the stream and
    makes one update by the gradient of the loss at this step; `predict_one` changes nothing. These
    are the methods of river, which is not needed. To evaluate, predict each target before it is
    learned (prequential, or test-then-train).

    Parameters
    ----------
    cell : str
        Type of the recurrent layers, a key of `bptt.nn.CELLS`: "lstm", "rnn", "gru", …
    hidden_size : int
        Number of hidden units per layer.
    num_layers : int
        Number of stacked recurrent layers.
    gradient : {"bptt", "rtrl", "rtrl_diagonal"}
        How the gradient of a step is found: by backpropagation through the last `window` steps; by
        real-time recurrent learning, which has no window but takes time of order
        ``hidden_size**4``; or by its diagonal approximation. The latter two are those of
        `bptt.nn.RTRL`, for one layer.
    window : int
        Number of steps that the gradient goes back with ``gradient="bptt"``: k2 of
        `bptt.truncated_bptt`, with k1 = 1.
    scale : bool
        Standardize features and target by mean and standard deviation of the stream so far.
    optimizer : str, class or function
        Name of the optimizer, a key of `bptt.optim.OPTIMIZERS` such as "adam" or "sgd", its class,
        or a function from the list of modules to an `Optimizer`.
    learning_rate : float
        Learning rate of an optimizer given by name or class.
    clip_norm : float, optional
        Maximum global norm of the gradients. None disables clipping by norm.
    dtype : {"float32", "float64"}
        Precision of weights and computation.
    random_state : int, RandomState or None
        Seed of the initial weights.

    Attributes
    ----------
    model_ : Sequential
        The network.
    n_features_in_ : int
        Number of features.
    n_samples_seen_ : int
        Number of calls of `learn_one`.
    metadata_ : dict
        Metadata passed to `save`; only after `load`.

    Notes
    -----
    The features are those of the first call of `learn_one`: the keys of a dict, or the elements of
    an array. One that is absent later, None or NaN counts as its mean so far (0 with
    ``scale=False``).

    In a pipeline or an evaluation of river, which ask for its base class:
    ``river.base.Regressor.register(OnlineRegressor)``.

    Examples
    --------
    >>> from bptt import OnlineRegressor
    >>> model = OnlineRegressor(hidden_size=8, learning_rate=0.01, random_state=0)
    >>> stream, error = [0.0, 1.0, 1.0, 0.0, 0.0] * 60, 0.0
    >>> for before, y in zip(stream, stream[1:]):
    ...     error = 0.95 * error + 0.05 * abs(y - model.predict_one({"before": before}))
    ...     model.learn_one({"before": before}, y)
    >>> error < 0.1
    True
    """

    def learn_one(self, x: Any, y: float) -> None:
        """Go one step on, and update the network by its target.

        Parameters
        ----------
        x : dict of str to number, or array (features,)
            Features of the step.
        y : float
            Target of the step.

        Raises
        ------
        TypeError, ValueError
            If a parameter, a feature or the target is invalid. Nothing has changed then.
        FloatingPointError
            If the gradient is not finite. The parameters have not changed then.
        """
        target = checks.number("y", y, -LARGEST, LARGEST)
        values = self._values(x)
        if not hasattr(self, "_head"):
            self._start(x, len(values), 1)
        if self._standardizer is not None:
            self._target_standardizer.update(np.array([target]))
        standardized = self._target_standardizer.transform(np.array([[target]]))
        targets = standardized.astype(self._layer.dtype)
        self._learn(values, lambda output: mean_squared_error(output, targets))

    def predict_one(self, x: Any) -> float:
        """Predict the target of the next step; nothing changes.

        Parameters
        ----------
        x : dict of str to number, or array (features,)
            Features of the step.

        Returns
        -------
        float
            0 before the first call of `learn_one`.

        Raises
        ------
        TypeError, ValueError
            If a feature is invalid.
        """
        if not hasattr(self, "_head"):
            return 0.0
        target = self._target_standardizer
        return float(self._predict(x)[0] * target.std[0] + target.mean[0])

    def _start(self, x: Any, size: int, outputs: int) -> None:
        super()._start(x, size, outputs)
        self._target_standardizer = RunningStandardizer(1)

    def _standardizers(self) -> dict[str, RunningStandardizer]:
        return {**super()._standardizers(), "target": self._target_standardizer}


@dataclass(kw_only=True, repr=False, eq=False)
class OnlineClassifier(OnlineEstimator):
    """Predicts a class at every step of a stream, and learns from it when it is known.

    Classes may appear at any step: the output layer grows by one row.

    The features of the step and the state, in which the network keeps what it needs of the past, go
    through recurrent layers and a linear layer. `learn_one` goes one step on in the stream and
    makes one update by the gradient of the loss at this step; `predict_one` changes nothing. These
    are the methods of river, which is not needed. To evaluate, predict each class before it is
    learned (prequential, or test-then-train).

    Parameters
    ----------
    cell : str
        Type of the recurrent layers, a key of `bptt.nn.CELLS`: "lstm", "rnn", "gru", …
    hidden_size : int
        Number of hidden units per layer.
    num_layers : int
        Number of stacked recurrent layers.
    gradient : {"bptt", "rtrl", "rtrl_diagonal"}
        How the gradient of a step is found: by backpropagation through the last `window` steps; by
        real-time recurrent learning, which has no window but takes time of order
        ``hidden_size**4``; or by its diagonal approximation. The latter two are those of
        `bptt.nn.RTRL`, for one layer.
    window : int
        Number of steps that the gradient goes back with ``gradient="bptt"``: k2 of
        `bptt.truncated_bptt`, with k1 = 1.
    scale : bool
        Standardize features by mean and standard deviation of the stream so far.
    optimizer : str, class or function
        Name of the optimizer, a key of `bptt.optim.OPTIMIZERS` such as "adam" or "sgd", its class,
        or a function from the list of modules to an `Optimizer`.
    learning_rate : float
        Learning rate of an optimizer given by name or class.
    clip_norm : float, optional
        Maximum global norm of the gradients. None disables clipping by norm.
    dtype : {"float32", "float64"}
        Precision of weights and computation.
    random_state : int, RandomState or None
        Seed of the initial weights.

    Attributes
    ----------
    model_ : Sequential
        The network.
    n_features_in_ : int
        Number of features.
    n_samples_seen_ : int
        Number of calls of `learn_one`.
    metadata_ : dict
        Metadata passed to `save`; only after `load`.
    classes_ : list
        The classes so far, in the order in which they appeared.

    Notes
    -----
    The features are those of the first call of `learn_one`: the keys of a dict, or the elements of
    an array. One that is absent later, None or NaN counts as its mean so far (0 with
    ``scale=False``).

    In a pipeline or an evaluation of river, which ask for its base class:
    ``river.base.Classifier.register(OnlineClassifier)``.

    Examples
    --------
    >>> from bptt import OnlineClassifier
    >>> model = OnlineClassifier(hidden_size=8, learning_rate=0.01, random_state=0)
    >>> stream, right = "abcab" * 60, 0.0
    >>> for before, y in zip(stream, stream[1:]):
    ...     x = {letter: before == letter for letter in "abc"}
    ...     right = 0.95 * right + 0.05 * (model.predict_one(x) == y)
    ...     model.learn_one(x, y)
    >>> right > 0.9
    True
    """

    _multiclass = True  # river asks for it

    def learn_one(self, x: Any, y: Any) -> None:
        """Go one step on, and update the network by its class.

        Parameters
        ----------
        x : dict of str to number, or array (features,)
            Features of the step.
        y : hashable
            Class of the step, such as a string, an integer or a bool.

        Raises
        ------
        TypeError, ValueError
            If a parameter, a feature or the class is invalid. Nothing has changed then.
        FloatingPointError
            If the gradient is not finite. The parameters have not changed then.
        """
        try:
            hash(y)
        except TypeError:
            raise TypeError(f"y must be hashable, got {type(y).__name__}") from None
        if y is None or y != y:  # NaN
            raise ValueError(f"y must be a class, got {y}")
        values = self._values(x)
        if not hasattr(self, "_head"):
            self._start(x, len(values), 1)
            self._index = {y: 0}
        elif y not in self._index:
            self._add_output()
            self._index[y] = len(self._index)
        targets = np.array([self._index[y]])
        self._learn(values, lambda output: softmax_cross_entropy(output, targets))

    def predict_proba_one(self, x: Any) -> dict[Any, float]:
        """Predict the probabilities of the classes at the next step; nothing changes.

        Parameters
        ----------
        x : dict of str to number, or array (features,)
            Features of the step.

        Returns
        -------
        dict of class to float
            Probabilities of the classes so far, in the order in which they appeared; their sum
            is 1. Empty before the first call of `learn_one`.

        Raises
        ------
        TypeError, ValueError
            If a feature is invalid.
        """
        if not hasattr(self, "_head"):
            return {}
        return dict(
            zip(self._index, softmax(self._predict(x)[np.newaxis])[0].tolist(), strict=True)
        )

    def predict_one(self, x: Any) -> Any:
        """Predict the class of the next step; nothing changes.

        Parameters
        ----------
        x : dict of str to number, or array (features,)
            Features of the step.

        Returns
        -------
        class
            The most likely of the classes so far; None before the first call of `learn_one`.

        Raises
        ------
        TypeError, ValueError
            If a feature is invalid.
        """
        if not hasattr(self, "_head"):
            return None
        return self.classes_[int(self._predict(x).argmax())]

    @property
    def classes_(self) -> list[Any]:
        """The classes so far, in the order in which they appeared."""
        return list(self._index)

    def _outputs(self) -> list[Any]:
        classes = [plain(label) for label in self._index]
        for label in classes:
            if not isinstance(label, (str, bool, int, float)):
                kind = type(label).__name__
                raise TypeError(
                    f"save needs classes that are strings, numbers or bools, got {kind}"
                )
        return classes

    def _restore_outputs(self, outputs: Any) -> int:
        self._index = {label: i for i, label in enumerate(checks.items("outputs", outputs))}
        if not len(outputs) == len(self._index) > 0:
            raise ValueError(f"outputs must be different classes, got {outputs}")
        return len(self._index)

    def _add_output(self) -> None:
        """Add a row of zeros to the output layer, and to the state of the optimizer."""
        old, new = self._head, self._new_head(self._layer, self._head.out_features + 1)
        optimizer = make_optimizer(
            self.optimizer, {"recurrent": self._layer, "head": new}, self.learning_rate
        )
        state = self._optimizer.state()
        for slot, array in state.items():
            if slot.endswith("/1"):
                state[slot] = _with_row(old, new, array)
        optimizer.restore(state)
        with new._changing() as flat:
            flat[...] = _with_row(old, new, old._flat)
        self._head, self._optimizer = new, optimizer


def _with_row(old: Linear, new: Linear, flat: Any) -> Any:
    """Return values of the parameters of `old` as those of `new`, 0 for the last output."""
    grown = new._layout.zeros()
    for name, view in new._layout.views(grown).items():
        view[:-1] = old._layout.views(flat)[name]
    return grown
