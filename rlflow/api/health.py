"""Whether the service is well, and whether its data can be trusted: two questions, two answers.

*Health* is about the process: HTTP 503 only for what starting again would cure. *Readiness* is about the data: ready
only while every market asked for has a valid book, the feed has been heard of lately, and the writer makes progress.
Both are pure functions of the figures, which hold what `watch.Watch` makes of them over time; they watch progress, not
the absence of errors.
"""

from typing import Literal, TypeAlias

import attrs

from rlflow.api.service import Figures, Service
from rlflow.data.following.lanes import LaneStatus

Status: TypeAlias = Literal["healthy", "degraded", "unhealthy"]
_WORSE: tuple[Status, ...] = ("healthy", "degraded", "unhealthy")

# The venue pings every 10 s (protocol 3.6); two missed ones and a half are silence.
SILENCE_S = 25.0
# One statement may take 60 s, and a step of catching up some seconds; a writer that has had work for longer than this
# without any progress hangs, and only a restart would cure it.
WRITER_HANGS_S = 300.0
# The database at hand, work waiting, and nothing committed for so long: something is wrong, though it may pass.
WRITER_SLOW_S = 15.0
# A batch waits for the flush interval, 60 s at most, and then for one commit.
BACKLOG_OLD_S = 75.0
# The live books read what came within a flush interval, which is 60 s at most, and are asked for it on every message.
BOOKS_SLOW_S = 10.0
BOOKS_HANG_S = 90.0
# The journal is brought to the disk once per flush interval.
SYNC_SLOW_S = 90.0
# A loss of frames is told for so long; afterwards its gap row is what tells of it.
LOSS_SHOWN_S = 300.0
LOOP_LAG_S = 1.0
# Lists come every five minutes; three of them failed, and nobody else has told of new markets.
LISTS_OLD_S = 900.0


@attrs.frozen
class Component:
    """One part's state. `reason` is None while it is healthy."""

    status: Status
    reason: str | None = None
    details: dict[str, object] = attrs.Factory(dict)
    needs_restart: bool = False
    spoils_data: bool = True
    """Whether what is wrong here makes the data untrustworthy."""
    since_s: float = 0.0
    """For how long it has had this status."""

    def as_json(self) -> dict[str, object]:
        """Return the component as `/rl/health` shows it."""
        shown: dict[str, object] = {"status": self.status, **self.details, "since_s": round(self.since_s, 1)}
        return shown if self.reason is None else shown | {"reason": self.reason}


@attrs.frozen
class Health:
    """All parts' states and the worst of them."""

    components: dict[str, Component]

    @property
    def status(self) -> Status:
        """The worst status of any component."""
        return max((component.status for component in self.components.values()), key=_WORSE.index)

    @property
    def needs_restart(self) -> bool:
        """Whether starting the process again would cure something."""
        return any(component.needs_restart for component in self.components.values())

    def as_json(self) -> dict[str, object]:
        """Return the answer of `/rl/health`."""
        return {
            "status": self.status,
            "service": "rlflow",
            "components": {name: component.as_json() for name, component in self.components.items()},
        }


def assess(figures: Figures, *, environment: str, is_simulated: bool) -> Health:
    """Judge every component."""
    return Health(
        {
            "database": _database(figures),
            "write_queue": _write_queue(figures),
            "orderbook_client": _client(figures, environment=environment, is_simulated=is_simulated),
            "orderbook_state": _books(figures),
            "journal": _journal(figures),
            "event_loop": _loop(figures),
            "market_lists": _lists(figures),
        }
    )


def judge(service: Service, figures: Figures) -> Health:
    """Judge every component, and remember since when it is as it is."""
    settings = service.settings
    health = assess(figures, environment=settings.environment, is_simulated=settings.is_simulated)
    statuses = {name: component.status for name, component in health.components.items()}
    since = service.watch.since(service.clock(), statuses)
    return Health({name: attrs.evolve(component, since_s=since[name]) for name, component in health.components.items()})


def reasons_against(service: Service, figures: Figures) -> list[str]:
    """Return every reason why the service's data cannot be trusted now; empty when it is ready."""
    return unready(figures, judge(service, figures))


