"""Asking the venue's REST interface: what it says in all its moods, and how often it is asked."""

import itertools
from functools import partial

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from rlflow.data.backoff import Backoff
from rlflow.data.rest.client import TICKERS_PER_REQUEST, VenueClient
from rlflow.data.rest.limits import REQUEST_COST, SHARE, TokenBucket
from rlflow.data.rest.requests import ATTEMPTS
from rlflow.errors import AnswerRejectedError, Problem, RestRefusedError, SettingsError, VenueAwayError
from rlflow.kalshi.answers import BucketLimits
from tests.rest_venue import ROOT, Answer, Asked, answer, by_path, in_turn, rest_venue

LIMIT_S = 20
STATUS = {"exchange_active": True, "trading_active": False}


def sheet(ticker: str = "KXT-1", **fields: object) -> dict[str, object]:
    return {"ticker": ticker, "event_ticker": "KXT", "status": "active"} | fields


async def test_a_market_is_asked_for_with_a_signature_of_the_path_without_query() -> None:
    with trio.fail_after(LIMIT_S):
        async with rest_venue(lambda _: answer(market=sheet("KX.T/1", news=[1]))) as venue, venue.client() as client:
            assert (await client.market("KX.T/1")).ticker == "KX.T/1"
            (asked,) = venue.asked
            assert asked.path == "/markets/KX.T%2F1"
            assert asked.headers["x-signed"] == f"GET{ROOT}/markets/KX.T%2F1"
            assert "cookie" not in asked.headers


async def test_a_list_is_read_to_its_last_page() -> None:
    def pages(asked: Asked) -> Answer:
        number = int(asked.query.get("cursor", "0"))
        return answer(markets=[sheet(f"KXT-{number}")], cursor=str(number + 1) if number < 3 else "")

    with trio.fail_after(LIMIT_S):
        async with rest_venue(pages) as venue, venue.client() as client:
            found = await client.markets(series="KXT", status="open", min_updated_ts=17)
            assert [market.ticker for market in found] == ["KXT-0", "KXT-1", "KXT-2", "KXT-3"]
            assert venue.asked[0].query == {
                "limit": "1000",
                "mve_filter": "exclude",
                "min_updated_ts": "17",
                "series_ticker": "KXT",
                "status": "open",
            }


async def test_many_named_markets_are_asked_for_in_parts() -> None:
    tickers = [f"KXT-{number}" for number in range(2 * TICKERS_PER_REQUEST + 1)]

    def named(asked: Asked) -> Answer:
        return answer(markets=[sheet(ticker) for ticker in asked.query["tickers"].split(",")], cursor="")

    with trio.fail_after(LIMIT_S):
        async with rest_venue(named) as venue, venue.client() as client:
            assert [market.ticker for market in await client.markets(tickers=tickers)] == tickers
            assert len(venue.asked) == 3
            assert await client.markets(tickers=[]) == []
            assert len(venue.asked) == 3


async def test_one_item_that_cannot_be_read_spoils_no_other() -> None:
    listed = [sheet("KXT-1"), sheet("KXT-2", status=5), {"ticker": 5}, sheet("KXT-4")]
    with trio.fail_after(LIMIT_S):
        async with rest_venue(lambda _: answer(markets=listed, cursor=None)) as venue, venue.client() as client:
            assert [market.ticker for market in await client.markets()] == ["KXT-1", "KXT-4"]
            assert client.statistics().unreadable == 2


async def test_a_list_that_never_ends_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rlflow.data.rest.client.MAX_PAGES", 3)
    with trio.fail_after(LIMIT_S):
        async with (
            rest_venue(lambda _: answer(trades=[], cursor="again")) as venue,
            venue.client() as client,
        ):
            with pytest.raises(VenueAwayError, match="3 pages"):
                await client.trades("KXT-1", 0, 1)


@pytest.mark.parametrize(
    "bad",
    [
        Answer(429, b'{"error":"too many requests"}'),
        Answer(503, b"<html>maintenance</html>"),
        Answer(500, b'{"msg":"oops"}'),
        Answer(200, b'{"exchange_active":tr'),
        Answer(200, b"\xff\xfe not JSON"),
        Answer(200, b"[" * 100_000),
        Answer(200, b"{}"),
        Answer(200, b'{"exchange_active":true,"trading_active":false}', sent_bytes=20),
        Answer(200, b"", sent_bytes=0),
        Answer(200, b"no gzip at all", headers=(("content-encoding", "gzip"),)),
    ],
    ids=lambda bad: f"{bad.status} {bad.body[:12]!r}",
)
async def test_what_may_pass_is_tried_again(bad: Answer) -> None:
    with trio.fail_after(LIMIT_S):
        async with (
            rest_venue(in_turn(bad, bad, answer(**STATUS))) as venue,
            venue.client(attempt_s=2) as client,
        ):
            assert not (await client.exchange_status()).is_trading_active
            assert len(venue.asked) == 3


