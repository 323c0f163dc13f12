"""Errors of use, and checks that raise them before the work begins."""

from __future__ import annotations

import os
import tempfile
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path


class CommandError(Exception):
    """Error that the user can correct: its sentence is printed, and the exit code is 2."""


def require_packages(*modules: str, extra: str = "train") -> None:
    """Import modules that are needed later.

    Imported early, so that Ctrl-C during the work does not hit an import.

    Raises
    ------
    CommandError
        If a package is not installed.
    """
    packages = dict.fromkeys(name.partition(".")[0] for name in modules)
    missing = [name for name in packages if find_spec(name) is None]
    missing = ["scikit-learn" if name == "sklearn" else name for name in missing]
    if missing:
        raise CommandError(f"needs {' and '.join(missing)}: pip install 'bptt[{extra}]'")
    for name in modules:
        import_module(name)


def check_output_path(path: Path, source: Path | None, *, overwrite: bool) -> None:
    """Check that a file can be written at `path`.

    Raises
    ------
    CommandError
        If `path` is a directory, the input file `source`, write-protected, in a missing directory,
        or an existing file and `overwrite` is False.
    """
    try:
        if path.is_dir():
            raise CommandError(f"cannot save {path}: it is a directory")
        if source is not None and path.exists() and path.samefile(source):
            raise CommandError(f"cannot save {path}: it is the input file")
        if path.exists() and not overwrite:
            raise CommandError(f"{path} exists: use --overwrite, or another name with --output")
        if path.exists() and not os.access(path, os.W_OK):
            raise CommandError(f"cannot save {path}: it is write-protected")
        # Saving writes a temporary file into the same directory.
        with tempfile.NamedTemporaryFile(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent):
            pass
    except OSError as error:
        raise CommandError(f"cannot save {path}: {error.strerror}") from error
