"""The kernels as primitives of JAX: compiled, batched and differentiated.

`recurrence` is batched before it is differentiated where `vmap` is inside of `grad`: its rules make
one call of all sequences, whose gradients of the parameters the kernels add up.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import ShapedArray
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from bptt.jax import _host as host
from bptt.jax._host import Call

_Values = Sequence[Any]


def _primitive(name: str, run: Callable[..., list[Any]], results: Callable[..., list[Any]]) -> Any:
    """Return a primitive whose results a function of NumPy arrays computes on the host.

    Shapes and dtypes are those of `results`, another function of call and operands.
    """
    primitive = Primitive(name)
    primitive.multiple_results = True

    def lower(context: Any, *values: Any, call: Call) -> Any:
        # As jax.pure_callback does, which makes arrays of JAX before it calls: five times the time.
        found, _, _ = mlir.emit_python_callback(
            context,
            partial(run, call),
            None,
            list(values),
            context.avals_in,
            context.avals_out,
            has_side_effect=False,
        )
        return found

    @lru_cache(maxsize=256)
    def compiled(call: Call) -> Any:
        return jax.jit(partial(primitive.bind, call=call))

    primitive.def_impl(lambda *values, call: compiled(call)(*values))
    primitive.def_abstract_eval(lambda *values, call: results(call, *values))
    mlir.register_lowering(primitive, lower)
    return primitive


def _results(call: Call, x: Any, *_: Any) -> list[Any]:
    layer, batch = call.layer, x.shape[call.batch_axis]
    rows = layer.num_layers * (1 + layer.bidirectional)
    states = [(rows, batch, size) for size in layer.state_sizes]
    return [ShapedArray(s, layer.dtype) for s in ((*x.shape[:2], layer.output_size), *states)]


def _results_and_key(call: Call, *values: Any) -> list[Any]:
    return [*_results(call, *values), ShapedArray((4,), np.dtype(np.uint32))]


def _gradients(call: Call, *values: Any) -> list[Any]:
    x, _, state, weights, _ = call.operands(values)
    return [*(x,) * call.wants_input, *state, *weights]


recurrence = _primitive("bptt_recurrence", host.infer, _results)
_forward = _primitive("bptt_recurrence_forward", host.forward, _results_and_key)
_backward = _primitive("bptt_recurrence_backward", host.backward, _gradients)


# ---- differentiation


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _differentiable(call: Call, *values: Any) -> list[Any]:
    found: list[Any] = recurrence.bind(*values, call=call)
    return found


def _run_forward(call: Call, *values: Any) -> tuple[list[Any], tuple[Any, ...]]:
    *results, key = _forward.bind(*values, call=call)
    return results, (*values, results[0], key)


def _run_backward(call: Call, values: _Values, d_results: _Values) -> tuple[Any, ...]:
    found = _backward.bind(*values, *d_results, call=call)
    d_x = (found.pop(0) if call.wants_input else None,)
    return (*d_x, *(None,) * call.has_lengths, *found)


_differentiable.defvjp(_run_forward, _run_backward)


def _differentiate(values: _Values, tangents: _Values, *, call: Call) -> Any:
    call = call._replace(wants_input=type(tangents[0]) is not ad.Zero)
    pairs = zip(values, tangents, strict=True)
    given = [_zero_tangent(v) if type(t) is ad.Zero else t for v, t in pairs]
    return jax.jvp(partial(_differentiable, call), tuple(values), tuple(given))


def _zero_tangent(value: Any) -> Any:
    if jnp.issubdtype(value.dtype, jnp.floating):
        return jnp.zeros_like(value)
    return np.zeros(value.shape, jax.dtypes.float0)


def _refuse(values: _Values, tangents: _Values, *, call: Call) -> Any:
    raise NotImplementedError("bptt.jax has no gradients of gradients")


ad.primitive_jvps[recurrence] = _differentiate
ad.primitive_jvps[_forward] = _refuse
ad.primitive_jvps[_backward] = _refuse


# ---- batching


def _batch(values: _Values, axes: _Values, *, call: Call) -> tuple[list[Any], list[int]]:
    """Run over the sequences of all calls at once, if they share their parameters."""
    _, _, state, weights, _ = call.operands(axes)
    if any(axis is not None for axis in weights):
        return _one_by_one(recurrence, values, axes, call=call)
    size = next(v.shape[axis] for v, axis in zip(values, axes, strict=True) if axis is not None)
    sequences = [call.batch_axis, *(0,) * call.has_lengths, *(1,) * len(state)]
    merged = [_merge(*part, size) for part in zip(values, axes, sequences, strict=False)]
    found = recurrence.bind(*merged, *values[len(merged) :], call=call)
    places = [call.batch_axis, *(1,) * call.num_states]
    split = [
        part.reshape(*part.shape[:axis], size, part.shape[axis] // size, *part.shape[axis + 1 :])
        for part, axis in zip(found, places, strict=True)
    ]
    return split, places


def _merge(value: Any, axis: int | None, sequences: int, size: int) -> Any:
    """Return an array with the axis of the calls merged into that of the sequences."""
    if axis is None:
        value = jnp.expand_dims(value, sequences)
        shape = (*value.shape[:sequences], size, *value.shape[sequences + 1 :])
        value = jnp.broadcast_to(value, shape)
    else:
        value = jnp.moveaxis(value, axis, sequences)
    rows = value.shape[sequences] * value.shape[sequences + 1]
    return value.reshape(*value.shape[:sequences], rows, *value.shape[sequences + 2 :])


def _one_by_one(
    primitive: Any, values: _Values, axes: _Values, *, call: Call
) -> tuple[list[Any], list[int]]:
    """Run one call after the other."""
    pairs = list(zip(values, axes, strict=True))
    mapped = [jnp.moveaxis(value, axis, 0) for value, axis in pairs if axis is not None]

    def run(parts: list[Any]) -> list[Any]:
        own = iter(parts)
        chosen = [value if axis is None else next(own) for value, axis in pairs]
        found: list[Any] = primitive.bind(*chosen, call=call)
        return found

    found = jax.lax.map(run, mapped)
    return found, [0] * len(found)


batching.primitive_batchers[recurrence] = _batch
batching.primitive_batchers[_forward] = partial(_one_by_one, _forward)
batching.primitive_batchers[_backward] = partial(_one_by_one, _backward)
