"""Since when a capture has no more of a market, though its connection went on: by our wish, and on the venue's word.

No gap says so unless the market comes back, because nothing is missing that anybody wanted.
"""

from collections.abc import Iterable
from typing import Final

from rlflow.data.store.postgres import Connection
from rlflow.session.recorder import Place

NOT_SUBSCRIBED: Final = "not subscribed any more"
"""Why the book of such a market is not the venue's."""

_REMOVED: Final = b"""
    SELECT c.capture, removed ->> 'ticker', (removed ->> 'frame_no')::bigint, (removed ->> 'received_ns')::bigint
    FROM rl_captures AS c CROSS JOIN LATERAL jsonb_array_elements(c.resume_state -> 'removed') AS removed
    WHERE c.capture = ANY(%(keys)s)
      AND removed ->> 'channel' = 'orderbook_delta' AND removed ->> 'ticker' = ANY(%(tickers)s)"""


def removals(connection: Connection, keys: Iterable[int], tickers: Iterable[str]) -> dict[tuple[int, str], Place]:
    """Return the frame of the venue's word by capture and market, for those that are removed."""
    found = connection.execute(_REMOVED, {"keys": list(keys), "tickers": list(tickers)}, binary=True)
    return {(key, ticker): Place(frame_no, received_ns) for key, ticker, frame_no, received_ns in found}
