"""A key that the venue forgets, or that is replaced while the service records."""

from pathlib import Path

from rlflow.exchange.credentials import KEY_FILE, Credentials, load_or_make_credentials
from tests.faults.feed import RATE, Feed, everywhere, hasty_feeding
from tests.faults.scene import Scene, scene
from tests.running import wait_for

CLOSED = everywhere("peer closed: fault on request")


def test_a_key_that_is_refused_in_the_third_week_is_waited_for(tmp_path: Path, database_url: str) -> None:
    with scene(tmp_path, database_url, rate=RATE) as world, hasty_feeding(world) as feed:
        ours = load_or_make_credentials(key_file(world).parent)
        a_key_that_the_venue_forgets_is_tried_until_it_is_known_again(feed, ours)
        a_key_file_that_is_broken_for_a_while_is_read_again(feed)
        a_key_that_is_replaced_is_used_for_the_next_connection(feed, ours)


def a_key_that_the_venue_forgets_is_tried_until_it_is_known_again(feed: Feed, ours: Credentials) -> None:
    let_in(feed, {})
    feed.assert_whole()  # an open connection asks for no key
    end_connection(feed)
    wait_refused(feed, "NOT_FOUND")
    let_in(feed, {ours.key_id: ours.public_pem})
    feed.wait_well()
    assert feed.new_gaps() == CLOSED
    assert feed.open_gaps() == 0


def a_key_file_that_is_broken_for_a_while_is_read_again(feed: Feed) -> None:
    path = key_file(feed.world)
    good = path.read_bytes()
    path.write_bytes(good[:100])
    end_connection(feed)
    wait_refused(feed, "KALSHI_PRIVATE_KEY_PATH")
    path.write_bytes(good)
    feed.wait_well()
    assert feed.new_gaps() == CLOSED


def a_key_that_is_replaced_is_used_for_the_next_connection(feed: Feed, ours: Credentials) -> None:
    other = load_or_make_credentials(feed.world.directory / "other", "ed25519")
    let_in(feed, {ours.key_id: other.public_pem})
    key_file(feed.world).write_bytes(other.private_key_path.read_bytes())
    feed.assert_whole()
    end_connection(feed)
    feed.wait_well()
    assert feed.new_gaps() == CLOSED


def key_file(world: Scene) -> Path:
    return world.directory / "venue" / "keys" / KEY_FILE


def let_in(feed: Feed, keys: dict[str, str]) -> None:
    feed.world.tell_venue("keys", {"keys": keys})


def end_connection(feed: Feed) -> None:
    """Let the venue close the connection; whether another one comes about is another matter."""
    before = feed.first["capture"]
    feed.arm({"kind": "close"})
    wait_for("the end of the connection", lambda: feed.first["capture"] != before or None)


def wait_refused(feed: Feed, reason: str) -> None:
    """Wait until the service says that its key is no good, and go on living."""

    def look() -> bool | None:
        client = feed.running.ask("/rl/health", status=200)["components"]["orderbook_client"]
        return (client["status"] == "unhealthy" and reason in client["reason"]) or None

    wait_for("a refused key", look)
    assert any(reason in each for each in feed.reasons)
