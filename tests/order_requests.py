"""Generators of what accounts ask the simulated venue for."""

from typing import Any

import attrs
from hypothesis import strategies as st

from rlflow.exchange.matching.orders import OrderRequest

TICKER = "KXSIM-A"
KEYS = ("ann", "bob", "cid")

# Few prices and sizes, so that orders meet all the time; fractions of a contract make rounding work.
yes_prices = st.integers(46, 54).map(lambda cents: cents * 100)
counts = st.one_of(st.integers(1, 40), st.integers(1, 4).map(lambda contracts: contracts * 100))
keys = st.sampled_from(KEYS)
client_ids = st.sampled_from(("", "", "", "a", "b", "c", "d"))
# Most orders rest, as elsewhere; each special kind comes up in every run.
WAYS: list[dict[str, Any]] = [
    *[{}] * 6,
    {"post_only": True},
    {"cancel_on_pause": True},
    *[{"time_in_force": "immediate_or_cancel"}] * 2,
    {"time_in_force": "immediate_or_cancel", "reduce_only": True},
    *[{"time_in_force": "fill_or_kill"}] * 2,
]
requests = st.builds(
    lambda way, *args: OrderRequest(TICKER, *args, **way),
    st.sampled_from(WAYS),
    st.sampled_from(("bid", "ask")),
    yes_prices,
    counts,
).flatmap(
    lambda request: st.builds(
        attrs.evolve,
        st.just(request),
        self_trade_prevention=st.sampled_from(("taker_at_cross", "maker")),
        client_order_id=client_ids,
    )
)
