"""What an account may ask how often (protocol 6.5)."""

import attrs

from rlflow.exchange.rest.buckets import DEFAULT_COST, Kind
from rlflow.exchange.rest.desk import Desk
from rlflow.exchange.rest.messages import Answer, Request, ok
from rlflow.exchange.rest.routes import Route


def limits(desk: Desk, _request: Request) -> Answer:
    """Return the tier and its buckets."""
    tier = desk.settings.tier
    return ok(
        usage_tier=tier.value,
        read=attrs.asdict(tier.rate(Kind.READ)),
        write=attrs.asdict(tier.rate(Kind.WRITE)),
        grants=[],
    )


def endpoint_costs(desk: Desk, _request: Request) -> Answer:
    """Return what does not cost the default."""
    return ok(default_cost=DEFAULT_COST, endpoint_costs=desk.costs)


ROUTES = (
    Route("GET", "/account/limits", limits),
    Route("GET", "/account/endpoint_costs", endpoint_costs, is_public=True),
)
