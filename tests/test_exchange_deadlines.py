"""Closes and expiries come before whatever happens at their time or later, however late the venue's other steps are."""

from collections.abc import Callable

import pytest

from rlflow.exchange.markets.floor import Outlets
from rlflow.exchange.markets.market_life import IllegalStepError
from rlflow.exchange.markets.series import SeriesSpec
from rlflow.exchange.markets.venue import Venue, VenueSpec
from rlflow.exchange.markets.venue_clock import VenueClock
from rlflow.exchange.matching.orders import AmendRequest, DecreaseRequest, OrderRefusedError, OrderRequest
from rlflow.exchange.wire.items import Item
from tests.venue_driver import SECOND_NS, START_NS, Driven, Follower, body, frame, levels

NAMED = "KXSIM-27JAN01-A"
CLOSING = "KXS-26NOV220001-1"
CLOSE_NS = START_NS // SECOND_NS * SECOND_NS + 60 * SECOND_NS


def closing() -> Driven:
    """Return a venue whose only open market closes within a minute, at `CLOSE_NS`."""
    driven = Driven(VenueSpec(series=(SeriesSpec("KXS", 60),), rate=50.0))
    assert driven.venue.listings[CLOSING].sheet.close_ns == CLOSE_NS
    return driven


def named() -> Driven:
    return Driven(VenueSpec((NAMED,), rate=300.0))


# The clock


def test_a_deadline_is_kept_at_its_own_time_before_the_clock_gets_there() -> None:
    clock = VenueClock(100)
    kept: list[tuple[str, int]] = []
    clock.note_deadline(300, lambda at_ns: kept.append(("second", at_ns)))
    clock.note_deadline(200, lambda at_ns: kept.append(("first", at_ns)))
    assert clock.next_ns == 200
    assert clock.advance(199) == 199
    assert kept == []
    assert clock.is_due(200)
    assert clock.advance(400) == 400
    assert kept == [("first", 200), ("second", 300)]
    assert not clock.is_due(500)


def test_a_deadline_that_has_passed_is_kept_at_once_and_one_may_note_another() -> None:
    clock = VenueClock(100)
    kept: list[int] = []
    clock.note_deadline(50, lambda _: clock.note_deadline(150, kept.append))
    assert clock.advance(10) == 100
    assert kept == []
    assert clock.advance(200) == 200
    assert kept == [150]


# The close


@pytest.mark.parametrize("late_ns", [0, 5 * SECOND_NS])
def test_from_the_close_on_every_verb_of_an_account_is_refused(late_ns: int) -> None:
    driven = closing()
    venue, at_ns = driven.venue, CLOSE_NS + late_ns
    order = venue.place("key", OrderRequest(CLOSING, "bid", 100, 500), CLOSE_NS - 1).order
    verbs: list[Callable[[], object]] = [
        lambda: venue.place("key", OrderRequest(CLOSING, "bid", venue.top(CLOSING).ask, 100), at_ns),
        lambda: venue.amend("key", order.order_id, AmendRequest(CLOSING, "bid", 200, 500), at_ns),
        lambda: venue.decrease("key", order.order_id, DecreaseRequest(reduce_by=100), at_ns),
        lambda: venue.cancel("key", order.order_id, at_ns),
    ]
    for verb in verbs:
        with pytest.raises(OrderRefusedError, match="MARKET_INACTIVE"):
            verb()
    venue.cancel_all("key", at_ns)
    assert venue.account("key").orders[order.order_id] == order
    assert (venue.listings[CLOSING].status, venue.listings[CLOSING].closed_ns) == ("closed", CLOSE_NS)


def test_the_crowd_does_not_act_in_a_market_that_should_be_closed() -> None:
    driven = closing()
    before = driven.venue.image(CLOSING)
    for number in range(100):
        assert all(item.ticker != CLOSING for item in driven.venue.act(CLOSE_NS + number))
    assert driven.venue.image(CLOSING) == before


def test_what_is_done_to_a_market_behind_its_close_finds_it_closed() -> None:
    driven = closing()
    with pytest.raises(IllegalStepError, match="is closed"):
        driven.venue.control.pause(CLOSING, CLOSE_NS)
    driven.venue.control.move_close(CLOSING, CLOSE_NS + 60 * SECOND_NS, CLOSE_NS + SECOND_NS)
    assert driven.events(CLOSING)[-2:] == ["close_date_updated", "activated"]


# Expiry


def test_an_expired_order_is_not_there_for_an_account_that_comes_later() -> None:
    driven = named()
    venue, top = driven.venue, driven.venue.top(NAMED)
    expiring = OrderRequest(NAMED, "bid", top.bid, 50, expiration_ns=START_NS + SECOND_NS)
    placed = venue.place("ann", expiring, START_NS).order
    sweeping = OrderRequest(NAMED, "ask", top.bid, top.bid_size + 50, time_in_force="immediate_or_cancel")
    sold = venue.place("bob", sweeping, START_NS + 10 * SECOND_NS)
    assert sold.fill_count == top.bid_size
    order = venue.account("ann").orders[placed.order_id]
    assert (order.status, order.reason, order.fill_count) == ("canceled", "ExpiryCancel", 0)
    assert order.updated_ns == START_NS + SECOND_NS


