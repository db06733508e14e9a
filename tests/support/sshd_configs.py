"""Configurations of sshd drawn at random, and what a real sshd makes of them for a connection.

Laws. The same seed draws the same configuration. All that is drawn is a configuration that sshd
takes: what it refuses is for tables, not for chance. Nothing listens; `sshd -T` reads and ends.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from sshwrap.doctor.sshd_config import Criteria
from sshwrap.ssh.version import Version, parse_version

WORDS = ("yes", "no")
FORWARDING = ("yes", "no", "all", "local", "remote")
PERMITTED = ("any", "none", "8080", "*:80 localhost:443", "127.0.0.1:*", "a.example:1 [::1]:2")
VALUES: Mapping[str, Sequence[str]] = {
    "GatewayPorts": ("yes", "no", "clientspecified"),
    "AllowTcpForwarding": FORWARDING,
    "AllowStreamLocalForwarding": FORWARDING,
    "DisableForwarding": WORDS,
    "StreamLocalBindUnlink": WORDS,
    "X11Forwarding": WORDS,
    "PermitListen": PERMITTED,
    "PermitOpen": tuple(value for value in PERMITTED if value != "8080"),
    "ClientAliveInterval": ("0", "15", "90", "1m", "2m30s"),
    "ClientAliveCountMax": ("0", "1", "3", "20"),
    "UnusedConnectionTimeout": ("none", "30", "5m"),
    "MaxSessions": ("1", "7", "10", "100"),
    "AllowUsers": ("ann", "root bob", "*@10.0.0.0/8", "web*"),
    "AcceptEnv": ("LANG", "LC_* TERM", "X"),
    "IPQoS": ("lowdelay", "throughput", "af21 cs1"),
    "StreamLocalBindMask": ("0177", "0117"),
}
SINCE = {"UnusedConnectionTimeout": Version(9, 2)}
GATHERED = {"allowusers", "acceptenv"}
USERS = ("root", "bin", "www-data", "ann", "bob")
ADDRESSES = ("127.0.0.1", "10.1.2.3", "192.0.2.77", "2001:db8::7", "::1")
HOSTS = ("localhost", "web.example", "GW.example", "10.1.2.3")
PORTS = (22, 2222)
LISTS = {
    "User": (
        *USERS,
        "*",
        "?oot",
        "b*",
        "!root,*",
        "*,!bob",
        "ann,bob",
        "an?",
        "*n*n",
        "Root",
        "!ann",
    ),
    "Group": ("root", "bin", "*", "!root,*", "www-*", "nosuch", "*o*t,bin"),
    "Host": ("*", "localhost", "*.EXAMPLE", "!gw.*,*.example", "10.*", "web.example,localhost"),
    "Address": (
        *("10.0.0.0/8", "192.0.2.0/24,!192.0.2.77", "!192.0.2.77,192.0.2.*", "*", "127.0.0.?"),
        *("2001:db8::/32", "::1", "0.0.0.0/0", "!10.1.2.3,*", "10.1.2.3", "::/0", "2001:db8:*"),
        *("10.1.2.2/31", "10.1.0.0/16,2001:db8::7/128", "!::/0,*", "192.0.2.77/32"),
    ),
    "LocalAddress": ("127.0.0.1", "192.0.2.1", "::1", "192.0.2.0/28", "!::1,*"),
    "LocalPort": ("22", "2222"),
}


@dataclass(frozen=True, slots=True)
class Drawn:
    """`files`: absolute path -> text, `main` one of them."""

    files: Mapping[str, str]
    main: str
    connections: tuple[Criteria, ...]


def draw(seed: int, folder: str, version: Version, groups: Mapping[str, tuple[str, ...]]) -> Drawn:
    """`folder`: where the files shall be; `groups`: of each of USERS, () where there is no such
    account."""
    chance = Random(seed)  # noqa: S311 - a test's dice
    return _Pen(chance, folder, version).drawn(groups)


class _Pen:
    def __init__(self, chance: Random, folder: str, version: Version) -> None:
        self.chance, self.folder, self.version = chance, folder, version
        self.keywords = [one for one in VALUES if version >= SINCE.get(one, Version(0, 0))]
        if not Version(9, 0) <= version < Version(9, 8):
            # Read, and given out by -T, in other ways there; and no check asks for it.
            self.keywords.remove("IPQoS")
        # few keywords in one configuration, or they would hardly ever meet
        self.keywords = chance.sample(self.keywords, 4)

    def drawn(self, groups: Mapping[str, tuple[str, ...]]) -> Drawn:
        files = {}
        inner = [f"{self.folder}/inner/{name}.conf" for name in ("a", "b")]
        for path in inner:
            files[path] = self.text(includes=(), lines=self.chance.randint(0, 5))
        names = self.chance.sample(("00-x", "10_y", "50-z", "A", "_u", ".hidden"), 3)
        patterns = [*inner, f"{self.folder}/inner/*.conf", f"{self.folder}/nothing/*.conf"]
        for name in names:
            path = f"{self.folder}/d/{name}.conf"
            files[path] = self.text(includes=patterns, lines=self.chance.randint(0, 7))
        files[f"{self.folder}/d/old.conf.bak"] = "GatewayPorts yes\n"
        patterns += [f"{self.folder}/d/*.conf"] * 3
        patterns += [f"{self.folder}//d/{name}.conf" for name in names]
        patterns += [f'"{self.folder}/d/[05]0-?.conf"'.replace("[05]", "?")]
        main = f"{self.folder}/sshd_config"
        files[main] = self.text(includes=patterns, lines=self.chance.randint(3, 16))
        return Drawn(files, main, tuple(self.connection(groups) for _ in range(3)))

    def connection(self, groups: Mapping[str, tuple[str, ...]]) -> Criteria:
        pick = self.chance.choice
        user = pick([one for one in USERS if groups[one]])
        return Criteria(
            user=user,
            host=pick(HOSTS),
            address=pick(ADDRESSES),
            local_address=pick(("127.0.0.1", "192.0.2.1", "::1")),
            local_port=pick(PORTS),
            groups=groups[user],
        )

    def text(self, *, includes: Sequence[str], lines: int) -> str:
        end = self.chance.choice(("\n", "\n", "\n", "\r\n"))
        made = [self.line(includes) for _ in range(lines)]
        text = "".join(f"{line}{end}" for line in made)
        return text.removesuffix(end) if self.chance.random() < 0.2 else text

    def line(self, includes: Sequence[str]) -> str:
        dice = self.chance.random()
        if dice < 0.08:
            return self.chance.choice(("", "   ", "# GatewayPorts yes", "\t#x 'y", "\r", "#"))
        if dice < 0.28:
            return self.written("Match", self.criteria(), is_match=True)
        if dice < 0.42 and includes and self.version >= Version(8, 2):
            count = 2 if self.chance.random() < 0.2 else 1
            return self.written("Include", " ".join(self.chance.choices(includes, k=count)))
        keyword = self.chance.choice(self.keywords)
        value = self.chance.choice(VALUES[keyword])
        if keyword in ("GatewayPorts", "X11Forwarding") and self.chance.random() < 0.2:
            value = value.upper()
        return self.written(keyword, value)

    def criteria(self) -> str:
        if self.chance.random() < 0.12:
            return self.case("all")
        names = self.chance.sample(list(LISTS), self.chance.choice((1, 1, 1, 2, 3)))
        gap = "=" if self.chance.random() < 0.1 and self.version != Version(9, 9) else " "
        return " ".join(
            f"{self.case(name)}{gap}{self.quoted(self.chance.choice(LISTS[name]), 0.1)}"
            for name in names
        )

    def written(self, keyword: str, argument: str, *, is_match: bool = False) -> str:
        pick = self.chance.choice
        indent = pick(("", "", "", "    ", "\t", " \t "))
        gap = pick((" ", " ", " ", "\t", "  ", "=", " = ", "= ", " ="))
        if not is_match and " " not in argument and '"' not in argument:
            argument = self.quoted(argument, 0.15)
        after = pick(("", "", "", "", " ", "\t ", " # and why", "  #why not", " #", " \f"))
        if self.chance.random() < 0.03:
            keyword, gap = f'"{keyword}"', " "
        return f"{indent}{self.case(keyword)}{gap}{argument}{after}"

    def quoted(self, text: str, how_often: float) -> str:
        if self.chance.random() >= how_often:
            return text
        return f'"{text}"'

    def case(self, word: str) -> str:
        return self.chance.choice((word, word, word, word.lower(), word.upper()))


# --- asking sshd -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Oracle:
    """An sshd to ask."""

    program: str
    host_key: str

    def version(self) -> Version:
        done = subprocess.run([self.program, "-?"], capture_output=True, text=True, check=False)
        found = parse_version(done.stderr)
        assert found is not None, done.stderr
        return found

    def write(self, files: Mapping[str, str]) -> None:
        for path, text in files.items():
            target = Path(path)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(text.encode("utf-8", "surrogateescape"))

    def ask(self, main: str, criteria: Criteria) -> dict[str, list[str]]:
        """`sshd -T -C`: keyword -> its lines, all in lower case. ValueError: sshd's refusal."""
        spec = (
            f"user={criteria.user},host={criteria.host},addr={criteria.address},"
            f"laddr={criteria.local_address},lport={criteria.local_port}"
        )
        arguments = ("-T", "-h", self.host_key, "-f", main, "-C", spec)
        done = subprocess.run(
            [self.program, *arguments],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "LC_ALL": "C"},
        )
        if done.returncode != 0:
            raise ValueError(done.stderr)
        values: dict[str, list[str]] = {}
        for line in done.stdout.lower().splitlines():
            keyword, _, value = line.partition(" ")
            values.setdefault(keyword, []).append(value)
        return values


def normal(keyword: str, lines: Sequence[str]) -> list[str]:
    """The arguments of some lines as `sshd -T` writes them."""
    if keyword in GATHERED:  # sshd has what a file that is read twice gives twice
        return list(dict.fromkeys(word for line in lines for word in line.lower().split()))
    words = [word for line in lines for word in line.lower().split()]
    if keyword in ("clientaliveinterval", "unusedconnectiontimeout"):
        return [str(_seconds(word)) for word in words]
    if keyword in ("allowtcpforwarding", "allowstreamlocalforwarding"):
        return ["yes" if word == "all" else word for word in words]
    if keyword == "permitlisten":
        return [f"*:{word}" if word.isdecimal() else word for word in words]
    if keyword == "ipqos" and len(words) == 1:
        return words * 2
    return words


def _seconds(text: str) -> int:
    if text == "none":
        return 0
    units = {"": 1, "s": 1, "m": 60, "h": 3600}
    return sum(int(count) * units[unit] for count, unit in re.findall(r"(\d+)([smh]?)", text))
