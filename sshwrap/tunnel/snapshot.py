"""What status shows of a tunnel: plain dictionaries, as they stand in `status --json` (version 1).

No dataclass and no import at run time: `sshwrap status --json` passes here, and that path has to
cost no more than a few starts of Python.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypedDict

    class Last(TypedDict):
        address: str
        at: str  # RFC 3339, UTC, "2026-11-22T10:00:00Z"

    class Connections(TypedDict):
        open: int
        total: int
        last: Last | None

    class ForwardSnapshot(TypedDict):
        kind: str  # remote, local, dynamic
        spec: str
        source: str  # "profile", or the ssh_config file
        listen_host: str | None
        listen_port: int | None
        listen_path: str | None
        connect_host: str | None
        connect_port: int | None
        connect_path: str | None
        allocated_port: int | None
        bound: list[str] | None
        reach: str  # checking, as_asked, loopback_only, half_bound, exposed, unknown
        reach_reason: str | None
        address: str | None  # what a visitor types: "vps.example.com:12345"
        from_here: str  # open, refused, timeout, unknown
        target: str  # ok, refused, unknown
        connections: Connections

    class FailureSnapshot(TypedDict):
        kind: str
        summary: str
        said: str
        advice: str
        at: str

    class TunnelSnapshot(TypedDict):
        profile: str
        description: str | None
        profiles_file: str | None
        profile_changed: bool
        ok: bool
        state: str  # down, waiting, starting, up, stopping, failed
        wanted: bool
        since: str | None
        supervisor_pid: int | None
        supervisor_version: str | None
        ssh_pid: int | None
        destination: str
        drops: int
        drops_since: str | None
        attempt: int
        next_attempt_at: str | None
        failure: FailureSnapshot | None
        forwards: list[ForwardSnapshot]

    class Status(TypedDict):
        schema_version: int
        ok: bool
        tunnels: list[TunnelSnapshot]


SCHEMA_VERSION = 1

WRONG_REACH = ("loopback_only", "half_bound", "exposed")
EVERY_ADDRESS = ("*", "0.0.0.0", "::")  # noqa: S104 - names, nothing is bound here


def is_ok(tunnel: dict[str, Any]) -> bool:
    """Nothing to do for anybody: a wanted tunnel is up, and what is up listens where it should."""
    if tunnel["state"] != "up":
        return not tunnel["wanted"]
    for forward in tunnel["forwards"]:
        if forward["reach"] in WRONG_REACH:
            return False
        for_all = forward["kind"] == "remote" and forward["listen_host"] in EVERY_ADDRESS
        if for_all and forward["from_here"] in ("refused", "timeout"):
            return False
    return True


def published(tunnel: dict[str, Any]) -> dict[str, Any]:
    """The snapshot as the contract has it: without the keys that are only for our own screens."""
    shown = _without_private(tunnel)
    shown["forwards"] = [_without_private(forward) for forward in shown["forwards"]]
    return shown


def _without_private(content: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in content.items() if not key.startswith("_")}


def status(tunnels: list[dict[str, Any]]) -> dict[str, Any]:
    """The answer of `status --json`."""
    shown = [published(tunnel) for tunnel in tunnels]
    ok = all(tunnel["ok"] for tunnel in shown)
    return {"schema_version": SCHEMA_VERSION, "ok": ok, "tunnels": shown}
