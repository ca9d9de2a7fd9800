"""A second, deliberately naive reading of the venue's frames, to check whole chains against.

Knows nothing of `rlflow.session`: plain dictionaries, `Decimal` text, one long list of rules. Slow and short.

    books = replay(json.loads(line) for line in lines)
    books["KXSIM-A"].yes      # {price in 1/10,000 dollar: size in 1/100 contract}
"""

from collections.abc import Iterable
from decimal import Decimal
from typing import Any

import attrs

Frame = dict[str, Any]
CROSSED_NS = 250_000_000
TERMINAL = (10, 17, 25)


class UnreadableError(Exception):
    """A frame that cannot be read as what it claims to be."""


@attrs.define
class OracleBook:
    """One market's book and whether it can be trusted."""

    yes: dict[int, int] = attrs.Factory(dict)
    no: dict[int, int] = attrs.Factory(dict)
    is_valid: bool = False
    sid: int | None = None
    clock: int | None = None
    """The clock of the snapshot it stands on."""
    crossed: tuple[object, int] | None = None
    """Of which action, and since when, while it is crossed."""

    def bids(self, side: str) -> tuple[tuple[int, int], ...]:
        """All bids of a side, best first."""
        return tuple(sorted((self.yes if side == "yes" else self.no).items(), reverse=True))

    @property
    def is_crossed(self) -> bool:
        return max(self.yes, default=-1) + max(self.no, default=-1) > 10_000

    def distrust(self) -> None:
        self.is_valid, self.crossed = False, None


@attrs.define
class OracleSid:
    """One subscription."""

    is_book: bool
    last: int | None = None
    last_frame: Frame | None = None
    lower: int = 0
    is_dead: bool = False
    is_announced: bool = False


def replay(frames: Iterable[Frame], *, use_yes_price: bool = False, sparse_seq: bool = False) -> dict[str, OracleBook]:
    """Return the books after all frames of one connection, given as decoded JSON in the order of arrival."""
    oracle = Oracle(use_yes_price=use_yes_price, sparse_seq=sparse_seq)
    for frame in frames:
        oracle.feed(frame)
    return oracle.books


