"""Snapshots: exactly the keys of the contract, and addresses that can be handed to a friend."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sshwrap.profile.forward import Forward, Kind
from sshwrap.ssh.failure import failure
from sshwrap.tunnel.entries import address, connect_end, rfc3339, rfc3339_seconds
from sshwrap.tunnel.events import WantUp
from sshwrap.tunnel.model import ForwardState, State, Tunnel
from sshwrap.tunnel.present import snapshot
from sshwrap.tunnel.snapshot import is_ok, published, status
from sshwrap.tunnel.traffic import Traffic
from tests.unit.tunnel.things import ANY, HALF, LOCAL, UNSEEN, WEB, Life, at, fresh

# The contract: other programs read these, in this version.
TUNNEL_KEYS = [
    *("profile", "description", "profiles_file", "profile_changed", "ok", "state", "wanted"),
    *("since", "supervisor_pid", "supervisor_version", "ssh_pid", "destination", "drops"),
    *("drops_since", "attempt", "next_attempt_at", "failure", "forwards"),
]
FORWARD_KEYS = [
    *("kind", "spec", "source", "listen_host", "listen_port", "listen_path", "connect_host"),
    *("connect_port", "connect_path", "allocated_port", "bound", "reach", "reach_reason"),
    *("address", "from_here", "target", "connections"),
]


def shown(tunnel: Tunnel, seconds: float = 0, **fields: float) -> dict[str, object]:
    return snapshot(
        tunnel,
        Traffic(len(tunnel.forwards)),
        at(seconds),
        supervisor_pid=41,
        supervisor_version="0.1.0",
        **fields,
    )


def test_the_keys_are_those_of_the_contract_in_its_order() -> None:
    answer = status([shown(fresh(WEB, LOCAL))])
    assert list(answer) == ["schema_version", "ok", "tunnels"]
    tunnel = answer["tunnels"][0]
    assert list(tunnel) == TUNNEL_KEYS
    assert [list(forward) for forward in tunnel["forwards"]] == [FORWARD_KEYS] * 2
    assert list(tunnel["forwards"][0]["connections"]) == ["open", "total", "last"]


def test_what_is_only_for_our_screens_is_not_published() -> None:
    tunnel = shown(fresh())
    private = [key for key in tunnel if key.startswith("_")]
    assert private == [
        *("_seconds_in_state", "_seconds_to_attempt", "_ever_up"),
        *("_holder", "_reclaiming", "_renewing"),
    ]
    (forward,) = tunnel["forwards"]  # type: ignore[misc,attr-defined]
    assert [key for key in forward if key.startswith("_")] == ["_from_here_ms"]
    told = published(tunnel)
    assert list(told) == TUNNEL_KEYS
    assert list(told["forwards"][0]) == FORWARD_KEYS


def test_a_waiting_tunnel_says_when_it_tries_next() -> None:
    cause = failure("refused", destination="h", profile="web", said="refused")
    tunnel = Life(fresh()).do(WantUp("up"), 0)
    tunnel = replace(tunnel, deadline=at(30).mono, failure=cause, failure_at=at(2).wall)
    answer = shown(tunnel, 10)
    assert answer["next_attempt_at"] == rfc3339_seconds(at(30).wall)
    assert answer["_seconds_to_attempt"] == 20
    assert answer["failure"] == {
        "kind": "refused",
        "summary": cause.summary,
        "said": "refused",
        "advice": cause.advice,
        "at": rfc3339_seconds(at(2).wall),
    }


def test_a_server_that_is_held_back_moves_the_next_attempt() -> None:
    tunnel = replace(Life(fresh()).do(WantUp("up"), 0), deadline=at(1).mono)
    assert shown(tunnel, 0, not_before=at(20).mono)["_seconds_to_attempt"] == 20


def test_durations_do_not_come_from_a_clock_that_can_be_set() -> None:
    tunnel = Life(fresh()).do(WantUp("up"), 5)
    later = replace(at(65), wall=0.0)  # the clock was set back, years
    answer = snapshot(tunnel, Traffic(1), later, supervisor_pid=1, supervisor_version="")
    assert answer["_seconds_in_state"] == 60


@pytest.mark.parametrize(
    ("state", "wanted", "ok"),
    [
        (State.UP, True, True),
        (State.DOWN, False, True),
        (State.STOPPING, False, True),
        (State.WAITING, True, False),
        (State.STARTING, True, False),
        (State.FAILED, True, False),
        (State.STOPPING, True, False),
    ],
)
def test_ok(state: State, wanted: bool, ok: bool) -> None:
    tunnel = shown(replace(fresh(), state=state, wanted=wanted))
    assert is_ok(tunnel) is ok


@pytest.mark.parametrize("reach", ["loopback_only", "half_bound", "exposed"])
def test_a_tunnel_that_listens_where_it_should_not_is_not_ok(reach: str) -> None:
    tunnel = shown(replace(fresh(), state=State.UP, wanted=True))
    tunnel["forwards"][0]["reach"] = reach  # type: ignore[index]
    assert not is_ok(tunnel)


def forward_shown(tunnel: Tunnel) -> dict[str, object]:
    forwards = shown(tunnel)["forwards"]
    assert isinstance(forwards, list)
    found: dict[str, object] = forwards[0]
    return found


def test_what_was_seen_is_shown() -> None:
    state = ForwardState(WEB, reach=HALF, from_here="open", from_here_ms=31.2)
    tunnel = replace(fresh(), state=State.UP, wanted=True, forwards=(state,))
    forward = forward_shown(tunnel)
    assert forward["reach"] == "half_bound"
    assert forward["bound"] == ["::"]
    assert forward["reach_reason"] == "another program listens on 0.0.0.0"
    assert (forward["from_here"], forward["_from_here_ms"]) == ("open", 31.2)
    assert shown(tunnel)["ok"] is False


def test_what_cannot_be_seen_says_why_and_is_ok() -> None:
    state = ForwardState(WEB, reach=UNSEEN)
    tunnel = replace(fresh(), state=State.UP, wanted=True, forwards=(state,))
    forward = forward_shown(tunnel)
    assert (forward["reach"], forward["bound"]) == ("unknown", None)
    assert forward["reach_reason"] == "the key runs a command of its own"
    assert shown(tunnel)["ok"] is True


@pytest.mark.parametrize(
    ("state", "reach"),
    [
        (State.STARTING, "checking"),
        (State.UP, "checking"),
        (State.WAITING, "unknown"),
        (State.DOWN, "unknown"),
        (State.FAILED, "unknown"),
        (State.STOPPING, "unknown"),
    ],
)
def test_checking_is_said_only_while_somebody_looks(state: State, reach: str) -> None:
    forward = forward_shown(replace(fresh(), state=state, wanted=True))
    assert (forward["reach"], forward["reach_reason"], forward["bound"]) == (reach, None, None)


def test_that_our_dead_session_is_asked_to_go_is_shown() -> None:
    tunnel = replace(fresh(), state=State.WAITING, wanted=True, reclaiming=True)
    assert shown(tunnel)["_reclaiming"] is True


def test_refused_from_here_is_wrong_only_where_everybody_was_asked_for() -> None:
    for forward, ok in ((WEB, False), (replace(WEB, listen_host=None), True)):
        tunnel = shown(replace(fresh(forward), state=State.UP, wanted=True))
        tunnel["forwards"][0]["from_here"] = "refused"  # type: ignore[index]
        assert is_ok(tunnel) is ok


@pytest.mark.parametrize(
    ("forward", "allocated", "expected"),
    [
        (WEB, None, "vps.example.com:12345"),
        (replace(WEB, listen_host=None), None, "vps.example.com:12345"),
        (replace(WEB, listen_host="::"), None, "vps.example.com:12345"),
        (replace(WEB, listen_host="203.0.113.7"), None, "203.0.113.7:12345"),
        (replace(WEB, listen_host="::1"), None, "[::1]:12345"),
        (replace(WEB, listen_host="localhost"), None, "localhost:12345"),
        (ANY, None, None),
        (ANY, 40001, "vps.example.com:40001"),
        (Forward(Kind.REMOTE, "", listen_path="/r.sock"), None, "/r.sock"),
        (LOCAL, None, "localhost:9000"),
        (replace(LOCAL, listen_host="*"), None, "*:9000"),
    ],
)
def test_the_address_is_what_a_visitor_types(
    forward: Forward, allocated: int | None, expected: str | None
) -> None:
    assert address(forward, allocated, "vps.example.com") == expected


def test_where_it_leads() -> None:
    assert connect_end(WEB) == "localhost:8080"
    assert connect_end(Forward(Kind.REMOTE, "1080", listen_port=1080)) == "socks"
    assert connect_end(Forward(Kind.REMOTE, "", listen_port=1, connect_path="/l")) == "/l"


def test_times() -> None:
    assert rfc3339(0.25) == "1970-01-01T00:00:00.250Z"
    assert rfc3339_seconds(1_700_000_000.9) == "2023-11-14T22:13:20Z"
