from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from sshwrap.render import words
from tests.support.screens import NOW, forward, tunnel


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


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        (
            {"reach": "loopback_only", "from_here": "refused"},
            "only programs on the server itself can connect: sshd put port 12345 on its own "
            "loopback; its GatewayPorts decides that (-g is for -L and -D)",
        ),
        (
            {"reach": "half_bound", "bound": ["::"]},
            "port 12345 is only half ours: sshd listens on ::, something else holds the rest",
        ),
        (
            {"reach": "exposed", "bound": ["0.0.0.0", "::"]},
            "open wider than asked: sshd listens on 0.0.0.0, ::; its GatewayPorts "
            '"yes" overrides the address that was asked for',
        ),
        (
            {"from_here": "refused", "reach": "as_asked"},
            "refused from here, though it listens as asked",
        ),
        ({"from_here": "timeout"}, "no answer from here"),
        (
            {"target": "refused"},
            "nothing answers on localhost:8080 on this machine: the tunnel is fine and serves "
            "again as soon as the program does",
        ),
        (
            {"target": "refused", "connect_host": "192.0.2.30", "connect_port": 22},
            "nothing answers on 192.0.2.30:22: the tunnel is fine and serves "
            "again as soon as the program does",
        ),
        (
            {"target": "refused", "kind": "local"},
            "nothing answers on localhost:8080: the tunnel is fine and serves "
            "again as soon as the program does",
        ),
    ],
)
def test_what_is_not_as_asked_is_one_sentence(values: dict[str, Any], sentence: str) -> None:
    assert words.troubles(forward(**values)) == [sentence]
    assert words.state_word(tunnel("web", forwards=[forward(), forward(**values)])) == "up, but"


@pytest.mark.parametrize("reach", ["checking", "as_asked", "unknown"])
def test_what_is_not_known_is_no_trouble(reach: str) -> None:
    assert words.troubles(forward(reach=reach, reach_reason="the account has no shell")) == []


def test_the_reason_of_the_look_is_told() -> None:
    (sentence,) = words.troubles(forward(reach="half_bound", reach_reason="nginx has 0.0.0.0"))
    assert sentence.endswith("something else holds the rest (nginx has 0.0.0.0)")


@pytest.mark.parametrize(
    ("values", "listen", "connect"),
    [
        ({}, "vps.example.com:12345", "localhost:8080"),
        ({"connect_path": "/run/web.sock", "connect_port": None}, None, "/run/web.sock"),
        ({"connect_port": None, "connect_host": None}, None, "SOCKS proxy"),
        ({"connect_host": "::1"}, None, "[::1]:8080"),
        ({"address": None}, "*:12345", None),
        ({"address": None, "listen_host": "::1"}, "[::1]:12345", None),
        ({"address": None, "listen_port": 0}, "a port that the server chooses", None),
        ({"address": None, "listen_port": None, "listen_path": "/r.sock"}, "/r.sock", None),
        ({"kind": "local", "address": "localhost:5432"}, "-L localhost:5432", None),
        (
            {"kind": "dynamic", "address": None, "listen_host": None, "connect_port": None},
            "-D localhost:12345",
            "SOCKS proxy",
        ),
    ],
)
def test_both_ends(values: dict[str, Any], listen: str | None, connect: str | None) -> None:
    if listen:
        assert words.listen_text(forward(**values)) == listen
    if connect:
        assert words.connect_text(forward(**values)) == connect


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
