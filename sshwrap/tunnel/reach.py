"""(what a forward asked for, what listens) -> reach: as asked, or what is wrong with it.

Laws. What nobody has seen is `unknown`, with the reason, and never `as_asked`. Only a named bind
address can be loopback_only or exposed: without one the server chooses, and `bound` says where.
A family that nobody has is not missing: half_bound is where another socket holds its port. Of two
faults the one that explains the other is told: exposed, then loopback_only, then half_bound.

"0.0.0.0" and "::" both mean everybody. A server that has only "GatewayPorts yes" to give adds the
other family to either, which is said as the reason but is no fault.
sshd's rules (channels.c:channel_fwd_bind_addr) are the same for TCP and SOCKS. A local or dynamic
forward is judged alike, by what listens on this machine.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from ipaddress import ip_address
from typing import NamedTuple

from sshwrap.profile.forward import Forward, Kind
from sshwrap.ssh.look import Listener, Look, Owner, SocketListener
from sshwrap.ssh.mux import Unknown
from sshwrap.ssh.probe import Found, Probed

AS_ASKED, LOOPBACK_ONLY, HALF_BOUND = "as_asked", "loopback_only", "half_bound"
EXPOSED, UNKNOWN = "exposed", "unknown"

EVERY_IPV4, EVERY_IPV6 = "0.0.0.0", "::"  # noqa: S104 - names, nothing is bound here
LOOPBACK_IPV4, LOOPBACK_IPV6 = "127.0.0.1", "::1"
# All of 127/8 is the server's own on Linux: a listener on every address answers there, one on
# 127.0.0.1 does not. Elsewhere there is no such address, which is another answer than "refused".
SECOND_LOOPBACK = "127.0.0.2"
LOOPBACKS = (LOOPBACK_IPV4, LOOPBACK_IPV6)
_EVERY = (EVERY_IPV4, EVERY_IPV6)
_EVERY_OF = {LOOPBACK_IPV4: EVERY_IPV4, LOOPBACK_IPV6: EVERY_IPV6}
_NO_ANSWER = (Found.FORBIDDEN, Found.SILENT, Found.UNKNOWN)


class Reach(NamedTuple):
    """As in `status --json`: `bound` None where it is not known, "" never a reason."""

    reach: str
    bound: tuple[str, ...] | None
    reason: str | None


def judge_reach(
    forward: Forward,
    allocated_port: int | None,
    look: Look | Unknown | None,
    probes: Mapping[str, Probed] | None = None,
) -> Reach:
    """What became of one forward; `look` None: nobody has looked.

    A listener of which the look knows no more than that it is the account's counts as ours, unless
    a probe has found another program there: `probes`, by `where_to_probe` of it.
    """
    if look is None:
        return Reach(UNKNOWN, None, "not looked at yet")
    if isinstance(look, Unknown):
        return Reach(UNKNOWN, None, look.reason)
    if forward.listen_path is not None:
        return _judge_path(forward.listen_path, look.sockets)
    rows = [
        replace(one, owner=Owner.OTHER)
        if one.owner is Owner.ACCOUNT and _at(probes or {}, where_to_probe(one)) is Found.OTHER
        else one
        for one in look.listeners
    ]
    return judge_listeners(forward, allocated_port, rows, has_ipv6=look.has_ipv6)


def where_to_probe(listener: Listener) -> str:
    """The address to connect to, from the server, to come to this listener."""
    loopbacks = {every: loopback for loopback, every in _EVERY_OF.items()}
    return loopbacks.get(listener.address, listener.address)


def judge_listeners(
    forward: Forward,
    allocated_port: int | None,
    listeners: Iterable[Listener],
    *,
    has_ipv6: bool | None = None,
) -> Reach:
    """What became of one TCP forward, by the listeners of its port (others are left out)."""
    port = allocated_port or forward.listen_port
    at_port = [one for one in listeners if one.port == port]
    ours = _sorted({one.address for one in at_port if one.owner is not Owner.OTHER})
    others = [one for one in at_port if one.owner is Owner.OTHER]
    if not port:
        return Reach(UNKNOWN, None, "the server has not said which port it gave")
    if not ours:
        where = "on the server" if forward.kind is Kind.REMOTE else "here"
        if not others:
            return Reach(UNKNOWN, (), f"nobody listens on port {port} {where}")
        who = ", ".join(sorted({_held(one) for one in others}))
        return Reach(UNKNOWN, (), f"port {port} {where} is not ours: {who}")
    return _judge(forward, ours, others, has_ipv6)


def _judge(
    forward: Forward, ours: tuple[str, ...], others: Sequence[Listener], has_ipv6: bool | None
) -> Reach:
    asked = _asked(forward)
    is_wide = any(address in _EVERY for address in ours)
    is_local = all(ip_address(address).is_loopback for address in ours)
    for_all = asked == "*" or asked in _EVERY
    if asked is not None and not for_all:
        if is_wide:
            return Reach(EXPOSED, ours, None)
        if not is_local and _is_local_name(asked):
            return Reach(EXPOSED, ours, None)
        if is_local and asked not in ("localhost", *LOOPBACKS, *ours):
            return Reach(LOOPBACK_ONLY, ours, None)
    if for_all and is_local:
        return Reach(LOOPBACK_ONLY, ours, None)
    held = _holder(asked, ours, others)
    if held is not None:
        return Reach(HALF_BOUND, ours, _held(held))
    if not _is_covered(asked, ours):
        return Reach(UNKNOWN, ours, f"{asked} was asked for, and {', '.join(ours)} listens")
    return Reach(AS_ASKED, ours, _remark(asked, ours, has_ipv6))


def missing_half(
    forward: Forward, allocated_port: int | None, have: Sequence[str]
) -> Forward | None:
    """What to ask for to get the family that `have` (addresses of ours) lacks; None: nothing."""
    asked = _asked(forward)
    had = {_version(one) for one in have}
    missing = [version for version in _versions(asked) if version not in had]
    port = allocated_port or forward.listen_port
    if not had or not missing or not port:
        return None
    is_wide = asked == "*" or any(one in _EVERY for one in have)
    loopback = LOOPBACK_IPV4 if missing[0] == 4 else LOOPBACK_IPV6
    host = _EVERY_OF[loopback] if is_wide else loopback
    return replace(forward, listen_host=host, listen_port=port)


def doubtful_half(
    forward: Forward, allocated_port: int | None, reach: Reach, *, has_ipv6: bool | None
) -> Forward | None:
    """What to ask for once more where one family alone listens, and nobody is seen to hold the
    other: sshd may forward none of it, or a program has taken the port and does not listen yet."""
    is_port = forward.kind is Kind.REMOTE and forward.listen_path is None
    if reach.reach != AS_ASKED or not reach.bound or not is_port:
        return None
    half = missing_half(forward, allocated_port, reach.bound)
    lacks_ipv6 = half is not None and ":" in (half.listen_host or "")
    return None if lacks_ipv6 and has_ipv6 is not True else half


def _holder(
    asked: str | None, ours: tuple[str, ...], others: Sequence[Listener]
) -> Listener | None:
    """Who holds the port in a family that was asked for and that we do not have."""
    have = {_version(one) for one in ours}
    missing = [version for version in _versions(asked) if version not in have]
    return next((one for one in others if _version(one.address) in missing), None)


def _held(holder: Listener) -> str:
    who = "another program" if holder.uid is None else f"uid {holder.uid}"
    return f"{who} listens on {holder.address}"


def _is_covered(asked: str | None, ours: tuple[str, ...]) -> bool:
    if asked in (None, "*") or not _is_address(asked):
        return True  # a name is the server's to resolve
    return asked in ours


def _remark(asked: str | None, ours: tuple[str, ...], has_ipv6: bool | None) -> str | None:
    if asked in _EVERY and len(ours) > 1:
        other = "IPv6" if asked == EVERY_IPV4 else "IPv4"
        return f"on every {other} address too: this server's GatewayPorts is all or nothing"
    if len(_versions(asked)) == 2 and len({_version(one) for one in ours}) == 1:
        have, lack = ("IPv4", "IPv6") if _version(ours[0]) == 4 else ("IPv6", "IPv4")
        if lack == "IPv6" and has_ipv6 is not True:
            return "IPv4 only: the server has no IPv6" if has_ipv6 is False else "IPv4 only"
        return f"{have} only: the server's sshd forwards no {lack}"
    return None


def _judge_path(asked: str, sockets: Iterable[SocketListener]) -> Reach:
    path = asked.replace("%%", "%")  # ssh expands it; any other token only ssh knows
    if "%" in asked.replace("%%", ""):
        return Reach(UNKNOWN, None, f"only ssh knows which path {asked} is")
    found = [one for one in sockets if one.path == path and one.owner is not Owner.OTHER]
    if not found:
        return Reach(UNKNOWN, (), f"nobody listens on {path} on the server")
    if not any(one.has_file for one in found):
        return Reach(UNKNOWN, (path,), f"{path} was removed on the server: nobody can connect")
    return Reach(AS_ASKED, (path,), None)


# --- without a session: by connections from the server -----------------------


def addresses_to_probe(forward: Forward, server_address: str | None = None) -> tuple[str, ...]:
    """Where to connect, from the server, to see who listens and how widely; () where that tells
    nothing. `server_address`: the one that ssh has connected to, for servers that are not Linux."""
    if forward.kind is not Kind.REMOTE or forward.listen_path is not None:
        return ()
    asked = _asked(forward)
    found = [LOOPBACK_IPV4, LOOPBACK_IPV6, SECOND_LOOPBACK]
    if asked is not None and _is_address(asked) and asked not in _EVERY:
        found.append(asked)
    if server_address is not None and _is_address(server_address):
        found.append(_plain(server_address))
    return tuple(dict.fromkeys(found))


def judge_probes(
    forward: Forward, allocated_port: int | None, probes: Mapping[str, Probed]
) -> Reach:
    """What became of one TCP forward, by what answered at the addresses of `addresses_to_probe`."""
    port = allocated_port or forward.listen_port or 0
    asked = _asked(forward)
    others = [_row(one, port, Owner.OTHER) for one in LOOPBACKS if _at(probes, one) is Found.OTHER]
    ours = {address for address, one in probes.items() if one.found is Found.OURS}
    if not ours:
        return Reach(UNKNOWN, None, _why_unknown(port, probes, others))
    bound = _bound(asked, ours, probes)
    if bound is None:
        missing = [one for one in others if _version(one.address) in _versions(asked)]
        if missing and asked in (None, "*", "localhost"):
            return Reach(HALF_BOUND, None, _held(missing[0]))
        if asked is None:
            return Reach(AS_ASKED, None, None)
        where = ", ".join(_sorted(ours))
        return Reach(UNKNOWN, None, f"it answers on {where}; how widely it listens is not to see")
    rows = [*(_row(one, port, Owner.OURS) for one in bound), *others]
    judged = judge_listeners(forward, port, rows, has_ipv6=None)  # or sshd serves none
    if judged.reach == AS_ASKED and asked is not None:
        for version, loopback in ((4, LOOPBACK_IPV4), (6, LOOPBACK_IPV6)):
            if version in _versions(asked) and _at(probes, loopback) in _NO_ANSWER:
                return Reach(UNKNOWN, None, f"{loopback} of the server could not be asked")
    return judged


def _bound(
    asked: str | None, ours: set[str], probes: Mapping[str, Probed]
) -> tuple[str, ...] | None:
    """Where our listeners are, from the addresses on which they answered; None: not to be told.

    sshd treats both families alike, and only where it honours a single address has one a listener
    alone (channels.c:channel_fwd_bind_addr).
    """
    on_loopback = [one for one in LOOPBACKS if one in ours]
    if not on_loopback:
        return _sorted(ours)
    outer = {_version(one) for one in ours if not ip_address(one).is_loopback}
    second = _at(probes, SECOND_LOOPBACK)
    if LOOPBACK_IPV4 in ours and second in (Found.OURS, Found.NOBODY, Found.OTHER):
        is_wide = second is Found.OURS
    elif any(_version(one) in outer for one in on_loopback):
        is_wide = True
    elif asked in (EVERY_IPV6, LOOPBACK_IPV6) and _at(probes, LOOPBACK_IPV4) is Found.NOBODY:
        is_wide = asked == EVERY_IPV6  # a GatewayPorts that overrides it would have brought IPv4
    else:
        return None  # a refusal on an outer address proves nothing: a router may have said it
    return tuple(_EVERY_OF[one] if is_wide else one for one in on_loopback)


def _why_unknown(port: int, probes: Mapping[str, Probed], others: Sequence[Listener]) -> str:
    found = {one.found for one in probes.values()}
    if others:
        return f"port {port} on the server is another program's"
    if found & {Found.FORBIDDEN}:
        return "the server lets this key connect to nowhere (permitopen, PermitOpen)"
    if found & {Found.SILENT}:
        return "no answer over the tunnel in time"
    said = next((one.said for one in probes.values() if one.found is Found.UNKNOWN), None)
    return said or f"nobody answers on port {port} on the server"


# --- addresses ---------------------------------------------------------------


def _asked(forward: Forward) -> str | None:
    host = forward.listen_host
    return None if host is None else _plain(host)


def _plain(host: str) -> str:
    """An address as ipaddress and the look write it, without its zone; a name in lower case."""
    try:
        return str(ip_address(host.partition("%")[0]))
    except ValueError:
        return host.lower()


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _is_local_name(asked: str) -> bool:
    return asked == "localhost" or (_is_address(asked) and ip_address(asked).is_loopback)


def _version(address: str) -> int:
    return ip_address(address).version


def _versions(asked: str | None) -> tuple[int, ...]:
    """The families that a bind address asks for; () of a name, which only the server knows."""
    if asked in (None, "*", "localhost"):
        return (4, 6)
    return (_version(asked),) if _is_address(asked) else ()


def _sorted(texts: Iterable[str]) -> tuple[str, ...]:
    """IPv4 before IPv6."""
    return tuple(sorted(texts, key=lambda text: (":" in text, text)))


def _row(address: str, port: int, owner: Owner) -> Listener:
    return Listener(address, port, None, owner)


def _at(probes: Mapping[str, Probed], address: str) -> Found:
    probed = probes.get(address)
    return Found.UNKNOWN if probed is None else probed.found
