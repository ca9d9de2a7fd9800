"""`rlflow` with the feed's long waits made short, so that a test need not wait for half a minute to pass.

Run as a script: everything else is as it is. The waits themselves have tests of their own.
"""

from pathlib import Path

from rlflow.data.backoff import Backoff
from rlflow.data.feed import connection
from rlflow.data.following import feeds, quiet_feeds
from rlflow.data.orderbook_client import OrderbookClient
from rlflow.kalshi import book_repair, pending

HASTY = (__file__,)
SILENT_S = 3.0
LASTING_S = 2.0


def hurry() -> None:
    """Make the waits short."""
    connection.CONNECT_S = 5.0  # type: ignore[misc]
    book_repair.SNAPSHOT_LIMIT_S = 1.0  # type: ignore[misc]
    book_repair.MISSING_INTERVAL_S = 1.0  # type: ignore[misc]
    pending.REPLY_LIMIT_S = 1.0  # type: ignore[misc]
    # Soon enough to keep a quiet line from being silent; on a dead one, the silence is what is noticed first.
    quiet_feeds.QUIET_S = SILENT_S / 2  # type: ignore[misc]
    quiet_feeds.ANSWER_S = SILENT_S  # type: ignore[misc]
    feeds.CLOCK_LIMIT_S = 0.2  # type: ignore[misc]
    _default(OrderbookClient, silent_s=SILENT_S, close_s=0.5)
    _default(Backoff, first_s=0.2, cap_s=5.0, lasting_s=LASTING_S)


def _default(kind: type, **values: float) -> None:
    """Give arguments of a constructor other defaults."""
    defaults = kind.__init__.__kwdefaults__  # type: ignore[misc]
    assert defaults.keys() >= values.keys(), Path(__file__).name
    defaults.update(values)


if __name__ == "__main__":
    from rlflow.__main__ import main

    hurry()
    main()
