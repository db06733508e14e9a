"""TCP ports of this machine: one that is free, and who listens where."""

from __future__ import annotations

import errno
import itertools
import os
import socket
import sys
from functools import cache
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

LISTEN = "0A"  # include/net/tcp_states.h: TCP_LISTEN


@cache
def _candidates() -> itertools.cycle[int]:
    """Ports that the kernel gives to nobody who connects, each process beginning elsewhere."""
    try:
        text = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text()
        top = int(text.split()[0])
    except OSError:
        top = 32768
    # Where the range begins so low that there is nothing below it, it cannot be kept out of.
    ports = next(
        range(low, high)
        for low, high in ((12000, top), (2000, top), (12000, 32768))
        if high - low > 4000
    )
    # By the golden ratio: processes that were started one after the other, as the workers of one
    # run are, begin thousands of ports apart and never come to those of each other.
    start = os.getpid() * round(len(ports) * 0.6180339887) % len(ports)
    return itertools.cycle([*ports[start:], *ports[:start]])


def free_port() -> int:
    """A port on which nobody listens, and that stays free while its server is down.

    Ports of the ephemeral range would not: any connection may take one as its own end.
    """
    for port in itertools.islice(_candidates(), 20_000):
        if _is_free(port):
            return port
    raise OSError("no free TCP port")


def _is_free(port: int) -> bool:
    for family, address in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
        try:
            probe = socket.socket(family)
        except OSError:  # no such family here
            continue
        with probe:
            if family == socket.AF_INET6:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address, port))
            except OSError as error:
                if family == socket.AF_INET6 and error.errno == errno.EADDRNOTAVAIL:
                    continue  # IPv6 is switched off
                return False
    return True


def privileged_port() -> int:
    """A port below 1024 on which nobody listens, another one for each process that asks."""
    ports = range(600, 1024)
    start = os.getpid() * 263 % len(ports)  # as above
    return next(port for port in (*ports[start:], *ports[:start]) if _is_free(port))


def listeners(port: int) -> set[str]:
    """Addresses on which somebody listens at `port`: {"127.0.0.1", "::"}; from /proc/net."""
    found: set[str] = set()
    for name in ("tcp", "tcp6"):
        try:
            lines = Path("/proc/net", name).read_text().splitlines()[1:]
        except FileNotFoundError:  # a kernel without IPv6
            continue
        for line in lines:
            fields = line.split()
            address, _, hex_port = fields[1].partition(":")
            if fields[3] == LISTEN and int(hex_port, 16) == port:
                found.add(_address(address))
    return found


def _address(text: str) -> str:
    """The kernel prints each 32-bit word of an address in the machine's own byte order."""
    words = [int(text[i : i + 8], 16) for i in range(0, len(text), 8)]
    raw = b"".join(word.to_bytes(4, sys.byteorder) for word in words)
    return str(IPv4Address(raw) if len(raw) == 4 else IPv6Address(raw))
