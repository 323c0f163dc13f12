"""The training steps that the demo compares: C++ and the NumPy reference compute the same."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("sklearn")

from bptt import LanguageModel
from bptt.cli.numpy_comparison import CppTrainer, NumpyTrainer, WordBatch, compare_training_steps
from cases import CELLS

WORDS = ["deep", "deed", "lean", "read"]


def trained(cell="lstm", dtype="float64", **options):
    options = {"hidden_size": 12, "epochs": 1, "random_state": 0, **options}
    return LanguageModel(cell=cell, dtype=dtype, **options).fit(WORDS)


@pytest.mark.parametrize("cell", CELLS)
def test_training_step_is_that_of_the_numpy_reference(cell):
    model = trained(cell, num_layers=2)
    numpy_trainer, cpp_trainer = NumpyTrainer(model, 0.01), CppTrainer(model, 0.01)
    words = WordBatch.of(model, WORDS)
    assert words.inputs.shape == (4, 5, model.target_encoder_.size)
    for _ in range(3):
        cpp_trainer.train_step(words)
        numpy_trainer.train_step(words)
    for part, module in model.decoder_.modules.items():
        for name, value in module.parameters.items():
            np.testing.assert_allclose(numpy_trainer.parameters[f"{part}/{name}"], value, atol=1e-9)


def test_gradients_are_those_of_the_model():
    model = trained()
    step = model._task().training_step(model._token_dataset(WORDS, None).batch(np.arange(4)))
    for ours, theirs in zip(
        CppTrainer(model, 0.01).gradients(WordBatch.of(model, WORDS)),
        step.gradients,
        strict=True,
    ):
        np.testing.assert_allclose(ours._flat, theirs._flat, atol=1e-12)


def test_comparison_has_times_and_gradient_differences():
    found = compare_training_steps(trained(dtype="float32"), WORDS, 0.01, 0.01)
    assert (found.words, found.length) == (4, 5)
    assert found.difference < 1e-6 < found.largest
    assert found.cpp > 0.0
    assert found.numpy > 0.0
