"""A public client of the real venue, unchanged, against the local one in a process of its own: REST and websocket."""

import time
from collections.abc import Iterator
from typing import Any

import pytest
from pykalshi import Feed, KalshiClient
from pykalshi.enums import CandlestickPeriod, OrderStatus, TimeInForce
from pykalshi.exceptions import KalshiAPIError, ResourceNotFoundError

from tests.running import process, wait_for

MARKET = "KXSIM-27JAN01-A"


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """What a running exchange prints for its clients."""
    directory = tmp_path_factory.mktemp("exchange")
    with process(directory, "exchange", "--key-dir", str(directory), "--rate", "400") as started:
        started.wait_said(r"(Ctrl-C ends it)")
        yield dict(line.split("=", 1) for line in started.said().splitlines() if "=" in line)


@pytest.fixture(scope="module")
def client(settings: dict[str, str]) -> Iterator[KalshiClient]:
    with KalshiClient(
        api_key_id=settings["KALSHI_API_KEY_ID"],
        private_key_path=settings["KALSHI_PRIVATE_KEY_PATH"],
        api_base=settings["KALSHI_API_URL"],
    ) as made:
        yield made


def test_it_reads_markets_events_and_series(client: KalshiClient) -> None:
    assert client.exchange.get_status().trading_active
    market = client.get_market(MARKET)
    assert (market.status, market.ticker) == ("active", MARKET)
    assert {each.ticker for each in client.get_markets(limit=1, fetch_all=True)} >= {MARKET}
    event = client.get_event(str(market.event_ticker))
    assert event.series_ticker == client.get_series("KXSIM").ticker == "KXSIM"
    assert market.get_orderbook(depth=3).orderbook.yes_dollars
    with pytest.raises(ResourceNotFoundError):
        client.get_market("KXNONE")


def test_it_reads_trades_and_candlesticks(client: KalshiClient) -> None:
    wait_for("a trade", lambda: client.get_trades(ticker=MARKET) or None)
    now = int(time.time())
    market = client.get_market(MARKET)
    candles = market.get_candlesticks(now - 3_600, now + 60, CandlestickPeriod.ONE_MINUTE).candlesticks
    assert sum(float(each.volume_fp or 0) for each in candles) > 0
    assert set(client.get_candlesticks_batch([MARKET], now - 3_600, now + 3_600)) == {MARKET}


def test_it_places_amends_and_cancels_orders(client: KalshiClient) -> None:
    portfolio = client.portfolio
    order = portfolio.place_order(MARKET, book_side="bid", count_fp="5.00", price_dollars="0.02")
    assert (order.status, portfolio.get_order(order.order_id).remaining_count_fp) == (OrderStatus.RESTING, "5.00")
    portfolio.amend_order(order.order_id, price_dollars="0.03", count_fp="4.00")
    assert float(portfolio.get_queue_position(order.order_id).queue_position_fp) >= 0
    portfolio.decrease_order(order.order_id, reduce_by_fp="1.00")
    [resting] = portfolio.get_orders(status=OrderStatus.RESTING)
    assert (resting.yes_price_dollars, resting.remaining_count_fp) == ("0.0300", "3.00")
    portfolio.cancel_order(order.order_id)
    assert portfolio.get_order(order.order_id).status is OrderStatus.CANCELED
    batch = portfolio.batch_place_orders(
        [{"ticker": MARKET, "action": "buy", "side": "no", "count_fp": "1.00", "no_price_dollars": "0.02"}] * 2
    )
    assert len(portfolio.batch_cancel_orders([each.order_id for each in batch])) == 2
    with pytest.raises(KalshiAPIError, match="invalid_price"):
        portfolio.place_order(MARKET, book_side="bid", count_fp="5.00", price_dollars="0.0201")


def test_its_feed_shows_books_trades_and_its_own_fills(client: KalshiClient, settings: dict[str, str]) -> None:
    heard: dict[str, list[Any]] = {name: [] for name in ("orderbook_delta", "trade", "ticker", "fill", "user_orders")}
    feed = Feed(client)
    # The one thing that it has no parameter for.
    feed._ws_url = settings["KALSHI_WS_URL"]
    for name, messages in heard.items():
        feed.on(name, messages.append)
        if name in {"fill", "user_orders"}:
            feed.subscribe(name)
        else:
            feed.subscribe(name, market_ticker=MARKET)
    with feed:
        assert feed.is_connected
        wait_for("a book and a ticker", lambda: (heard["orderbook_delta"] and heard["ticker"]) or None)
        taken = client.portfolio.place_order(
            MARKET, book_side="bid", count_fp="1.00", price_dollars="0.97", time_in_force=TimeInForce.IOC
        )
        assert taken.status is OrderStatus.EXECUTED
        wait_for("its fill", lambda: (heard["fill"] and heard["user_orders"] and heard["trade"]) or None)
    assert {message.order_id for message in heard["fill"]} == {taken.order_id}
    assert heard["user_orders"][-1].order_id == taken.order_id
    fills = client.portfolio.get_fills(order_id=taken.order_id)
    assert {message.trade_id for message in heard["fill"]} == {fill.trade_id for fill in fills}
    [position] = client.portfolio.get_positions(ticker=MARKET)
    assert position.position_fp == "1.00"
