"""`bptt.torch` within torch.compile, workers of a DataLoader, and distributed training."""

from __future__ import annotations

import gc

import pytest

from child_process import check_done, run_code

torch = pytest.importorskip("torch")
modules = pytest.importorskip("bptt.torch")
nn, _autograd = torch.nn, modules._autograd

KINDS = ["RNN", "LSTM", "GRU"]


@pytest.fixture(autouse=True)
def forget_graphs():
    """The compiler takes a few graphs of one function only."""
    torch._dynamo.reset()


class Model(nn.Module):
    def __init__(self, kind, **options):
        super().__init__()
        self.layer = getattr(modules, kind)(5, 7, **options)
        self.head = nn.Linear(7 * (1 + self.layer.bidirectional), 2)

    def forward(self, x):
        return self.head(torch.tanh(self.layer(x)[0]))


def gradients(model, module, x):
    model.zero_grad()
    x.grad = None
    module(x).square().sum().backward()
    return [x.grad.clone(), *(parameter.grad.clone() for parameter in model.parameters())]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("options", [{}, {"num_layers": 2, "bidirectional": True}])
def test_a_compiled_model_is_one_graph(kind, options):
    torch.manual_seed(0)
    model = Model(kind, batch_first=True, **options)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    for batch, steps in ((4, 6), (3, 9)):
        x = torch.randn(batch, steps, 5, requires_grad=True)
        for a, b in zip(gradients(model, compiled, x), gradients(model, model, x), strict=True):
            assert torch.equal(a, b)
        with torch.no_grad():
            assert torch.equal(compiled(x), model(x))
    gc.collect()
    assert not _autograd._kept  # what forward keeps lives as long as its outputs


def test_dropout_in_a_compiled_model():
    model = Model("GRU", num_layers=2, dropout=0.5)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    x = torch.randn(4, 3, 5, requires_grad=True)
    assert not torch.equal(compiled(x), compiled(x))
    compiled(x).sum().backward()
    model.eval()
    assert torch.equal(compiled(x), model(x))


def test_the_operator_passes_the_checks_of_torch():
    layer = modules.LSTM(3, 4, dtype=torch.float64)
    x = torch.randn(5, 2, 3, dtype=torch.float64, requires_grad=True)
    mode, *sizes, dropout = layer._options()
    arguments = (x, [], list(layer._flat_weights), None, None, mode, list(map(int, sizes)))
    torch.library.opcheck(
        _autograd.recurrence,
        (*arguments, dropout, True),
        test_utils=("test_schema", "test_faketensor"),
    )


LOADER = """
import torch, bptt.torch
from torch.utils.data import DataLoader, Dataset

class Encoded(Dataset):
    def __init__(self):
        torch.manual_seed(0)
        self.layer = bptt.torch.GRU(3, 4, batch_first=True)
    def __len__(self):
        return 8
    def __getitem__(self, i):
        with torch.no_grad():
            return self.layer(torch.full((1, 5, 3), float(i)))[0][0]

if __name__ == "__main__":
    data = Encoded()
    expected = torch.stack([data[i] for i in range(8)])
    for context in ("fork", "spawn"):
        loader = DataLoader(data, batch_size=4, num_workers=2, multiprocessing_context=context)
        assert torch.equal(torch.cat(list(loader)), expected)
    print("done")
"""

DISTRIBUTED = """
import os, sys, torch, bptt.torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

def run(rank, port):
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    dist.init_process_group("gloo", rank=rank, world_size=2)
    torch.manual_seed(0)
    layer = bptt.torch.LSTM(3, 4, dtype=torch.float64)
    x = torch.randn(5, 4, 3, dtype=torch.float64)
    layer(x)[0].square().mean().backward()
    expected = [p.grad.clone() for p in layer.parameters()]
    layer.zero_grad()
    model = DistributedDataParallel(layer)
    model(x[:, 2 * rank : 2 * rank + 2])[0].square().mean().backward()
    for parameter, gradient in zip(layer.parameters(), expected):
        torch.testing.assert_close(parameter.grad, gradient)
    dist.destroy_process_group()

if __name__ == "__main__":
    import socket
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    torch.multiprocessing.spawn(run, (port,), nprocs=2)
    print("done")
"""


@pytest.mark.parametrize("script", [LOADER, DISTRIBUTED], ids=["loader", "distributed"])
def test_in_other_processes(script, tmp_path):
    path = tmp_path / "script.py"  # a file, which spawned processes import
    path.write_text(script)
    check_done(
        run_code("import runpy, sys; runpy.run_path(sys.argv[1], run_name='__main__')", path)
    )
