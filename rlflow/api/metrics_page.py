"""The figures for Prometheus, read when it asks; nothing is counted twice and nothing is labelled by market."""

from collections.abc import Callable, Iterable

import msgspec
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from rlflow.api.service import Figures
from rlflow.api.status import accounting


class _Figures(Collector):
    def __init__(self, read: Callable[[], Figures], is_ready: Callable[[Figures], bool]) -> None:
        self._read = read
        self._is_ready = is_ready

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterable[Metric]:
        figures = self._read()
        yield _gauge("ready", "1 while the data can be trusted.", float(self._is_ready(figures)))
        yield from _frames(figures)
        yield from _writer(figures)
        yield from _books(figures)
        yield from _feeds(figures)
        yield from _rest(figures)


def _counter(name: str, meaning: str, value: float) -> CounterMetricFamily:
    return CounterMetricFamily(f"rlflow_{name}", meaning, value=value)


def _gauge(name: str, meaning: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"rlflow_{name}", meaning, value=value)


def _frames(figures: Figures) -> Iterable[Metric]:
    captures = figures.captures
    yield _counter("frames_received", "Frames taken from the socket.", captures.frames)
    yield _counter("frames_journalled", "Frames written to the journal.", captures.journalled)
    yield _counter("frames_unprotected", "Frames that the full journal could not take.", captures.unprotected)
    yield _counter("frames_dropped", "Frames lost: neither journal nor memory had room.", captures.dropped)
    became = CounterMetricFamily("rlflow_frames_committed", "What committed frames became.", labels=["outcome"])
    for outcome, value in msgspec.structs.asdict(figures.stored).items():
        became.add_metric([outcome], value)
    yield became
    balances = accounting(figures)["balances"]
    yield _gauge("accounting_balances", "1 while every received frame is accounted for.", float(balances))


def _writer(figures: Figures) -> Iterable[Metric]:
    writer = figures.writer
    yield _gauge("database_connected", "1 while the writer has a connection.", float(writer.is_connected))
    yield _counter("rows_written", "Rows committed from live books.", writer.rows_written)
    yield _counter("commits", "Transactions of live rows.", writer.commits)
    yield _gauge("commit_seconds", "How long the last commit took.", writer.commit_s)
    yield _gauge("backlog_bytes", "Journal bytes that are not in the database.", writer.backlog_bytes)
    yield _gauge("write_queue_used", "Row batches in the writer's channel.", writer.channel_used)
    yield _gauge("catching_up", "1 while the writer reads the journal.", float(writer.is_catching_up))


def _books(figures: Figures) -> Iterable[Metric]:
    books = figures.books
    yield _gauge("books", "Markets that a book was ever kept of.", books.markets)
    yield _gauge("books_valid", "Books that can be trusted.", books.valid)
    yield _counter("book_lapses", "Books that were valid somewhere, and then nowhere.", books.lapses)
    yield _counter("gap_rows", "Gap rows made by the live books.", books.gaps.rows)
    yield _counter("contradicted_books", "Books that the venue said to be others.", books.gaps.contradicted)
    yield _counter("messages", "Frames applied to the live books.", books.messages)
    latency = books.latency
    quantiles = GaugeMetricFamily(
        "rlflow_latency_quantile_seconds", "From socket read to visible book.", labels=["quantile"]
    )
    for label, value in (("0.5", latency.p50_ns), ("0.99", latency.p99_ns), ("0.999", latency.p999_ns)):
        quantiles.add_metric([label], (value or 0) / 1e9)
    yield quantiles


def _feeds(figures: Figures) -> Iterable[Metric]:
    connected = GaugeMetricFamily("rlflow_feed_connected", "1 while connected to the venue.", labels=["feed"])
    silent = GaugeMetricFamily("rlflow_feed_silent_seconds", "Since the last byte of the venue.", labels=["feed"])
    markets = GaugeMetricFamily("rlflow_feed_markets", "Markets that the feed is to follow.", labels=["feed"])
    reconnects = CounterMetricFamily("rlflow_feed_reconnects", "Connections after the first.", labels=["feed"])
    for lane in figures.feeds.feeds:
        connected.add_metric([lane.name], float(lane.feed.is_connected))
        silent.add_metric([lane.name], lane.feed.silent_s or 0.0)
        markets.add_metric([lane.name], lane.markets)
        reconnects.add_metric([lane.name], max(lane.feed.connections - 1, 0))
    yield from (connected, silent, markets, reconnects)
    yield _gauge("markets_per_connection", "Markets that a feed has at most.", figures.feeds.capacity)
    yield _counter("lifecycle_events", "Lifecycle events about markets of ours.", figures.following.events)


def _rest(figures: Figures) -> Iterable[Metric]:
    journal, check = figures.journal, figures.self_check
    yield _gauge("journal_bytes", "Bytes in the journal.", journal.used_bytes)
    yield _counter("self_checks", "Live books compared with the tables.", check.checks)
    yield _counter("self_check_differences", "Comparisons that found a difference.", check.differences)
    yield _gauge("tasks", "Trio's tasks.", figures.tasks)
    yield _gauge(
        "backlog_age_seconds", "How long the oldest unwritten frame has waited.", figures.progress.backlog_age_s
    )
    yield _gauge("loop_lag_seconds", "The event loop's worst hold-up of the last minute.", figures.worst_lag_s)


def metrics_text(read: Callable[[], Figures], is_ready: Callable[[Figures], bool]) -> bytes:
    """Return the answer of `/rl/metrics` in Prometheus' text format."""
    registry = CollectorRegistry()
    registry.register(_Figures(read, is_ready))
    return generate_latest(registry)