def test_an_order_whose_time_was_amended_expires_by_the_new_time() -> None:
    driven = named()
    venue = driven.venue
    order = venue.place("ann", OrderRequest(NAMED, "bid", 100, 50, expiration_ns=START_NS + SECOND_NS), START_NS).order
    longer = AmendRequest(NAMED, "bid", 100, 50, expiration_ns=START_NS + 3 * SECOND_NS)
    venue.amend("ann", order.order_id, longer, START_NS)
    assert venue.cancel("ann", order.order_id, START_NS + 2 * SECOND_NS).reduced_by == 50
    again = venue.place("ann", OrderRequest(NAMED, "bid", 100, 50), START_NS + 2 * SECOND_NS).order
    venue.amend("ann", again.order_id, longer, START_NS + 2 * SECOND_NS)
    with pytest.raises(OrderRefusedError, match="404"):
        venue.cancel("ann", again.order_id, START_NS + 3 * SECOND_NS)


def test_expiries_between_two_actions_of_the_crowd_are_published_in_their_place() -> None:
    # As the driver does it: a batch of actions is published when all of them are done.
    published: list[Item] = []
    venue = Venue(VenueSpec((NAMED,), rate=300.0), START_NS, Outlets(published.extend))
    follower, batch = Follower(), []
    published.clear()
    follower.books[NAMED] = levels(venue.image(NAMED))
    for number in range(1, 20):
        request = OrderRequest(NAMED, "bid", 100, number, expiration_ns=START_NS + number * SECOND_NS)
        venue.place("ann", request, START_NS)
    for number in range(1, 400):
        batch += venue.act(START_NS + number * SECOND_NS // 10)
    follower.follow(published + batch)
    assert follower.books[NAMED] == levels(venue.image(NAMED))
    expired = [body(item) for item in batch if item.channel == "user_orders"]
    assert [msg["last_update_reason"] for msg in expired] == ["ExpiryCancel"] * 19
    assert [msg["last_updated_ts_ms"] for msg in expired] == [
        (START_NS + number * SECOND_NS) // 10**6 for number in range(1, 20)
    ]


# When it is told


def test_what_was_late_says_when_it_happened_and_when_it_was_sent() -> None:
    driven = closing()
    venue, late_ns = driven.venue, CLOSE_NS + 5 * SECOND_NS
    venue.place("key", OrderRequest(CLOSING, "bid", 100, 100, expiration_ns=CLOSE_NS - SECOND_NS), START_NS)
    driven.take()
    venue.keep_time(late_ns)
    told = {item.channel: frame(item) for item in reversed(driven.items)}
    assert told.keys() >= {"orderbook_delta", "user_orders", "ticker", "market_lifecycle_v2"}
    assert {each["sending_ts_ms"] for each in map(frame, driven.items)} == {late_ns // 10**6}
    assert told["orderbook_delta"]["msg"]["ts_ms"] == (CLOSE_NS - SECOND_NS) // 10**6
    assert told["user_orders"]["msg"]["last_updated_ts_ms"] == (CLOSE_NS - SECOND_NS) // 10**6
    assert told["ticker"]["msg"]["ts_ms"] < late_ns // 10**6


def test_a_late_expiry_is_sent_at_the_time_of_the_verb_that_it_goes_before() -> None:
    driven = named()
    venue, at_ns = driven.venue, START_NS + 10 * SECOND_NS
    venue.place("ann", OrderRequest(NAMED, "bid", 100, 50, expiration_ns=START_NS + SECOND_NS), START_NS)
    driven.take()
    venue.place("bob", OrderRequest(NAMED, "bid", 100, 50), at_ns)
    changes = [frame(item) for item in driven.take("orderbook_delta")]
    assert [each["msg"]["ts_ms"] for each in changes] == [(START_NS + SECOND_NS) // 10**6, at_ns // 10**6]
    assert [each["sending_ts_ms"] for each in changes] == [at_ns // 10**6] * 2


def test_actions_of_the_crowd_that_were_due_before_are_sent_now() -> None:
    venue = named().venue
    venue.see_wall(START_NS + SECOND_NS)
    items = [item for number in range(20) for item in venue.act(START_NS + number * 10**6)]
    assert len(items) > 10
    assert {frame(item)["sending_ts_ms"] for item in items} == {(START_NS + SECOND_NS) // 10**6}
    assert all(body(item)["ts_ms"] < (START_NS + SECOND_NS) // 10**6 for item in items)
    later = [item for _ in range(5) for item in venue.act(START_NS + 2 * SECOND_NS)]
    assert {frame(item)["sending_ts_ms"] for item in later} == {(START_NS + 2 * SECOND_NS) // 10**6}
