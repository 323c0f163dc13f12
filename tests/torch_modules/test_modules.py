"""`bptt.torch` against `torch.nn`: outputs, gradients, errors, and what surrounds a module."""

from __future__ import annotations

import copy
import io
import itertools
import pickle

import pytest

import bptt
from bptt._core import loader

torch = pytest.importorskip("torch")
modules = pytest.importorskip("bptt.torch")
nn, rnn = torch.nn, torch.nn.utils.rnn

# PyTorch's own, which oneDNN does not run:
pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")

KINDS = ["RNN", "LSTM", "GRU"]
TOLERANCES = {torch.float32: 1e-5, torch.float64: 1e-12}  # relative to the largest value
INPUT, HIDDEN, LENGTHS = 5, 7, (4, 6, 1, 6)
OPTIONS = [
    {},
    {"bias": False},
    {"num_layers": 3},
    {"bidirectional": True, "batch_first": True},
    {"num_layers": 2, "bidirectional": True},
    {"nonlinearity": "relu", "num_layers": 2},
    {"proj_size": 3, "num_layers": 2, "bidirectional": True},
    {"proj_size": 2, "bias": False},
]


def fits(kind, options):
    of = {"nonlinearity": "RNN", "proj_size": "LSTM"}
    return all(of.get(name, kind) == kind for name in options)


CASES = [(kind, options) for kind in KINDS for options in OPTIONS if fits(kind, options)]
every_case = pytest.mark.parametrize(("kind", "options"), CASES)
every_kind = pytest.mark.parametrize("kind", KINDS)
every_dtype = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])


def pair(kind, dtype=torch.float64, **options):
    """Return a module of `torch.nn` and ours, with the same weights."""
    torch.manual_seed(0)
    theirs = getattr(nn, kind)(INPUT, HIDDEN, dtype=dtype, **options)
    ours = getattr(modules, kind)(INPUT, HIDDEN, dtype=dtype, **options)
    ours.load_state_dict(theirs.state_dict())
    return theirs, ours


def inputs(module, dtype, form, state):
    """Return x, the initial state, and the leaves that they come from."""
    torch.manual_seed(1)
    rows = module.num_layers * (1 + module.bidirectional)
    sizes = [module.proj_size or HIDDEN, HIDDEN][: 1 + (module.mode == "LSTM")]
    batch = () if form == "unbatched" else (len(LENGTHS),)
    hx = [torch.randn(rows, *batch, n, dtype=dtype, requires_grad=True) for n in sizes]
    if form == "packed":
        leaves = [torch.randn(n, INPUT, dtype=dtype, requires_grad=True) for n in LENGTHS]
        x = rnn.pack_sequence(leaves, enforce_sorted=False)
    else:
        steps = max(LENGTHS)
        shape = (*batch, steps) if module.batch_first else (steps, *batch)
        x = torch.randn(*shape, INPUT, dtype=dtype, requires_grad=True)
        leaves = [x]
    if not state:
        return x, None, leaves
    return x, hx[0] if len(hx) == 1 else tuple(hx), leaves + hx


def everything(module, dtype, form="padded", state=True):
    """Return output, final state and the gradients of all leaves and parameters."""
    x, hx, leaves = inputs(module, dtype, form, state)
    y, last = module(x, hx)
    assert isinstance(y, rnn.PackedSequence) == (form == "packed")
    y = y.data if form == "packed" else y
    found = [y, *(last if isinstance(last, tuple) else (last,))]
    loss = sum(
        (part * torch.linspace(-1, 1, part.numel(), dtype=dtype).view_as(part)).sum()
        for part in found
    )
    return [*found, *torch.autograd.grad(loss, [*leaves, *module.parameters()])]


def assert_equal(found, expected, dtype):
    for a, b in zip(found, expected, strict=True):
        assert a.shape == b.shape
        assert a.dtype == b.dtype
        scale = max(1.0, float(b.detach().abs().max()))
        torch.testing.assert_close(a, b, rtol=0, atol=TOLERANCES[dtype] * scale)


