"""Optimizers: SGD, RMSProp, Adam, AdamW and LazyAdam.

Parameters, gradients and state of a module are flat arrays, updated by one kernel call per module.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bptt._core import checks, loader
from bptt._core.arguments import NamedArguments
from bptt._core.checks import FloatArray
from bptt.nn.module import AllGradients, Gradients, Module, Modules, as_list

__all__ = ["SGD", "Adam", "AdamW", "LazyAdam", "RMSProp"]


class Optimizer(NamedArguments):
    """Base class of the optimizers: modules, learning rate, state and checks.

    Parameters
    ----------
    modules : Module, Sequential, or list of them
        Modules whose parameters `step` updates.
    learning_rate : float
        Step size, finite and >= 0.
    slots : sequence of str
        Names of the state's arrays, of which every module has one of each, initially 0.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or an invalid value.
    """

    def __init__(self, modules: Modules, learning_rate: float, slots: Sequence[str]) -> None:
        self._modules = as_list("modules", modules, Module)
        for module in self._modules:
            module._check_trainable()
        self.learning_rate = learning_rate
        self._slots = {
            f"{slot}/{i}": np.zeros_like(module._flat[: 0 if module.frozen else None])
            for slot in slots
            for i, module in enumerate(self._modules)
        }
        self._updates = 0

    def __setattr__(self, name: str, value: object) -> None:
        # A misspelled learning rate would otherwise change nothing.
        if not name.startswith("_") and not isinstance(getattr(type(self), name, None), property):
            cure = "it is called" if name == "lr" else "the only one that may be set is"
            kind = type(self).__name__
            raise AttributeError(f"unknown attribute {name} of {kind}: {cure} learning_rate")
        super().__setattr__(name, value)

    def __repr__(self) -> str:
        names = [name for name in inspect.signature(type(self)).parameters if name != "modules"]
        found = {name: vars(self)[f"_{name}"] for name in names if f"_{name}" in vars(self)}
        settings = (f"{name}={value}" for name, value in found.items())
        return f"{type(self).__name__}({', '.join(settings)})"

    @property
    def learning_rate(self) -> float:
        """Step size, finite and >= 0; may be set between steps."""
        return self._learning_rate

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        self._learning_rate = checks.number("learning_rate", value, low=0.0)

    def step(self, gradients: AllGradients, *, gradient_scale: float = 1.0) -> None:
        """Update the parameters of all modules once.

        Parameters
        ----------
        gradients : Gradients, SequentialGradients, or list of them
            What `backward` returned, in the order of the modules. Not changed.
        gradient_scale : float, default 1
            Factor of all gradients, finite and >= 0, such as that of clipping. The result is, bit
            for bit, that of gradients multiplied before, without another pass over them.

        Raises
        ------
        TypeError
            If `gradients` is not what `backward` returned, or the factor is not a number.
        ValueError
            If the factor is out of its range, the number of gradients is not that of the modules,
            or gradients do not fit their module. No parameter has changed then.
        """
        matching = as_list("gradients", gradients, Gradients)
        scale = checks.number("gradient_scale", gradient_scale, low=0.0)
        count = len(self._modules)
        if len(matching) != count:
            raise ValueError(
                f"gradients must be one for each of {count} modules, got {len(matching)}"
            )
        for module, gradient in zip(self._modules, matching, strict=True):
            if gradient._layout != module._layout:
                raise ValueError(
                    f"gradients for {module} must be gradients of that module, got {gradient}"
                )
        self._updates += 1
        slots = list(self._slots.values())
        for i, (module, gradient) in enumerate(zip(self._modules, matching, strict=True)):
            if module.frozen or not len(module._layout.shapes):  # such as Dropout
                continue
            with module._changing() as flat:
                self._update(flat, gradient, scale, *slots[i::count])

    def state(self) -> dict[str, NDArray[Any]]:
        """Return the optimizer's state, which later steps depend on.

        Returns
        -------
        dict of str to array
            Copies: ``"updates"``, int64 (1,), the number of steps so far; ``"learning_rate"``,
            float64 (1,); and ``"slot/i"``, such as ``"velocity/0"``, of the size and dtype of the
            parameters of module i, empty if it is frozen.
        """
        return {
            "updates": np.array([self._updates], np.int64),
            "learning_rate": np.array([self._learning_rate], np.float64),
            **{name: array.copy() for name, array in self._slots.items()},
        }

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Restore a state returned by `state`: the next steps are the same, bit for bit.

        Parameters
        ----------
        state : mapping of str to array
            State of an optimizer of the same class, for modules of the same sizes. Copied.

        Raises
        ------
        TypeError
            If `state` is not a mapping of arrays of the right dtypes.
        ValueError
            If a name is missing or unknown, a shape does not fit, or a number is out of its range.
            Nothing has changed then.
        """
        if not isinstance(state, Mapping):
            raise TypeError(f"state must be a mapping of arrays, got {type(state).__name__}")
        own = self.state()
        if set(state) != set(own):
            raise ValueError(f"state must hold {', '.join(own)}, got {', '.join(map(str, state))}")
        for name, array in own.items():
            checks.array(f"state[{name!r}]", state[name], array.dtype)
            checks.shape(f"state[{name!r}]", state[name], [("size", array.size)])
        updates = checks.integer("state['updates']", state["updates"][0], 0)
        self.learning_rate = float(state["learning_rate"][0])
        self._updates = updates
        for name, array in self._slots.items():
            array[...] = state[name]

    def _update(
        self, parameters: FloatArray, gradient: Gradients, scale: float, *slots: FloatArray
    ) -> None:
        """Update the flat parameters and the state of one module, in place."""
        raise NotImplementedError


