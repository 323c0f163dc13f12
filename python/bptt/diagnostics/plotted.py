"""Results that can be drawn."""

from __future__ import annotations

from importlib import import_module
from typing import Any, ClassVar


class Plotted:
    """Base of all results: drawing is elsewhere, and imported when something is drawn."""

    _drawn_by: ClassVar[str]  # function of `bptt.diagnostics.plots`

    def plot(self, ax: Any = None) -> Any:
        """Draw it.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Where to; by default in a new figure.

        Returns
        -------
        matplotlib.axes.Axes

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        plots = import_module("bptt.diagnostics.plots")
        return getattr(plots, self._drawn_by)(self, ax)
