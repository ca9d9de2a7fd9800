"""When a quiet feed is asked whether it still would say something, and when it is not believed any more."""

from rlflow.data.following.quiet_feeds import ANSWER_S, QUIET_S, Doubt, QuietFeeds


def test_a_feed_that_has_said_something_lately_is_left_in_peace() -> None:
    quiet = QuietFeeds()
    assert quiet.judge("feed 1", QUIET_S - 1, 0) is Doubt.NONE
    assert quiet.judge("feed 1", None, 0) is Doubt.NONE


def test_a_quiet_feed_is_asked_once_and_distrusted_once_if_it_says_nothing() -> None:
    quiet = QuietFeeds()
    times = (0, ANSWER_S / 2, ANSWER_S, ANSWER_S * 2, ANSWER_S * 20)
    found = [quiet.judge("feed 1", QUIET_S + now, now) for now in times]
    assert found == [Doubt.ASK, Doubt.NONE, Doubt.DISTRUST, Doubt.NONE, Doubt.NONE]


def test_a_feed_that_has_answered_is_asked_again_when_it_is_quiet_again() -> None:
    quiet = QuietFeeds()
    assert quiet.judge("feed 1", QUIET_S, 0) is Doubt.ASK
    assert quiet.judge("feed 1", 1, ANSWER_S) is Doubt.NONE
    assert quiet.judge("feed 1", QUIET_S, QUIET_S + ANSWER_S) is Doubt.ASK


def test_each_feed_is_asked_for_itself() -> None:
    quiet = QuietFeeds()
    assert [quiet.judge(name, QUIET_S, 5) for name in ("feed 1", "feed 2")] == [Doubt.ASK, Doubt.ASK]
