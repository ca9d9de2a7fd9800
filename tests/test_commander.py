"""The conversation about books: what is sent, when, and that every book becomes valid again whatever goes wrong."""

from collections.abc import Iterable
from typing import Any
from uuid import UUID

import attrs
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlflow.errors import FeedLostError
from rlflow.kalshi.book_repair import SNAPSHOT_LIMIT_S
from rlflow.kalshi.commander import Commander
from rlflow.kalshi.decode import Decoder
from rlflow.kalshi.notices import OUT_OF_ORDER, BooksInvalid, BookValid, Heard
from rlflow.kalshi.wanted import CHUNK, CHUNK_LIMIT_S
from rlflow.session.records import Batch, Kind, Opened, local_batch
from rlflow.session.session import Session
from rlflow.units import Side
from tests.strategies import Wire
from tests.venue_double import Fault, VenueDouble

BOOKS, TRADES = "orderbook_delta", "trade"


@attrs.define
class Talk:
    """A commander, the wire of a venue that says what the test tells it to, and a clock."""

    tickers: Iterable[str] = ("KXA", "KXB")
    channels: tuple[str, ...] = (BOOKS,)
    now: float = 1000.0
    wire: Wire = attrs.Factory(Wire)
    decoder: Decoder = attrs.Factory(Decoder)
    commander: Commander = attrs.field(init=False)
    sent: list[dict[str, Any]] = attrs.Factory(list)
    """Every command so far."""

    def __attrs_post_init__(self) -> None:
        self.commander = Commander(self.tickers, self.channels)
        self._note(self.commander.connected(self.now))

    def _note(self, frames: list[bytes]) -> list[str]:
        commands = [msgspec.json.decode(frame) for frame in frames]
        self.sent += commands
        return [short(command) for command in commands]

    def hear(self, frame: bytes) -> list[str]:
        return self._note(self.commander.tell(Heard(self.decoder.decode(frame)), self.now))

    def valid(self, *tickers: str, sid: int | None = None) -> list[str]:
        live = sid or self.wire.sids[BOOKS]
        return [out for ticker in tickers for out in self._note(self.commander.tell(BookValid(live, ticker), self.now))]

    def invalid(self, *tickers: str, cause: str = "sequence gap", sid: int | None = -1) -> list[str]:
        at_fault = self.wire.sids[BOOKS] if sid == -1 else sid
        return self._note(self.commander.tell(BooksInvalid(at_fault, tickers, cause), self.now))

    def wait(self, seconds: float) -> list[str]:
        """Let time pass as a loop does that sleeps until the next deadline."""
        out, end = [], self.now + seconds
        while (deadline := self.commander.next_deadline()) is not None and deadline <= end:
            self.now = max(self.now, deadline)
            out += self._note(self.commander.tick(self.now))
        self.now = end
        return out

    def follow(self, *tickers: str) -> list[str]:
        return self._note(self.commander.follow(tickers, self.now))

    def leave(self) -> list[str]:
        return self._note(self.commander.leave(self.now))

    def resnapshot(self, *tickers: str) -> list[str]:
        return self._note(self.commander.resnapshot(tickers or None, self.now))

    def last_id(self) -> int:
        number: int = self.sent[-1]["id"]
        return number


def short(command: dict[str, Any]) -> str:
    """Say a command in one line."""
    params = command.get("params", {})
    words = [params.get("action", command["cmd"]), *params.get("channels", ()), *map(str, params.get("sids", ()))]
    return " ".join([*words, *params.get("market_tickers", ())])


def subscribed(*tickers: str) -> Talk:
    """Return a conversation in which the books of these markets are subscribed under sid 1 and valid."""
    talk = Talk(tickers or ("KXA", "KXB"))
    talk.hear(talk.wire.subscribed(BOOKS, 1))
    every = list(talk.tickers)
    for start in range(0, len(every), CHUNK):
        if start:
            talk.hear(talk.wire.ok(every, talk.last_id(), BOOKS))
        talk.valid(*every[start : start + CHUNK])
    assert talk.commander.next_deadline() is None
    return talk


# -- subscribing ------------------------------------------------------------------------------------------------------


def test_all_channels_are_subscribed_by_one_command_with_the_price_convention_said() -> None:
    commander = Commander(["KXB", "KXA"], use_yes_price=True)

    assert [msgspec.json.decode(frame) for frame in commander.connected(5.0)] == [
        {
            "id": 1,
            "cmd": "subscribe",
            "params": {"channels": [BOOKS, TRADES], "market_tickers": ["KXA", "KXB"], "use_yes_price": True},
        }
    ]
    assert commander.next_deadline() == 15.0


def test_price_convention_is_said_when_it_is_the_default_too() -> None:
    assert Talk().sent[0]["params"]["use_yes_price"] is False


def test_no_market_at_all_is_refused_for_it_would_mean_every_market() -> None:
    with pytest.raises(ValueError, match="at least one market"):
        Commander([])
    talk = subscribed()
    with pytest.raises(ValueError, match="at least one market"):
        talk.follow()
    assert talk.resnapshot() == ["get_snapshot 1 KXA KXB"]


def test_valid_books_leave_nothing_to_do() -> None:
    talk = subscribed()

    assert talk.commander.next_deadline() is None
    assert talk.commander.sids == {BOOKS: 1}
    assert talk.wait(10_000) == []


