"""What the other side has not acknowledged yet of an ssh's own connection (Linux).

Laws. Only looks, as any user may; nothing is sent and nothing waits. Unacknowledged data is a
suspicion, never proof: on a slow line it is the rule. Where it cannot be told the answer is None.
"""

from __future__ import annotations

import os
import socket
import struct
import sys
from collections.abc import Iterator
from typing import NamedTuple

from sshwrap.supervisor import netlink_wire as wire
from sshwrap.supervisor.network import numeric

NETLINK_SOCK_DIAG = 4  # linux/netlink.h
SOCK_DIAG_BY_FAMILY = 20  # linux/sock_diag.h

TIMER_NONE, TIMER_RETRANSMIT, TIMER_KEEPALIVE, TIMER_WINDOW = 0, 1, 2, 4  # net/ipv4/tcp_ipv4.c

# include/net/tcp_states.h: SYN_SENT, SYN_RECV, TIME_WAIT, CLOSE, LISTEN, NEW_SYN_RECV
_NOT_CONNECTED = frozenset({2, 3, 6, 7, 10, 12})

_ID_BYTES = 48  # struct inet_diag_sockid
_REQUEST = struct.Struct("=BBBxI")  # struct inet_diag_req_v2: family, protocol, wanted, states
_ENDS = struct.Struct("!HH16s16s")  # of the id: ports, addresses
_NO_LINK_NO_COOKIE = struct.pack("=III", 0, 0xFFFFFFFF, 0xFFFFFFFF)
_ANSWER = struct.Struct(f"=BBBB{_ID_BYTES}xIIIII")  # struct inet_diag_msg


class Unacked(NamedTuple):
    """`bytes` written by ssh and not acknowledged (sent or not), `retransmits` of the oldest of
    them without an answer (or of the probe of a closed window), and the TIMER_ that runs."""

    bytes: int
    retransmits: int
    timer: int


class Row(NamedTuple):
    """A line of /proc/net/tcp or tcp6; addresses raw, in network order."""

    local: tuple[bytes, int]
    remote: tuple[bytes, int]
    inode: int
    unacked: Unacked
    is_connected: bool


class SshSocket:
    """The connection of the ssh with this pid to the address that it says it has signed in at.

    The socket is searched for once, by the first `unacked` that finds it. Raises ValueError for a
    name. The process has to be ours, and not reaped yet.
    """

    __slots__ = ("_family", "_pid", "_remote", "_row")

    def __init__(self, pid: int, address: str, port: int) -> None:
        family, where = numeric(address, port)
        self._pid = pid
        self._family = family
        self._remote = (socket.inet_pton(family, str(where[0]).partition("%")[0]), port)
        self._row: Row | None = None

    def unacked(self) -> Unacked | None:
        """What is unacknowledged at this moment; None where there is no such connection (any more),
        as through a ProxyJump, or where the system does not let us see it."""
        try:
            if self._row is None:
                self._row = self._search()
                return self._row.unacked if self._row is not None else None
            try:
                return ask(self._family, self._row)
            except OSError:  # a kernel that cannot be asked for one socket: read all of them
                return self._read(self._row.inode)
        except OSError:  # the process is gone, or hidden; or this is not Linux
            return None

    def _search(self) -> Row | None:
        found = {row.inode: row for row in self._rows() if row.is_connected}
        if not found:
            return None
        folder = f"/proc/{self._pid}/fd"
        # In their order: the connection is older than any of its channels, whatever these reach.
        for fd in sorted(map(int, os.listdir(folder))):  # noqa: PTH208  # pathlib is slow at this
            name = _link(f"{folder}/{fd}")
            if name.startswith("socket:[") and (row := found.get(int(name[8:-1]))) is not None:
                return row
        return None

    def _read(self, inode: int) -> Unacked | None:
        rows = self._rows()
        return next((row.unacked for row in rows if row.inode == inode and row.is_connected), None)

    def _rows(self) -> Iterator[Row]:
        """Every connection to our remote end, of all that its network namespace has."""
        name = "tcp6" if self._family == socket.AF_INET6 else "tcp"
        wanted = f" {_hex(*self._remote)} "
        with open(f"/proc/{self._pid}/net/{name}") as file:  # noqa: PTH123
            for line in file:
                if wanted in line and (row := parse_row(line)) and row.remote == self._remote:
                    yield row


def parse_row(line: str) -> Row | None:
    """One line of /proc/net/tcp or tcp6 (proc_pid_net(5)); None for its heading."""
    fields = line.split()
    try:
        sent, _, _ = fields[4].partition(":")
        timer, _, _ = fields[5].partition(":")
        return Row(
            local=_end(fields[1]),
            remote=_end(fields[2]),
            inode=int(fields[9]),
            unacked=Unacked(int(sent, 16), int(fields[6], 16), int(timer, 16)),
            is_connected=int(fields[3], 16) not in _NOT_CONNECTED,
        )
    except (IndexError, ValueError):
        return None


def ask(family: int, row: Row) -> Unacked | None:
    """Ask the kernel for this one socket (sock_diag(7)); None where it is no more.

    Raises OSError where it cannot be asked so, or does not know the socket of this row.
    """
    with wire.Kernel(NETLINK_SOCK_DIAG) as kernel:
        answer = kernel.ask(SOCK_DIAG_BY_FAMILY, pack_request(family, row))
    if answer is None:
        raise ProcessLookupError
    return unpack_answer(answer.body, row.inode)


def pack_request(family: int, row: Row) -> bytes:
    (local, local_port), (remote, remote_port) = row.local, row.remote
    ends = _ENDS.pack(local_port, remote_port, local, remote)
    every_state = 0xFFFFFFFF
    return _REQUEST.pack(family, socket.IPPROTO_TCP, 0, every_state) + ends + _NO_LINK_NO_COOKIE


def unpack_answer(body: bytes, inode: int) -> Unacked | None:
    """None for another socket, which has taken the place of the one with this inode."""
    if len(body) < _ANSWER.size:
        return None
    _, state, timer, retransmits, _, _, unacked, _, found = _ANSWER.unpack_from(body)
    if found != inode or state in _NOT_CONNECTED:
        return None
    return Unacked(unacked, retransmits, timer)


def _link(path: str) -> str:
    try:
        return os.readlink(path)  # noqa: PTH115
    except FileNotFoundError:  # closed since
        return ""


def _hex(raw: bytes, port: int) -> str:
    """The kernel prints each 32-bit word of an address in the machine's own byte order."""
    words = struct.unpack(f"={len(raw) // 4}I", raw)
    return "".join(f"{word:08X}" for word in words) + f":{port:04X}"


def _end(text: str) -> tuple[bytes, int]:
    address, _, port = text.partition(":")
    words = [int(address[at : at + 8], 16) for at in range(0, len(address), 8)]
    return b"".join(word.to_bytes(4, sys.byteorder) for word in words), int(port, 16)
