"""Metadata of the package, settings of the wheels, and the actions of the workflows."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

if sys.version_info < (3, 11):
    pytest.skip("tomllib is new in Python 3.11", allow_module_level=True)
import tomllib

ROOT = Path(__file__).parents[2]
PYPROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
BUILT = PYPROJECT["tool"]["cibuildwheel"]["build"].split()
VERSIONS = [re.sub(r"cp3(\d+)t?-\*", r"3.\1", build) for build in BUILT]


def test_wheels_are_built_for_every_version_accepted() -> None:
    accepted = SpecifierSet(PYPROJECT["project"]["requires-python"])
    minors = sorted({int(version.partition(".")[2]) for version in VERSIONS})
    assert minors == list(range(minors[0], minors[-1] + 1))
    assert all(accepted.contains(version) for version in VERSIONS)
    assert not accepted.contains(f"3.{minors[0] - 1}")


@pytest.mark.parametrize("version", sorted(set(VERSIONS)))
def test_one_requirement_on_numpy_applies(version: str) -> None:
    """Its lower bound is the NumPy that .ci/test_wheel.py tests the wheel with."""
    bounds = [
        re.fullmatch(r">=(\d+\.\d+\.\d+)", str(requirement.specifier))
        for requirement in map(Requirement, PYPROJECT["project"]["dependencies"])
        if requirement.name == "numpy"
        and (requirement.marker is None or requirement.marker.evaluate({"python_version": version}))
    ]
    assert len(bounds) == 1
    assert bounds[0] is not None


def test_actions_are_pinned_by_hash() -> None:
    workflows = list((ROOT / ".github" / "workflows").glob("*.yml"))
    if not workflows:
        pytest.skip("the sdist has no workflows")
    uses = [
        line.strip().removeprefix("- ")
        for path in workflows
        for line in path.read_text("utf-8").splitlines()
        if re.match(r"\s*(- )?uses:", line)
    ]
    local = re.compile(r"uses: \./\.github/workflows/\w+\.yml")
    pinned = re.compile(r"uses: [\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+")
    assert uses
    assert not [use for use in uses if not (pinned.fullmatch(use) or local.fullmatch(use))]
    hashes = {use.partition(" #")[0] for use in uses}
    assert len(hashes) == len({use.partition("@")[0] for use in uses})  # one version of each