def test_channels_may_be_answered_in_any_order() -> None:
    talk = Talk(channels=(BOOKS, TRADES))
    talk.hear(talk.wire.subscribed(TRADES, 1))
    talk.hear(talk.wire.subscribed(BOOKS, 1))
    talk.valid("KXA", "KXB")

    assert talk.commander.sids == {TRADES: 1, BOOKS: 2}
    assert talk.commander.next_deadline() is None


def test_channel_that_is_not_answered_is_asked_for_alone() -> None:
    talk = Talk(channels=(BOOKS, TRADES))
    talk.hear(talk.wire.subscribed(BOOKS, 1))
    talk.valid("KXA", "KXB")

    assert talk.wait(10) == ["subscribe trade KXA KXB"]


def test_channels_whose_command_times_out_are_asked_for_one_by_one() -> None:
    talk = Talk(channels=(BOOKS, TRADES))

    assert talk.hear(talk.wire.error(18, 1)) == ["subscribe orderbook_delta KXA KXB", "subscribe trade KXA KXB"]


def test_markets_named_as_wrong_are_left_out_on_every_channel_of_the_command() -> None:
    talk = Talk(channels=(BOOKS, TRADES))

    assert talk.hear(talk.wire.error(11, 1, market_ticker="KXB")) == [
        "subscribe orderbook_delta KXA",
        "subscribe trade KXA",
    ]


def test_acknowledgement_of_a_subscription_to_several_channels_does_not_say_which() -> None:
    talk = Talk(channels=(BOOKS, TRADES))

    assert talk.hear(b'{"type":"ok","id":1,"sid":7}') == ["list_subscriptions"] * 2
    both = b'"msg":[{"channel":"trade","sid":6},{"channel":"orderbook_delta","sid":7}]}'
    talk.hear(b'{"type":"ok","id":2,' + both)
    talk.hear(b'{"type":"ok","id":3,' + both)
    assert talk.commander.sids == {BOOKS: 7, TRADES: 6}


@pytest.mark.parametrize("is_error", [False, True])
def test_subscription_that_times_out_is_asked_for_again_under_a_new_id(is_error: bool) -> None:
    talk = Talk()
    again = talk.hear(talk.wire.error(18, 1)) if is_error else talk.wait(10)

    assert again == ["subscribe orderbook_delta KXA KXB"]
    assert talk.last_id() == 2


def test_connection_is_lost_when_three_subscriptions_are_not_answered() -> None:
    talk = Talk()

    assert talk.wait(29.9) == ["subscribe orderbook_delta KXA KXB"] * 2
    with pytest.raises(FeedLostError, match="subscribe of 2 markets on orderbook_delta was not carried out"):
        talk.wait(1)


@pytest.mark.parametrize(
    "answer",
    [b'{"type":"ok","id":2,"sid":1}', b'{"type":"ok","id":2}', b'{"type":"error","id":2,"msg":{"code":8}}'],
)
def test_late_answer_to_the_first_attempt_counts_and_the_second_is_no_matter(answer: bytes) -> None:
    talk = Talk()
    talk.wait(10)
    talk.hear(talk.wire.subscribed(BOOKS, 1))
    talk.valid("KXA", "KXB")

    assert talk.hear(answer) == []
    assert talk.commander.sids == {BOOKS: 1}
    assert talk.commander.next_deadline() is None


def test_second_attempt_that_is_never_answered_is_no_matter_either() -> None:
    talk = Talk()
    talk.wait(10)
    talk.hear(talk.wire.subscribed(BOOKS, 1))
    talk.valid("KXA", "KXB")

    assert talk.wait(1000) == []


def test_late_answer_to_an_earlier_subscription_is_not_taken_for_the_new_ones() -> None:
    talk = Talk()
    talk.wait(10)
    talk.hear(talk.wire.subscribed(BOOKS, 1))
    merged = talk.wire.ok(["KXA", "KXB"], 2)
    talk.hear(talk.wire.error(25, channel=BOOKS))

    assert talk.hear(merged) == []
    talk.hear(talk.wire.subscribed(BOOKS, 3))
    assert talk.commander.sids == {BOOKS: 2}


def test_subscription_that_was_merged_goes_on_and_missing_books_are_asked_for_later() -> None:
    talk = Talk()
    talk.wire.subscribed(BOOKS)
    talk.wait(10)
    assert talk.valid("KXA", sid=1) == []
    assert talk.hear(talk.wire.ok(["KXA", "KXB"], 2)) == []

    assert talk.commander.sids == {BOOKS: 1}
    assert talk.wait(30) == ["get_snapshot 1 KXB"] * 2
    assert talk.commander.missing == {"KXB"}


def test_subscription_acknowledged_without_its_sid_is_looked_up() -> None:
    talk = Talk()
    assert talk.hear(b'{"type":"ok","id":1}') == ["list_subscriptions"]
    assert (
        talk.hear(b'{"type":"ok","id":2,"msg":[{"channel":"trade","sid":4},{"channel":"orderbook_delta","sid":5}]}')
        == []
    )
    assert talk.commander.sids == {BOOKS: 5}


def test_subscription_that_is_not_listed_is_made_anew() -> None:
    talk = Talk()
    talk.hear(b'{"type":"error","id":1,"msg":{"code":6}}')

    assert talk.hear(b'{"type":"ok","id":2,"msg":[]}') == ["subscribe orderbook_delta KXA KXB"]


