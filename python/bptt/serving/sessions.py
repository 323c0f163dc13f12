"""Sessions: independent streams by key, stepped together.

Shapes: N streams in a call, I features, H hidden_size, K features of the output.
"""

from __future__ import annotations

import math
import os
import sys
import threading
import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any

import numpy as np

from bptt._core import checks
from bptt._core.arguments import NamedArguments
from bptt.nn.state import State
from bptt.serving._network import SteppedNetwork
from bptt.serving._snapshots import Snapshot, read_snapshot, write_snapshot
from bptt.serving._state_rows import INITIAL, Rows, StateRows

_ALWAYS = sys.float_info.max  # later than any time


class SessionsFullError(RuntimeError):
    """New keys, and no place for them: ``when_full="error"``."""


class Sessions(NamedArguments):
    """Independent streams, each with its own state, by key; steps together in one batch.

    A key that is not known begins in the initial state: zero, or the learned one of a layer with
    `learn_initial_state`; of a language model, that after "<start>". The output of a stream has the
    same bits whichever others are stepped with it, as if it were stepped alone.

    A session takes the memory of its state, the time of its last step, and its key. All methods may
    be called by several threads. A call that fails changes no session.

    Parameters
    ----------
    model : recurrent layer, Sequential, or estimator
        Unidirectional; a `Sequential` with ``pool=None`` or ``pool="last"``. Of the estimators a
        fitted `SequenceClassifier`, `SequenceRegressor`, `SequenceTagger` (without `feedback` and
        `crf`) or `LanguageModel`. It is used, not copied: changes of its parameters count from the
        next step on.
    capacity : int, default 10_000
        Number of sessions that there may be.
    idle : float, optional
        Seconds after its last step when a session ends by itself: its key is then unknown.
    when_full : {"evict", "error"}, default "evict"
        What new keys lead to beyond the capacity: the sessions whose last step is longest ago are
        removed, or `SessionsFullError`.
    clock : function, optional
        Returns the time in seconds, never less than before. ``time.monotonic`` by default.

    Attributes
    ----------
    model, capacity, idle, when_full : as above

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or an invalid value, or the model needs whole sequences.

    Examples
    --------
    >>> sessions = Sessions(LSTM(3, 64))
    >>> y = sessions.step(["Ann", "Bob"], np.zeros((2, 3), np.float32))  # (2, 64)
    >>> y = sessions.step(["Bob", "Eve"], np.ones((2, 3), np.float32))
    >>> len(sessions)
    3
    """

    def __init__(
        self,
        model: Any,
        *,
        capacity: int = 10_000,
        idle: float | None = None,
        when_full: str = "evict",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._network = SteppedNetwork(model)
        self.model = model
        self.capacity = checks.integer("capacity", capacity)
        self.idle = None if idle is None else checks.positive("idle", idle)
        self.when_full = checks.one_of("evict", "error")("when_full", when_full)
        if not callable(clock):
            raise TypeError(f"clock must be a function, got {type(clock).__name__}")
        self._clock = clock
        self._lock = threading.Lock()
        self._rows: dict[Hashable, int] = {}
        self._keys: list[Hashable] = []  # by row; what is not in use is None
        self._states = StateRows(self._network.shapes, self._network.dtype, self.capacity)
        self._versions: list[object] = []
        self._oldest = math.inf  # no session was stepped before

    def __repr__(self) -> str:
        return f"<Sessions: {len(self):,} of at most {self.capacity:,}, {self._network}>"

    # ---- steps

    def step(self, keys: Any, x: Any) -> Any:
        """Step some streams, each once, in one batch.

        Parameters
        ----------
        keys : list or array of N keys
            Distinct; any hashable values. Unknown ones begin a session.
        x : array (N, I), or integer array (N,)
            Input of the step in the model's dtype, or token ids. For an estimator what `fit` takes
            as one step of each: N tokens, ids or rows of features.

        Returns
        -------
        array (N, K), or (N,)
            Output of each stream. Of a classifier or tagger the probabilities of `classes_`, of a
            classifier as if the sequence ended here; of a regressor the prediction; of a language
            model the probabilities of `tokens_` to be the next.

        Raises
        ------
        TypeError
            If an argument has the wrong type or dtype, or a key is not hashable.
        ValueError
            If a key occurs twice, there are more keys than `capacity`, a shape does not fit, or a
            token or id is out of its range.
        SessionsFullError
            If ``when_full="error"`` and there is no place for new keys.
        """
        keys = self._distinct(keys)
        x = self._network.encode(x, len(keys))
        with self._lock:
            now = self._expire()
            self._refresh()
            rows, new = self._find(keys)
            over = len(self._rows) + len(new) - self.capacity if new else 0
            if over > 0:
                self._check_room(len(keys), len(new))
            output, states = self._network.step(x, self._states.read(rows))
            if new:
                self._states.reserve(len(new) - max(over, 0))  # before a session is removed
            if over > 0:
                self._remove(self._states.least_recent(over, rows))
            if new:
                self._begin([keys[i] for i in new], rows, new)
            self._states.write(rows, states)
            self._states.used[rows] = now
            self._oldest = min(self._oldest, now)
        return output

    def _find(self, keys: list[Hashable]) -> tuple[Rows, list[int]]:
        """Return the rows to read, and the places of the keys that are new."""
        try:
            return np.fromiter(map(self._rows.__getitem__, keys), np.intp, len(keys)), []
        except KeyError:
            rows = [self._rows.get(key, INITIAL) for key in keys]
        return np.array(rows, np.intp), [i for i, row in enumerate(rows) if row == INITIAL]

    def _distinct(self, keys: Any) -> list[Hashable]:
        """Return the keys of a call, which must be distinct."""
        found = keys if type(keys) is list else checks.items("keys", keys)
        try:
            distinct = set(found)
        except TypeError:
            wrong = next(key for key in found if not _is_hashable(key))
            raise TypeError(f"keys must be hashable, got {type(wrong).__name__}") from None
        if len(distinct) < len(found):
            twice = next(key for key in distinct if found.count(key) > 1)
            raise ValueError(f"keys must be distinct, got {twice!r} {found.count(twice)} times")
        return found

    def _check_room(self, count: int, new: int) -> None:
        if count > self.capacity:
            rule = f"keys must be at most capacity = {self.capacity:,}"
            raise ValueError(f"{rule} in one call, got {count:,}")
        if self.when_full == "error":
            have = f"{len(self._rows):,} of {self.capacity:,} sessions"
            raise SessionsFullError(
                f"there are {have}, and {new:,} of the keys are new: remove some, raise capacity, "
                "or set when_full='evict'"
            )

    def _begin(self, keys: list[Hashable], rows: Rows, new: Sequence[int]) -> None:
        """Give new keys rows, into `rows` at the places `new`."""
        self._states.reserve(len(keys))
        self._keys += [None] * (self._states.num_rows - len(self._keys))
        own = self._states.allocate(len(keys))
        rows[np.asarray(new)] = own
        self._rows.update(zip(keys, own, strict=True))
        for row, key in zip(own, keys, strict=True):
            self._keys[row] = key

    def _remove(self, rows: Rows) -> list[Hashable]:
        """End the sessions of these rows; return their keys."""
        keys = [self._keys[row] for row in rows.tolist()]
        for key in keys:
            self._keys[self._rows.pop(key)] = None
        self._states.release(rows)
        return keys

    def _refresh(self) -> None:
        """Compute the initial state, if the parameters changed since."""
        versions = self._network.versions
        if versions != self._versions:
            self._states.write(np.array([INITIAL]), self._network.initial())
            self._versions = versions

    def _expire(self) -> float:
        """Remove the sessions that have been idle; return the time."""
        now = float(self._clock())
        if self.idle is not None and now - self._oldest >= self.idle:
            self._remove(self._states.used_until(now - self.idle))
            self._oldest = float(self._states.used.min())
        return now

    # ---- the sessions

    def __len__(self) -> int:
        """Return the number of sessions."""
        with self._lock:
            self._expire()
            return len(self._rows)

    def __contains__(self, key: object) -> bool:
        """Return whether there is a session with this key."""
        with self._lock:
            self._expire()
            return key in self._rows

    def __iter__(self) -> Iterator[Hashable]:
        """Iterate over the keys that there are now, in the order in which they began."""
        with self._lock:
            self._expire()
            return iter(list(self._rows))

    def state(self, key: Hashable) -> State:
        """Return a copy of the state of a session.

        Parameters
        ----------
        key : hashable

        Returns
        -------
        state
            Of a layer its state, an array or a named tuple of arrays (num_layers, 1, H), for its
            `step`; otherwise a tuple of the states of all recurrent layers.

        Raises
        ------
        KeyError
            If there is no such session.
        """
        with self._lock:
            self._expire()
            return self._network.grouped(self._states.read(self._known([key])))

    def reset(self, keys: Any) -> None:
        """Set sessions back to the initial state.

        Parameters
        ----------
        keys : list or array of keys
            Distinct.

        Raises
        ------
        TypeError, ValueError
            If `keys` is no list of distinct keys.
        KeyError
            If there is no such session; then none is reset.
        """
        keys = self._distinct(keys)
        with self._lock:
            self._expire()
            rows = self._known(keys)
            self._refresh()
            initial = self._states.read(np.full(len(rows), INITIAL))
            self._states.write(rows, initial)

    def remove(self, keys: Any) -> None:
        """End sessions.

        Parameters
        ----------
        keys : list or array of keys
            Distinct.

        Raises
        ------
        TypeError, ValueError
            If `keys` is no list of distinct keys.
        KeyError
            If there is no such session; then none is removed.
        """
        keys = self._distinct(keys)
        with self._lock:
            self._expire()
            self._remove(self._known(keys))

    def evict(self, idle_seconds: float) -> list[Any]:
        """End the sessions whose last step was at least so long ago.

        Parameters
        ----------
        idle_seconds : float
            Seconds, >= 0.

        Returns
        -------
        list of keys
            Those of the sessions that ended, the one stepped longest ago first.

        Raises
        ------
        TypeError, ValueError
            If `idle_seconds` is no number >= 0.
        """
        seconds = checks.number("idle_seconds", idle_seconds, 0.0)
        with self._lock:
            now = self._expire()
            return self._remove(self._states.used_until(now - seconds))

    def _known(self, keys: list[Hashable]) -> Rows:
        """Return the rows of keys that have sessions."""
        for key in keys:
            if key not in self._rows:
                raise KeyError(f"there is no session {key!r}")
        return np.array([self._rows[key] for key in keys], np.intp)

    @property
    def nbytes(self) -> int:
        """Bytes of the states and times of all sessions, and of the rows ready for new ones."""
        with self._lock:
            return self._states.nbytes

    @property
    def bytes_per_session(self) -> int:
        """Bytes of the state of one session."""
        return self._states.bytes_per_row

    # ---- snapshots

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the states of all sessions to one safetensors file, atomically.

        The file also holds the keys, the seconds since the last step of each, and a digest of the
        model, not the model itself. Other threads wait while the states are copied, not while they
        are written.

        Parameters
        ----------
        path : str or path
            File to write; replaced if it exists.

        Raises
        ------
        TypeError
            If a key is neither a string nor an integer, or `path` is not a path.
        FileNotFoundError
            If there is no such directory.
        ImportError
            If safetensors is not installed.
        """
        with self._lock:
            now = self._expire()
            rows = self._states.used_until(_ALWAYS)
            keys = [self._keys[row] for row in rows.tolist()]
            ages = np.maximum(now - self._states.used[rows], 0.0)
            states = self._states.read(rows)
        options = {"capacity": self.capacity, "idle": self.idle, "when_full": self.when_full}
        write_snapshot(path, Snapshot(keys, ages, states, options), self._network.digest())

    @classmethod
    def load(cls, path: str | os.PathLike[str], model: Any, **options: Any) -> Sessions:
        """Return the sessions of a file of `save`, which go on with the same bits.

        The time between writing and reading does not count as idle.

        Parameters
        ----------
        path : str or path
            File to read.
        model : recurrent layer, Sequential, or estimator
            Equal to the one that was saved.
        **options
            Arguments of `Sessions`; those that are left out are as they were.

        Returns
        -------
        Sessions

        Raises
        ------
        TypeError
            If an argument has the wrong type.
        FileNotFoundError
            If there is no such file.
        ValueError
            If the file is damaged, or of another model, or has more sessions than `capacity`.
        ImportError
            If safetensors is not installed.
        """
        network = SteppedNetwork(model)
        snapshot = read_snapshot(path, network)
        sessions = cls(model, **{**snapshot.options, **options})
        count = len(snapshot.keys)
        if count > sessions.capacity:
            got = f"capacity={sessions.capacity:,}"
            raise ValueError(f"capacity must be at least the file's {count:,} sessions, got {got}")
        if count:
            rows = np.zeros(count, np.intp)
            sessions._begin(snapshot.keys, rows, range(count))
            sessions._states.write(rows, snapshot.states)
            sessions._states.used[rows] = float(sessions._clock()) - snapshot.ages
            sessions._oldest = float(sessions._states.used.min())
        return sessions


def _is_hashable(key: object) -> bool:
    try:
        hash(key)
    except TypeError:
        return False
    return True
