"""The simulator's own endpoints: what a test, or somebody with curl, does to the venue. No signature is needed."""

from rlflow.exchange.rest.desk import Desk
from rlflow.exchange.rest.messages import Answer, Request
from rlflow.exchange.rest.routes import Route

BASE = "/sim"


def statistics(desk: Desk, _request: Request) -> Answer:
    """Return what the exchange has done since its start."""
    return Answer(200, desk.statistics())


ROUTES = (Route("GET", "/statistics", statistics),)
