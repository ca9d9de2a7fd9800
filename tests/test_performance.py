"""The promised speed: above 1,000 messages a second, below 1 ms each in the median. `just bench` measures more."""

from pathlib import Path
from typing import Any

import pytest

from tests.bench import measure
from tests.running import exchange, service

STRETCHES = 8


@pytest.mark.alone
def test_a_thousand_messages_a_second_become_durable_with_a_median_below_a_millisecond(
    tmp_path: Path, database_url: str
) -> None:
    with (
        exchange(tmp_path / "venue", "--rate", "2000") as settings,
        service(tmp_path, DATABASE_URL=database_url, **settings) as running,
    ):
        # Another load on the machine can only make it worse, so the best of some stretches is its own.
        stretches = [measure(running, seconds=3)]
        while not is_kept(stretches[-1]) and len(stretches) < STRETCHES:
            stretches.append(measure(running, seconds=3))
        assert running.stop() == 0
    assert is_kept(stretches[-1]), stretches


def is_kept(figures: dict[str, Any]) -> bool:
    """Return whether the promise is: messages a second, and the median in microseconds."""
    return bool(figures["durable_per_s"] > 1000 and figures["p50"] < 1000)