def test_markets_that_the_venue_names_as_wrong_are_left_out() -> None:
    talk = Talk(("KXA", "KXBAD", "KXC"))

    assert talk.hear(talk.wire.error(11, 1, market_ticker="KXBAD")) == ["subscribe orderbook_delta KXA KXC"]
    assert talk.commander.missing == {"KXBAD"}
    with pytest.raises(FeedLostError, match="refused every market: KXA, KXBAD, KXC"):
        talk.hear(talk.wire.error(11, 2, market_tickers=["KXA", "KXC"]))


@pytest.mark.parametrize("code", [1, 2, 5, 8, 9, 11, 14])
def test_connection_is_lost_when_the_venue_refuses_to_subscribe(code: int) -> None:
    talk = Talk()
    with pytest.raises(FeedLostError, match=f"refused subscribe of 2 markets on orderbook_delta: error {code} a text"):
        talk.hear(talk.wire.error(code, 1))


def test_limit_of_markets_is_not_blamed_on_the_markets_it_names() -> None:
    talk = Talk()
    assert talk.hear(talk.wire.error(26, 1, market_tickers=["KXB"])) == ["subscribe orderbook_delta KXA"]
    assert talk.commander.missing == frozenset()


def test_commands_that_come_too_fast_are_sent_later_and_later() -> None:
    talk = Talk()
    pauses = []
    for number in range(1, 7):
        assert talk.hear(talk.wire.error(27, number)) == []
        deadline = talk.commander.next_deadline()
        assert deadline is not None
        pauses.append(deadline - talk.now)
        assert talk.wait(pauses[-1]) == ["subscribe orderbook_delta KXA KXB"]

    assert pauses == [1, 2, 4, 8, 16, 32]
    with pytest.raises(FeedLostError, match="too fast"):
        talk.hear(talk.wire.error(27, 7))


def test_text_of_the_venue_is_made_printable_in_the_cause() -> None:
    talk = Talk()
    with pytest.raises(FeedLostError) as lost:
        talk.hear(b'{"type":"error","id":1,"msg":{"code":5,"msg":"\\u0000\\n' + b"x" * 5000 + b'"}}')

    assert lost.value.cause.isprintable()
    assert len(lost.value.cause) < 300


# -- books ------------------------------------------------------------------------------------------------------------


def test_gap_is_repaired_by_snapshots_of_the_invalid_books() -> None:
    talk = subscribed("KXA", "KXB", "KXC")

    assert talk.invalid("KXA", "KXB") == ["get_snapshot 1 KXA KXB"]
    talk.valid("KXA", "KXB")
    assert talk.wait(1000) == []


def test_stale_record_is_repaired_like_a_gap() -> None:
    assert subscribed().invalid("KXB", cause="no snapshot", sid=None) == ["get_snapshot 1 KXB"]


def asked_for(said: list[str]) -> list[int]:
    """How many snapshots each command asks for."""
    return [len(line.split()) - 2 for line in said if line.startswith("get_snapshot")]


def test_snapshots_are_asked_for_as_half_of_the_last_hundred_have_come() -> None:
    tickers = [f"KX{number:03d}" for number in range(205)]
    talk = subscribed(*tickers)

    assert asked_for(talk.invalid(*tickers)) == [100]
    assert talk.valid(*tickers[:49]) == []
    assert asked_for(talk.valid(tickers[49])) == [50]
    assert asked_for(talk.valid(*tickers[50:150])) == [50, 5]
    talk.valid(*tickers[150:])
    asked = [command["params"] for command in talk.sent if command["params"].get("action") == "get_snapshot"]
    assert [ticker for params in asked for ticker in params["market_tickers"]] == tickers
    assert talk.wait(1000) == []


def test_snapshots_that_were_asked_for_and_do_not_come_hold_up_the_others_for_a_moment_only() -> None:
    tickers = [f"KX{number:03d}" for number in range(250)]
    talk = subscribed(*tickers)
    talk.invalid(*tickers)

    assert talk.wait(CHUNK_LIMIT_S - 0.1) == []
    assert asked_for(talk.wait(0.1)) == [100]
    assert asked_for(talk.wait(CHUNK_LIMIT_S)) == [50]
    # Each waits for as long as it takes since it was asked for.
    assert talk.wait(SNAPSHOT_LIMIT_S - 2 * CHUNK_LIMIT_S - 0.1) == []
    assert asked_for(talk.wait(0.1)) == [100]


def test_a_market_in_line_is_asked_for_once_and_not_after_its_snapshot_or_its_end() -> None:
    tickers = [f"KX{number:03d}" for number in range(103)]
    talk = subscribed(*tickers)
    talk.invalid(*tickers)

    assert talk.invalid(*tickers) == []
    assert talk.valid(tickers[100]) == []
    assert asked_for(talk.follow(*tickers[:102])) == []
    assert asked_for(talk.valid(*tickers[:100])) == [1]


def test_a_line_ends_with_its_subscription() -> None:
    tickers = [f"KX{number:03d}" for number in range(150)]
    talk = subscribed(*tickers)
    talk.invalid(*tickers)
    talk.hear(talk.wire.error(25, channel=BOOKS))

    assert asked_for(talk.wait(5)) == []


def test_book_that_waits_for_its_snapshot_is_not_asked_for_again() -> None:
    talk = subscribed()
    talk.invalid("KXA")

    assert talk.invalid("KXA", "KXB") == ["get_snapshot 1 KXB"]


def test_invalid_books_of_a_subscription_that_is_gone_are_no_matter() -> None:
    talk = subscribed()
    talk.hear(talk.wire.error(25, channel=BOOKS))

    assert talk.invalid("KXA", "KXB", sid=1) == []
    talk.hear(talk.wire.subscribed(BOOKS, 2))
    talk.valid("KXA", "KXB")
    assert talk.invalid("KXA", "KXB", sid=1) == []


