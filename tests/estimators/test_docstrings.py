"""Docstrings of estimators: complete, in the order of the signature, consistent between classes."""

from __future__ import annotations

import inspect

import numpy as np
import pytest

pytest.importorskip("sklearn")
pytest.importorskip("safetensors")

import bptt
from bptt import estimators
from numpydoc import methods, parameters, sections, signature
from tables import Table

CLASSES = [getattr(estimators, name) for name in estimators.__all__ if name != "load_estimator"]
DIFFERENT = {"bidirectional", "learn_initial_state", "scale"}  # their meaning depends on the class
DEFAULTS = {("SequenceForecaster", "scale"): True}
METHODS = {
    f"{kind.__name__}.{name}": method for kind in CLASSES for name, method in methods(kind).items()
}


@pytest.mark.parametrize("kind", CLASSES)
def test_documented_parameters_are_those_of_the_constructor(kind):
    assert parameters(kind) == signature(kind)


@pytest.mark.parametrize("kind", [c for c in CLASSES if not c.__name__.startswith("Online")])
def test_common_parameters_have_the_same_description_and_default(kind):
    common, own = sections(estimators.SequenceEstimator), sections(kind)
    for name, description in common["Parameters"].items():
        default = inspect.signature(estimators.SequenceEstimator).parameters[name].default
        expected = DEFAULTS.get((kind.__name__, name), default)
        assert inspect.signature(kind).parameters[name].default == expected
        if name not in DIFFERENT:
            assert own["Parameters"][name] == description, name
    assert list(own["Parameters"])[: len(common["Parameters"])] == list(common["Parameters"])


@pytest.mark.parametrize("name", METHODS)
def test_documented_parameters_are_those_of_the_method(name):
    method = METHODS[name]
    assert parameters(method) == signature(method)
    found = sections(method)
    assert ("Returns" in found) == (inspect.signature(method).return_annotation != "None")
    assert "Raises" in found
    for section in ("Parameters", "Returns", "Raises"):
        for entry, text in found.get(section, {}).items():
            assert text.strip() or section == "Returns", f"{section}: {entry}"


def test_decoding_arguments_are_the_same_in_all_estimators():
    generating = (estimators.EncoderDecoder, estimators.LanguageModel, estimators.SequenceGenerator)
    arguments = {
        "predict": ("beam", "max_length", "length_penalty"),
        "beam_search": ("beam", "count", "max_length", "length_penalty"),
        "sample": ("max_length", "temperature", "top_k", "top_p", "random_state"),
    }
    for verb, names in arguments.items():
        for kind in generating:
            most_likely = "complete" if kind is estimators.LanguageModel else "predict"
            method = getattr(kind, most_likely if verb == "predict" else verb)
            expected = inspect.signature(getattr(estimators.EncoderDecoder, verb)).parameters
            found = inspect.signature(method).parameters
            assert [name for name in found if name in names] == list(names)
            for name in names:
                assert found[name].default == expected[name].default
                assert found[name].kind == inspect.Parameter.KEYWORD_ONLY


TEXTS = ["ab", "ba", "abab", "b"]
ARRAYS = [Table(np.ones((len(text), 2)), ["x", "y"]) for text in TEXTS]
DATA = {
    "SequenceClassifier": (ARRAYS, [0, 1, 0, 1]),
    "SequenceRegressor": (ARRAYS, [0.5, 1.0, 2.0, 0.0]),
    "SequenceForecaster": (np.arange(30.0),),
    "SequenceTagger": (ARRAYS, TEXTS),
    "LanguageModel": (TEXTS,),
    "SequenceGenerator": ([0, 1, 2, 3], TEXTS),
    "EncoderDecoder": (ARRAYS, TEXTS),
}


@pytest.mark.parametrize("name", DATA)
def test_documented_attributes_are_those_of_a_loaded_estimator(name, tmp_path):
    kind = getattr(bptt, name)
    kind(hidden_size=4, epochs=1, random_state=0).fit(*DATA[name]).save(tmp_path / "model")
    model = kind.load(tmp_path / "model")
    fitted = {name for name in dir(model) if name.endswith("_") and not name.startswith("_")}
    assert set(sections(kind)["Attributes"]) == fitted
    for text in sections(kind)["Attributes"].values():
        assert "\n" in text  # type and description
