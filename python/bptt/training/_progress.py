"""What training shows of itself, on standard error: a bar for an epoch, and then one line."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Any

from bptt.training.history import Epoch


def bar_class() -> Any:
    """Return tqdm's class of bars.

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
    """The progress of one epoch; shows nothing if that is not `wanted`.

    The bar is there while the epoch goes on, in a terminal or a notebook; in the end there is one
    line, wherever standard error goes.

    Parameters
    ----------
    wanted : bool
    title : str
        As "epoch 3/20".
    sequences, done : int
        How many sequences the epoch has, and how many of them were done before.
    """

    def __init__(self, wanted: bool, title: str, sequences: int, done: int = 0) -> None:
        self._title = title
        self._wanted = wanted
        self._sequences = sequences
        self._bar: Any = None
        if wanted and (sys.stderr.isatty() or "ipykernel" in sys.modules):
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
        """Show that some more sequences are done, and how it goes."""
        if self._bar is not None:
            numbers = _numbers({"loss": loss, "metric": metric, "gradient": norm})
            self._bar.set_postfix_str(numbers, refresh=False)
            self._bar.update(sequences)

    def end(self, epoch: Epoch) -> None:
        """Replace the bar by the line that stays."""
        if self._bar is not None:
            self._bar.close()
        if self._wanted:
            numbers = _numbers(
                {
                    "loss": epoch.loss,
                    "metric": epoch.metric,
                    "validation loss": epoch.validation_loss,
                    "validation metric": epoch.validation_metric,
                    "gradient": epoch.gradient_norm,
                }
            )
            rate = self._sequences / max(epoch.seconds, 1e-9)
            print(f"{self._title}: {numbers}, {rate:,.0f} sequences/s", file=sys.stderr)


def _numbers(named: dict[str, float | None]) -> str:
    return ", ".join(f"{name} {v:.4g}" for name, v in named.items() if v is not None)
