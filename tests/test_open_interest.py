"""Open interest: what accounts hold against each other and the crowd, and a guess of what the crowd holds beside."""

import random

import pytest

from rlflow.exchange.markets.open_interest import OpenInterest
from rlflow.exchange.markets.venue import VenueSpec
from rlflow.exchange.matching.happenings import Filled
from rlflow.exchange.matching.orders import BookSide, OrderRefusedError, OrderRequest
from tests.venue_driver import Driven, body

NAMED = "KXSIM-27JAN01-A"


class Pairs:
    """An open interest, and the positions of those whose fills it is told."""

    def __init__(self) -> None:
        self.open = OpenInterest()
        self.held: dict[str, int] = {}

    def fill(self, account: str, side: BookSide, count: int) -> None:
        self.held[account] = self.held.get(account, 0) + (count if side == "bid" else -count)
        self.open.note_fill(Filled("t", "o", "", account, NAMED, side, 5_000, count, 0, True, self.held[account], 0))

    def trade(self, buyer: str, seller: str, count: int) -> int:
        self.fill(buyer, "bid", count)
        self.fill(seller, "ask", count)
        return self.open.total


def test_accounts_among_themselves_are_counted_exactly() -> None:
    pairs = Pairs()
    assert pairs.trade("ann", "bob", 10) == 10
    assert pairs.trade("cid", "ann", 4) == 10
    assert pairs.trade("bob", "cid", 4) == 6
    assert pairs.trade("bob", "ann", 6) == 0
    assert pairs.trade("bob", "ann", 6) == 6
    assert pairs.trade("ann", "bob", 12) == 6


def test_what_the_crowd_takes_from_an_account_is_open_until_it_is_closed() -> None:
    pairs = Pairs()
    pairs.open.note_crowd(20)
    assert pairs.open.total == 10
    pairs.fill("ann", "bid", 8)
    assert pairs.open.total == 18
    # The crowd gives bob what it held against ann.
    pairs.fill("bob", "ask", 5)
    assert pairs.open.total == 18
    pairs.fill("bob", "ask", 5)
    assert pairs.open.total == 20
    pairs.fill("bob", "bid", 10)
    pairs.fill("ann", "ask", 8)
    assert pairs.open.total == 10


@pytest.mark.parametrize("seed", range(3))
def test_a_market_never_has_less_open_than_its_accounts_hold(seed: int) -> None:
    chance, driven = random.Random(seed), Driven(VenueSpec((NAMED,), seed=seed, rate=100.0))
    venue, low = driven.venue, 0
    for _ in range(300):
        driven.run(0.1)
        side: BookSide = chance.choice(("bid", "ask"))
        top = venue.top(NAMED)
        price = chance.choice((top.bid, top.ask))
        try:
            venue.place(chance.choice("abc"), OrderRequest(NAMED, side, price, chance.randint(1, 9_000)), driven.now_ns)
        except OrderRefusedError as refused:
            assert refused.code in {"available_balance_too_low", "invalid_price"}  # noqa: PT017
        held = [account.position(NAMED).count for account in venue.engine.accounts.values()]
        least = max(sum(max(count, 0) for count in held), sum(max(-count, 0) for count in held))
        low += least > 0
        assert venue.listings[NAMED].open_interest >= least
    quote = venue.quote(NAMED)
    assert quote is not None
    assert low > 100
    assert float(body(quote)["open_interest_fp"]) * 100 == pytest.approx(venue.listings[NAMED].open_interest)


def test_an_account_that_opens_and_closes_with_the_crowd_leaves_no_open_interest() -> None:
    # A crowd that hardly ever acts.
    driven = Driven(VenueSpec((NAMED,), rate=0.001))
    venue = driven.venue
    before = venue.listings[NAMED].open_interest
    for side in ("bid", "ask"):
        price = venue.top(NAMED).ask if side == "bid" else venue.top(NAMED).bid
        venue.place("ann", OrderRequest(NAMED, side, price, 100, "immediate_or_cancel"), driven.now_ns)
        held = venue.account("ann").position(NAMED).count
        assert held == (100 if side == "bid" else 0)
        assert venue.listings[NAMED].open_interest == before + held
