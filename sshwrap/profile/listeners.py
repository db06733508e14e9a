"""Which forwards of a profile cannot live beside each other, and which let everybody in."""

from __future__ import annotations

from sshwrap.profile.forward import Forward, Kind

WILDCARDS = ("*", "0.0.0.0", "::")  # noqa: S104 (the addresses that we warn about)
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


def why_both_cannot_be(one: Forward, other: Forward) -> str | None:
    """Why ssh would fail with both, or could not tell them apart; None where they get along."""
    if (one.kind is Kind.REMOTE) is not (other.kind is Kind.REMOTE):
        return None  # one listens on the server, the other here
    if one.listen_path is not None or other.listen_path is not None:
        return "the same socket" if one.listen_path == other.listen_path else None
    if one.listen_port != other.listen_port:
        return None
    if one.listen_port == 0:
        return (
            "the same forward, and ssh could not tell the two ports apart"
            if _same(one, other)
            else None
        )
    return "the same port" if _overlap(one.listen_host, other.listen_host) else None


def why_open_to_all(forward: Forward) -> str | None:
    """A SOCKS proxy that everybody can use, as a sentence; None where it is none."""
    if not forward.is_socks or forward.listen_host not in WILDCARDS:
        return None
    where = "this machine's" if forward.kind is Kind.REMOTE else "the server's"
    return (
        f'a SOCKS proxy on "{forward.listen_host}": who reaches that port can go anywhere'
        f" in {where} name; write localhost:{forward.listen_port} to keep it to one machine"
    )


def _same(one: Forward, other: Forward) -> bool:
    return (one.listen_host, one.connect_host, one.connect_port, one.connect_path) == (
        other.listen_host,
        other.connect_host,
        other.connect_port,
        other.connect_path,
    )


def _overlap(one: str | None, other: str | None) -> bool:
    """Whether two listeners on one port are sure to want the same address.

    No bind address means loopback at least (both families), "localhost" both loopbacks; a name is
    only known to be equal to itself.
    """
    one, other = (one or "localhost").lower(), (other or "localhost").lower()
    if one == other or "*" in (one, other):
        return True
    for first, second in ((one, other), (other, one)):
        if first == "localhost" and second in (*_LOOPBACK, *WILDCARDS):
            return True
        if first == "0.0.0.0" and _is_ipv4(second):  # noqa: S104
            return True
        if first == "::" and ":" in second:
            return True
    return False


def _is_ipv4(host: str) -> bool:
    parts = host.split(".")
    return len(parts) == 4 and all(part.isascii() and part.isdigit() for part in parts)
