"""A commander with many markets, with none, with more than the venue allows, and with an ear for markets' lives."""

import pytest

from rlflow.errors import FeedLostError
from rlflow.kalshi.commander import Commander
from rlflow.kalshi.lifecycle import LIFECYCLE
from rlflow.kalshi.notices import OUT_OF_ORDER
from rlflow.kalshi.refused import ASK_AGAIN_S
from rlflow.kalshi.wanted import CHUNK, CHUNK_LIMIT_S
from tests.test_commander import BOOKS, Talk

TRADES = "trade"


def many(count: int) -> tuple[str, ...]:
    return tuple(f"KX{number:04d}" for number in range(count))


def added(said: list[str]) -> list[int]:
    """How many markets each command adds."""
    return [len(line.split()) - 2 for line in said if line.startswith("add_markets")]


class Listening(Talk):
    """A conversation whose commander hears the lifecycle channel too."""

    def __attrs_post_init__(self) -> None:
        self.commander = Commander(self.tickers, self.channels, hears_lifecycle=True)
        self._note(self.commander.connected(self.now))


def test_the_lifecycle_channel_is_subscribed_without_markets() -> None:
    talk = Listening()
    assert [command["params"] for command in talk.sent] == [
        {"channels": [BOOKS], "market_tickers": ["KXA", "KXB"], "use_yes_price": False},
        {"channels": [LIFECYCLE]},
    ]
    assert talk.hear(talk.wire.subscribed(LIFECYCLE, 2)) == []
    assert talk.commander.sids == {LIFECYCLE: 1}


def test_a_listener_may_have_no_market_and_gets_some_later() -> None:
    talk = Listening(())
    assert [command["params"] for command in talk.sent] == [{"channels": [LIFECYCLE]}]
    talk.hear(talk.wire.subscribed(LIFECYCLE, 1))
    assert talk.commander.next_deadline() is None
    assert talk.follow("KXA") == ["subscribe orderbook_delta KXA"]


def test_the_last_market_that_goes_takes_its_subscriptions_along() -> None:
    talk = Listening(("KXA",), (BOOKS, TRADES))
    for channel, number in ((BOOKS, 1), (TRADES, 1), (LIFECYCLE, 2)):
        talk.hear(talk.wire.subscribed(channel, number))
    talk.valid("KXA")
    assert talk.follow() == ["unsubscribe 1", "unsubscribe 2"]
    talk.hear(talk.wire.unsubscribed(BOOKS, 3))
    talk.hear(talk.wire.unsubscribed(TRADES, 4))
    assert talk.commander.next_deadline() is None
    assert talk.follow("KXB") == ["subscribe orderbook_delta trade KXB"]


def test_markets_that_come_while_the_last_are_being_left_are_subscribed_then() -> None:
    talk = Listening(("KXA",))
    talk.hear(talk.wire.subscribed(BOOKS, 1))
    assert talk.follow() == ["unsubscribe 1"]
    assert talk.follow("KXB") == []
    assert talk.hear(talk.wire.unsubscribed(BOOKS, 3)) == ["subscribe orderbook_delta KXB"]


@pytest.mark.parametrize("code", [8, 9])
def test_a_venue_that_grants_no_lifecycle_channel_is_asked_again_and_keeps_its_books(code: int) -> None:
    talk = Listening()
    talk.hear(talk.wire.subscribed(BOOKS, 1))
    talk.valid("KXA", "KXB")
    assert talk.hear(talk.wire.error(code, 2)) == []
    assert talk.wait(ASK_AGAIN_S) == [f"subscribe {LIFECYCLE}"]


def test_a_dead_lifecycle_channel_is_subscribed_anew() -> None:
    talk = Listening()
    talk.hear(talk.wire.subscribed(BOOKS, 1))
    talk.hear(talk.wire.subscribed(LIFECYCLE, 2))
    assert talk.hear(talk.wire.error(25, channel=LIFECYCLE)) == [f"subscribe {LIFECYCLE}"]


def heard_all() -> Listening:
    """Return a conversation in which the books are valid and the lifecycle channel is live."""
    talk = Listening()
    talk.hear(talk.wire.subscribed(BOOKS, 1))
    talk.hear(talk.wire.subscribed(LIFECYCLE, 2))
    talk.valid("KXA", "KXB")
    return talk


def die_of(talk: Listening, cause: str) -> list[str]:
    """Let the lifecycle subscription end, and go on until it is asked for again."""
    if cause != "out of order":
        return talk.hear(talk.wire.error(int(cause), channel=LIFECYCLE))
    said = talk.invalid(cause=OUT_OF_ORDER, sid=talk.wire.sids[LIFECYCLE])
    assert [line.split()[0] for line in said] == ["unsubscribe"]
    return talk.hear(talk.wire.unsubscribed(LIFECYCLE, talk.last_id()))