def test_books_of_markets_that_are_not_followed_are_no_matter() -> None:
    assert subscribed("KXA").invalid("KXOTHER") == []


def test_loss_of_trades_demands_no_snapshot() -> None:
    talk = Talk(channels=(BOOKS, TRADES))
    talk.hear(talk.wire.subscribed(BOOKS, 1))
    talk.hear(talk.wire.subscribed(TRADES, 1))

    assert talk.invalid(sid=2) == []


def test_snapshot_of_an_invalid_book_counts_only_when_the_book_is_valid() -> None:
    talk = subscribed()
    talk.invalid("KXA")
    talk.hear(talk.wire.snapshot("KXA", 2))
    talk.invalid("KXA", cause="a snapshot that cannot be read")

    assert talk.wait(10) == ["get_snapshot 1 KXA"]


def test_snapshot_counts_when_the_notice_about_its_book_was_lost() -> None:
    talk = subscribed()
    talk.invalid("KXA")
    talk.hear(talk.wire.snapshot("KXA", 2))

    assert talk.wait(1000) == []
    assert talk.invalid("KXA") == ["get_snapshot 1 KXA"]


def test_snapshot_of_an_earlier_subscription_does_not_count_for_the_new_one() -> None:
    talk = subscribed()
    talk.invalid("KXA")
    talk.hear(talk.wire.snapshot("KXA", 2))
    talk.hear(talk.wire.error(25, channel=BOOKS))
    talk.hear(talk.wire.subscribed(BOOKS, 3))
    talk.valid("KXB")

    assert talk.wait(10) == ["get_snapshot 2 KXA"]


def test_missing_snapshots_escalate_from_asking_to_a_new_subscription_to_a_new_connection() -> None:
    talk = Talk()
    talk.hear(talk.wire.subscribed(BOOKS, 1))

    assert talk.wait(9.9) == []
    assert talk.wait(0.1) == ["get_snapshot 1 KXA KXB"]
    assert talk.wait(10) == ["unsubscribe 1"]
    assert talk.hear(talk.wire.unsubscribed(BOOKS, 3)) == ["subscribe orderbook_delta KXA KXB"]
    talk.hear(talk.wire.subscribed(BOOKS, 4))
    with pytest.raises(FeedLostError, match="no snapshot of any of 2 markets"):
        talk.wait(10)


def test_subscription_whose_snapshots_came_in_the_end_has_every_means_again() -> None:
    talk = Talk()
    talk.hear(talk.wire.subscribed(BOOKS, 1))
    assert talk.wait(20) == ["get_snapshot 1 KXA KXB", "unsubscribe 1"]
    talk.hear(talk.wire.unsubscribed(BOOKS, 3))
    talk.hear(talk.wire.subscribed(BOOKS, 4))
    talk.valid("KXA", "KXB")
    talk.wait(100)
    talk.hear(talk.wire.error(25, channel=BOOKS))
    talk.hear(talk.wire.subscribed(BOOKS, 5))

    assert talk.wait(20) == ["get_snapshot 3 KXA KXB", "unsubscribe 3"]


def test_book_that_was_valid_before_is_worth_a_second_question_and_a_new_subscription() -> None:
    talk = subscribed()
    talk.invalid("KXA")

    assert talk.wait(10) == ["get_snapshot 1 KXA"]
    assert talk.wait(10) == ["unsubscribe 1"]


def test_market_that_never_has_a_snapshot_while_others_do_disturbs_nobody() -> None:
    talk = Talk(("KXA", "KXGONE"))
    talk.hear(talk.wire.subscribed(BOOKS, 1))
    talk.valid("KXA")

    assert talk.wait(20) == ["get_snapshot 1 KXGONE"] * 2
    assert talk.commander.missing == frozenset()
    assert talk.wait(10) == []
    assert talk.commander.missing == {"KXGONE"}
    assert talk.wait(180) == ["get_snapshot 1 KXGONE"] * 3
    talk.valid("KXGONE")
    assert talk.commander.missing == frozenset()
    assert talk.wait(1000) == []


def test_snapshots_that_keep_coming_have_time() -> None:
    tickers = [f"KX{number:03d}" for number in range(10)]
    talk = Talk(tickers)
    talk.hear(talk.wire.subscribed(BOOKS, 1))
    for ticker in tickers[:9]:
        assert talk.wait(9) == []
        talk.valid(ticker)

    assert talk.wait(10) == ["get_snapshot 1 KX009"]


def test_snapshot_that_times_out_at_the_venue_is_asked_for_at_once() -> None:
    talk = subscribed()
    talk.invalid("KXA")

    assert talk.hear(talk.wire.error(18, 2)) == ["get_snapshot 1 KXA"]
    assert talk.hear(talk.wire.error(18, 3)) == ["get_snapshot 1 KXA"]


def test_markets_named_in_the_answer_to_get_snapshot_are_given_up_and_the_others_asked_for() -> None:
    talk = subscribed("KXA", "KXB", "KXC")
    talk.invalid("KXA", "KXB", "KXC")

    assert talk.hear(talk.wire.error(11, 2, BOOKS, market_tickers=["KXB"])) == ["get_snapshot 1 KXA KXC"]
    assert talk.commander.missing == {"KXB"}


def test_refused_snapshot_without_a_named_market_is_missed_in_time() -> None:
    talk = subscribed()
    talk.invalid("KXA")

    assert talk.hear(talk.wire.error(13, 2)) == []
    assert talk.wait(10) == ["get_snapshot 1 KXA"]


