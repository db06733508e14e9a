"""When a tunnel's hooks are due, and what they are told.

Laws. By the tunnel's condition alone: asked again with nothing changed it has nothing more to say.
`on_down` speaks of an outage once, when that has lasted `notify_after` seconds; `on_failed` of each
kind of failure once in an outage, and never twice within `notify_after` seconds. `on_up` speaks of
the first coming up, after one of those, and where the server has given another port; so a line that
flaps is silent. What nobody wants any more is not spoken of. No word of a server is passed on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from sshwrap.ssh.failure import Disposition, Failure
from sshwrap.tunnel.causes import failure_of
from sshwrap.tunnel.entries import address, rfc3339_seconds
from sshwrap.tunnel.events import Moment
from sshwrap.tunnel.model import State, Tunnel


class Hook(StrEnum):
    """The keys of a profile."""

    UP = "on_up"
    DOWN = "on_down"
    FAILED = "on_failed"


STATES = {Hook.UP: "up", Hook.DOWN: "down", Hook.FAILED: "failed"}  # SSHWRAP_STATE


@dataclass(frozen=True, slots=True)
class Watch:
    """What has been told of a tunnel, and of the outage that goes on."""

    ports: frozenset[tuple[str, int]] | None = None  # told by on_up; None: that is to come
    down_told: bool = False
    kinds: frozenset[str] = frozenset()  # told by on_failed in this outage
    failed_at: float | None = None  # when on_failed was last due, monotonic
    away: Moment | None = None
    failure: Failure | None = None  # the last one of this outage
    deadline: float | None = None  # monotonic: ask again then, whatever happens


@dataclass(frozen=True, slots=True)
class Due:
    hook: Hook
    environ: Mapping[str, str]


FRESH = Watch()


def watch(before: Watch, tunnel: Tunnel, now: Moment) -> tuple[Watch, tuple[Due, ...]]:
    """What is due now; to be asked after every change of the tunnel, and at the deadline."""
    if not tunnel.wanted:
        return FRESH, ()
    if tunnel.state is State.UP:
        return _up(before, tunnel, now)
    return _away(before, tunnel, now)


def _up(before: Watch, tunnel: Tunnel, now: Moment) -> tuple[Watch, tuple[Due, ...]]:
    ports = frozenset(
        (state.forward.spec, state.allocated_port)
        for state in tunnel.forwards
        if state.allocated_port is not None
    )
    after = Watch(ports=ports, failed_at=before.failed_at)
    if before.ports is not None and ports <= before.ports:
        return after, ()
    since = tunnel.since
    down = 0.0 if before.away is None else since.mono - before.away.mono
    return after, (_due(Hook.UP, tunnel, before.failure, since, down),)


def _away(before: Watch, tunnel: Tunnel, now: Moment) -> tuple[Watch, tuple[Due, ...]]:
    away = tunnel.away_since or now
    failure = tunnel.failure or before.failure
    after = replace(before, away=away, failure=failure, deadline=None)
    down = now.mono - away.mono
    pause = tunnel.profile.notify_after
    due: list[Due] = []
    later: list[float] = []
    if tunnel.state is State.FAILED and failure is not None and failure.kind not in after.kinds:
        at = now.mono if after.failed_at is None else after.failed_at + pause
        if at <= now.mono:
            kinds = after.kinds | {failure.kind}
            after = replace(after, ports=None, kinds=kinds, failed_at=now.mono)
            due.append(_due(Hook.FAILED, tunnel, failure, away, down))
        else:
            later.append(at)
    # Without a failure it is starting, or restarted as asked: no outage.
    if failure is not None and not after.down_told:
        at = away.mono + pause
        if at <= now.mono:
            after = replace(after, ports=None, down_told=True)
            due.append(_due(Hook.DOWN, tunnel, failure, away, down))
        else:
            later.append(at)
    return replace(after, deadline=min(later, default=None)), tuple(due)


def fold(pending: tuple[Due, ...], due: Due) -> tuple[Due, ...]:
    """What is still to be run, with one more: the last news of each hook, and of an outage that is
    over nothing but that."""
    if due.hook is Hook.UP:
        return (due,)
    return (*(one for one in pending if one.hook not in (Hook.UP, due.hook)), due)


def _due(hook: Hook, tunnel: Tunnel, failure: Failure | None, since: Moment, down: float) -> Due:
    profile = tunnel.profile
    addresses = [
        address(state.forward, state.allocated_port or state.last_allocated, tunnel.hostname)
        for state in tunnel.forwards
    ]
    known = [each for each in addresses if each is not None]
    ports = [state.allocated_port for state in tunnel.forwards if state.allocated_port is not None]
    environ = {
        "SSHWRAP_PROFILE": profile.name,
        "SSHWRAP_STATE": STATES[hook],
        "SSHWRAP_REASON": "" if failure is None else _our_words(tunnel, failure),
        "SSHWRAP_FAILURE": "" if failure is None else failure.kind,
        "SSHWRAP_ADDRESS": known[0] if known else "",
        "SSHWRAP_ADDRESSES": "\n".join(known),
        "SSHWRAP_ALLOCATED_PORT": str(ports[0]) if ports else "",
        "SSHWRAP_SINCE": rfc3339_seconds(since.wall),
        "SSHWRAP_DOWN_SECONDS": str(max(0, int(down))),
        "SSHWRAP_DESTINATION": profile.destination,
    }
    return Due(hook, environ)


def _our_words(tunnel: Tunnel, failure: Failure) -> str:
    """The catalogue's sentence without what a server may have put into it ("because …"); what this
    machine's ssh says of its own configuration stays."""
    if failure.disposition is Disposition.CONFIG:
        return failure.summary
    return failure_of(tunnel, failure.kind, "").summary
