"""Everything about the running service in one answer, and the line that shows that the frames balance."""

from typing import Any
from uuid import UUID

import attrs
import msgspec

from rlflow import __version__
from rlflow.api.health import assess
from rlflow.api.service import Figures, Service
from rlflow.session.rows import Counts


def accounting(figures: Figures) -> dict[str, int | bool]:
    """Return where every received frame is; `balances` is whether the figures add up.

    received = journalled + unprotected + dropped, and what is stored, control, duplicate and so on never exceeds what
    was received: the rest is pending.
    """
    captures, stored = figures.captures, figures.stored
    accounted = stored.total()
    return {
        "received": captures.frames,
        "journalled": captures.journalled,
        "unprotected": captures.unprotected,
        "dropped": captures.dropped,
        **msgspec.structs.asdict(stored),
        "pending": captures.frames - accounted,
        "balances": captures.frames == captures.journalled + captures.unprotected + captures.dropped
        and captures.frames >= accounted,
    }


def status_json(service: Service) -> dict[str, object]:
    """Return the answer of `/rl/status`."""
    figures, settings = service.figures(), service.settings
    uptime_s = max((figures.now_ns - figures.started_ns) / 1e9, 1e-9)
    return {
        "service": "rlflow",
        "version": __version__,
        "status": assess(figures, environment=settings.environment, is_simulated=settings.is_simulated).status,
        "environment": settings.environment,
        "simulated": settings.is_simulated,
        "sampled": settings.sample_rate > 1,
        "uptime_s": round(uptime_s, 1),
        "settings": settings.public(),
        "markets": list(settings.tickers),
        "rates": {
            "messages_per_s": round(figures.books.messages / uptime_s, 1),
            "rows_per_s": round(figures.writer.rows_written / uptime_s, 1),
        },
        "accounting": accounting(figures),
        "latency_us": _latency(figures),
        "feed": _plain(figures.feed),
        "books": _plain(figures.books),
        "write_queue": _plain(figures.writer),
        "captures": _plain(figures.captures),
        "journal": _plain(figures.journal),
        "self_check": _plain(figures.self_check),
        "worst_loop_lag_ms": round(figures.worst_lag_s * 1000, 1),
    }


def _latency(figures: Figures) -> dict[str, float | int | None]:
    """Return the quantiles from the return of the socket read to the visible book, in microseconds."""
    latency = figures.books.latency

    def us(value_ns: int | None) -> float | None:
        return None if value_ns is None else round(value_ns / 1000, 1)

    return {
        "count": latency.count,
        "p50": us(latency.p50_ns),
        "p99": us(latency.p99_ns),
        "p999": us(latency.p999_ns),
        "max": us(latency.max_ns),
    }


def _plain(statistics: attrs.AttrsInstance) -> dict[str, Any]:
    """Return a statistics object as JSON can hold it."""
    return attrs.asdict(statistics, value_serializer=lambda _owner, _field, value: _json(value))


def _json(value: object) -> object:
    if isinstance(value, Counts):
        return msgspec.structs.asdict(value)
    return str(value) if isinstance(value, UUID) else value
