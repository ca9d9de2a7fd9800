"""The channels of the venue, and what each of them takes (protocol 3.1 to 3.4)."""

from typing import Final

from rlflow.exchange.wire.items import ORDERBOOK, TRADE

TICKER: Final = "ticker"
COMMUNICATIONS: Final = "communications"
PYTH: Final = "pyth_value"
BENCHMARKS: Final = frozenset({"cfbenchmarks_value", "cfbenchmarks_value_5hz"})

SEQUENCED: Final = frozenset(
    {
        ORDERBOOK,
        TRADE,
        "market_lifecycle_v2",
        "multivariate_market_lifecycle",
        COMMUNICATIONS,
        "order_group_updates",
    }
)
"""Their frames carry seq, answers to commands included."""
FILTERED: Final = frozenset({ORDERBOOK, TRADE, TICKER, "fill", "market_positions", "user_orders"})
"""They may be subscribed for some markets; on all others a choice of markets means nothing."""
CHANNELS: Final = SEQUENCED | FILTERED | BENCHMARKS | {PYTH}

GET_SNAPSHOT: Final = "get_snapshot"
ADD_MARKETS: Final = "add_markets"
DELETE_MARKETS: Final = "delete_markets"
LISTING: Final = frozenset({"indexlist", "underlying_list"})
"""Actions that only ask what is subscribed."""
LEAVING: Final = frozenset({DELETE_MARKETS, "unsubscribe_indices", "unsubscribe_underlyings"})

_MARKET_ACTIONS = frozenset({ADD_MARKETS, DELETE_MARKETS})
_INDEX_ACTIONS = frozenset({"subscribe_indices", "unsubscribe_indices", "indexlist"})
_UNDERLYING_ACTIONS = frozenset({"subscribe_underlyings", "unsubscribe_underlyings", "underlying_list"})


def takes_action(channel: str, action: str) -> bool:
    """Return whether `update_subscription` knows the action for the channel."""
    if action == GET_SNAPSHOT:
        return channel == ORDERBOOK
    if channel in BENCHMARKS:
        return action in _INDEX_ACTIONS
    if channel == PYTH:
        return action in _UNDERLYING_ACTIONS
    return action in _MARKET_ACTIONS and channel in FILTERED
