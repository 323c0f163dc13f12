"""The progress bar of training: one line an epoch."""

from __future__ import annotations

from types import TracebackType
from typing import Any


class Progress:
    """A bar over the sequences of one epoch, if it is wanted; a context manager."""

    def __init__(self, wanted: bool, epoch: int, epochs: int, sequences: int, done: int) -> None:
        self._bar: Any = None
        if wanted:
            self._bar = bar_class()(
                desc=f"epoch {epoch}/{epochs}", total=sequences, initial=done, unit=" sequences"
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

    def advance(self, sequences: int, **shown: float) -> None:
        """Count sequences, and show numbers beside the bar, without those that are NaN."""
        if self._bar is not None:
            self.show(**shown)
            self._bar.update(sequences)

    def show(self, **shown: float | None) -> None:
        """Show numbers beside the bar."""
        if self._bar is not None:
            numbers = {k: f"{v:.4g}" for k, v in shown.items() if v is not None and v == v}
            self._bar.set_postfix(numbers, refresh=False)


def bar_class() -> Any:
    """Return tqdm, or raise an ImportError that says what to install."""
    try:
        from tqdm import tqdm
    except ImportError as error:
        raise ImportError("verbose=True needs tqdm: pip install 'bptt[train]'") from error
    return tqdm