def unready(figures: Figures, health: Health) -> list[str]:
    """Return every reason why the data cannot be trusted now; empty when it can."""
    reasons = [
        f"{name}: {component.reason}"
        for name, component in health.components.items()
        if component.reason is not None and component.spoils_data
    ]
    if not figures.captures.frames:
        reasons.append("nothing has been received yet")
    if figures.following.series:
        reasons += _reasons_against_series(figures)
    return reasons


def _reasons_against_series(figures: Figures) -> list[str]:
    """Return why it is not known which markets there are, of the series that are followed."""
    following = figures.following
    if not figures.books.valid:
        if not following.lists:
            return [f"no market of {', '.join(following.series)} is known yet"]
        if following.without_markets:
            return [f"no market of {', '.join(following.without_markets)} was ever listed"]
    listed_ns = following.last_list_ns or figures.started_ns
    age_s = (figures.now_ns - listed_ns) / 1e9
    is_told = figures.books.valid and figures.feeds.is_hearing_lifecycle
    return [] if is_told or age_s <= LISTS_OLD_S else [f"markets were last listed {age_s:.0f} s ago"]


def _database(figures: Figures) -> Component:
    writer = figures.writer
    if writer.is_connected and writer.other_recorders:
        reason = f"another process records into the same store, from {', '.join(writer.other_recorders)}"
        return Component("degraded", reason, spoils_data=False)
    if writer.is_connected:
        return Component("healthy")
    return Component("degraded", writer.last_error or "not connected yet")


def _write_queue(figures: Figures) -> Component:
    writer = figures.writer
    details: dict[str, object] = {
        "messages_enqueued": writer.messages_enqueued,
        "rows_written": writer.rows_written,
        "backlog_bytes": writer.backlog_bytes,
        "backlog_age_s": round(figures.progress.backlog_age_s, 1),
        "is_catching_up": writer.is_catching_up,
    }
    stalled_s = writer.stalled_s
    reason = f"has work but has made no progress for {stalled_s:.0f} s"
    if stalled_s > WRITER_HANGS_S:
        return Component("unhealthy", reason, details, needs_restart=True)
    if stalled_s > WRITER_SLOW_S:
        return Component("degraded", reason, details)
    if figures.self_check.differences:
        reason = f"the tables differ from the live book: {figures.self_check.last_difference}"
        return Component("unhealthy", reason, details)
    behind = f"{writer.backlog_bytes} bytes and {figures.progress.backlog_age_s:.0f} s behind"
    if writer.is_catching_up:
        return Component("degraded", f"catching up, {behind}", details)
    # It makes progress, but less than comes in; or each connection fails before anything is committed.
    if figures.progress.backlog_age_s > BACKLOG_OLD_S:
        return Component("degraded", behind, details)
    return Component("healthy", details=details)


def _client(figures: Figures, *, environment: str, is_simulated: bool) -> Component:
    feeds = figures.feeds
    details: dict[str, object] = {
        "connected": feeds.is_connected,
        "environment": environment,
        "simulated": is_simulated,
        "reconnects": feeds.reconnects,
        "feeds": [
            {
                "name": lane.name,
                "connected": lane.feed.is_connected,
                "state": lane.feed.state,
                "markets": lane.markets,
                "reconnects": max(lane.feed.connections - 1, 0),
            }
            for lane in feeds.feeds
        ],
    }
    if not feeds.feeds:
        return Component("degraded", "not connected yet", details)
    status, reason = max((_feed(lane) for lane in feeds.feeds), key=lambda found: _WORSE.index(found[0]))
    ill = sum(_feed(lane)[1] is not None for lane in feeds.feeds)
    if reason is not None and len(feeds.feeds) > 1:
        reason = f"{ill} of {len(feeds.feeds)} feeds: {reason}"
    # Where every market comes twice, one connection may be missed for a while.
    is_covered = feeds.copies > 1 and any(
        all(_feed(lane)[1] is None for lane in feeds.feeds if lane.copy == copy) for copy in range(feeds.copies)
    )
    return Component(status, reason, details, spoils_data=not is_covered)


