"""A market with a small crowd, for tests of what orders do there."""

from typing import Any

import attrs
import pytest

from rlflow.exchange.matching.answers import Answer
from rlflow.exchange.matching.book import SimulatedBook
from rlflow.exchange.matching.engine import Engine
from rlflow.exchange.matching.happenings import Change, Deal, Happening
from rlflow.exchange.matching.orders import AmendRequest, OrderRefusedError, OrderRequest, OrderView
from rlflow.fees import FeeModel

TICKER = "KXSIM-A"
NOW = 1_795_305_600_000_000_000
SECOND = 1_000_000_000


@attrs.define
class Floor:
    """One market in which the crowd bids 20 contracts at 0.42 and asks 10 at 0.45 and 10 at 0.46."""

    book: SimulatedBook
    engine: Engine

    def place(self, side: str, price: int, count: int, key: str = "ann", **more: Any) -> Answer:
        return self.engine.place(key, OrderRequest(TICKER, side, price, count, **more), NOW)  # type: ignore[arg-type]  # the literals are checked by use

    def amend(self, order: OrderView, price: int, count: int, **more: Any) -> Answer:
        return self.engine.amend(
            order.account, order.order_id, AmendRequest(TICKER, order.side, price, count, **more), NOW
        )

    def crowd_buys(self, price: int, count: int) -> list[Happening]:
        """Let a taker of the crowd buy YES at one price."""
        no = 10_000 - price
        self.book.take("no", no, count)
        return self.engine.crowd_trade(TICKER, [Change("no", no, -count), Deal("no", no, count)], NOW)

    def cash(self, key: str = "ann") -> int:
        return self.engine.account(key).cash - 10_000_000_000

    def position(self, key: str = "ann") -> int:
        return self.engine.account(key).position(TICKER).count


def opened() -> Floor:
    """Return it as it is before anybody has come."""
    book = SimulatedBook(TICKER, "id")
    book.sides["yes"].change(4_200, 20_00)
    book.sides["no"].change(5_500, 10_00)
    book.sides["no"].change(5_400, 10_00)
    engine = Engine(3)
    engine.add_market(book, FeeModel())
    return Floor(book, engine)


def refusal(error: pytest.ExceptionInfo[OrderRefusedError]) -> tuple[int, str]:
    return error.value.status, error.value.code
