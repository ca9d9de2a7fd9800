"""How the REST interface behaves where the venue's behaviour varies, or is not known."""

import attrs

from rlflow.exchange.rest.buckets import Tier
from rlflow.exchange.rest.http_server import Waits
from rlflow.exchange.rest.refusals import ErrorShape


@attrs.frozen
class RestSettings:
    """The knobs of REST; the defaults are the documented venue's, without its lags."""

    tier: Tier = Tier.BASIC
    """Of every account."""
    error_shape: ErrorShape = ErrorShape.FLAT
    orders_lag_s: float = 0.0
    """How old the orders, fills and settlements that are read are; some 0.4 s on the venue."""
    positions_lag_s: float = 0.0
    """The same of positions and balances; some 1 s on the venue."""
    open_list_lag_s: float = 0.0
    """How much later a market shows in the lists of open markets than it opens; some 30 s on the venue."""
    waits: Waits = attrs.field(factory=Waits)
