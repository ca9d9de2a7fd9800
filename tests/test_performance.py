"""The promised speed: above 1,000 messages a second, below 1 ms each in the median. `just bench` measures more."""

from pathlib import Path

import pytest

from tests.bench import measure
from tests.running import exchange, service


@pytest.mark.alone
def test_a_thousand_messages_a_second_become_durable_with_a_median_below_a_millisecond(
    tmp_path: Path, database_url: str
) -> None:
    with (
        exchange(tmp_path / "venue", "--rate", "2000") as settings,
        service(tmp_path, DATABASE_URL=database_url, **settings) as running,
    ):
        figures = measure(running, seconds=3)
        assert running.stop() == 0
    assert figures["durable_per_s"] > 1000
    assert figures["p50"] < 1000
