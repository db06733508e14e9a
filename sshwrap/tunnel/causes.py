"""Why a tunnel's ssh has ended, or is ended: the catalogue's words for this profile."""

from __future__ import annotations

from dataclasses import replace

from sshwrap.profile.model import Profile
from sshwrap.ssh.failure import Failure, failure, judge_exit
from sshwrap.tunnel.events import Exited
from sshwrap.tunnel.model import Tunnel


def judge(tunnel: Tunnel, event: Exited, *, was_up: bool) -> Failure:
    cause = judge_exit(
        tunnel.evidence,
        exit_status=event.status,
        signal=event.signal,
        was_up=was_up,
        destination=destination_of(tunnel.profile),
        profile=tunnel.profile.name,
    )
    if event.neighbour is None or cause.kind != "port_taken":
        return cause
    name, port = event.neighbour.profile, event.neighbour.port
    return replace(
        cause,
        summary=f'port {port} is already forwarded by profile "{name}"',
        advice=f"give one of the two another port, or end the other: sshwrap down {name}",
    )


def failure_of(tunnel: Tunnel, kind: str, said: str, *, reason: str = "") -> Failure:
    """`said` are ssh's or the system's own words, `reason` ours."""
    profile = tunnel.profile
    destination = destination_of(profile)
    return failure(kind, destination=destination, profile=profile.name, said=said, reason=reason)


def destination_of(profile: Profile) -> str:
    """As a person would type it behind `ssh`, so that advice can be pasted."""
    given = profile.destination
    return f"{profile.user}@{given}" if profile.user and "@" not in given else given


def last_words(tunnel: Tunnel) -> str:
    return tunnel.evidence[-1].said if tunnel.evidence else ""
