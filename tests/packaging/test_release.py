"""Release: edits of version and changelog, commit and tag, in a repository of the test."""

from __future__ import annotations

import datetime
import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
DATE = datetime.date(2026, 12, 1)
PYPROJECT = '[project]\nname = "bptt"\nversion = "0.1.0"\n\n[tool.x]\nminimum-version = "3"\n'
CHANGELOG = """# Changelog

The format follows Keep a Changelog.

## Unreleased

### Added

- Wheels.

## 0.1.0rc1 (2026-11-01)

- The first.
"""

if not (ROOT / ".ci").exists():
    pytest.skip("the sdist has no .ci", allow_module_level=True)


@pytest.fixture(scope="module")
def release() -> ModuleType:
    spec = importlib.util.spec_from_file_location("release", ROOT / ".ci" / "release.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_version_is_in_one_place(release: ModuleType) -> None:
    text = (ROOT / "pyproject.toml").read_text()
    version = release.version_of(text)
    assert release.VERSION.fullmatch(version)
    assert release.with_version(text, version) == text
    sources = [*ROOT.glob("python/**/*.py"), *ROOT.glob("cpp/**/*.[ch]pp"), ROOT / "CMakeLists.txt"]
    assert not [path for path in sources if f'"{version}"' in path.read_text()]


def test_version_changes_alone(release: ModuleType) -> None:
    changed = release.with_version(PYPROJECT, "0.2.0rc1")
    assert changed == PYPROJECT.replace('version = "0.1.0"', 'version = "0.2.0rc1"')
    assert 'minimum-version = "3"' in changed


@pytest.mark.parametrize(
    ("version", "message"),
    [
        ("0.0.9", "the version must not be older than 0.1.0, got 0.0.9"),
        ("0.1.0rc2", "the version must not be older than 0.1.0, got 0.1.0rc2"),
        ("v0.2.0", "the version must look like 1.2.3 or 1.2.3rc1, got 'v0.2.0'"),
        ("0.2", "the version must look like 1.2.3 or 1.2.3rc1, got '0.2'"),
    ],
)
def test_wrong_versions(release: ModuleType, version: str, message: str) -> None:
    with pytest.raises(release.ReleaseError, match=f"^{message}$"):
        release.with_version(PYPROJECT, version)


def test_versions_are_ordered(release: ModuleType) -> None:
    versions = ["0.9.0", "0.10.0a1", "0.10.0b1", "0.10.0rc1", "0.10.0rc10", "0.10.0", "0.10.1"]
    assert sorted(versions, key=release.order) == versions


def test_unreleased_becomes_the_section_of_the_version(release: ModuleType) -> None:
    changed = release.with_release(CHANGELOG, "0.1.0", DATE)
    assert (
        "## Unreleased\n\n## 0.1.0 (2026-12-01)\n\n### Added\n\n- Wheels.\n\n## 0.1.0rc1" in changed
    )
    assert release.notes(changed, "0.1.0") == release.notes(CHANGELOG, "Unreleased")
    assert release.notes(changed, "Unreleased") == ""
    assert changed.replace("## 0.1.0 (2026-12-01)\n\n", "", 1) == CHANGELOG


def test_a_version_is_released_once_and_not_empty(release: ModuleType) -> None:
    changed = release.with_release(CHANGELOG, "0.1.0", DATE)
    with pytest.raises(release.ReleaseError, match=r"has a section for 0.1.0 already$"):
        release.with_release(changed, "0.1.0", DATE)
    with pytest.raises(release.ReleaseError, match="is empty"):
        release.with_release(changed, "0.2.0", DATE)
    with pytest.raises(release.ReleaseError, match="must have one section"):
        release.notes(changed, "0.2.0")


def test_citation(release: ModuleType) -> None:
    text = "cff-version: 1.2.0\nversion: 0.1.0\ndate-released: 2026-01-01\n"
    expected = "cff-version: 1.2.0\nversion: 0.2.0\ndate-released: 2026-12-01\n"
    assert release.with_citation(text, "0.2.0", DATE) == expected
    assert release.with_citation("cff-version: 1.2.0\n", "0.2.0", DATE) == "cff-version: 1.2.0\n"


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    (tmp_path / "pyproject.toml").write_text(PYPROJECT)
    (tmp_path / "CHANGELOG.md").write_text(CHANGELOG)
    for command in (
        ["init", "--quiet"],
        ["config", "user.name", "Test"],
        ["config", "user.email", "test@example.org"],
        ["add", "."],
        ["commit", "--quiet", "--message", "First"],
    ):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    return tmp_path


def test_commit_and_tag(release: ModuleType, repository: Path) -> None:
    release.release(repository, "0.2.0", DATE)
    assert release.git("log", "-1", "--format=%s", root=repository) == "Version 0.2.0"
    assert release.git("rev-list", "-1", "v0.2.0", root=repository) == release.git(
        "rev-parse", "HEAD", root=repository
    )
    assert release.git("status", "--porcelain", root=repository) == ""
    assert release.version_of((repository / "pyproject.toml").read_text()) == "0.2.0"
    with pytest.raises(release.ReleaseError, match=r"the tag v0\.2\.0 exists already"):
        release.release(repository, "0.2.0", DATE)


def test_changes_of_the_tree_stop_a_release(release: ModuleType, repository: Path) -> None:
    (repository / "new").write_text("")
    with pytest.raises(release.ReleaseError, match="has changes"):
        release.release(repository, "0.2.0", DATE)


def test_an_error_writes_nothing(release: ModuleType, repository: Path) -> None:
    (repository / "CHANGELOG.md").write_text("# Changelog\n\n## Unreleased\n")
    with pytest.raises(release.ReleaseError, match="is empty"):
        release.edit(repository, "0.2.0", DATE)
    assert (repository / "pyproject.toml").read_text() == PYPROJECT


def test_jobs_of_the_workflow(release: ModuleType) -> None:
    folder = ROOT / ".github" / "workflows"
    texts = [(folder / f"{name}.yml").read_text("utf-8") for name in ("release", "wheels")]
    jobs = release.workflow(*texts)
    names = [job.partition(":")[0] for job in jobs]
    assert names == ["tag, version and changelog agree", "build", "publish", "GitHub release"]
    assert re.fullmatch("build: sdist; manylinux x86_64; .*; Windows x86_64", jobs[1])
    assert jobs[2].endswith("; Publish, with attestations")


def test_command_line(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / ".ci" / "release.py")]
    run = subprocess.run(
        [*command, "--notes", "Unreleased"], capture_output=True, text=True, check=True
    )
    assert run.stdout.startswith("### ")
    run = subprocess.run(
        [*command, "--check-tag", "v9.9.9"], capture_output=True, text=True, check=False
    )
    assert run.returncode == 1
    assert run.stderr.startswith("release: the tag must be v")
