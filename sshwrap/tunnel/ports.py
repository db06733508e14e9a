"""Which port the server has given to a forward that asked for any (port 0)."""

from __future__ import annotations

from dataclasses import replace

from sshwrap.profile.forward import Forward, Kind
from sshwrap.ssh.evidence import Evidence
from sshwrap.tunnel.events import Effect, Record
from sshwrap.tunnel.model import Tunnel


def allocated(tunnel: Tunnel, evidence: Evidence) -> tuple[Tunnel, list[Effect]]:
    """ssh answers port-0 forwards in the order of the requests, and names what they connect to."""
    port = int(evidence.get("port") or 0)
    waiting = [
        index
        for index, s in enumerate(tunnel.forwards)
        if s.forward.kind is Kind.REMOTE and s.forward.listen_port == 0 and s.allocated_port is None
    ]
    named = [index for index in waiting if connects_to(tunnel.forwards[index].forward, evidence)]
    for index in (named or waiting)[:1]:
        state = tunnel.forwards[index]
        forwards = list(tunnel.forwards)
        forwards[index] = replace(state, allocated_port=port)
        tunnel = replace(tunnel, forwards=tuple(forwards))
        if state.last_allocated != port:
            entry = {
                "event": "port",
                "forward": state.forward.spec,
                "old": state.last_allocated,
                "new": port,
            }
            return tunnel, [Record(entry)]
    return tunnel, []


def connects_to(forward: Forward, evidence: Evidence) -> bool:
    path = evidence.get("connect_path")
    if path is not None:
        return forward.connect_path == path
    same_host = forward.connect_host == evidence.get("connect_host")
    return same_host and str(forward.connect_port) == evidence.get("connect_port")
