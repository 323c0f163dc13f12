"""Cells: one step of each, forward and backward.

Every module of this package but `cell` holds the equations of a cell and lists them in its
``CELLS``; another module that does so is another cell.
"""

from importlib import import_module
from pkgutil import iter_modules

from .cell import Cell

CELLS: dict[str, Cell] = {}
"""Name -> cell."""

for _module in iter_modules(__path__):
    if _module.name != "cell":
        CELLS.update(import_module(f"{__name__}.{_module.name}").CELLS)
