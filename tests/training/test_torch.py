"""PyTorch as an oracle of training: the same weights, data and optimizer, the same loss curve.

An estimator is fitted, and a callback notes the initial weights, the minibatches and their losses;
PyTorch then goes through the same minibatches. Its second biases stay 0, but for the part of the
GRU's that is our `bias_hn`.
"""

from __future__ import annotations

import numpy as np
import pytest

import bptt
from bptt.data import shuffled_batches

torch = pytest.importorskip("torch")
pytest.importorskip("sklearn")

UPDATES = 200
# With higher rates rounding grows too large in float32: PyTorch then differs from its own float64.
ADAM_RATE, SGD_RATE = 0.005, 0.1
TOLERANCE = {"float32": 1e-4, "float64": 1e-9}
rnn, functional = torch.nn.utils.rnn, torch.nn.functional


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class Recorder:
    """Callback that records initial weights, minibatches and losses."""

    def on_train_begin(self, training):
        self.training, self.losses = training, []
        self.weights = {
            name: {key: value.copy() for key, value in module.parameters.items()}
            for name, module in training.modules.items()
        }

    def on_batch_end(self, training):
        self.losses.append(training.loss)

    def batches(self):
        """The minibatches, in the order of the updates."""
        data, options = self.training.data, self.training.options
        for epoch in range(1, options.epochs + 1):
            order = shuffled_batches(data.lengths, options.batch_size, self.training.seed, epoch)
            yield from map(data.batch, order)


def fitted(kind, X, y, **options):
    """The recorder of a fit of 200 updates."""
    recorder = Recorder()
    common = {"hidden_size": 12, "batch_size": 8, "clip_norm": None, "random_state": 0}
    epochs = UPDATES * common["batch_size"] // len(X)
    kind(**common, epochs=epochs, callbacks=[recorder], **options).fit(X, y)
    assert len(recorder.losses) == UPDATES
    return recorder


def tensor(array):
    return torch.tensor(np.array(array))


def recurrent(kind, weights):
    """PyTorch's layer with our weights; its second bias is fixed at 0, except that of n."""
    columns = weights["weight_ih_l0"].shape[1]
    units = weights["weight_hh_l0"].shape[1]
    layer = kind(
        columns,
        units,
        batch_first=True,
        bidirectional="bias_l0_reverse" in weights,
        dtype=tensor(weights["bias_l0"]).dtype,
    )
    with torch.no_grad():
        for name, parameter in layer.named_parameters():
            if name.startswith("weight"):
                parameter.copy_(tensor(weights[name]))
            elif name.startswith("bias_ih"):
                parameter.copy_(tensor(weights[name.replace("bias_ih", "bias")]))
            else:
                learned = torch.zeros_like(parameter)
                of_n = weights.get(name.replace("bias_hh", "bias_hn"))
                parameter.zero_()
                if of_n is not None:
                    parameter[2 * units :] = tensor(of_n)
                    learned[2 * units :] = 1
                parameter.register_hook(learned.mul)
    return layer


def linear(weights):
    layer = torch.nn.Linear(*reversed(weights["weight"].shape), dtype=tensor(weights["bias"]).dtype)
    layer.load_state_dict({name: tensor(value) for name, value in weights.items()})
    return layer


def embedding(weights):
    return torch.nn.Embedding.from_pretrained(tensor(weights["weight"]), freeze=False)


def packed(x, lengths):
    return rnn.pack_padded_sequence(x, tensor(lengths), batch_first=True, enforce_sorted=False)


def assert_same_curve(recorder, layers, loss_fn, optimizer, dtype):
    parameters = [parameter for layer in layers for parameter in layer.parameters()]
    steps = optimizer(parameters)
    expected = []
    for batch in recorder.batches():
        steps.zero_grad()
        loss = loss_fn(batch)
        loss.backward()
        steps.step()
        expected.append(loss.item())
    assert np.mean(expected[-10:]) < 0.8 * np.mean(expected[:10])  # the loss decreases
    np.testing.assert_allclose(recorder.losses, expected, rtol=TOLERANCE[dtype])


def features(count, dtype):
    """Ragged sequences of four numbers, and at every step which of the first two sums is larger."""
    random = np.random.default_rng(0)
    X = [random.standard_normal((n, 4)).astype(dtype) for n in random.integers(3, 20, count)]
    return X, [(x[:, :2].cumsum(axis=0) > 0) @ [1, 2] for x in X]


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_tagger(dtype):
    X, y = features(80, dtype)
    recorder = fitted(
        bptt.SequenceTagger, X, y, bidirectional=True, learning_rate=ADAM_RATE, dtype=dtype
    )
    of_layer, of_output = recorder.weights.values()
    layer, output = recurrent(torch.nn.LSTM, of_layer), linear(of_output)

    def loss_fn(batch):
        h, _ = rnn.pad_packed_sequence(layer(packed(tensor(batch.x), batch.lengths))[0], True)
        alive = np.arange(batch.x.shape[1]) < batch.lengths[:, np.newaxis]
        return functional.cross_entropy(output(h[tensor(alive)]), tensor(batch.y[alive]).long())

    def optimizer(parameters):
        return torch.optim.Adam(parameters, lr=ADAM_RATE)

    assert_same_curve(recorder, [layer, output], loss_fn, optimizer, dtype)


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_classifier(dtype):
    X, y = features(80, dtype)
    recorder = fitted(
        bptt.SequenceClassifier,
        X,
        [labels[-1] for labels in y],
        cell="gru_reset_after",
        learning_rate=ADAM_RATE,
        dtype=dtype,
    )
    of_layer, of_output = recorder.weights.values()
    layer, output = recurrent(torch.nn.GRU, of_layer), linear(of_output)

    def loss_fn(batch):
        _, h = layer(packed(tensor(batch.x), batch.lengths))
        return functional.cross_entropy(output(h[0]), tensor(batch.y).long())

    def optimizer(parameters):
        return torch.optim.Adam(parameters, lr=ADAM_RATE)

    assert_same_curve(recorder, [layer, output], loss_fn, optimizer, dtype)


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_encoder_decoder(dtype):
    """Teacher forcing, SGD with momentum."""
    random = np.random.default_rng(0)
    X = ["".join(random.choice(list("abcd"), n)) for n in random.integers(1, 9, 80)]
    recorder = fitted(
        bptt.EncoderDecoder,
        X,
        [text[::-1] for text in X],
        embedding_size=6,
        optimizer=lambda modules: bptt.SGD(modules, learning_rate=SGD_RATE, momentum=0.9),
        dtype=dtype,
    )
    of_source, of_encoder, of_target, of_decoder, of_output = recorder.weights.values()
    source, encoder = embedding(of_source), recurrent(torch.nn.LSTM, of_encoder)
    target, decoder = embedding(of_target), recurrent(torch.nn.LSTM, of_decoder)
    output = linear(of_output)

    def loss_fn(batch):
        _, state = encoder(packed(source(tensor(batch.x).long()), batch.lengths))
        written = batch.targets
        h, _ = decoder(target(tensor(written.tokens).long()), state)
        alive = np.arange(h.shape[1]) < written.lengths[:, np.newaxis]
        wanted = tensor(written.targets[alive]).long()
        return functional.cross_entropy(output(h[tensor(alive)]), wanted)

    def optimizer(parameters):
        return torch.optim.SGD(parameters, lr=SGD_RATE, momentum=0.9)

    layers = [source, encoder, target, decoder, output]
    assert_same_curve(recorder, layers, loss_fn, optimizer, dtype)
