"""Progress on standard error: a bar during an epoch, one line after it."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Any

from bptt.training.history import Epoch


def bar_class() -> Any:
    """Return the class tqdm.

    Raises
    ------
    ImportError
        If tqdm is not installed.
    """
    try:
        from tqdm import tqdm
    except ImportError as error:
        raise ImportError("verbose=True needs tqdm: pip install 'bptt[train]'") from error
    return tqdm


class Progress:
    """Progress of one epoch.

    The bar is shown during the epoch, in a terminal or notebook; the line after it always.

    Parameters
    ----------
    verbose : int
        1 for a bar and a line, 2 for the line alone, 0 for nothing.
    title : str
        Title, such as "epoch 3/20".
    sequences : int
        Number of sequences of the epoch.
    done : int
        Number of sequences done before, when training is resumed.
    """

    def __init__(self, verbose: int, title: str, sequences: int, done: int = 0) -> None:
        self._title = title
        self._verbose = verbose
        self._sequences = sequences
        self._bar: Any = None
        if verbose == 1 and (sys.stderr.isatty() or "ipykernel" in sys.modules):
            self._bar = bar_class()(
                desc=title,
                total=sequences,
                initial=done,
                unit=" sequences",
                dynamic_ncols=True,
                leave=False,
                bar_format="{desc} {percentage:3.0f}%|{bar}| {remaining} left, {rate_fmt}{postfix}",
            )

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.close()

    def update(self, sequences: int, loss: float, metric: float | None, norm: float) -> None:
        """Advance the bar by a number of sequences, and show current values.

        Parameters
        ----------
        sequences : int
            Number of sequences of the update.
        loss : float
            Mean loss of the epoch so far.
        metric : float or None
            Mean metric of the epoch so far.
        norm : float
            Norm of the gradients.
        """
        if self._bar is not None:
            values = _format({"loss": loss, "metric": metric, "gradient": norm})
            self._bar.set_postfix_str(values, refresh=False)
            self._bar.update(sequences)

    def end(self, epoch: Epoch) -> None:
        """Replace the bar by the line of the epoch."""
        if self._bar is not None:
            self._bar.close()
        if self._verbose:
            values = _format(
                {
                    "loss": epoch.loss,
                    "metric": epoch.metric,
                    "validation loss": epoch.validation_loss,
                    "validation metric": epoch.validation_metric,
                    "gradient": epoch.gradient_norm,
                }
            )
            rate = self._sequences / max(epoch.seconds, 1e-9)
            print(f"{self._title}: {values}, {rate:,.0f} sequences/s", file=sys.stderr)


def _format(named: dict[str, float | None]) -> str:
    return ", ".join(f"{name} {v:.4g}" for name, v in named.items() if v is not None)
