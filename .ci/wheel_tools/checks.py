"""Checks of the files of a distribution."""

from __future__ import annotations

import re
import subprocess
import zipfile
from pathlib import Path

from elftools.elf.elffile import ELFFile
from elftools.elf.gnuversions import GNUVerNeedSection

from wheel_tools.commands import ROOT, tool_environment


def newest_glibc(wheel: Path) -> str:
    """Return the newest version of glibc that a symbol of the wheel needs."""
    versions = {(0,)}
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            if ".so" not in Path(name).name:
                continue
            with archive.open(name) as file:
                section = ELFFile(file).get_section_by_name(".gnu.version_r")
                if not isinstance(section, GNUVerNeedSection):
                    continue
                for _, auxiliaries in section.iter_versions():
                    for auxiliary in auxiliaries:
                        found = re.fullmatch(r"GLIBC_([\d.]+)", auxiliary.name)
                        if found:
                            versions.add(tuple(map(int, found[1].split("."))))
    return ".".join(map(str, max(versions)))


def check_files(dist: Path) -> list[str]:
    """Return what the checkers of distributions say against the files."""
    files = [*sorted(dist.glob("*.whl")), *sorted(dist.glob("*.tar.gz"))]
    wheels = [path for path in files if path.suffix == ".whl"]
    commands = [
        ["twine", "check", "--strict", *files],
        ["check-wheel-contents", *wheels],
        ["pydistcheck", "--config", ROOT / "pyproject.toml", *files],
    ]
    problems = []
    for command in commands:
        done = subprocess.run(
            [str(part) for part in command],
            capture_output=True,
            text=True,
            check=False,
            env=tool_environment(),
        )
        print(f"{command[0]}: {'clean' if done.returncode == 0 else 'failed'}")
        if done.returncode:
            problems.append(f"{command[0]}: {done.stdout}{done.stderr}")
    return problems