class SGD(Optimizer):
    """Stochastic gradient descent: v ← μ v + g; p ← p − η v.

    As in PyTorch, the velocity v does not contain the learning rate η. Without momentum,
    p ← p − η g. Weight decay λ adds λ p to g. Nesterov momentum is p ← p − η (g + μ v):
    I. Sutskever, J. Martens, G. Dahl and G. Hinton (2013), On the importance of initialization and
    momentum in deep learning.

    Parameters
    ----------
    modules : Module, Sequential, or list of them
        Modules whose parameters `step` updates.
    learning_rate : float, default 0.01
        η, the step size, finite and >= 0.
    momentum : float, default 0
        μ, in [0, 1).
    nesterov : bool, default False
        Whether to use Nesterov momentum; `momentum` must be > 0 then.
    weight_decay : float, default 0
        λ, finite and >= 0, for all parameters including biases.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or an invalid value.
    """

    def __init__(
        self,
        modules: Modules,
        learning_rate: float = 0.01,
        *,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
    ) -> None:
        self._momentum = checks.fraction("momentum", momentum)
        self._nesterov = checks.flag("nesterov", nesterov)
        self._weight_decay = checks.number("weight_decay", weight_decay, low=0.0)
        if self._nesterov and not self._momentum:
            raise ValueError(f"momentum must be > 0 for nesterov=True, got {self._momentum}")
        # Without momentum the velocity is the gradient, and there is no state.
        super().__init__(modules, learning_rate, ["velocity"] if self._momentum else [])

    @property
    def momentum(self) -> float:
        """Decay μ of the velocity."""
        return self._momentum

    def _update(
        self, parameters: FloatArray, gradient: Gradients, scale: float, *slots: FloatArray
    ) -> None:
        values, rows = gradient._stored()
        loader.kernels.sgd_step(
            parameters,
            values,
            slots[0] if slots else None,
            self.learning_rate,
            self._momentum,
            self._weight_decay,
            self._nesterov,
            rows,
            scale,
        )


class RMSProp(Optimizer):
    """RMSProp: s ← ρ s + (1−ρ) g²; p ← p − η g / (√s + ε).

    T. Tieleman and G. Hinton (2012), Neural networks for machine learning, lecture 6.5. As in
    PyTorch, ε is outside the root; with momentum μ, v ← μ v + g / (√s + ε) and p ← p − η v.

    Parameters
    ----------
    modules : Module, Sequential, or list of them
        Modules whose parameters `step` updates.
    learning_rate : float, default 0.01
        η, the step size, finite and >= 0.
    decay : float, default 0.99
        ρ, the decay of the running mean of the squared gradient, in [0, 1).
    epsilon : float, default 1e-8
        ε, > 0.
    momentum : float, default 0
        μ, in [0, 1).

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or an invalid value.
    """

    def __init__(
        self,
        modules: Modules,
        learning_rate: float = 0.01,
        *,
        decay: float = 0.99,
        epsilon: float = 1e-8,
        momentum: float = 0.0,
    ) -> None:
        self._decay = checks.fraction("decay", decay)
        self._epsilon = checks.positive("epsilon", epsilon)
        self._momentum = checks.fraction("momentum", momentum)
        velocity = ["velocity"] if self._momentum else []
        super().__init__(modules, learning_rate, ["mean_square", *velocity])

    def _update(
        self, parameters: FloatArray, gradient: Gradients, scale: float, *slots: FloatArray
    ) -> None:
        mean_square, *velocity = slots
        values, rows = gradient._stored()
        loader.kernels.rmsprop_step(
            parameters,
            values,
            mean_square,
            velocity[0] if velocity else None,
            self.learning_rate,
            self._decay,
            self._epsilon,
            self._momentum,
            rows,
            scale,
        )


