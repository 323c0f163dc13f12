"""Features of pictures: how much each part resembles the patches of a codebook.

A. Coates, A. Ng and H. Lee (2011), An analysis of single-layer networks in unsupervised feature
learning: patches are whitened, k-means finds a codebook, and the activation of a code is by how
much it is nearer than the mean code.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import MiniBatchKMeans

PATCH = 6  # pixels
CELLS = 4  # per side
SCALES = {24: 1, 36: 2, 72: 3}  # picture's side in pixels -> stride of the patches

Floats = NDArray[np.float32]


class Codebook:
    """Codes of patches, at one scale."""

    def __init__(self, pictures: NDArray[np.uint8], size: int, codes: int) -> None:
        self.size = size
        patches = self._patches(pictures)
        place = np.random.default_rng(0).integers(0, patches.shape[:3], (60_000, 3))
        sample = _normalized(patches[place[:, 0], place[:, 1], place[:, 2]])
        sample = sample[sample.var(axis=1) > 1e-3]  # the background has no contrast
        self.mean = sample.mean(axis=0)
        variances, axes = np.linalg.eigh(np.cov((sample - self.mean).T))
        self.whitening = (axes / np.sqrt(variances + 0.1) @ axes.T).astype(np.float32)
        means = MiniBatchKMeans(codes, batch_size=2000, n_init=1, max_iter=20, random_state=0)
        self.codes = means.fit((sample - self.mean) @ self.whitening).cluster_centers_

    def activations(self, pictures: NDArray[np.uint8]) -> Floats:
        """Return the mean activations of each cell, (N, CELLS * CELLS, codes)."""
        codes = self.codes.astype(np.float32)
        found = []
        for patches in self._patches(pictures):
            height, width = patches.shape[:2]
            white = (_normalized(patches.reshape(height * width, -1)) - self.mean) @ self.whitening
            squares = (white**2).sum(axis=1)[:, None] - 2 * white @ codes.T
            distances = np.sqrt(np.maximum(squares + (codes**2).sum(axis=1), 0))
            active = np.maximum(distances.mean(axis=1, keepdims=True) - distances, 0)
            rows = np.array_split(active.reshape(height, width, -1), CELLS)
            cells = [cell for row in rows for cell in np.array_split(row, CELLS, axis=1)]
            found.append([cell.mean(axis=(0, 1)) for cell in cells])
        return np.array(found, np.float32)

    def _patches(self, pictures: NDArray[np.uint8]) -> Floats:
        """Return all patches of smaller pictures, (N, rows, columns, 3, PATCH, PATCH)."""
        step = pictures.shape[1] // self.size
        small = pictures.reshape(len(pictures), self.size, step, self.size, step, 3)
        small = small.mean(axis=(2, 4), dtype=np.float32)
        windows = np.lib.stride_tricks.sliding_window_view(small, (PATCH, PATCH), (1, 2))
        stride = SCALES[self.size]
        return windows[:, ::stride, ::stride]


def cells(pictures: NDArray[np.uint8], train: NDArray[np.int64], codes: int) -> Floats:
    """Return the standardized activations of all scales, (N, CELLS * CELLS, features).

    Those of a picture have norm 1.
    """
    scales = [
        np.sqrt(Codebook(pictures[train], size, codes).activations(pictures)) for size in SCALES
    ]
    found = np.concatenate(scales, axis=2)
    found -= found[train].mean(axis=0)
    found /= found[train].std(axis=0) + 0.01
    result: Floats = found / np.linalg.norm(found, axis=(1, 2), keepdims=True)
    return result


def _normalized(patches: Floats) -> Floats:
    """Return patches as rows of mean 0 and, if they have contrast, of variance 1."""
    rows = patches.reshape(len(patches), -1)
    centered = rows - rows.mean(axis=1, keepdims=True)
    result: Floats = centered / np.sqrt(rows.var(axis=1, keepdims=True) + 100)
    return result
