"""The words for a forward, a failure and a time that journal, status and screens share."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sshwrap.profile.forward import Forward, Kind
from sshwrap.ssh.failure import Failure

if TYPE_CHECKING:
    from sshwrap.tunnel.model import ForwardState, Tunnel
    from sshwrap.tunnel.reach import Reach

EVERYWHERE = frozenset({None, "*", "0.0.0.0", "::"})  # noqa: S104 - names, nothing is bound here


def rfc3339(wall: float) -> str:
    """Seconds since the epoch -> "2026-11-22T10:00:00.123Z"."""
    text = datetime.fromtimestamp(wall, UTC).isoformat(timespec="milliseconds")
    return text.removesuffix("+00:00") + "Z"


def rfc3339_seconds(wall: float) -> str:
    """Seconds since the epoch -> "2026-11-22T10:00:00Z", as `status --json` has it."""
    return datetime.fromtimestamp(int(wall), UTC).isoformat().removesuffix("+00:00") + "Z"


def host_port(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def address(forward: Forward, allocated_port: int | None, hostname: str) -> str | None:
    """What a visitor types: "vps.example.com:12345"; None while the server has not chosen a port.

    A remote forward that names no address, or every address, is reached by the server's name; one
    that names an address by that address. A local forward
    listens on this machine, on "*" for whoever reaches it.
    """
    if forward.listen_path is not None:
        return forward.listen_path
    port = allocated_port if forward.listen_port == 0 else forward.listen_port
    if port is None:
        return None
    if forward.kind is Kind.REMOTE:
        host = hostname if forward.listen_host in EVERYWHERE else forward.listen_host
    else:
        host = forward.listen_host or "localhost"
    return host_port(host or hostname, port)


def connect_end(forward: Forward) -> str:
    """What it leads to: "localhost:8080", a path, or "socks"."""
    if forward.connect_path is not None:
        return forward.connect_path
    if forward.connect_port is None:
        return "socks"
    return host_port(forward.connect_host or "localhost", forward.connect_port)


def forward_entry(state: ForwardState, hostname: str) -> dict[str, Any]:
    """A forward in a journal entry."""
    forward = state.forward
    return {
        "kind": str(forward.kind),
        "address": address(forward, state.allocated_port, hostname),
        "connect": connect_end(forward),
        "allocated_port": state.allocated_port,
        "reach": "checking" if state.reach is None else state.reach.reach,
    }


def reach_entry(state: ForwardState, new: Reach, hostname: str) -> dict[str, Any]:
    """That a forward listens elsewhere than was asked, or does so no more."""
    return {
        "event": "reach",
        "forward": state.forward.spec,
        "address": address(state.forward, state.allocated_port, hostname),
        "reach": new.reach,
        "reason": new.reason,
        "bound": None if new.bound is None else list(new.bound),
        "old": None if state.reach is None else state.reach.reach,
    }


def failure_entry(failure: Failure) -> dict[str, str]:
    """A failure in a journal entry, and in `status --json` (which adds "at")."""
    return {
        "kind": failure.kind,
        "summary": failure.summary,
        "said": failure.said,
        "advice": failure.advice,
    }


def up_entry(tunnel: Tunnel, *, after: float) -> dict[str, Any]:
    """That it has come up, `after` seconds away."""
    return {
        "event": "up",
        "forwards": [forward_entry(state, tunnel.hostname) for state in tunnel.forwards],
        "attempts": tunnel.attempt,
        "after": round(after, 3),
        "first": not tunnel.was_up,
    }


def down_entry(
    cause: Failure, *, up_for: float, last_seen: float, retry_in: float | None
) -> dict[str, Any]:
    """That it is away after `up_for` seconds; `last_seen` (wall): its last proof of life."""
    return {
        "event": "down",
        "failure": failure_entry(cause),
        "up_for": round(up_for, 3),
        "last_seen": rfc3339(last_seen),
        "retry_in": retry_in,
    }