def test_fresh_snapshots_are_asked_for_on_demand_and_end_with_their_arrival() -> None:
    talk = subscribed()

    assert talk.resnapshot("KXB", "KXUNKNOWN") == ["get_snapshot 1 KXB"]
    assert talk.resnapshot() == ["get_snapshot 1 KXA KXB"]
    talk.hear(talk.wire.snapshot("KXA", 3))
    assert talk.wait(1000) == []


def test_fresh_snapshots_are_not_asked_for_while_a_subscription_is_on_its_way() -> None:
    assert Talk().resnapshot() == []


# -- new subscriptions ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [10, 17, 25])
def test_dead_subscription_is_made_anew(code: int) -> None:
    talk = subscribed()

    assert talk.hear(talk.wire.error(code, channel=BOOKS)) == ["subscribe orderbook_delta KXA KXB"]
    assert talk.commander.sids == {}
    talk.hear(talk.wire.subscribed(BOOKS, 2))
    assert talk.commander.sids == {BOOKS: 2}
    assert talk.wait(10) == ["get_snapshot 2 KXA KXB"]


def test_dead_trades_are_subscribed_anew_and_books_are_left_alone() -> None:
    talk = Talk(channels=(BOOKS, TRADES))
    talk.hear(talk.wire.subscribed(BOOKS, 1))
    talk.hear(talk.wire.subscribed(TRADES, 1))
    talk.valid("KXA", "KXB")

    assert talk.hear(talk.wire.error(10, channel=TRADES)) == ["subscribe trade KXA KXB"]
    assert talk.commander.sids == {BOOKS: 1}


def test_errors_of_other_subscriptions_and_without_an_addressee_are_no_matter() -> None:
    talk = subscribed()

    assert talk.hear(b'{"type":"error","sid":9,"msg":{"code":25}}') == []
    assert talk.hear(b'{"type":"error","msg":{"code":25}}') == []
    assert talk.hear(b'{"type":"error","id":99,"msg":{"code":8}}') == []


def test_failure_in_answer_to_a_subscription_is_tried_again() -> None:
    assert Talk().hear(b'{"type":"error","id":1,"msg":{"code":10}}') == ["subscribe orderbook_delta KXA KXB"]


def test_subscription_out_of_order_is_left_before_it_is_made_anew() -> None:
    talk = subscribed()

    assert talk.invalid("KXA", "KXB", cause=OUT_OF_ORDER) == ["unsubscribe 1"]
    assert talk.invalid("KXA", "KXB") == []
    assert talk.hear(talk.wire.unsubscribed(BOOKS, 2)) == ["subscribe orderbook_delta KXA KXB"]


def test_trades_out_of_order_are_subscribed_anew() -> None:
    talk = Talk(channels=(BOOKS, TRADES))
    talk.hear(talk.wire.subscribed(BOOKS, 1))
    talk.hear(talk.wire.subscribed(TRADES, 1))

    assert talk.invalid(cause=OUT_OF_ORDER, sid=2) == ["unsubscribe 2"]


@pytest.mark.parametrize("answer", [b'{"type":"error","id":2,"msg":{"code":7}}', b'{"type":"ok","id":2}'])
def test_subscription_that_is_not_known_any_more_counts_as_left(answer: bytes) -> None:
    talk = subscribed()
    talk.invalid("KXA", cause=OUT_OF_ORDER)

    assert talk.hear(answer) == ["subscribe orderbook_delta KXA KXB"]


def test_end_of_a_subscription_is_asked_for_again_and_then_the_connection_is_lost() -> None:
    talk = subscribed()
    talk.invalid("KXA", cause=OUT_OF_ORDER)

    assert talk.wait(29) == ["unsubscribe 1"] * 2
    with pytest.raises(FeedLostError, match="unsubscribe"):
        talk.wait(1)


def test_dead_subscription_that_the_venue_extends_instead_is_left_first() -> None:
    talk = subscribed()
    sid = talk.wire.sids[BOOKS]
    talk.hear(talk.wire.error(10, channel=BOOKS))

    assert talk.hear(talk.wire.ok(["KXA", "KXB"], 2)) == [f"unsubscribe {sid}"]
    talk.hear(talk.wire.unsubscribed(BOOKS, 3))
    assert talk.wait(1) == ["subscribe orderbook_delta KXA KXB"]


def test_failed_attempt_does_not_make_the_dead_subscription_welcome_again() -> None:
    talk = subscribed()
    dead, merged = talk.wire.error(10, channel=BOOKS), talk.wire.ok(["KXA", "KXB"], 3)
    talk.hear(dead)
    talk.hear(b'{"type":"error","id":2,"msg":{"code":10}}')
    talk.wait(1)

    assert talk.hear(merged) == ["unsubscribe 1"]


def test_subscription_that_the_venue_ends_by_itself_is_made_anew_until_it_does_so_too_often() -> None:
    talk = subscribed()
    pauses = [die_again(talk, talk.wire.unsubscribed(BOOKS)) for _ in range(5)]

    assert pauses == [0, 1, 2, 4, 8]
    with pytest.raises(FeedLostError, match="the venue ended the subscription"):
        talk.hear(talk.wire.unsubscribed(BOOKS))


def test_command_to_an_unknown_sid_makes_a_new_subscription() -> None:
    talk = subscribed()
    talk.invalid("KXA")

    assert talk.hear(talk.wire.error(7, 2)) == ["subscribe orderbook_delta KXA KXB"]


