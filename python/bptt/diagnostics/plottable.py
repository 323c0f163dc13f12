"""Results that can be drawn."""

from __future__ import annotations

from typing import Any, ClassVar

from bptt.diagnostics import plots


class Plotted:
    """Base of all results, each of which a function of `bptt.diagnostics.plots` draws."""

    _drawn_by: ClassVar[str]  # name of the function

    def plot(self, ax: Any = None, **options: Any) -> Any:
        """Draw it.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Where to; by default in a new figure.
        **options
            As the function has, such as `gate` of `plots.plot_gates`.

        Returns
        -------
        matplotlib.axes.Axes

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        return getattr(plots, self._drawn_by)(self, ax, **options)
