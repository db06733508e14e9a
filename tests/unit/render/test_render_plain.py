from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sshwrap.render.page import Page
from sshwrap.render.plain import plain_line
from tests.support.screens import entry, failure

WEB = {
    "kind": "remote",
    "address": "vps.example.com:12345",
    "connect": "localhost:8080",
    "allocated_port": None,
}
SOCKS = {"kind": "dynamic", "address": "localhost:1080", "connect": "socks"}
LOST = failure("vps.example.com stopped answering", "Timeout, server not responding.", "wait")
EVENTS = [
    "wanted",
    "unwanted",
    "up",
    "down",
    "attempt_failed",
    "needs_person",
    "target",
    "port",
    "changed",
    "lost",
    "notice",
    "reach",
    "from_here",
    "reclaim",
    "doubt",
    "dead",
    "holder",
]
AT = {"forward": "*:12345:localhost:8080", "address": "vps.example.com:12345"}
RULE = "do: sshwrap doctor cam"


@pytest.mark.parametrize(
    ("event", "values", "text"),
    [
        ("wanted", {"by": "up"}, "starting: asked for"),
        ("wanted", {"by": "run"}, "starting: asked for"),
        ("wanted", {"by": "restart"}, "starting: a restart was asked for"),
        ("wanted", {"by": "start"}, "starting: still wanted from before"),
        ("wanted", {"by": "moon"}, "starting: moon"),
        ("unwanted", {"by": "down"}, "down: as asked"),
        ("unwanted", {"by": "ctrl-c"}, "down: ended by Ctrl-C"),
        ("unwanted", {"by": "supervisor ended"}, "down: supervisor ended"),
        (
            "up",
            {"forwards": [WEB], "attempts": 1, "after": 0.4, "first": True},
            "up: vps.example.com:12345 → localhost:8080",
        ),
        (
            "up",
            {"forwards": [WEB, SOCKS], "attempts": 3, "after": 4.7, "first": True},
            "up: vps.example.com:12345 → localhost:8080; localhost:1080 → SOCKS proxy; "
            "after 4 s, 3 tries",
        ),
        (
            "up",
            {"forwards": [WEB], "attempts": 1, "after": 0.4, "first": False},
            "up: vps.example.com:12345 → localhost:8080; back after less than 1 s",
        ),
        (
            "down",
            {
                "failure": LOST,
                "up_for": 40.0,
                "last_seen": "2026-11-22T10:29:51.000Z",
                "retry_in": 0.5,
            },
            "down: vps.example.com stopped answering; no sign of life since 10:29:51; "
            "trying again in 1 s",
        ),
        (
            "down",
            {
                "failure": LOST,
                "up_for": 40.0,
                "last_seen": "2026-11-22T10:30:50.100Z",
                "retry_in": 0,
            },
            "down: vps.example.com stopped answering; trying again at once",
        ),
        (
            "attempt_failed",
            {"failure": LOST, "attempt": 3, "retry_in": 3.2},
            "try 3 failed: vps.example.com stopped answering; trying again in 4 s",
        ),
        (
            "attempt_failed",
            {"failure": failure("ssh ended", "weird words", "x", "unknown"), "attempt": 1},
            "try 1 failed: ssh ended (ssh: weird words)",
        ),
        (
            "needs_person",
            {
                "failure": failure("the key is not known there", "", "ssh-copy-id me@vps"),
                "retry_in": 60,
            },
            "needs you: the key is not known there; do: ssh-copy-id me@vps; "
            "looks again by itself in 1 min",
        ),
        (
            "needs_person",
            {"failure": failure("ssh knows no such option"), "retry_in": None},
            "needs you: ssh knows no such option",
        ),
        (
            "target",
            {"connect": "localhost:8080", "target": "refused", "said": "Connection refused"},
            "target: nothing answers on localhost:8080; the tunnel is fine (Connection refused)",
        ),
        (
            "target",
            {"connect": "localhost:8080", "target": "ok", "said": ""},
            "target: localhost:8080 answers again",
        ),
        (
            "port",
            {"forward": "0:localhost:22", "old": None, "new": 40123},
            "port: the server gave port 40123 for 0:localhost:22",
        ),
        (
            "port",
            {"forward": "0:localhost:22", "old": 40122, "new": 40123},
            "port: the server gave port 40123 for 0:localhost:22, it was 40122",
        ),
        ("changed", {"text": "edited, and taken over"}, "changed: edited, and taken over"),
        ("lost", {"text": "2 entries (disk full)"}, "lost: 2 entries (disk full)"),
        ("notice", {"text": "ssh: a warning"}, "ssh: a warning"),
        ("notice", {"text": "Warning: weak"}, "ssh: Warning: weak"),
        (
            "up",
            {"forwards": [{**WEB, "reach": "loopback_only"}], "first": False},
            "up, but: vps.example.com:12345 → localhost:8080",
        ),
        (
            "up",
            {"forwards": [{**WEB, "reach": "as_asked"}], "after": 0.4, "first": True},
            "up: vps.example.com:12345 → localhost:8080",
        ),
        (
            "reach",
            {**AT, "reach": "loopback_only", "bound": ["127.0.0.1", "::1"], "old": None},
            "up, but: vps.example.com:12345 is on the server's own loopback: its GatewayPorts is "
            f'"no"; {RULE} --fix',
        ),
        (
            "reach",
            {**AT, "reach": "exposed", "bound": ["0.0.0.0", "::"], "reason": None},
            "up, but: vps.example.com:12345 is wider than asked: sshd listens on every address, "
            f'its GatewayPorts is "yes" and overrides the address asked for; {RULE}',
        ),
        (
            "reach",
            {**AT, "reach": "half_bound", "bound": ["::"], "reason": "uid 33 listens on 0.0.0.0"},
            "up, but: vps.example.com:12345 is only half ours: visitors by IPv6 alone get "
            "through; uid 33 listens on 0.0.0.0; asked for again until it is free",
        ),
        (
            "reach",
            {**AT, "reach": "as_asked", "bound": ["0.0.0.0", "::"], "old": "half_bound"},
            "as asked: vps.example.com:12345 listens on every address",
        ),
        (
            "reach",
            {"forward": "*:0:localhost:8080", "address": None, "reach": "as_asked"},
            "as asked: *:0:localhost:8080 listens where it should",
        ),
        (
            "reach",
            {**AT, "reach": "unknown", "reason": "no answer over the tunnel in time"},
            "reach: not seen where vps.example.com:12345 listens: no answer over the tunnel in "
            "time",
        ),
        (
            "from_here",
            {**AT, "from_here": "refused", "old": "open"},
            "from here: vps.example.com:12345 refuses",
        ),
        (
            "from_here",
            {**AT, "from_here": "timeout", "old": "unknown"},
            "from here: no answer from vps.example.com:12345: a firewall, most likely",
        ),
        (
            "from_here",
            {**AT, "from_here": "open", "old": "refused"},
            "from here: vps.example.com:12345 answers again",
        ),
        (
            "from_here",
            {**AT, "from_here": "open", "old": "unknown"},
            "from here: vps.example.com:12345 answers",
        ),
        (
            "from_here",
            {**AT, "from_here": "unknown", "old": "refused"},
            "from here: not known whether vps.example.com:12345 answers",
        ),
        (
            "reclaim",
            {"outcome": "ended", "text": "our dead session still held port 12345: ended it"},
            "reclaimed: our dead session still held port 12345: ended it",
        ),
        (
            "reclaim",
            {"outcome": "not_ours", "text": "the port is another program's"},
            "reclaim: the port is another program's",
        ),
        (
            "holder",
            {"text": "port 12345 on the server: a program or a tunnel of uid 33"},
            "port: port 12345 on the server: a program or a tunnel of uid 33",
        ),
        ("doubt", {"text": "no answer for 2 s"}, "doubt: no answer for 2 s"),
        ("dead", {"text": "a new sign-in got through"}, "dead: a new sign-in got through"),
        ("dreamt", {}, 'unknown: "dreamt", written by another version'),
    ],
)
def test_every_event_is_one_line(event: str, values: dict[str, Any], text: str) -> None:
    line = plain_line(entry(event, "10:30:51", "cam", **values), Page())
    assert line == f"10:30:51  cam  {text}"


