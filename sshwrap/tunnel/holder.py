"""Who holds a port on the server, in words: no more than can be seen without root."""

from __future__ import annotations

from collections.abc import Iterable


def holder_text(taken: Iterable[tuple[int, int | None]], our_uid: int) -> str | None:
    """(port, uid) of listeners that are not this tunnel's, and the account's own uid -> one
    sentence; None where there is none."""
    owners: dict[str, set[int]] = {}
    for port, uid in taken:
        if uid is None:
            who = "another program"
        elif uid == our_uid:
            who = "this very account: another tunnel or a dead session of it, or a program"
        elif uid == 0:
            who = "root: a system service, or another account's tunnel"
        else:
            who = f"a program or a tunnel of uid {uid}"
        owners.setdefault(who, set()).add(port)
    if not owners:
        return None
    parts = [f"port {_ports(ports)} on the server: {who}" for who, ports in owners.items()]
    return "; ".join(parts)


def _ports(ports: set[int]) -> str:
    return ", ".join(str(port) for port in sorted(ports))
