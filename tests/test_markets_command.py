"""`markets`: what a newcomer sees when looking for tickers, from a real venue process."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from rlflow.cli.main import commands
from rlflow.cli.markets import is_found
from rlflow.errors import CommandError
from rlflow.kalshi.sheets import MarketSheet
from tests.running import clean_environ, exchange

TICKERS = ("KXSIM-27JAN01-A", "KXSIM-27JAN01-B", "KXSIM-27JAN01-C")


@pytest.fixture(scope="module")
def venue(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    with exchange(tmp_path_factory.mktemp("venue")) as settings:
        yield settings


def list_markets(venue: dict[str, str], *arguments: str) -> Result:
    environ = clean_environ(**venue)
    return CliRunner().invoke(commands, ["markets", *arguments], obj=lambda: environ, terminal_width=110)


def test_the_open_markets_are_listed_with_their_quotes(venue: dict[str, str]) -> None:
    result = list_markets(venue)
    assert result.exit_code == 0
    assert all(ticker in result.output for ticker in TICKERS)
    assert "3 of 3 open markets" in result.output


def test_a_search_finds_text_in_any_case_and_a_limit_says_how_many_there_are(venue: dict[str, str]) -> None:
    assert "1 of 1 open markets" in list_markets(venue, "--search", "jan01-b").output
    assert "1 of 3 open markets" in list_markets(venue, "--limit", "1").output


def test_json_gives_the_venues_own_sheets(venue: dict[str, str]) -> None:
    lines = list_markets(venue, "--json").output.splitlines()
    assert {json.loads(line)["ticker"] for line in lines} == set(TICKERS)


@pytest.mark.parametrize("arguments", [("--status", "settled"), ("--series", "KXNONE"), ("--search", "zzz")])
def test_nothing_found_is_said_and_is_exit_code_1(venue: dict[str, str], arguments: tuple[str, ...]) -> None:
    result = list_markets(venue, *arguments)
    assert isinstance(result.exception, CommandError)
    assert result.exception.code == 1
    assert "no market is like that" in str(result.exception)
    assert result.output == ""


@pytest.mark.parametrize("repeated", [1, 2, 10])
def test_a_line_is_whole_however_narrow_the_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, repeated: int
) -> None:
    long = "KXLONG" + repeated * "-ABCDEF" + "-A"
    monkeypatch.setenv("COLUMNS", "80")
    with exchange(tmp_path, "--market", long) as venue:
        shown = list_markets(venue).output
    assert long in shown
    *table, _summary = shown.splitlines()
    assert {line[-1] for line in table} == set("┓┃┩│┘")


def test_a_venue_that_is_away_is_one_line_with_its_cure(venue: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    nowhere = "http://127.0.0.1:9/trade-api/v2"
    result = list_markets(venue | {"KALSHI_API_URL": nowhere})
    assert isinstance(result.exception, CommandError)
    assert "\n" not in str(result.exception)
    assert str(result.exception).endswith("; see `rlflow doctor`")
    monkeypatch.setattr(sys.modules["rlflow.cli.markets"], "PUBLIC_API_URL", nowhere)
    without = list_markets({})
    assert str(without.exception).startswith(f"{nowhere} gives no answer: ")
    assert str(without.exception).endswith("; look at the network or a proxy")


def test_text_is_looked_for_in_ticker_event_and_titles() -> None:
    raw = (
        b'{"ticker":"KXA-1","event_ticker":"EV","status":"active","title":"Rain in Paris","yes_sub_title":"Above 3 mm"}'
    )
    sheet = MarketSheet.from_json(raw)
    assert all(is_found(sheet, text) for text in ("kxa", "ev", "PARIS", "above"))
    assert not is_found(sheet, "snow")
