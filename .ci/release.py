"""Release of a version, as one command.

    python .ci/release.py 0.2.0            # version, changelog, commit and tag; then push them
    python .ci/release.py 0.2.0 --dry-run  # all files in dist/, and their table; changes no other

The version stands in pyproject.toml alone (and in CITATION.cff, which is rewritten with it). The
section "Unreleased" of CHANGELOG.md becomes that of the version. The push of the tag starts
.github/workflows/release.yml, which builds, tests, attests and publishes.
"""

from __future__ import annotations

import argparse
import datetime
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VERSION = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)((?:a|b|rc)[1-9]\d*)?")


class ReleaseError(Exception):
    """The release cannot be made; its sentence is printed."""


# ---- texts


def version_of(pyproject: str) -> str:
    """Return the version in the text of pyproject.toml."""
    found = re.findall(r'^version = "([^"]*)"$', pyproject, re.M)
    if len(found) != 1:
        raise ReleaseError(f"pyproject.toml must have one line `version = ..`, has {len(found)}")
    return str(found[0])


def order(version: str) -> tuple[int, int, int, tuple[str, int]]:
    """Return a key that sorts versions; a final release follows its candidates."""
    found = VERSION.fullmatch(version)
    if found is None:
        raise ReleaseError(f"the version must look like 1.2.3 or 1.2.3rc1, got {version!r}")
    kind, number = re.fullmatch(r"([a-z]*)(\d*)", found[4] or "z").groups()  # type: ignore[union-attr]
    return int(found[1]), int(found[2]), int(found[3]), (kind, int(number or 0))


def with_version(pyproject: str, version: str) -> str:
    """Return the text of pyproject.toml with another version."""
    old = version_of(pyproject)
    if order(version) < order(old):
        raise ReleaseError(f"the version must not be older than {old}, got {version}")
    return pyproject.replace(f'\nversion = "{old}"\n', f'\nversion = "{version}"\n')


def with_release(changelog: str, version: str, date: datetime.date) -> str:
    """Return the text of the changelog with "Unreleased" as the section of a version."""
    if re.search(rf"^## {re.escape(version)}\b", changelog, re.M):
        raise ReleaseError(f"CHANGELOG.md has a section for {version} already")
    if not notes(changelog, "Unreleased"):
        raise ReleaseError(
            "the section Unreleased of CHANGELOG.md is empty: there is nothing to release"
        )
    return changelog.replace("\n## Unreleased\n", f"\n## Unreleased\n\n## {version} ({date})\n", 1)


def notes(changelog: str, version: str) -> str:
    """Return the text of one section of the changelog."""
    parts = re.split(r"^## ", changelog, flags=re.M)[1:]
    texts = [
        text
        for head, _, text in (part.partition("\n") for part in parts)
        if head.split()[0] == version
    ]
    if len(texts) != 1:
        raise ReleaseError(f"CHANGELOG.md must have one section `## {version}`, has {len(texts)}")
    return texts[0].strip()


def with_citation(citation: str, version: str, date: datetime.date) -> str:
    """Return the text of CITATION.cff with the version and its date, where it has them."""
    citation = re.sub(r"^version: .*$", f"version: {version}", citation, flags=re.M)
    return re.sub(r"^date-released: .*$", f"date-released: {date}", citation, flags=re.M)


def workflow(release: str, wheels: str) -> list[str]:
    """Return what the push of the tag starts: the jobs, with the names of their steps or builds."""
    lines = []
    for job in re.split(r"^  (?=\w+:\n)", release.partition("\njobs:\n")[2], flags=re.M)[1:]:
        (name,) = re.findall(r"^    name: (.*)$", job, re.M)
        parts = re.findall(r"^ +- name: (.*)$", job, re.M)
        if "wheels.yml" in job:
            parts = ["sdist", *re.findall(r"- { name: ([^,]*),", wheels)]
        lines.append(f"{name}: {'; '.join(parts)}" if parts else name)
    return lines


# ---- files


