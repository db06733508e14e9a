"""Match lines of sshd_config(5): whom they are for.

Laws. The answer is yes, no, or that it cannot be told; a line that sshd would refuse raises
`BadConfig`. Patterns are compared byte by byte, as sshd does it.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum

from sshwrap.doctor.sshd_config_lines import Line, next_word
from sshwrap.ssh.version import Version

MATCH_BY_ARGV = Version(9, 9)  # servconf.c:match_cfg_line: by strdelim before
EQUALS_AGAIN = Version(10, 0)  # "Match User=ann" was broken in 9.9
WITHOUT_ARGUMENT = {"all", "invalid-user"}
WITH_ARGUMENT = {
    *("user", "group", "host", "address", "localaddress", "localport", "rdomain", "version"),
}
LONGEST = 1023  # match.c:match_pattern_list: a longer pattern makes the whole list not match

# What getaddrinfo takes for an address and Python's ipaddress does not: "10.1", "0x7f.1", "010.1"
SHORTHAND = re.compile(r"(0x[0-9a-f]+|\d+)(\.(0x[0-9a-f]+|\d+)){0,3}(/\d+)?", re.I)

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Told(IntEnum):
    """Ordered: what holds only if two things hold is the lesser of them."""

    NO = 0
    UNTOLD = 1  # it cannot be told
    YES = 2


class BadConfig(Exception):
    """sshd would refuse the configuration; the text says where and why."""


@dataclass(frozen=True, slots=True)
class Criteria:
    """A connection, as `sshd -T -C` takes it. `groups`: by name; none at all: they are unknown."""

    user: str
    host: str
    address: str
    local_address: str
    local_port: int
    groups: tuple[str, ...] = ()


def is_for_all(line: Line, version: Version) -> bool:
    """BadConfig: sshd takes no such Match line."""
    pairs = _pairs(line, version)
    return pairs is not None and [name for name, _ in pairs] == ["all"]


def matches(line: Line, criteria: Criteria, version: Version) -> Told:
    """Whether a Match line is for this connection. BadConfig: sshd takes no such line."""
    pairs = _pairs(line, version)
    if pairs is None:
        return Told.UNTOLD
    return min((_holds(name, argument, criteria) for name, argument in pairs), default=Told.NO)


# --- the words of the line ---------------------------------------------------------------------


def _pairs(line: Line, version: Version) -> list[tuple[str, str]] | None:
    """(criterion in lower case, argument); None: one of them is unknown here."""
    if version < MATCH_BY_ARGV:
        words = _words(line.rest if version >= Version(8, 7) else line.rest.partition("#")[0])
    else:
        words = list(line.arguments)
        if version < EQUALS_AGAIN and words != _words(line.rest):
            return None
    pairs: list[tuple[str, str]] = []
    while words:
        name, equals, argument = words.pop(0), "", ""
        if version >= EQUALS_AGAIN and name.partition("=")[0].lower() in WITH_ARGUMENT:
            name, equals, argument = name.partition("=")
        name = name.lower()
        if name == "all" and (pairs or words):
            raise BadConfig('"all" stands beside other criteria')
        if name in WITH_ARGUMENT:
            argument = argument if equals else (words.pop(0) if words else "")
            if argument == "":
                raise BadConfig(f'"{name}" has no argument')
            _check(name, argument)
        elif name not in WITHOUT_ARGUMENT:
            return None
        pairs.append((name, argument))
    if not pairs:
        raise BadConfig('"Match" has no criteria')
    return pairs


def _words(rest: str) -> list[str]:
    """As strdelim makes them, up to an empty one or a comment."""
    words: list[str] = []
    left: str | None = rest
    while left:
        word, left = next_word(left)
        if word is None:
            raise BadConfig("its quotes do not pair")
        if word == "" or word.startswith("#"):
            break
        words.append(word)
    return words


def _check(name: str, argument: str) -> None:
    """What sshd refuses at its start, whoever may come."""
    if name in ("address", "localaddress"):
        for item in argument.split(","):
            _network(item.removeprefix("!"))
    if name == "localport" and argument.isdecimal() and int(argument) > 65535:
        raise BadConfig(f'"{argument}" is no port')


# --- one criterion -----------------------------------------------------------------------------


def _holds(name: str, argument: str, criteria: Criteria) -> Told:
    test: Callable[[str, Criteria], Told] = TESTS.get(name, _untold)
    return test(argument, criteria)


def _untold(argument: str, criteria: Criteria) -> Told:
    return Told.UNTOLD


def _all(argument: str, criteria: Criteria) -> Told:
    return Told.YES


def _invalid_user(argument: str, criteria: Criteria) -> Told:
    """Doctor asks for accounts that have signed in, or will."""
    return Told.NO


def _user(argument: str, criteria: Criteria) -> Told:
    return _told(pattern_list(criteria.user, argument) == 1)


def _host(argument: str, criteria: Criteria) -> Told:
    return _told(pattern_list(criteria.host.lower(), argument.lower()) == 1)


def _group(argument: str, criteria: Criteria) -> Told:
    """groupaccess.c:ga_match_pattern_list: one group that is negated decides."""
    if not criteria.groups:
        return Told.UNTOLD
    found = [pattern_list(group, argument) for group in criteria.groups]
    return _told(-1 not in found and 1 in found)


def _address(argument: str, criteria: Criteria) -> Told:
    return address_list(criteria.address, argument)


def _local_address(argument: str, criteria: Criteria) -> Told:
    return address_list(criteria.local_address, argument)


def _local_port(argument: str, criteria: Criteria) -> Told:
    if not (argument.isascii() and argument.isdecimal()):
        return Told.UNTOLD  # a name of /etc/services
    return _told(int(argument) == criteria.local_port)


# RDomain and Version are not here: neither is known of a connection from outside.
TESTS: dict[str, Callable[[str, Criteria], Told]] = {
    "all": _all,
    "invalid-user": _invalid_user,
    "user": _user,
    "group": _group,
    "host": _host,
    "address": _address,
    "localaddress": _local_address,
    "localport": _local_port,
}


def _told(holds: bool) -> Told:
    return Told.YES if holds else Told.NO


# --- patterns ----------------------------------------------------------------------------------


def as_bytes(text: str) -> bytes:
    """As the file has it; a lone surrogate that stands for no byte stays distinct."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")


