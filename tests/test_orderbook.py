"""The book against a plain dictionary, and its derived figures against hand computation."""

from fractions import Fraction
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlflow.orderbook import Book, BookView, ImpossibleSizeError, Levels, RepeatedLevelError
from rlflow.units import MAX_COUNT, ONE_DOLLAR, Side

SIDES: tuple[Side, ...] = ("yes", "no")
prices = st.integers(0, ONE_DOLLAR)
few_prices = st.integers(0, 20).map(lambda n: n * 500)
sides: st.SearchStrategy[Side] = st.sampled_from(SIDES)
deltas = st.tuples(sides, few_prices, st.integers(-400, 400))
ladders = st.dictionaries(prices, st.integers(1, MAX_COUNT), max_size=12)


def view(yes: Levels = (), no: Levels = ()) -> BookView:
    return BookView(
        market_ticker="A",
        capture=UUID(int=1),
        frame_no=1,
        sequence_number=1,
        received_ns=1,
        timestamp_ms=None,
        is_valid=True,
        cause=None,
        yes_bids=yes,
        no_bids=no,
    )


@given(st.lists(deltas, max_size=60))
def test_book_equals_a_plain_dictionary_after_any_deltas(changes: list[tuple[Side, int, int]]) -> None:
    book, naive = Book(), {side: dict[int, int]() for side in SIDES}
    for side, price, delta in changes:
        before = naive[side].get(price, 0)
        if before + delta < 0:
            with pytest.raises(ImpossibleSizeError):
                book.apply(side, price, delta)
            continue
        assert book.apply(side, price, delta) == (before, before + delta)
        naive[side][price] = before + delta
        naive = {side: {price: size for price, size in levels.items() if size} for side, levels in naive.items()}
        for each in SIDES:
            assert book.bids(each) == tuple(sorted(naive[each].items(), reverse=True))
            assert book.best_bid(each) == max(naive[each].items(), default=None)
        assert book.is_crossed == (max(naive["yes"], default=-1) + max(naive["no"], default=-1) > ONE_DOLLAR)


@given(ladders, ladders)
def test_book_and_view_of_it_agree(yes: dict[int, int], no: dict[int, int]) -> None:
    book = Book(yes.items(), no.items())
    seen = view(book.bids("yes"), book.bids("no"))
    assert book.spread == seen.spread
    assert book.is_crossed == seen.is_crossed
    for side in SIDES:
        assert book.best_bid(side) == seen.best_bid(side)
        assert book.best_ask(side) == seen.best_ask(side)
        assert book.mid(side) == seen.mid(side)
        assert book.doubled_mid(side) == seen.doubled_mid(side)
        assert book.microprice(side) == seen.microprice(side)
        for within in (0, 100, ONE_DOLLAR):
            assert book.depth(side, within) == seen.depth(side, within)
    assert list(seen.yes_asks) == sorted(seen.yes_asks)
    assert [price for price, _ in seen.no_asks] == [ONE_DOLLAR - price for price, _ in seen.yes_bids]


def test_a_delta_that_would_make_a_level_negative_changes_nothing() -> None:
    book = Book([(4200, 350)], [(5500, 2000)])
    with pytest.raises(ImpossibleSizeError) as caught:
        book.apply("yes", 4200, -351)
    assert (caught.value.side, caught.value.price, caught.value.size) == ("yes", 4200, -1)
    assert book.bids("yes") == ((4200, 350),)


def test_a_size_beyond_exact_numbers_is_refused() -> None:
    book = Book([(4200, MAX_COUNT)])
    with pytest.raises(ImpossibleSizeError):
        book.apply("yes", 4200, 1)
    assert book.size_at("yes", 4200) == MAX_COUNT


@pytest.mark.parametrize("size", [0, -1, MAX_COUNT + 1])
def test_replacing_by_an_impossible_size_changes_nothing(size: int) -> None:
    book = Book([(4200, 350)])
    with pytest.raises(ImpossibleSizeError):
        book.replace([], [(5500, size)])
    assert book.bids("yes") == ((4200, 350),)


def test_replacing_by_a_repeated_price_changes_nothing() -> None:
    book = Book([(4200, 350)])
    with pytest.raises(RepeatedLevelError):
        book.replace([(100, 1), (100, 2)], [])
    assert book.bids("yes") == ((4200, 350),)


def test_a_zero_delta_is_tolerated() -> None:
    book = Book([(4200, 350)])
    assert book.apply("yes", 4200, 0) == (350, 350)
    assert book.apply("yes", 4300, 0) == (0, 0)
    assert book.bids("yes") == ((4200, 350),)


def test_quotes_of_a_book_by_hand() -> None:
    book = Book([(4100, 1200), (4200, 350)], [(5500, 2000)])
    assert book.best_bid("yes") == (4200, 350)
    assert book.best_ask("yes") == (4500, 2000)
    assert book.best_ask("no") == (5800, 350)
    assert book.spread == 300
    assert book.mid("yes") == 4350
    assert book.mid("no") == 5650
    assert book.microprice("yes") == Fraction(4200 * 2000 + 4500 * 350, 2350)
    assert book.depth("yes") == 1550
    assert book.depth("yes", within=99) == 350


def test_a_one_sided_book_has_no_spread_and_no_mid() -> None:
    book = Book([(4200, 350)])
    assert (book.best_ask("yes"), book.best_bid("no"), book.best_ask("no")) == (None, None, (5800, 350))
    assert (book.spread, book.mid("yes"), book.doubled_mid("no"), book.microprice("yes")) == (None, None, None, None)
    assert not book.is_crossed


def test_a_locked_book_is_not_crossed() -> None:
    book = Book([(4200, 350)], [(5800, 100)])
    assert book.spread == 0
    assert not book.is_crossed
    crossed = Book(book.bids("yes"), [(5900, 100)])
    assert crossed.is_crossed
    assert view(crossed.bids("yes"), crossed.bids("no")).is_crossed
