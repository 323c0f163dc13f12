"""Makes the files of PyTorch in this folder: ``python tests/importers/data/make_torch.py``.

A network, an input and PyTorch's output, in both formats of `torch.save`.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn


class Tagger(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(5, 3)
        self.encoder = nn.LSTM(3, 2, batch_first=True, bidirectional=True)
        self.decoder = nn.GRU(4, 3, batch_first=True)
        self.output = nn.Linear(3, 2)

    def forward(self, ids):
        encoded, _ = self.encoder(self.embedding(ids))
        decoded, _ = self.decoder(encoded)
        return self.output(decoded)


def main():
    torch.manual_seed(0)
    tagger, ids = Tagger(), torch.randint(0, 5, (2, 6))
    content = {"epoch": 3, "model": tagger.state_dict(), "x": ids, "y": tagger(ids).detach()}
    folder = Path(__file__).parent
    torch.save(content, folder / "torch_zip.pt")
    torch.save(content, folder / "torch_legacy.pt", _use_new_zipfile_serialization=False)


if __name__ == "__main__":
    main()