def pattern_list(text: str, patterns: str) -> int:
    """match.c:match_pattern_list: 1 matches, 0 does not, -1 a negated pattern does."""
    subject, left, found = as_bytes(text), as_bytes(patterns), 0
    while left:
        negated = left.startswith(b"!")
        pattern, _, left = left.removeprefix(b"!").partition(b",")
        if len(pattern) >= LONGEST:
            return 0
        if _pattern(subject, pattern):
            if negated:
                return -1
            found = 1
    return found


def _pattern(text: bytes, pattern: bytes) -> bool:
    """match.c:match_pattern: "*" is any bytes, "?" is one."""
    star, mark, at, text_at = -1, 0, 0, 0
    while text_at < len(text):
        if at < len(pattern) and pattern[at : at + 1] == b"*":
            star, mark, at = at, text_at, at + 1
        elif at < len(pattern) and pattern[at : at + 1] in (b"?", text[text_at : text_at + 1]):
            at, text_at = at + 1, text_at + 1
        elif star >= 0:  # let the last star take one byte more
            mark += 1
            at, text_at = star + 1, mark
        else:
            return False
    return pattern[at:].strip(b"*") == b""


def address_list(address: str, patterns: str) -> Told:
    """addr.c:addr_match_list: networks and patterns, "!" before those that must not match."""
    try:
        subject = ipaddress.ip_address(address)
    except ValueError:
        return Told.NO if address == "UNKNOWN" else Told.UNTOLD
    if "%" in address:  # whether the scope counts is not the same in all versions
        return Told.UNTOLD
    found = Told.NO
    for item in patterns.split(","):
        held = _in_network(address, subject, item.removeprefix("!"))
        if not item.startswith("!"):
            found = max(found, held)
        elif held is not Told.NO:
            return Told.NO if held is Told.YES else Told.UNTOLD
    return found


def _in_network(address: str, subject: Address, item: str) -> Told:
    network = _network(item)
    if network is None:
        if SHORTHAND.fullmatch(item) is not None or "%" in item:
            return Told.UNTOLD
        return _told(_pattern(as_bytes(address), as_bytes(item)))
    return _told(subject in network)


def _network(item: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    """addr.c:addr_pton_cidr. None: it is read as a pattern. BadConfig: sshd takes no such list."""
    if item == "":
        raise BadConfig("a list of addresses has an empty one")
    host, slash, length = item.partition("/")
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    if "%" in host or (slash and not re.fullmatch("[0-9]{1,9}", length)):
        return None
    bits = int(length) if slash else address.max_prefixlen
    if bits > 128:
        return None
    if bits > address.max_prefixlen:
        raise BadConfig(f'"{item}" has a mask that is too long')
    try:
        return ipaddress.ip_network(f"{host}/{bits}")
    except ValueError:
        raise BadConfig(f'"{item}" has address bits behind its mask') from None
