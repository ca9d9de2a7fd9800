"""What an account may ask how often, and how far back (protocol 6.4 and 6.5)."""

import attrs

from rlflow.exchange.rest.buckets import DEFAULT_COST, Kind
from rlflow.exchange.rest.desk import Desk
from rlflow.exchange.rest.messages import Answer, Request, ok
from rlflow.exchange.rest.routes import Route
from rlflow.exchange.wire import frames

# The venue keeps some three months for its live endpoints.
_LIVE_WINDOW_NS = 90 * 86_400 * 1_000_000_000


def limits(desk: Desk, _request: Request) -> Answer:
    """Return the tier and its buckets."""
    tier = desk.settings.tier
    return ok(
        usage_tier=tier.name.lower(),
        read=attrs.asdict(tier.rate(Kind.READ)),
        write=attrs.asdict(tier.rate(Kind.WRITE)),
        grants=[],
    )


def endpoint_costs(desk: Desk, _request: Request) -> Answer:
    """Return what does not cost the default."""
    return ok(default_cost=DEFAULT_COST, endpoint_costs=desk.costs)


def cutoff(_desk: Desk, request: Request) -> Answer:
    """Return from when on the live endpoints know everything; nothing here is ever older."""
    at = frames.rfc3339_ms(request.now_ns - _LIVE_WINDOW_NS)
    names = ("market_settled_ts", "trades_created_ts", "orders_updated_ts", "market_positions_last_updated_ts")
    return ok(**dict.fromkeys(names, at))


ROUTES = (
    Route("GET", "/account/limits", limits),
    Route("GET", "/account/endpoint_costs", endpoint_costs, is_public=True),
    Route("GET", "/historical/cutoff", cutoff, is_public=True),
)
