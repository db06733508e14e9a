"""Where a forward is met: by visitors, from the server itself, and by which port."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address

from sshwrap.profile.forward import Kind
from sshwrap.ssh.probe import Found, Probed
from sshwrap.tunnel.model import ForwardState

SSHD_PORT = 22  # it would count a connection that says nothing against whoever comes that way
EVERYBODY = ("*", "0.0.0.0", "::")  # noqa: S104 - names, nothing is bound here


def port_of(state: ForwardState) -> int | None:
    """The TCP port that it listens on; None for a path, or while the server has given none."""
    return state.allocated_port or state.forward.listen_port or None


def visitors_address(state: ForwardState, server: str | None) -> str | None:
    """As a number; None where nobody from outside is meant to come, or no number is known.
    `server`: the number by which this machine reaches it."""
    forward, reach = state.forward, state.reach
    if forward.kind is not Kind.REMOTE or forward.listen_path is not None:
        return None
    if not port_of(state):
        return None
    if forward.listen_host is None:
        bound = (reach.bound if reach is not None else None) or ()
        return server if any(not ip_address(one).is_loopback for one in bound) else None
    if forward.listen_host in EVERYBODY:
        return server
    host = as_number(forward.listen_host)
    return None if host is None or ip_address(host).is_loopback else host


def may_probe(state: ForwardState) -> bool:
    """Whether a connection that never says a word does no harm to the target, and tells."""
    forward = state.forward
    if forward.kind is not Kind.REMOTE or not port_of(state):
        return False
    if forward.connect_path is None and forward.connect_port is None:
        return False  # SOCKS
    return forward.connect_port != SSHD_PORT


def bound_of(state: ForwardState, probed: Mapping[str, Probed]) -> tuple[str, ...]:
    """Where it listens, as far as it was seen, or has answered."""
    bound = state.reach.bound if state.reach is not None else None
    return bound or tuple(at for at, one in probed.items() if one.found is Found.OURS)


def loopback_of(address: str) -> str:
    """Where the server reaches a listener on this address."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address, address)  # noqa: S104


def as_number(host: str) -> str | None:
    """An IP address as it is written; None of a name."""
    try:
        return str(ip_address(host))
    except ValueError:
        return None