def test_the_time_stamp_is_the_readers_choice() -> None:
    changed = entry("changed", "10:30:51", "cam", text="x")
    assert plain_line(changed, Page(), stamp="none") == "cam  changed: x"
    assert plain_line(changed, Page(), stamp="date") == "2026-11-22 10:30:51  cam  changed: x"


def test_what_a_server_said_stays_on_its_line() -> None:
    said = entry("notice", "10:30:51", "cam", text="\033[1mwin\n10:30:52  web  up\007[b]")
    assert plain_line(said, Page()) == ("10:30:51  cam  ssh: \\033[1mwin 10:30:52  web  up\\007[b]")


def test_ascii() -> None:
    up = entry("up", "10:30:51", forwards=[WEB], attempts=1, after=0.1, first=True)
    assert plain_line(up, Page(encoding="ascii")) == (
        "10:30:51  web  up: vps.example.com:12345 -> localhost:8080"
    )


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)
KEYS = st.sampled_from(
    [
        "at",
        "profile",
        "by",
        "forwards",
        "failure",
        "after",
        "attempts",
        "first",
        "retry_in",
        "text",
        "last_seen",
        "connect",
        "target",
        "old",
        "new",
        "forward",
        "attempt",
        "up_for",
        "address",
        "reach",
        "from_here",
        "bound",
        "reason",
        "outcome",
    ]
)


@settings(max_examples=30)
@given(st.sampled_from(EVENTS), st.dictionaries(KEYS, JUNK, max_size=6))
def test_a_damaged_entry_is_a_line_all_the_same(event: str, values: dict[str, Any]) -> None:
    line = plain_line({"event": event, **values}, Page())
    assert line
    assert "\n" not in line


@pytest.mark.parametrize("damaged", [{}, {"event": 3, "at": 4, "profile": None}])
def test_an_entry_without_anything_is_a_line(damaged: dict[str, Any]) -> None:
    assert plain_line(damaged, Page()) == '??:??:??  unknown: "", written by another version'
