"""Metrics of a server, in Prometheus' text format."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)

_SECONDS = (
    *(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01),
    *(0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5),
)
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096)

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """Counters and histograms of one server."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        self.steps = Counter("bptt_steps", "Steps of sessions", registry=registry)
        self.messages = Counter(
            "bptt_messages", "Answered messages", ["transport"], registry=registry
        )
        self.errors = Counter("bptt_errors", "Refused messages", ["reason"], registry=registry)
        self.evictions = Counter("bptt_evictions", "Evicted sessions", registry=registry)
        self.batch_rows = Histogram(
            "bptt_batch_rows", "Sessions in a call of the kernel", buckets=_ROWS, registry=registry
        )
        self.kernel_seconds = Histogram(
            "bptt_kernel_seconds", "Time of a batch's steps", buckets=_SECONDS, registry=registry
        )
        self.latency_seconds = Histogram(
            "bptt_latency_seconds",
            "Time from a message that is read to its outputs",
            buckets=_SECONDS,
            registry=registry,
        )

    def watch(self, name: str, documentation: str, value: Callable[[], float]) -> None:
        """Add a gauge that is asked for its value."""
        Gauge(name, documentation, registry=self._registry).set_function(value)

    def text(self) -> bytes:
        """Return all values."""
        text: bytes = generate_latest(self._registry)
        return text