def edit(root: Path, version: str, date: datetime.date) -> list[str]:
    """Rewrite the files of a tree; return their names."""
    edits = {
        "pyproject.toml": lambda text: with_version(text, version),
        "CHANGELOG.md": lambda text: with_release(text, version, date),
        "CITATION.cff": lambda text: with_citation(text, version, date),
    }
    texts = {
        name: change((root / name).read_text("utf-8"))
        for name, change in edits.items()
        if (root / name).exists()
    }
    for name, text in texts.items():  # all of them can be made, so none is written alone
        (root / name).write_text(text, "utf-8")
    return list(texts)


def git(*arguments: str, root: Path = ROOT) -> str:
    """Run git, and return its output."""
    done = subprocess.run(
        ["git", *arguments], cwd=root, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise ReleaseError(f"git {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout.strip()


def release(root: Path, version: str, date: datetime.date) -> None:
    """Make the commit and the tag."""
    if git("status", "--porcelain", root=root):
        raise ReleaseError("the working tree has changes: commit them first")
    if git("tag", "--list", f"v{version}", root=root):
        raise ReleaseError(f"the tag v{version} exists already")
    names = edit(root, version, date)
    git("add", *names, root=root)
    git("commit", "--quiet", "--message", f"Version {version}", root=root)
    git("tag", "--annotate", f"v{version}", "--message", f"bptt {version}", root=root)


def dry_run(version: str, date: datetime.date, options: list[str]) -> int:
    """Release in a copy of the last commit, and build its files into dist/."""
    dist = ROOT / "dist"
    if "--resume" not in options:
        shutil.rmtree(dist, ignore_errors=True)
    with tempfile.TemporaryDirectory() as directory:
        copy = Path(directory, "bptt")
        git("clone", "--quiet", "--no-hardlinks", str(ROOT), str(copy))
        for key in ("user.name", "user.email"):
            git("config", key, git("config", key), root=copy)
        release(copy, version, date)
        print(f"v{version}\n\n{notes((copy / 'CHANGELOG.md').read_text('utf-8'), version)}\n")
        workflows = copy / ".github" / "workflows"
        texts = [(workflows / f"{name}.yml").read_text("utf-8") for name in ("release", "wheels")]
        print(f"The push of v{version} starts release.yml:")
        print(
            *(f"{i}. {job}" for i, job in enumerate(workflow(*texts), 1)), "", sep="\n", flush=True
        )
        # Builds at the same paths as without a release, where a compiler cache finds them.
        command = [copy / ".ci" / "wheels", "--dist", dist, "--work", ROOT / "build" / "wheels"]
        return subprocess.run([*command, *options], check=False).returncode


def check_tag(tag: str) -> None:
    """Check that a tag, the version and the changelog agree."""
    version = version_of((ROOT / "pyproject.toml").read_text("utf-8"))
    if tag != f"v{version}":
        raise ReleaseError(f"the tag must be v{version} as in pyproject.toml, got {tag}")
    notes((ROOT / "CHANGELOG.md").read_text("utf-8"), version)


def main() -> int:
    """Run the command; return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("version", nargs="?", help="the new version, such as 0.2.0")
    parser.add_argument("--dry-run", action="store_true", help="build all files; change nothing")
    parser.add_argument("--notes", metavar="VERSION", help="print a section of the changelog")
    parser.add_argument("--check-tag", metavar="TAG", help="check that tag and version agree")
    arguments, options = parser.parse_known_args()
    if options and not arguments.dry_run:
        parser.error(f"unrecognized arguments: {' '.join(options)}")
    today = datetime.datetime.now(datetime.timezone.utc).date()
    try:
        if arguments.notes:
            print(notes((ROOT / "CHANGELOG.md").read_text("utf-8"), arguments.notes))
        elif arguments.check_tag:
            check_tag(arguments.check_tag)
        elif arguments.version is None:
            parser.error("a version is needed")
        elif arguments.dry_run:
            return dry_run(arguments.version, today, options)
        else:
            if git("branch", "--show-current") != "main":
                raise ReleaseError("releases are made on the branch main")
            release(ROOT, arguments.version, today)
            tag = f"v{arguments.version}"
            print(f"Tagged {tag}. To publish: git push origin main {tag}")
    except ReleaseError as error:
        print(f"release: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
