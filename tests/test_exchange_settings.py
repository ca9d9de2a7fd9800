"""What can be changed of a running exchange."""

import math

import attrs
import pytest

from rlflow.exchange.rest.buckets import Tier
from rlflow.exchange.rest.http_server import Heard
from rlflow.exchange.rest.refusals import ErrorShape
from rlflow.exchange.rest.settings import RestSettings, Settings
from rlflow.exchange.wire.subscriptions import Limits
from tests.exchange_rest import NOW, SECOND, Caller, MadeUpVenue, caller, listing


def shown(asking: Caller) -> object:
    return asking.service.answer(Heard("GET", "/sim/settings", (), b"")).body


def test_the_settings_are_shown_and_changed_one_by_one() -> None:
    asking = caller(MadeUpVenue())
    assert shown(asking) == {
        "rest": {
            "tier": "basic",
            "error_shape": "flat",
            "orders_lag_s": 0.0,
            "positions_lag_s": 0.0,
            "open_list_lag_s": 0.0,
        },
        "limits": {"queued_frames": 20_000, "markets": 10_000, "commands_per_second": 10_000},
        "max_skew_s": 15.0,
        "keys_without_read": [],
        "keys_without_write": [],
    }
    status, body = asking.tell("/settings", {"rest": {"orders_lag_s": 0.4}, "limits": {"markets": 2}})
    assert (status, body) == (200, shown(asking))
    assert (body["rest"]["orders_lag_s"], body["rest"]["tier"], body["limits"]["markets"]) == (0.4, "basic", 2)
    assert asking.tell("/settings", body) == (200, body)


@pytest.mark.parametrize(
    ("given", "what"),
    [
        ([], "settings must be a JSON object with any of rest, limits, max_skew_s, keys_without_read"),
        ({"rest": 1}, "rest must be a JSON object with any of tier, error_shape, orders_lag_s"),
        ({"colour": "red"}, "settings has no 'colour'; it has rest, limits, max_skew_s"),
        ({"limits": {"marktes": 1}}, "limits has no 'marktes'; it has queued_frames, markets, commands_per_second"),
        ({"rest": {"tier": "best"}}, r"'best' - at `\$.rest.tier`"),
        ({"rest": {"orders_lag_s": -1}}, r">= 0.0 - at `\$.rest.orders_lag_s`"),
        ({"rest": {"orders_lag_s": 1e300}}, "<= 60.0"),
        ({"limits": {"markets": 2.5}}, "Expected `int`"),
        ({"limits": {"markets": -1}}, ">= 0"),
        ({"max_skew_s": "15"}, "Expected `float`"),
        ({"keys_without_read": "all"}, "Expected `array`"),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused_and_changes_nothing(given: object, what: str) -> None:
    with pytest.raises(ValueError, match=what):
        Settings().changed(given)
    asking = caller(MadeUpVenue())
    before = shown(asking)
    assert asking.tell("/settings", given)[0] == 400
    assert shown(asking) == before


def test_what_is_not_named_stays_even_if_json_has_no_word_for_it() -> None:
    patient = Settings(limits=Limits(queued_frames=math.inf))
    assert patient.changed({"rest": {"tier": "prime"}}) == attrs.evolve(patient, rest=RestSettings(tier=Tier.PRIME))


def test_each_setting_holds_from_the_next_request_on() -> None:
    asking = caller(MadeUpVenue(listing("KXS-1-A")))
    assert [asking.ask("GET", "/portfolio/balance")[0] for _ in range(2)] == [200, 429]
    asking.tell("/settings", {"rest": {"tier": "prime", "error_shape": ErrorShape.MSG.value}})
    assert [asking.ask("GET", "/portfolio/balance")[0] for _ in range(2)] == [200, 200]
    assert asking.ask("GET", "/account/limits")[1]["usage_tier"] == "prime"
    assert asking.ask("GET", "/markets/KXNONE")[1] == {"msg": "market KXNONE not found"}
    assert len(asking.get("/markets?status=open")["markets"]) == 1
    asking.tell("/settings", {"rest": {"open_list_lag_s": 200}})
    assert asking.get("/markets?status=open")["markets"] == []


def test_a_signature_may_be_no_older_than_the_skew_that_is_set() -> None:
    asking = caller(MadeUpVenue())
    asking.service._now_ns = lambda: NOW + 5 * SECOND
    assert asking.ask("GET", "/account/limits")[0] == 200
    asking.tell("/settings", {"max_skew_s": 4})
    assert asking.ask("GET", "/account/limits")[1]["code"] == "header_timestamp_expired"
