"""Prometheus metrics for `GET /metrics`, one row each.

Labels are bounded: routes are those that exist; of models and error codes, the first MAX_LABEL_VALUES seen
are named, the others are `other`.
"""

from __future__ import annotations

import platform
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Literal

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.core import Metric as MetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from .. import __version__
from ..engines.protocol import CacheCounts, Engine, KeepsPrompts, ask
from ..engines.resident.model import Status
from ..engines.router.targets import report_of
from ..errors import EngineFailed, ModelLoading
from ..limits.model_load import loads_of
from ..limits.served_models import ServedModel, ServedModels
from ..outbound.tunnel import Tunnel
from ..state.store import Store
from .record import RequestRecord

PREFIX = "openedai_"
MAX_LABEL_VALUES = 64  # of one label
OTHER = "other"

SHORT_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)
LONG_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric; Prometheus sees its name with the prefix `openedai_`."""

    name: str
    kind: Literal["counter", "histogram", "gauge"]
    labels: tuple[str, ...]
    meaning: str
    buckets: tuple[float, ...] = ()
    """Upper bounds of a histogram's buckets."""
    is_read: bool = False
    """Whether its values are read at each scrape, as a gauge's are."""


ROUTE, MODEL, TARGET = ("route",), ("model",), ("model", "target")

METRICS: tuple[Metric, ...] = (
    Metric("requests_total", "counter", ("route", "status"), "Requests that have ended, by status."),
    Metric("errors_total", "counter", ("code",), "Errors answered, in streams too, by code."),
    Metric("cancelled_total", "counter", ROUTE, "Requests whose client left before the end."),
    Metric("request_seconds", "histogram", ROUTE, "From the request to the end of its answer.", LONG_S),
    Metric("answers_total", "counter", MODEL, "Requests that a model answered, by model."),
    Metric("prompt_tokens_total", "counter", MODEL, "Tokens of prompts."),
    Metric("cached_tokens_total", "counter", MODEL, "Tokens of prompts that were cached."),
    Metric("completion_tokens_total", "counter", MODEL, "Tokens sampled."),
    Metric("queue_seconds", "histogram", MODEL, "From the request to its slot.", LONG_S),
    Metric("first_token_seconds", "histogram", MODEL, "From the request to its first token.", LONG_S),
    Metric(
        "token_gap_seconds",
        "histogram",
        MODEL,
        "Between two tokens of an answer; the mean of each request, counted once.",
        SHORT_S,
    ),
    Metric("running", "gauge", (), "Choices being generated."),
    Metric("waiting", "gauge", (), "Requests in the queue."),
    Metric("queue_limit", "gauge", (), "Requests that may wait."),
    Metric("slots", "gauge", (), "Choices that can be generated at once; 0 while no model is loaded."),
    Metric("load", "gauge", MODEL, "Choices that run or wait, for each slot; above 1, requests wait."),
    Metric("prompt_cache_bytes", "gauge", (), "Bytes of prompts that are kept beside the slots."),
    Metric("prompt_cache_limit_bytes", "gauge", (), "How many bytes they may have: --cache-ram."),
    Metric("prompt_cache_hits", "gauge", (), "Prompts that went on from there since the model's start."),
    Metric("prompt_cache_tokens_saved", "gauge", (), "Tokens not computed again thanks to that."),
    Metric("target_up", "gauge", TARGET, "1 while a server of a model that several have gets requests."),
    Metric("target_running", "gauge", TARGET, "Requests at it."),
    Metric("target_requests_total", "counter", TARGET, "Requests that it got.", is_read=True),
    Metric("target_failures_total", "counter", TARGET, "Requests that it failed at.", is_read=True),
    Metric("model_loaded", "gauge", MODEL, "1 while a model is loaded that requests load."),
    Metric("model_loads_total", "counter", MODEL, "How often it was loaded.", is_read=True),
    Metric("model_load_failures_total", "counter", MODEL, "Loads that failed.", is_read=True),
    Metric("model_load_seconds_total", "counter", MODEL, "What its loads took.", is_read=True),
    Metric("model_waiting", "gauge", MODEL, "Requests that wait for it to be loaded."),
    Metric("store_objects", "gauge", ("kind",), "Stored objects; from the first use of the store."),
    Metric("store_bytes", "gauge", ("kind",), "Bytes of stored objects."),
    Metric("store_database_bytes", "gauge", (), "Bytes of the store's file and its log; not of PostgreSQL."),
    Metric("store_failing", "gauge", (), "1 while the store cannot be written."),
    Metric("batches", "gauge", ("status",), "Batches that have not ended, by status."),
    Metric("batch_lines", "gauge", ("state",), "Lines of these: completed, failed, open."),
    Metric("batch_oldest_seconds", "gauge", (), "The age of the oldest of these; 0: there is none."),
    Metric("batch_file_bytes", "gauge", ("purpose",), "Bytes of the files that batches read and write."),
    Metric("tunnel_up", "gauge", (), "1 while the tunnel is connected; only with --public-api."),
    Metric("info", "gauge", ("version", "python", "model"), "Always 1; versions and model as labels."),
)  # fmt: skip

