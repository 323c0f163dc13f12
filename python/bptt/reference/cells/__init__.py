"""Cells: one step of each, forward and backward.

Each module but `cell` contains a cell and its table ``CELLS``; a new module adds a cell.
"""

from importlib import import_module
from pkgutil import iter_modules

from .cell import Cell

CELLS: dict[str, Cell] = {}
"""Name -> cell."""

for _module in iter_modules(__path__):
    if _module.name != "cell":
        CELLS.update(import_module(f"{__name__}.{_module.name}").CELLS)
