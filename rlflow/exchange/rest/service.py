"""From a request to its answer, in the venue's order of checks."""

from collections.abc import Callable

import attrs

from rlflow.exchange.handshake import FOREIGN, REST_PATH, Refusal, is_foreign_page
from rlflow.exchange.matching.orders import OrderRefusedError
from rlflow.exchange.rest import (
    account,
    books,
    candlesticks,
    control,
    exchange,
    historical,
    markets,
    orders,
    portfolio,
    positions,
    series,
    settings_control,
    trades,
)
from rlflow.exchange.rest.buckets import DEFAULT_COST, Buckets, Kind
from rlflow.exchange.rest.desk import Desk
from rlflow.exchange.rest.http_server import Heard
from rlflow.exchange.rest.messages import Answer, Request
from rlflow.exchange.rest.refusals import RefusedError, check_place, refusal_body
from rlflow.exchange.rest.routes import Route, Router
from rlflow.units import Nanos

_ROUTES: tuple[Route[Desk], ...] = (
    *exchange.ROUTES,
    *account.ROUTES,
    *markets.ROUTES,
    *books.ROUTES,
    *candlesticks.ROUTES,
    *trades.ROUTES,
    *series.ROUTES,
    *orders.ROUTES,
    *portfolio.ROUTES,
    *positions.ROUTES,
    *historical.ROUTES,
)

SIMULATOR_ROUTES: tuple[Route[Desk], ...] = (*control.ROUTES, *settings_control.ROUTES)


@attrs.define
class RestStatistics:
    """Requests since the start."""

    requests: int = 0
    refused: int = 0
    """Answered with any error."""
    throttled: int = 0
    """Of them with 429."""


class RestService:
    """All endpoints of one exchange. Pure but for the clocks that it is given."""

    def __init__(self, desk: Desk, *, now_ns: Callable[[], Nanos], clock: Callable[[], float]) -> None:
        """Serve a desk.

        Args:
            desk: What the handlers work with.
            now_ns: The exchange's time.
            clock: Any one in seconds that never goes back.
        """
        self.statistics = RestStatistics()
        self._desk = attrs.evolve(desk, costs=_costs(), statistics=self._figures)
        self._exchange_figures = desk.statistics
        self._now_ns = now_ns
        self._clock = clock
        self._buckets = Buckets()
        self._venue_routes: Router[Desk] = Router(REST_PATH, _ROUTES)
        self._control_routes: Router[Desk] = Router(control.BASE, SIMULATOR_ROUTES)

    def answer(self, heard: Heard) -> Answer:
        """Return what is sent back; nothing a client sends raises."""
        request = Request(heard.method, heard.target, heard.headers, heard.body, self._now_ns())
        self.statistics.requests += 1
        try:
            return self._answer(request)
        except RefusedError as error:
            return self._refuse(error.refusal)
        except OrderRefusedError as error:
            return self._refuse(Refusal(error.status, error.code, error.message))

    def _figures(self) -> dict[str, object]:
        return {**self._exchange_figures(), "rest": attrs.asdict(self.statistics)}

    def _answer(self, request: Request) -> Answer:
        if request.path.startswith(f"{control.BASE}/"):
            if is_foreign_page(request.headers):
                raise RefusedError(FOREIGN.status, FOREIGN.code, FOREIGN.message)
            route, request = self._control_routes.find(request)
            return route.handler(self._desk, request)
        if self._desk.trouble.status is not None:
            raise RefusedError(self._desk.trouble.status, "unavailable", "trouble on request")
        route, request = self._venue_routes.find(request)
        request = attrs.evolve(request, account=self._signer(route, request))
        if not self._desk.venue.is_exchange_active and not route.works_in_maintenance:
            raise RefusedError(503, "exchange_unavailable", "the exchange is in maintenance")
        self._pay(route, request)
        if not route.is_public:
            check_place(request.query.number("subaccount"), request.query.number("exchange_index"))
        self._desk.past.note(request.account, request.now_ns)
        try:
            return route.handler(self._desk, request)
        finally:
            self._desk.past.note(request.account, request.now_ns)

    def _signer(self, route: Route[Desk], request: Request) -> str:
        """Return who asks; nobody where a public endpoint is asked without a signature."""
        now_ms = request.now_ns // 1_000_000
        signer = self._desk.verifier.signer(request.headers, request.method, request.raw_path, now_ms)
        if isinstance(signer, str):
            if not route.is_public:
                self._check_scope(route, signer)
            return signer
        if route.is_public and signer.code == "signature_is_missing_from_headers":
            return ""
        raise RefusedError(signer.status, signer.code, signer.message, signer.details)

    def _check_scope(self, route: Route[Desk], key_id: str) -> None:
        settings = self._desk.knobs.settings
        is_write = route.kind is Kind.WRITE
        if key_id in (settings.keys_without_write if is_write else settings.keys_without_read):
            raise RefusedError(403, "permission_denied", f"the key lacks the scope {'write' if is_write else 'read'}")

    def _pay(self, route: Route[Desk], request: Request) -> None:
        cost = route.cost * route.count(request)
        tier = self._desk.settings.tier
        if cost and not self._buckets.take(request.account, tier, route.kind, cost, self._clock()):
            self.statistics.throttled += 1
            raise RefusedError(429, "too_many_requests", "too many requests")

    def _refuse(self, refusal: Refusal) -> Answer:
        self.statistics.refused += 1
        return Answer(refusal.status, refusal_body(refusal, self._desk.settings.error_shape))


def _costs() -> list[dict[str, object]]:
    """Return the endpoints that do not cost the default, as the venue lists them."""
    return [
        {"method": route.method, "path": _documented(route.path), "cost": route.cost}
        for route in _ROUTES
        if route.cost not in {0, DEFAULT_COST}
    ]


def _documented(path: str) -> str:
    """Return a route's path as the venue writes it, variable parts in braces."""
    return REST_PATH + path.translate(str.maketrans("<>", "{}"))