ROWS = {row.name: row for row in METRICS}

BATCH_SIZE = 64  # requests that are counted at once


class Metrics:
    """The metrics of one application, in its own registry. Thread-safe."""

    def __init__(
        self,
        models: ServedModels,
        store: Store,
        resident_models: Callable[[], list[Status]] = list,
        tunnel: Tunnel | None = None,
    ) -> None:
        """`resident_models`: those that requests load."""
        self._registry = CollectorRegistry()
        self._served_models = models
        self._store = store
        self._resident_models = resident_models
        self._tunnel = tunnel
        self._models = _Bounded()
        self._codes = _Bounded()
        self._ended: deque[RequestRecord] = deque()
        self._series: dict[str, Any] = {}
        self._children: dict[tuple[str, tuple[str, ...]], Any] = {}
        for row in METRICS:
            if row.is_read:
                continue
            if row.kind == "counter":
                self._series[row.name] = Counter(
                    PREFIX + row.name, row.meaning, row.labels, registry=self._registry
                )
            elif row.kind == "histogram":
                self._series[row.name] = Histogram(
                    *(PREFIX + row.name, row.meaning, row.labels),
                    buckets=row.buckets,
                    registry=self._registry,
                )
        self._registry.register(_Gauges(self._read_gauges))
        ProcessCollector(registry=self._registry)

    def observe(self, record: RequestRecord) -> None:
        """Count a request that has ended; in batches, which takes a third of the time."""
        self._ended.append(record)
        if len(self._ended) >= BATCH_SIZE:
            self._count_ended()

    def _count_ended(self) -> None:
        while self._ended:
            try:
                record = self._ended.popleft()
            except IndexError:  # another thread was faster
                return
            self._count_one(record)

    def _count_one(self, record: RequestRecord) -> None:
        route = record.route or OTHER
        self._count("requests_total", 1, route, str(record.status))
        if record.error is not None:
            self._count("errors_total", 1, self._codes(record.error))
        if record.cancelled:
            self._count("cancelled_total", 1, route)
        if record.ended is not None:
            self._measure("request_seconds", record.ended - record.started, route)
        if record.model is not None and record.answered:
            self._observe_answer(record, self._models(record.model))

    def _observe_answer(self, record: RequestRecord, model: str) -> None:
        self._count("answers_total", 1, model)
        self._count("prompt_tokens_total", record.prompt_tokens, model)
        self._count("cached_tokens_total", record.cached_tokens, model)
        self._count("completion_tokens_total", record.completion_tokens, model)
        if record.admitted is not None:
            self._measure("queue_seconds", record.admitted - record.started, model)
        if record.first_token is not None:
            self._measure("first_token_seconds", record.first_token - record.started, model)
        gap = record.token_gap
        if gap is not None:
            self._measure("token_gap_seconds", gap, model)

    def exposition(self, accept: str) -> tuple[bytes, str]:
        """All metrics in the format that the scraper prefers, and its content type."""
        self._count_ended()
        encode, content_type = choose_encoder(accept)
        return encode(_WithoutCreationTimes(self._registry)), content_type

    def _count(self, name: str, amount: int, *labels: str) -> None:
        self._child(name, labels).inc(amount)

    def _measure(self, name: str, seconds: float, *labels: str) -> None:
        self._child(name, labels).observe(max(0.0, seconds))

    def _child(self, name: str, labels: tuple[str, ...]) -> Any:
        """The series with these labels; cached, as the library's lookup takes longer than an update."""
        child = self._children.get((name, labels))
        if child is None:
            child = self._children[name, labels] = self._series[name].labels(*labels)
        return child

    def _read_store(self) -> Iterator[tuple[str, tuple[str, ...], float]]:
        yield "store_failing", (), self._store.problem is not None
        size = self._store.measure()
        if size is None:
            return
        for kind, (objects, _) in size.by_kind.items():
            yield "store_objects", (kind,), objects
        for kind, (_, bytes) in size.by_kind.items():
            yield "store_bytes", (kind,), bytes
        if size.database_bytes is not None:
            yield "store_database_bytes", (), size.database_bytes

    def _read_batches(self) -> Iterator[tuple[str, tuple[str, ...], float]]:
        totals = self._store.batch_totals()
        if totals is None:
            return
        for status, count in totals.by_status.items():
            yield "batches", (status,), count
        yield "batch_lines", ("completed",), totals.completed
        yield "batch_lines", ("failed",), totals.failed
        yield "batch_lines", ("open",), totals.open_lines
        age = 0.0 if totals.oldest is None else max(0.0, time.time() - totals.oldest)
        yield "batch_oldest_seconds", (), age
        for purpose, size in totals.file_bytes.items():
            yield "batch_file_bytes", (purpose,), size

    def _read_targets(self) -> Iterator[tuple[str, tuple[str, ...], float]]:
        found = [
            ((served.name, each.name), each)
            for served in self._served_models.available()
            for each in report_of(served.engine)
        ]
        for labels, each in found:
            yield "target_up", labels, each.state == "up"
        for labels, each in found:
            yield "target_running", labels, each.outstanding
        for labels, each in found:
            yield "target_requests_total", labels, each.requests
        for labels, each in found:
            yield "target_failures_total", labels, each.failures

    def _read_residents(self) -> Iterator[tuple[str, tuple[str, ...], float]]:
        every = self._resident_models()[:MAX_LABEL_VALUES]
        read: Sequence[tuple[str, Callable[[Status], float]]] = (
            ("model_loaded", lambda each: each.state == "loaded"),
            ("model_loads_total", lambda each: each.loads.count),
            ("model_load_failures_total", lambda each: each.loads.failures),
            ("model_load_seconds_total", lambda each: each.loads.seconds),
            ("model_waiting", lambda each: each.waiting),
        )
        for name, value in read:
            for each in every:
                yield name, (each.model.name,), value(each)

    def _read_gauges(self) -> Iterator[tuple[str, tuple[str, ...], float]]:
        """The name, label values and current value of each gauge."""
        served: ServedModel | None = None
        try:
            served = self._served_models.loaded()
        except ModelLoading:
            pass  # `slots` and `info` show that
        queue = self._served_models.queue()
        yield "running", (), queue.running
        yield "waiting", (), queue.requests_waiting
        yield "queue_limit", (), queue.limit
        yield "slots", (), self._served_models.slots
        for each in loads_of(self._served_models):
            yield "load", (each.model,), each.load
        if served is not None:
            yield from _read_prompt_cache(served.engine)
        yield from self._read_targets()
        yield from self._read_residents()
        yield from self._read_store()
        yield from self._read_batches()
        if self._tunnel is not None:
            yield "tunnel_up", (), self._tunnel.state.state == "up"
        labels = (__version__, platform.python_version(), served.name if served else "")
        yield "info", labels, 1


