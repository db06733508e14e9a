"""A text that may be shown to strangers: names, addresses and keys replaced, the sense kept.

Laws. The same name becomes the same word everywhere in one text, so that it can still be followed.
What is the same on every machine stays: loopback, "every address", root, the names of algorithms.
No key material is left, not even a public key.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

from sshwrap.doctor.facts import Facts, value_of
from sshwrap.doctor.judging import Asked
from sshwrap.ssh.sentences import split_destination

# Accounts that say nothing of a person, and hosts that say nothing of a place.
PLAIN_USERS = frozenset(
    {
        "root",
        "admin",
        "debian",
        "ubuntu",
        "pi",
        "tunnel",
        "git",
        "user",
        "ec2-user",
        "opc",
        "nobody",
    }
)
PLAIN_HOSTS = frozenset({"*", "localhost", "none", "any", "socks", "0.0.0.0", "::"})  # noqa: S104
# What stands behind the "@" of an algorithm's or extension's name (RFC 4251, 6).
ALGORITHMS = (
    *("openssh.com", "libssh.org", "lysator.liu.se", "ssh.com", "amazon.com"),
    *("putty.projects.tartarus.org",),
)

_PEM = re.compile(r"-----BEGIN [A-Z0-9 ]+-----.*?(?:-----END [A-Z0-9 ]+-----|\Z)", re.S)
_BASE64 = re.compile(r"\bAAAA[A-Za-z0-9+/]{16,}={0,2}")
_FINGERPRINT = re.compile(r"SHA256:[A-Za-z0-9+/]{20,}=*|MD5:(?:[0-9a-f]{2}:){15}[0-9a-f]{2}")
_MAC = re.compile(r"(?<![\w:])(?:[0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}(?![\w:])")
_HOME = re.compile(r"(/(?:home|Users)/)([A-Za-z_][\w.-]*)")
_AT = re.compile(r"([A-Za-z_][\w.-]*)@([A-Za-z0-9](?:[\w.-]*[A-Za-z0-9])?)")
_IPV4 = re.compile(r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?![\w]|\.\d)")
_IPV6 = re.compile(r"(?<![\w:.])[0-9A-Fa-f]{0,4}:[0-9A-Fa-f:]*:[0-9A-Fa-f:.]*")


@dataclass(frozen=True, slots=True)
class Names:
    """What has to go: accounts, hosts (names, not addresses), and the home directory."""

    users: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    home: str = ""


def names_of(facts: Facts, asked: Asked, home: str = "", local_host: str = "") -> Names:
    """Every account and host that facts and profile name, and this machine's own."""
    users, hosts = [], [local_host]
    for place in (asked.profile.destination, *(asked.profile.proxy_jump or "").split(",")):
        user, host, _ = split_destination(place.strip())
        users.append(user)
        hosts.append(host.partition(":")[0] if host.count(":") == 1 else host)
    users.append(asked.profile.user or "")
    users.append(home.rpartition("/")[2])
    config, shell = value_of(facts.here.config), value_of(facts.account.shell)
    if config is not None:
        users.append(config.user)
        hosts += [config.hostname, *config.values.get("host", ())]
        for jump in (*config.values.get("proxyjump", ()), facts.way.jump or ""):
            for hop in jump.split(","):
                user, host, _ = split_destination(hop.strip())
                users.append(user)
                hosts.append(host.partition(":")[0])
    users.append(shell.user if shell is not None else "")
    for forward in asked.forwards:
        hosts += [forward.listen_host or "", forward.connect_host or ""]
    return Names(tuple(users), tuple(host for host in hosts if " " not in host), home)


def redact(text: str, names: Names) -> str:
    """`text` without what `names` holds, without addresses, and without keys."""
    text = _PEM.sub("[private key removed]", text)
    text = _BASE64.sub("[key removed]", text)
    text = _FINGERPRINT.sub(_numbered("key-{}"), text)
    text = _MAC.sub(_numbered("mac-{}"), text)
    users, hosts = _found(text, names)
    if names.home not in ("", "/"):
        text = re.sub(re.escape(names.home.rstrip("/")) + r"(?![\w.-])", "~", text)
    text = _replace(text, hosts, "host-{}")
    text = _replace(text, users, "user-{}")
    text = _IPV4.sub(_addresses("192.0.2.{}"), text)
    return _IPV6.sub(_addresses("2001:db8::{:x}"), text)


def _found(text: str, names: Names) -> tuple[list[str], list[str]]:
    """(users, hosts): those that were named, and those that the text shows to be some."""
    users, hosts = list(names.users), list(names.hosts)
    users += [match[2] for match in _HOME.finditer(text)]
    for match in _AT.finditer(text):
        if match[2].lower() not in ALGORITHMS:
            users.append(match[1])
            hosts.append(match[2])
    return (
        [one for one in dict.fromkeys(users) if one and one.lower() not in PLAIN_USERS],
        [one for one in dict.fromkeys(hosts) if one and not _is_plain(one)],
    )


def _is_plain(host: str) -> bool:
    return host.lower() in PLAIN_HOSTS or _address(host) is not None


def _replace(text: str, words: Iterable[str], form: str) -> str:
    """Each word by its number, in one pass: no replacement is ever replaced itself."""
    numbers: dict[str, str] = {}
    for word in words:
        numbers.setdefault(word.lower(), form.format(len(numbers) + 1))
    if not numbers:
        return text
    longest_first = sorted(numbers, key=len, reverse=True)
    pattern = "|".join(map(re.escape, longest_first))
    return re.sub(
        rf"(?<![\w-])(?:{pattern})(?![\w-])",
        lambda match: numbers[match[0].lower()],
        text,
        flags=re.I,
    )


def _numbered(form: str) -> Callable[[re.Match[str]], str]:
    seen: dict[str, str] = {}
    return lambda match: seen.setdefault(match[0], form.format(len(seen) + 1))


def _addresses(form: str) -> Callable[[re.Match[str]], str]:
    """Addresses by their number; loopback and "every address" stay, and so does what is none."""
    seen: dict[str, str] = {}

    def replaced(match: re.Match[str]) -> str:
        text = match[0]
        bare = text if text.endswith("::") else text.rstrip(":.")
        address = _address(bare)
        if address is None or address.is_loopback or address.is_unspecified:
            return text
        word = seen.setdefault(str(address), form.format(min(len(seen) + 1, 254)))
        return word + text[len(bare) :]

    return replaced


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(text.strip("[]"))
    except ValueError:
        return None