async def test_slow_bytes_are_waited_for_no_longer_than_one_attempt_may_take() -> None:
    slow = Answer(200, b'{"exchange_active":true,"trading_active":false}', pause_s=0.05)
    with trio.fail_after(LIMIT_S):
        async with rest_venue(in_turn(slow, answer(**STATUS))) as venue, venue.client(attempt_s=0.3) as client:
            assert (await client.exchange_status()).is_exchange_active
            assert "no whole answer within 0.3 s" in str(client.statistics().last_error)


async def test_a_storm_of_429_ends_with_an_error_and_is_counted() -> None:
    with trio.fail_after(LIMIT_S):
        async with (
            rest_venue(lambda _: Answer(429, b'{"error":"too many requests"}')) as venue,
            venue.client() as client,
        ):
            with pytest.raises(VenueAwayError, match="HTTP 429 too many requests") as caught:
                await client.market("KXT-1")
            assert caught.value.status == 429
            assert (len(venue.asked), client.statistics().throttled) == (ATTEMPTS, ATTEMPTS)


async def test_a_signature_that_came_too_late_is_made_anew() -> None:
    late = Answer(401, b'{"code":"header_timestamp_expired","message":"late"}')
    with trio.fail_after(LIMIT_S):
        async with rest_venue(in_turn(late, answer(**STATUS))) as venue, venue.client() as client:
            assert (await client.exchange_status()).is_exchange_active
            assert client.statistics().refusals == 0


async def test_a_key_that_cannot_be_read_for_a_moment_is_no_reason_to_end() -> None:
    times = itertools.count()

    def headers(method: str, path: str) -> list[tuple[str, str]]:
        if next(times) == 0:
            raise SettingsError([Problem("KALSHI_PRIVATE_KEY_PATH", "cannot be read")])
        return []

    with trio.fail_after(LIMIT_S):
        async with rest_venue(lambda _: answer(**STATUS)) as venue:
            quick = partial(Backoff, first_s=0.001, cap_s=0.002)
            async with VenueClient(venue.url, headers, make_backoff=quick) as client:
                assert (await client.exchange_status()).is_exchange_active
                assert "no signature" in str(client.statistics().last_error)


async def test_an_answer_of_another_form_ends_with_an_error() -> None:
    with trio.fail_after(LIMIT_S):
        async with rest_venue(lambda _: answer(markets=[])) as venue, venue.client() as client:
            with pytest.raises(AnswerRejectedError, match="market is missing"):
                await client.market("KXT-1")
            assert len(venue.asked) == ATTEMPTS


async def test_nobody_there_ends_with_an_error() -> None:
    with trio.fail_after(LIMIT_S):
        async with rest_venue(lambda _: answer()) as venue:
            client = venue.client()
        async with client:
            with pytest.raises(VenueAwayError, match="GET /markets/KXT-1"):
                await client.market("KXT-1")


@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        (b'{"code":"not_found","message":"no market","details":"KXT"}', "not_found", "no market: KXT"),
        (b'{"error":{"code":"not_found","message":"no market"}}', "not_found", "no market"),
        (b'{"msg":"bad\\nlimit"}', "", "bad limit"),
        (b'{"error":"no"}', "", "no"),
        (b"<b>no</b>", "", "<b>no</b>"),
        (b"[1]", "", "[1]"),
        (b"", "", ""),
    ],
)
async def test_a_refusal_is_not_tried_again_and_its_code_found_wherever_it_sits(
    body: bytes, code: str, message: str
) -> None:
    with trio.fail_after(LIMIT_S):
        async with rest_venue(lambda _: Answer(404, body)) as venue, venue.client() as client:
            with pytest.raises(RestRefusedError) as caught:
                await client.market("KXT-1")
            assert (caught.value.status, caught.value.code, caught.value.message) == (404, code, message)
            assert (len(venue.asked), client.statistics().refusals) == (1, 1)


async def test_the_status_during_maintenance_is_read_from_its_503() -> None:
    closed = answer(503, exchange_active=False, trading_active=False, exchange_estimated_resume_time=None)
    with trio.fail_after(LIMIT_S):
        async with rest_venue(lambda _: closed) as venue, venue.client() as client:
            assert not (await client.exchange_status()).is_exchange_active


