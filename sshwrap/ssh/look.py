"""What a session on the server is asked about a tunnel's listeners, and how its answer is read.

Laws. The question is one POSIX script on the standard input of `sh`, so that the login shell (csh,
fish, a restricted one) sees two plain words and nothing to quote. It only reads. The answer stands
between two lines that hold a number nobody could know before: a greeting is never taken for it, and
half an answer is none. Whatever a server answers is data: bounded, checked, never a traceback.

The session is the sshd process that owns the tunnel's listeners: the first sshd above the script.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address, IPv6Address, ip_address

from sshwrap.ssh.mux import FLOODED, Unknown, Why, no_master, said_lines

COMMAND = "sh -s"


class Owner(StrEnum):
    """Whose a listener is."""

    OURS = "ours"  # our session has it open: seen
    ACCOUNT = "account"  # the account's, by uid; which process has it, only root could see
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Listener:
    """A TCP listener; `address` as ipaddress writes it ("0.0.0.0", "::1"); `uid` None: not seen."""

    address: str
    port: int
    uid: int | None
    owner: Owner = Owner.ACCOUNT
    inode: int = 0


@dataclass(frozen=True, slots=True)
class SocketListener:
    """A Unix socket that somebody listens on; `has_file`: whoever opens the path reaches one."""

    path: str
    owner: Owner
    has_file: bool


@dataclass(frozen=True, slots=True)
class Session:
    """The server's process that owns our listeners.

    `started` is in clock ticks since that boot: with both a pid is not mistaken for a later one.
    """

    pid: int
    started: int


@dataclass(frozen=True, slots=True)
class Look:
    """What listens at the ports and paths that were asked about; `session` None: not to be seen."""

    listeners: tuple[Listener, ...]
    sockets: tuple[SocketListener, ...]
    session: Session | None
    boot_id: str | None
    uid: int
    has_ipv6: bool
    client: tuple[str, int] | None = None  # our end of the connection, as the server sees it


def forces_command(key_options: str) -> bool:
    """Whether the `key options:` that ssh -v shows hold a command: every session would run it."""
    return "command" in key_options.split()


def look_script(nonce: str, ports: Collection[int], paths: Sequence[str] = ()) -> bytes:
    """The script. /proc/net lists listeners first, and only rows of these ports are sent."""
    text = look_function(nonce, ports, paths) + "look 2> /dev/null\nexit 0\n"
    return text.encode("utf-8", "surrogateescape")


def look_function(nonce: str, ports: Collection[int], paths: Sequence[str] = ()) -> str:
    """The shell function `look` that `look_script` calls, for a script that asks for more as well;
    `read_look` finds its answer among others'."""
    hexes = "|".join(f"{port:04X}" for port in sorted(ports))
    pattern = f"^ *[0-9]+: [0-9A-F]+:({hexes}) [0-9A-F]+:0000 0A " if ports else "^-$"
    names = [f"{shlex.quote(path)}" for path in paths]
    wanted = shlex.quote("\n".join(paths)) if paths else "''"
    files = " ".join(names) or "''"
    return _SCRIPT.format(nonce=nonce, pattern=pattern, wanted=wanted, files=files)


