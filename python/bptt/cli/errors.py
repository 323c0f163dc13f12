"""Errors that the user can correct, and checks that find them before the work begins."""

from __future__ import annotations

import os
import tempfile
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path


class CommandError(Exception):
    """What the user can mend, in one sentence: it is printed, and the exit code is 2."""


def require_packages(*modules: str, extra: str = "train") -> None:
    """Import now what is needed later: Ctrl-C must not come while Python caches a module."""
    packages = dict.fromkeys(name.partition(".")[0] for name in modules)
    missing = [name for name in packages if find_spec(name) is None]
    missing = ["scikit-learn" if name == "sklearn" else name for name in missing]
    if missing:
        raise CommandError(f"needs {' and '.join(missing)}: pip install 'bptt[{extra}]'")
    for name in modules:
        import_module(name)


def check_output_path(path: Path, source: Path | None, *, overwrite: bool) -> None:
    """Fail now, not after the work, if nothing can be written at `path`.

    Raises
    ------
    CommandError
        If it is a directory, the file `source` that is read, protected, in no directory, or there
        already, unless it may be overwritten.
    """
    try:
        if path.is_dir():
            raise CommandError(f"cannot save {path}: it is a directory")
        if source is not None and path.exists() and path.samefile(source):
            raise CommandError(f"cannot save {path}: it is the file that is read")
        if path.exists() and not overwrite:
            raise CommandError(f"{path} exists: add --overwrite, or another name with --output")
        if path.exists() and not os.access(path, os.W_OK):
            raise CommandError(f"cannot save {path}: it is write-protected")
        # What saving will do: a new file beside it.
        with tempfile.NamedTemporaryFile(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent):
            pass
    except OSError as error:
        raise CommandError(f"cannot save {path}: {error.strerror}") from error
