"""Steps of all clients, in batches: those that come while the kernel works are its next call."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np

from bptt._core.checks import FloatArray
from bptt.serving._messages import Request, RequestError, Result
from bptt.serving._metrics import Metrics
from bptt.serving._served_model import ServedModel

_log = logging.getLogger("bptt.serving")
_T = TypeVar("_T")
MAX_ROWS = 1024  # of a call, which all of its sessions wait for


class SessionStore(Protocol):
    """What the server needs of `bptt.Sessions`."""

    @property
    def nbytes(self) -> int: ...
    def __iter__(self) -> Iterator[Any]: ...
    def step(self, keys: Sequence[str], x: Any) -> Any: ...
    def reset(self, keys: Sequence[str]) -> None: ...
    def remove(self, keys: Sequence[str]) -> None: ...
    def evict(self, idle_seconds: float) -> Sequence[Any]: ...
    def save(self, path: Path) -> None: ...


@dataclass(eq=False)
class _Task:
    """A request in the queue of its session."""

    key: str
    request: Request
    future: asyncio.Future[Result]
    resume: bool
    outputs: list[FloatArray] = field(default_factory=list)
    new: bool = False
    step: int = 0
    begun: bool = False
    error: RequestError | None = None

    @property
    def is_done(self) -> bool:
        return self.error is not None or len(self.outputs) == len(self.request.rows)


class Batcher:
    """Runs the steps of sessions, batched, in a thread of its own.

    Requests of one session run in their order, each as a whole; those of several sessions share
    calls of the kernel, step by step. All that reads or changes `sessions` runs in the one thread.

    Parameters
    ----------
    sessions : SessionStore
    model : ServedModel
    capacity : int
        Sessions at the same time; steps of further ones are refused.
    metrics : Metrics
    max_rows : int
        Sessions in one call.
    """

    def __init__(
        self,
        sessions: SessionStore,
        model: ServedModel,
        capacity: int,
        metrics: Metrics,
        max_rows: int = MAX_ROWS,
    ) -> None:
        self._sessions, self._model, self._metrics = sessions, model, metrics
        self._capacity, self._max_rows = capacity, max_rows
        self._queues: dict[str, deque[_Task]] = {}
        self._ready: deque[str] = deque()  # keys of queues of which no step runs
        # Steps of each session since it began, or since the start: `sessions` itself is locked
        # while the kernel works.
        self._steps = dict.fromkeys(map(str, sessions), 0)
        self._wake = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="bptt-steps")
        self._loop_task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to work, in the running event loop."""
        self._loop_task = asyncio.get_running_loop().create_task(self._work())

    @property
    def is_working(self) -> bool:
        """Whether steps are run."""
        return self._loop_task is not None and not self._loop_task.done()

    def __len__(self) -> int:
        return len(self._steps)

    def __contains__(self, key: str) -> bool:
        return key in self._steps

    def step_of(self, key: str) -> int:
        """Return the number of steps of a session so far."""
        return self._steps.get(key, 0)

    async def run(self, key: str, request: Request, *, resume: bool = False) -> Result:
        """Run the steps of a request.

        Parameters
        ----------
        key : str
        request : Request
        resume : bool
            Whether the session must exist.

        Raises
        ------
        RequestError
            If there is no room for a new session, or none with `resume`.
        """
        begin = time.perf_counter()
        task = _Task(key, request, asyncio.get_running_loop().create_future(), resume)
        queue = self._queues.get(key)
        if queue is None:
            self._queues[key] = deque([task])
            self._ready.append(key)
            self._wake.set()
        else:
            queue.append(task)
        result = await task.future
        self._metrics.latency_seconds.observe(time.perf_counter() - begin)
        return result

    async def remove(self, key: str) -> bool:
        """Remove a session; return whether there was one."""

        def remove() -> bool:
            if self._steps.pop(key, None) is None:
                return False
            self._sessions.remove([key])
            return True

        return await self._in_thread(remove)

    async def evict(self, idle: float) -> list[str]:
        """Remove the sessions without a step in the last `idle` seconds; return their keys."""

        def evict() -> list[str]:
            keys = [str(key) for key in self._sessions.evict(idle)]
            for key in keys:
                self._steps.pop(key, None)
            return keys

        keys = await self._in_thread(evict)
        self._metrics.evictions.inc(len(keys))
        return keys

    async def save(self, path: Path) -> None:
        """Write all states to a file."""
        await self._in_thread(lambda: self._sessions.save(path))

    async def close(self) -> None:
        """Finish the call that runs; requests that have not ended fail."""
        if self._loop_task is not None:
            self._loop_task.cancel()
            await asyncio.gather(self._loop_task, return_exceptions=True)
        self.stop_thread()
        for queue in self._queues.values():
            for task in queue:
                if not task.future.done():
                    task.future.set_exception(RequestError(503, "the server stops", "stopping"))
        self._queues.clear()

    def stop_thread(self) -> None:
        """Wait for the call that runs; there are no further ones."""
        self._thread.shutdown(wait=True)

    async def _in_thread(self, function: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, function)

    async def _work(self) -> None:
        while True:
            await self._wake.wait()
            batch = self._next_batch()
            if not batch:
                self._wake.clear()
                continue
            try:
                await self._in_thread(lambda batch=batch: self._compute(batch))  # type: ignore[misc]
            except Exception:  # of one call; the server goes on
                _log.exception("a batch of %d sessions failed", len(batch))
                for task in batch:
                    task.error = RequestError(500, "the step failed", "internal")
            for task in batch:
                self._return(task)

    def _next_batch(self) -> list[_Task]:
        """Take the first requests of up to `max_rows` sessions; those of clients gone are left."""
        batch: list[_Task] = []
        while self._ready and len(batch) < self._max_rows:
            key = self._ready.popleft()
            queue = self._queues[key]
            while queue and queue[0].future.done():  # cancelled
                queue.popleft()
            if queue:
                batch.append(queue[0])
            else:
                del self._queues[key]
        return batch

    def _return(self, task: _Task) -> None:
        """Answer a request whose steps are done, and let its session's queue go on."""
        queue = self._queues[task.key]
        if task.is_done:
            queue.popleft()
            if not task.future.done():
                if task.error is not None:
                    task.future.set_exception(task.error)
                else:
                    empty = np.empty((0, self._model.output_size), self._model.dtype)
                    outputs = np.stack(task.outputs) if task.outputs else empty
                    task.future.set_result(
                        Result(self._model.outputs(outputs), task.new, task.step)
                    )
        if queue:
            self._ready.append(task.key)
        else:
            del self._queues[task.key]

    # ---- in the thread

    def _compute(self, batch: list[_Task]) -> None:
        """Run one step of every request, those that begin after what comes before."""
        begin = time.perf_counter()
        self._begin([task for task in batch if not task.begun])
        going = [task for task in batch if not task.is_done]
        if not going:
            return
        keys = [task.key for task in going]
        rows = np.stack([task.request.rows[len(task.outputs)] for task in going])
        if self._model.start is not None:
            starts = np.flatnonzero(rows == self._model.start)
            self._reset([keys[i] for i in starts])
        outputs = self._sessions.step(keys, rows)
        for task, output in zip(going, outputs, strict=True):
            task.outputs.append(output.copy())
            task.step = self._steps[task.key] = self._steps.get(task.key, 0) + 1
        self._metrics.batch_rows.observe(len(going))
        self._metrics.steps.inc(len(going))
        self._metrics.kernel_seconds.observe(time.perf_counter() - begin)

    def _begin(self, tasks: list[_Task]) -> None:
        """Make sessions, or reset them, and let those of a language model read "<start>"."""
        free = self._capacity - len(self._steps)
        fresh: list[str] = []
        for task in tasks:
            task.begun, known = True, task.key in self._steps
            if not known and task.resume:
                task.error = RequestError(404, "there is no such session", "session")
                continue
            if not known and len(task.request.rows):
                if free <= 0:
                    task.error = RequestError(
                        503, f"the server has {self._capacity} sessions, and no room", "capacity", 1
                    )
                    continue
                free -= 1
            task.new = not known
            if known and not task.request.reset:
                task.step = self._steps[task.key]
            elif known or len(task.request.rows):
                fresh.append(task.key)
        self._reset(fresh)
        if fresh and self._model.start is not None:
            self._sessions.step(fresh, np.repeat(self._model.start, len(fresh)))
            self._steps.update(dict.fromkeys(fresh, 0))

    def _reset(self, keys: list[str]) -> None:
        """Let those of the sessions that there are begin anew."""
        known = [key for key in keys if key in self._steps]
        if known:
            self._sessions.reset(known)
            self._steps.update(dict.fromkeys(known, 0))
