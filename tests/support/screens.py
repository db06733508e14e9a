"""Snapshots and journal entries to draw: as the supervisor sends them, each value told apart."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from sshwrap.render.page import Line, Page, paint

NOW = datetime(2026, 11, 22, 10, 31, 31, tzinfo=UTC)


def forward(**values: Any) -> dict[str, Any]:
    return {
        "kind": "remote",
        "spec": "*:12345:localhost:8080",
        "source": "profile",
        "listen_host": "*",
        "listen_port": 12345,
        "listen_path": None,
        "connect_host": "localhost",
        "connect_port": 8080,
        "connect_path": None,
        "allocated_port": None,
        "bound": None,
        "reach": "unknown",
        "reach_reason": None,
        "address": "vps.example.com:12345",
        "from_here": "unknown",
        "target": "unknown",
        "connections": {"open": 0, "total": 0, "last": None},
        **values,
    }


def tunnel(profile: str, state: str = "up", **values: Any) -> dict[str, Any]:
    return {
        "profile": profile,
        "description": None,
        "profiles_file": None,
        "profile_changed": False,
        "ok": state == "up",
        "state": state,
        "wanted": True,
        "since": "2026-11-22T07:19:28Z",
        "supervisor_pid": 41,
        "supervisor_version": "0.1.0",
        "ssh_pid": 42,
        "destination": "root@vps.example.com",
        "drops": 0,
        "drops_since": None,
        "attempt": 0,
        "next_attempt_at": None,
        "failure": None,
        "forwards": [forward()],
        "_seconds_in_state": 11523.4,
        "_seconds_to_attempt": None,
        "_ever_up": True,
        **values,
    }


def failure(
    summary: str, said: str = "", advice: str = "", kind: str = "refused"
) -> dict[str, str]:
    return {
        "kind": kind,
        "summary": summary,
        "said": said,
        "advice": advice,
        "at": "2026-11-22T10:30:51Z",
    }


def visited(open_now: int, total: int, address: str, at: str) -> dict[str, Any]:
    return {"open": open_now, "total": total, "last": {"address": address, "at": at}}


def the_four() -> list[dict[str, Any]]:
    """One that is well, one whose program is gone, one that waits, one that needs a person."""
    visits = visited(2, 41, "198.51.100.23", "2026-11-22T10:30:02Z")
    return [
        tunnel("web", forwards=[forward(from_here="open", reach="as_asked", connections=visits)]),
        tunnel(
            "ha",
            forwards=[forward(address="vps.example.com:8123", connect_port=8123, target="refused")],
        ),
        tunnel(
            "cam",
            "waiting",
            _seconds_in_state=40.9,
            _seconds_to_attempt=13.2,
            failure=failure(
                "vps2.example.net does not answer (timed out)",
                "ssh: connect to host vps2.example.net port 22: Connection timed out",
                "see whether vps2.example.net is on",
            ),
            forwards=[
                forward(address="vps2.example.net:2201", connect_host="192.0.2.30", connect_port=22)
            ],
        ),
        tunnel(
            "db",
            "failed",
            _seconds_in_state=103.0,
            _seconds_to_attempt=900.0,
            failure=failure(
                "db.example.org shows another host key",
                "Host key verification failed.",
                "ask its owner, then ssh-keygen -R db.example.org",
                "host_key_changed",
            ),
            forwards=[forward(address="db.example.org:5432", connect_port=5432)],
        ),
    ]


def entry(event: str, at: str, profile: str = "web", **values: Any) -> dict[str, Any]:
    """A journal entry; `at` is a time of 2026-11-22, or a whole RFC 3339 time."""
    stamp = at if "T" in at else f"2026-11-22T{at}.000Z"
    return {"v": 1, "at": stamp, "profile": profile, "event": event, **values}


def texts(lines: Iterable[Line], page: Page) -> list[str]:
    return [paint(line, page) for line in lines]
