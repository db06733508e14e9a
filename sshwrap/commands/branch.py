"""The branch somebody sits on: a command that ends the tunnel through which its caller came in.

Law. It is refused only where the very connection is seen to come out of that tunnel's ssh; where
nothing can be seen (not Linux), a caller from loopback and a target with sshd's port are enough.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from ipaddress import ip_address
from typing import Any

from sshwrap.errors import UserError
from sshwrap.ssh.look import read_client
from sshwrap.supervisor.here import has_end


def refuse_own_branch(verb: str, tunnels: Iterable[Mapping[str, Any]]) -> None:
    """Raises UserError where the caller is connected through one of these (snapshots)."""
    connection = os.environ.get("SSH_CONNECTION", "")
    client = read_client(connection)
    if client is None:
        return
    port = int(connection.split()[3]) if connection.split()[3].isdecimal() else 0
    for tunnel in tunnels:
        if _comes_through(tunnel, client, port):
            name = tunnel["profile"]
            raise UserError(
                f"{name}: you are connected through it; it would cut you off",
                advice=f"sshwrap {verb} {name} --yes",
            )


def _comes_through(tunnel: Mapping[str, Any], client: tuple[str, int], port: int) -> bool:
    pid = tunnel["ssh_pid"]
    if pid is None:
        return False
    seen = has_end(pid, *client)
    if seen is not None:
        return seen
    targets = {one["connect_port"] for one in tunnel["forwards"] if one["kind"] == "remote"}
    return ip_address(client[0]).is_loopback and port in targets
