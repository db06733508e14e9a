"""What the server said to the script of questions.py -> facts.

Laws. A part that is not whole is as good as none: Unknown. Nothing is concluded from what is
missing. What came from the server is cleaned and bounded before it leaves here, but for the text of
sshd's files, which has to stay as it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address

from sshwrap.doctor.facts import (
    Fact,
    Known,
    Listening,
    Reloader,
    Rights,
    Shell,
    Unknown,
)
from sshwrap.ssh.lines import bounded, clean

_WORD = 200  # characters of one value
_ROWS = 4000
_HALF = Unknown("the server's answer was not complete")


@dataclass(frozen=True, slots=True)
class Part:
    """`words`: every line of a keyword, in order; `tables`: the lines of each, as they came."""

    words: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    tables: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def word(self, name: str) -> str:
        """Of the first line, clean and bounded; "" where there is none."""
        found = self.words.get(name, ())
        return bounded(clean(found[0].strip()), _WORD) if found else ""

    def rows(self, name: str) -> tuple[str, ...]:
        """Clean lines that are not blank."""
        rows = [clean(row.rstrip("\r")) for row in self.tables.get(name, ())]
        return tuple(bounded(row, 4096) for row in rows if row.strip())[:_ROWS]


def read_parts(nonce: str, out: bytes) -> dict[str, Part]:
    """The parts that are whole."""
    lines = out.decode("utf-8", "surrogateescape").split("\n")
    found: dict[str, Part] = {}
    at = 0
    while at < len(lines):
        words = lines[at].split(" ")
        at += 1
        if len(words) != 3 or words[0] != "part" or words[2] != nonce:
            continue
        try:
            end = lines.index(f"over {words[1]} {nonce}", at)
        except ValueError:
            break
        found.setdefault(words[1], _part(lines[at:end]))
        at = end + 1
    return found


def _part(lines: Sequence[str]) -> Part:
    words: dict[str, list[str]] = {}
    tables: dict[str, list[str]] = {}
    table: list[str] = []
    for line in lines:
        if line.startswith("|"):
            table.append(line[1:])
            continue
        name, _, rest = line.partition(" ")
        if name == "table":
            table = tables.setdefault(rest, [])
        elif name:
            words.setdefault(name, []).append(rest)
    return Part(
        {name: tuple(all_of) for name, all_of in words.items()},
        {name: tuple(rows) for name, rows in tables.items()},
    )


# --- the account ---------------------------------------------------------------------------------


def read_shell(part: Part | None) -> Fact[Shell]:
    if part is None or not part.word("uid").isdecimal():
        return _HALF
    ends = part.word("connection").split()
    return Known(
        Shell(
            user=part.word("user"),
            uid=int(part.word("uid")),
            groups=tuple(part.word("groups").split()),
            shell=part.word("shell"),
            client=_end(ends[:2]),
            server=_end(ends[2:4]),
            system=part.word("system"),
            os_release=part.word("os").strip("\"'"),
            home_is_writable={"yes": True, "no": False}.get(part.word("home")),
            now=part.word("date"),
        )
    )


def _end(words: Sequence[str]) -> tuple[str, int] | None:
    """Address and port of SSH_CONNECTION."""
    if len(words) != 2 or not re.fullmatch(r"[0-9]{1,5}", words[1]):
        return None
    try:
        return str(ip_address(words[0].partition("%")[0])), int(words[1])
    except ValueError:
        return None


def read_rights(part: Part | None) -> Fact[Rights]:
    try:
        return Known(Rights(part.word("rights"))) if part is not None else _HALF
    except ValueError:
        return _HALF


def read_addresses(part: Part | None) -> Fact[frozenset[str]]:
    """The server's own addresses, as ipaddress writes them (ip -o addr, ifconfig, /proc/net)."""
    found: set[str] = set()
    for row in part.rows("addresses") if part is not None else ():
        for match in _ADDRESS.finditer(row):
            try:
                found.add(str(ip_address(match["address"].partition("%")[0])))
            except ValueError:
                continue
        if re.fullmatch(r"[0-9a-f]{32} [0-9a-f]{2} .*", row):  # if_inet6
            found.add(str(ip_address(bytes.fromhex(row[:32]))))
    if not found:
        return Unknown("the server does not show its addresses")
    return Known(frozenset(found))