class Adam(Optimizer):
    """Adam: m ← β₁ m + (1−β₁) g; v ← β₂ v + (1−β₂) g²; p ← p − η m̂ / (√v̂ + ε).

    m̂ = m / (1−β₁ᵗ) and v̂ = v / (1−β₂ᵗ) at step t: D. Kingma and J. Ba (2015), Adam: a method for
    stochastic optimization, algorithm 1.

    Parameters
    ----------
    modules : Module, Sequential, or list of them
        Modules whose parameters `step` updates.
    learning_rate : float, default 0.001
        η, the step size, finite and >= 0.
    beta1 : float, default 0.9
        β₁, the decay of the running mean of the gradient, in [0, 1).
    beta2 : float, default 0.999
        β₂, the decay of the running mean of the squared gradient, in [0, 1).
    epsilon : float, default 1e-8
        ε, > 0.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or an invalid value.
    """

    _lazy = False  # update only the rows of a table that occurred

    def __init__(
        self,
        modules: Modules,
        learning_rate: float = 0.001,
        *,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
    ) -> None:
        self._beta1 = checks.fraction("beta1", beta1)
        self._beta2 = checks.fraction("beta2", beta2)
        self._epsilon = checks.positive("epsilon", epsilon)
        self._weight_decay = 0.0
        super().__init__(modules, learning_rate, ["first_moment", "second_moment"])

    def _update(
        self, parameters: FloatArray, gradient: Gradients, scale: float, *slots: FloatArray
    ) -> None:
        first_moment, second_moment = slots
        values, rows = gradient._occurring() if self._lazy else gradient._stored()
        loader.kernels.adam_step(
            parameters,
            values,
            first_moment,
            second_moment,
            self.learning_rate,
            self._beta1,
            self._beta2,
            self._epsilon,
            self._weight_decay,
            self._updates,
            rows,
            scale,
            self._lazy,
        )


class AdamW(Adam):
    """Adam with decoupled weight decay: p ← p − η λ p, then Adam's step.

    I. Loshchilov and F. Hutter (2019), Decoupled weight decay regularization, algorithm 2. As in
    PyTorch, the decay is scaled by the learning rate η.

    Parameters
    ----------
    modules : Module, Sequential, or list of them
        Modules whose parameters `step` updates.
    learning_rate : float, default 0.001
        η, the step size, finite and >= 0.
    beta1 : float, default 0.9
        β₁, the decay of the running mean of the gradient, in [0, 1).
    beta2 : float, default 0.999
        β₂, the decay of the running mean of the squared gradient, in [0, 1).
    epsilon : float, default 1e-8
        ε, > 0.
    weight_decay : float, default 0.01
        λ, finite and >= 0, for all parameters including biases.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or an invalid value.
    """

    def __init__(
        self,
        modules: Modules,
        learning_rate: float = 0.001,
        *,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
        weight_decay: float = 0.01,
    ) -> None:
        super().__init__(
            modules, learning_rate=learning_rate, beta1=beta1, beta2=beta2, epsilon=epsilon
        )
        self._weight_decay = checks.number("weight_decay", weight_decay, low=0.0)


class LazyAdam(AdamW):
    """Adam that updates only the embedding vectors whose ids occurred.

    Adam changes all vectors of an `Embedding` or `EmbeddingBag` at every step: without a gradient,
    their running means decay, and they move on along the mean. Here the vectors of ids that did not
    occur, and their running means, stay as they are, which for large vocabularies takes a fraction
    of the time. It is not the same algorithm: means of rare ids decay per occurrence, not per step,
    as in LazyAdam of TensorFlow Addons and SparseAdam of PyTorch. The bias correction counts all
    steps. Other modules are updated as by `Adam`.

    Parameters
    ----------
    modules : Module, Sequential, or list of them
        Modules whose parameters `step` updates.
    learning_rate : float, default 0.001
        η, the step size, finite and >= 0.
    beta1 : float, default 0.9
        β₁, the decay of the running mean of the gradient, in [0, 1).
    beta2 : float, default 0.999
        β₂, the decay of the running mean of the squared gradient, in [0, 1).
    epsilon : float, default 1e-8
        ε, > 0.
    weight_decay : float, default 0
        λ of decoupled weight decay as in `AdamW`, finite and >= 0; of embedding vectors too only
        those that occurred decay.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or an invalid value.
    """

    _lazy = True

    def __init__(
        self,
        modules: Modules,
        learning_rate: float = 0.001,
        *,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(
            modules,
            learning_rate=learning_rate,
            beta1=beta1,
            beta2=beta2,
            epsilon=epsilon,
            weight_decay=weight_decay,
        )


OPTIMIZERS: Mapping[str, Callable[..., Optimizer]] = {
    kind.__name__.lower(): kind for kind in (Adam, AdamW, LazyAdam, RMSProp, SGD)
}
"""Name, as in the parameter ``optimizer`` of estimators -> class."""
