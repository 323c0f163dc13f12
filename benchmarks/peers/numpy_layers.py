"""NumPy, optimized and as in a lecture."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from grid import Array, Problem, Row
from peers import numpy_cells as cells
from peers import numpy_loop
from peers.base import Peer, Task, layer_directions


class NumPy(Peer):
    """Hoisted projection, in-place gates, one product for the gradient of each weight."""

    name = family = "numpy"
    version = np.__version__

    def supports(self, row: Row) -> bool:
        return row.group not in ("lecture", "sweep") and not row.ragged

    def build(self, row: Row, problem: Problem) -> Task:
        if row.mode == "step":
            return step_task(row, problem)
        x, G, p = problem.x, problem.d_output, problem.parameters
        ready = prepare(row, p)
        if row.mode == "inference":
            return Task(lambda: forward(row, ready, x)[0], lambda y: {"output": y})

        def train() -> Any:
            y, saved = forward(row, ready, x)
            return y, backward(row, p, saved, G)

        return Task(train, lambda r: {"output": r[0], **r[1]})


def prepare(row: Row, p: Mapping[str, Array]) -> dict[str, list[Array]]:
    """Return U_T, b, W_T, and b_hn of the GRU for every layer and direction, in memory order."""
    ready = {}
    for place in (f"_l{n}{suffix}" for n, suffix in layer_directions(row)):
        values = [p[f"{name}{place}"].T for name in ("weight_ih", "bias", "weight_hh")]
        if row.kind == "lstm":
            values = [value * cells.lstm_factor(row.hidden_size, row.dtype) for value in values]
        values += [p[f"bias_hn{place}"]] if row.kind == "gru" else []
        ready[place] = [np.ascontiguousarray(value) for value in values]
    return ready


def forward(
    row: Row, ready: Mapping[str, list[Array]], x: Array
) -> tuple[Array, list[tuple[Array, list[cells.Saved]]]]:
    """Return the output, and for every layer its input and the saved values of each direction."""
    kept = []
    for n in range(row.num_layers):
        saved = []
        for suffix in ("", "_reverse")[: row.directions]:
            U_T, b, *recurrent = ready[f"_l{n}{suffix}"]
            z = flat(x) @ U_T
            z += b
            z = z.reshape(*x.shape[:2], -1)
            saved.append(FORWARD[row.kind](z[::-1] if suffix else z, *recurrent))
        kept.append((x, saved))
        outputs = [s.h[1:][:: 1 - 2 * d] for d, s in enumerate(saved)]
        x = np.concatenate(outputs, 2) if len(outputs) > 1 else outputs[0]
    return x, kept


def backward(
    row: Row, p: Mapping[str, Array], kept: list[Any], d_output: Array
) -> dict[str, Array]:
    found: dict[str, Array] = {}
    for n in reversed(range(row.num_layers)):
        x, saved = kept[n]
        d_x: Any = None
        parts = np.split(d_output, row.directions, axis=2)
        for suffix, s, part in zip(("", "_reverse"), saved, parts, strict=False):
            place, turn = f"_l{n}{suffix}", -1 if suffix else 1
            W = p[f"weight_hh{place}"]
            dz, d_u = BACKWARD[row.kind](s, W, part[::turn])
            found[f"weight_hh{place}"] = flat(d_u).T @ flat(s.h[:-1])
            if row.kind == "gru":
                found[f"bias_hn{place}"] = flat(d_u)[:, 2 * row.hidden_size :].sum(0)
            dz = flat(np.ascontiguousarray(dz[::turn]))
            found[f"weight_ih{place}"] = dz.T @ flat(x)
            found[f"bias{place}"] = dz.sum(0)
            product = dz @ p[f"weight_ih{place}"]
            d_x = product if d_x is None else d_x + product
        d_output = d_x.reshape(x.shape)
    found["input"] = d_output
    return found


def flat(array: Array) -> Array:
    """Reshape (T, B, N) to (T·B, N)."""
    return array.reshape(-1, array.shape[2])


FORWARD: dict[str, Any] = {
    "rnn": cells.rnn_forward,
    "lstm": cells.lstm_forward,
    "gru": cells.gru_forward,
}
BACKWARD: dict[str, Any] = {
    "rnn": cells.rnn_backward,
    "lstm": cells.lstm_backward,
    "gru": cells.gru_backward,
}


def step_task(row: Row, problem: Problem) -> Task:
    """Return a step on vectors, in place."""
    p, H, inputs = problem.parameters, row.hidden_size, row.input_size
    U, W, b = (p[f"{name}_l0"] for name in ("weight_ih", "weight_hh", "bias"))
    factor = cells.lstm_factor(H, row.dtype)
    if row.kind == "lstm":
        U, W, b = factor[:, None] * U, factor[:, None] * W, factor * b
    shift, UW, b_hn = 1 - factor, np.hstack([U, W]), p.get("bias_hn_l0")
    xh = np.zeros(inputs + H, row.dtype)  # x and h concatenated, for a single product
    x, h, c = problem.x[0, 0], xh[inputs:], np.zeros(H, row.dtype)

    def rnn() -> Array:
        xh[:inputs] = x
        return np.tanh(UW @ xh + b, out=h)

    def lstm() -> Array:
        xh[:inputs] = x
        a = UW @ xh
        a += b
        np.tanh(a, out=a)
        a *= factor
        a += shift
        np.multiply(c, a[H : 2 * H], out=c)
        np.add(c, a[:H] * a[2 * H : 3 * H], out=c)
        return np.multiply(a[3 * H :], np.tanh(c), out=h)

    def gru() -> Array:
        a, u = U @ x, W @ h
        a += b
        gates = a[: 2 * H] + u[: 2 * H]
        gates *= 0.5
        np.tanh(gates, out=gates)
        gates *= 0.5
        gates += 0.5
        n = np.tanh(a[2 * H :] + gates[:H] * (u[2 * H :] + b_hn))
        return np.add(n, gates[H:] * (h - n), out=h)

    call = {"rnn": rnn, "lstm": lstm, "gru": gru}[row.kind]
    return Task(call, lambda y: {"output": y.copy()[None, None]})


class NumPyLoop(Peer):
    """Loop as in a lecture: one product per gate, gradients summed step by step."""

    name = family = "numpy loop"
    version = np.__version__

    def supports(self, row: Row) -> bool:
        return row.group == "lecture"

    def build(self, row: Row, problem: Problem) -> Task:
        assert layer_directions(row) == [(0, "")]
        assert row.batch == 1
        run, back = numpy_loop.CELLS[row.kind]
        p, x, G = problem.parameters, problem.x[:, 0], problem.d_output[:, 0]
        if row.mode == "inference":
            return Task(lambda: run(p, x), lambda r: {"output": np.array(r[0])[:, None]})

        def train() -> Any:
            saved = run(p, x)
            return saved[0], back(p, x, saved, G)

        def arrays(result: Any) -> Mapping[str, Array]:
            y, gradients = result
            gradients = {**gradients, "input": np.array(gradients["input"])[:, None]}
            return {"output": np.array(y)[:, None], **gradients}

        return Task(train, arrays)


def create(threads: int) -> list[Peer]:
    return [NumPy(threads), NumPyLoop(threads)]
