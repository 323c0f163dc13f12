"""Files of other libraries: their layers, and how to load them in Python."""

from __future__ import annotations

from pathlib import Path

from bptt.cli.errors import CommandError
from bptt.importers import ForeignModel, read_file
from bptt.importers._files import OWN, format_of

_MAX_NAMES = 8  # of a chain in the code


def read_other(path: Path) -> ForeignModel | None:
    """Return what a file of another library holds, or None if it is no such file.

    Raises
    ------
    CommandError
        If it is one and is damaged, or a package that reads it is missing.
    """
    if not path.is_file():
        return None
    try:
        return None if format_of(path) in (None, OWN) else read_file(path)
    except (ImportError, ValueError) as error:
        raise CommandError(str(error)) from error
    except OSError as error:
        raise CommandError(f"cannot load {path}: {error.strerror or error}") from error


def print_other(model: ForeignModel) -> None:
    """Print the layers of a file as a table, and two lines of Python that load them."""
    print(model)
    if model.layers:
        print("\nIn Python:")
        print(f"  file = bptt.importers.read_file({str(model.path)!r})")
        print(f"  {_code(model)}")


def _code(model: ForeignModel) -> str:
    """Return the line that makes a network of all layers, or else one layer."""
    names = list(model.layers)
    try:
        if 1 < len(names) <= _MAX_NAMES:
            model.chain(*names)
            return f"network = file.chain({', '.join(map(repr, names)) if model.others else ''})"
    except (KeyError, TypeError, ValueError):
        pass
    layer = next((one for one in model.layers.values() if one.gates), model[names[0]])
    reading = f".readings[{next(iter(layer.readings))!r}]" if layer.readings else ""
    return f"layer = file[{layer.name!r}]{reading}.build()"