class Oracle:
    """The books after the frames so far."""

    def __init__(self, *, use_yes_price: bool = False, sparse_seq: bool = False) -> None:
        self.books: dict[str, OracleBook] = {}
        self.sids: dict[int, OracleSid] = {}
        self.use_yes_price = use_yes_price
        self.sparse_seq = sparse_seq

    def feed(self, frame: object, received_ns: int = 0) -> None:
        """Take one frame; whatever is not a JSON object is ignored."""
        self.pass_time(received_ns)
        if not isinstance(frame, dict):
            return
        sid = frame.get("sid")
        sid = sid if isinstance(sid, int) else None
        try:
            self._feed(frame, sid, received_ns)
        except (UnreadableError, ArithmeticError, KeyError, TypeError, ValueError):
            if sid in self.sids and not self.sids[sid].is_dead:
                self._distrust(sid)

    def pass_time(self, received_ns: int) -> None:
        """A book that stays crossed for too long is wrong."""
        for book in self.books.values():
            if book.crossed is not None and received_ns - book.crossed[1] > CROSSED_NS:
                book.distrust()

    def stale(self, tickers: Iterable[str]) -> None:
        """Stop trusting books."""
        for ticker in tickers:
            self.books.setdefault(ticker, OracleBook()).distrust()

    def drop(self) -> None:
        """Frames are missing of which nothing is known; any number may come next."""
        for sid, state in self.sids.items():
            if not state.is_dead:
                self._distrust(sid)
                self.sids[sid] = OracleSid(state.is_book, is_announced=state.is_announced)

    def close(self) -> None:
        """The connection broke."""
        for book in self.books.values():
            book.distrust()

    def _distrust(self, sid: int | None) -> None:
        for book in self.books.values():
            if book.sid == sid:
                book.distrust()

    def _feed(self, frame: Frame, sid: int | None, received_ns: int) -> None:
        kind = frame["type"]
        if kind == "subscribed":
            self._announce(frame["msg"])
            return
        is_data = kind in ("orderbook_snapshot", "orderbook_delta", "trade")
        if sid is None or not self._counts(frame, sid, is_data=is_data):
            return
        if kind == "orderbook_snapshot":
            self._snapshot(frame["msg"], sid, received_ns)
        elif kind == "orderbook_delta":
            self._delta(frame["msg"], sid, received_ns)
        elif kind == "trade":
            if self.sids[sid].is_book or not isinstance(frame["msg"]["trade_id"], str):
                raise UnreadableError
            scaled(frame["msg"]["yes_price_dollars"], 10_000)
        elif kind == "ok":
            self._hold(frame.get("msg"), sid)
        elif kind == "unsubscribed":
            self.sids[sid].is_dead = False
            self._hold({"market_tickers": []}, sid)
            self.sids[sid].is_dead = True
        elif kind == "error" and frame["msg"]["code"] in TERMINAL and not self.sids[sid].is_dead:
            self._distrust(sid)
            self.sids[sid].is_dead = True

    def _announce(self, body: Frame) -> None:
        known = self.sids.get(body["sid"])
        if known is not None and not known.is_dead:
            if not known.is_announced:
                known.is_announced = True  # its data was faster
                return
            if known.last is not None:
                self._distrust(body["sid"])
        self.sids[body["sid"]] = OracleSid(body["channel"] == "orderbook_delta", is_announced=True)

    def _counts(self, frame: Frame, sid: int, *, is_data: bool) -> bool:
        """Check and advance the sequence; return whether the frame's content counts."""
        kind, seq = frame["type"], frame.get("seq")
        if sid not in self.sids:
            if not is_data:
                return False
            self.sids[sid] = OracleSid(kind != "trade")
        state = self.sids[sid]
        if state.is_dead:
            if kind != "orderbook_snapshot" or not self.sparse_seq:
                return not is_data
            self.sids[sid] = state = OracleSid(state.is_book, is_announced=state.is_announced)
        if seq is None:
            return True
        if not isinstance(seq, int):
            raise UnreadableError
        if state.last is not None and seq <= state.last and not self._is_restart(frame, state):
            if seq != state.last or frame != state.last_frame:
                state.lower += 1
                if state.lower % 3 == 0:
                    self._distrust(sid)
            return False
        is_gap = state.last is not None and seq > state.last + 1 and not self.sparse_seq
        if is_gap or (state.last is not None and seq <= state.last):
            self._distrust(sid)
        state.last, state.last_frame, state.lower = seq, frame, 0
        return True

    def _is_restart(self, frame: Frame, state: OracleSid) -> bool:
        """Whether a `seq` that is not higher begins the subscription anew."""
        if frame["seq"] == state.last and frame == state.last_frame:
            return False
        is_fall = self.sparse_seq and frame["seq"] != state.last
        return bool(is_fall or frame["type"] == "orderbook_snapshot" or frame["seq"] == 1)

    def _hold(self, body: Any, sid: int) -> None:
        tickers = body.get("market_tickers") if isinstance(body, dict) else None
        if tickers is None or not self.sids[sid].is_book or self.sids[sid].is_dead:
            return
        for ticker in [ticker for ticker, book in self.books.items() if book.sid == sid and ticker not in tickers]:
            del self.books[ticker]
        for ticker in tickers:
            book = self.books.setdefault(ticker, OracleBook(sid=sid))
            if book.sid is None or self.sids[book.sid].is_dead:
                book.sid = sid

    def _snapshot(self, body: Frame, sid: int, received_ns: int) -> None:
        if not self.sids[sid].is_book:
            raise UnreadableError
        sides: dict[str, dict[int, int]] = {"yes": {}, "no": {}}
        for side, levels in sides.items():
            for price, size in body.get(f"{side}_dollars_fp", []):
                levels[self._price(price, side)] = scaled(size, 100)
        book = OracleBook(sides["yes"], sides["no"], is_valid=True, sid=sid, clock=body.get("clock"))
        if book.is_crossed:
            book.crossed = (body.get("clock") or object(), received_ns)
        self.books[body["market_ticker"]] = book

    def _delta(self, body: Frame, sid: int, received_ns: int) -> None:
        if not self.sids[sid].is_book:
            raise UnreadableError
        price, change = self._price(body["price_dollars"], body["side"]), scaled(body["delta_fp"], 100)
        book = self.books.setdefault(body["market_ticker"], OracleBook(sid=sid))
        if book.sid != sid:
            if book.sid is not None and not self.sids[book.sid].is_dead:
                return
            book.sid = sid
        clock = body.get("clock")
        if not book.is_valid or (clock is not None and book.clock is not None and clock <= book.clock):
            return
        action = clock if clock is not None else body.get("ts_ms", object())
        if book.crossed is not None and book.crossed[0] != action:
            book.distrust()
            return
        levels = book.yes if body["side"] == "yes" else book.no
        size = levels.pop(price, 0) + change
        if size < 0:
            book.distrust()
        elif size:
            levels[price] = size
        if book.is_valid:
            book.crossed = (book.crossed or (action, received_ns)) if book.is_crossed else None

    def _price(self, dollars: str, side: str) -> int:
        price = scaled(dollars, 10_000)
        if not 0 <= price <= 10_000:
            raise UnreadableError
        return 10_000 - price if side == "no" and self.use_yes_price else price


def scaled(text: Any, units: int) -> int:
    """Return decimal text in whole units."""
    if not isinstance(text, str):
        raise UnreadableError
    value = Decimal(text) * units
    if value != int(value):
        raise UnreadableError
    return int(value)
