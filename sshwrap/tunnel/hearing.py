"""What ssh says of a tunnel that is starting or up: kept as evidence, no change of its state."""

from __future__ import annotations

from dataclasses import replace

from sshwrap.ssh.evidence import Evidence, Progress
from sshwrap.tunnel.events import Effect, Heard, Look, Moment
from sshwrap.tunnel.model import Tunnel, keep_evidence
from sshwrap.tunnel.ports import allocated

LOOK_PATIENCE = 3.0  # a tunnel that serves is not kept waiting for a server that shows nothing

Result = tuple[Tunnel, tuple[Effect, ...]]


def heard_starting(tunnel: Tunnel, event: Heard, now: Moment, jitter: float) -> Result:
    effects: list[Effect] = []
    for evidence in event.evidence:
        if tunnel.confirmed:
            tunnel = _heard_one_up(tunnel, evidence)
            continue
        tunnel = replace(tunnel, evidence=keep_evidence(tunnel.evidence, evidence))
        match evidence.kind:
            case Progress.EXPECTING:
                tunnel = replace(tunnel, awaits_replies=True)
            case Progress.PORT_ALLOCATED:
                tunnel, record = allocated(tunnel, evidence)
                effects += record
            case Progress.INTERACTIVE if not tunnel.awaits_replies:
                tunnel = _confirmed(tunnel, now)
                effects.append(Look())
            case Progress.ALL_CONFIRMED:
                tunnel = _confirmed(tunnel, now)
                effects.append(Look())
    return tunnel, tuple(effects)


def heard_up(tunnel: Tunnel, event: Heard, now: Moment, jitter: float) -> Result:
    for evidence in event.evidence:
        tunnel = _heard_one_up(tunnel, evidence)
    return tunnel, ()


def _heard_one_up(tunnel: Tunnel, evidence: Evidence) -> Tunnel:
    """While it is up only what may explain its end is kept."""
    if evidence.is_failure:
        return replace(tunnel, evidence=keep_evidence(tunnel.evidence, evidence))
    return tunnel


def _confirmed(tunnel: Tunnel, now: Moment) -> Tunnel:
    """By ssh. Where the port is, and whose, it does not say: that is looked at before "up"."""
    return replace(
        tunnel,
        confirmed=True,
        deadline=now.mono + LOOK_PATIENCE,
        forwards=tuple(replace(s, confirmed=True) for s in tunnel.forwards),
    )
