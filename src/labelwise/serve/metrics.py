"""What the server counts, for Prometheus. One registry an app, so that apps can share a process."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_PIECES = (16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192)
_SHARES = (0.0, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75)
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """Counters, gauges and histograms of one app."""

    def __init__(self) -> None:
        """Start at zero."""
        self._registry = registry = CollectorRegistry()
        self._children: dict[tuple[str, int], tuple[Counter, Histogram]] = {}  # looked up slowly
        self._requests = Counter(
            "labelwise_requests", "Answers, by route and status.", ("route", "code"),
            registry=registry,
        )  # fmt: skip
        self._seconds = Histogram(
            "labelwise_request_seconds", "From the headers of a request to the end of its answer.",
            ("route",), buckets=_SECONDS, registry=registry,
        )  # fmt: skip
        self._queue_seconds = Histogram(
            "labelwise_queue_seconds", "From arrival in the queue to the start of the batch.",
            buckets=_SECONDS, registry=registry,
        )  # fmt: skip
        self._inference_seconds = Histogram(
            "labelwise_inference_seconds", "One batch, encoding and decoding.",
            buckets=_SECONDS, registry=registry,
        )  # fmt: skip
        self._batch_pieces = Histogram(
            "labelwise_batch_pieces", "Pieces of a batch, without padding.",
            buckets=_PIECES, registry=registry,
        )  # fmt: skip
        self._padding = Histogram(
            "labelwise_padding_ratio", "Share of a call of the encoder that is padding.",
            buckets=_SHARES, registry=registry,
        )  # fmt: skip
        lookups = Counter(
            "labelwise_label_set_lookups", "Label sets asked for, by whether they were known.",
            ("found",), registry=registry,
        )  # fmt: skip
        self._lookups = {True: lookups.labels("yes"), False: lookups.labels("no")}

    def gauge(self, name: str, help_text: str, read: Callable[[], float]) -> None:
        """Add a value that is read when somebody asks."""
        Gauge(name, help_text, registry=self._registry).set_function(read)

    def answered(self, route: str, status: int, seconds: float) -> None:
        """Count an answer."""
        child = self._children.get((route, status))
        if child is None:
            child = self._requests.labels(route, str(status)), self._seconds.labels(route)
            self._children[route, status] = child
        child[0].inc()
        child[1].observe(seconds)

    def waited(self, seconds: float) -> None:
        """Count the wait of one item."""
        self._queue_seconds.observe(seconds)

    def ran(self, n_pieces: int, seconds: float) -> None:
        """Count a batch."""
        self._batch_pieces.observe(n_pieces)
        self._inference_seconds.observe(seconds)

    def encoded(self, n_pieces: int, n_padded: int) -> None:
        """Count a call of the encoder: its pieces without padding and with it."""
        self._padding.observe(1 - n_pieces / max(n_padded, 1))

    def looked_up(self, *, found: bool) -> None:
        """Count a request for a label set: a cache hit or a miss."""
        self._lookups[found].inc()

    def text(self) -> bytes:
        """Return everything in the text format of Prometheus."""
        return generate_latest(self._registry)
