"""PyTorch, eager: nn.RNN, nn.LSTM and nn.GRU, and the single cells for steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from grid import Array, Problem, Row
from peers.base import Peer, Task, layer_directions

VERSION = f"{torch.__version__} ({torch.backends.cpu.get_cpu_capability()})"


class Torch(Peer):
    name = family = "torch"
    version = VERSION

    def __init__(self, threads: int) -> None:
        super().__init__(threads)
        torch.set_num_threads(threads)

    def supports(self, row: Row) -> bool:
        return row.group != "lecture"

    def build(self, row: Row, problem: Problem) -> Task:
        layer = make_layer(row, problem.parameters)
        if row.mode == "step":
            return self._step(layer, torch.tensor(problem.x))
        x, G = pack(problem.x, problem), pack(problem.d_output, problem)
        if row.mode == "inference":
            layer.eval()

            def infer() -> Any:
                with torch.inference_mode():
                    return layer(x)[0]

            return Task(infer, lambda y: {"output": unpack(y, row)})
        return self._training(row, layer, x, G)

    def _training(self, row: Row, layer: Any, x: Any, G: Any) -> Task:
        leaf = x.data if isinstance(x, PackedSequence) else x
        leaf.requires_grad_()
        d_output = G.data if isinstance(G, PackedSequence) else G
        names, parameters = zip(*layer.named_parameters(), strict=True)

        def train() -> Any:
            y, _ = layer(x)
            output = y.data if isinstance(y, PackedSequence) else y
            return y, torch.autograd.grad(output, (leaf, *parameters), d_output)

        def arrays(result: Any) -> Mapping[str, Array]:
            y, (d_input, *gradients) = result
            if isinstance(x, PackedSequence):
                d_input = x._replace(data=d_input)
            found = {"output": unpack(y, row), "input": unpack(d_input, row)}
            by_name = dict(zip(names, (g.numpy() for g in gradients), strict=True))
            return {**found, **parameter_gradients(row, by_name)}

        return Task(train, arrays)

    def _step(self, layer: Any, x: torch.Tensor) -> Task:
        state: Any = None
        layer.eval()

        def call() -> Any:
            nonlocal state
            with torch.inference_mode():
                y, state = layer(x, state)
            return y

        return Task(call, lambda y: {"output": y.numpy()})


class TorchCell(Torch):
    """Single step of one layer, with the cell classes."""

    name = "torch cell"

    def supports(self, row: Row) -> bool:
        return row.mode == "step" and row.num_layers == 1

    def build(self, row: Row, problem: Problem) -> Task:
        kinds = {"rnn": torch.nn.RNNCell, "lstm": torch.nn.LSTMCell, "gru": torch.nn.GRUCell}
        cell: Any = kinds[row.cell](
            row.input_size, row.hidden_size, dtype=getattr(torch, row.dtype)
        )
        values = make_layer(row, problem.parameters).state_dict().items()
        cell.load_state_dict({name.removesuffix("_l0"): value for name, value in values})
        cell.eval()
        x, state = torch.tensor(problem.x[0]), None
        lstm = row.cell == "lstm"

        def call() -> Any:
            nonlocal state
            with torch.inference_mode():
                state = cell(x, state)
            return state[0] if lstm else state

        return Task(call, lambda y: {"output": y.numpy()[None]})


def make_layer(row: Row, parameters: Mapping[str, Array]) -> Any:
    """Return the layer; its two biases are the sum in bptt and 0, except for n of the GRU."""
    kinds = {"rnn": torch.nn.RNN, "lstm": torch.nn.LSTM, "gru": torch.nn.GRU}
    layer: Any = kinds[row.kind](
        row.input_size,
        row.hidden_size,
        num_layers=row.num_layers,
        bidirectional=row.directions == 2,
        dtype=getattr(torch, row.dtype),
    )
    values = {}
    for n, suffix in layer_directions(row):
        place = f"_l{n}{suffix}"
        for name in (f"weight_ih{place}", f"weight_hh{place}"):
            values[name] = torch.tensor(parameters[name])
        values[f"bias_ih{place}"] = torch.tensor(parameters[f"bias{place}"])
        values[f"bias_hh{place}"] = torch.zeros_like(values[f"bias_ih{place}"])
        if row.kind == "gru":
            bias = torch.tensor(parameters[f"bias_hn{place}"])
            values[f"bias_hh{place}"][2 * row.hidden_size :] = bias
    layer.load_state_dict(values)
    return layer


def parameter_gradients(row: Row, gradients: Mapping[str, Array]) -> dict[str, Array]:
    """Return the gradients of PyTorch by their names in bptt."""
    found = {}
    for n, suffix in layer_directions(row):
        place = f"_l{n}{suffix}"
        for name in (f"weight_ih{place}", f"weight_hh{place}"):
            found[name] = gradients[name]
        found[f"bias{place}"] = gradients[f"bias_ih{place}"]
        if row.kind == "gru":
            found[f"bias_hn{place}"] = gradients[f"bias_hh{place}"][2 * row.hidden_size :]
    return found


def pack(array: Array, problem: Problem) -> torch.Tensor | PackedSequence:
    """Pack ragged sequences before the timing, as a data loader does."""
    tensor = torch.tensor(array)
    if problem.lengths is None:
        return tensor
    return pack_padded_sequence(tensor, torch.tensor(problem.lengths), enforce_sorted=False)


def unpack(value: torch.Tensor | PackedSequence, row: Row) -> Array:
    if isinstance(value, PackedSequence):
        value, _ = pad_packed_sequence(value, total_length=row.steps)
    return value.detach().numpy()


def create(threads: int) -> list[Peer]:
    return [Torch(threads), TorchCell(threads)]
