"""JAX: hand-written cells in `lax.scan`, jitted, with the projection of the input hoisted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from grid import Array, Problem, Row
from peers.base import Peer, Task, huge, layer_directions, small

jax.config.update("jax_enable_x64", True)  # float32 stays float32
jax.config.update("jax_platforms", "cpu")


class Jax(Peer):
    name = family = "jax"
    version = jax.__version__
    unroll = 1

    def supports(self, row: Row) -> bool:
        return row.group not in ("lecture", "sweep") and not huge(row)

    def build(self, row: Row, problem: Problem) -> Task:
        parameters = make_parameters(row, problem.parameters)
        if row.mode == "step":
            return self._step(row, problem, parameters)
        mask = None
        if problem.lengths is not None:
            mask = jnp.asarray(np.arange(row.steps)[:, None] < problem.lengths)[..., None]
        run = self._forward(row)
        x, G = jnp.asarray(problem.x), jnp.asarray(problem.d_output)
        if row.mode == "inference":
            infer = jax.jit(run).lower(parameters, x, mask).compile()
            return Task(
                lambda: infer(parameters, x, mask).block_until_ready(),
                lambda y: {"output": np.asarray(y)},
            )

        def gradients(parameters: Any, x: Any, mask: Any, G: Any) -> Any:
            y, pullback = jax.vjp(lambda p, x: run(p, x, mask), parameters, x)
            return y, pullback(G)

        train = jax.jit(gradients).lower(parameters, x, mask, G).compile()
        return Task(
            lambda: jax.block_until_ready(train(parameters, x, mask, G)),
            training_arrays,
        )

    def _forward(self, row: Row) -> Callable[..., Any]:
        step = STEPS[row.kind]

        def direction(p: Mapping[str, Any], x: Any, mask: Any, reverse: bool) -> Any:
            projected = x @ p["weight_ih"] + p["bias"]

            def body(state: Any, inputs: Any) -> Any:
                z, inside = inputs
                new = step(p, z, state)
                if inside is not None:
                    new = jax.tree.map(lambda a, b: jnp.where(inside, a, b), new, state)
                return new, new[0]

            zero = jnp.zeros((row.batch, row.hidden_size), x.dtype)
            states = (zero, zero) if row.kind == "lstm" else (zero,)
            _, h = lax.scan(body, states, (projected, mask), reverse=reverse, unroll=self.unroll)
            return h if mask is None else jnp.where(mask, h, 0)

        def forward(parameters: Any, x: Any, mask: Any) -> Any:
            for n in range(row.num_layers):
                outputs = [
                    direction(parameters[f"_l{n}{suffix}"], x, mask, bool(suffix))
                    for suffix in ("", "_reverse")[: row.directions]
                ]
                x = jnp.concatenate(outputs, -1) if len(outputs) > 1 else outputs[0]
            return x

        return forward

    def _step(self, row: Row, problem: Problem, parameters: Any) -> Task:
        x = jnp.asarray(problem.x[0])
        zero = jnp.zeros((row.batch, row.hidden_size), x.dtype)
        state: Any = (zero, zero) if row.kind == "lstm" else (zero,)

        def one(parameters: Any, x: Any, state: Any) -> Any:
            p = parameters["_l0"]
            return STEPS[row.kind](p, x @ p["weight_ih"] + p["bias"], state)

        run = jax.jit(one).lower(parameters, x, state).compile()

        def call() -> Any:
            nonlocal state
            state = run(parameters, x, state)
            return state[0].block_until_ready()

        return Task(call, lambda y: {"output": np.asarray(y)[None]})

    def close(self) -> None:
        jax.clear_caches()


class JaxUnrolled(Jax):
    """Loop unrolled by four, for short steps."""

    name = "jax unroll 4"
    unroll = 4

    def supports(self, row: Row) -> bool:
        return super().supports(row) and row.mode != "step" and small(row)


def rnn_step(p: Mapping[str, Any], z: Any, state: Any) -> Any:
    return (jnp.tanh(z + state[0] @ p["weight_hh"]),)


def lstm_step(p: Mapping[str, Any], z: Any, state: Any) -> Any:
    h, c = state
    i, f, g, o = jnp.split(z + h @ p["weight_hh"], 4, axis=-1)
    c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
    return jax.nn.sigmoid(o) * jnp.tanh(c), c


def gru_step(p: Mapping[str, Any], z: Any, state: Any) -> Any:
    (h,) = state
    r_x, z_x, n_x = jnp.split(z, 3, axis=-1)
    r_h, z_h, n_h = jnp.split(h @ p["weight_hh"], 3, axis=-1)
    reset, update = jax.nn.sigmoid(r_x + r_h), jax.nn.sigmoid(z_x + z_h)
    n = jnp.tanh(n_x + reset * (n_h + p["bias_hn"]))
    return (n + update * (h - n),)


STEPS = {"rnn": rnn_step, "lstm": lstm_step, "gru": gru_step}


def make_parameters(row: Row, parameters: Mapping[str, Array]) -> dict[str, dict[str, Any]]:
    """Return the parameters by layer and direction, with transposed weights."""
    names = ["weight_ih", "weight_hh", "bias"] + (["bias_hn"] if row.kind == "gru" else [])
    return {
        place: {name: jnp.asarray(parameters[name + place].T) for name in names}
        for place in (f"_l{n}{suffix}" for n, suffix in layer_directions(row))
    }


def training_arrays(result: Any) -> dict[str, Array]:
    y, (gradients, d_input) = result
    return {
        "output": np.asarray(y),
        "input": np.asarray(d_input),
        **parameter_gradients(gradients),
    }


def parameter_gradients(gradients: Mapping[str, Mapping[str, Any]]) -> dict[str, Array]:
    """Return the gradients by their names in bptt."""
    return {
        name + place: np.asarray(value).T
        for place, values in gradients.items()
        for name, value in values.items()
    }


def create(threads: int) -> list[Peer]:
    return [Jax(threads), JaxUnrolled(threads)]