@pytest.mark.parametrize("cause", ["10", "25", "out of order"])
def test_a_lifecycle_channel_that_keeps_dying_costs_no_connection(cause: str) -> None:
    talk, pauses = heard_all(), []
    for _ in range(8):
        said, died = die_of(talk, cause), talk.now
        while not said:
            deadline = talk.commander.next_deadline()
            assert deadline is not None
            said = talk.wait(deadline - talk.now)
        assert said == [f"subscribe {LIFECYCLE}"]
        talk.hear(talk.wire.subscribed(LIFECYCLE, talk.last_id()))
        pauses.append(talk.now - died)
    assert pauses == [0, 1, 2, 4, 8, ASK_AGAIN_S, ASK_AGAIN_S, ASK_AGAIN_S]


def test_a_lifecycle_channel_that_is_never_granted_costs_no_connection() -> None:
    talk = Listening()
    talk.hear(talk.wire.subscribed(BOOKS, 1))
    talk.valid("KXA", "KXB")
    assert talk.wait(29) == [f"subscribe {LIFECYCLE}"] * 2
    assert talk.wait(1 + ASK_AGAIN_S - 1) == []
    assert talk.wait(1) == [f"subscribe {LIFECYCLE}"]
    talk.hear(talk.wire.subscribed(LIFECYCLE, talk.last_id()))
    assert LIFECYCLE in talk.commander.sids
    assert talk.wait(600) == []


def test_a_lifecycle_channel_that_comes_too_fast_for_a_minute_costs_no_connection() -> None:
    talk = Listening()
    talk.hear(talk.wire.subscribed(BOOKS, 1))
    talk.valid("KXA", "KXB")
    for pause_s in (1, 2, 4, 8, 16, 32):
        assert talk.hear(talk.wire.error(27, talk.last_id())) == []
        assert talk.wait(pause_s) == [f"subscribe {LIFECYCLE}"]
    assert talk.hear(talk.wire.error(27, talk.last_id())) == []
    assert talk.wait(ASK_AGAIN_S) == [f"subscribe {LIFECYCLE}"]


def test_a_lifecycle_channel_that_cannot_be_left_costs_no_connection() -> None:
    talk = heard_all()
    said = talk.invalid(cause=OUT_OF_ORDER, sid=talk.wire.sids[LIFECYCLE])
    assert talk.wait(29) == said * 2
    assert talk.wait(1 + ASK_AGAIN_S) == [f"subscribe {LIFECYCLE}"]
    assert talk.hear(talk.wire.ok(None, talk.last_id(), LIFECYCLE)) == said


def test_a_commander_without_lifecycle_needs_a_market() -> None:
    with pytest.raises(ValueError, match="at least one market"):
        Talk().follow()


def test_many_markets_are_added_by_the_hundred_as_their_snapshots_come() -> None:
    tickers = many(250)
    talk = Talk(tickers)
    assert len(talk.sent[0]["params"]["market_tickers"]) == CHUNK
    assert talk.hear(talk.wire.subscribed(BOOKS, 1)) == []
    assert talk.valid(*tickers[:99]) == []
    assert added(talk.valid(tickers[99])) == [100]
    talk.hear(talk.wire.ok(list(tickers[:200]), 2, BOOKS))
    assert added(talk.valid(*tickers[100:200])) == [50]
    talk.hear(talk.wire.ok(list(tickers), 3, BOOKS))
    talk.valid(*tickers[200:])
    assert talk.commander.next_deadline() is None


def test_snapshots_that_do_not_come_hold_up_the_others_for_a_moment_only() -> None:
    talk = Talk(many(250))
    talk.hear(talk.wire.subscribed(BOOKS, 1))
    assert talk.wait(CHUNK_LIMIT_S - 0.1) == []
    assert added(talk.wait(0.2)) == [100]
    assert added(talk.wait(CHUNK_LIMIT_S)) == [50]


def test_a_new_market_does_not_wait_for_another_one() -> None:
    talk = Talk(("KXA", "KXB"))
    talk.hear(talk.wire.subscribed(BOOKS, 1))
    talk.valid("KXA")
    assert talk.follow("KXA", "KXB", "KXC") == ["add_markets 1 KXC"]


def test_trades_need_no_pace() -> None:
    talk = Talk(many(250), (BOOKS, TRADES))
    talk.hear(talk.wire.subscribed(BOOKS, 1))
    assert added(talk.hear(talk.wire.subscribed(TRADES, 1))) == [150]


def test_a_subscription_made_anew_begins_with_a_hundred_again() -> None:
    tickers = many(250)
    talk = Talk(tickers)
    talk.hear(talk.wire.subscribed(BOOKS, 1))
    talk.valid(*tickers[:100])
    talk.hear(talk.wire.error(25, channel=BOOKS))
    assert len(talk.sent[-1]["params"]["market_tickers"]) == CHUNK
    talk.hear(talk.wire.subscribed(BOOKS, 3))
    assert added(talk.valid(*tickers[:100])) == [100]


