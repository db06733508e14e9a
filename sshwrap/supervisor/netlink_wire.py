"""The kernel's netlink messages, as bytes and back, and one question with its answer.

Laws. All numbers are in the machine's own byte order and every part is padded to 4 bytes
(netlink(7), rtnetlink(7)). A message that is cut off or makes no sense is dropped, never an error.
The kernel answers a question before sendto() returns, so nothing here waits. Unprivileged.
"""

from __future__ import annotations

import socket
import struct
import sys
from collections.abc import Iterator
from types import TracebackType
from typing import NamedTuple, Self

NLMSG_ERROR = 2  # linux/netlink.h
NLM_F_REQUEST = 1

RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK = 16, 17, 18  # linux/rtnetlink.h
RTM_NEWADDR, RTM_DELADDR = 20, 21
RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE = 24, 25, 26
RTM_NEWRULE, RTM_DELRULE = 32, 33
RTA_DST, RTA_OIF, RTA_GATEWAY, RTA_PREFSRC, RTA_VIA = 1, 4, 5, 7, 18
RTN_UNICAST, RTN_LOCAL = 1, 2
RT_SCOPE_LINK = 253
IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS = 29, 8
IFF_RUNNING = 0x40  # linux/if.h: up, and the carrier is there

_HEADER = struct.Struct("=IHHII")  # struct nlmsghdr: length, type, flags, sequence, port
_ATTRIBUTE = struct.Struct("=HH")  # struct rtattr: length, type
_LINK = struct.Struct("=BxHiII")  # struct ifinfomsg: family, type, index, flags, change
_ADDRESS = struct.Struct("=BBBBi")  # struct ifaddrmsg: family, prefix, flags, scope, index
_ROUTE = struct.Struct("=8BI")  # struct rtmsg: family, destination, source, tos, table, …, flags

_ANSWER_BYTES = 32768  # what the kernel itself takes as the most for one message


class Message(NamedTuple):
    kind: int
    sequence: int
    body: bytes


class Link(NamedTuple):
    number: int
    is_running: bool


class Address(NamedTuple):
    link: int
    is_global: bool  # not of the loopback or of this one link


class Route(NamedTuple):
    """`gateway` and `source` are raw addresses, empty where there is none."""

    is_usable: bool  # leads somewhere
    link: int
    gateway: bytes
    source: bytes


def pack(kind: int, body: bytes, *, sequence: int = 1) -> bytes:
    """One question, ready to be sent."""
    return _HEADER.pack(_HEADER.size + len(body), kind, NLM_F_REQUEST, sequence, 0) + body


def unpack(data: bytes) -> Iterator[Message]:
    """The messages of one datagram."""
    at = 0
    while at + _HEADER.size <= len(data):
        length, kind, _, sequence, _ = _HEADER.unpack_from(data, at)
        if length < _HEADER.size or at + length > len(data):
            return
        yield Message(kind, sequence, data[at + _HEADER.size : at + length])
        at += _padded(length)


def attributes(data: bytes) -> dict[int, bytes]:
    """By type; of a type that is there twice the last one."""
    found = {}
    at = 0
    while at + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, at)
        if length < _ATTRIBUTE.size or at + length > len(data):
            break
        found[kind] = data[at + _ATTRIBUTE.size : at + length]
        at += _padded(length)
    return found


def _padded(length: int) -> int:
    return (length + 3) & ~3


def link(body: bytes) -> Link | None:
    """Of RTM_NEWLINK and RTM_DELLINK."""
    if len(body) < _LINK.size:
        return None
    _, _, index, flags, _ = _LINK.unpack_from(body)
    return Link(index, bool(flags & IFF_RUNNING))


def address(body: bytes) -> Address | None:
    """Of RTM_NEWADDR and RTM_DELADDR."""
    if len(body) < _ADDRESS.size:
        return None
    _, _, _, scope, index = _ADDRESS.unpack_from(body)
    return Address(index, scope < RT_SCOPE_LINK)


def route(body: bytes) -> Route | None:
    """Of RTM_NEWROUTE and RTM_DELROUTE."""
    if len(body) < _ROUTE.size:
        return None
    *_, kind, _ = _ROUTE.unpack_from(body)
    found = attributes(body[_ROUTE.size :])
    index = found.get(RTA_OIF, b"")
    return Route(
        is_usable=kind in (RTN_UNICAST, RTN_LOCAL),
        link=int.from_bytes(index, sys.byteorder),
        gateway=found.get(RTA_GATEWAY) or found.get(RTA_VIA, b""),  # VIA: one of the other family
        source=found.get(RTA_PREFSRC, b""),
    )


def ask_link(index: int) -> bytes:
    """The body of RTM_GETLINK for one interface; its counters are not wanted."""
    mask = _ATTRIBUTE.pack(8, IFLA_EXT_MASK) + struct.pack("=I", RTEXT_FILTER_SKIP_STATS)
    return _LINK.pack(0, 0, index, 0, 0) + mask


def ask_route(family: int, raw: bytes, link: int = 0) -> bytes:
    """The body of RTM_GETROUTE for one address, as inet_pton gives it; 0: over any interface."""
    asked = _ATTRIBUTE.pack(_ATTRIBUTE.size + len(raw), RTA_DST) + raw
    if link:
        asked += _ATTRIBUTE.pack(8, RTA_OIF) + struct.pack("=I", link)
    return _ROUTE.pack(family, len(raw) * 8, 0, 0, 0, 0, 0, 0, 0) + asked


class Kernel:
    """`with Kernel(NETLINK_ROUTE) as kernel: kernel.ask(…)`; raises OSError where there is none."""

    __slots__ = ("_sequence", "_socket")

    def __init__(self, protocol: int) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol)
        self._socket.setblocking(False)
        self._sequence = 0

    def ask(self, kind: int, body: bytes) -> Message | None:
        """The answer, or None where the kernel says no.

        Raises OSError where it cannot be asked at all.
        """
        self._sequence += 1
        self._socket.sendto(pack(kind, body, sequence=self._sequence), (0, 0))
        while True:  # at most what is left of an answer that was given up
            for message in unpack(self._socket.recv(_ANSWER_BYTES)):
                if message.sequence == self._sequence:
                    return None if message.kind == NLMSG_ERROR else message

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
