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