@every_case
@every_dtype
@pytest.mark.parametrize("form", ["padded", "packed", "unbatched"])
@pytest.mark.parametrize("state", [False, True])
def test_outputs_and_gradients_are_those_of_torch(kind, options, dtype, form, state):
    theirs, ours = pair(kind, dtype, **options)
    expected = everything(theirs, dtype, form, state)
    assert_equal(everything(ours, dtype, form, state), expected, dtype)


@every_case
def test_gradcheck(kind, options):
    _, module = pair(kind, **options)
    x, hx, _ = inputs(module, torch.float64, "padded", True)
    states = hx if isinstance(hx, tuple) else (hx,)

    def run(x, *rest):
        state = rest[: len(states)]
        y, last = module(x, state if module.mode == "LSTM" else state[0])
        return (y, *(last if module.mode == "LSTM" else (last,)))

    assert torch.autograd.gradcheck(run, (x, *states, *module.parameters()))


@every_case
@pytest.mark.parametrize("form", ["padded", "packed"])
def test_inference_is_the_same(kind, options, form):
    theirs, ours = pair(kind, **options)
    x, hx, _ = inputs(ours, torch.float64, form, True)
    for context in (torch.no_grad, torch.inference_mode):
        with context():
            y, _ = ours(x, hx)
            expected, _ = theirs(x, hx)
        assert not y.data.requires_grad
        torch.testing.assert_close(y.data, expected.data, rtol=0, atol=1e-12)


@every_kind
def test_a_module_is_written_and_read_like_that_of_torch(kind):
    theirs, ours = pair(kind, num_layers=2, bidirectional=True)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert repr(ours) == repr(theirs)
    x, hx, _ = inputs(ours, torch.float64, "padded", True)
    expected = ours(x, hx)[0]
    file = io.BytesIO()
    torch.save(ours, file)
    file.seek(0)
    copies = [
        copy.deepcopy(ours),
        pickle.loads(pickle.dumps(ours)),
        torch.load(file, weights_only=False),
    ]
    for module in copies:
        assert torch.equal(module(x, hx)[0], expected)
    copies[0].weight_ih_l0.data.zero_()
    assert torch.equal(ours(x, hx)[0], expected)
    theirs.load_state_dict(ours.state_dict())


@every_kind
def test_changed_weights_count(kind):
    """Also where a tensor's version does not say so."""
    theirs, ours = pair(kind)
    x, hx, _ = inputs(ours, torch.float64, "padded", True)
    for change in (
        lambda module: module.weight_hh_l0.data.mul_(0.5),
        lambda module: module.bias_hh_l0.data[3:4].fill_(2.0),
        lambda module: setattr(module, "weight_ih_l0", nn.Parameter(0.3 * module.weight_ih_l0)),
        lambda module: nn.utils.vector_to_parameters(
            0.9 * nn.utils.parameters_to_vector(module.parameters()), module.parameters()
        ),
    ):
        for module in (theirs, ours):
            change(module)
            module(x, hx)
        with torch.no_grad():
            torch.testing.assert_close(ours(x, hx)[0], theirs(x, hx)[0], rtol=0, atol=1e-12)


@every_kind
def test_training_steps_are_the_same(kind):
    losses = []
    for module in pair(kind, num_layers=2):
        head = nn.Linear(HIDDEN, 2, dtype=torch.float64)
        with torch.no_grad():
            for parameter in head.parameters():
                parameter.fill_(0.1)
        optimizer = torch.optim.Adam([*module.parameters(), *head.parameters()], lr=0.01)
        x, _, _ = inputs(module, torch.float64, "padded", False)
        found = []
        for _ in range(20):
            optimizer.zero_grad()
            loss = (head(module(x.detach())[0]) - 1.0).square().mean()
            loss.backward()
            nn.utils.clip_grad_norm_(module.parameters(), 0.5)
            optimizer.step()
            found.append(loss.item())
        losses.append(found)
    assert losses[1] == pytest.approx(losses[0], rel=1e-12)


