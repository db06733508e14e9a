from __future__ import annotations

from datetime import UTC, datetime

import pytest

from sshwrap.render import words
from tests.support.screens import NOW, tunnel


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-3, "0 s"),
        (0.9, "0 s"),
        (59.99, "59 s"),
        (60, "1 min"),
        (103, "1 min 43 s"),
        (3599, "59 min 59 s"),
        (3600, "1 h"),
        (3659, "1 h"),
        (11523, "3 h 12 min"),
        (86399, "23 h 59 min"),
        (86400, "1 d"),
        (187200, "2 d 4 h"),
        (40_000_000, "462 d 23 h"),
    ],
)
def test_duration(seconds: float, text: str) -> None:
    assert words.duration(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(-1, "at once"), (0, "at once"), (0.2, "in 1 s"), (13.2, "in 14 s")]
)
def test_until_is_never_too_early(seconds: float, text: str) -> None:
    assert words.until(seconds) == text


def test_counts_of_things() -> None:
    assert words.count(1, "visitor") == "1 visitor"
    assert words.count(0, "visitor") == "0 visitors"
    assert words.count(2, "try", "tries") == "2 tries"


def test_times_have_a_date_when_they_are_not_of_today() -> None:
    assert words.moment(datetime(2026, 11, 22, 9, 5, 59, tzinfo=UTC), NOW) == "09:05"
    assert words.moment(datetime(2026, 11, 21, 23, 59, tzinfo=UTC), NOW) == "2026-11-21 23:59"
    assert words.later(NOW, 900) == "10:46:31"


@pytest.mark.parametrize("text", [None, 7, "", "yesterday", "2026-13-01T00:00:00Z"])
def test_what_is_no_time_is_none(text: object) -> None:
    assert words.parse_time(text) is None


def test_a_time_is_utc_unless_it_says_otherwise() -> None:
    whole = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)
    assert words.parse_time("2026-11-22T10:00:00Z") == whole
    assert words.parse_time("2026-11-22T10:00:00") == whole
    assert words.parse_time("2026-11-22T11:00:00.000+01:00") == whole


@pytest.mark.parametrize(
    ("state", "word"),
    [
        ("up", "up"),
        ("failed", "needs you"),
        ("waiting", "waiting"),
        ("starting", "starting"),
        ("stopping", "stopping"),
        ("down", "down"),
    ],
)
def test_state_words(state: str, word: str) -> None:
    assert words.state_word(tunnel("web", state)) == word


def test_counts_keep_their_order_and_leave_out_the_zeros() -> None:
    states = ["failed", "up", "down", "up", "starting"]
    assert words.counts([tunnel("t", state) for state in states]) == [
        (2, "up"),
        (1, "starting"),
        (1, "needs you"),
        (1, "down"),
    ]


def test_a_state_of_another_version_is_counted_too() -> None:
    assert words.counts([tunnel("t", "resting")]) == [(1, "resting")]


def test_urgency_is_about_what_a_person_wants() -> None:
    assert words.urgency(tunnel("t")) == 0
    assert words.urgency(tunnel("t", "down", wanted=False)) == 0
    assert words.urgency(tunnel("t", "down")) > words.urgency(tunnel("t", "starting")) > 0
    assert words.urgency(tunnel("t", "failed")) > words.urgency(tunnel("t", "waiting"))