_ADDRESS = re.compile(r"(?:\binet6? (?:addr: ?)?|\|-- )(?P<address>[0-9A-Fa-f:.]+(?:%\w+)?)")


def read_unprivileged_from(part: Part | None) -> Fact[int]:
    """From which port on an account that is not root may listen (ip_unprivileged_port_start)."""
    word = part.word("unprivileged") if part is not None else ""
    return Known(int(word)) if word.isdecimal() else Unknown("the server does not show it")


def read_paths(part: Part | None, paths: Sequence[str]) -> Mapping[str, bool]:
    """Whether something is there, for each path that was asked about."""
    words = part.words.get("path", ()) if part is not None else ()
    return dict(zip(paths, (word == "yes" for word in words), strict=False))


def read_recorded(part: Part | None) -> tuple[int, int] | None:
    """(pid, started) of the recorded session's process, where there is one of that pid."""
    _, bracket, tail = (part.word("recorded") if part is not None else "").rpartition(")")
    head = part.word("recorded").split(" ")[0] if part is not None else ""
    fields = tail.split()
    if not bracket or len(fields) < 20 or not head.isdecimal() or not fields[19].isdecimal():
        return None
    return int(head), int(fields[19])


# --- sshd ----------------------------------------------------------------------------------------


def read_listening(sshd: Part | None, effective: Part | None, system: str) -> Fact[Listening]:
    if sshd is None:
        return _HALF
    program = sshd.word("program")
    if not program:
        return Unknown("no sshd program was found on the server")
    pid = int(sshd.word("pid")) if sshd.word("pid").isdecimal() else 0
    arguments: list[str] = []
    config = sshd.word("config")
    if config != "/etc/ssh/sshd_config":
        arguments += ["-f", config]
    for option in sshd.rows("options"):
        arguments += ["-o", option]
    reloader, unit = _reloader(sshd, effective, pid, system)
    if pid == 0 and reloader is None:
        return Unknown("no sshd that listens was found on the server")
    return Known(Listening(pid, program, tuple(arguments), reloader, unit, config))


def _reloader(
    sshd: Part, effective: Part | None, pid: int, system: str
) -> tuple[Reloader | None, str]:
    units = _units(sshd.rows("systemd"))
    active = {name for name, unit in units.items() if unit.get("ActiveState") == "active"}
    for name in sorted(active):
        if name.endswith(".service") and units[name].get("MainPID") in (str(pid), None):
            return Reloader.SYSTEMD, name
    if pid == 0 or not any(name.endswith(".service") for name in active):
        sockets = sorted(name for name in active if name.endswith(".socket"))
        if sockets and pid == 0:
            # Its service runs for every connection anew, or has not been wanted yet.
            return Reloader.SYSTEMD_SOCKET, sockets[0]
    if system == "Darwin":
        return Reloader.NONE, ""
    scripts = [script.rpartition("/") for script in sshd.words.get("script", ())]
    if sshd.word("openrc") == "yes" and scripts:
        return Reloader.OPENRC, scripts[0][2]
    pidfiles = [*sshd.rows("pidfiles"), *(effective.rows("pidfile") if effective else ())]
    for row in pidfiles:
        number, _, file = row.partition(" ")
        if pid and number == str(pid):
            return Reloader.PIDFILE, file
    if sshd.word("service") == "yes":
        for folder, _, name in scripts:
            if folder == "/etc/rc.d":
                return Reloader.SERVICE, name
    return None, ""


def _units(rows: Iterable[str]) -> dict[str, dict[str, str]]:
    """`systemctl show -p …` of several units: a block each, that the Id names; an alias repeats."""
    units: dict[str, dict[str, str]] = {}
    block: dict[str, str] = {}
    for row in rows:
        key, _, value = row.partition("=")
        if key in block:  # the blank line between blocks is not among the rows
            units.setdefault(block.get("Id", ""), block)
            block = {}
        block[key] = value
    units.setdefault(block.get("Id", ""), block)
    return {name: unit for name, unit in units.items() if unit.get("LoadState") == "loaded"}


