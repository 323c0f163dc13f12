"""`bptt.torch` on the samples with which PyTorch tests its own modules, wrong ones among them."""

from __future__ import annotations

import copy

import pytest

torch = pytest.importorskip("torch")
modules = pytest.importorskip("bptt.torch")
# Not public, and it needs what PyTorch's own tests need: expecttest.
common = pytest.importorskip("torch.testing._internal.common_modules", exc_type=ImportError)

pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")

INFOS = {
    info.module_cls.__name__: info
    for info in common.module_db
    if info.module_cls in (torch.nn.RNN, torch.nn.LSTM, torch.nn.GRU)
}
every_kind = pytest.mark.parametrize("kind", INFOS)
every_dtype = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])


def samples(kind, dtype):
    info, arguments = INFOS[kind], {"device": "cpu", "dtype": dtype, "requires_grad": True}
    given = info.module_inputs_func(info, training=True, **arguments)
    return [sample for sample in given if sample.forward_input is not None]


def flat(value):
    """The tensors of an output."""
    if isinstance(value, torch.nn.utils.rnn.PackedSequence):
        return [value.data]
    if isinstance(value, torch.Tensor):
        return [value]
    return [tensor for part in value for tensor in flat(part)]


@every_kind
@every_dtype
def test_samples(kind, dtype):
    """Of float32 the error of PyTorch itself, against float64, is up to 2e-5."""
    torch.manual_seed(0)
    found = samples(kind, dtype)
    assert len(found) >= 16
    for sample in found:
        made, given = sample.constructor_input, sample.forward_input
        theirs = INFOS[kind].module_cls(*made.args, **made.kwargs, dtype=dtype)
        ours = getattr(modules, kind)(*made.args, **made.kwargs, dtype=dtype)
        ours.load_state_dict(theirs.state_dict())
        outputs = []
        for module in (theirs, ours):
            inputs = copy.deepcopy(given)
            y = flat(module(*inputs.args, **inputs.kwargs))
            sum(part.square().sum() for part in y).backward()
            gradients = [parameter.grad for parameter in module.parameters()]
            gradients += [leaf.grad for leaf in flat(inputs.args) if leaf.grad is not None]
            outputs.append([*y, *gradients])
        for a, b in zip(*outputs, strict=True):
            scale = float(a.detach().abs().max())
            tolerance = {torch.float32: 5e-5, torch.float64: 1e-12}[dtype] * scale
            torch.testing.assert_close(b, a, rtol=0, atol=tolerance)


@every_kind
@every_dtype
def test_wrong_samples(kind, dtype):
    info = INFOS[kind]
    given = info.module_error_inputs_func(
        info, device="cpu", dtype=dtype, requires_grad=False, training=True
    )
    assert given
    for sample in given:
        made = sample.module_error_input.constructor_input
        if "CONSTRUCTION" in str(sample.error_on):
            with pytest.raises(sample.error_type, match=sample.error_regex):
                getattr(modules, kind)(*made.args, **made.kwargs)
            continue
        module = getattr(modules, kind)(*made.args, **{"dtype": dtype, **made.kwargs})
        inputs = sample.module_error_input.forward_input
        with pytest.raises(sample.error_type, match=sample.error_regex):
            module(*inputs.args, **inputs.kwargs)


@every_kind
def test_backward_more_than_once(kind):
    module = getattr(modules, kind)(10, 20, num_layers=2, dtype=torch.float64)
    x = torch.randn(5, 6, 10, dtype=torch.float64, requires_grad=True)
    y = module(x)[0].sum()
    leaves = [x, *module.parameters()]
    first = torch.autograd.grad(y, leaves, retain_graph=True)
    for _ in range(3):
        for a, b in zip(torch.autograd.grad(y, leaves, retain_graph=True), first, strict=True):
            assert torch.equal(a, b)