async def test_every_call_asks_its_endpoint() -> None:
    endpoints = {
        "/events/KXT-26": answer(event={"event_ticker": "KXT-26", "series_ticker": "KXT"}, markets=[]),
        "/series/KXT": answer(series={"ticker": "KXT", "fee_type": "quadratic", "fee_multiplier": 0.5}),
        "/series/fee_changes": answer(
            series_fee_change_arr=[
                {"id": "1", "series_ticker": "KXT", "fee_type": "flat", "fee_multiplier": 1, "scheduled_ts": 1795305600}
            ]
        ),
        "/exchange/schedule": answer(
            schedule={
                "maintenance_windows": [
                    {"start_datetime": "2026-11-26T08:00:00Z", "end_datetime": "2026-11-26T10:00:00Z"}
                ]
            }
        ),
        "/markets/KXT-1/orderbook": answer(orderbook_fp={"yes_dollars": [["0.41", "3.5"], ["0.4200", "1"]]}),
        "/account/limits": answer(
            usage_tier="basic",
            read={"refill_rate": 20_000, "bucket_capacity": 20_000},
            write={"refill_rate": 100, "bucket_capacity": 100},
        ),
    }
    with trio.fail_after(LIMIT_S):
        async with rest_venue(by_path(endpoints)) as venue, venue.client() as client:
            assert (await client.limits()).usage_tier == "basic"
            assert (await client.event("KXT-26")).series_ticker == "KXT"
            assert str((await client.series("KXT")).fee_multiplier) == "0.5"
            assert [change.from_ns for change in await client.fee_changes("KXT")] == [1_795_305_600 * 10**9]
            (window,) = (await client.schedule()).maintenance
            assert window.to_ns - window.from_ns == 7_200 * 10**9
            assert (await client.orderbook("KXT-1")).yes_bids == ((4200, 100), (4100, 350))


async def test_requests_at_once_all_get_their_answer() -> None:
    async def ask() -> None:
        assert (await client.market("KXT-1")).status == "active"

    with trio.fail_after(LIMIT_S):
        async with rest_venue(lambda _: answer(market=sheet())) as venue, venue.client() as client:
            async with trio.open_nursery() as nursery:
                for _ in range(10):
                    nursery.start_soon(ask)
            assert len(venue.asked) == 10


async def test_a_cancelled_request_leaves_the_client_usable() -> None:
    slow = Answer(200, b'{"exchange_active":true,"trading_active":false}', pause_s=1)
    with trio.fail_after(LIMIT_S):
        async with rest_venue(in_turn(slow, slow, slow, answer(**STATUS))) as venue, venue.client() as client:
            for _ in range(3):
                with trio.move_on_after(0.1):
                    await client.exchange_status()
            assert (await client.exchange_status()).is_exchange_active


@given(
    st.lists(st.tuples(st.floats(0, 5), st.booleans()), max_size=60),
    st.floats(10, 1000),
    st.floats(10, 3000),
)
def test_no_more_tokens_are_used_than_the_share_of_the_account(
    steps: list[tuple[float, bool]], rate: float, capacity: float
) -> None:
    limits = BucketLimits(rate, capacity)
    bucket, now, used = TokenBucket(0.0, limits), 0.0, []
    for pause, is_throttled in steps:
        now += pause
        if is_throttled:
            bucket.drain(now)
        used.append(now + bucket.take(REQUEST_COST, now))
    for number, begin in enumerate(used):
        for later in range(number, len(used)):
            spent = (later - number + 1) * REQUEST_COST
            allowed = max(REQUEST_COST, capacity * SHARE) + (used[later] - begin) * rate * SHARE
            assert spent <= allowed + 1e-6 or spent <= REQUEST_COST


def test_a_drained_bucket_makes_the_next_request_wait() -> None:
    bucket = TokenBucket(0.0, BucketLimits(200, 200))
    assert bucket.take(REQUEST_COST, 0.0) == 0
    bucket.drain(0.0)
    assert bucket.take(REQUEST_COST, 0.0) == pytest.approx(REQUEST_COST / (200 * SHARE))
    bucket.adopt(BucketLimits(2000, 2000), 0.0)
    assert bucket.take(REQUEST_COST, 1.0) == 0


async def test_an_answer_that_is_too_large_is_not_read_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rlflow.data.rest.requests.MAX_ANSWER_BYTES", 100_000)
    large = Answer(200, b" " * 10_000_000)
    with trio.fail_after(LIMIT_S):
        async with rest_venue(in_turn(large, answer(**STATUS))) as venue, venue.client() as client:
            assert (await client.exchange_status()).is_exchange_active
            assert client.statistics().failures == 1
