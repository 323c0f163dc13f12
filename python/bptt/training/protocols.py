"""What `bptt.training` needs: something that learns, and data in minibatches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol, runtime_checkable

from numpy.typing import NDArray

from bptt.nn.module import Gradients, Module


class Step(NamedTuple):
    """What a learner says of a minibatch that it learns from."""

    loss: float
    """Mean over the targets."""
    metric: float
    """The same; NaN for none."""
    weight: float
    """Number of the targets, or the sum of their weights."""
    gradients: list[Gradients]
    """Of the loss, one for each module, in their order. The training may change them."""


class Score(NamedTuple):
    """What a learner says of a minibatch that it does not learn from."""

    loss: float
    """Mean over the targets."""
    metric: float
    """The same; NaN for none."""
    weight: float
    """Number of the targets, or the sum of their weights."""


class Learner(Protocol):
    """What can be trained.

    All that happens by chance must be drawn from the generators of the modules, which checkpoints
    hold: then it is the same again when training is resumed.
    """

    @property
    def modules(self) -> Mapping[str, Module]:
        """Name -> module, the same ones every time."""

    def gradients(self, batch: Any) -> Step:
        """Return the loss of a minibatch and its gradients."""

    def evaluate(self, batch: Any) -> Score:
        """Return the loss of a minibatch as it is in use: without dropout."""


class Data(Protocol):
    """What can be learnt from."""

    @property
    def lengths(self) -> NDArray[Any]:
        """Number of steps of each sequence, an integer array (N,)."""

    def batch(self, indices: NDArray[Any]) -> Any:
        """Return some of the sequences as the learner wants them, padded no more than they need."""


@runtime_checkable
class OrderedData(Data, Protocol):
    """Data whose minibatches have an order of their own: the windows of a stream.

    The learner may carry something from one to the next, so that a training that is resumed begins
    at the beginning of an epoch.
    """

    def order(self) -> list[NDArray[Any]]:
        """Return the minibatches of an epoch, as arrays of indices."""
