"""Optimizers: thin, because a module's parameters are one flat array.

Each walks parameters, gradients and its own state side by side, in one kernel call a module.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bptt._core import checks, loader
from bptt._core.checks import FloatArray
from bptt.nn.module import Gradients, Module, as_list

__all__ = ["SGD", "Adam", "AdamW", "RMSProp"]

_NO_SETTINGS = ("_modules", "_slots", "_updates")  # attributes


class Optimizer:
    """What the optimizers share: modules, learning rate, state and all checks.

    The state is a flat array a module in every slot, and the number of updates.
    """

    def __init__(
        self, modules: Module | Sequence[Module], learning_rate: float, slots: Sequence[str]
    ) -> None:
        self._modules = as_list("modules", modules, Module)
        self.learning_rate = learning_rate
        self._slots = {
            f"{slot}/{i}": np.zeros_like(module._flat)
            for slot in slots
            for i, module in enumerate(self._modules)
        }
        self._updates = 0

    def __repr__(self) -> str:
        settings = (
            f"{name.lstrip('_')}={value}"
            for name, value in vars(self).items()
            if name not in _NO_SETTINGS
        )
        return f"{type(self).__name__}({', '.join(settings)})"

    @property
    def learning_rate(self) -> float:
        """The step size. May be set between steps; finite and >= 0."""
        return self._learning_rate

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        self._learning_rate = checks.number("learning_rate", value, low=0.0)

    def step(self, gradients: Gradients | Sequence[Gradients]) -> None:
        """Change the parameters of all modules, once.

        Parameters
        ----------
        gradients : Gradients or sequence of Gradients
            One for each module, in the order of the modules. Not changed.

        Raises
        ------
        TypeError
            If something else than `Gradients` comes.
        ValueError
            If there are more or fewer of them than modules, or one is of another kind of module
            than its place says. No parameter has changed then.
        """
        matching = as_list("gradients", gradients, Gradients)
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
            with module._changing() as flat:
                self._update(flat, gradient._flat, *slots[i::count])

    def state(self) -> dict[str, NDArray[Any]]:
        """Return all that the next steps depend on, but for parameters and constructor arguments.

        Returns
        -------
        dict
            Copies of the state's arrays: ``"updates"``, int64 of shape (1,), the number of steps
            so far; ``"learning_rate"``, float64 of shape (1,); and ``"slot/i"``, of the dtype and
            the number of parameters of module number i, for every slot that the optimizer has, as
            ``"velocity/0"``.
        """
        return {
            "updates": np.array([self._updates], np.int64),
            "learning_rate": np.array([self._learning_rate], np.float64),
            **{name: array.copy() for name, array in self._slots.items()},
        }

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Go back to what `state` returned: the next steps are the same, bit by bit.

        Parameters
        ----------
        state : mapping
            From an optimizer of the same kind, of modules of the same sizes. Copied.

        Raises
        ------
        TypeError
            If it is not a mapping of arrays of the right dtypes.
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

    def _update(self, parameters: FloatArray, gradient: FloatArray, *slots: FloatArray) -> None:
        raise NotImplementedError


class SGD(Optimizer):
    """Stochastic gradient descent: v ← μ v + g; p ← p − η v.

    The momentum has the form of PyTorch, where the learning rate η is outside v. Without momentum,
    p ← p − η g. With weight decay λ, g is g + λ p in all of it. Nesterov's momentum looks ahead,
    p ← p − η (g + μ v): I. Sutskever, J. Martens, G. Dahl and G. Hinton (2013), On the importance
    of initialization and momentum in deep learning.

    Parameters
    ----------
    modules : Module or sequence of Module
        Whose parameters `step` changes.
    learning_rate : float
        η, finite and >= 0.
    momentum : float
        μ, in [0, 1).
    nesterov : bool
        Whether the momentum is Nesterov's; it must be > 0 then.
    weight_decay : float
        λ, finite and >= 0: of all parameters, biases too.

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong kind, or has a value out of its range.
    """

    def __init__(
        self,
        modules: Module | Sequence[Module],
        *,
        learning_rate: float = 0.01,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
    ) -> None:
        self._momentum = checks.fraction("momentum", momentum)
        self._nesterov = checks.flag("nesterov", nesterov)
        self._weight_decay = checks.number("weight_decay", weight_decay, low=0.0)
        if self._nesterov and not self._momentum:
            raise ValueError(f"momentum must be > 0 for nesterov=True, got {self._momentum}")
        # Without momentum the velocity is the gradient: nothing to remember.
        super().__init__(modules, learning_rate, ["velocity"] if self._momentum else [])

    @property
    def momentum(self) -> float:
        """The factor μ that the velocity keeps from step to step."""
        return self._momentum

    def _update(self, parameters: FloatArray, gradient: FloatArray, *slots: FloatArray) -> None:
        loader.kernels.sgd_step(
            parameters,
            gradient,
            slots[0] if slots else None,
            self.learning_rate,
            self._momentum,
            self._weight_decay,
            self._nesterov,
        )


class RMSProp(Optimizer):
    """RMSProp: s ← ρ s + (1−ρ) g²; p ← p − η g / (√s + ε).

    T. Tieleman and G. Hinton (2012), Neural networks for machine learning, lecture 6.5, in the form
    of PyTorch: ε is outside the root, and with momentum μ, v ← μ v + g / (√s + ε); p ← p − η v.

    Parameters
    ----------
    modules : Module or sequence of Module
        Whose parameters `step` changes.
    learning_rate : float
        η, finite and >= 0.
    decay : float
        ρ, of the running mean of the squared gradient, in [0, 1).
    epsilon : float
        ε, greater than 0.
    momentum : float
        μ, in [0, 1).

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong kind, or has a value out of its range.
    """

    def __init__(
        self,
        modules: Module | Sequence[Module],
        *,
        learning_rate: float = 0.01,
        decay: float = 0.99,
        epsilon: float = 1e-8,
        momentum: float = 0.0,
    ) -> None:
        self._decay = checks.fraction("decay", decay)
        self._epsilon = checks.positive("epsilon", epsilon)
        self._momentum = checks.fraction("momentum", momentum)
        velocity = ["velocity"] if self._momentum else []
        super().__init__(modules, learning_rate, ["mean_square", *velocity])

    def _update(self, parameters: FloatArray, gradient: FloatArray, *slots: FloatArray) -> None:
        mean_square, *velocity = slots
        loader.kernels.rmsprop_step(
            parameters,
            gradient,
            mean_square,
            velocity[0] if velocity else None,
            self.learning_rate,
            self._decay,
            self._epsilon,
            self._momentum,
        )


class Adam(Optimizer):
    """Adam: m ← β₁ m + (1−β₁) g; v ← β₂ v + (1−β₂) g²; p ← p − η m̂ / (√v̂ + ε).

    m̂ = m / (1−β₁ᵗ) and v̂ = v / (1−β₂ᵗ) at step t: D. Kingma and J. Ba (2015), Adam: a method for
    stochastic optimization, algorithm 1.

    Parameters
    ----------
    modules : Module or sequence of Module
        Whose parameters `step` changes.
    learning_rate : float
        η, finite and >= 0.
    beta1, beta2 : float
        Decay of the running means of gradient and squared gradient, in [0, 1).
    epsilon : float
        ε, greater than 0.

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong kind, or has a value out of its range.
    """

    def __init__(
        self,
        modules: Module | Sequence[Module],
        *,
        learning_rate: float = 0.001,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
    ) -> None:
        self._betas = checks.fraction("beta1", beta1), checks.fraction("beta2", beta2)
        self._epsilon = checks.positive("epsilon", epsilon)
        self._weight_decay = 0.0
        super().__init__(modules, learning_rate, ["first_moment", "second_moment"])

    def _update(self, parameters: FloatArray, gradient: FloatArray, *slots: FloatArray) -> None:
        first_moment, second_moment = slots
        loader.kernels.adam_step(
            parameters,
            gradient,
            first_moment,
            second_moment,
            self.learning_rate,
            *self._betas,
            self._epsilon,
            self._weight_decay,
            self._updates,
        )


class AdamW(Adam):
    """Adam with decoupled weight decay: p ← p − η λ p, then Adam's step.

    I. Loshchilov and F. Hutter (2019), Decoupled weight decay regularization, algorithm 2, in the
    form of PyTorch.

    Parameters
    ----------
    modules, learning_rate, beta1, beta2, epsilon
        As for `Adam`.
    weight_decay : float
        λ, finite and >= 0: of all parameters, biases too.

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong kind, or has a value out of its range.
    """

    def __init__(
        self,
        modules: Module | Sequence[Module],
        *,
        learning_rate: float = 0.001,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
        weight_decay: float = 0.01,
    ) -> None:
        super().__init__(
            modules, learning_rate=learning_rate, beta1=beta1, beta2=beta2, epsilon=epsilon
        )
        self._weight_decay = checks.number("weight_decay", weight_decay, low=0.0)


OPTIMIZERS: Mapping[str, Callable[..., Optimizer]] = {
    kind.__name__.lower(): kind for kind in (Adam, AdamW, RMSProp, SGD)
}
"""Name, as estimators and commands take it -> class."""