def read_version(sshd: Part | None) -> str:
    """What `sshd -V` calls itself, "OpenSSH_9.2p1 Debian-2+deb12u10"; "" where it does not say."""
    rows = sshd.rows("version") if sshd is not None else ()
    found = (re.match(r"OpenSSH_[^,]+", row) for row in rows)
    return next((match[0].strip() for match in found if match is not None), "")


def read_effective(part: Part | None) -> Fact[Mapping[str, tuple[str, ...]]]:
    """Of `sshd -T -C …`: every line of each keyword, in lower case (10.4 prints others)."""
    if part is None:
        return _HALF
    values: dict[str, tuple[str, ...]] = {}
    for row in part.rows("effective"):
        keyword, _, argument = row.partition(" ")
        values[keyword.lower()] = (*values.get(keyword.lower(), ()), argument.strip())
    if "gatewayports" not in values:
        said = _last(part.rows("said"))
        return Unknown("sshd does not tell its configuration to this account", said)
    return Known(values)


def read_valid(part: Part | None) -> tuple[Fact[bool], str]:
    """Of `sshd -t`; what it says of the fault stands beside a False."""
    if part is None:
        return _HALF, ""
    said = "; ".join(part.rows("fault")[-4:])[:400]
    match part.word("valid"):
        case "0":
            return Known(True), ""
        case "":
            return Unknown("no sshd program was found on the server"), ""
        case "1" | "255" if not _UNASKABLE.search(said):
            return Known(False), said
    return Unknown("sshd cannot check its configuration for this account", said), ""


# What it says of this account, or of this moment, and not of the configuration (sshd.c:main).
_UNASKABLE = re.compile(
    r"no hostkeys available|Missing privilege separation directory|: Permission denied|"
    r"Could not load host key|privsep|must be owned by root"
)


def read_files(part: Part | None) -> Fact[Mapping[str, str]]:
    """sshd_config and what it includes: all of them, or Unknown."""
    if part is None:
        return _HALF
    closed = [clean(file)[:_WORD] for file in part.words.get("closed", ())]
    long = [clean(file)[:_WORD] for file in part.words.get("long", ())]
    if closed:
        return Unknown(f"{closed[0]} is not readable for this account")
    if long:
        return Unknown(f"{long[0]} is too long")
    # The script has added one end of a line to each, so that the last row of a file is whole.
    files = {file: "\n".join(rows) for file, rows in part.tables.items()}
    if not files:
        return Unknown("sshd's configuration was not found")
    return Known(files)


_TOOLS = re.compile(
    r"(?i)\b(ansible|puppet|chef|saltstack|salt|cfengine|nixos|terraform|cloud-init)\b.*"
    r"|\bmanaged by\b.*|\bdo not (edit|modify|change)\b.*|\bauto(matically)?[- ]generated\b.*"
)
_HEAD_LINES = 15


def read_managed(sshd: Part | None, files: Fact[Mapping[str, str]]) -> Fact[str]:
    """What a file's own head says of a tool that writes it: "FILE:LINE: …"; "" where none does."""
    real = sshd.word("real") if sshd is not None else ""
    if real.startswith("/nix/store/"):
        return Known(f"{sshd.word('config') if sshd else ''} is {real}: written by NixOS")
    if isinstance(files, Unknown):
        return files
    for file, text in files.value.items():
        for number, line in enumerate(text.splitlines()[:_HEAD_LINES], 1):
            if line.lstrip().startswith("#") and _TOOLS.search(line):
                said = bounded(clean(line.strip()), _WORD)
                return Known(f"{clean(file)}:{number}: {said}")
    return Known("")


def read_programs(part: Part | None, port: int) -> tuple[str, ...]:
    """Who listens at this port by `ss -ltnp`, as far as the account may see: names."""
    found: list[str] = []
    for row in part.rows("ss") if part is not None else ():
        words = row.split()
        if len(words) > 3 and words[3].rpartition(":")[2] == str(port):
            found += re.findall(r'\("([^"]{1,64})",pid=', row)
    return tuple(dict.fromkeys(found))


def _last(rows: Sequence[str]) -> str:
    return bounded(rows[-1], 400) if rows else ""
