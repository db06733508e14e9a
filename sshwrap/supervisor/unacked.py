"""What the kernel knows of an ssh's own connection: what is unacknowledged, what was heard (Linux).

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
from sshwrap.tunnel.doubt import Seen

NETLINK_SOCK_DIAG = 4  # linux/netlink.h
SOCK_DIAG_BY_FAMILY = 20  # linux/sock_diag.h

INET_DIAG_INFO = 2  # linux/inet_diag.h: with a struct tcp_info

TIMER_NONE, TIMER_RETRANSMIT, TIMER_KEEPALIVE, TIMER_WINDOW = 0, 1, 2, 4  # net/ipv4/tcp_ipv4.c

# include/net/tcp_states.h: SYN_SENT, SYN_RECV, TIME_WAIT, CLOSE, LISTEN, NEW_SYN_RECV
_NOT_CONNECTED = frozenset({2, 3, 6, 7, 10, 12})

_ID_BYTES = 48  # struct inet_diag_sockid
_REQUEST = struct.Struct("=BBBxI")  # struct inet_diag_req_v2: family, protocol, wanted, states
_ENDS = struct.Struct("!HH16s16s")  # of the id: ports, addresses
_NO_LINK_NO_COOKIE = struct.pack("=III", 0, 0xFFFFFFFF, 0xFFFFFFFF)
_ANSWER = struct.Struct(f"=BBBB{_ID_BYTES}xIIIII")  # struct inet_diag_msg
_INFO = struct.Struct("=8B24I")  # struct tcp_info of linux/tcp.h, the part that all kernels have
_BACKOFF, _RTO, _DATA_HEARD, _ACK_HEARD, _RTT, _RESENT = 4, 8, 19, 20, 23, 31  # indices in it
_INFO_SENT = struct.Struct("=156xI")  # tcpi_data_segs_out, since Linux 4.6


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

    __slots__ = ("_family", "_pid", "_remote", "_row", "remote")

    def __init__(self, pid: int, address: str, port: int) -> None:
        family, where = numeric(address, port)
        self.remote = (address, port)
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

    def look(self) -> Seen | None:
        """All that tells a dead line from a slow one; None as above, and where the kernel does not
        answer for one socket (sock_diag is all that knows these numbers)."""
        try:
            self._row = self._row or self._search()
            if self._row is None:
                return None
            body = _ask(self._family, self._row, INET_DIAG_INFO)
            return unpack_seen(body, self._row.inode)
        except OSError:
            return None

    @property
    def local(self) -> bytes | None:
        """Our own address of it, raw; None before it is found."""
        return self._row.local[0] if self._row is not None else None

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
    return unpack_answer(_ask(family, row), row.inode)


def _ask(family: int, row: Row, extension: int = 0) -> bytes:
    with wire.Kernel(NETLINK_SOCK_DIAG) as kernel:
        answer = kernel.ask(SOCK_DIAG_BY_FAMILY, pack_request(family, row, extension))
    if answer is None:
        raise ProcessLookupError
    return answer.body


def pack_request(family: int, row: Row, extension: int = 0) -> bytes:
    """`extension` is one of INET_DIAG_…, 0 for none."""
    (local, local_port), (remote, remote_port) = row.local, row.remote
    ends = _ENDS.pack(local_port, remote_port, local, remote)
    every_state = 0xFFFFFFFF
    wanted = 1 << (extension - 1) if extension else 0
    head = _REQUEST.pack(family, socket.IPPROTO_TCP, wanted, every_state)
    return head + ends + _NO_LINK_NO_COOKIE


def unpack_answer(body: bytes, inode: int) -> Unacked | None:
    """None for another socket, which has taken the place of the one with this inode."""
    if len(body) < _ANSWER.size:
        return None
    _, state, timer, retransmits, _, _, unacked, _, found = _ANSWER.unpack_from(body)
    if found != inode or state in _NOT_CONNECTED:
        return None
    return Unacked(unacked, retransmits, timer)


def unpack_seen(body: bytes, inode: int) -> Seen | None:
    """Of an answer with struct tcp_info; None as above, and where there is none with it."""
    unacked = unpack_answer(body, inode)
    info = wire.attributes(body[_ANSWER.size :]).get(INET_DIAG_INFO, b"")
    if unacked is None or len(info) < _INFO.size:
        return None
    numbers = _INFO.unpack_from(info)
    data_heard = numbers[_DATA_HEARD] / 1e3
    # Unanswered probes of a closed window are counted in the same place; they are none of these.
    # Nor is what could not even be sent for want of a route: then the timeout does not double.
    is_resent = unacked.timer == TIMER_RETRANSMIT
    retransmits = min(unacked.retransmits, numbers[_BACKOFF])
    return Seen(
        unacked=unacked.bytes,
        retransmits=retransmits if is_resent else 0,
        due=_ANSWER.unpack_from(body)[4] / 1e3 if is_resent else 0.0,
        timeout=numbers[_RTO] / 1e6,
        heard=min(data_heard, numbers[_ACK_HEARD] / 1e3),
        data=data_heard,
        sent=_INFO_SENT.unpack_from(info)[0] if len(info) >= _INFO_SENT.size else 0,
        resent=numbers[_RESENT],
        round_trip=numbers[_RTT] / 1e6,
    )


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
