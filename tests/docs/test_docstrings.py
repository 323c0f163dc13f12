"""Docstrings of public functions and classes: their parameters are those of the signature."""

from __future__ import annotations

import inspect
from importlib import import_module
from typing import Any

import pytest

from numpydoc import methods, parameters, sections, signature

PACKAGES = ("bptt.data", "bptt.decoding", "bptt.training")


def public() -> dict[str, Any]:
    """Return name -> public class, function or method with parameters."""
    found: dict[str, Any] = {}
    for package in PACKAGES:
        module = import_module(package)
        for name in module.__all__:
            one = getattr(module, name)
            if inspect.isclass(one):
                found |= {f"{package}.{name}.{key}": m for key, m in methods(one).items()}
                # fields of dataclasses and named tuples may be documented one by one
                if not sections(one).get("Parameters") and '\n    """' in inspect.getsource(one):
                    continue
            if callable(one) and one.__doc__ and not getattr(one, "_is_protocol", False):
                found[f"{package}.{name}"] = one
    return found


PUBLIC = public()


@pytest.mark.parametrize("name", PUBLIC)
def test_documented_parameters_are_those_of_the_signature(name: str) -> None:
    documented = PUBLIC[name]
    assert inspect.cleandoc(documented.__doc__).splitlines()[0].endswith((".", ":"))
    assert parameters(documented) == signature(documented)
