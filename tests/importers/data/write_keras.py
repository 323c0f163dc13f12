"""Write the files of Keras that the tests of the importers read, with what Keras computes.

`python tests/importers/data/write_keras.py keras` (3, on any backend) writes keras3.zip beside
this script, `.. tf_keras` (2, on TensorFlow) keras2.zip. Weights are random; HDF5 makes files of
30 kB of them, which are mostly 0.
"""

from __future__ import annotations

import io
import os
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

LENGTHS = np.array([6, 4, 1])


def models(keras: Any) -> Iterator[tuple[str, Any, np.ndarray]]:
    """Yield name, model and input."""
    layers, rng = keras.layers, np.random.default_rng(0)
    x = rng.normal(size=(3, 6, 2)).astype(np.float32)
    ids = np.where(np.arange(6) < LENGTHS[:, None], rng.integers(1, 5, size=(3, 6)), 0)
    yield (
        "classifier",
        keras.Sequential(
            [
                layers.Input((None,), dtype="int32"),
                layers.Embedding(5, 3, mask_zero=True, name="tokens"),
                layers.SpatialDropout1D(0.1),
                layers.LSTM(3, return_sequences=True, dropout=0.2),
                layers.LSTM(3, recurrent_activation="hard_sigmoid"),
                layers.Dropout(0.5),
                layers.Dense(2, activation="softmax"),
            ]
        ),
        ids.astype(np.int32),
    )
    start = layers.Input((None, 2))
    y = layers.GRU(3, return_sequences=True, reset_after=False)(start)
    y = layers.Bidirectional(
        layers.SimpleRNN(2, activation="relu", return_sequences=True), merge_mode="ave"
    )(y)
    y = layers.TimeDistributed(layers.Dense(2, activation="tanh"))(y)
    yield "tagger", keras.Model(start, y), x
    gru = layers.GRU(2, use_bias=False, return_sequences=True)
    yield (
        "pooled",
        keras.Sequential(
            [
                layers.Input((None, 2)),
                layers.Bidirectional(gru),
                layers.GlobalMaxPooling1D(),
                layers.LayerNormalization(),
                layers.Dense(3),
                layers.ReLU(),
                layers.Dense(1, activation="sigmoid", use_bias=False),
            ]
        ),
        x,
    )
    yield "nested", nested_sequential(keras), ids.astype(np.int32)
    yield "parts", nested_functional(keras), x


def nested_sequential(keras: Any) -> Any:
    """Return models with layers of equal names, one of them in another."""
    layers = keras.layers
    encoder = keras.Sequential(
        [
            layers.Input((None,), dtype="int32"),
            layers.Embedding(5, 3, mask_zero=True, name="layer"),
            layers.Bidirectional(layers.LSTM(2, return_sequences=True), name="both"),
        ],
        name="encoder",
    )
    inner = keras.Sequential(
        [layers.Input((None, 4)), layers.GRU(3, name="layer"), layers.LayerNormalization()],
        name="inner",
    )
    middle = keras.Sequential(
        [layers.Input((None, 4)), inner, layers.Dense(3, activation="relu", name="dense")],
        name="middle",
    )
    top = [layers.Input((None,), dtype="int32"), encoder, layers.Dropout(0.5), middle]
    return keras.Sequential([*top, layers.Dense(2, activation="softmax", name="layer")])


def nested_functional(keras: Any) -> Any:
    """Return a model of functional ones, whose variables do not have the names of their models."""
    layers = keras.layers
    start = layers.Input((None, 2))
    y = layers.Bidirectional(layers.GRU(3, return_sequences=True), merge_mode="sum")(start)
    inner = keras.Model(start, y, name="inner")
    start = layers.Input((None, 2))
    y = layers.SimpleRNN(2, return_sequences=True)(start)
    y = layers.TimeDistributed(layers.Dense(2, activation="tanh"))(y)
    outer = keras.Model(start, inner(y), name="outer")
    head = keras.Sequential(
        [
            layers.Input((3,)),
            layers.Dense(4, activation="sigmoid"),
            layers.LayerNormalization(),
            layers.Dense(2),
        ],
        name="head",
    )
    start = layers.Input((None, 2))
    y = layers.TimeDistributed(head, name="steps")(outer(start))
    return keras.Model(start, y)


def write(keras: Any, folder: Path) -> None:
    """Write all files into a folder."""
    for name, model, x in models(keras):
        rng = np.random.default_rng(len(name))
        model.set_weights([rng.normal(size=w.shape) for w in model.get_weights()])
        np.savez(folder / f"{name}.npz", x=x, y=model.predict(x, verbose=0))
        model.save(folder / f"{name}.keras")
        model.save(folder / f"{name}.h5", include_optimizer=False)
        model.save_weights(folder / f"{name}.weights.h5")
        if keras.__version__.startswith("2"):  # the format without the names of 3
            model.save_weights(folder / f"{name}-weights.h5")


def main() -> None:
    os.environ.setdefault("KERAS_BACKEND", "torch")
    keras = import_module(sys.argv[1])
    with tempfile.TemporaryDirectory() as name:
        folder, archive = Path(name), io.BytesIO()
        write(keras, folder)
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as content:
            for path in sorted(folder.iterdir()):
                content.writestr(zipfile.ZipInfo(path.name), path.read_bytes(), compress_type=8)
    target = Path(__file__).with_name(f"keras{keras.__version__[0]}.zip")
    target.write_bytes(archive.getvalue())


if __name__ == "__main__":
    main()
