"""A REST service around made-up markets, and a client that signs, for tests of the local venue."""

import time
from collections.abc import Generator
from typing import Any

import attrs
import httpx
import msgspec

from rlflow.exchange.audience import Audience
from rlflow.exchange.handshake import REST_PATH
from rlflow.exchange.markets.listing import Listing, MarketSheet
from rlflow.exchange.markets.trade_history import TradeRecord
from rlflow.exchange.markets.venue import Venue
from rlflow.exchange.rest.desk import Desk
from rlflow.exchange.rest.http_server import Heard
from rlflow.exchange.rest.past import Past
from rlflow.exchange.rest.service import RestService
from rlflow.exchange.rest.settings import Knobs, RestSettings, Settings
from rlflow.exchange.rest.still_venue import StillVenue
from rlflow.exchange.wire.items import Image
from rlflow.kalshi.auth import Signer, generate_private_key_pem, load_private_key
from rlflow.units import Nanos

SECOND: Nanos = 1_000_000_000
NOW: Nanos = 1_800_000_000 * SECOND
SIGNER = Signer("test-key", load_private_key(generate_private_key_pem("ed25519")))
Body = dict[str, Any]


class MadeUpVenue(StillVenue):
    """A still venue whose parts a test puts together."""

    def __init__(self, *listings: Listing) -> None:
        super().__init__([], lambda ticker: self.books.get(ticker, Image(ticker)), now_ns=NOW)
        self.books: dict[str, Image] = {}
        self.listings = {listing.ticker: listing for listing in listings}
        for number, each in enumerate(listings):
            each.number = number
        self.history: dict[str, list[TradeRecord]] = {}

    def trades(self, ticker: str) -> list[TradeRecord]:
        """Return what the test has put there, the newest first."""
        return self.history.get(ticker, [])


def listing(ticker: str, series: str = "KXS", **state: Any) -> Listing:
    """Return a market that opened 100 s ago and closes in 100 s."""
    event = ticker.rpartition("-")[0]
    sheet = MarketSheet(ticker, event, series, f"Title of {ticker}", NOW - 100 * SECOND, NOW + 100 * SECOND)
    return Listing(sheet, **{"created_ns": NOW - 200 * SECOND, "updated_ns": NOW, "status": "active", **state})


@attrs.define
class Caller:
    """Asks a service directly, at a time that it chooses."""

    service: RestService
    now_ns: Nanos = NOW

    def ask(self, method: str, path: str, body: object = None, *, is_signed: bool = True) -> tuple[int, Any]:
        """Return the answer's status and body."""
        target = f"{REST_PATH}{path}"
        headers = SIGNER.headers(method, target, self.now_ns // 1_000_000) if is_signed else ()
        raw = b"" if body is None else msgspec.json.encode(body)
        answer = self.service.answer(Heard(method, target, tuple((n.encode(), v.encode()) for n, v in headers), raw))
        return answer.status, msgspec.json.decode(answer.encoded() or b"null")

    def tell(self, path: str, body: object = None) -> tuple[int, Any]:
        """Say something to the simulator's own endpoints; return the answer's status and body."""
        raw = b"" if body is None else msgspec.json.encode(body)
        answer = self.service.answer(Heard("POST", f"/sim{path}", (), raw))
        return answer.status, msgspec.json.decode(answer.encoded() or b"null")

    def get(self, path: str) -> Body:
        """Return the body of an answer that must be 200."""
        status, body = self.ask("GET", path, is_signed=False)
        assert status == 200, body
        assert isinstance(body, dict)
        return body


def caller(venue: StillVenue | Venue, **settings: Any) -> Caller:
    """Return one who asks a venue, whose service knows the key of `SIGNER`."""
    asking: list[Caller] = []
    knobs = Knobs(Settings(RestSettings(**settings)))
    past, control = Past(venue.engine.account, knobs), getattr(venue, "control", None)
    service = RestService(
        Desk(venue, knobs, past, Audience(), control, keys={SIGNER.key_id: SIGNER.key.public_key()}),
        now_ns=lambda: asking[0].now_ns,
        clock=lambda: asking[0].now_ns / 1e9,
    )
    asking.append(Caller(service))
    return asking[0]


@attrs.frozen
class Signing(httpx.Auth):
    """Signs every request now."""

    signer: Signer

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Add the three headers."""
        path = request.url.raw_path.decode()
        request.headers.update(dict(self.signer.headers(request.method, path, time.time_ns() // 1_000_000)))
        yield request
