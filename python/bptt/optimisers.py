"""Optimisers and gradient clipping: thin, because a module's parameters are one flat array.

Each walks parameters, gradients and its own state side by side, in one kernel call a module.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from bptt import checks
from bptt._loader import kernels
from bptt.checks import FloatArray
from bptt.module import Gradients, Module

_T = TypeVar("_T", Module, Gradients)


class Optimiser:
    """What the optimisers share: the modules, the learning rate and all checks."""

    def __init__(self, modules: Module | Sequence[Module], learning_rate: float) -> None:
        self._modules = _as_list("modules", modules, Module)
        self.learning_rate = learning_rate

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
        matching = _as_list("gradients", gradients, Gradients)
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
        self._update([gradient._flat for gradient in matching])

    def _update(self, gradients: list[FloatArray]) -> None:
        raise NotImplementedError

    def _zeros(self) -> list[FloatArray]:
        return [np.zeros_like(module._flat) for module in self._modules]


class SGD(Optimiser):
    """Stochastic gradient descent: v ← μ v + g; p ← p − η v.

    The momentum has the form of PyTorch, where the learning rate η is outside v. Without momentum,
    p ← p − η g.

    Parameters
    ----------
    modules : Module or sequence of Module
        Whose parameters `step` changes.
    learning_rate : float
        η, finite and >= 0.
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
        momentum: float = 0.0,
    ) -> None:
        super().__init__(modules, learning_rate)
        self._momentum = checks.fraction("momentum", momentum)
        # Without momentum the velocity is the gradient: nothing to remember.
        self._velocity: Sequence[FloatArray | None]
        self._velocity = self._zeros() if self._momentum else [None] * len(self._modules)

    @property
    def momentum(self) -> float:
        """The factor μ that the velocity keeps from step to step."""
        return self._momentum

    def _update(self, gradients: list[FloatArray]) -> None:
        for module, gradient, velocity in zip(
            self._modules, gradients, self._velocity, strict=True
        ):
            with module._changing() as flat:
                kernels.sgd_step(flat, gradient, velocity, self.learning_rate, self._momentum)


class Adam(Optimiser):
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
        super().__init__(modules, learning_rate)
        self._betas = checks.fraction("beta1", beta1), checks.fraction("beta2", beta2)
        self._epsilon = checks.positive("epsilon", epsilon)
        self._first_moment = self._zeros()
        self._second_moment = self._zeros()
        self._step = 0

    def _update(self, gradients: list[FloatArray]) -> None:
        self._step += 1
        for module, gradient, first, second in zip(
            self._modules, gradients, self._first_moment, self._second_moment, strict=True
        ):
            with module._changing() as flat:
                kernels.adam_step(
                    flat,
                    gradient,
                    first,
                    second,
                    self.learning_rate,
                    *self._betas,
                    self._epsilon,
                    self._step,
                )


def clip_by_value(gradients: Gradients | Sequence[Gradients], limit: float) -> None:
    """Clip every element of the parameters' gradients to [-limit, limit], in place.

    Parameters
    ----------
    gradients : Gradients or sequence of Gradients
        NaN stays NaN.
    limit : float
        Greater than 0; may be infinite.

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong kind, or `limit` is not positive.
    """
    chosen = _as_list("gradients", gradients, Gradients)
    bound = checks.positive("limit", limit)
    for gradient in chosen:
        kernels.clip(gradient._flat, bound)


def clip_by_global_norm(gradients: Gradients | Sequence[Gradients], max_norm: float) -> float:
    """Scale the parameters' gradients so that their common norm is at most `max_norm`, in place.

    The norm is √Σg² over all parameters of all modules together, so that the direction of the step
    stays: R. Pascanu, T. Mikolov and Y. Bengio (2013), On the difficulty of training recurrent
    neural networks, algorithm 1.

    Parameters
    ----------
    gradients : Gradients or sequence of Gradients
        Of all modules that are trained together.
    max_norm : float
        Greater than 0; with infinity the gradients are only measured.

    Returns
    -------
    float
        The norm before clipping. If it is NaN or infinite, the gradients have not been changed.

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong kind, or `max_norm` is not positive.
    """
    chosen = _as_list("gradients", gradients, Gradients)
    bound = checks.positive("max_norm", max_norm)
    norm = math.sqrt(sum(kernels.sum_of_squares(gradient._flat) for gradient in chosen))
    if bound < norm < math.inf:
        for gradient in chosen:
            kernels.scale(gradient._flat, bound / norm)
    return norm


def _as_list(name: str, given: _T | Sequence[_T], kind: type[_T]) -> list[_T]:
    """Return one or many of `kind` as a list, in which nothing comes twice."""
    # A single one is itself iterable, over its names.
    items = [given] if isinstance(given, kind) else given
    if not isinstance(items, (list, tuple)) or not all(isinstance(item, kind) for item in items):
        article = "a Module" if kind is Module else "Gradients"
        got = type(given).__name__
        if isinstance(items, (list, tuple)):
            got += " of " + ", ".join(sorted({type(item).__name__ for item in items}))
        raise TypeError(f"{name} must be {article} or a list or tuple of them, got {got}")
    if not items:
        raise ValueError(f"{name} must not be empty")
    if len({id(item) for item in items}) < len(items):
        raise ValueError(f"{name} must not hold the same one twice, got {list(items)}")
    return list(items)
