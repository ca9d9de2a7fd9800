"""Everything about the running service in one answer, and the line that shows that the frames balance."""

from typing import Any
from uuid import UUID

import attrs
import msgspec

from rlflow import __version__
from rlflow.api.health import judge
from rlflow.api.service import Figures, Service
from rlflow.data.following.lanes import LaneStatus
from rlflow.session.rows import Counts


def accounting(figures: Figures) -> dict[str, int | bool]:
    """Return where every received frame is; `balances` is whether the figures add up.

    received = journalled + unprotected + dropped, and received = stored + control + duplicate + unknown + rejected +
    sampled out + lost + pending. Lost is what the store knows to be lost: dropped, or seen by the live books and then
    lost to storage. Until it knows, that is pending; nothing else that the books have seen is, while the writer has
    nothing to do.
    """
    captures, stored = figures.captures, figures.stored
    outcomes = msgspec.structs.asdict(stored)
    outcomes["lost"] = outcomes.pop("dropped")
    return {
        "received": captures.frames,
        "journalled": captures.journalled,
        "unprotected": captures.unprotected,
        "dropped": captures.dropped,
        **outcomes,
        "pending": captures.frames - stored.total(),
        "balances": captures.frames == captures.journalled + captures.unprotected + captures.dropped
        and _are_accounted_for(figures),
    }


def _are_accounted_for(figures: Figures) -> bool:
    """Return whether each stage of the way has seen what it must have seen."""
    captures, books, writer, stored = figures.captures, figures.books, figures.writer, figures.stored
    taken, kept = captures.journalled + captures.unprotected, stored.total() - stored.dropped
    if not taken >= books.messages >= kept:
        return False
    is_idle = not (writer.backlog_bytes or writer.channel_used or writer.held_frames)
    return not is_idle or books.messages == kept + books.dropped


def status_json(service: Service) -> dict[str, object]:
    """Return the answer of `/rl/status`."""
    figures, settings = service.figures(), service.settings
    return {
        "service": "rlflow",
        "version": __version__,
        "status": judge(service, figures).status,
        "environment": settings.environment,
        "simulated": settings.is_simulated,
        "sampled": settings.sample_rate > 1,
        "uptime_s": round((figures.now_ns - figures.started_ns) / 1e9, 1),
        "tasks": figures.tasks,
        "settings": settings.public(),
        "markets": list(service.following.followed()),
        "rates": {
            "messages_per_s": round(figures.progress.messages_per_s, 1),
            "rows_per_s": round(figures.progress.rows_per_s, 1),
        },
        "accounting": accounting(figures),
        "latency_us": _latency(figures),
        "feeds": [_lane(lane) for lane in figures.feeds.feeds],
        "markets_per_connection": figures.feeds.capacity,
        "following": _plain(figures.following),
        "gaps": _plain(figures.books.gaps),
        "books": _without(_plain(figures.books), "gaps", "latency"),
        "write_queue": _plain(figures.writer),
        "captures": _plain(figures.captures),
        "journal": _plain(figures.journal),
        "self_check": _plain(figures.self_check),
        **{name: _plain(read()) for name, read in service.others.items()},
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


def _lane(lane: LaneStatus) -> dict[str, Any]:
    """Return one connection, or the attempt at one, in one flat object."""
    found, feed = _plain(lane), _plain(lane.feed)
    return _without(found, "feed") | feed


def _plain(statistics: attrs.AttrsInstance) -> dict[str, Any]:
    """Return a statistics object as JSON can hold it."""
    return attrs.asdict(statistics, value_serializer=lambda _owner, _field, value: _json(value))


def _without(figures: dict[str, Any], *names: str) -> dict[str, Any]:
    """Leave out what stands elsewhere in the answer."""
    return {name: value for name, value in figures.items() if name not in names}


def _json(value: object) -> object:
    if isinstance(value, Counts):
        return msgspec.structs.asdict(value)
    return str(value) if isinstance(value, UUID) else value
