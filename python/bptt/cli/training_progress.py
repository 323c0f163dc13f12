"""Training progress on standard error: a bar in a terminal, and lines for up to 20 epochs."""

from __future__ import annotations

import math
import sys
from typing import Any

from bptt.cli.schema import CLASSIFICATION, LANGUAGE, REGRESSION, TAGGING
from bptt.training._progress import bar_class
from bptt.training.history import Epoch
from bptt.training.loop import Training
from bptt.training.protocols import OrderedDataset
from bptt.training.windowed import count_of

METRICS = {CLASSIFICATION: "accuracy", TAGGING: "accuracy", REGRESSION: "error", LANGUAGE: ""}
_MAX_LINES = 20
_MAX_GROWTH = 100.0  # of the loss, from which training is stopped


class EpochReporter:
    """Callback that reports the progress of training.

    Parameters
    ----------
    task : str
        Losses of a language model are printed in bits.
    metric : str
        Name of the metric; "" for none.
    """

    def __init__(self, task: str, metric: str = "") -> None:
        self._task = task
        self._metric = metric
        self._bar: Any = None
        self._first_loss: float | None = None

    def on_train_begin(self, training: Training) -> None:
        """Open the bar."""
        data = training.data
        size = 1 if isinstance(data, OrderedDataset) else training.options.batch_size
        self._steps = -(-count_of(data) // size)
        self._bar = bar_class()(
            total=self._steps * training.options.epochs,
            disable=not sys.stderr.isatty(),
            dynamic_ncols=True,
            leave=False,
            bar_format="{desc} {percentage:3.0f}%|{bar}| at most {remaining} left{postfix}",
        )

    def on_batch_end(self, training: Training) -> None:
        """Advance the bar.

        Raises
        ------
        FloatingPointError
            If the loss has grown by a factor of more than `_MAX_GROWTH`.
        """
        loss = training.totals.means()[0]
        if self._first_loss is None:
            self._first_loss = max(loss, 1.0)  # losses begin at about 1, or log(classes)
        if loss > _MAX_GROWTH * self._first_loss:
            raise FloatingPointError(
                f"training diverges in epoch {training.epoch}: the loss rose from "
                f"{self._first_loss:.3g} to {loss:.3g}; try a smaller learning_rate, "
                f"{training.optimizer.learning_rate:g} now"
            )
        epochs = training.options.epochs
        self._bar.set_description_str(f"epoch {training.epoch}/{epochs}", refresh=False)
        self._bar.set_postfix_str(f"loss {self._format_loss(loss)}", refresh=False)
        done = len(training.history) * self._steps + training.batch
        self._bar.update(done - self._bar.n)

    def on_epoch_end(self, training: Training) -> None:
        """Print the line of the epoch."""
        epoch, epochs = training.history[-1], training.options.epochs
        interval = math.ceil(epochs / _MAX_LINES)
        if epoch.number == 1 or epoch.number % interval == 0 or epoch.number == epochs:
            line = f"epoch {epoch.number:3}/{epochs}  {self._format_epoch(epoch)}"
            self._bar.write(line, sys.stderr)

    def close(self) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.close()

    def _format_epoch(self, epoch: Epoch) -> str:
        parts = [f"loss {self._format_loss(epoch.loss)}"]
        if epoch.validation_loss is not None:
            parts.append(f"validation loss {self._format_loss(epoch.validation_loss)}")
        metric = epoch.validation_metric
        if metric is not None and self._metric:
            value = f"{metric:.4g}" if self._task == REGRESSION else f"{metric:.1%}"
            parts.append(f"{self._metric} {value}")
        return "  ".join([*parts, f"{epoch.seconds:.1f} s"])

    def _format_loss(self, loss: float) -> str:
        return f"{loss / math.log(2.0):.2f} bits" if self._task == LANGUAGE else f"{loss:.3f}"