def _feed(lane: LaneStatus) -> tuple[Status, str | None]:
    """Return how one connection is, and why."""
    feed = lane.feed
    if feed.state == "refused":
        return "unhealthy", feed.last_cause
    if not feed.is_connected:
        return "degraded", f"not connected: {feed.last_cause or feed.state}"
    if feed.silent_s is not None and feed.silent_s > SILENCE_S:
        return "degraded", f"nothing heard for {feed.silent_s:.0f} s"
    if lane.is_mute:
        return "degraded", f"no word about any book for {feed.books_silent_s:.0f} s"
    return "healthy", None


def _lists(figures: Figures) -> Component:
    following = figures.following
    details: dict[str, object] = {
        "lists": following.lists,
        "events": following.events,
        "hears_events": figures.feeds.is_hearing_lifecycle,
    }
    if following.last_error is not None:
        # What is known goes on being followed.
        return Component("degraded", f"REST: {following.last_error}", details, spoils_data=False)
    if unlisted := following.unlisted:
        reason = f"the venue lists no market {', '.join(unlisted[:5])}{' and more' if len(unlisted) > 5 else ''}"
        return Component("degraded", reason, details, spoils_data=False)
    if without := following.without_markets:
        reason = (
            f"no market of series {', '.join(without[:5])}{' and more' if len(without) > 5 else ''} was ever listed"
        )
        return Component("degraded", reason, details, spoils_data=False)
    if following.series and figures.feeds.is_connected and not figures.feeds.is_hearing_lifecycle:
        reason = "the venue tells of no events: new markets are found by lists alone"
        return Component("degraded", reason, details, spoils_data=False)
    return Component("healthy", details=details)


def _books(figures: Figures) -> Component:
    books, stalled_s, lacking = figures.books, figures.progress.books_stalled_s, figures.lacking
    details: dict[str, object] = {"markets": books.markets, "valid": books.valid}
    if stalled_s > BOOKS_SLOW_S:
        reason = f"have read nothing for {stalled_s:.0f} s, and {figures.journal.end - books.cursor} bytes wait"
        return Component("unhealthy", reason, details, needs_restart=stalled_s > BOOKS_HANG_S)
    if books.dropped:
        return _loss(f"{books.dropped} frames were lost to storage", figures.progress.loss_age_s, details)
    if lacking:
        reason = f"no valid book of {', '.join(lacking[:5])}{' and more' if len(lacking) > 5 else ''}"
        return Component("degraded", reason, details)
    return Component("healthy", details=details)


def _loss(reason: str, age_s: float, details: dict[str, object]) -> Component:
    """Return the state of a part that has lost frames: a matter of health at first, of the gap rows afterwards."""
    if age_s > LOSS_SHOWN_S:
        return Component("degraded", reason, details, spoils_data=False)
    return Component("unhealthy", reason, details)


def _journal(figures: Figures) -> Component:
    journal, captures, stalled_s = figures.journal, figures.captures, figures.progress.sync_stalled_s
    details: dict[str, object] = {
        "bytes": journal.used_bytes,
        "max_bytes": journal.max_bytes,
        "unprotected": captures.unprotected,
    }
    loss_age_s = figures.progress.loss_age_s
    if captures.dropped and (captures.is_protected or loss_age_s <= LOSS_SHOWN_S):
        return _loss(f"{captures.dropped} frames were dropped: no room anywhere", loss_age_s, details)
    if not captures.is_protected:
        return Component("degraded", "full: frames go to the database unprotected", details)
    if stalled_s > SYNC_SLOW_S:
        reason = f"nothing has reached the disk for sure for {stalled_s:.0f} s: a power cut would cost as much"
        return Component("degraded", reason, details, spoils_data=False)
    return Component("healthy", details=details)


def _loop(figures: Figures) -> Component:
    lag_s = figures.worst_lag_s
    details: dict[str, object] = {"worst_lag_ms": round(lag_s * 1000, 1)}
    if lag_s > LOOP_LAG_S:
        return Component("degraded", f"was held up for {lag_s:.1f} s", details, spoils_data=False)
    return Component("healthy", details=details)