# `sh` reads all of it before it does any of it: a program in there cannot eat the rest.
# The byte that ends the sixth of an ELF file says in which order this kernel prints addresses.
# A directory of descriptors that shows no socket at all is one that we may not read.
_SCRIPT = r"""
look() {{
    echo
    echo 'begin {nonce}'
    name= parent= uid= boot= stat= ipv6= pid=$PPID
    case $(head -c 6 "/proc/$$/exe") in
        *"$(printf '\002')") echo 'order big' ;;
        *) echo 'order little' ;;
    esac
    while read -r key value rest; do
        case $key in Uid:) echo "uid $value" ;; esac
    done < "/proc/$$/status"
    read -r boot < /proc/sys/kernel/random/boot_id && echo "boot $boot"
    echo "client $SSH_CONNECTION"
    read -r ipv6 < /proc/net/if_inet6 && echo 'ipv6 yes'
    while [ "${{pid:-0}}" -gt 1 ]; do
        name= parent=
        while read -r key value rest; do
            case $key in Name:) name=$value ;; PPid:) parent=$value ;; esac
        done < "/proc/$pid/status"
        case $name in sshd*) break ;; esac
        pid=$parent
    done
    [ "${{pid:-0}}" -gt 1 ] && read -r stat < "/proc/$pid/stat" && echo "session $stat"
    tcp=$(grep -E '{pattern}' /proc/net/tcp)
    tcp6=$(grep -E '{pattern}' /proc/net/tcp6)
    unix=
    [ -n {wanted} ] && unix=$(grep -F {wanted} /proc/net/unix | head -n 200)
    [ -r /proc/net/tcp ] && printf 'table tcp\n%s\ntable tcp6\n%s\n' "$tcp" "$tcp6"
    [ -r /proc/net/unix ] && printf 'table unix\n%s\n' "$unix"
    echo 'table files'
    for file in {files}; do
        [ -S "$file" ] && printf '%s\n' "$file"
    done
    sockets=$(
        printf '%s\n' "$tcp" "$tcp6" | while read -r a b c d e f g h i inode rest; do
            [ -n "$inode" ] && echo "socket:[$inode]"
        done
        printf '%s\n' "$unix" | while read -r a b c d e f inode rest; do
            [ -n "$inode" ] && echo "socket:[$inode]"
        done
    )
    if [ -n "$sockets" ]; then
        held=$(ls -l "/proc/${{pid:-0}}/fd")
        case $held in
            *'socket:['*) echo 'table session' ;;
            *) echo 'table programs'; held=$(ls -l /proc/[0-9]*/fd | grep -F "$sockets") ;;
        esac
        printf '%s\n' "$held" | grep -F "$sockets"
    fi
    echo 'end {nonce}'
}}
"""


def read_look(
    nonce: str,
    status: int | None,
    out: bytes,
    err: bytes,
    *,
    timed_out: bool = False,
    flooded: bool = False,
) -> Look | Unknown:
    """The answer to `look_script`, by what the client of the control socket wrote; `flooded`: it
    was ended because that was too much."""
    answer = _framed(nonce, out)
    if answer is None and flooded:
        return Unknown(Why.OTHER_ANSWER, FLOODED)
    if answer is None:
        return _no_answer(status, out, err, timed_out=timed_out)
    try:
        return _read(answer)
    except (ValueError, IndexError) as error:
        return Unknown(Why.NO_PROC, "the server's /proc cannot be read", str(error)[:200])


def _framed(nonce: str, out: bytes) -> list[str] | None:
    lines = out.decode("utf-8", "surrogateescape").split("\n")
    try:
        start = lines.index(f"begin {nonce}")
        return lines[start + 1 : lines.index(f"end {nonce}", start)]
    except ValueError:
        return None


def _no_answer(status: int | None, out: bytes, err: bytes, *, timed_out: bool) -> Unknown:
    trouble = no_master(status, err, timed_out=timed_out)
    if trouble is not None:
        return trouble
    words = [*said_lines(out), *said_lines(err)]
    said = words[-1][:200] if words else ""
    if status == 0:
        reason = "the server ran something else than what it was asked (a forced command?)"
        return Unknown(Why.OTHER_ANSWER, reason, said)
    return Unknown(Why.REFUSED, "the account runs no commands on the server", said)


def _read(answer: Sequence[str]) -> Look:
    facts: dict[str, str] = {}
    tables: dict[str, list[str]] = {}
    table: list[str] | None = None
    for line in answer:
        word, _, rest = line.partition(" ")
        if word == "table":
            table = tables[rest] = []
        elif table is not None:
            table.append(line)
        else:
            facts[word] = rest
    if "tcp" not in tables or "uid" not in facts:
        raise ValueError("no /proc/net/tcp")
    uid = int(facts["uid"])
    boot = facts.get("boot", "")
    held = {int(inode) for inode in _inodes(tables.get("session", ()))}
    elsewhere = {int(inode) for inode in _inodes(tables.get("programs", ()))}

    def owner(inode: int, listener_uid: int) -> Owner:
        if "session" in tables:
            return Owner.OURS if inode in held else Owner.OTHER
        # Of its own processes an account sees all but sshd's: what it sees is no sshd's.
        known_other = listener_uid != uid or inode in elsewhere
        return Owner.OTHER if known_other else Owner.ACCOUNT

    rows = [
        _listener(row, is_big=facts.get("order") == "big", owner=owner)
        for row in (*tables["tcp"], *tables.get("tcp6", ()))
        if row.strip()
    ]
    files = set(tables.get("files", ()))
    sockets = [
        SocketListener(path, owner(inode, uid), path in files)
        for path, inode in _sockets(tables.get("unix", ()))
    ]
    return Look(
        tuple(rows),
        tuple(sockets),
        _session(facts.get("session", "")),
        boot if re.fullmatch(r"[0-9a-f-]{36}", boot) else None,
        uid,
        facts.get("ipv6") == "yes",
        read_client(facts.get("client", "")),
    )


