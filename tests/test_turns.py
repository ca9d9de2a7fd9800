"""Tests that measure are alone; the rest run beside each other."""

import fcntl
import threading
import time
from pathlib import Path

from tests.turns import turn


def test_turns_that_need_not_be_alone_are_had_together(tmp_path: Path) -> None:
    with turn(tmp_path, is_alone=False), turn(tmp_path, is_alone=False):
        pass


def test_who_is_alone_waits_for_the_others_and_then_goes_first(tmp_path: Path) -> None:
    said: list[str] = []
    is_begun, may_end = threading.Event(), threading.Event()

    def have(name: str, *, is_alone: bool) -> None:
        with turn(tmp_path, is_alone=is_alone):
            said.append(name)
            if name == "first":
                is_begun.set()
                may_end.wait(60)

    first = threading.Thread(target=have, args=("first",), kwargs={"is_alone": False})
    alone = threading.Thread(target=have, args=("alone",), kwargs={"is_alone": True})
    last = threading.Thread(target=have, args=("last",), kwargs={"is_alone": False})
    first.start()
    assert is_begun.wait(60)
    alone.start()
    while not _is_held(tmp_path / "gate"):
        time.sleep(0.001)
    last.start()
    assert said == ["first"]
    may_end.set()
    for thread in (first, alone, last):
        thread.join(60)
    assert said == ["first", "alone", "last"]


def _is_held(path: Path) -> bool:
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