def die_again(talk: Talk, end: bytes | None = None) -> float:
    """Let the subscription die (of error 25) and be made anew; return after how long."""
    out = talk.hear(end or talk.wire.error(25, channel=BOOKS))
    deadline = talk.commander.next_deadline()
    assert deadline is not None
    pause = 0.0 if out else deadline - talk.now
    out += talk.wait(pause)
    assert out == ["subscribe orderbook_delta KXA KXB"]
    talk.hear(talk.wire.subscribed(BOOKS, talk.last_id()))
    talk.valid("KXA", "KXB")
    return pause


def test_subscription_that_keeps_dying_is_made_anew_after_longer_and_longer_pauses_then_given_up() -> None:
    talk = subscribed()

    assert [die_again(talk) for _ in range(5)] == [0, 1, 2, 4, 8]
    with pytest.raises(FeedLostError, match="error 25"):
        die_again(talk)


def test_subscription_that_was_steady_for_a_minute_has_its_restarts_again() -> None:
    talk = subscribed()
    for _ in range(20):
        talk.wait(60)
        assert die_again(talk) == 0


def test_pause_before_a_new_subscription_is_not_cut_short_by_notices() -> None:
    talk = subscribed()
    die_again(talk)
    assert talk.hear(talk.wire.error(25, channel=BOOKS)) == []

    assert talk.invalid("KXA", "KXB", sid=2) == []
    assert talk.resnapshot() == []
    assert talk.commander.tell(BookValid(2, "KXA"), talk.now) == []


# -- following --------------------------------------------------------------------------------------------------------


def test_markets_are_added_and_removed_on_every_live_channel() -> None:
    talk = Talk(channels=(BOOKS, TRADES))
    talk.hear(talk.wire.subscribed(BOOKS, 1))
    talk.hear(talk.wire.subscribed(TRADES, 1))
    talk.valid("KXA", "KXB")

    assert talk.follow("KXB", "KXC") == [
        "delete_markets 1 KXA",
        "add_markets 1 KXC",
        "delete_markets 2 KXA",
        "add_markets 2 KXC",
    ]
    talk.hear(talk.wire.ok(["KXB"], 2))
    assert talk.wait(5) == []
    assert talk.invalid("KXA") == []
    for number in (3, 4, 5):
        talk.hear(talk.wire.ok(None, number))
    assert talk.wait(5) == ["get_snapshot 1 KXC"]


def test_markets_that_change_while_a_subscription_is_on_its_way_are_adjusted_behind_it() -> None:
    talk = Talk()
    assert talk.follow("KXB", "KXC") == []

    assert talk.hear(talk.wire.subscribed(BOOKS, 1)) == ["delete_markets 1 KXA", "add_markets 1 KXC"]


def test_change_of_markets_is_asked_for_again() -> None:
    talk = subscribed()
    talk.follow("KXA", "KXB", "KXC")
    talk.valid("KXC")

    assert talk.wait(10) == ["add_markets 1 KXC"]


def test_market_that_cannot_be_added_is_left_out() -> None:
    talk = subscribed()
    talk.follow("KXA", "KXB", "KXC", "KXD")

    assert talk.hear(talk.wire.error(11, 2, BOOKS, market_tickers=["KXD"])) == ["add_markets 1 KXC"]
    assert talk.commander.missing == {"KXD"}
    assert talk.follow("KXA", "KXC") == ["delete_markets 1 KXB"]
    assert talk.commander.missing == frozenset()


def test_removal_without_an_answer_is_not_asked_for_again_once_the_market_is_followed_again() -> None:
    talk = subscribed("KXA", "KXB")
    assert talk.follow("KXA") == ["delete_markets 1 KXB"]
    assert talk.follow("KXA", "KXB") == ["add_markets 1 KXB"]
    talk.hear(talk.wire.ok(["KXA", "KXB"], talk.last_id(), BOOKS))
    talk.valid("KXB")

    assert not any("delete" in said for said in talk.wait(60))


def test_addition_without_an_answer_is_not_asked_for_again_once_the_market_is_left() -> None:
    talk = subscribed("KXA", "KXB")
    assert talk.follow("KXA", "KXB", "KXC") == ["add_markets 1 KXC"]
    assert talk.follow("KXA", "KXB") == ["delete_markets 1 KXC"]
    talk.hear(talk.wire.ok(["KXA", "KXB"], talk.last_id(), BOOKS))

    assert not any("add" in said for said in talk.wait(60))


def test_only_what_is_still_true_of_a_command_is_asked_for_again() -> None:
    talk = subscribed("KXA")
    assert talk.follow("KXA", "KXB", "KXC") == ["add_markets 1 KXB KXC"]
    talk.valid("KXC")
    assert talk.follow("KXA", "KXC") == ["delete_markets 1 KXB"]
    talk.hear(talk.wire.ok(["KXA", "KXC"], talk.last_id(), BOOKS))

    assert talk.wait(10) == ["add_markets 1 KXC"]


def test_addition_that_came_too_fast_is_forgotten_when_the_market_is_left_meanwhile() -> None:
    talk = subscribed("KXA")
    talk.follow("KXA", "KXB")
    talk.hear(talk.wire.error(27, talk.last_id()))
    talk.follow("KXA")
    talk.hear(talk.wire.ok(["KXA"], talk.last_id(), BOOKS))

    assert talk.wait(60) == []


