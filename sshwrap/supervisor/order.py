"""What a command hands to a supervisor: a profile, and what only the caller could find out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sshwrap.profile.forward import Forward
from sshwrap.profile.model import (
    Profile,
    forward_from_json,
    forward_to_json,
    profile_digest,
    profile_from_json,
    profile_to_json,
)


@dataclass(frozen=True, slots=True)
class Order:
    """`added`: forwards that ssh_config adds for this Host; `hostname` and `server` ("host:port",
    with the jump if there is one): where ssh_config resolves the destination to; `agent`: the
    caller's SSH_AUTH_SOCK, for the supervisor may be older than the caller's agent."""

    profile: Profile
    added: tuple[Forward, ...]
    hostname: str
    server: str
    agent: str | None = None

    @property
    def digest(self) -> str:
        """Changes when a running ssh would have to be told something else."""
        return profile_digest(self.profile)


def order_to_json(order: Order) -> dict[str, Any]:
    return {
        "profile": profile_to_json(order.profile),
        "added": [forward_to_json(forward) for forward in order.added],
        "hostname": order.hostname,
        "server": order.server,
        "agent": order.agent,
    }


def order_from_json(content: dict[str, Any]) -> Order:
    """Raises KeyError, TypeError or ValueError where it is not what `order_to_json` made."""
    return Order(
        profile=profile_from_json(content["profile"]),
        added=tuple(forward_from_json(forward) for forward in content["added"]),
        hostname=str(content["hostname"]),
        server=str(content["server"]),
        agent=content.get("agent"),
    )
