"""Language models and taggers of JAX: one jitted function, padding masked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from grid import Array
from models import LANGUAGE_MODEL, LEARNING_RATE, MAX_NORM, TAGGER, ModelProblem, ModelRow
from peers.base import Peer, Task
from peers.jax_layers import Jax, make_parameters, parameter_gradients

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8  # of Adam


class JaxModels(Peer):
    name = family = "jax"
    version = jax.__version__

    def supports(self, row: Any) -> bool:
        return row.task in (LANGUAGE_MODEL, TAGGER)

    def build(self, row: Any, problem: Any) -> Task:
        parameters = {
            part: make_parameters(row.layers, arrays)
            if part == "recurrent"
            else {name: jnp.asarray(value) for name, value in arrays.items()}
            for part, arrays in problem.parameters.items()
        }
        run, mask = forward(row, problem)
        ids, targets = jnp.asarray(problem.ids.T), jnp.asarray(problem.targets.T)
        if row.mode == "inference":
            infer = jax.jit(run).lower(parameters, ids).compile()
            return Task(
                lambda: infer(parameters, ids).block_until_ready(),
                lambda y: {"output": np.asarray(y).swapaxes(0, 1)},
            )
        count = row.sequence_steps

        def loss(parameters: Any) -> Any:
            logits = run(parameters, ids)
            picked = jnp.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]
            each = jax.nn.logsumexp(logits, axis=-1) - picked
            return (each if mask is None else jnp.where(mask[..., 0], each, 0)).sum() / count

        return self._training(row, parameters, loss)

    def _training(self, row: ModelRow, parameters: Any, loss: Callable[[Any], Any]) -> Task:
        value, gradients = jax.jit(jax.value_and_grad(loss))(parameters)
        first = {"loss": np.asarray(value), **named_gradients(row, gradients)}
        moments = jax.tree.map(jnp.zeros_like, (parameters, parameters))

        def one(parameters: Any, moments: Any, step: Any) -> Any:
            gradients = jax.grad(loss)(parameters)
            norm = jnp.sqrt(sum(jnp.vdot(g, g) for g in jax.tree.leaves(gradients)))
            scale = jnp.minimum(1.0, MAX_NORM / norm)
            gradients = jax.tree.map(lambda g: g * scale.astype(g.dtype), gradients)
            m, v = moments
            m = jax.tree.map(lambda m, g: BETA1 * m + (1 - BETA1) * g, m, gradients)
            v = jax.tree.map(lambda v, g: BETA2 * v + (1 - BETA2) * g * g, v, gradients)
            rate = LEARNING_RATE * jnp.sqrt(1 - BETA2**step) / (1 - BETA1**step)
            parameters = jax.tree.map(
                lambda p, m, v: p - (rate * m / (jnp.sqrt(v) + EPSILON)).astype(p.dtype),
                parameters,
                m,
                v,
            )
            return parameters, (m, v), step + 1

        state: Any = jax.tree.map(jnp.array, (parameters, moments, jnp.float32(1.0)))
        train = jax.jit(one, donate_argnums=(0, 1)).lower(*state).compile()

        def update() -> Any:
            nonlocal state
            state = jax.block_until_ready(train(*state))
            return first

        return Task(update, lambda found: found)

    def close(self) -> None:
        jax.clear_caches()


def forward(row: ModelRow, problem: ModelProblem) -> tuple[Callable[[Any, Any], Any], Any]:
    """Return the function from parameters and ids (T, B) to logits, and the mask of the steps."""
    mask = None
    if problem.lengths is not None:
        mask = jnp.asarray(np.arange(row.steps)[:, None] < problem.lengths)[..., None]
    layers = Jax(1)._forward(row.layers)

    def run(parameters: Any, ids: Any) -> Any:
        h = layers(parameters["recurrent"], parameters["embedding"]["weight"][ids], mask)
        output = parameters["output"]
        logits = h @ output["weight"].T + output["bias"]
        return logits if mask is None else jnp.where(mask, logits, 0)

    return run, mask


def named_gradients(row: ModelRow, gradients: Any) -> dict[str, Array]:
    """Return the gradients by their names in bptt."""
    found: dict[str, Array] = {}
    for part, values in gradients.items():
        own = parameter_gradients(values) if part == "recurrent" else values
        found.update({f"{part}.{name}": np.asarray(value) for name, value in own.items()})
    return found


def create(threads: int) -> list[Peer]:
    return [JaxModels(threads)]