def test_market_that_was_left_is_not_missed_when_the_venue_objects_to_an_old_question() -> None:
    talk = subscribed("KXA", "KXB")
    talk.invalid("KXB")
    asked = talk.last_id()
    talk.follow("KXA")
    talk.hear(talk.wire.ok(["KXA"], talk.last_id(), BOOKS))
    talk.hear(talk.wire.error(11, asked, BOOKS, market_tickers=["KXB"]))

    assert talk.commander.missing == frozenset()
    assert talk.wait(600) == []


def test_market_that_was_left_is_not_refused_when_the_venue_objects_to_adding_it() -> None:
    talk = subscribed("KXA")
    talk.follow("KXA", "KXB")
    asked = talk.last_id()
    talk.follow("KXA")
    talk.hear(talk.wire.error(11, asked, market_tickers=["KXB"]))
    talk.hear(talk.wire.ok(["KXA"], talk.last_id(), BOOKS))

    assert talk.commander.missing == frozenset()
    assert talk.wait(600) == []


def test_market_that_a_late_removal_took_away_is_added_again() -> None:
    talk = subscribed("KXA", "KXB")
    talk.follow("KXA")
    talk.follow("KXA", "KXB")
    talk.hear(talk.wire.ok(["KXA", "KXB"], 3, BOOKS))
    talk.valid("KXB")
    talk.wait(12)

    assert talk.hear(talk.wire.ok(["KXA"], 2, BOOKS)) == ["add_markets 1 KXB"]
    talk.hear(talk.wire.ok(["KXA", "KXB"], 4, BOOKS))
    talk.valid("KXB")
    assert talk.wait(600) == []


def test_market_whose_removal_was_overtaken_by_its_addition_is_added_again() -> None:
    talk = subscribed("KXA", "KXB")
    talk.follow("KXA")
    talk.follow("KXA", "KXB")
    assert talk.hear(talk.wire.ok(["KXA", "KXB"], 3, BOOKS)) == []

    assert talk.hear(talk.wire.ok(["KXA"], 2, BOOKS)) == ["add_markets 1 KXB"]


def test_market_that_a_late_addition_brought_is_removed_again() -> None:
    talk = subscribed("KXA")
    talk.follow("KXA", "KXB")
    talk.follow("KXA")
    talk.hear(talk.wire.ok(["KXA"], 3, BOOKS))
    talk.wait(12)

    assert talk.hear(talk.wire.ok(["KXA", "KXB"], 2, BOOKS)) == ["delete_markets 1 KXB"]
    assert talk.hear(talk.wire.ok(["KXA", "KXB"], 4, BOOKS)) == []


def test_market_that_the_answer_to_its_addition_does_not_name_is_missing_and_asked_for_again_later() -> None:
    talk = subscribed("KXA")
    talk.follow("KXA", "KXB")

    assert talk.hear(talk.wire.ok(["KXA"], 2, BOOKS)) == []
    assert talk.commander.missing == {"KXB"}
    assert talk.wait(60) == ["add_markets 1 KXB"]


def test_trades_of_a_market_that_a_late_removal_took_away_are_added_again() -> None:
    talk = Talk(channels=(BOOKS, TRADES))
    talk.hear(talk.wire.subscribed(BOOKS, 1))
    talk.hear(talk.wire.subscribed(TRADES, 1))
    talk.valid("KXA", "KXB")

    assert talk.hear(talk.wire.ok(["KXA"], None, TRADES)) == ["add_markets 2 KXB"]
    assert talk.hear(talk.wire.ok(["KXA"], 2, TRADES)) == []
    assert talk.commander.missing == frozenset()


def test_trades_that_the_answer_to_their_addition_does_not_name_are_asked_for_again_later() -> None:
    talk = Talk(("KXA",), (BOOKS, TRADES))
    talk.hear(talk.wire.subscribed(BOOKS, 1))
    talk.hear(talk.wire.subscribed(TRADES, 1))
    talk.valid("KXA")
    talk.follow("KXA", "KXB")
    talk.hear(talk.wire.ok(["KXA", "KXB"], 2, BOOKS))
    talk.valid("KXB")

    assert talk.hear(talk.wire.ok(["KXA"], 3, TRADES)) == []
    assert talk.commander.missing == frozenset()
    assert talk.wait(60) == ["add_markets 2 KXB"]
    talk.hear(talk.wire.ok(["KXA", "KXB"], talk.last_id(), TRADES))
    assert talk.wait(1000) == []


def test_market_that_was_followed_before_its_end_was_confirmed_is_missing_until_its_snapshot() -> None:
    talk = subscribed("KXA", "KXB")
    talk.follow("KXA")
    talk.follow("KXA", "KXB")

    assert talk.commander.missing == {"KXB"}
    talk.hear(talk.wire.snapshot("KXB"))
    assert talk.commander.missing == frozenset()


def test_every_market_is_left_for_good() -> None:
    talk = Talk(channels=(BOOKS, TRADES))
    talk.hear(talk.wire.subscribed(BOOKS, 1))
    talk.hear(talk.wire.subscribed(TRADES, 1))
    talk.valid("KXA", "KXB")

    assert talk.leave() == ["unsubscribe 1", "unsubscribe 2"]
    done = []
    for channel, number in ((BOOKS, 2), (TRADES, 3)):
        done.append(talk.commander.has_left)
        talk.hear(talk.wire.unsubscribed(channel, number))
    assert [*done, talk.commander.has_left] == [False, False, True]
    assert talk.wait(1000) == []


