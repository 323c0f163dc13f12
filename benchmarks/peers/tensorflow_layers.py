"""TensorFlow: the layers of Keras in a `tf.function`, as a graph and compiled by XLA."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from grid import Array, Problem, Row
from peers.base import Peer, Task, huge, layer_directions, reorder, small

# bptt's order of gates, Keras' order
ORDERS = {"rnn": ("h", "h"), "lstm": ("ifgo", "ifgo"), "gru": ("rzn", "zrn")}


class TensorFlow(Peer):
    name = family = "tensorflow"
    version = tf.__version__
    xla = False

    def __init__(self, threads: int) -> None:
        super().__init__(threads)
        if not tf.config.threading.get_intra_op_parallelism_threads():
            tf.config.threading.set_intra_op_parallelism_threads(threads)
            tf.config.threading.set_inter_op_parallelism_threads(1)

    def supports(self, row: Row) -> bool:
        measured = row.group not in ("lecture", "sweep") and not huge(row)
        return measured and row.dtype == "float32"

    def build(self, row: Row, problem: Problem) -> Task:
        """Keras wants the batch first: its arrays are laid out so before the timing."""
        if row.mode == "step":
            return self._step(row, problem)
        layers = make_layers(row, problem)
        x, G = (tf.constant(a.swapaxes(0, 1).copy()) for a in (problem.x, problem.d_output))
        mask = None if problem.lengths is None else tf.sequence_mask(problem.lengths, row.steps)

        def forward(x: Any) -> Any:
            for layer in layers:
                x = layer(x, mask=mask)
            return x

        if row.mode == "inference":
            infer = self._compile(forward)
            return Task(lambda: infer(x).numpy(), lambda y: {"output": y.swapaxes(0, 1)})
        variables = [variable.value for layer in layers for variable in layer.trainable_variables]

        def gradients(x: Any) -> Any:
            with tf.GradientTape() as tape:
                tape.watch(x)
                y = forward(x)
            return y, tape.gradient(y, [x, *variables], output_gradients=G)

        train = self._compile(gradients)

        def call() -> Any:
            y, found = train(x)
            return y.numpy(), [gradient.numpy() for gradient in found]

        return Task(call, lambda result: training_arrays(row, result))

    def _compile(self, function: Callable[..., Any]) -> Any:
        return tf.function(function, jit_compile=self.xla or None, autograph=False)

    def _step(self, row: Row, problem: Problem) -> Task:
        (layer,) = make_layers(row, problem)
        cell = layer.cell
        run = self._compile(lambda x, *state: cell(x, list(state))[1])
        zero = tf.zeros((row.batch, row.hidden_size), row.dtype)
        x = tf.constant(problem.x[0])
        state: Any = [zero, zero] if row.kind == "lstm" else [zero]

        def call() -> Any:
            nonlocal state
            state = run(x, *state)
            return state[0].numpy()

        return Task(call, lambda y: {"output": y[None]})

    def close(self) -> None:
        tf.keras.backend.clear_session()


class TensorFlowXla(TensorFlow):
    name = "tensorflow xla"
    xla = True

    def supports(self, row: Row) -> bool:
        return super().supports(row) and small(row) and not row.ragged


def make_layers(row: Row, problem: Problem) -> list[Any]:
    kinds = {"rnn": "SimpleRNN", "lstm": "LSTM", "gru": "GRU"}
    layers = []
    for n, inputs in enumerate(row.inputs):
        layer: Any = getattr(tf.keras.layers, kinds[row.kind])(
            row.hidden_size,
            return_sequences=True,
            zero_output_for_mask=row.ragged,
            **({"reset_after": True} if row.kind == "gru" else {}),
        )
        if row.directions == 2:
            layer = tf.keras.layers.Bidirectional(layer)
        layer.build((row.batch, row.steps, inputs))
        suffixes = ("", "_reverse")[: row.directions]
        layer.set_weights([w for s in suffixes for w in weights(row, problem, f"_l{n}{s}")])
        layers.append(layer)
    return layers


def weights(row: Row, problem: Problem, place: str) -> list[Array]:
    """Kernel, recurrent kernel and bias, as Keras has them: transposed, its own order of gates."""
    given, order = ORDERS[row.kind]
    p = problem.parameters
    kernels = [reorder(p[f"{n}{place}"], order, given).T for n in ("weight_ih", "weight_hh")]
    bias = reorder(p[f"bias{place}"], order, given)
    if row.kind == "gru":  # one bias for the input, one for the state
        second = np.zeros_like(bias)
        second[2 * row.hidden_size :] = p[f"bias_hn{place}"]
        bias = np.stack([bias, second])
    return [*kernels, bias]


def training_arrays(row: Row, result: Any) -> Mapping[str, Array]:
    given, order = ORDERS[row.kind]
    y, (d_input, *gradients) = result
    found = {"output": y.swapaxes(0, 1), "input": d_input.swapaxes(0, 1)}
    for k, (n, suffix) in enumerate(layer_directions(row)):
        U, W, b = gradients[3 * k : 3 * k + 3]
        place = f"_l{n}{suffix}"
        found[f"weight_ih{place}"] = reorder(U.T, given, order)
        found[f"weight_hh{place}"] = reorder(W.T, given, order)
        if row.kind == "gru":
            b, second = b
            found[f"bias_hn{place}"] = second[2 * row.hidden_size :]
        found[f"bias{place}"] = reorder(b, given, order)
    return found


def create(threads: int) -> list[Peer]:
    return [TensorFlow(threads), TensorFlowXla(threads)]
