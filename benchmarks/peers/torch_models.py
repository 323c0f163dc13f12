"""Whole models of PyTorch, eager; ragged batches are packed before the timing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch.nn import functional
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from grid import Array
from models import CLASSIFIER, ENCODER_DECODER, LEARNING_RATE, MAX_NORM, ModelProblem, ModelRow
from peers.base import Peer, Task
from peers.torch_layers import VERSION, make_layer, parameter_gradients


class TorchModels(Peer):
    """Adam as PyTorch chooses its implementation."""

    name = family = "torch"
    version = VERSION
    fused: bool | None = None

    def __init__(self, threads: int) -> None:
        super().__init__(threads)
        torch.set_num_threads(threads)

    def supports(self, row: Any) -> bool:
        return True

    def build(self, row: Any, problem: Any) -> Task:
        make = EncoderDecoder if row.task == ENCODER_DECODER else Chain
        network = make(row, problem)
        if row.mode == "inference":
            network.eval()

            def infer() -> Any:
                with torch.inference_mode():
                    return network()

            return Task(infer, lambda logits: {"output": network.padded(logits)})
        optimizer = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE, fused=self.fused)
        first: dict[str, Array] = {}

        def update() -> Any:
            optimizer.zero_grad()
            loss = functional.cross_entropy(network(), network.targets)
            loss.backward()
            if not first:
                first["loss"] = loss.detach().numpy().copy()
                first.update(network.gradients())
            torch.nn.utils.clip_grad_norm_(network.parameters(), MAX_NORM)
            optimizer.step()
            return first

        return Task(update, lambda found: found)


class TorchModelsFused(TorchModels):
    """Adam in one pass over the parameters."""

    name = "torch fused"
    fused = True

    def supports(self, row: Any) -> bool:
        return bool(row.mode == "training")


class Network(torch.nn.Module):
    """Base class: parts by their names, with data bound to them."""

    targets: torch.Tensor  # of the rows of the logits

    def __init__(self, row: ModelRow, problem: ModelProblem) -> None:
        super().__init__()
        self.row, self.problem = row, problem
        self.parts = torch.nn.ModuleDict(
            {part: make_part(row, part, arrays) for part, arrays in problem.parameters.items()}
        )

    def gradients(self) -> dict[str, Array]:
        """Return the gradients by their names in bptt."""
        found: dict[str, Array] = {}
        for part, module in self.parts.items():
            own = {name: p.grad.numpy().copy() for name, p in module.named_parameters()}
            if part.endswith("recurrent"):
                own = parameter_gradients(self.row.layers, own)
            found.update({f"{part}.{name}": value for name, value in own.items()})
        return found


class Chain(Network):
    """Embedding, recurrent layers and output layer, time-major, without padding."""

    def __init__(self, row: ModelRow, problem: ModelProblem) -> None:
        super().__init__(row, problem)
        self.ids = pack(problem.ids, problem.lengths)
        targets = problem.targets
        if row.task == CLASSIFIER:
            self.targets = torch.tensor(targets).long()
        else:
            packed = pack(targets, problem.lengths)
            flat = packed.data if isinstance(packed, PackedSequence) else packed.flatten()
            self.targets = flat.long()

    def forward(self) -> torch.Tensor:
        parts, ids = self.parts, self.ids
        x: Any
        if isinstance(ids, PackedSequence):
            x = ids._replace(data=parts["embedding"](ids.data))
        else:
            x = parts["embedding"](ids)
        h, state = parts["recurrent"](x)
        if self.row.task == CLASSIFIER:
            final = state[0] if isinstance(state, tuple) else state
            rows = torch.cat(list(final[-self.row.layers.directions :]), dim=-1)
        else:
            rows = h.data if isinstance(h, PackedSequence) else h.flatten(0, 1)
        logits: torch.Tensor = parts["output"](rows)
        return logits

    def padded(self, logits: torch.Tensor) -> Array:
        """Return the logits of bptt: (B, T, K), or (B, K)."""
        if self.row.task == CLASSIFIER:
            return logits.numpy()
        if isinstance(self.ids, PackedSequence):
            packed = self.ids._replace(data=logits)
            return pad_packed_sequence(packed, batch_first=True)[0].numpy()
        return logits.unflatten(0, self.ids.shape).transpose(0, 1).numpy()


class EncoderDecoder(Network):
    """Encoder and decoder with dot attention; the output layer reads the valid steps alone."""

    def __init__(self, row: ModelRow, problem: ModelProblem) -> None:
        super().__init__(row, problem)
        assert problem.lengths is not None
        assert problem.decoder_ids is not None
        assert problem.padding is not None
        self.sources = pack(problem.ids, problem.lengths)
        self.inputs = pack(problem.decoder_ids, problem.target_lengths)
        steps = torch.arange(int(problem.lengths.max()))
        self.no_key = (steps >= torch.tensor(problem.lengths)[:, None])[:, None]  # (B, 1, T)
        self.valid = torch.tensor(~problem.padding)
        self.targets = torch.tensor(problem.targets).long()[self.valid]

    def forward(self) -> torch.Tensor:
        parts = self.parts
        x = self.sources._replace(data=parts["encoder-embedding"](self.sources.data))
        outputs, state = parts["encoder-recurrent"](x)
        x = self.inputs._replace(data=parts["decoder-embedding"](self.inputs.data))
        h, _ = parts["decoder-recurrent"](x, state)
        memory, _ = pad_packed_sequence(outputs, batch_first=True)
        queries, _ = pad_packed_sequence(h, batch_first=True)
        scores = queries @ memory.transpose(1, 2)
        weights = scores.masked_fill(self.no_key, -torch.inf).softmax(-1)
        rows = torch.cat([queries, weights @ memory], dim=-1)[self.valid]
        logits: torch.Tensor = parts["decoder-output"](rows)
        return logits

    def padded(self, logits: torch.Tensor) -> Array:
        """Return the logits of bptt: (B, S, V)."""
        found = torch.zeros(*self.valid.shape, logits.shape[-1], dtype=logits.dtype)
        found[self.valid] = logits
        return found.numpy()


def make_part(row: ModelRow, part: str, parameters: Mapping[str, Array]) -> torch.nn.Module:
    if part.endswith("recurrent"):
        return make_layer(row.layers, parameters)
    values = {name: torch.tensor(value) for name, value in parameters.items()}
    if part.endswith("embedding"):
        return torch.nn.Embedding.from_pretrained(values["weight"], freeze=False)
    linear = torch.nn.Linear(row.output_inputs, row.outputs, dtype=getattr(torch, row.dtype))
    linear.load_state_dict(values)
    return linear


def pack(array: Array, lengths: Array | None) -> Any:
    """(B, T) to time-major (T, B), or to a packed sequence."""
    tensor = torch.tensor(array.T.copy())
    if lengths is None:
        return tensor
    return pack_padded_sequence(tensor, torch.tensor(lengths), enforce_sorted=False)


def create(threads: int) -> list[Peer]:
    return [TorchModels(threads), TorchModelsFused(threads)]