def _read_prompt_cache(engine: Engine) -> Iterator[tuple[str, tuple[str, ...], float]]:
    try:
        counts = ask(engine, KeepsPrompts, lambda keeper: keeper.cache_counts)
    except EngineFailed:  # it keeps none
        counts = CacheCounts()
    yield "prompt_cache_bytes", (), counts.bytes
    yield "prompt_cache_limit_bytes", (), counts.limit
    yield "prompt_cache_hits", (), counts.hits
    yield "prompt_cache_tokens_saved", (), counts.tokens


class _WithoutCreationTimes(CollectorRegistry):
    """A registry's metrics without the time at which each series began, which would be a series more for
    each."""

    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__(auto_describe=False)
        self._registry = registry

    def collect(self) -> Iterator[MetricFamily]:
        for metric in self._registry.collect():
            metric.samples = [each for each in metric.samples if not each.name.endswith("_created")]
            yield metric


class _Gauges(Collector):
    """Gauges whose values are read at each scrape."""

    def __init__(self, read: Callable[[], Iterator[tuple[str, tuple[str, ...], float]]]) -> None:
        self._read = read

    def describe(self) -> Iterator[GaugeMetricFamily]:
        """Empty, so that registration reads no values."""
        yield from ()

    def collect(self) -> Iterator[MetricFamily]:
        for name, values in groupby(self._read(), lambda read: read[0]):
            row = ROWS[name]
            kind = CounterMetricFamily if row.kind == "counter" else GaugeMetricFamily
            family = kind(PREFIX + name, row.meaning, labels=row.labels)
            for _, labels, value in values:
                family.add_metric(labels, value)
            yield family


class _Bounded:
    """Passes names through until there are MAX_LABEL_VALUES different ones; then new ones become OTHER."""

    def __init__(self) -> None:
        self._seen: set[str] = set()
        self._lock = threading.Lock()

    def __call__(self, name: str) -> str:
        with self._lock:
            if name not in self._seen and len(self._seen) >= MAX_LABEL_VALUES:
                return OTHER
            self._seen.add(name)
        return name