def test_a_subscription_that_is_full_keeps_what_it_has_and_says_so() -> None:
    tickers = many(150)
    talk = Talk(tickers)
    talk.hear(talk.wire.subscribed(BOOKS, 1))
    assert added(talk.valid(*tickers[:100])) == [50]
    assert talk.hear(talk.wire.error(26, 2, channel=BOOKS)) == []
    assert talk.commander.too_many == 150
    assert talk.wait(600) == []
    assert talk.commander.missing == frozenset()
    assert added(talk.follow(*tickers[:120])) == [20]
    assert talk.commander.too_many is None


def test_markets_that_take_others_places_find_room() -> None:
    talk = Talk(("KXA", "KXB"))
    talk.hear(talk.wire.subscribed(BOOKS, 1))
    talk.valid("KXA", "KXB")
    assert talk.follow("KXB", "KXC") == ["delete_markets 1 KXA", "add_markets 1 KXC"]


def test_no_subscription_is_without_markets_while_all_are_changed() -> None:
    talk = Talk(("KXA", "KXB"))
    talk.hear(talk.wire.subscribed(BOOKS, 1))
    talk.valid("KXA", "KXB")
    assert talk.follow("KXC") == ["add_markets 1 KXC", "delete_markets 1 KXA KXB"]


def test_markets_that_come_before_others_have_left_are_added_once_more() -> None:
    talk = Talk(("KXA", "KXB"))
    talk.hear(talk.wire.subscribed(BOOKS, 1))
    talk.valid("KXA", "KXB")
    talk.follow("KXB", "KXC")
    # The venue carries commands out concurrently.
    assert talk.hear(talk.wire.error(26, 3, BOOKS)) == []
    talk.hear(talk.wire.ok(["KXB"], 2, BOOKS))
    assert talk.wait(1) == ["add_markets 1 KXC"]
    assert talk.commander.too_many is None
    assert talk.hear(talk.wire.error(26, 4, BOOKS)) == []
    assert talk.commander.too_many == 2


def test_a_first_subscription_that_is_too_large_is_tried_with_half() -> None:
    talk = Talk(many(4))
    assert talk.hear(talk.wire.error(26, 1)) == ["subscribe orderbook_delta KX0000 KX0001"]
    assert talk.hear(talk.wire.error(26, 2)) == ["subscribe orderbook_delta KX0000"]
    assert talk.commander.too_many == 2
    with pytest.raises(FeedLostError, match="no market at all"):
        talk.hear(talk.wire.error(26, 3))


def test_a_refused_market_is_asked_for_again() -> None:
    talk = Talk(("KXA", "KXNEW"))
    assert talk.hear(talk.wire.error(11, 1, market_ticker="KXNEW")) == ["subscribe orderbook_delta KXA"]
    talk.hear(talk.wire.subscribed(BOOKS, 2))
    talk.valid("KXA")
    assert talk.commander.missing == {"KXNEW"}
    assert talk.wait(ASK_AGAIN_S) == ["add_markets 1 KXNEW"]
    assert talk.commander.missing == frozenset()


def test_a_refused_market_is_asked_for_again_in_time_while_others_are_refused() -> None:
    talk = Talk(("KXA", "KXONE"))
    talk.hear(talk.wire.error(11, 1, market_ticker="KXONE"))
    talk.hear(talk.wire.subscribed(BOOKS, 2))
    talk.valid("KXA")
    assert talk.wait(ASK_AGAIN_S - 15) == []
    assert talk.follow("KXA", "KXONE", "KXTWO") == ["add_markets 1 KXTWO"]
    talk.hear(talk.wire.error(11, talk.last_id(), BOOKS, market_ticker="KXTWO"))
    assert talk.wait(15) == ["add_markets 1 KXONE"]
    assert talk.commander.missing == {"KXTWO"}


def test_a_refused_market_is_subscribed_at_once_when_its_snapshot_is_asked_for() -> None:
    talk = Talk(("KXA", "KXNEW"))
    talk.hear(talk.wire.error(11, 1, market_ticker="KXNEW"))
    talk.hear(talk.wire.subscribed(BOOKS, 2))
    talk.valid("KXA")
    assert talk.resnapshot("KXA", "KXNEW", "KXOTHER") == ["get_snapshot 1 KXA", "add_markets 1 KXNEW"]
    assert talk.commander.missing == frozenset()


def test_an_only_market_that_was_refused_is_subscribed_when_its_snapshot_is_asked_for() -> None:
    talk = Listening(("KXNEW",))
    talk.hear(talk.wire.error(11, 1, market_ticker="KXNEW"))
    assert talk.resnapshot("KXNEW") == ["subscribe orderbook_delta KXNEW"]