def test_gradients_share_no_memory():
    """Optimizers and clipping change them in place."""
    _, module = pair("GRU", num_layers=2)
    module(torch.ones(3, 2, INPUT, dtype=torch.float64))[0].sum().backward()
    gradients = [parameter.grad for parameter in module.parameters()]
    before = [gradient.clone() for gradient in gradients]
    for i, gradient in enumerate(gradients):
        gradient.zero_()
        for other, value in itertools.islice(zip(gradients, before, strict=True), i + 1, None):
            assert torch.equal(other, value)


def test_gradients_are_of_the_weights_of_the_forward_pass():
    _, module = pair("LSTM")
    x = torch.ones(3, 2, INPUT, dtype=torch.float64, requires_grad=True)
    expected = torch.autograd.grad(module(x)[0].sum(), x)[0]
    y = module(x)[0].sum()
    module.weight_ih_l0.data.mul_(2.0)
    module(x)
    assert torch.equal(torch.autograd.grad(y, x)[0], expected)


def test_dropout_follows_the_generator_of_torch():
    module = modules.GRU(INPUT, 64, num_layers=2, dropout=0.5)
    x = torch.ones(3, 2, INPUT)
    torch.manual_seed(3)
    first, second = module(x)[0], module(x)[0]
    torch.manual_seed(3)
    assert torch.equal(module(x)[0], first)
    assert not torch.equal(first, second)
    with torch.no_grad():
        assert not torch.equal(module(x)[0], module(x)[0])  # it is in training mode
    module.eval()
    expected = nn.GRU(INPUT, 64, num_layers=2)
    expected.load_state_dict(module.state_dict())
    torch.testing.assert_close(module(x)[0], expected(x)[0], rtol=0, atol=1e-6)


def test_frozen_weights_and_parts_of_the_output():
    theirs, ours = pair("LSTM", num_layers=2)
    x = torch.randn(4, 3, INPUT, dtype=torch.float64)
    for module in (theirs, ours):
        module.weight_ih_l0.requires_grad_(False)
        _, (h, c) = module(x)
        (h[1].sum() + 2 * c[0].sum()).backward()  # nothing of the output itself
    assert ours.weight_ih_l0.grad is None
    for ours_, theirs_ in zip(ours.parameters(), theirs.parameters(), strict=True):
        if theirs_.grad is not None:
            torch.testing.assert_close(ours_.grad, theirs_.grad, rtol=0, atol=1e-12)


def test_views_and_strides():
    theirs, ours = pair("GRU", batch_first=True)
    x = torch.randn(INPUT, 6, 8, dtype=torch.float64).permute(2, 1, 0)[::2, 1:]
    g = torch.randn(HIDDEN, 5, 4, dtype=torch.float64).permute(2, 1, 0)
    found = []
    for module in (theirs, ours):
        y, _ = module(x)
        found.append([y, *torch.autograd.grad(y, list(module.parameters()), g)])
    assert_equal(found[1], found[0], torch.float64)