def test_what_is_being_subscribed_when_every_market_is_left_is_left_then() -> None:
    talk = Talk()
    assert talk.leave() == []

    assert talk.hear(talk.wire.subscribed(BOOKS, 1)) == ["unsubscribe 1"]


# -- against a venue --------------------------------------------------------------------------------------------------


@attrs.define
class Line:
    """A commander and a session on one side, a venue on the other, and a clock that is as fast as it is needed."""

    tickers: tuple[str, ...]
    venue: VenueDouble = attrs.Factory(VenueDouble)
    now: float = 0.0
    connections: int = 0
    session: Session = attrs.field(init=False)
    commander: Commander = attrs.field(init=False)
    _frame_no: int = 1

    def __attrs_post_init__(self) -> None:
        self.connect()

    def connect(self) -> None:
        """Begin a new connection: the venue forgets subscriptions, not books."""
        self.connections += 1
        old = self.venue
        self.venue = VenueDouble(
            Wire(clock=old.wire.clock, books=old.wire.books, clocks=old.wire.clocks),
            faults=old.faults,
            mute_markets=old.mute_markets,
        )
        self.session = Session(UUID(int=self.connections))
        self.session.feed(local_batch(Opened("ws://venue", "sim"), self.session.capture, 0, 0))
        self._frame_no = 1
        self.commander = Commander(self.tickers)
        self._say(self.commander.connected(self.now))

    def _say(self, commands: list[bytes]) -> None:
        for command in commands:
            self.venue.receive(command)

    def pump(self) -> None:
        """Let both sides talk until there is nothing to read."""
        while self.venue.frames:
            frames = tuple(self.venue.frames)
            self.venue.frames.clear()
            batch = Batch(Kind.FRAMES, self.session.capture, self._frame_no, int(self.now * 1e9), frames)
            self._frame_no += len(frames)
            self.session.feed(batch)
            try:
                for notice in self.session.take_notices():
                    self._say(self.commander.tell(notice, self.now))
            except FeedLostError:
                self.connect()

    def pass_time(self, seconds: float) -> None:
        end = self.now + seconds
        self.pump()
        while (deadline := self.commander.next_deadline()) is not None and deadline <= end:
            self.now = max(self.now, deadline)
            try:
                self._say(self.commander.tick(self.now))
            except FeedLostError:
                self.connect()
            self.pump()
        self.now = end

    def is_whole(self) -> bool:
        """Return whether every book is valid and as the venue has it."""
        return all(self._is_equal(ticker) for ticker in self.tickers if ticker not in self.venue.mute_markets)

    def _is_equal(self, ticker: str) -> bool:
        if ticker not in self.session.books:
            return False
        view, book = self.session.view(ticker), self.venue.wire.books[ticker]
        levels: dict[Side, dict[int, int]] = {"yes": dict(view.yes_bids), "no": dict(view.no_bids)}
        return view.is_valid and levels == book


steps = st.one_of(
    st.sampled_from(Fault).map(lambda fault: ("fault", fault)),
    st.tuples(st.just("kill"), st.sampled_from((BOOKS, TRADES)), st.sampled_from((10, 25))),
    st.tuples(st.just("wait"), st.sampled_from((0.0, 0.5, 3.0, 11.0, 70.0))),
    st.tuples(st.just("change"), st.integers(0, 2), st.sampled_from(("yes", "no")), st.integers(1, 40)),
    st.tuples(st.just("disorder")),
    st.tuples(st.just("resnapshot")),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(steps, max_size=40), st.sampled_from(((), ("KX2",))))
def test_every_book_becomes_whole_again_whatever_went_wrong(
    script: list[tuple[Any, ...]], mute_markets: tuple[str, ...]
) -> None:
    line = Line(("KX0", "KX1", "KX2"))
    line.venue.mute_markets |= set(mute_markets)
    for step in script:
        match step:
            case ("fault", fault):
                line.venue.faults.append(fault)
            case ("kill", channel, code):
                line.venue.kill(channel, code)
            case ("wait", seconds):
                line.pass_time(seconds)
            case ("change", number, side, cents):
                line.venue.change(f"KX{number}", side, cents * 100, 100)
            case ("disorder",):
                for _ in range(3):
                    line.venue.send_out_of_order()
            case _:
                line._say(line.commander.resnapshot(None, line.now))
        line.pump()
    line.venue.settle()
    # A frame lost at the very end is noticed by the next one.
    for ticker in line.tickers:
        line.venue.change(ticker, "yes", 100, 100)
    line.pass_time(200.0)
    for ticker in line.tickers:
        line.venue.change(ticker, "yes", 200, 100)
    line.pass_time(200.0)

    assert line.is_whole()
    commands = len(line.venue.commands)
    line.pass_time(50.0)
    assert len(line.venue.commands) <= commands + len(mute_markets)


def test_quiet_line_needs_one_command() -> None:
    line = Line(("KX0", "KX1"))
    line.pass_time(1000.0)

    assert line.is_whole()
    assert [short(command) for command in line.venue.commands] == ["subscribe orderbook_delta trade KX0 KX1"]


def test_lost_frame_costs_one_command() -> None:
    line = Line(("KX0", "KX1"))
    line.pump()
    line.venue.faults.append(Fault.LOSE_FRAME)
    line.venue.change("KX0", "yes", 4200, 100)
    line.venue.change("KX1", "no", 4200, 100)
    line.pump()

    assert [short(command) for command in line.venue.commands[1:]] == ["get_snapshot 1 KX0 KX1"]
    assert line.is_whole()
