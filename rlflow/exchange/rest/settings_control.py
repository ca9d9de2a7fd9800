"""The simulator's own endpoints for its settings, beside those of `control`."""

import msgspec

from rlflow.exchange.rest.desk import Desk
from rlflow.exchange.rest.messages import Answer, Request
from rlflow.exchange.rest.order_bodies import UNREADABLE
from rlflow.exchange.rest.refusals import bad_parameter
from rlflow.exchange.rest.routes import Route


def shown(desk: Desk, _request: Request) -> Answer:
    """Return the settings."""
    return Answer(200, desk.knobs.settings.as_json())


def changed(desk: Desk, request: Request) -> Answer:
    """Change some settings, and return all of them."""
    try:
        desk.knobs.settings = desk.knobs.settings.changed(msgspec.json.decode(request.body))
    except UNREADABLE as error:
        raise bad_parameter(str(error)) from error
    return shown(desk, request)


ROUTES = (
    Route("GET", "/settings", shown),
    Route("POST", "/settings", changed),
)
