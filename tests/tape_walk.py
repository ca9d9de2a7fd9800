"""The offline replay of a tape beside the rows that it became."""

import random
from uuid import UUID

import attrs

from tests.oracle import Oracle, OracleBook
from tests.recorded_chain import Played, Row
from tests.tapes import Levels, Tape, is_data, message


@attrs.frozen
class Moment:
    """All books of a capture after one of its frames."""

    capture: UUID
    frame_no: int
    books: dict[str, "Book"]


@attrs.frozen
class Book:
    """One book as the oracle has it."""

    is_valid: bool
    yes: Levels
    no: Levels

    @classmethod
    def of(cls, book: OracleBook) -> "Book":
        return cls(book.is_valid, book.bids("yes"), book.bids("no"))


@attrs.frozen
class Walk:
    """What the offline replay of a connection says about the tables."""

    moments: list[Moment]
    """The chosen ones and, last, the end."""
    lost: list[tuple[str, int]]
    """Markets whose book could not be trusted any more, and the frame at which that was so."""


def walk(tape: Tape, played: Played, *, moments: int) -> Walk:
    """Replay a connection offline beside its capture's rows and assert that each row is the next message.

    Args:
        tape: what was played.
        played: one connection of it.
        moments: how many random ones to remember the books of.
    """
    rows, result = iter(played.rows), Walk([], [])
    count = sum(map(is_data, played.frames))
    chosen = {count - 1, *random.Random(tape.name).sample(range(count), min(moments, count))}
    # At full speed the recorded times mean nothing: a book is crossed too long only if the next action finds it so.
    oracle, done = Oracle(sparse_seq=tape.is_sparse), 0
    for frame in played.frames:
        if not is_data(frame):
            oracle.feed(frame)
            continue
        row = next((row for row in rows if not is_true_answer(row, oracle)), None)
        assert row is not None, f"message {done} of {count} and all behind it are missing"
        assert row.message == message(frame), f"message {done}, frame {row.frame_no}"
        known, trusted = set(oracle.books), trusted_books(oracle)
        oracle.feed(frame)
        lost = (trusted | (oracle.books.keys() - known)) - trusted_books(oracle)
        result.lost.extend((market, row.frame_no) for market in sorted(lost))
        if done in chosen:
            books = {market: Book.of(book) for market, book in oracle.books.items()}
            result.moments.append(Moment(played.record.capture, row.frame_no, books))
        done += 1
    assert all(is_true_answer(row, oracle) for row in rows), "there are more rows than messages"
    return result


def trusted_books(oracle: Oracle) -> set[str]:
    return {market for market, book in oracle.books.items() if book.is_valid}


def is_true_answer(row: Row, oracle: Oracle) -> bool:
    """Return whether a row is an answer of the exchange's own; if so it must give the book as recorded by then."""
    if row.is_answer:
        book = oracle.books[row.message.market]
        assert row.message.content == (book.bids("yes"), book.bids("no")), f"frame {row.frame_no}"
    return row.is_answer
