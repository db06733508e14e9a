"""A destination of ssh(1): `[user@]host`, a Host of ssh_config, or `ssh://[user@]host[:port]`.

Law. What is accepted can stand in an argv and in a `%h` or `%r` that a ProxyCommand's shell sees.
"""

from __future__ import annotations

from dataclasses import dataclass

from sshwrap.profile.fields import printable

# ssh.c:valid_hostname and valid_ruser, and the patterns that no host is
_HOST_FORBIDDEN = "'`\"$\\;&<>|(){}*?!#"
_USER_FORBIDDEN = "'`\"$;&<>|(){}*?!#"


class DestinationError(ValueError):
    """`str(error)` completes the sentence "profile.web.destination: …"."""


@dataclass(frozen=True, slots=True)
class Destination:
    """What ssh takes from the words; None means that ssh_config or the defaults decide."""

    host: str
    user: str | None = None
    port: int | None = None


def parse_destination(text: str) -> Destination:
    """As ssh.c:main and misc.c:parse_ssh_uri; raises DestinationError."""
    if text.startswith("ssh://"):
        return _parse_uri(text)
    if "://" in text:
        raise DestinationError(f'"{text}" is no destination of ssh; write [user@]host or ssh://…')
    user, at, host = text.rpartition("@")
    if at and not user:
        raise DestinationError(f'"{text}" has no user before the "@"')
    check_host(host)
    name, port = "", ""
    if host.startswith("["):
        name, _, port = host[1:].partition("]")
    elif host.count(":") == 1:
        name, _, port = host.partition(":")
    if name:
        port = port.removeprefix(":")
        raise DestinationError(
            f'"{printable(text)}": ssh would look for a host named "{printable(host)}"; write'
            f' destination = "{printable(user + at + name)}"'
            + (f" and port = {printable(port)}" if port else "")
        )
    if at:
        check_user(user)
    return Destination(host, user if at else None)


def check_host(host: str) -> None:
    """Raises DestinationError for what ssh itself refuses, or a shell could run."""
    if not host:
        raise DestinationError("host is empty")
    if host.startswith("-"):
        raise DestinationError(f'host "{host}" begins with "-": ssh would read an option')
    _refuse_characters("host", host, _HOST_FORBIDDEN)


def check_user(user: str) -> None:
    if not user:
        raise DestinationError("user is empty")
    if user.startswith("-"):
        raise DestinationError(f'user "{user}" begins with "-": ssh would read an option')
    if user.endswith("\\"):
        raise DestinationError(f'user "{user}" ends with a backslash')
    if ":" in user:
        raise DestinationError(
            f'user "{user.partition(":")[0]}:…" holds a ":"; ssh takes no password here'
        )
    _refuse_characters("user", user, _USER_FORBIDDEN)


def check_jumps(text: str) -> None:
    """ProxyJump: `none`, or hops `[user@]host[:port]` or `ssh://…`, separated by commas."""
    if text.lower() == "none":
        return
    for hop in text.split(","):
        if not hop.strip():
            raise DestinationError(f'"{text}" has an empty hop')
        if hop != hop.strip():
            raise DestinationError(f'"{text}" holds a space; write the hops as a,b')
        if hop.startswith("ssh://"):
            _parse_uri(hop)
        else:
            _parse_place(hop, hop)


def _parse_uri(text: str) -> Destination:
    """misc.c:parse_uri, which knows no IPv6 address: its valid_domain takes no colon."""
    shown = printable(text)
    rest, _, path = text[len("ssh://") :].partition("/")
    if path:
        raise DestinationError(f'"{shown}" has a path; an ssh:// destination has none')
    user, at, place = rest.rpartition("@")
    if at:  # ;params are parsed and dropped
        user = _decoded(user.partition(";")[0], shown)
        check_user(user)
    found = _parse_place(place, text)
    if not all(char.isascii() and (char.isalnum() or char in ".-_") for char in found.host):
        raise DestinationError(f'"{shown}": ssh:// takes a name or an IPv4 address alone')
    return Destination(found.host, user if at else None, found.port)


def _parse_place(text: str, whole: str) -> Destination:
    """`[user@]host[:port]` of misc.c:parse_user_host_port; an IPv6 address in brackets."""
    shown = printable(whole)
    user, at, place = text.rpartition("@")
    if at:
        check_user(user)
    if place.startswith("["):
        host, bracket, port = place[1:].partition("]")
        if not bracket or (port and not port.startswith(":")):
            raise DestinationError(f'"{shown}": after "[…]" comes ":port" or the end')
        port = port[1:]
    else:
        host, colon, port = place.partition(":")
        if ":" in port:
            raise DestinationError(f'"{shown}": an IPv6 address stands in brackets: [::1]')
        if colon and not port:
            raise DestinationError(f'"{shown}" has no port after the ":"')
    check_host(host)
    if port and not (port.isascii() and port.isdigit() and 1 <= int(port[:9]) <= 65535):
        raise DestinationError(f'"{shown}": port "{port}" is not 1-65535')
    return Destination(host, user if at else None, int(port) if port else None)


def _decoded(text: str, shown: str) -> str:
    """misc.c:urldecode."""
    head, *parts = text.replace("+", " ").split("%")
    raw = head.encode()
    for part in parts:
        try:
            raw += bytes.fromhex(part[:2]) + part[2:].encode()
        except ValueError:
            raise DestinationError(f'"{shown}": "%{part[:2]}" is no %XX') from None
    return raw.decode("utf-8", "replace")


def _refuse_characters(what: str, text: str, forbidden: str) -> None:
    for char in text:
        if char.isspace():
            raise DestinationError(f'{what} "{printable(text)}" holds a space')
        if not char.isprintable():
            raise DestinationError(f'{what} "{printable(text)}" holds a control character')
        if char in forbidden:
            raise DestinationError(f'{what} "{text}" holds "{char}"; a shell would act on it')
