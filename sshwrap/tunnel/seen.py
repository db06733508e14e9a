"""What was seen of a tunnel that is no change of its state: who listens, who answers, who is in the
way."""

from __future__ import annotations

from dataclasses import replace

from sshwrap.tunnel.backoff import PORT_SOON
from sshwrap.tunnel.entries import address, reach_entry
from sshwrap.tunnel.events import (
    Effect,
    Knocked,
    Looked,
    Moment,
    PortHeld,
    Reclaimed,
    Reclaiming,
    Record,
)
from sshwrap.tunnel.model import Tunnel
from sshwrap.tunnel.snapshot import WRONG_REACH

RECLAIM_PATIENCE = 15.0

Result = tuple[Tunnel, tuple[Effect, ...]]


def with_reach(tunnel: Tunnel, event: Looked, now: Moment, jitter: float) -> Result:
    """What was seen; a record of each that is wrong, or has become right."""
    if len(event.reaches) != len(tunnel.forwards):
        return tunnel, ()  # of an ssh with other forwards
    effects: list[Effect] = []
    for state, new in zip(tunnel.forwards, event.reaches, strict=True):
        old = state.reach.reach if state.reach is not None else None
        if new.reach != old and (new.reach in WRONG_REACH or old in WRONG_REACH):
            effects.append(Record(reach_entry(state, new, tunnel.hostname)))
    pairs = zip(tunnel.forwards, event.reaches, strict=True)
    forwards = tuple(replace(state, reach=reach) for state, reach in pairs)
    return replace(tunnel, forwards=forwards), tuple(effects)


def with_answer(tunnel: Tunnel, event: Knocked, now: Moment, jitter: float) -> Result:
    """What a knock from this machine has brought; a record where that is news."""
    if event.index >= len(tunnel.forwards):
        return tunnel, ()  # of an ssh with other forwards
    forwards = list(tunnel.forwards)
    state = forwards[event.index]
    forwards[event.index] = replace(state, from_here=event.outcome, from_here_ms=event.milliseconds)
    tunnel = replace(tunnel, forwards=tuple(forwards))
    if event.outcome == state.from_here or {event.outcome, state.from_here} <= {"unknown", "open"}:
        return tunnel, ()
    entry = {
        "event": "from_here",
        "forward": state.forward.spec,
        "address": address(state.forward, state.allocated_port, tunnel.hostname),
        "from_here": event.outcome,
        "old": state.from_here,
    }
    return tunnel, (Record(entry),)


def with_holder(tunnel: Tunnel, event: PortHeld, now: Moment, jitter: float) -> Result:
    """Who has the port that we were refused; said once."""
    if event.text == tunnel.holder:
        return tunnel, ()
    record = Record({"event": "holder", "text": event.text})
    return replace(tunnel, holder=event.text), (record,)


def reclaiming(tunnel: Tunnel, event: Reclaiming, now: Moment, jitter: float) -> Result:
    return replace(tunnel, reclaiming=True, deadline=now.mono + RECLAIM_PATIENCE), ()


def reclaimed(tunnel: Tunnel, event: Reclaimed, now: Moment, jitter: float) -> Result:
    if not tunnel.reclaiming:
        return tunnel, ()
    record = Record({"event": "reclaim", "outcome": event.outcome, "text": event.text})
    wait = 0.0 if event.free else PORT_SOON * (1.0 + 0.5 * jitter)
    return replace(tunnel, reclaiming=False, deadline=now.mono + wait), (record,)