def read_listeners(
    rows: Sequence[str], ports: Collection[int], held: Collection[int], *, is_big: bool
) -> tuple[Listener, ...]:
    """Who listens at these ports, by rows of /proc/net/tcp and tcp6 of this very machine; ours is
    what has one of these inodes. ValueError where that is no such table."""
    listening = (row for row in rows if " 0A " in row)  # TCP_LISTEN of net/tcp_states.h

    def owner(inode: int, _uid: int) -> Owner:
        return Owner.OURS if inode in held else Owner.OTHER

    found = (_listener(row, is_big=is_big, owner=owner) for row in listening)
    return tuple(one for one in found if one.port in ports)


def read_ends(
    rows: Sequence[str], held: Collection[int], *, is_big: bool
) -> frozenset[tuple[str, int]]:
    """The near ends of the connections with these inodes, by the same rows."""
    established = [row for row in rows if " 01 " in row and row.split()[3] == "01"]
    ends = (_listener(row, is_big=is_big, owner=lambda *_: Owner.OTHER) for row in established)
    return frozenset((_unmapped(one.address), one.port) for one in ends if one.inode in held)


def _unmapped(address: str) -> str:
    """An IPv4 address that a socket of both families shows as one of IPv6."""
    mapped = getattr(ip_address(address), "ipv4_mapped", None)
    return address if mapped is None else str(mapped)


def read_client(connection: str) -> tuple[str, int] | None:
    """From SSH_CONNECTION, which has our address and port, then the server's; None: it has not."""
    fields = connection.split()
    if len(fields) != 4 or not re.fullmatch(r"[0-9]{1,5}", fields[1]):
        return None
    try:
        return str(ip_address(fields[0].partition("%")[0])), int(fields[1])
    except ValueError:
        return None


def _inodes(lines: Sequence[str]) -> list[str]:
    return [found for line in lines for found in re.findall(r"socket:\[([0-9]+)\]", line)]


def _listener(row: str, *, is_big: bool, owner: Callable[[int, int], Owner]) -> Listener:
    """A row of /proc/net/tcp or tcp6 (net/ipv4/tcp_ipv4.c:get_tcp4_sock)."""
    fields = row.split()
    local = _LOCAL.fullmatch(fields[1])
    if local is None:
        raise ValueError(f"no address: {fields[1]!r}")
    uid, inode = int(fields[7]), int(fields[9])
    address = _address(local["address"], is_big)
    return Listener(address, int(local["port"], 16), uid, owner(inode, uid), inode)


_LOCAL = re.compile(r"(?P<address>[0-9A-F]{8}|[0-9A-F]{32}):(?P<port>[0-9A-F]{4})")


def _address(text: str, is_big: bool) -> str:
    """The kernel prints each 32-bit word of an address in the machine's own byte order."""
    words = [int(text[at : at + 8], 16) for at in range(0, len(text), 8)]
    raw = b"".join(word.to_bytes(4, "big" if is_big else "little") for word in words)
    return str(IPv4Address(raw) if len(raw) == 4 else IPv6Address(raw))


def _sockets(rows: Sequence[str]) -> list[tuple[str, int]]:
    """(path, inode) of each listener among rows of /proc/net/unix (unix_seq_show)."""
    found = []
    for row in rows:
        fields = row.split(maxsplit=6)
        inode, _, path = fields[6].partition(" ") if len(fields) == 7 else ("", "", "")
        if path and int(fields[3], 16) & _ACCEPTS:
            found.append((path, int(inode)))
    return found


_ACCEPTS = 0x10000  # __SO_ACCEPTCON: somebody has called listen()


def _session(stat: str) -> Session | None:
    """From /proc/PID/stat; the name, in brackets, may hold anything."""
    head, bracket, tail = stat.rpartition(")")
    if not bracket:
        return None
    return Session(int(head.split()[0]), int(tail.split()[19]))
