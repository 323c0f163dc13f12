"""Every kind of kernel once, small: for valgrind, under which a call takes fifty times as long."""

from __future__ import annotations

import numpy as np

import bptt

random = np.random.default_rng(0)
x = random.standard_normal((5, 7, 3))
lengths = np.array([7, 3, 0, 5, 1])
ids = random.integers(0, 9, (5, 7))

for kind in (bptt.RNN, bptt.LSTM, bptt.GRU):
    for dtype in ("float32", "float64"):
        options = {"num_layers": 2, "dropout": 0.5, "dtype": dtype, "seed": 0}
        for layer in (
            kind(3, 5, **options),
            kind(3, 5, bidirectional=True, merge="mul", **options),
        ):
            given = x.astype(dtype)
            run = layer.forward(given, lengths=lengths)
            run.backward(run.output, input=True, steps=True)
            assert np.isfinite(layer(given, lengths=lengths)[0]).all()
        layer = kind(3, 5, **options)
        run = layer.forward(given, recompute_every=2)
        run.backward(run.output)
        layer.step(given[:, 0])

embedding, linear, norm = bptt.Embedding(9, 5), bptt.Linear(5, 4), bptt.LayerNorm(5)
embedded = embedding.forward(ids, lengths=lengths)
normalized = norm.forward(embedded.output)
logits = linear.forward(normalized.output)
loss = bptt.softmax_cross_entropy(logits.output, ids % 4, lengths=lengths)
d_normalized = logits.backward(loss.gradient, input=True).input
gradients = embedded.backward(normalized.backward(d_normalized, input=True).input)
for optimizer in (bptt.SGD, bptt.RMSProp, bptt.Adam):
    optimizer(embedding).step(gradients)
for kind in ("dot", "additive"):
    attended = bptt.Attention(5, 5, kind=kind).forward(normalized.output, normalized.output)
    attended.backward(attended.output)
model = bptt.Sequential(bptt.Embedding(9, 5), bptt.GRU(5, 6), bptt.Linear(6, 4))
run = model.forward(ids, lengths=lengths)
run.backward(run.cross_entropy(ids % 4))
print("done")
