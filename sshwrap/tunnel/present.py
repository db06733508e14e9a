"""A tunnel and its traffic -> the snapshot that status, ipc and screens show."""

from __future__ import annotations

from typing import Any

from sshwrap.tunnel.entries import address, failure_entry, rfc3339_seconds
from sshwrap.tunnel.events import Moment
from sshwrap.tunnel.model import ForwardState, State, Tunnel
from sshwrap.tunnel.snapshot import is_ok
from sshwrap.tunnel.traffic import ForwardTraffic, Traffic


def snapshot(
    tunnel: Tunnel,
    traffic: Traffic,
    now: Moment,
    *,
    supervisor_pid: int,
    supervisor_version: str,
    not_before: float | None = None,
) -> dict[str, Any]:
    """A TunnelSnapshot with the three keys for screens (`_…`): durations never come from clocks
    that can be set. `not_before` (monotonic): its server is held back until then."""
    profile = tunnel.profile
    waits = tunnel.state in (State.WAITING, State.FAILED) and tunnel.deadline is not None
    to_attempt = None
    if waits:
        due = max(tunnel.deadline or 0.0, not_before or 0.0)
        to_attempt = max(0.0, due - now.mono)
    # Between two tries what counts is how long it has been away, not how long it has slept.
    between = tunnel.state in (State.WAITING, State.STARTING, State.FAILED)
    since = (tunnel.away_since if between else None) or tunnel.since
    failure = None
    if tunnel.failure is not None:
        failure = {
            **failure_entry(tunnel.failure),
            "at": rfc3339_seconds(tunnel.failure_at or now.wall),
        }
    result = {
        "profile": profile.name,
        "description": profile.description,
        "profiles_file": profile.profiles_file,
        "profile_changed": False,
        "ok": True,
        "state": str(tunnel.state),
        "wanted": tunnel.wanted,
        "since": rfc3339_seconds(since.wall),
        "supervisor_pid": supervisor_pid,
        "supervisor_version": supervisor_version,
        "ssh_pid": tunnel.pid,
        "destination": profile.destination,
        "drops": tunnel.drops,
        "drops_since": rfc3339_seconds(tunnel.drops_since),
        "attempt": tunnel.attempt,
        "next_attempt_at": None if to_attempt is None else rfc3339_seconds(now.wall + to_attempt),
        "failure": failure,
        "forwards": [
            _forward(state, row, tunnel.hostname, tunnel.state)
            for state, row in zip(tunnel.forwards, traffic.rows, strict=True)
        ],
        "_seconds_in_state": max(0.0, now.mono - since.mono),
        "_seconds_to_attempt": to_attempt,
        "_ever_up": tunnel.ever_up,
        "_holder": tunnel.holder,
        "_reclaiming": tunnel.reclaiming,
        "_renewing": bool(tunnel.renewing),
    }
    result["ok"] = is_ok(result)
    return result


def _forward(
    state: ForwardState, row: ForwardTraffic, hostname: str, tunnel_state: State
) -> dict[str, Any]:
    forward, reach = state.forward, state.reach
    last = None
    if row.last_address is not None:
        last = {"address": row.last_address, "at": rfc3339_seconds(row.last_wall)}
    return {
        "kind": str(forward.kind),
        "spec": forward.spec,
        "source": forward.source,
        "listen_host": forward.listen_host,
        "listen_port": forward.listen_port,
        "listen_path": forward.listen_path,
        "connect_host": forward.connect_host,
        "connect_port": forward.connect_port,
        "connect_path": forward.connect_path,
        "allocated_port": state.allocated_port,
        "bound": None if reach is None or reach.bound is None else list(reach.bound),
        "reach": _reach(state, tunnel_state),
        "reach_reason": None if reach is None else reach.reason,
        "address": address(forward, state.allocated_port, hostname),
        "from_here": state.from_here,
        "target": row.target,
        "connections": {"open": row.open, "total": row.total, "last": last},
        "_from_here_ms": state.from_here_ms,
    }


def _reach(state: ForwardState, tunnel_state: State) -> str:
    if state.reach is not None:
        return state.reach.reach
    return "checking" if tunnel_state in (State.STARTING, State.UP) else "unknown"
