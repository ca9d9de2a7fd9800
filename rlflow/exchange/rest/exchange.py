"""Whether the exchange is open (protocol 6.1 and 8.2)."""

from rlflow.exchange.rest.desk import Desk
from rlflow.exchange.rest.messages import Answer, Request, ok
from rlflow.exchange.rest.routes import Route
from rlflow.exchange.wire import frames

_DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_ALL_DAY = [{"open_time": "00:00", "close_time": "24:00"}]
# Thursdays between 03:00 and 05:00 the venue is closed for maintenance; times are New York's.
_THURSDAY = [{"open_time": "00:00", "close_time": "03:00"}, {"open_time": "05:00", "close_time": "24:00"}]
_SCHEDULE = {
    "standard_hours": [
        {
            "start_time": "2026-01-01T00:00:00Z",
            "end_time": "2099-01-01T00:00:00Z",
            **{day: _THURSDAY if day == "thursday" else _ALL_DAY for day in _DAYS},
        }
    ],
    "maintenance_windows": [],
}


def status(desk: Desk, _request: Request) -> Answer:
    """Return whether it is open; during maintenance the same body has status 503."""
    state = {"exchange_active": desk.venue.is_exchange_active, "trading_active": desk.venue.is_trading}
    shard = {"exchange_index": 0, "description": "the local venue", **state}
    body = {**state, "intra_exchange_transfers_active": False, "exchange_index_statuses": [shard]}
    return Answer(200 if desk.venue.is_exchange_active else 503, body)


def schedule(_desk: Desk, _request: Request) -> Answer:
    """Return the venue's hours, which the local venue does not keep: its maintenance is by request."""
    return ok(schedule=_SCHEDULE)


def user_data_timestamp(desk: Desk, request: Request) -> Answer:
    """Return how fresh portfolio reads are."""
    lag_s = max(desk.settings.orders_lag_s, desk.settings.positions_lag_s)
    return ok(as_of_time=frames.rfc3339_ms(request.now_ns - round(lag_s * 1e9)))


ROUTES = (
    Route("GET", "/exchange/status", status, is_public=True, works_in_maintenance=True),
    Route("GET", "/exchange/schedule", schedule, is_public=True),
    Route("GET", "/exchange/user_data_timestamp", user_data_timestamp, is_public=True),
)