def test_what_the_kernels_do_not_have_runs_in_torch():
    theirs, ours = pair("LSTM", torch.bfloat16)
    x = torch.randn(3, 2, INPUT, dtype=torch.bfloat16)
    assert torch.equal(ours(x)[0], theirs(x)[0])
    theirs, ours = pair("GRU", torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        assert ours(x.float())[0].dtype == theirs(x.float())[0].dtype
    meta = modules.RNN(INPUT, HIDDEN, device="meta")
    assert meta(torch.zeros(3, 2, INPUT, device="meta"))[0].device.type == "meta"


def test_the_number_of_threads_is_that_of_torch(monkeypatch):
    seen = []
    infer = loader.kernels.infer

    class Kernels:
        def __getattr__(self, name):
            return getattr(kernels, name)

        def infer(self, *arguments):
            seen.append(bptt.get_num_threads())
            return infer(*arguments)

    kernels = loader.kernels
    monkeypatch.setattr(loader, "kernels", Kernels())
    before, own = torch.get_num_threads(), bptt.get_num_threads()
    try:
        torch.set_num_threads(1)
        with torch.no_grad():
            modules.GRU(INPUT, HIDDEN)(torch.zeros(3, 2, INPUT))
    finally:
        torch.set_num_threads(before)
    assert seen == [1]
    assert bptt.get_num_threads() == own


# ---- errors --------------------------------------------------------------------------------------

X = torch.zeros(3, 2, INPUT)
WRONG = {
    "dtype": (torch.zeros(3, 2, INPUT, dtype=torch.float64), None),
    "features": (torch.zeros(3, 2, INPUT + 1), None),
    "dimensions": (torch.zeros(3, 2, 1, INPUT), None),
    "no steps": (torch.zeros(0, 2, INPUT), None),
    "batch of hx": (X, torch.zeros(1, 3, HIDDEN)),
    "layers of hx": (X, torch.zeros(2, 2, HIDDEN)),
    "dimensions of hx": (X, torch.zeros(1, HIDDEN)),
    "dimensions of hx of one sequence": (X[:, 0], torch.zeros(1, 2, HIDDEN)),
}


@every_kind
@pytest.mark.parametrize("name", WRONG)
def test_errors_are_those_of_torch(kind, name):
    theirs, ours = pair(kind, torch.float32)
    x, hx = WRONG[name]
    if hx is not None and kind == "LSTM":
        hx = (hx, hx)
    errors = []
    for module in (theirs, ours):
        with pytest.raises((RuntimeError, ValueError)) as raised:
            module(x, hx)
        errors.append((raised.type, str(raised.value)))
    assert errors[0] == errors[1]


@every_kind
def test_features_of_packed_sequences_are_checked(kind):
    """`torch.nn.LSTM` does not."""
    _, module = pair(kind, torch.float32)
    with pytest.raises(RuntimeError, match=r"input.size\(-1\) must be equal to input_size"):
        module(rnn.pack_sequence([torch.zeros(2, INPUT + 1)]))


@every_kind
def test_wrong_options_are_those_of_torch(kind):
    for arguments, options in [
        ((0, 3), {}),
        ((3, 0), {}),
        ((3, 4), {"num_layers": 0}),
        ((3, 4), {"dropout": 1.5}),
        ((3, 4), {"bias": 1}),
        ((3.0, 4), {}),
        ((3, 4), {"nonlinearity": "sine"}),
        ((3, 4), {"proj_size": 4}),
    ]:
        types = []
        for package in (nn, modules):
            with pytest.raises((TypeError, ValueError)) as raised:
                getattr(package, kind)(*arguments, **options)
            types.append(raised.type)
        assert "proj_size" in options or types[0] == types[1]


def test_state_of_another_dtype_is_refused():
    module = modules.GRU(INPUT, HIDDEN)
    with pytest.raises(RuntimeError, match=r"hx must be torch\.float32 on cpu, as the input, got"):
        module(X, torch.zeros(1, 2, HIDDEN, dtype=torch.float64))


def test_gradients_of_gradients_are_refused():
    module = modules.LSTM(INPUT, HIDDEN)
    x = torch.randn(3, 2, INPUT, requires_grad=True)
    with pytest.raises(RuntimeError, match="no gradients of gradients"):
        torch.autograd.grad(module(x)[0].sum(), x, create_graph=True)


# What PyTorch itself uses.
@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")
@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:FutureWarning")
@pytest.mark.parametrize(
    "transform",
    [
        lambda f: torch.func.grad(lambda x: f(x)[0].sum())(X),
        lambda f: torch.func.vmap(lambda x: f(x)[0])(torch.zeros(2, 3, 2, INPUT)),
        lambda f: torch.func.jvp(lambda x: f(x)[0], (X,), (X,)),
    ],
)
def test_transforms_are_refused(transform):
    with pytest.raises(RuntimeError, match=r"transforms of torch\.func"):
        transform(modules.GRU(INPUT, HIDDEN))


def test_an_output_changed_in_place_is_noticed():
    module = modules.GRU(INPUT, HIDDEN)
    y = module(X)[0]
    y.relu_()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()
