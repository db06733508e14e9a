"""A destination of ssh(1): `[user@]host`, a Host of ssh_config, or `ssh://[user@]host[:port]`.

Law. What is accepted can stand in an argv and in a `%h` or `%r` that a ProxyCommand's shell sees.
"""

from __future__ import annotations

from dataclasses import dataclass

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
    if text.lower().startswith("ssh://"):
        return _parse_uri(text)
    if "://" in text:
        raise DestinationError(f'"{text}" is no destination of ssh; write [user@]host or ssh://…')
    user, at, host = text.rpartition("@")
    if at and not user:
        raise DestinationError(f'"{text}" has no user before the "@"')
    check_host(host)
    if host.startswith("[") and not host.endswith("]"):
        name, _, port = host[1:].rpartition("]:")
    elif host.count(":") == 1:
        name, _, port = host.partition(":")
    else:
        name = ""
    if name:
        raise DestinationError(
            f'"{text}": ssh would look for a host of that name; write destination ='
            f' "{user + at}{name}" and port = {port or 22}'
        )
    if at:
        check_user(user)
    return Destination(_bare(host), user if at else None)


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
        _parse_uri(hop if hop.lower().startswith("ssh://") else f"ssh://{hop}", shown=hop)


def _parse_uri(text: str, shown: str | None = None) -> Destination:
    shown = text if shown is None else shown
    rest, _, path = text[len("ssh://") :].partition("/")
    if path:
        raise DestinationError(f'"{shown}" has a path; an ssh:// destination has none')
    user, at, place = rest.rpartition("@")
    if at:
        user = _decoded(user.partition(";")[0], shown)  # ;params: parsed and dropped by ssh
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


def _bare(host: str) -> str:
    """misc.c:cleanhostname."""
    return host[1:-1] if host.startswith("[") and host.endswith("]") else host


def printable(text: str) -> str:
    """Control characters made visible, for a message."""
    return "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in text)
